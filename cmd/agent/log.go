package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime/debug"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// maxLogLine is where longer lines are cut in pieces.
const maxLogLine = 16 << 10

// keepLog replaces standard output and error of this process and of what it
// starts by pipes, and writes what comes through them to the file that standard
// output was, within limit bytes:
//
//	2026-01-02T03:04:05.000000006Z stdout F a line
//	2026-01-02T03:04:05.000000006Z stderr P a piece of a long line
//
// That is the format in which Kubernetes' container runtimes keep logs. closeLog
// writes what is left and ends the two goroutines, unless a process outside of
// this one's care holds the pipes open.
func keepLog(limit int64) (closeLog func(), err error) {
	fd, err := unix.FcntlInt(os.Stdout.Fd(), unix.F_DUPFD_CLOEXEC, 3)
	if err != nil {
		return nil, fmt.Errorf("keep a log: %w", err)
	}
	log := &logFile{file: os.NewFile(uintptr(fd), "log"), limit: limit, now: time.Now}
	// Of a crash, the goroutines below would write nothing any more.
	if err := debug.SetCrashOutput(log.file, debug.CrashOptions{}); err != nil {
		return nil, errors.Join(fmt.Errorf("keep a log: %w", err), log.file.Close())
	}
	var copies sync.WaitGroup
	for stream, target := range map[string]*os.File{"stdout": os.Stdout, "stderr": os.Stderr} {
		read, write, err := os.Pipe()
		if err != nil {
			return nil, fmt.Errorf("keep a log: %w", err)
		}
		if err := unix.Dup3(int(write.Fd()), int(target.Fd()), 0); err != nil {
			return nil, fmt.Errorf("keep a log: %w", err)
		}
		if err := write.Close(); err != nil {
			return nil, fmt.Errorf("keep a log: %w", err)
		}
		copies.Go(func() { log.copy(stream, read) })
	}
	return func() {
		// The pipes end when nobody holds them; who still does is not waited for.
		_, _ = os.Stdout.Close(), os.Stderr.Close()
		done := make(chan struct{})
		go func() {
			copies.Wait()
			close(done)
		}()
		select {
		case <-done:
		case <-time.After(time.Second):
		}
	}, nil
}

// logFile is a log of bounded size. Its writers take turns.
type logFile struct {
	mu    sync.Mutex
	file  *os.File
	limit int64
	size  int64
	sized bool
	now   func() time.Time
}

// copy writes what a stream brings, line by line, until it ends. It never stops
// reading before: whoever writes to the stream must not be held up.
func (l *logFile) copy(stream string, from io.Reader) {
	lines := bufio.NewReaderSize(from, maxLogLine)
	for {
		line, err := lines.ReadSlice('\n')
		if len(line) > 0 {
			l.write(stream, line)
		}
		if err != nil && !errors.Is(err, bufio.ErrBufferFull) {
			return
		}
	}
}

// write appends a line or, if it has no end, a piece of one. A log that cannot be
// written is gone on without.
func (l *logFile) write(stream string, line []byte) {
	tag := "P"
	if text, whole := bytes.CutSuffix(line, []byte("\n")); whole {
		tag, line = "F", text
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	entry := fmt.Appendf(nil, "%s %s %s %s\n", l.now().UTC().Format(time.RFC3339Nano), stream, tag, line)
	if !l.sized {
		if info, err := l.file.Stat(); err == nil {
			l.size, l.sized = info.Size(), true
		}
	}
	if l.size+int64(len(entry)) > l.limit {
		l.shorten()
	}
	n, _ := l.file.Write(entry)
	l.size += int64(n)
}

// shorten keeps the newer half of the log.
func (l *logFile) shorten() {
	kept := make([]byte, l.limit/2)
	n, _ := l.file.ReadAt(kept, max(0, l.size-int64(len(kept))))
	kept = kept[:n]
	if end := bytes.IndexByte(kept, '\n'); end >= 0 {
		kept = kept[end+1:]
	}
	if err := l.file.Truncate(0); err != nil {
		return
	}
	written, _ := l.file.Write(kept) // at the end, which is the beginning now
	l.size = int64(written)
}
