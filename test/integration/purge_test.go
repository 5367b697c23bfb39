package integration

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// TestPurgeRemovesLeftovers: purge removes what is left of deleted containers, says how much that was,
// and fails, naming it, if something cannot be removed.
func TestPurgeRemovesLeftovers(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	s.mustStop(t)
	trash := filepath.Join(s.data, "runtime", "trash")
	leave := func(name string) string {
		dir := filepath.Join(trash, name, "upper", "below")
		if err := os.MkdirAll(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		return dir
	}
	purge := func() (string, error) {
		out, err := exec.CommandContext(t.Context(), binary(), "purge", "--data-dir", s.data).CombinedOutput()
		return string(out), err
	}
	leave("first")
	leave("second")
	out, err := purge()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	wantWords(t, out, "0 containers removed", "2 leftovers of deleted containers and images removed")
	if out, err := purge(); err != nil || strings.Contains(out, "leftovers") {
		t.Errorf("with nothing left: %v\n%s", err, out)
	}

	needRoot(t, "it mounts a file system")
	leave("first")
	mounted := leave("stuck")
	if err := syscall.Mount("arl-test", mounted, "tmpfs", 0, "size=1m"); err != nil {
		t.Skipf("no file system can be mounted here: %v", err)
	}
	out, err = purge()
	if unmountErr := syscall.Unmount(mounted, 0); unmountErr != nil {
		t.Error(unmountErr)
	}
	var exit *exec.ExitError
	if !errors.As(err, &exit) {
		t.Errorf("purge of what cannot be removed: %v, want a failure", err)
	}
	wantWords(t, out, "1 leftovers of deleted containers and images removed", mounted, "unmount it")
	if out, err := purge(); err != nil {
		t.Errorf("after the unmount: %v\n%s", err, out)
	}
}
