package trash

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	"k8s.io/klog/v2"
	"k8s.io/klog/v2/textlogger"
	testclock "k8s.io/utils/clock/testing"

	"arl.io/arl/pkg/podruntime/local/filetree"
)

// deadline is far above what anything here takes on a busy machine.
const deadline = 60 * time.Second

// log is a log that can be read while it is written.
type log struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *log) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *log) count(phrase string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Count(l.text.String(), phrase)
}

// fixture is a trash, and a place for what goes there.
type fixture struct {
	testing.TB
	*Bin
	ctx   context.Context
	log   *log
	clock *testclock.FakeClock
	base  string
}

func newFixture(t *testing.T) *fixture {
	t.Helper()
	f := &fixture{TB: t, log: &log{}, clock: testclock.NewFakeClock(time.Unix(1, 0)), base: t.TempDir()}
	f.ctx = klog.NewContext(t.Context(), textlogger.NewLogger(textlogger.NewConfig(textlogger.Output(f.log))))
	f.open()
	return f
}

func (f *fixture) open() {
	f.Helper()
	var err error
	if f.Bin, err = Open(filepath.Join(f.base, "trash"), f.clock); err != nil {
		f.Fatal(err)
	}
}

// tree makes a directory with a file of so many bytes.
func (f *fixture) tree(name string, size int) string {
	f.Helper()
	dir := filepath.Join(f.base, name)
	err := os.MkdirAll(filepath.Join(dir, "below"), 0o700)
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, "below", "file"), make([]byte, size), 0o600)
	}
	if err != nil {
		f.Fatal(err)
	}
	return dir
}

// block keeps a directory from being removed until unblock is called.
func (f *fixture) block(dir string) (unblock func()) {
	f.Helper()
	target := filepath.Join(dir, "mounted")
	if err := os.Mkdir(target, 0o700); err != nil {
		f.Fatal(err)
	}
	if err := unix.Mount("arl-test", target, "tmpfs", 0, "size=1m"); err != nil {
		f.Skipf("nothing can be mounted here: %v", err)
	}
	where, err := os.Open(target)
	if err != nil {
		f.Fatal(err)
	}
	unblock = sync.OnceFunc(func() {
		path, err := os.Readlink("/proc/self/fd/" + strconv.Itoa(int(where.Fd())))
		if err = errors.Join(err, where.Close(), unix.Unmount(path, 0)); err != nil {
			f.Error(err)
		}
	})
	f.Cleanup(unblock)
	return unblock
}

// eventually steps the clock until done.
func (f *fixture) eventually(what string, step time.Duration, done func() bool) {
	f.Helper()
	for end := time.Now().Add(deadline); !done(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			f.Fatalf("still waiting for %s", what)
		}
		if f.clock.HasWaiters() {
			f.clock.Step(step)
		}
	}
}

func (f *fixture) empty() bool {
	found, err := f.names()
	if err != nil {
		f.Fatal(err)
	}
	return len(found) == 0
}

func TestDiscard(t *testing.T) {
	f := newFixture(t)
	for range 2 {
		if err := f.Discard(f.ctx, f.tree("pod", 1), "pod"); err != nil {
			t.Fatal(err)
		}
		if _, err := f.Put(f.tree("pod", 1), "left"); err != nil {
			t.Fatal(err)
		}
	}
	if found, err := f.names(); err != nil || strings.Join(found, " ") != "left left.1" {
		t.Errorf("in the trash: %q, %v", found, err)
	}
	if err := f.Discard(f.ctx, filepath.Join(f.base, "missing"), "missing"); err != nil {
		t.Error(err)
	}
	ctx, stop := context.WithCancel(f.ctx)
	var group sync.WaitGroup
	group.Go(func() { f.Bin.Run(ctx) })
	f.eventually("the trash to be empty", firstRetry, f.empty)
	stop()
	group.Wait()
}

// TestStuck: what cannot be removed is reported once with its size, shows in Stuck, is tried again, and
// keeps nobody from discarding more.
func TestStuck(t *testing.T) {
	f := newFixture(t)
	pod := f.tree("pod", 1<<20)
	unblock := f.block(pod)
	var group sync.WaitGroup
	ctx, stop := context.WithCancel(f.ctx)
	defer group.Wait()
	defer stop()
	group.Go(func() { f.Bin.Run(ctx) })
	if err := f.Discard(f.ctx, pod, "pod"); err != nil {
		t.Fatalf("Discard waits for what cannot be removed: %v", err)
	}
	items := f.Stuck()
	if len(items) != 1 || !errors.Is(items[0].Err, filetree.ErrMountPoint) || items[0].Usage.Files != 2 {
		t.Fatalf("Stuck = %+v", items)
	}
	if listed, err := List(f.ctx, f.dir); err != nil || len(listed) != 1 || listed[0].Usage != items[0].Usage {
		t.Errorf("List = %+v, %v", listed, err)
	}
	begun := f.clock.Now()
	for range 5 {
		pause := f.pause("pod")
		f.eventually("another attempt", pause, func() bool { return f.pause("pod") > pause || pause == lastRetry })
	}
	if took := f.clock.Now().Sub(begun); took < 5*firstRetry {
		t.Errorf("five attempts within %v", took)
	}
	if err := f.Discard(f.ctx, f.tree("next", 1), "next"); err != nil {
		t.Error(err)
	}
	if n := f.log.count("cannot be removed"); n != 1 {
		t.Errorf("reported %d times, want once", n)
	}
	unblock()
	f.eventually("the trash to be empty", lastRetry, func() bool { return f.empty() && len(f.Stuck()) == 0 })
}

func (f *fixture) pause(name string) time.Duration {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.stuck[name].pause
}

// TestEmpty counts what it removes, and names what it cannot remove.
func TestEmpty(t *testing.T) {
	f := newFixture(t)
	stuck := f.tree("stuck", 1)
	unblock := f.block(stuck)
	for _, name := range []string{"stuck", "b", "c"} {
		if _, err := f.Put(f.tree(name, 1<<20), name); err != nil {
			t.Fatal(err)
		}
	}
	freed, count, err := f.Empty(f.ctx)
	if count != 2 || freed.Bytes < 2<<20 || freed.Files != 6 || err == nil || !strings.Contains(err.Error(), filepath.Join("trash", "stuck")) {
		t.Errorf("Empty = %+v, %d, %v", freed, count, err)
	}
	unblock()
	if _, count, err := f.Empty(f.ctx); count != 1 || err != nil || !f.empty() {
		t.Errorf("Empty = %d, %v", count, err)
	}
}
