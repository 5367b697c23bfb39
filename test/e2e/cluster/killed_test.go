package cluster

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/util/wait"
)

// victim names the folder of the cluster that this process is to hold until it is killed.
const victim = "ARL_E2E_VICTIM"

func TestMain(m *testing.M) {
	if dir := os.Getenv(victim); dir != "" {
		if err := holdUntilKilled(dir); err != nil {
			fmt.Println("Error:", err)
			os.Exit(1)
		}
	}
	os.Exit(m.Run())
}

// bare is a cluster without a program of Kubernetes in it.
func bare(ctx context.Context, dir string) (*Cluster, error) {
	lock, err := acquire(ctx, filepath.Join(dir, "lock"))
	if err != nil {
		return nil, err
	}
	c := &Cluster{
		lock: lock, processes: map[string]*process{}, run: filepath.Join(dir, "run"), logs: filepath.Join(dir, "logs"),
		config: Config{Dir: dir}, cgroup: cgroupName(dir), programs: map[string]string{"holder": filepath.Join(dir, "holder")},
	}
	for _, step := range []func(context.Context) error{c.removeLeftovers, c.makeFolders, c.makeNamespaces} {
		if err := step(ctx); err != nil {
			return nil, errors.Join(err, c.Close())
		}
	}
	return c, nil
}

func holdUntilKilled(dir string) error {
	c, err := bare(context.Background(), dir)
	if err != nil {
		return err
	}
	if err := c.makeCgroups(); err != nil {
		return err
	}
	// A process in the pods' cgroup that heeds no signal but KILL, and its child.
	tops, err := cgroupDirs(c.cgroup)
	if err != nil {
		return err
	}
	script := fmt.Sprintf(`echo $$ >%s/cgroup.procs; trap "" TERM HUP INT; sleep 7654 & echo started; wait`, tops[0])
	if _, err := c.spawn("stubborn", "/bin/sh", "-c", script); err != nil {
		return err
	}
	fmt.Println("holding")
	select {}
}

// TestKilledRunLeavesNothing kills a run with SIGKILL. Its processes end by
// themselves, and the next run removes what is on disk.
func TestKilledRunLeavesNothing(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can make namespaces")
	}
	dir := t.TempDir()
	if err := compile(t.Context(), "..", "./holder", filepath.Join(dir, "holder"), ""); err != nil {
		t.Fatal(err)
	}
	child := exec.Command(os.Args[0])
	child.Env = append(os.Environ(), victim+"="+dir)
	child.Stderr = os.Stderr
	stdout, err := child.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(stdout).ReadString('\n')
	if err != nil || line != "holding\n" {
		t.Fatalf("the run said %q: %v", line, err)
	}
	waitFor(t, "the stubborn process runs", func() bool {
		log, err := os.ReadFile(filepath.Join(dir, "logs", "stubborn.log"))
		return err == nil && strings.Contains(string(log), "started")
	})
	if _, err := bare(t.Context(), dir); !errors.Is(err, ErrBusy) {
		t.Fatalf("beside a run, another got %v, want %v", err, ErrBusy)
	}
	if err := child.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := child.Wait(); err == nil {
		t.Fatal("the killed run ended well")
	}

	c, err := bare(t.Context(), dir)
	if err != nil {
		t.Fatalf("start after a killed run: %v", err)
	}
	if out, err := output(t.Context(), "", "ps", "-eo", "args"); err != nil || strings.Contains(out, "sleep 7654") {
		t.Errorf("a process of the killed run is left (%v)", err)
	}
	if err := c.Close(); err != nil {
		t.Errorf("close: %v", err)
	}
	dirs, err := cgroupDirs(c.cgroup)
	if err != nil {
		t.Fatal(err)
	}
	for _, left := range append(dirs, c.run) {
		if _, err := os.Stat(left); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s is left (%v)", left, err)
		}
	}
}

func waitFor(t *testing.T, what string, holds func() bool) {
	t.Helper()
	err := wait.PollUntilContextTimeout(t.Context(), pollInterval, dyingTimeout, true, func(context.Context) (bool, error) {
		return holds(), nil
	})
	if err != nil {
		t.Fatalf("wait until %s: %v", what, err)
	}
}

func TestPrefixes(t *testing.T) {
	for key, want := range map[string]string{
		"/registry/pods/default/web":               "/registry/pods",
		"/registry/arl.io/tasks/default/t":         "/registry/arl.io/tasks",
		"/registry/services/specs/default/web":     "/registry/services",
		"/registry/namespaces/default":             "/registry/namespaces",
		"/registry/masterleases/10.0.0.1":          "/registry/masterleases",
		"compact_rev_key":                          "/compact_rev_key",
		"/registry/apiregistration.k8s.io/apis/v1": "/registry/apiregistration.k8s.io/apis",
	} {
		if got := prefixOf(key); got != want {
			t.Errorf("prefix of %s is %s, want %s", key, got, want)
		}
	}
}
