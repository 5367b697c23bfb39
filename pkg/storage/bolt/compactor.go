package bolt

import (
	"context"
	"errors"
	"time"

	"k8s.io/klog/v2"
	"k8s.io/utils/clock"

	"arl.io/arl/pkg/storage/kv"
)

// Defaults of CompactorConfig.
const (
	// DefaultRetention is how long a client may be away and still go on where
	// it was, and how long a list may take from its first page to its last.
	DefaultRetention = 5 * time.Minute
	// DefaultMaxLogBytes bounds what history takes under load, in memory and, of
	// large objects, on disk. Above it retention gives way, which costs slow
	// clients a new list.
	DefaultMaxLogBytes = 256 << 20
)

const (
	// retentionMarks is how many marks there are in one retention: compaction
	// is late by at most the distance of two.
	retentionMarks = 10
	// sizePeriod is how often the size of the log is looked at.
	sizePeriod = time.Second
)

// CompactorConfig is what a Compactor is made from.
type CompactorConfig struct {
	// DB is the database to compact. Required.
	DB *kv.DB
	// Clock tells ages. Nil: the real one.
	Clock clock.WithTicker
	// Retention is how long history is kept at least. 0: DefaultRetention.
	Retention time.Duration
	// MaxLogBytes is how much history may take, however young it is. See
	// kv.Stats.LogBytes. 0: DefaultMaxLogBytes.
	MaxLogBytes int64
	// OnCompact is told of every compaction how long it took, and how it ended
	// unless it was by the end of Run's context. May be nil.
	OnCompact func(took time.Duration, err error)
}

// Compactor forgets history: revisions older than the retention, and the older
// half of what there is whenever it takes too much. Objects are not affected. A
// backup under way holds up the first and not the second: it must not make the
// database grow without bound.
type Compactor struct {
	db        *kv.DB
	clock     clock.WithTicker
	retention time.Duration
	maxBytes  int64
	onCompact func(time.Duration, error)
	// marks are the revisions of moments within the retention, oldest first.
	// They belong to Run.
	marks []mark
}

// mark says which revision was the newest at a time.
type mark struct {
	at  time.Time
	rev int64
}

// NewCompactor returns a Compactor that does nothing until Run is called.
func NewCompactor(c CompactorConfig) *Compactor {
	if c.Clock == nil {
		c.Clock = clock.RealClock{}
	}
	if c.Retention <= 0 {
		c.Retention = DefaultRetention
	}
	if c.MaxLogBytes <= 0 {
		c.MaxLogBytes = DefaultMaxLogBytes
	}
	if c.OnCompact == nil {
		c.OnCompact = func(time.Duration, error) {}
	}
	return &Compactor{
		db: c.DB, clock: c.Clock, retention: c.Retention, maxBytes: c.MaxLogBytes, onCompact: c.OnCompact,
	}
}

// Run compacts until ctx ends, which it answers with nil, or until the database
// can no longer be used. A compaction that fails otherwise is logged and tried
// again. It must be called once.
func (c *Compactor) Run(ctx context.Context) error {
	ticker := c.clock.NewTicker(max(time.Millisecond, min(sizePeriod, c.retention/retentionMarks)))
	defer ticker.Stop()
	for {
		if err := c.compact(ctx); err != nil {
			if ctx.Err() != nil {
				return nil
			}
			if errors.Is(err, kv.ErrClosed) || errors.Is(err, kv.ErrFailed) {
				return err
			}
			klog.FromContext(ctx).Error(err, "Compaction failed, will try again")
		}
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C():
		}
	}
}

func (c *Compactor) compact(ctx context.Context) error {
	stats := c.db.Stats()
	target := c.expired(stats.Revision)
	if stats.BackupRevision > 0 {
		target = min(target, stats.BackupRevision)
	}
	if stats.LogBytes > c.maxBytes {
		half := stats.CompactedRevision + (stats.Revision-stats.CompactedRevision+1)/2
		target = max(target, half)
	}
	if target <= stats.CompactedRevision {
		return nil
	}
	start := c.clock.Now()
	err := c.db.Compact(ctx, target)
	if err == nil || ctx.Err() == nil {
		c.onCompact(c.clock.Since(start), err)
	}
	if err != nil {
		return err
	}
	klog.FromContext(ctx).V(2).Info("Compacted history", "revision", target, "logBytes", stats.LogBytes)
	return nil
}

// expired marks the current revision and returns the newest one that was so a
// retention ago; 0 if that is not known. A clock that was set back makes
// history live longer, by a retention at most: what was marked in what is now
// the future counts from now.
func (c *Compactor) expired(current int64) int64 {
	now := c.clock.Now()
	for i := range c.marks {
		if c.marks[i].at.After(now) {
			c.marks[i].at = now
		}
	}
	if n := len(c.marks); n == 0 || now.Sub(c.marks[n-1].at) >= c.retention/retentionMarks {
		c.marks = append(c.marks, mark{at: now, rev: current})
	}
	var rev int64
	for len(c.marks) > 0 && now.Sub(c.marks[0].at) >= c.retention {
		rev = c.marks[0].rev
		c.marks = c.marks[1:]
	}
	return rev
}
