package sdk_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/utils/ptr"

	"arl.io/arl/pkg/generated/clientset/versioned"
	"arl.io/arl/pkg/podruntime"
	"arl.io/arl/pkg/sdk"
)

func TestPoolNotFound(t *testing.T) {
	t.Parallel()
	client, _ := newClient(t)
	poolOf(t, client, "found-a", 1)
	poolOf(t, client, "found-b", 1)
	pools := sdk.NewPools(client, namespace)
	for name, ask := range map[string]func(ctx context.Context) error{
		"NewSession": func(ctx context.Context) error {
			_, err := sdk.NewSession(ctx, client, "missing")
			return err
		},
		"WaitReady": func(ctx context.Context) error {
			_, err := pools.WaitReady(ctx, "missing")
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			err := ask(waiting(t))
			if !errors.Is(err, sdk.ErrPoolNotFound) {
				t.Fatalf("error %v, want %v", err, sdk.ErrPoolNotFound)
			}
			missing := asError[*sdk.PoolNotFoundError](t, err)
			if missing.Pool != "missing" || missing.Namespace != namespace ||
				!slices.Contains(missing.Available, "found-a") || !slices.Contains(missing.Available, "found-b") {
				t.Errorf("error %+v", missing)
			}
			wantWords(t, err, `"missing"`, "found-a", "Pools.Create")
		})
	}
	noSandboxes(t, client, "missing")
}

func TestNoPoolAtAll(t *testing.T) {
	t.Parallel()
	client, _ := newClient(t)
	_, err := sdk.NewSession(waiting(t), client, "missing", sdk.WithNamespace("empty"))
	missing := asError[*sdk.PoolNotFoundError](t, err)
	if len(missing.Available) != 0 || missing.Namespace != "empty" {
		t.Errorf("error %+v", missing)
	}
	wantWords(t, err, "WithNamespace")
}

// brokenPool makes a pool whose pods cannot be created.
func brokenPool(t *testing.T, client versioned.Interface, name string) {
	t.Helper()
	here.pods.refuse(name, fmt.Errorf("%w: no image of this name", podruntime.ErrInvalid))
	createPool(t, client, sdk.NewPool(name, "missing:latest", 1))
}

func TestPoolThatCannotStartPods(t *testing.T) {
	t.Parallel()
	client, _ := newClient(t)
	brokenPool(t, client, "broken")
	_, err := sdk.NewPools(client, namespace).WaitReady(waiting(t), "broken")
	failed := asError[*sdk.PoolFailedError](t, err)
	if failed.Pool != "broken" || failed.Reason == "" {
		t.Errorf("error %+v", failed)
	}
	wantWords(t, err, "no image of this name", "kubectl describe warmpool broken")
	_, err = sdk.NewSession(waiting(t), client, "broken")
	if again := asError[*sdk.PoolFailedError](t, err); again.Message != failed.Message {
		t.Errorf("error %+v, want %+v", again, failed)
	}
	noSandboxes(t, client, "broken")
}

// TestFailureMayPass has pods fail for a reason that may pass, and does or does not.
func TestFailureMayPass(t *testing.T) {
	t.Parallel()
	client, network := newClient(t)
	here.pods.refuse("passing", errors.New("the disk is busy"))
	createPool(t, client, sdk.NewPool("passing", "image", 1))
	pools := sdk.NewPools(client, namespace)
	pools.SetGrace(time.Millisecond)
	_, err := pools.WaitReady(waiting(t), "passing")
	wantWords(t, asError[*sdk.PoolFailedError](t, err), "the disk is busy")

	before := network.count("WATCH warmpools")
	pools.SetGrace(time.Hour)
	ended := make(chan error, 1)
	ctx := waiting(t)
	go func() {
		_, err := pools.WaitReady(ctx, "passing")
		ended <- err
	}()
	network.await(t, "WATCH warmpools", before+1)
	here.pods.refuse("passing", nil)
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

// errNotYet keeps a pool from starting pods, for a reason that may pass.
var errNotYet = errors.New("not yet")

// TestPoolBreaksDuringTheWait has a session wait for a pool, which is deleted or
// found to be broken.
func TestPoolBreaksDuringTheWait(t *testing.T) {
	t.Parallel()
	client, _ := newClient(t)
	pools := sdk.NewPools(client, namespace)
	tests := map[string]struct {
		happen func(pool string) error
		want   func(err error) bool
	}{
		"deleted": {
			func(pool string) error { return pools.Delete(context.Background(), pool) },
			func(err error) bool { return errors.Is(err, sdk.ErrPoolNotFound) },
		},
		"broken": {
			func(pool string) error {
				here.pods.refuse(pool, fmt.Errorf("%w: no such volume", podruntime.ErrInvalid))
				stored, err := client.ArlV1alpha1().WarmPools(namespace).Get(t.Context(), pool, getNow)
				if err != nil {
					return err
				}
				stored.Spec.Replicas = ptr.To(int32(1))
				_, err = client.ArlV1alpha1().WarmPools(namespace).Update(t.Context(), stored, updateNow)
				return err
			},
			func(err error) bool { return errors.As(err, new(*sdk.PoolFailedError)) },
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			client, network := newClient(t)
			pool := "waits-" + name
			here.pods.refuse(pool, errNotYet)
			createPool(t, client, sdk.NewPool(pool, "image", 0))
			failed := make(chan error, 1)
			ctx := waiting(t)
			go func() {
				_, err := sdk.NewSession(ctx, client, pool)
				failed <- err
			}()
			network.await(t, "WATCH warmpools", 1)
			network.await(t, "WATCH sandboxes", 1)
			eventually(t, name, func() error { return test.happen(pool) })
			if err := <-failed; !test.want(err) {
				t.Errorf("error %v", err)
			}
			noSandboxes(t, client, pool)
		})
	}
}

