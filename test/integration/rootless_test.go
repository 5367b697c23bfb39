package integration

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"arl.io/arl/test/harness"
)

// ordinaryUser is nobody, on most machines; that there is no such user in
// /etc/passwd does not matter.
const ordinaryUser = 65534

// rootlessTests are tests of this package that an ordinary user runs too.
var rootlessTests = []string{
	"TestCreateAnswersReady",
	"TestFiveStepsSucceed",
	"TestSIGTERMLeavesTasksRunning",
	"TestNothingIsLeft",
}

// TestOrdinaryUser runs this very test binary as an ordinary user, for a few of
// its tests.
func TestOrdinaryUser(t *testing.T) {
	needRoot(t, "it becomes another user; all tests of this package run as one anyway")
	t.Parallel()
	dir := ordinaryHome(t)
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	copyProgram(t, self, filepath.Join(dir, "tests"))
	for _, name := range []string{"arl-apiserver", "arl-agent", "arl-launcher"} {
		copyProgram(t, filepath.Join(filepath.Dir(binary()), name), filepath.Join(dir, name))
	}

	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	command := exec.CommandContext(ctx, filepath.Join(dir, "tests"),
		"-test.v", "-test.count=1", "-test.timeout=3m", "-test.run", "^("+strings.Join(rootlessTests, "|")+")$")
	command.Dir = dir
	command.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + dir, "TMPDIR=" + dir, "ARL_BIN=" + filepath.Join(dir, "arl-apiserver")}
	command.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: ordinaryUser, Gid: ordinaryUser}}
	got, err := runToEnd(ctx, command)
	if err != nil {
		t.Fatal(err)
	}
	if skipped := lineWith(got.Stdout, "an ordinary user may not make user namespaces here"); skipped != "" {
		t.Skip(skipped)
	}
	if got.Code != 0 {
		t.Errorf("exit code %d:\n%s%s", got.Code, got.Stdout, got.Stderr)
	}
	for _, name := range rootlessTests {
		if !strings.Contains(got.Stdout, "--- PASS: "+name+" ") {
			t.Errorf("%s did not pass as user %d", name, ordinaryUser)
		}
	}
}

// ordinaryHome makes a directory of the ordinary user that it can reach, and at
// the test's end ends what was started below it. Its name is short, because
// sockets are below it.
func ordinaryHome(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "arl-user-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		held, err := harness.HoldingsOf(dir)
		if err != nil {
			t.Error(err)
		}
		for pid := range held.PIDs {
			t.Errorf("process %d is left: %s", pid, harness.CommandOf(pid))
			if err := syscall.Kill(pid, syscall.SIGKILL); err != nil && !errors.Is(err, syscall.ESRCH) {
				t.Error(err)
			}
		}
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	if err := os.Chown(dir, ordinaryUser, ordinaryUser); err != nil {
		t.Fatal(err)
	}
	return dir
}

// copyProgram copies a program, for all to run. It is another process that does
// so: a descriptor for writing that a fork of this one carries away for a
// moment would make the program "busy".
func copyProgram(t *testing.T, from, to string) {
	t.Helper()
	if out, err := exec.CommandContext(t.Context(), "install", "-m", "755", from, to).CombinedOutput(); err != nil {
		t.Fatalf("copy %s: %v: %s", from, err, out)
	}
}

func lineWith(text, words string) string {
	for line := range strings.Lines(text) {
		if strings.Contains(line, words) {
			return strings.TrimSpace(line)
		}
	}
	return ""
}
