package sdk_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
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

func TestSessionIsOneSandbox(t *testing.T) {
	t.Parallel()
	client, network := newClient(t)
	poolOf(t, client, "plain", 1)
	session := newSession(t, client, "plain")
	if err := session.WriteFile(waiting(t), "dir/name", []byte("a\n"), 0o640); err != nil {
		t.Fatal(err)
	}
	mustWrite(t, session, "cat dir/name; stat -c %a dir/name", "a\n640\n")
	for kind, want := range map[string]int{"POST sandboxes": 1, "WATCH sandboxes": 0, "POST tasks": 2, "WATCH tasks": 2, "GET tasks": 0} {
		if got := network.count(kind); got != want {
			t.Errorf("there were %d requests %s, want %d", got, kind, want)
		}
	}
	if err := session.Close(); err != nil {
		t.Fatal(err)
	}
	isGone(t, client, session)
	if err := session.Close(); err != nil {
		t.Errorf("closing again: %v", err)
	}
	if got := network.count("DELETE sandboxes"); got != 1 {
		t.Errorf("there were %d deletes, want one", got)
	}
	if _, err := session.Run(waiting(t), "true"); !errors.Is(err, sdk.ErrClosed) {
		t.Errorf("after Close: error %v, want %v", err, sdk.ErrClosed)
	}
}

func TestOptionsAreInTheSandbox(t *testing.T) {
	t.Parallel()
	client, _ := newClient(t)
	poolOf(t, client, "options", 4)
	tests := map[string]struct {
		opts []sdk.Option
		want v1alpha1.SandboxSpec
	}{
		"none": {nil, v1alpha1.SandboxSpec{IdleTimeoutSeconds: ptr.To(int32(600))}},
		"idle timeout is rounded up": {
			[]sdk.Option{sdk.WithIdleTimeout(1500 * time.Millisecond)},
			v1alpha1.SandboxSpec{IdleTimeoutSeconds: ptr.To(int32(2))},
		},
		"keep alive": {[]sdk.Option{sdk.WithKeepAlive()}, v1alpha1.SandboxSpec{KeepAlive: true}},
		"concurrent tasks": {
			[]sdk.Option{sdk.WithMaxConcurrentTasks(3)},
			v1alpha1.SandboxSpec{IdleTimeoutSeconds: ptr.To(int32(600)), MaxConcurrentTasks: ptr.To(int32(3))},
		},
		"keep alive for a while": {
			[]sdk.Option{sdk.WithKeepAlive(), sdk.WithIdleTimeout(time.Hour)},
			v1alpha1.SandboxSpec{KeepAlive: true, IdleTimeoutSeconds: ptr.To(int32(3600))},
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			session := newSession(t, client, "options", append(test.opts, sdk.WithEnv(map[string]string{"WHO": "world"}))...)
			test.want.PoolRef, test.want.Env = "options", map[string]string{"WHO": "world"}
			if test.want.MaxConcurrentTasks == nil {
				test.want.MaxConcurrentTasks = ptr.To(int32(sdk.DefaultMaxConcurrentTasks))
			}
			if diff := cmp.Diff(test.want, session.Sandbox().Spec); diff != "" {
				t.Errorf("spec (-want +got):\n%s", diff)
			}
			mustWrite(t, session, "echo hello, $WHO", "hello, world\n")
		})
	}
}

func TestResultTellsEachStep(t *testing.T) {
	t.Parallel()
	client, _ := newClient(t)
	poolOf(t, client, "steps", 1)
	session := newSession(t, client, "steps")
	tolerated := sdk.Shell("echo no >&2; exit 3")
	tolerated.OnFailure = v1alpha1.FailureContinue
	tolerated.Name = "tolerated"
	result, err := session.Execute(waiting(t),
		sdk.File("f", "old\n"), sdk.Patch("f", "--- f\n+++ f\n@@ -1 +1 @@\n-old\n+new\n"), tolerated, sdk.Command("cat", "f"), sdk.Shell("exit 7"), sdk.Shell("echo never"))
	if err != nil {
		t.Fatal(err)
	}
	if result.Succeeded() || result.ExitCode != 7 || result.Stdout != "new\n" || result.Stderr != "no\n" || result.Reason != v1alpha1.TaskReasonStepFailed {
		t.Errorf("result %+v", result)
	}
	var got []string
	for _, step := range result.Steps {
		got = append(got, fmt.Sprintf("%s %s %d %d", step.Name, step.State, step.ExitCode, step.StdoutBytes))
	}
	want := []string{"step-1 Succeeded -1 0", "step-2 Succeeded -1 0", "tolerated Failed 3 0", "step-4 Succeeded 0 4", "step-5 Failed 7 0", "step-6 Skipped -1 0"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("steps (-want +got):\n%s", diff)
	}
	failed := asError[*sdk.StepFailedError](t, result.Err())
	wantWords(t, failed, "step-5", "7", "no")
}

