package process

import (
	"os"
	"sync"
	"syscall"
	"time"
)

// drains are the pipes that processes hold open after the command whose output
// they were has ended. What comes out of them is discarded. The zero value is ready for use.
type drains struct {
	group sync.WaitGroup

	mu     sync.Mutex
	held   map[*os.File]struct{}
	closed bool
}

// add takes over a pipe, and closes it when no process holds it any more.
func (d *drains) add(pipe *os.File) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		_ = pipe.Close()
		return
	}
	if d.held == nil {
		d.held = map[*os.File]struct{}{}
	}
	d.held[pipe] = struct{}{}
	d.group.Go(func() {
		discard(pipe)
		d.mu.Lock()
		defer d.mu.Unlock()
		delete(d.held, pipe)
		_ = pipe.Close()
	})
}

// len returns the number of pipes.
func (d *drains) len() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.held)
}

// close closes all pipes and waits for the goroutines.
func (d *drains) close() {
	d.mu.Lock()
	d.closed = true
	for pipe := range d.held {
		// This ends a read under way, and fails only if the pipe is closed.
		_ = pipe.SetReadDeadline(time.Unix(1, 0))
	}
	d.mu.Unlock()
	d.group.Wait()
}

// discard reads until the end or the deadline. While there is nothing to
// read it holds no buffer, because there may be thousands of such pipes.
func discard(from *os.File) {
	raw, err := from.SyscallConn()
	if err != nil {
		return
	}
	for ended := false; !ended; {
		err := raw.Read(func(fd uintptr) bool {
			chunk := chunks.Get().(*[chunkBytes]byte)
			defer chunks.Put(chunk)
			n, err := syscall.Read(int(fd), chunk[:])
			if n < 0 && err == syscall.EAGAIN {
				return false
			}
			ended = n == 0 || err != nil && err != syscall.EINTR
			return true
		})
		if err != nil {
			return
		}
	}
}
