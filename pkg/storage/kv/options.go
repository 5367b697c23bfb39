package kv

import (
	"log/slog"
	"time"
)

// Defaults of Options.
const (
	// DefaultMaxValueBytes leaves an object of 1.5 MiB room for what encoding
	// and encryption add to it.
	DefaultMaxValueBytes = 3<<19 + 64<<10
	// DefaultLargeValueBytes keeps in memory the objects that are many: a sandbox
	// or a task takes 2 KB. What is above holds files or output of users, is
	// read seldom, and costs more to decode than to read from the page cache.
	DefaultLargeValueBytes = 16 << 10
	// DefaultMaxBatch bounds how long the first write of a commit waits for the last.
	DefaultMaxBatch = 1024
)

// Options tune a database. The zero value is ready for use.
type Options struct {
	// MinFreeBytes is a watermark: while the file system has less free,
	// creates and updates are refused with ErrNoSpace; deletes go on. 0: no check.
	MinFreeBytes uint64
	// LowSpaceGrace is how long creates and updates go on below the watermark, as far as space for them
	// is allocated ahead: somebody may be making room. 0: not at all.
	LowSpaceGrace time.Duration
	// FreeBytes says how much of the file system that holds dir is free to us.
	// Nil: statfs(2). It is called once per commit, so it must be quick.
	FreeBytes func(dir string) (uint64, error)
	// MaxValueBytes is the largest value accepted. 0: DefaultMaxValueBytes.
	MaxValueBytes int
	// LargeValueBytes is the size above which a value is not kept in memory but
	// read from the files when it is asked for. 0: DefaultLargeValueBytes.
	LargeValueBytes int
	// MaxBatch is the largest number of writes in one commit. 0: DefaultMaxBatch.
	MaxBatch int
	// Logger gets what no caller is told otherwise, such as shortage of space. Nil: discarded.
	Logger *slog.Logger
	// OnCommit is called after each commit of the log, and after a batch that
	// was refused as a whole, by the writer, which waits for it: it must be
	// quick, must not call the database and must keep nothing. May be nil.
	OnCommit func(CommitStats)
	// Now is a clock for the durations in CommitStats and for LowSpaceGrace, and
	// for nothing else: what is stored and in which order never depends on time.
	// Nil: those durations are 0, and a grace has no end.
	Now func() time.Time
}

// CommitStats describe one commit of the log. If Writes and Trimmed are both 0
// there was none, because every write of the batch was refused.
type CommitStats struct {
	// Revision is the newest revision after the commit.
	Revision int64
	// Writes is how many writes the commit made durable; 0 if it only trimmed.
	Writes int
	// Conflicts and NoSpace are how many writes were refused beside them, for
	// their precondition and for want of space.
	Conflicts, NoSpace int
	// Trimmed is how many compacted entries left the log.
	Trimmed int
	// Bytes is the size of the records written.
	Bytes int64
	// QueueWaits are the times from Apply to the moment the batch was taken up,
	// one for each write, refused ones included. The slice is used again after
	// the call.
	QueueWaits []time.Duration
	// Duration is the time from the begin of the transaction to the end of its commit.
	Duration time.Duration
	// WriteTime is the part of it spent in writing and syncing the file. It
	// comes from bbolt and needs no clock of Options.
	WriteTime time.Duration
}

// Stats is the state of a database at one moment.
type Stats struct {
	// Revision is the newest published revision.
	Revision int64
	// CompactedRevision is the revision up to which history is gone.
	CompactedRevision int64
	// Keys is the number of live keys.
	Keys int
	// LogEntries is the number of entries of the log kept in memory: Revision - CompactedRevision.
	LogEntries int64
	// LogBytes is what compaction up to Revision would free: the memory of the
	// entries and of the values that they alone keep, and the disk of such
	// values that are large.
	LogBytes int64
	// LogRecordBytes is the size on disk of the records of those entries.
	LogRecordBytes int64
	// LogFileBytes and StateFileBytes are the sizes of the files. They never shrink.
	LogFileBytes, StateFileBytes int64
	// Watchers is how many callers are in Watcher.Next.
	Watchers int
	// BackupRevision is the oldest revision that a backup under way reads; 0 if
	// there is none. A backup that is overtaken by compaction fails.
	BackupRevision int64
}

func (o Options) complete() Options {
	if o.FreeBytes == nil {
		o.FreeBytes = freeBytes
	}
	if o.MaxValueBytes == 0 {
		o.MaxValueBytes = DefaultMaxValueBytes
	}
	if o.LargeValueBytes == 0 {
		o.LargeValueBytes = DefaultLargeValueBytes
	}
	if o.MaxBatch == 0 {
		o.MaxBatch = DefaultMaxBatch
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.OnCommit == nil {
		o.OnCommit = func(CommitStats) {}
	}
	if o.Now == nil {
		o.Now = func() time.Time { return time.Time{} }
	}
	return o
}
