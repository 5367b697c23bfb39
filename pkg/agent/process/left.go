package process

import (
	"bytes"
	"os"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// EndLeft ends what commands that have ended by themselves left running: TERM
// first, KILL after the grace of the command, which is 2 s for a process
// without the mark of one. It returns when they are gone. It leaves alone the
// families of commands that run: see Stop.
func (s *Supervisor) EndLeft() {
	begin := time.Now()
	left := s.left()
	for _, each := range left {
		if each.grace > 0 {
			signalEntry(each.entry, unix.SIGTERM)
			signalEntry(each.entry, unix.SIGCONT)
		}
	}
	last := begin
	for look := firstLook; len(left) > 0; look = min(2*look, graceLook) {
		now := time.Now()
		for _, each := range left {
			if due := begin.Add(each.grace); due.After(last) {
				last = due
			}
			if now.Sub(begin) >= each.grace {
				signalEntry(each.entry, unix.SIGKILL)
			}
		}
		if now.Sub(last) > killPatience {
			s.logger.Error("Processes could not be killed", "count", len(left), "pid", left[0].pid)
			return
		}
		time.Sleep(look)
		left = s.left()
	}
}

// Close frees what the supervisor holds. It is called after EndLeft, and
// nothing is started afterwards.
func (s *Supervisor) Close() { s.drains.close() }

// leftEntry is a process that a command left running.
type leftEntry struct {
	entry
	grace time.Duration
}

// left returns the live processes that belong to no command that runs.
func (s *Supervisor) left() []leftEntry {
	table, err := readTable()
	if err != nil {
		// Without /proc there is nothing to find them by.
		return nil
	}
	running := s.running()
	var left []leftEntry
	for _, child := range table[os.Getpid()] {
		mark := markOf(child.pid)
		if running.own(child, mark) {
			continue
		}
		for _, each := range withDescendants(table, []entry{child}) {
			left = append(left, leftEntry{entry: each, grace: graceOf(mark)})
		}
	}
	return left
}

// running are the commands that run.
type running struct {
	pids  map[int]bool
	marks map[string]bool
}

func (s *Supervisor) running() running {
	s.mu.Lock()
	defer s.mu.Unlock()
	found := running{pids: map[int]bool{}, marks: map[string]bool{}}
	for pid, each := range s.tracked {
		found.pids[pid] = true
		found.marks[string(each.mark)] = true
	}
	return found
}

// own says whether a child of the agent belongs to one of them.
func (r running) own(child entry, mark []byte) bool {
	return r.pids[child.pid] || r.pids[child.group] || r.marks[string(mark)]
}

// unmarkedGrace is for processes that wiped their environment.
const unmarkedGrace = 2 * time.Second

// graceOf returns the grace in a mark.
func graceOf(mark []byte) time.Duration {
	_, text, _ := bytes.Cut(mark, []byte("."))
	millis, err := strconv.ParseInt(string(text), 10, 32)
	if err != nil || millis < 0 {
		return unmarkedGrace
	}
	return time.Duration(millis) * time.Millisecond
}
