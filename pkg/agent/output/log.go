// Package output keeps what an execution tells: its events, for readers that
// follow it, and a summary of what its commands wrote. It knows nothing of
// processes or of the network.
//
// A Log is bounded: of the events of type output only the last ones are kept,
// all others always, as there are a few of them a step. While a reader follows, a
// writer of output waits for it rather than dropping what it has not read; but only
// as long as it reads: a reader that stands still is passed by, and sees from a
// gap in the sequence numbers and offsets that it has missed something.
//
// No goroutine is started here. Log.mu is the only lock. Read log.go, then reader.go.
package output

import (
	"context"
	"sort"
	"sync"
	"time"

	"arl.io/arl/pkg/agent/wire"
)

const (
	// DefaultLimit is what a log keeps of output: enough for a reader that
	// comes back after a second, little enough for a small container.
	DefaultLimit = 1 << 20
	// DefaultStall is how long output waits for a reader that stands still.
	DefaultStall = 5 * time.Second
	// chunkCost is what an event costs besides the bytes of its output.
	chunkCost = 160
)

// Log is the sequence of events of one execution. It is safe for concurrent use.
type Log struct {
	limit int
	stall time.Duration

	mu sync.Mutex
	// seq is the sequence number given last.
	seq int64
	// marks are the events that are not output, and chunks those that are and
	// were kept; both are in order.
	marks, chunks []wire.Event
	// kept is the cost of chunks.
	kept    int
	readers map[*Reader]struct{}
	// room is closed when a reader has moved on, and nil if nobody waits for that.
	room chan struct{}
}

// NewLog returns an empty log that keeps up to limit bytes of output and lets
// a reader stand still for the time of stall.
func NewLog(limit int, stall time.Duration) *Log {
	return &Log{limit: limit, stall: stall, readers: map[*Reader]struct{}{}}
}

// Mark appends an event that is not output, and gives it its sequence number. It never waits.
func (l *Log) Mark(event wire.Event) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.seq++
	event.Seq = l.seq
	l.marks = append(l.marks, event)
	for reader := range l.readers {
		reader.wake()
	}
}

// Output appends an event of type output, which owns its bytes. It waits for
// readers that follow and have not read what must be dropped for it, until they have, or stand
// still for too long, or ctx ends.
func (l *Log) Output(ctx context.Context, event wire.Event) {
	l.mu.Lock()
	defer l.mu.Unlock()
	cost := chunkCost + len(event.Output.Data)
	for l.kept+cost > l.limit && len(l.chunks) > 0 {
		if l.awaitedLocked() && ctx.Err() == nil {
			l.awaitLocked(ctx)
			continue
		}
		l.dropLocked()
	}
	l.seq++
	event.Seq = l.seq
	l.chunks = append(l.chunks, event)
	l.kept += cost
	for reader := range l.readers {
		if reader.output {
			reader.wake()
		}
	}
}

// awaitedLocked says whether a reader that keeps up has yet to read the oldest chunk.
func (l *Log) awaitedLocked() bool {
	for reader := range l.readers {
		if reader.output && !reader.lagging && reader.next <= l.chunks[0].Seq {
			return true
		}
	}
	return false
}

// awaitLocked waits, without the lock, for a reader to move on. Readers that
// have stood still for too long are not waited for again until they have caught up.
func (l *Log) awaitLocked(ctx context.Context) {
	if l.room == nil {
		l.room = make(chan struct{})
	}
	room := l.room
	patience := time.NewTimer(l.stall)
	defer patience.Stop()
	l.mu.Unlock()
	stalled := false
	select {
	case <-room:
	case <-ctx.Done():
	case <-patience.C:
		stalled = true
	}
	l.mu.Lock()
	if !stalled || len(l.chunks) == 0 {
		return
	}
	for reader := range l.readers {
		if reader.next <= l.chunks[0].Seq {
			reader.lagging = true
		}
	}
}

// movedLocked lets writers that wait for a reader look again.
func (l *Log) movedLocked() {
	if l.room != nil {
		close(l.room)
		l.room = nil
	}
}

// dropLocked drops the oldest chunk.
func (l *Log) dropLocked() {
	l.kept -= chunkCost + len(l.chunks[0].Output.Data)
	l.chunks[0] = wire.Event{}
	l.chunks = l.chunks[1:]
}

// DropOutput drops all output there is. Events that are not output stay.
func (l *Log) DropOutput() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.chunks, l.kept = nil, 0
	l.movedLocked()
}

// Kept returns what the output in the log costs, in bytes.
func (l *Log) Kept() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.kept
}

// seek returns the index of the first event with a sequence number of at least seq.
func seek(events []wire.Event, seq int64) int {
	return sort.Search(len(events), func(i int) bool { return events[i].Seq >= seq })
}
