package hostile

import (
	"fmt"
	"os"
	"regexp"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// samplePause is how often a server's memory is looked at.
const samplePause = 20 * time.Millisecond

// memory is how a server's own memory, without that of files, goes from some time on.
type memory struct {
	before, highest int64
	stop            func()
}

// watchMemory begins to look at the memory of a server, until want, or the test's end.
func (s *server) watchMemory(t *testing.T) *memory {
	t.Helper()
	before, err := memoryOf(s.PID(), "RssAnon")
	if err != nil {
		t.Fatal(err)
	}
	m := &memory{before: before, highest: before}
	done := make(chan struct{})
	var highest atomic.Int64
	var watching sync.WaitGroup
	watching.Go(func() {
		tick := time.NewTicker(samplePause)
		defer tick.Stop()
		for {
			select {
			case <-done:
				return
			case <-tick.C:
			}
			// A server that has ended is found by others.
			if now, err := memoryOf(s.PID(), "RssAnon"); err == nil {
				highest.Store(max(highest.Load(), now))
			}
		}
	})
	m.stop = sync.OnceFunc(func() {
		close(done)
		watching.Wait()
		m.highest = max(m.highest, highest.Load())
	})
	t.Cleanup(m.stop)
	return m
}

// want fails the test if the memory has grown by more bytes than that.
func (m *memory) want(t *testing.T, growth int64) {
	t.Helper()
	m.stop()
	t.Logf("the server's memory: %d MiB before, %d MiB at most", m.before>>20, m.highest>>20)
	if m.highest-m.before > growth {
		t.Errorf("the server's memory grew by %d MiB, want at most %d", (m.highest-m.before)>>20, growth>>20)
	}
}

var kilobytes = regexp.MustCompile(`(?m)^(\w+):\s+(\d+) kB$`)

// memoryOf is a field of a process's status, in bytes.
func memoryOf(pid int, field string) (int64, error) {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, err
	}
	for _, match := range kilobytes.FindAllSubmatch(status, -1) {
		if string(match[1]) == field {
			value, err := strconv.ParseInt(string(match[2]), 10, 64)
			return value << 10, err
		}
	}
	return 0, fmt.Errorf("the status of process %d has no %s", pid, field)
}
