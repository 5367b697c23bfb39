package sdk_test

import (
	"context"
	"errors"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"arl.io/arl/pkg/apis/arl/v1alpha1"
	taskclient "arl.io/arl/pkg/generated/clientset/versioned/typed/arl/v1alpha1"
	"arl.io/arl/pkg/sdk"
)

func TestTaskTimeout(t *testing.T) {
	t.Parallel()
	client, _ := newClient(t)
	poolOf(t, client, "timeouts", 1)
	session := newSession(t, client, "timeouts", sdk.WithTimeout(100*time.Millisecond))
	result, err := session.Run(waiting(t), "sleep 1000")
	timeout := asError[*sdk.TaskTimeoutError](t, err)
	if result == nil || timeout.Result != result || timeout.Timeout != 100*time.Millisecond || result.Reason != v1alpha1.TaskReasonTimeout {
		t.Errorf("result %+v, error %+v", result, timeout)
	}
	wantWords(t, err, "100ms", "WithTimeout", result.Task)
}

// TestContextStopsTheSteps ends an Execute by its context. The next one would
// wait for ever behind steps that go on.
func TestContextStopsTheSteps(t *testing.T) {
	t.Parallel()
	client, _ := newClient(t)
	poolOf(t, client, "contexts", 1)
	session := newSession(t, client, "contexts", sdk.WithTimeout(time.Hour))
	ctx, cancel := context.WithCancel(waiting(t))
	ended := start(ctx, session, "touch began; sleep 3600")
	isThere(t, session.Sandbox().Status.PodName, "began")
	cancel()
	if got := <-ended; !errors.Is(got.err, context.Canceled) {
		t.Errorf("error %v, want %v", got.err, context.Canceled)
	}
	mustWrite(t, session, "echo next", "next\n")
}

func TestCloseEndsExecute(t *testing.T) {
	t.Parallel()
	client, _ := newClient(t)
	poolOf(t, client, "closes", 1)
	session := newSession(t, client, "closes", sdk.WithTimeout(time.Hour))
	ended := start(waiting(t), session, "touch began; sleep 3600")
	isThere(t, session.Sandbox().Status.PodName, "began")
	if err := session.Close(); err != nil {
		t.Fatal(err)
	}
	if got := <-ended; !errors.Is(got.err, sdk.ErrClosed) {
		t.Errorf("error %v, want %v", got.err, sdk.ErrClosed)
	}
}

func TestSandboxFails(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		// during says that steps run when it happens.
		during bool
		happen func(t *testing.T, session *sdk.Session)
		words  []string
	}{
		"pod lost while steps run": {true, losePod, []string{"PodLost", "new session"}},
		"pod lost before":          {false, losePod, []string{"new session"}},
		"deleted while steps run":  {true, deleteSandbox, []string{"new session"}},
		"deleted before":           {false, deleteSandbox, []string{"new session"}},
	}
	client, _ := newClient(t)
	poolOf(t, client, "fails", int32(len(tests)))
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			session := newSession(t, client, "fails", sdk.WithTimeout(time.Hour))
			var ended <-chan outcome
			if test.during {
				ended = start(waiting(t), session, "touch began; sleep 3600")
				isThere(t, session.Sandbox().Status.PodName, "began")
			}
			test.happen(t, session)
			if !test.during {
				ended = start(waiting(t), session, "true")
			}
			failed := asError[*sdk.SandboxFailedError](t, (<-ended).err)
			if failed.Sandbox != session.Name() || failed.Reason == "" || failed.Message == "" {
				t.Errorf("error %+v", failed)
			}
			wantWords(t, failed, test.words...)
		})
	}
}

func losePod(t *testing.T, session *sdk.Session) {
	t.Helper()
	here.pods.Lose(session.Sandbox().Status.PodName)
	client, _ := newClient(t)
	eventually(t, "the sandbox has failed", func() error {
		sandbox, err := client.ArlV1alpha1().Sandboxes(namespace).Get(t.Context(), session.Name(), metav1.GetOptions{})
		if err == nil && sandbox.Status.Phase != v1alpha1.SandboxFailed {
			err = errors.New(string(sandbox.Status.Phase))
		}
		return err
	})
}

func deleteSandbox(t *testing.T, session *sdk.Session) {
	t.Helper()
	client, _ := newClient(t)
	if err := client.ArlV1alpha1().Sandboxes(namespace).Delete(waiting(t), session.Name(), metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
}

func TestTaskEndedBySomebodyElse(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		reason string
		end    func(ctx context.Context, client taskclient.TaskInterface, name string) error
	}{
		"cancelled": {v1alpha1.TaskReasonCancelled, func(ctx context.Context, client taskclient.TaskInterface, name string) error {
			_, err := client.Patch(ctx, name, types.MergePatchType, []byte(`{"spec":{"cancel":true}}`), metav1.PatchOptions{})
			return err
		}},
		"deleted": {"Deleted", func(ctx context.Context, client taskclient.TaskInterface, name string) error {
			return client.Delete(ctx, name, metav1.DeleteOptions{})
		}},
	}
	client, _ := newClient(t)
	poolOf(t, client, "others", int32(len(tests)))
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			session := newSession(t, client, "others", sdk.WithTimeout(time.Hour))
			ended := start(waiting(t), session, "touch began; sleep 3600")
			isThere(t, session.Sandbox().Status.PodName, "began")
			tasks := tasksOf(t, client, session)
			if len(tasks) != 1 {
				t.Fatalf("tasks are %v", tasks)
			}
			if err := test.end(waiting(t), client.ArlV1alpha1().Tasks(namespace), tasks[0]); err != nil {
				t.Fatal(err)
			}
			failed := asError[*sdk.TaskFailedError](t, (<-ended).err)
			if failed.Reason != test.reason || failed.Task != tasks[0] {
				t.Errorf("error %+v, want reason %s", failed, test.reason)
			}
		})
	}
}