func TestContextEndsTheWait(t *testing.T) {
	t.Parallel()
	client, network := newClient(t)
	here.pods.refuse("empty", errNotYet)
	createPool(t, client, sdk.NewPool("empty", "image", 0))
	ctx, cancel := context.WithCancel(waiting(t))
	failed := make(chan error, 1)
	go func() {
		_, err := sdk.NewSession(ctx, client, "empty")
		failed <- err
	}()
	network.await(t, "WATCH sandboxes", 1)
	eventually(t, "the sandbox's status says for what it waits", func() error {
		for _, name := range sandboxesOf(t, client, "empty") {
			sandbox, err := client.ArlV1alpha1().Sandboxes(namespace).Get(t.Context(), name, getNow)
			if err == nil && sandbox.Status.Message != "" {
				return nil
			}
		}
		return errors.New("it does not")
	})
	cancel()
	err := <-failed
	if !errors.Is(err, context.Canceled) {
		t.Errorf("error %v, want %v", err, context.Canceled)
	}
	noSandboxes(t, client, "empty")
}

func TestWaitReadyTellsHowFarItCame(t *testing.T) {
	t.Parallel()
	client, network := newClient(t)
	pool := sdk.NewPool("half", "image", 2)
	pool.Spec.MaxPods = ptr.To(int32(1))
	createPool(t, client, pool)
	pools := sdk.NewPools(client, namespace)
	eventually(t, "one pod", func() error {
		stored, err := client.ArlV1alpha1().WarmPools(namespace).Get(t.Context(), "half", getNow)
		if err == nil && (stored.Status.ReadyReplicas != 1 || len(stored.Status.Conditions) == 0) {
			err = fmt.Errorf("status is %+v", stored.Status)
		}
		return err
	})
	ctx, cancel := context.WithCancel(waiting(t))
	failed := make(chan error, 1)
	go func() {
		_, err := pools.WaitReady(ctx, "half")
		failed <- err
	}()
	network.await(t, "WATCH warmpools", 1)
	cancel()
	err := <-failed
	if !errors.Is(err, context.Canceled) {
		t.Fatalf("error %v, want %v", err, context.Canceled)
	}
	wantWords(t, err, `pool "half"`, "1 of 2")
}

func TestPoolsOfANamespace(t *testing.T) {
	t.Parallel()
	client, network := newClient(t)
	network.plan("POST warmpools", lost, status(503))
	network.plan("DELETE warmpools", lost)
	pools := sdk.NewPools(client, "pools")
	ctx := waiting(t)
	for _, name := range []string{"a", "b"} {
		if _, err := pools.Create(ctx, sdk.NewPool(name, "image", 1)); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := pools.Create(ctx, sdk.NewPool("a", "image", 1)); !errors.Is(err, sdk.ErrConflict) {
		t.Errorf("creating again: error %v, want %v", err, sdk.ErrConflict)
	}
	ready, err := pools.WaitReady(ctx, "b")
	if err != nil || ready.Status.ReadyReplicas < 1 {
		t.Errorf("pool %+v, error %v", ready, err)
	}
	for _, want := range [][]string{{"a", "b"}, {"b"}, nil} {
		list, err := pools.List(ctx)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, pool := range list {
			got = append(got, pool.Name)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("pools (-want +got):\n%s", diff)
		}
		if len(want) > 0 {
			if err := pools.Delete(ctx, want[0]); err != nil {
				t.Error(err)
			}
		}
	}
	if err := pools.Delete(ctx, "a"); err != nil {
		t.Errorf("deleting a pool that is gone: %v", err)
	}
}
