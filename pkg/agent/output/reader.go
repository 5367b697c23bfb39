package output

import (
	"context"
	"time"

	"arl.io/arl/pkg/agent/wire"
)

// Bounds of what Next returns at once.
const (
	batchEvents = 64
	batchBytes  = 256 << 10
)

// Reader reads a log from a sequence number on. It is for one goroutine.
type Reader struct {
	log    *Log
	output bool
	signal chan struct{}

	// The rest is guarded by log.mu.

	next int64
	// lagging says that output is not held up for this reader: it stood still
	// for too long and has not caught up since.
	lagging bool
}

// Read returns a reader that begins with the sequence number from. Without
// output it sees no event of that type, and holds nothing up. The caller must close it.
func (l *Log) Read(from int64, output bool) *Reader {
	l.mu.Lock()
	defer l.mu.Unlock()
	reader := &Reader{log: l, output: output, signal: make(chan struct{}, 1), next: max(from, 1)}
	l.readers[reader] = struct{}{}
	return reader
}

// wake makes Next look again.
func (r *Reader) wake() {
	select {
	case r.signal <- struct{}{}:
	default:
	}
}

// Close ends the reader; nothing waits for it any longer.
func (r *Reader) Close() {
	r.log.mu.Lock()
	defer r.log.mu.Unlock()
	delete(r.log.readers, r)
	r.log.movedLocked()
}

// Next returns the events that come next, in order, and waits for one if there
// is none. If none comes within patience, returns none. When ctx ends, returns its error.
func (r *Reader) Next(ctx context.Context, patience time.Duration) ([]wire.Event, error) {
	if events := r.take(); len(events) > 0 {
		return events, nil
	}
	timer := time.NewTimer(patience)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-timer.C:
			return nil, nil
		case <-r.signal:
			if events := r.take(); len(events) > 0 {
				return events, nil
			}
		}
	}
}

// take returns the next batch and moves the reader behind it.
func (r *Reader) take() []wire.Event {
	l := r.log
	l.mu.Lock()
	defer l.mu.Unlock()
	marks, chunks := l.marks[seek(l.marks, r.next):], l.chunks
	if r.output {
		chunks = chunks[seek(chunks, r.next):]
	} else {
		chunks = nil
	}
	var batch []wire.Event
	for size := 0; len(batch) < batchEvents && size < batchBytes; {
		switch {
		case len(chunks) > 0 && (len(marks) == 0 || chunks[0].Seq < marks[0].Seq):
			size += len(chunks[0].Output.Data)
			batch, chunks = append(batch, chunks[0]), chunks[1:]
			continue
		case len(marks) > 0:
			batch, marks = append(batch, marks[0]), marks[1:]
			continue
		}
		break
	}
	if len(batch) > 0 {
		r.next = batch[len(batch)-1].Seq + 1
		r.lagging = r.lagging && len(chunks) > 0
		l.movedLocked()
	}
	return batch
}
