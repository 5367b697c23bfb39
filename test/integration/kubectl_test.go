package integration

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// kubectl runs the real program as the admin of a server, in a tenant's namespace.
type kubectl struct {
	*tenant
	path string
	dir  string
}

// newKubectl returns a kubectl with a namespace of its own on the shared server.
func newKubectl(t *testing.T) *kubectl {
	t.Helper()
	return kubectlIn(newTenant(t, shared(t)))
}

func kubectlIn(n *tenant) *kubectl {
	n.t.Helper()
	path, err := kubectlPath()
	if err != nil {
		n.t.Fatal(err)
	}
	return &kubectl{tenant: n, path: path, dir: n.t.TempDir()}
}

func (k *kubectl) command(ctx context.Context, args ...string) *exec.Cmd {
	args = append([]string{"--kubeconfig", k.server.Kubeconfig(), "--namespace", k.namespace}, args...)
	command := exec.CommandContext(ctx, k.path, args...)
	command.Env = append(os.Environ(), "HOME="+k.dir)
	return command
}

// try runs kubectl with a standard input and returns what became of it.
func (k *kubectl) try(stdin string, args ...string) outcome {
	k.t.Helper()
	ctx, cancel := context.WithTimeout(k.t.Context(), patience)
	defer cancel()
	command := k.command(ctx, args...)
	command.Stdin = strings.NewReader(stdin)
	got, err := runToEnd(ctx, command)
	if err != nil {
		k.t.Fatal(err)
	}
	return got
}

// with runs kubectl with a standard input. It must exit with 0 and wants these
// words in what is printed.
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

// fail runs kubectl, which must exit with 1 and say these words.
func (k *kubectl) fail(stdin string, args []string, words ...string) {
	k.t.Helper()
	got := k.try(stdin, args...)
	if got.code != 1 {
		k.t.Errorf("kubectl %s: exit code %d, want 1\n%s%s", strings.Join(args, " "), got.code, got.stdout, got.stderr)
	}
	wantWords(k.t, got.stderr, words...)
}

// jsonpath returns a field of an object.
func (k *kubectl) jsonpath(object, path string) string {
	k.t.Helper()
	return k.run(words("get", object, "-o", "jsonpath="+path))
}

// want fails unless a field of an object has a value.
func (k *kubectl) want(object, path, value string) {
	k.t.Helper()
	if got := k.jsonpath(object, path); got != value {
		k.t.Errorf("%s of %s is %q, want %q", path, object, got, value)
	}
}

// watch runs a command that goes on for ever, calls act once it has printed its
// first line, and ends it once it has printed lines with all the words.
func (k *kubectl) watch(args []string, act func(), words ...string) {
	k.t.Helper()
	ctx, cancel := context.WithTimeout(k.t.Context(), patience)
	defer cancel()
	command := k.command(ctx, args...)
	stdout, err := command.StdoutPipe()
	if err != nil {
		k.t.Fatal(err)
	}
	if err := command.Start(); err != nil {
		k.t.Fatal(err)
	}
	var seen strings.Builder
	lines := bufio.NewScanner(stdout)
	for missing := words; len(missing) > 0 && lines.Scan(); {
		if seen.Len() == 0 {
			act()
		}
		fmt.Fprintln(&seen, lines.Text())
		missing = missingWords(seen.String(), words)
	}
	timedOut := ctx.Err() != nil
	cancel()
	// Its error is that it was ended, as it should be.
	_ = command.Wait()
	if timedOut {
		k.t.Errorf("kubectl %s did not print all of %q:\n%s", strings.Join(args, " "), words, &seen)
	}
	wantWords(k.t, seen.String(), words...)
}

func missingWords(text string, words []string) (missing []string) {
	for _, word := range words {
		if !strings.Contains(text, word) {
			missing = append(missing, word)
		}
	}
	return missing
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

// Manifests that need no pod.
const (
	emptyPool = `
apiVersion: arl.io/v1alpha1
kind: WarmPool
metadata:
  name: empty
  labels: {team: red}
spec:
  replicas: 0
  maxPods: 10
  template:
    metadata:
      labels: {carried: along}
    spec:
      containers:
        - {name: executor, image: host}
`
	waitingSandbox = `
apiVersion: arl.io/v1alpha1
kind: Sandbox
metadata:
  name: %s
  labels: {team: red}
spec:
  poolRef: %s
  keepAlive: true
`
	waitingTask = `
apiVersion: arl.io/v1alpha1
kind: Task
metadata:
  name: %s
spec:
  poolRef: %s
  steps:
    - {name: hello, type: Command, command: [echo, hello]}
`
)
