package kv

import (
	"errors"
	"fmt"
)

// Sentinel errors. They are wrapped with what was asked for; test with errors.Is.
var (
	// ErrConflict: the precondition of a write did not hold. The error is a
	// *ConflictError, which carries the current state. Nothing was written.
	ErrConflict = errors.New("precondition failed")
	// ErrCompacted: the history asked for has been folded away.
	ErrCompacted = errors.New("revision has been compacted")
	// ErrFutureRevision: the revision asked for has not been reached.
	ErrFutureRevision = errors.New("revision is in the future")
	// ErrNoSpace: the file system is short of space. Nothing was written.
	// Deletes and reads go on.
	ErrNoSpace = errors.New("no space left for the database")
	// ErrTooLarge: the key or the value is above its limit, or the key is empty.
	ErrTooLarge = errors.New("key or value size not allowed")
	// ErrClosed: the database has been closed.
	ErrClosed = errors.New("database is closed")
	// ErrFailed: a commit failed, and with it the database: see DB.Failed. A
	// write that is answered with it may or may not be found after a restart.
	ErrFailed = errors.New("database has failed")
	// ErrCorrupt: a file is damaged. The error names the file and the place.
	ErrCorrupt = errors.New("database is corrupt")
	// ErrFormat: a file was not made by this package, or by another version of it.
	ErrFormat = errors.New("database format not supported")
	// ErrBackup: a backup is damaged or cut short. The error says where.
	ErrBackup = errors.New("backup is damaged")
	// ErrNotEmpty: the directory to restore into has something in it.
	ErrNotEmpty = errors.New("directory is not empty")
	// ErrLocked: the directory is in use by another process or another DB.
	ErrLocked = errors.New("database is in use")
)

// ConflictError says that the precondition of a write did not hold. It
// matches ErrConflict.
type ConflictError struct {
	// Key is the key of the write.
	Key string
	// Exists says whether the key existed when the write was decided.
	Exists bool
	// Current is what it held then; zero if it did not exist.
	Current Entry
}

var _ error = (*ConflictError)(nil)

// Error implements error.
func (e *ConflictError) Error() string {
	if !e.Exists {
		return fmt.Sprintf("%v: key %q does not exist", ErrConflict, e.Key)
	}
	return fmt.Sprintf("%v: key %q is at revision %d", ErrConflict, e.Key, e.Current.ModRev)
}

// Is reports whether target is ErrConflict.
func (e *ConflictError) Is(target error) bool { return target == ErrConflict }
