package process

import (
	"bytes"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

const (
	// scoreAbove is by how much the kernel prefers what is started here to this process when memory runs
	// out, in thousandths of the memory there is. This process takes a few per cent of the smallest
	// container, so it is never the one that is chosen first, however many small ones there are.
	scoreAbove = 500
	maxScore   = 1000
)

// scoreFor returns the text to write to /proc/PID/oom_score_adj of what is started here, or nil if it
// cannot have a higher score than this process.
func scoreFor() []byte {
	own, err := os.ReadFile("/proc/self/oom_score_adj")
	if err != nil {
		return nil
	}
	score, err := strconv.Atoi(string(bytes.TrimSpace(own)))
	if err != nil || score >= maxScore {
		return nil
	}
	return strconv.AppendInt(nil, int64(min(score+scoreAbove, maxScore)), 10)
}

// preferForOOM has the kernel prefer a process, and what it has started, to this one when memory runs
// out. What the process starts later inherits that. Raising a score takes no privilege, and a process
// that may not be looked into, such as one of another user, stays as it is.
func (s *Supervisor) preferForOOM(pid int) {
	if s.score == nil {
		return
	}
	dir := "/proc/" + strconv.Itoa(pid)
	if _, err := callFile(dir+"/oom_score_adj", unix.O_WRONLY, unix.Write, s.score); err != nil {
		return
	}
	// A process may have been forked before the score was raised.
	var children [1 << 10]byte
	n, err := callFile(dir+"/task/"+strconv.Itoa(pid)+"/children", unix.O_RDONLY, unix.Read, children[:])
	if err != nil {
		return
	}
	for _, child := range bytes.Fields(children[:n]) {
		if pid, err := strconv.Atoi(string(child)); err == nil {
			s.preferForOOM(pid)
		}
	}
}

// callFile opens a file of /proc and makes one call with it. This is on the way of every step, so it
// does without what os.File costs.
func callFile(path string, flags int, call func(int, []byte) (int, error), data []byte) (int, error) {
	fd, err := unix.Open(path, flags|unix.O_CLOEXEC, 0)
	if err != nil {
		return 0, err
	}
	defer unix.Close(fd)
	return call(fd, data)
}