func TestFileMustBeText(t *testing.T) {
	t.Parallel()
	client, network := newClient(t)
	poolOf(t, client, "text", 1)
	session := newSession(t, client, "text")
	err := session.WriteFile(waiting(t), "f", []byte{0xff, 0xfe}, 0)
	if err == nil || network.count("POST tasks") != 0 {
		t.Fatalf("error %v after %d requests, want one without any", err, network.count("POST tasks"))
	}
	wantWords(t, err, `"f"`, "UTF-8", "base64")
	err = session.WriteFile(waiting(t), "/proc/nowhere/f", nil, 0)
	wantWords(t, asError[*sdk.StepFailedError](t, err), "/proc/nowhere")
}

func TestCallsAtTheSameTime(t *testing.T) {
	t.Parallel()
	client, _ := newClient(t)
	poolOf(t, client, "many", 1)
	session := newSession(t, client, "many")
	var group sync.WaitGroup
	for i := range 8 {
		group.Go(func() {
			mustWrite(t, session, fmt.Sprintf("echo x >>all; echo %d", i), fmt.Sprintf("%d\n", i))
		})
	}
	group.Wait()
	mustWrite(t, session, "cat all", strings.Repeat("x\n", 8))
}

func TestSessionWaitsForAPod(t *testing.T) {
	t.Parallel()
	client, network := newClient(t)
	poolOf(t, client, "scarce", 1)
	first := newSession(t, client, "scarce")
	type made struct {
		session *sdk.Session
		err     error
	}
	second := make(chan made, 1)
	ctx := waiting(t)
	go func() {
		session, err := sdk.NewSession(ctx, client, "scarce")
		second <- made{session, err}
	}()
	network.await(t, "WATCH sandboxes", 1)
	network.await(t, "WATCH warmpools", 1)
	network.setDown(true)
	network.setDown(false)
	network.await(t, "WATCH sandboxes", 2)
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	got := <-second
	if got.err != nil {
		t.Fatal(got.err)
	}
	mustWrite(t, got.session, "echo mine", "mine\n")
	if err := got.session.Close(); err != nil {
		t.Error(err)
	}
}

func TestNameIsTaken(t *testing.T) {
	t.Parallel()
	client, _ := newClient(t)
	poolOf(t, client, "names", 2)
	session := newSession(t, client, "names", sdk.WithName("mine"))
	if session.Name() != "mine" {
		t.Errorf("the name is %s", session.Name())
	}
	_, err := sdk.NewSession(waiting(t), client, "names", sdk.WithName("mine"))
	if !errors.Is(err, sdk.ErrConflict) {
		t.Fatalf("error %v, want %v", err, sdk.ErrConflict)
	}
	wantWords(t, err, `sandbox "mine"`, "another name")
	mustWrite(t, session, "echo alive", "alive\n")
}

// TestCloseSparesOthers deletes a sandbox behind a session's back, and makes
// another of its name.
func TestCloseSparesOthers(t *testing.T) {
	t.Parallel()
	client, _ := newClient(t)
	poolOf(t, client, "spares", 1)
	session := newSession(t, client, "spares", sdk.WithName("spared"))
	sandboxes := client.ArlV1alpha1().Sandboxes(namespace)
	if err := sandboxes.Delete(waiting(t), "spared", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	other := newSession(t, client, "spares", sdk.WithName("spared"))
	if err := session.Close(); err != nil {
		t.Error(err)
	}
	mustWrite(t, other, "echo alive", "alive\n")
}

// TestNothingIsLeftOfAnInterruptedCreate has the answer to a create lost, and
// its caller go away.
func TestNothingIsLeftOfAnInterruptedCreate(t *testing.T) {
	t.Parallel()
	client, between := newClient(t)
	poolOf(t, client, "interrupted", 1)
	ctx, cancel := context.WithCancel(waiting(t))
	between.plan("POST sandboxes", func(n *network, request *http.Request) (*http.Response, error) {
		defer cancel()
		return lost(n, request)
	})
	_, err := sdk.NewSession(ctx, client, "interrupted", sdk.WithKeepAlive())
	if !errors.Is(err, context.Canceled) {
		t.Fatalf("error %v, want %v", err, context.Canceled)
	}
	noSandboxes(t, client, "interrupted")
}
