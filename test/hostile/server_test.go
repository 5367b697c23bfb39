package hostile

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"k8s.io/utils/ptr"

	"arl.io/arl/pkg/apis/arl/v1alpha1"
	"arl.io/arl/pkg/generated/clientset/versioned"
	"arl.io/arl/test/harness"
	"arl.io/arl/test/space"
)

const (
	// patience is how long anything is waited for: far longer than it takes, so that a busy machine
	// fails no test. Some lies are only over when a task's timeout and a margin of 30 s are.
	patience     = 150 * time.Second
	pollInterval = 50 * time.Millisecond
	// fileSystemSize is that of the data directory's file system, so that attackers of the disk have
	// little to fill.
	fileSystemSize = 1 << 30
)

// Options of requests that ask for nothing special.
var (
	createNow  = metav1.CreateOptions{}
	getNow     = metav1.GetOptions{}
	deleteNow  = metav1.DeleteOptions{}
	everything = metav1.ListOptions{}
)

var waits = space.Waiter{Patience: patience, Pause: pollInterval}

// server is a standalone server whose agents can be hostile.
type server struct {
	*harness.Server
	data   string
	config *rest.Config
	client *versioned.Clientset
	// pid is that of the process: an attack must not change it.
	pid int
	// held is what the server held when holdings was called.
	held harness.Holdings
}

// startServer starts a server for one test. At the test's end it must be the same process, end
// within the time of a stop, and leave nothing.
func startServer(t *testing.T, args ...string) *server {
	t.Helper()
	needRoot(t)
	// Not the test's own directory: its long name leaves no room for sockets.
	dir, err := os.MkdirTemp("", "arl-hostile-")
	if err != nil {
		t.Fatal(err)
	}
	s := &server{data: filepath.Join(dir, "data")}
	mount(t, dir)
	args = append([]string{"--allow-host-image", "--agent-path", agent()}, args...)
	if s.Server, err = harness.New(harness.Config{Binary: binary(), Dir: s.data, Args: args}); err != nil {
		t.Fatal(err)
	}
	if err := s.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("the end of the server's log:\n%s", s.LogTail())
		}
		s.end(t)
		if err := errors.Join(syscall.Unmount(dir, 0), os.RemoveAll(dir)); err != nil {
			t.Error(err)
		}
	})
	s.pid = s.PID()
	if s.config, err = s.RESTConfig(); err != nil {
		t.Fatal(err)
	}
	if s.client, err = versioned.NewForConfig(s.config); err != nil {
		t.Fatal(err)
	}
	return s
}

// mount gives a directory a file system of its own.
func mount(t *testing.T, dir string) {
	t.Helper()
	if err := syscall.Mount("arl-hostile", dir, "tmpfs", 0, fmt.Sprintf("size=%d,mode=700", fileSystemSize)); err != nil {
		t.Skipf("no file system can be mounted here: %v", err)
	}
}

// end stops the server, purges what it left, and looks for what is left all the same.
func (s *server) end(t *testing.T) {
	select {
	case <-s.Exited():
		t.Error("the server has ended before its time")
	default:
		if err := s.Stop(); err != nil {
			t.Error(err)
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := s.Purge(ctx); err != nil {
		t.Error(err)
	}
	err := waits.Until(ctx, func(context.Context) error { return s.held.Left() })
	if err != nil {
		t.Errorf("left behind: %v", err)
	}
}

// wantTrashGone waits until the server's directory holds the files of so many pods and no others.
func (s *server) wantTrashGone(t *testing.T, pods int) {
	t.Helper()
	waits.Eventually(t, "the files of the pods are gone", func(context.Context) error {
		for folder, want := range map[string]int{"pods": pods, "trash": 0} {
			entries, err := os.ReadDir(filepath.Join(s.data, "runtime", folder))
			if err == nil && len(entries) != want {
				err = fmt.Errorf("%s has %d entries, want %d", folder, len(entries), want)
			}
			if err != nil && !os.IsNotExist(err) {
				return err
			}
		}
		return nil
	})
}

// note remembers what the server and its pods hold now, to look for it at the end.
func (s *server) note(t *testing.T) {
	t.Helper()
	var err error
	if s.held, err = harness.HoldingsOf(s.data); err != nil {
		t.Fatal(err)
	}
}

// descriptors is how many the server's process has open.
func (s *server) descriptors() (int, error) {
	entries, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", s.pid))
	return len(entries), err
}

// tenant returns the space of a tenant with a namespace.
func (s *server) tenant(t *testing.T, namespace string) *space.Space {
	return &space.Space{T: t, Namespace: namespace, Waiter: waits, Client: func() versioned.Interface { return s.client }}
}

// pool is a pool of the machine's own files, whose pods have limits.
func pool(name string, replicas int32, env ...corev1.EnvVar) *v1alpha1.WarmPool {
	return &v1alpha1.WarmPool{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: v1alpha1.WarmPoolSpec{
			Replicas: &replicas, MaxPods: ptr.To(replicas),
			Template: corev1.PodTemplateSpec{Spec: corev1.PodSpec{Containers: []corev1.Container{{
				Name: "executor", Image: "host", Env: env,
				Resources: corev1.ResourceRequirements{
					Requests: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("20m")},
					Limits:   corev1.ResourceList{corev1.ResourceMemory: resource.MustParse("128Mi")},
				},
			}}}},
		},
	}
}

// echo is a task that says a word.
func echo(sandbox, name, word string) *v1alpha1.Task {
	task := space.TaskIn(sandbox, name, space.Command("echo", "echo", word))
	task.Spec.Timeout = "1m"
	return task
}

// wantEcho runs a task that says a word in a sandbox.
func wantEcho(n *space.Space, sandbox, name string) {
	n.T.Helper()
	if got := n.Succeed(echo(sandbox, name, name)).Status.Stdout; got != name+"\n" {
		n.T.Errorf("task %s wrote %q", name, got)
	}
}
