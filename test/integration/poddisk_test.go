package integration

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"

	"arl.io/arl/pkg/apis/arl/v1alpha1"
)

// TestHostileDisk: a sandbox that fills the disk of the server's data, in one of several ways, fails
// with the reason, and its files are gone. Meanwhile every claim and every task of another tenant
// succeeds, and the server stays ready.
func TestHostileDisk(t *testing.T) {
	needRoot(t, "it mounts a file system of its own")
	t.Parallel()
	for name, script := range map[string]string{
		"written":   "cat /dev/zero > large; sleep 1000",
		"allocated": "fallocate -l 1G large; fallocate -l 100M large2; cat /dev/zero > large3; sleep 1000",
		"removed":   "exec 3> large; rm large; cat /dev/zero >&3; sleep 1000",
		"files":     "seq 100000 | xargs touch; sleep 1000",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := ownServer(t, "--storage-min-free", "8Mi", "--create-namespaces")
			mountSmall(t, s, 192<<20)
			if err := syscall.Mount("", s.data, "", syscall.MS_REMOUNT, fmt.Sprintf("size=%d,nr_inodes=12000", 192<<20)); err != nil {
				t.Fatal(err)
			}
			s.mustStart(t)
			hostile, honest := tenantIn(t, s, "hostile"), tenantIn(t, s, "honest")
			for _, n := range []*tenant{hostile, honest} {
				n.FillPool(hostPool("pool", 1))
			}
			hostile.CreateSandbox(sandboxOf("greedy", "pool"))
			hostile.AwaitSandbox("greedy", v1alpha1.SandboxReady)
			task := hostile.CreateTask(taskIn("greedy", "fill", shell("step", script)))
			for i := 0; ; i++ {
				honest.goesOn(i)
				if got, err := hostile.Sandboxes().Get(t.Context(), "greedy", getNow); err != nil || got.Status.Phase == v1alpha1.SandboxFailed {
					break
				}
				if i > 500 {
					t.Fatal("the hostile sandbox has not failed")
				}
			}
			got := hostile.AwaitSandbox("greedy", v1alpha1.SandboxFailed)
			if got.Status.Reason != v1alpha1.SandboxReasonDiskPressure {
				t.Errorf("the sandbox failed with %s: %s", got.Status.Reason, got.Status.Message)
			}
			wantWords(t, got.Status.Message, "the pod was ended to make room")
			hostile.wantFailed(hostile.AwaitEnd(task.Name), v1alpha1.TaskReasonSandboxFailed, v1alpha1.FailureInfrastructure)
			for i := range 3 {
				honest.goesOn(1000 + i)
			}
			if err := s.get(t.Context(), s.config, "/readyz"); err != nil {
				t.Errorf("not ready: %v", err)
			}
			eventually(t, "the space to be free", func(context.Context) error {
				var fs syscall.Statfs_t
				if err := syscall.Statfs(s.data, &fs); err != nil {
					return err
				}
				if free := fs.Bavail * uint64(fs.Bsize); free < 32<<20 || fs.Ffree < 5000 {
					return fmt.Errorf("%d bytes and %d files are free", free, fs.Ffree)
				}
				return nil
			})
		})
	}
}

// goesOn has an honest tenant claim a sandbox and run a task in it, with not one request failing.
func (n *tenant) goesOn(i int) {
	n.T.Helper()
	name := fmt.Sprintf("honest-%d", i)
	n.CreateSandbox(sandboxOf(name, "pool"))
	n.AwaitSandbox(name, v1alpha1.SandboxReady)
	n.CreateTask(taskIn(name, name, shell("echo", "echo hello")))
	if done := n.AwaitEnd(name); done.Status.State != v1alpha1.TaskSucceeded || done.Status.Stdout != "hello\n" {
		n.T.Errorf("the honest task %s is %s", name, describe(done))
	}
	if err := n.Sandboxes().Delete(n.T.Context(), name, deleteNow); err != nil {
		n.T.Error(err)
	}
}

// TestPodAboveItsStorageLimit: the limit of the template counts, the failure names it, and is the user's.
func TestPodAboveItsStorageLimit(t *testing.T) {
	t.Parallel()
	n := newTenant(t, startServer(t))
	pool := hostPool("pool", 1)
	pool.Spec.Template.Spec.Containers[0].Resources.Limits = corev1.ResourceList{corev1.ResourceEphemeralStorage: resource.MustParse("8Mi")}
	n.FillPool(pool)
	n.CreateSandbox(sandboxOf("x", "pool"))
	n.AwaitSandbox("x", v1alpha1.SandboxReady)
	task := n.CreateTask(taskIn("x", "large", shell("step", "head -c 20M /dev/zero > large; sleep 1000")))
	got := n.AwaitSandbox("x", v1alpha1.SandboxFailed)
	if got.Status.Reason != v1alpha1.SandboxReasonDiskLimitExceeded {
		t.Errorf("the sandbox failed with %s: %s", got.Status.Reason, got.Status.Message)
	}
	wantWords(t, got.Status.Message, "its limit of ephemeral-storage is 8Mi")
	n.wantFailed(n.AwaitEnd(task.Name), v1alpha1.TaskReasonSandboxFailed, v1alpha1.FailureUser)
}

// TestRuntimeOnItsOwnDisk: with a file system of its own for containers, a sandbox that fills it costs
// the database nothing.
func TestRuntimeOnItsOwnDisk(t *testing.T) {
	needRoot(t, "it mounts a file system of its own")
	t.Parallel()
	s := ownServer(t)
	dir := filepath.Join(s.data, "runtime")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mount("arl-test", dir, "tmpfs", 0, fmt.Sprintf("size=%d,mode=700", 32<<20)); err != nil {
		t.Skipf("no file system can be mounted here: %v", err)
	}
	t.Cleanup(func() {
		if err := s.Purge(context.Background()); err != nil {
			t.Error(err)
		}
		if err := syscall.Unmount(dir, 0); err != nil {
			t.Error(err)
		}
	})
	s.mustStart(t)
	n := tenantIn(t, s, "default")
	n.FillPool(hostPool("pool", 1))
	n.CreateSandbox(sandboxOf("x", "pool"))
	n.AwaitSandbox("x", v1alpha1.SandboxReady)
	n.CreateTask(taskIn("x", "large", shell("step", "cat /dev/zero > large; sleep 1000")))
	if got := n.AwaitSandbox("x", v1alpha1.SandboxFailed); got.Status.Reason != v1alpha1.SandboxReasonDiskPressure {
		t.Errorf("the sandbox failed with %s: %s", got.Status.Reason, got.Status.Message)
	}
	s.mustStop(t)
}
