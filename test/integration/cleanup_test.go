package integration

import (
	"context"
	"fmt"
	"os"
	"testing"

	"k8s.io/apimachinery/pkg/util/rand"
	"k8s.io/utils/ptr"

	"arl.io/arl/pkg/apis/arl/v1alpha1"
	"arl.io/arl/test/harness"
)

// TestNothingIsLeft has pods at work, idle, and with commands that do not want
// to end; then it removes everything, in one of the ways there are.
func TestNothingIsLeft(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name   string
		remove func(n *tenant)
	}{
		{"delete all, then stop", func(n *tenant) {
			n.deleteAll()
			n.server.mustStop(n.T)
		}},
		{"stop, then purge", func(n *tenant) {
			n.server.mustStop(n.T)
			n.purge()
		}},
		{"kill -9, then purge", func(n *tenant) {
			n.server.mustKill(n.T)
			n.purge()
		}},
		{"kill -9, start, delete all, stop", func(n *tenant) {
			n.server.mustKill(n.T)
			n.server.mustStart(n.T)
			n.deleteAll()
			n.server.mustStop(n.T)
		}},
		{"kill -9 while pods start, then purge", func(n *tenant) {
			n.CreatePool(hostPool("starting", 8))
			n.server.mustKill(n.T)
			n.purge()
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			n := newTenant(t, startServer(t))
			mark := n.makeBusy()
			held, err := harness.HoldingsOf(n.server.data)
			if err != nil {
				t.Fatal(err)
			}
			if len(held.PIDs) < 3 || len(held.Nets) < 2 {
				t.Fatalf("a server with two pods and a command holds only %+v", held)
			}
			if os.Geteuid() == 0 && len(held.Cgroups) == 0 {
				t.Log("pods have no cgroups on this machine")
			}
			tt.remove(n)
			eventually(t, "nothing left", func(context.Context) error {
				if pids := marked(t, mark); len(pids) > 0 {
					return fmt.Errorf("processes %v of a step", pids)
				}
				return held.Left()
			})
		})
	}
}

// makeBusy has a pod at work and one idle. What runs in the first carries the
// mark, and wants to outlive whoever ends it: it hears no signal that it may be
// deaf to, and has left its session.
func (n *tenant) makeBusy() (mark string) {
	n.T.Helper()
	mark = rand.String(16)
	pool := hostPool("pool", 1)
	pool.Spec.MaxPods = ptr.To(int32(2))
	n.FillPool(pool)
	n.CreateSandbox(sandboxOf("x", "pool"))
	n.AwaitSandbox("x", v1alpha1.SandboxReady)
	step := shell("deaf", `trap "" TERM INT HUP; setsid sh -c 'trap "" TERM INT HUP; while :; do sleep 1; done' & while :; do sleep 1; done`)
	step.Env = map[string]string{markVariable: mark}
	n.CreateTask(taskIn("x", "stays", step))
	eventually(n.T, "the step's processes", func(context.Context) error {
		if found := len(marked(n.T, mark)); found < 2 {
			return fmt.Errorf("%d processes have the mark", found)
		}
		return nil
	})
	eventually(n.T, "an idle pod beside the busy one", func(ctx context.Context) error {
		got, err := n.Pools().Get(ctx, "pool", getNow)
		if err == nil && (got.Status.ReadyReplicas != 1 || got.Status.AllocatedReplicas != 1) {
			err = fmt.Errorf("status is %+v", got.Status)
		}
		return err
	})
	return mark
}

// deleteAll deletes all objects and waits until their pods are gone.
func (n *tenant) deleteAll() {
	n.T.Helper()
	if err := n.empty(n.T.Context()); err != nil {
		n.T.Fatal(err)
	}
	eventually(n.T, "no objects", func(ctx context.Context) error {
		found, err := n.versions(ctx)
		if err == nil && len(found) > 0 {
			err = fmt.Errorf("there are still %v", found)
		}
		return err
	})
	// A server that is stopped before it has seen that their pool is gone leaves
	// pods to its next start.
	eventually(n.T, "no pods", func(context.Context) error { return harness.PodsLeft(n.server.data) })
}

func (n *tenant) purge() {
	n.T.Helper()
	if err := n.server.Purge(n.T.Context()); err != nil {
		n.T.Fatal(err)
	}
}
