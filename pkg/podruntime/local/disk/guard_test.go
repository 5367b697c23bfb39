package disk

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	testclock "k8s.io/utils/clock/testing"

	"arl.io/arl/pkg/podruntime/local/filetree"
)

// deadline is far above what anything here takes on a busy machine.
const deadline = 60 * time.Second

const mi = 1 << 20

// machine is a disk with pods on it.
type machine struct {
	testing.TB
	clock *testclock.FakeClock

	mu       sync.Mutex
	size     Space
	pods     []Pod
	usage    map[string]Usage
	broken   map[string]error
	measured map[string]int
	failed   []string
}

func newMachine(t *testing.T) *machine {
	return &machine{
		TB: t, clock: testclock.NewFakeClock(time.Unix(1000, 0)), usage: map[string]Usage{}, broken: map[string]error{}, measured: map[string]int{},
		size: Space{Bytes: 20_000 * mi, FreeBytes: 20_000 * mi, Files: 1_000_000, FreeFiles: 1_000_000},
	}
}

// start guards the machine until the test's end.
func (m *machine) start() {
	m.Helper()
	guard := New(Config{Space: m.space, MinFree: mi, Pods: m.list, Measure: m.measure, Fail: m.fail, Clock: m.clock})
	ctx, stop := context.WithCancel(m.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		guard.Run(ctx)
	}()
	m.Cleanup(func() {
		stop()
		<-done
	})
}

func (m *machine) add(id string, limits Limits, bytes, files int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, known := m.usage[id]; !known {
		m.pods = append(m.pods, Pod{ID: id, Name: id, Limits: limits})
	}
	m.usage[id] = Usage{Usage: filetree.Usage{Bytes: bytes, Files: files}}
}

func (m *machine) space() (Space, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	left := m.size
	for _, u := range m.usage {
		left.FreeBytes -= min(left.FreeBytes, uint64(u.Bytes))
		left.FreeFiles -= min(left.FreeFiles, uint64(u.Files))
	}
	return left, nil
}

func (m *machine) list() []Pod {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.pods)
}

func (m *machine) measure(_ context.Context, pod Pod) (Usage, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.measured[pod.ID]++
	return m.usage[pod.ID], m.broken[pod.ID]
}

func (m *machine) fail(_ context.Context, pod Pod, reason Reason, message string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.failed = append(m.failed, fmt.Sprintf("%s %s %s", pod.ID, reason, message))
	m.pods = slices.DeleteFunc(m.pods, func(p Pod) bool { return p.ID == pod.ID })
	delete(m.usage, pod.ID)
}

// until steps the clock until done.
func (m *machine) until(what string, done func() bool) {
	m.Helper()
	for end := time.Now().Add(deadline); ; time.Sleep(time.Millisecond) {
		m.mu.Lock()
		ok, failed := done(), m.failed
		m.mu.Unlock()
		if ok {
			return
		}
		if time.Now().After(end) {
			m.Fatalf("still waiting for %s; failed: %q", what, failed)
		}
		m.clock.Step(lookInterval)
	}
}

func (m *machine) fails(want ...string) {
	m.Helper()
	m.until(fmt.Sprintf("%d pods to fail", len(want)), func() bool { return len(m.failed) >= len(want) })
	m.mu.Lock()
	defer m.mu.Unlock()
	for i, phrase := range want {
		if !strings.HasPrefix(m.failed[i], phrase) {
			m.Errorf("failed %q, want %q", m.failed[i], phrase)
		}
	}
}

// TestLimits: a pod above a limit fails, and says which; others go on.
func TestLimits(t *testing.T) {
	for name, test := range map[string]struct {
		limits Limits
		usage  Usage
		want   string
	}{
		"bytes":  {Limits{Bytes: 10 * mi}, Usage{Usage: filetree.Usage{Bytes: 11 * mi}}, "p LimitExceeded its files take 11Mi, and its limit of ephemeral-storage is 10Mi"},
		"volume": {Limits{Volumes: map[string]int64{"v": mi}}, Usage{Usage: filetree.Usage{Bytes: 3 * mi}, Volumes: map[string]int64{"v": 2 * mi}}, `p LimitExceeded volume "v" takes 2Mi, and its sizeLimit is 1Mi`},
		"files":  {Limits{Bytes: 10 * mi}, Usage{Usage: filetree.Usage{Files: minFiles, Partial: true}}, "p LimitExceeded it has 16384 files"},
	} {
		t.Run(name, func(t *testing.T) {
			m := newMachine(t)
			m.add("honest", Limits{Bytes: 10 * mi}, 9*mi, 1000)
			m.add("p", test.limits, 0, 0)
			m.start()
			m.until("a first measurement", func() bool { return m.measured["p"] > 0 && m.measured["honest"] > 0 })
			m.mu.Lock()
			m.usage["p"] = test.usage
			m.mu.Unlock()
			m.fails(test.want)
			if list := m.list(); len(list) != 1 || list[0].ID != "honest" {
				t.Errorf("left: %+v", list)
			}
		})
	}
}

