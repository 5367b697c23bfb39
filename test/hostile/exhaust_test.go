package hostile

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"arl.io/arl/pkg/apis/arl/v1alpha1"
	"arl.io/arl/test/hostile/step"
	"arl.io/arl/test/space"
)

// TestExhaustion has one pod for each resource take all there is of it. Beside them, an ordinary
// step of another pod gets what it needs of each, and when their sandboxes have gone, so has all
// they held.
func TestExhaustion(t *testing.T) {
	s := startServer(t)
	honest := s.tenant(t, "honest")
	honest.FillPool(pool("pool", 1))
	honest.ReadySandbox("box", "pool")
	resources := step.Resources()
	n := s.tenant(t, "exhaustion")
	n.FillPool(pool("pool", int32(len(resources))))
	for _, name := range resources {
		n.ReadySandbox(name, "pool")
	}
	s.note(t)
	for _, name := range resources {
		task := space.TaskIn(name, name, attack("exhaust", name))
		task.Spec.Timeout = "2m"
		n.CreateTask(task)
	}
	for _, name := range resources {
		done := n.AwaitEnd(name)
		t.Logf("%s %s: %s", name, done.Status.State, strings.TrimSpace(done.Status.Stdout+" "+done.Status.Message))
	}
	t.Run("an ordinary step gets", func(t *testing.T) {
		wantOutcomes(t, honest.In(t).Perform(space.TaskIn("box", "needs", attack("need"))))
	})
	t.Run("a new pod starts", func(t *testing.T) {
		other := s.tenant(t, "other")
		other.FillPool(pool("pool", 1))
		other.ReadySandbox("box", "pool")
		wantOutcomes(t, other.Perform(space.TaskIn("box", "needs", attack("need"))))
	})
	for _, name := range resources {
		if err := n.Sandboxes().Delete(t.Context(), name, deleteNow); err != nil {
			t.Error(err)
		}
	}
	for _, name := range resources {
		n.AwaitNoSandbox(name)
	}
	if err := n.Pools().Delete(t.Context(), "pool", deleteNow); err != nil {
		t.Error(err)
	}
	s.wantTrashGone(t, 2)
}

// TestHostFilesCannotBeLocked has a step lock a program of the machine, which it sees by the image "host".
func TestHostFilesCannotBeLocked(t *testing.T) {
	s := startServer(t)
	n := s.tenant(t, "locks")
	n.FillPool(pool("pool", 1))
	n.ReadySandbox("box", "pool")
	s.note(t)
	const file = "/usr/bin/env"
	n.CreateTask(space.TaskIn("box", "locks", space.Command("lock", "flock", "-x", file, "sleep", "1000")))
	ended := n.AwaitTask("locks", "runs or has ended", func(task *v1alpha1.Task) error {
		if task.Status.State != v1alpha1.TaskRunning && !space.Ended(task) {
			return fmt.Errorf("it is %s", space.Outline(task))
		}
		return nil
	})
	handle, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer handle.Close()
	for range 20 {
		if err := unix.Flock(int(handle.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
			t.Fatalf("%s of the machine is locked by a step: %v (%s)", file, err, space.Outline(ended))
		}
		if err := unix.Flock(int(handle.Fd()), unix.LOCK_UN); err != nil {
			t.Fatal(err)
		}
		time.Sleep(pollInterval)
	}
}
