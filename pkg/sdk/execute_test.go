package sdk_test

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"arl.io/arl/pkg/apis/arl/v1alpha1"
	"arl.io/arl/pkg/sdk"
)

// TestCallsRunAtTheSameTime has each of as many calls as may run at a time wait for the next one.
func TestCallsRunAtTheSameTime(t *testing.T) {
	t.Parallel()
	client, _ := newClient(t)
	poolOf(t, client, "together", 1)
	session := newSession(t, client, "together")
	const calls = sdk.DefaultMaxConcurrentTasks
	var group sync.WaitGroup
	for i := range calls {
		group.Go(func() {
			script := fmt.Sprintf("touch %d; while [ ! -e %d ]; do sleep 0.02; done; echo %d", i, (i+1)%calls, i)
			mustWrite(t, session, script, fmt.Sprintf("%d\n", i))
		})
	}
	group.Wait()
}

// TestLongScript runs scripts that are too long for one argument of a program.
func TestLongScript(t *testing.T) {
	t.Parallel()
	client, _ := newClient(t)
	poolOf(t, client, "long", 1)
	session := newSession(t, client, "long")
	text := strings.Repeat("grüße 'n' \"quotes\" $not \\n\n", 200<<10/27)
	tests := map[string]struct{ script, stdin, want string }{
		"here-document":     {script: "wc -c <<'END'\n" + text + "END\n", want: fmt.Sprintf("%d\n", len(text))},
		"parameters":        {script: ": '" + strings.Repeat("x", 200<<10) + "'\necho $# $0\n", want: "0 sh\n"},
		"standard input":    {script: "cat # " + strings.Repeat("x", 200<<10), stdin: "input\n", want: "input\n"},
		"the exit code":     {script: "set -e; false\n" + strings.Repeat("echo never\n", 20<<10)},
		"nearly a megabyte": {script: "# " + strings.Repeat("é", 500_000) + "\necho end\n", want: "end\n"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			step := sdk.Shell(test.script)
			step.Stdin = test.stdin
			result, err := session.Execute(waiting(t), step)
			if err != nil {
				t.Fatal(err)
			}
			if result.Stdout != test.want || (result.ExitCode == 0) != (name != "the exit code") {
				t.Errorf("exit code %d, output %.100q, want %q; stderr %.300q", result.ExitCode, result.Stdout, test.want, result.Stderr)
			}
		})
	}
}

func TestResultHasTheOutput(t *testing.T) {
	t.Parallel()
	binary := string([]byte{0xff, 0, 'a', '\n'})
	tests := map[string]struct {
		status v1alpha1.TaskStatus
		want   sdk.Result
	}{
		"text": {
			v1alpha1.TaskStatus{Stdout: "aé", Stderr: "b", Output: &v1alpha1.TaskOutput{
				Stdout: v1alpha1.TaskStream{Bytes: 3}, Stderr: v1alpha1.TaskStream{Bytes: 1},
			}},
			sdk.Result{Stdout: "aé", Stderr: "b", StdoutBytes: 3, StderrBytes: 1},
		},
		"bytes that are not UTF-8": {
			v1alpha1.TaskStatus{Stdout: "\ufffd\x00a\n", Output: &v1alpha1.TaskOutput{
				Stdout: v1alpha1.TaskStream{Bytes: 4, Data: []byte(binary)},
			}},
			sdk.Result{Stdout: binary, StdoutBytes: 4},
		},
		"truncated": {
			v1alpha1.TaskStatus{Stderr: "head\n[...]\ntail\n", Output: &v1alpha1.TaskOutput{
				Stderr: v1alpha1.TaskStream{Bytes: 1 << 30, Truncated: true},
			}},
			sdk.Result{Stderr: "head\n[...]\ntail\n", StderrBytes: 1 << 30, StderrTruncated: true},
		},
		"not described": {v1alpha1.TaskStatus{Stdout: "abc"}, sdk.Result{Stdout: "abc", StdoutBytes: 3}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := sdk.ResultOf(&v1alpha1.Task{Status: test.status})
			test.want.ExitCode = sdk.NoExitCode
			if diff := cmp.Diff(&test.want, got, cmp.AllowUnexported(sdk.Result{})); diff != "" {
				t.Errorf("result (-want +got):\n%s", diff)
			}
		})
	}
}

func TestOptionsAreInTheTask(t *testing.T) {
	t.Parallel()
	client, _ := newClient(t)
	poolOf(t, client, "taskoptions", 1)
	session := newSession(t, client, "taskoptions",
		sdk.WithTerminationGrace(1500*time.Millisecond), sdk.WithRetentionPolicy(v1alpha1.RetentionRetain))
	mustWrite(t, session, "echo done", "done\n")
	names := tasksOf(t, client, session)
	if len(names) != 1 {
		t.Fatalf("tasks %v, want one", names)
	}
	task, err := client.ArlV1alpha1().Tasks(namespace).Get(waiting(t), names[0], getNow)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(ptr.To(int32(2)), task.Spec.TerminationGracePeriodSeconds); diff != "" {
		t.Errorf("grace (-want +got):\n%s", diff)
	}
	if task.Spec.RetentionPolicy != v1alpha1.RetentionRetain {
		t.Errorf("retention policy %q, want %q", task.Spec.RetentionPolicy, v1alpha1.RetentionRetain)
	}
}

// TestGoneSandboxSaysWhy deletes one sandbox, and leaves another to its idle timeout.
func TestGoneSandboxSaysWhy(t *testing.T) {
	t.Parallel()
	client, _ := newClient(t)
	poolOf(t, client, "gone", 2)
	deleted := newSession(t, client, "gone")
	if err := client.ArlV1alpha1().Sandboxes(namespace).Delete(waiting(t), deleted.Name(), metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	idle := newSession(t, client, "gone", sdk.WithIdleTimeout(time.Second))
	isGone(t, client, idle)
	for session, want := range map[*sdk.Session]string{deleted: "somebody deleted it", idle: "deletes it after 1 s without steps"} {
		_, err := session.Run(waiting(t), "true")
		wantWords(t, asError[*sdk.SandboxFailedError](t, err), want, v1alpha1.TaskReasonSandboxNotFound)
	}
}

// TestRefusedOnce has requests refused for their credentials, which client-go renews.
func TestRefusedOnce(t *testing.T) {
	t.Parallel()
	client, network := newClient(t)
	poolOf(t, client, "refused", 1)
	for _, kind := range []string{"POST sandboxes", "POST tasks", "WATCH tasks", "DELETE sandboxes"} {
		network.plan(kind, status(401))
	}
	session := newSession(t, client, "refused")
	mustWrite(t, session, "echo done", "done\n")
	if err := session.Close(); err != nil {
		t.Error(err)
	}
	network.plan("POST sandboxes", status(401), status(401))
	before := network.count("POST sandboxes")
	_, err := sdk.NewSession(waiting(t), client, "refused")
	if err == nil || errors.Is(err, sdk.ErrUnavailable) || network.count("POST sandboxes") != before+2 {
		t.Errorf("error %v after %d requests, want a refusal after two", err, network.count("POST sandboxes")-before)
	}
}
