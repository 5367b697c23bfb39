// Package mutation breaks the storage on purpose, one promise at a time. The
// build tag mutate_<name> picks the promise; without such a tag Active is None,
// a constant, and the compiler leaves nothing of any mutation behind.
//
// hack/verify-mutations.sh builds each mutation and runs the tests that must
// fail with it: what passes there is a promise that no test keeps. Nobody else
// sets the tags.
package mutation

// Mutation is a way to break the storage.
type Mutation int

// The mutations.
const (
	// None is the storage as it should be.
	None Mutation = iota
	// PublishBeforeSync shows a write to readers and watchers before its commit.
	PublishBeforeSync
	// AckBeforeCommit answers a write before its commit.
	AckBeforeCommit
	// SkipPrecondition lets every write through, whatever it expects.
	SkipPrecondition
	// ReuseRevision counts one revision less than there was after a restart.
	ReuseRevision
	// ForgetLogTail drops the newest write at a restart.
	ForgetLogTail
	// NoChecksum takes every record for whole.
	NoChecksum
	// NoSync leaves it to the kernel when a commit gets to the disk.
	NoSync
	// TrimBeforeFold gives up history before the state that replaces it is on disk.
	TrimBeforeFold
	// AnyVersion answers a read of a large value with whatever version of it the
	// state has.
	AnyVersion
	// SkipCompacted lets a watcher that compaction has overtaken go on behind the hole.
	SkipCompacted
)
