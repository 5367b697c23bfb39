// Package kv is a durable key-value map with a history: every write gets a
// revision, a reader sees the map as it was at one revision, and a watcher
// sees every write after one. Writes are conditional; many that come at once
// share one commit. It knows nothing of Kubernetes, of what the values mean,
// or of time; a clock that is lent to it times commits for metrics only.
//
// # Files
//
// A directory holds two bbolt files. log.db is append-only: revision → write.
// state.db holds the map as of the compacted revision C, and C itself. The
// invariant is
//
//	state@C + log(C, R] = everything
//
// and it holds after every single commit, so a crash needs no repair. Compact
// folds a slice of the log into state.db and moves C in the same transaction;
// only then does the writer remove the slice from log.db, a few entries per
// commit. Entries at or below C that a crash left in the log are removed after
// the next Open. Both files carry the random ID of the database, every record
// a checksum, and Open reads each page and record before it writes anything.
//
// Updating random keys in the commit would cost far more than the sync;
// appending costs next to nothing, and objects that live for seconds never
// reach state.db at all.
//
// # Memory
//
// The map and log(C, R] are kept in memory as one immutable root behind an
// atomic pointer. Reads of it never touch bbolt and never wait. The root after a
// commit shares all that did not change with the one before. Old roots, and the
// values only they know, live as long as somebody holds a Snapshot of them.
//
// Large values are the exception: entries and events only refer to them, and
// Entry.Load reads them from the files. A Snapshot does not hold them: they are
// there until a compaction has reached the write that replaced them. See large.go.
//
// # Order
//
// Revision 1 is the creation of the database; each write adds exactly 1, also
// across restarts. A write is published, and then answered, after its commit
// has returned: what a reader sees is on disk.
//
// # Goroutines and locks
//
// Open starts one goroutine, the writer; Close joins it. The writer alone
// writes log.db and publishes roots. Compact runs in its caller, one at a
// time, alone writes state.db, and asks the writer to publish. SnapshotAt
// derives old revisions one at a time. Compact takes its own turn first and
// then that of SnapshotAt; nothing takes them the other way round. DB.mu
// guards the error and which revisions backups hold, and interests.mu who waits
// for which keys; each is held alone and for moments.
//
// # Failure
//
// When a commit fails nobody knows what is on disk. The database then stops:
// Failed is closed, writes in flight and all later ones get ErrFailed, and
// reads go on. Only a new Open finds out. Lack of space is seen
// before the commit, by a watermark and by allocating blocks ahead, and is no
// failure.
//
// # Copies
//
// Backup streams one Snapshot in a format of its own (backup.go). Restore,
// Shrink, Verify and ReadOffline work on a directory that no DB has open: the
// first two take the same lock as Open, the others a shared one, and write
// nothing. Restore and Shrink write new files and give them their names last;
// what a crash leaves of them Open either refuses or cleans up.
//
// Read first: root.go (what is in memory), writer.go (the way of a write),
// large.go, compact.go, open.go.
package kv
