package e2e

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"arl.io/arl/test/e2e/cluster"
)

// kubectl is the real program, run by a tenant's user in the tenant's namespace.
type kubectl struct {
	t         *testing.T
	namespace string // where it is, unless told otherwise
	command   cluster.Command
	dir       string
}

func (n *tenant) kubectl() *kubectl {
	n.t.Helper()
	return kubectlAs(n.t, n.user, n.namespace)
}

// kubectlAs returns a kubectl for a user, with a namespace it takes by default.
func kubectlAs(t *testing.T, user, namespace string) *kubectl {
	t.Helper()
	command, err := shared.KubectlCommand(user)
	if err != nil {
		t.Fatal(err)
	}
	command.Args = append(command.Args, "--namespace="+namespace)
	return &kubectl{t: t, namespace: namespace, command: command, dir: t.TempDir()}
}

// in is the same kubectl in a subtest.
func (k *kubectl) in(t *testing.T) *kubectl {
	return &kubectl{t: t, namespace: k.namespace, command: k.command, dir: k.dir}
}

// outcome is what became of a run of kubectl.
type outcome struct {
	stdout, stderr string
	code           int
}

// try runs kubectl with a standard input.
func (k *kubectl) try(stdin string, args ...string) outcome {
	k.t.Helper()
	ctx, cancel := context.WithTimeout(k.t.Context(), patience)
	defer cancel()
	command := k.command
	command.Args = append(command.Args[:len(command.Args):len(command.Args)], args...)
	var stdout, stderr bytes.Buffer
	command.Stdin, command.Stdout, command.Stderr = strings.NewReader(stdin), &stdout, &stderr
	err := shared.Run(ctx, command)
	var exit *exec.ExitError
	if err != nil && (ctx.Err() != nil || !errors.As(err, &exit)) {
		k.t.Fatalf("%v\n%s%s", err, &stdout, &stderr)
	}
	got := outcome{stdout: stdout.String(), stderr: stderr.String()}
	if exit != nil {
		got.code = exit.ExitCode()
	}
	return got
}

// with runs kubectl with a standard input. It must exit with 0 and print all words.
func (k *kubectl) with(stdin string, args []string, words ...string) string {
	k.t.Helper()
	got := k.try(stdin, args...)
	if got.code != 0 {
		k.t.Fatalf("kubectl %s: exit code %d\n%s%s", strings.Join(args, " "), got.code, got.stdout, got.stderr)
	}
	wantWords(k.t, got.stdout, words...)
	return got.stdout
}

// run is with, without a standard input.
func (k *kubectl) run(args []string, words ...string) string {
	k.t.Helper()
	return k.with("", args, words...)
}

// fail runs kubectl, which must exit with 1 and complain in these words.
func (k *kubectl) fail(stdin string, args []string, words ...string) string {
	k.t.Helper()
	got := k.try(stdin, args...)
	if got.code != 1 {
		k.t.Errorf("kubectl %s: exit code %d, want 1\n%s%s", strings.Join(args, " "), got.code, got.stdout, got.stderr)
	}
	wantWords(k.t, got.stderr, words...)
	return got.stderr
}

// want fails the test unless a field of an object has a value.
func (k *kubectl) want(object, path, value string) {
	k.t.Helper()
	if got := k.run(words("get", object, "-o", "jsonpath="+path)); got != value {
		k.t.Errorf("%s of %s is %q, want %q", path, object, got, value)
	}
}

// watch runs a command that goes on for ever, calls act once it has printed
// something, and ends it once all words were printed.
func (k *kubectl) watch(args []string, act func(), words ...string) {
	k.t.Helper()
	ctx, cancel := context.WithTimeout(k.t.Context(), patience)
	defer cancel()
	reader, writer := io.Pipe()
	command := k.command
	command.Args = append(command.Args[:len(command.Args):len(command.Args)], args...)
	command.Stdout = writer
	ended := make(chan error, 1)
	go func() {
		err := shared.Run(ctx, command)
		ended <- err
		writer.CloseWithError(errors.Join(io.EOF, err))
	}()
	var seen strings.Builder
	buffer, acted := make([]byte, 4096), false
	for len(missingWords(seen.String(), words)) > 0 {
		count, err := reader.Read(buffer)
		if err != nil {
			break
		}
		seen.Write(buffer[:count])
		if !acted {
			act()
			acted = true
		}
	}
	early := ctx.Err()
	cancel()
	reader.Close()
	if err := <-ended; len(missingWords(seen.String(), words)) > 0 {
		k.t.Errorf("kubectl %s ended (%v, %v) before it had printed all of %q:\n%s", strings.Join(args, " "), early, err, words, &seen)
	}
}

// file writes a manifest and returns its path.
func (k *kubectl) file(name, content string) string {
	k.t.Helper()
	path := filepath.Join(k.dir, name)
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		k.t.Fatal(err)
	}
	return path
}

func words(list ...string) []string { return list }

// wantWords fails the test unless all words are in a text.
func wantWords(t *testing.T, text string, words ...string) {
	t.Helper()
	for _, word := range missingWords(text, words) {
		t.Errorf("no %q in:\n%s", word, text)
	}
}

func missingWords(text string, words []string) (missing []string) {
	for _, word := range words {
		if !strings.Contains(text, word) {
			missing = append(missing, word)
		}
	}
	return missing
}