// TestMeasuresSuspectsOnly: files are counted only if enough was written since, and once in a while.
func TestMeasuresSuspectsOnly(t *testing.T) {
	m := newMachine(t)
	m.add("small", Limits{Bytes: 10 * mi}, mi, 10)
	m.add("large", Limits{Bytes: 1000 * mi}, mi, 10)
	m.start()
	m.until("first measurements", func() bool { return m.measured["small"] == 1 && m.measured["large"] == 1 })
	begun := m.clock.Now()
	m.add("large", Limits{}, 15*mi, 10)
	m.until("a suspicion", func() bool { return m.measured["small"] > 1 })
	if n := m.measured["large"]; n != 1 {
		t.Errorf("a pod that cannot be above its limit was measured %d times", n)
	}
	m.until("another round", func() bool { return m.measured["large"] > 1 })
	if took := m.clock.Now().Sub(begun); took < measureAge/2 {
		t.Errorf("without a reason, all were measured after %v", took)
	}
}

// TestReserve: when the disk is short, pods go in the order of what they use beyond their request, one
// at a time, until there is room. Those that cannot be counted go first.
func TestReserve(t *testing.T) {
	m := newMachine(t)
	limits := Limits{Bytes: 15_000 * mi}
	m.add("idle", limits, 1*mi, 10)
	m.add("requested", Limits{Bytes: 15_000 * mi, Request: 9000 * mi}, 9000*mi, 1000)
	m.add("second", limits, 3000*mi, 1000)
	m.add("first", limits, 4000*mi, 1000)
	m.add("uncountable", limits, 2000*mi, 1000)
	m.usage["uncountable"] = Usage{Usage: filetree.Usage{Bytes: 2000 * mi, Files: 1000, Partial: true}}
	m.broken["gone"] = errors.New("no such pod")
	m.add("gone", limits, 0, 0)
	m.start()
	m.until("measurements", func() bool { return m.measured["idle"] > 0 })
	if len(m.failed) > 0 {
		t.Fatalf("with room on the disk: %q", m.failed)
	}
	m.add("host", Limits{}, 0, 0)
	m.mu.Lock()
	m.pods = m.pods[:len(m.pods)-1] // not a pod, but something else on the disk
	m.usage["host"] = Usage{Usage: filetree.Usage{Bytes: 1500 * mi}}
	m.mu.Unlock()
	m.fails("uncountable Pressure")
	m.mu.Lock()
	m.usage["host"] = Usage{Usage: filetree.Usage{Bytes: 9500 * mi}}
	m.mu.Unlock()
	m.fails("uncountable Pressure", "first Pressure the disk has only", "second Pressure")
	if list := m.list(); len(list) != 3 {
		t.Errorf("left: %+v", list)
	}
}

// TestReserveOfFiles: the pod with the most files goes when the disk is short of them.
func TestReserveOfFiles(t *testing.T) {
	m := newMachine(t)
	m.add("bytes", Limits{}, 5000*mi, 1000)
	m.add("files", Limits{}, 100*mi, 990_000)
	m.start()
	m.fails("files Pressure")
}

// TestBlameless: no pod is failed for a disk that others fill.
func TestBlameless(t *testing.T) {
	m := newMachine(t)
	m.size.FreeBytes = 100 * mi
	m.add("small", Limits{}, 30*mi, 10)
	m.start()
	m.until("several looks", func() bool { return m.measured["small"] > 3 })
	if len(m.failed) > 0 {
		t.Errorf("failed: %q", m.failed)
	}
}
