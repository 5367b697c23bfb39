package integration

import (
	"fmt"
	"regexp"
	"strings"
	"testing"

	"arl.io/arl/pkg/apis/arl/v1alpha1"
)

// mostOutput is more than the status keeps of one stream, and far less than the
// tests write.
const mostOutput = 64 << 10

// wantBounded fails unless a stream of so many bytes was counted in full, and its
// head and tail kept.
func wantBounded(t *testing.T, task *v1alpha1.Task, wrote int64, head, tail string) {
	t.Helper()
	got := task.Status.Stdout
	if len(got) > mostOutput {
		t.Errorf("task %s keeps %d bytes of its output, want at most %d", task.Name, len(got), mostOutput)
	}
	if !strings.HasPrefix(got, head) || !strings.HasSuffix(got, tail) {
		t.Errorf("task %s keeps %.40q ... %q, want head %q and tail %q", task.Name, got, got[max(0, len(got)-40):], head, tail)
	}
	if !regexp.MustCompile(`\n.*[0-9]+ bytes.*\n`).MatchString(got) {
		t.Errorf("task %s does not say that bytes are missing", task.Name)
	}
	if got := task.Status.Steps[0].StdoutBytes; got != wrote {
		t.Errorf("task %s counts %d bytes, want %d", task.Name, got, wrote)
	}
}

func TestLargeOutputRunsOnce(t *testing.T) {
	t.Parallel()
	n := newTenant(t, shared(t))
	n.readySandboxes("x")
	for _, test := range []struct {
		name, script string
		wrote        int64
	}{
		{"line-of-300-kb", `printf 'head '; head -c 300000 /dev/zero | tr '\0' x; printf ' tail'`, 300000 + 10},
		{"line-of-2-mb", `printf 'head '; head -c 2000000 /dev/zero | tr '\0' x; printf ' tail'`, 2000000 + 10},
		{"lines-of-2-mb", `printf 'head '; yes 123456789 | head -c 2000000; printf ' tail'`, 2000000 + 10},
	} {
		done := n.Succeed(taskIn("x", test.name, shell("step", "echo ran >>runs-"+test.name+"; "+test.script)))
		wantBounded(t, done, test.wrote, "head ", " tail")
		if done.Status.Attempts != 1 {
			t.Errorf("%s: %d attempts were made", test.name, done.Status.Attempts)
		}
		n.oneLine("x", "runs-"+test.name)
	}
}

// TestHugeOutputCostsTheServerLittle has a server to itself, because it looks at
// its memory.
func TestHugeOutputCostsTheServerLittle(t *testing.T) {
	t.Parallel()
	const (
		chunk = 50_000_000
		most  = 50 << 20
	)
	s := startServer(t)
	n := newTenant(t, s)
	n.readySandboxes("x")
	n.Succeed(taskIn("x", "warm", shell("step", "echo warm")))
	resetPeak(t, s.PID())
	before := procBytes(t, s.PID(), "VmRSS")

	script := fmt.Sprintf("printf 'head '; yes 123456789 | head -c %d; printf ' tail'", chunk)
	done := n.Succeed(taskIn("x", "huge", shell("step", script)))
	wantBounded(t, done, chunk+10, "head ", " tail")
	if grown := procBytes(t, s.PID(), "VmHWM") - before; grown >= most {
		t.Errorf("the server grew by %d bytes, want less than %d", grown, most)
	}
}

// TestOutputThatIsNoText is stored and shown all the same.
func TestOutputThatIsNoText(t *testing.T) {
	t.Parallel()
	n := newTenant(t, shared(t))
	n.readySandboxes("x")
	done := n.Succeed(taskIn("x", "bytes", shell("step", `printf 'a\377\000b\303\266'`)))
	if want := "a\uFFFD\x00b\u00f6"; done.Status.Stdout != want {
		t.Errorf("stdout is %q, want %q", done.Status.Stdout, want)
	}
}
