package integration

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"arl.io/arl/pkg/generated/clientset/versioned"
	"arl.io/arl/pkg/podruntime"
	"arl.io/arl/pkg/sdk"
)

// sdkClient returns a client as a program would have it.
func (n *tenant) sdkClient() versioned.Interface {
	n.T.Helper()
	config, err := n.server.RESTConfig()
	if err != nil {
		n.T.Fatal(err)
	}
	client, err := sdk.NewClient(config)
	if err != nil {
		n.T.Fatal(err)
	}
	return client
}

// session makes a session in the tenant's namespace, of a pool made for it.
func (n *tenant) session(opts ...sdk.Option) *sdk.Session {
	n.T.Helper()
	ctx, cancel := context.WithTimeout(n.T.Context(), patience)
	defer cancel()
	client := n.sdkClient()
	pools := sdk.NewPools(client, n.Namespace)
	if _, err := pools.Create(ctx, sdk.NewPool("pool", "host", 1)); err != nil {
		n.T.Fatal(err)
	}
	if _, err := pools.WaitReady(ctx, "pool"); err != nil {
		n.T.Fatal(err)
	}
	session, err := sdk.NewSession(ctx, client, "pool", append(opts, sdk.WithNamespace(n.Namespace))...)
	if err != nil {
		n.T.Fatal(err)
	}
	return session
}

// TestExecuteOutlivesAKill kills the server while a step runs, which ends while
// there is none.
func TestExecuteOutlivesAKill(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	n := newTenant(t, s)
	session := n.session(sdk.WithKeepAlive())
	init := n.podInit(session.Name())
	type outcome struct {
		result *sdk.Result
		err    error
	}
	for round := range 3 {
		ended := make(chan outcome, 1)
		go func() {
			result, err := session.Run(t.Context(), fmt.Sprintf(
				"touch began-%d; until [ -e go-%d ]; do sleep 0.05; done; echo %d >>runs; cat runs; touch done-%d", round, round, round, round))
			ended <- outcome{result, err}
		}()
		there := func(name string) {
			eventually(t, name, func(context.Context) error {
				_, err := os.Stat(insidePod(init, fmt.Sprintf("/workspace/%s-%d", name, round)))
				return err
			})
		}
		there("began")
		s.mustKill(t)
		if err := os.WriteFile(insidePod(init, fmt.Sprintf("/workspace/go-%d", round)), nil, 0o600); err != nil {
			t.Fatal(err)
		}
		there("done")
		s.mustStart(t)
		want := "0\n1\n2\n"[:2*(round+1)]
		if got := <-ended; got.err != nil || got.result.Stdout != want || got.result.ExitCode != 0 {
			t.Fatalf("round %d: result %+v, error %v; want output %q", round, got.result, got.err, want)
		}
	}
	if err := session.Close(); err != nil {
		t.Error(err)
	}
	n.AwaitNoSandbox(session.Name())
}

// TestSessionsOutliveRestarts has sessions at work all the time while the server
// is killed, or told to end: in creates, deletes and waits, wherever they happen
// to be.
func TestSessionsOutliveRestarts(t *testing.T) {
	t.Parallel()
	const workers, restarts, least = 4, 6, 10
	s := startServer(t)
	n := newTenant(t, s)
	client := n.sdkClient()
	n.FillPool(hostPool("pool", workers))
	ctx, cancel := context.WithTimeout(t.Context(), 2*patience)
	defer cancel()

	var mu sync.Mutex
	executed := 0
	stop := make(chan struct{})
	var group errgroup.Group
	for range workers {
		group.Go(func() error {
			for {
				count, err := workInSession(ctx, client, n.Namespace)
				mu.Lock()
				executed += count
				mu.Unlock()
				if err != nil {
					return err
				}
				select {
				case <-stop:
					return nil
				default:
				}
			}
		})
	}
	atLeast := func(want int) func(context.Context) error {
		return func(context.Context) error {
			mu.Lock()
			defer mu.Unlock()
			if executed < want {
				return fmt.Errorf("%d of %d", executed, want)
			}
			return nil
		}
	}
	for restart := range restarts {
		mu.Lock()
		want := executed + least
		mu.Unlock()
		eventually(t, "more steps", atLeast(want))
		if restart%2 == 0 {
			s.mustKill(t)
		} else {
			s.mustStop(t)
		}
		s.mustStart(t)
	}
	close(stop)
	if err := group.Wait(); err != nil {
		t.Error(err)
	}
	eventually(t, "no sandboxes", func(ctx context.Context) error {
		list, err := n.Sandboxes().List(ctx, everything)
		if err == nil && len(list.Items) > 0 {
			err = fmt.Errorf("there are %d", len(list.Items))
		}
		return err
	})
}

// workInSession does a few Executes, each of which sees that those before it
// have run once and in order. It returns how many there were.
func workInSession(ctx context.Context, client versioned.Interface, namespace string) (count int, err error) {
	session, err := sdk.NewSession(ctx, client, "pool", sdk.WithNamespace(namespace))
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, session.Close()) }()
	var want strings.Builder
	for i := range 5 {
		fmt.Fprintln(&want, i)
		result, err := session.Run(ctx, fmt.Sprintf("echo %d >>runs; cat runs", i))
		if err != nil {
			return count, err
		}
		if result.Stdout != want.String() {
			return count, fmt.Errorf("task %s has written %q, want %q", result.Task, result.Stdout, want.String())
		}
		count++
	}
	return count, nil
}

func TestSessionNobodyClosesGoes(t *testing.T) {
	t.Parallel()
	n := newTenant(t, shared(t))
	n.AwaitNoSandbox(n.session(sdk.WithIdleTimeout(time.Second)).Name())
}

func TestImageThatCannotBeHadEndsTheWait(t *testing.T) {
	t.Parallel()
	n := newTenant(t, shared(t))
	client := n.sdkClient()
	pools := sdk.NewPools(client, n.Namespace)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if _, err := pools.Create(ctx, sdk.NewPool("pool", "oci-archive:/nowhere/image.tar", 1)); err != nil {
		t.Fatal(err)
	}
	var failed *sdk.PoolFailedError
	if _, err := pools.WaitReady(ctx, "pool"); !errors.As(err, &failed) || failed.Reason != podruntime.ReasonImagePull {
		t.Errorf("error %v, want a %T with reason %s", err, failed, podruntime.ReasonImagePull)
	} else {
		wantWords(t, err.Error(), "/nowhere/image.tar")
	}
	failed = nil
	if _, err := sdk.NewSession(ctx, client, "pool", sdk.WithNamespace(n.Namespace)); !errors.As(err, &failed) {
		t.Errorf("error %v, want a %T", err, failed)
	}
}
