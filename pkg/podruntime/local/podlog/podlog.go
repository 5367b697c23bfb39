// Package podlog reads the logs that agents keep in their pods' folders: lines in
// the format of Kubernetes' container runtimes, each with its time, its stream and
// whether it is whole. The agent bounds the file by dropping the oldest lines,
// which a reader that follows it notices by its size.
//
// A Reader has no goroutine and no lock; one goroutine reads it. Close may be
// called beside a Read and ends it.
package podlog

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"strings"
	"time"

	"k8s.io/utils/clock"
)

// followPause is how often a file that is followed is looked at.
const followPause = 200 * time.Millisecond

// Options say what of a log is wanted.
type Options struct {
	// Follow goes on at the end of the file, until Alive says no or ctx ends.
	Follow bool
	// Alive says that more may be written. Needed to follow.
	Alive func() bool
	// Timestamps puts the time before each line.
	Timestamps bool
	// TailLines is how many lines of those there are are wanted; below 0: all.
	TailLines int64
	// Since is when the first line was written, if not zero.
	Since time.Time
	// Stream is stdout or stderr; empty: both.
	Stream string
	// Clock times the looks at a file that is followed.
	Clock clock.Clock
}

// Reader reads a log as text.
type Reader struct {
	ctx     context.Context
	cancel  context.CancelFunc
	file    *os.File
	options Options
	input   *bufio.Reader
	// offset is how far the file was read, last the time of the latest line.
	offset int64
	last   time.Time
	// dropped says that the file was truncated: lines up to last were read before.
	dropped bool
	// partial is the beginning of a line that the file has no end of yet.
	partial []byte
	pending bytes.Buffer
	// open says that the text ends within a line.
	open bool
}

var _ io.ReadCloser = (*Reader)(nil)

// Open opens a log. The file is closed by Close.
func Open(ctx context.Context, path string, options Options) (*Reader, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	r := &Reader{ctx: ctx, cancel: cancel, file: file, options: options, input: bufio.NewReader(file)}
	if options.TailLines >= 0 {
		if err := r.skip(); err != nil {
			return nil, errors.Join(err, r.Close())
		}
	}
	return r, nil
}

// skip reads to the last lines that are wanted: the lines that there are are
// counted, and those before the last ones dropped.
func (r *Reader) skip() error {
	var tail [][]byte
	for {
		ok, err := r.next()
		if err != nil {
			return err
		}
		if !ok {
			break
		}
		if r.open {
			continue
		}
		tail = append(tail, bytes.Clone(r.pending.Bytes()))
		r.pending.Reset()
		if over := int64(len(tail)) - r.options.TailLines; over > 0 {
			tail = tail[over:]
		}
	}
	rest := bytes.Clone(r.pending.Bytes())
	r.pending.Reset()
	for _, line := range tail {
		r.pending.Write(line)
	}
	r.pending.Write(rest)
	return nil
}

// Read returns text of the log. At the end of what there is, it waits if the log
// is followed.
func (r *Reader) Read(p []byte) (int, error) {
	for r.pending.Len() == 0 {
		if r.ctx.Err() != nil {
			return 0, io.EOF
		}
		alive := r.options.Follow && r.options.Alive()
		ok, err := r.next()
		switch {
		case err != nil:
			return 0, err
		case ok:
			continue
		case !alive:
			return 0, io.EOF
		}
		select {
		case <-r.options.Clock.After(followPause):
		case <-r.ctx.Done():
		}
		if err := r.rewind(); err != nil {
			return 0, err
		}
	}
	return r.pending.Read(p)
}

// Close ends reading.
func (r *Reader) Close() error {
	r.cancel()
	return r.file.Close()
}

// next puts the next line, if it is wanted, into pending. It returns false at the
// end of the file.
func (r *Reader) next() (bool, error) {
	line, err := r.input.ReadBytes('\n')
	r.offset += int64(len(line))
	r.partial = append(r.partial, line...)
	if errors.Is(err, io.EOF) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	entry := parse(string(bytes.TrimSuffix(r.partial, []byte("\n"))))
	r.partial = r.partial[:0]
	if r.dropped && !entry.at.IsZero() && !entry.at.After(r.last) {
		return true, nil
	}
	if !entry.at.IsZero() {
		r.last = entry.at
	}
	if r.options.Stream != "" && entry.stream != "" && entry.stream != r.options.Stream || entry.at.Before(r.options.Since) && !entry.at.IsZero() {
		return true, nil
	}
	if r.options.Timestamps && !r.open {
		r.pending.WriteString(entry.at.Format(time.RFC3339Nano) + " ")
	}
	r.pending.WriteString(entry.text)
	if r.open = entry.partial; !r.open {
		r.pending.WriteByte('\n')
	}
	return true, nil
}

// rewind goes back to the beginning of a file that has become shorter.
func (r *Reader) rewind() error {
	info, err := r.file.Stat()
	if err != nil || info.Size() >= r.offset {
		return err
	}
	if _, err := r.file.Seek(0, io.SeekStart); err != nil {
		return err
	}
	r.input.Reset(r.file)
	r.offset, r.dropped, r.partial = 0, true, r.partial[:0]
	return nil
}

// entry is one line of the file.
type entry struct {
	at      time.Time
	stream  string
	partial bool
	text    string
}

// parse reads a line. One of another form, such as what an agent writes that
// crashes, is text as it stands.
func parse(line string) entry {
	parts := strings.SplitN(line, " ", 4)
	if len(parts) == 4 && (parts[2] == "F" || parts[2] == "P") {
		if at, err := time.Parse(time.RFC3339Nano, parts[0]); err == nil {
			return entry{at: at, stream: parts[1], partial: parts[2] == "P", text: parts[3]}
		}
	}
	return entry{text: line}
}
