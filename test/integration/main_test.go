package integration

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
)

// parallelTests is how many tests run at the same time. It is more than there
// are processors because tests mostly wait.
const parallelTests = "8"

// checkout is the root of the work tree, seen from this package.
const checkout = "../.."

func TestMain(m *testing.M) {
	flag.Parse()
	os.Exit(run(m))
}

func run(m *testing.M) (code int) {
	if _, err := os.Stat(binary()); err != nil {
		fmt.Fprintf(os.Stderr, "%v: run make build first, or name arl-apiserver in ARL_BIN\n", err)
		return 1
	}
	if err := raiseParallelism(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	code = m.Run()
	if err := stopShared(code != 0); err != nil {
		fmt.Fprintln(os.Stderr, "the shared server:", err)
		return 1
	}
	return code
}

// raiseParallelism sets -parallel, unless whoever started the tests has.
func raiseParallelism() error {
	given := false
	flag.Visit(func(f *flag.Flag) { given = given || f.Name == "test.parallel" })
	if given {
		return nil
	}
	return flag.Set("test.parallel", parallelTests)
}

// binary is the path of arl-apiserver.
func binary() string {
	if path := os.Getenv("ARL_BIN"); path != "" {
		return path
	}
	path, err := filepath.Abs(filepath.Join(checkout, "bin", "arl-apiserver"))
	if err != nil {
		panic(err) // no working directory
	}
	return path
}

// kubectlPath is the kubectl to test with: that of "make test-integration", or
// what it would take.
var kubectlPath = sync.OnceValues(func() (string, error) {
	if path := os.Getenv("KUBECTL"); path != "" {
		return path, nil
	}
	command := exec.Command(filepath.Join(checkout, "hack", "kubectl.sh"))
	command.Stderr = os.Stderr
	out, err := command.Output()
	if err != nil {
		return "", fmt.Errorf("find or build kubectl: %w", err)
	}
	return strings.TrimSpace(string(out)), nil
})

// needContainers skips a test where no container can be had at all.
func needContainers(t *testing.T) {
	t.Helper()
	if err := containersPossible(); err != nil {
		t.Skipf("not root, and an ordinary user may not make user namespaces here: %v", err)
	}
}

var containersPossible = sync.OnceValue(func() error {
	if os.Geteuid() == 0 {
		return nil
	}
	command := exec.Command("true")
	command.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWUSER | syscall.CLONE_NEWNS}
	return command.Run()
})

func needRoot(t *testing.T, why string) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skipf("needs root: %s", why)
	}
}

// sharedServer is started by the first test that asks for it, and stopped by TestMain.
var sharedServer struct {
	mu     sync.Mutex
	server *server
	err    error
}

// shared returns the server that tests share.
func shared(t *testing.T) *server {
	t.Helper()
	needContainers(t)
	s := &sharedServer
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.server == nil && s.err == nil {
		s.server, s.err = newServer()
		if s.err == nil {
			s.err = s.server.start(context.Background())
		}
	}
	if s.err != nil {
		t.Fatalf("start the shared server: %v", s.err)
	}
	return s.server
}

func stopShared(failed bool) error {
	s := sharedServer.server
	if s == nil {
		return nil
	}
	if failed {
		fmt.Fprintf(os.Stderr, "the end of the shared server's log:\n%s\n", s.LogTail())
	}
	return s.remove()
}
