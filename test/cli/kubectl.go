// Package cli is kubectl in a test: the real program, what it prints and how it
// exits. Where the program is and as whom it runs, its caller knows.
//
// A Kubectl belongs to one test, whose goroutine alone may call it.
package cli

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// Call is one run of the program.
type Call struct {
	Args []string
	// Env is added to the environment of the test.
	Env            []string
	Stdin          io.Reader
	Stdout, Stderr io.Writer
}

// Kubectl is the program as one user runs it.
type Kubectl struct {
	T *testing.T
	// Exec runs the program until it ends; the end of ctx kills it. That it
	// failed is an *exec.ExitError.
	Exec func(context.Context, Call) error
	// Env is added to the environment of each run.
	Env []string
	// Dir is where File writes.
	Dir string
	// Patience bounds each run.
	Patience time.Duration
}

// Outcome is what became of a run.
type Outcome struct {
	Stdout, Stderr string
	Code           int
}

// Try runs kubectl with a standard input.
func (k *Kubectl) Try(stdin string, args ...string) Outcome {
	k.T.Helper()
	ctx, cancel := context.WithTimeout(k.T.Context(), k.Patience)
	defer cancel()
	var stdout, stderr bytes.Buffer
	err := k.Exec(ctx, Call{Args: args, Env: k.Env, Stdin: strings.NewReader(stdin), Stdout: &stdout, Stderr: &stderr})
	var exit *exec.ExitError
	if err != nil && (ctx.Err() != nil || !errors.As(err, &exit)) {
		k.T.Fatalf("kubectl %s: %v\n%s%s", strings.Join(args, " "), err, &stdout, &stderr)
	}
	got := Outcome{Stdout: stdout.String(), Stderr: stderr.String()}
	if exit != nil {
		got.Code = exit.ExitCode()
	}
	return got
}

// With runs kubectl with a standard input. It must exit with 0 and print all words.
func (k *Kubectl) With(stdin string, args []string, words ...string) string {
	k.T.Helper()
	got := k.Try(stdin, args...)
	if got.Code != 0 {
		k.T.Fatalf("kubectl %s: exit code %d\n%s%s", strings.Join(args, " "), got.Code, got.Stdout, got.Stderr)
	}
	WantWords(k.T, got.Stdout, words...)
	return got.Stdout
}

// Run is With, without a standard input.
func (k *Kubectl) Run(args []string, words ...string) string {
	k.T.Helper()
	return k.With("", args, words...)
}

// Fail runs kubectl, which must exit with 1 and complain in these words.
func (k *Kubectl) Fail(stdin string, args []string, words ...string) string {
	k.T.Helper()
	got := k.Try(stdin, args...)
	if got.Code != 1 {
		k.T.Errorf("kubectl %s: exit code %d, want 1\n%s%s", strings.Join(args, " "), got.Code, got.Stdout, got.Stderr)
	}
	WantWords(k.T, got.Stderr, words...)
	return got.Stderr
}

// JSONPath returns a field of an object.
func (k *Kubectl) JSONPath(object, path string) string {
	k.T.Helper()
	return k.Run(Words("get", object, "-o", "jsonpath="+path))
}

// Want fails the test unless a field of an object has a value.
func (k *Kubectl) Want(object, path, value string) {
	k.T.Helper()
	if got := k.JSONPath(object, path); got != value {
		k.T.Errorf("%s of %s is %q, want %q", path, object, got, value)
	}
}

// Watch runs a command that goes on for ever, calls act once it has printed
// something, and ends it once all words were printed.
func (k *Kubectl) Watch(args []string, act func(), words ...string) {
	k.T.Helper()
	ctx, cancel := context.WithTimeout(k.T.Context(), k.Patience)
	defer cancel()
	reader, writer := io.Pipe()
	var stderr bytes.Buffer
	ended := make(chan error, 1)
	go func() {
		err := k.Exec(ctx, Call{Args: args, Env: k.Env, Stdout: writer, Stderr: &stderr})
		ended <- err
		writer.CloseWithError(errors.Join(io.EOF, err))
	}()
	var seen strings.Builder
	buffer, acted := make([]byte, 4096), false
	for len(MissingWords(seen.String(), words)) > 0 {
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
	if err := <-ended; len(MissingWords(seen.String(), words)) > 0 {
		k.T.Errorf("kubectl %s ended (%v, %v) before it had printed all of %q:\n%s%s",
			strings.Join(args, " "), early, err, words, &seen, &stderr)
	}
}

// File writes a manifest and returns its path.
func (k *Kubectl) File(name, content string) string {
	k.T.Helper()
	path := filepath.Join(k.Dir, name)
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		k.T.Fatal(err)
	}
	return path
}

// Words is a list of arguments, or of what is to be found in a text.
func Words(list ...string) []string { return list }

// WantWords fails the test unless all words are in a text.
func WantWords(t *testing.T, text string, words ...string) {
	t.Helper()
	for _, word := range MissingWords(text, words) {
		t.Errorf("no %q in:\n%s", word, text)
	}
}

// MissingWords returns those of the words that are not in a text.
func MissingWords(text string, words []string) []string {
	return slices.DeleteFunc(slices.Clone(words), func(word string) bool { return strings.Contains(text, word) })
}
