package kv

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	bolt "go.etcd.io/bbolt"
)

var errDisk = errors.New("disk on fire")

// failing is a commit that fails, for the file of that name, after having
// written or not.
func failing(name string, written bool) func(*bolt.Tx) error {
	return func(tx *bolt.Tx) error {
		switch {
		case filepath.Base(tx.DB().Path()) != name:
			return tx.Commit()
		case written:
			return errors.Join(errDisk, tx.Commit())
		default:
			return errors.Join(errDisk, tx.Rollback())
		}
	}
}

// TestFailStop checks that a failed commit ends all writing, and that a new
// Open finds what is on disk, whichever it is.
func TestFailStop(t *testing.T) {
	for name, written := range map[string]bool{"nothing written": false, "all written": true} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			db := openTest(t, dir, Options{})
			rev := put(t, db, "a", "before", 0)
			db.commit = failing(logName, written)
			_, err := db.Apply(t.Context(), Op{Key: "a", Value: []byte("lost?"), Expect: rev})
			wantErr(t, "Apply", err, ErrFailed)
			wantErr(t, "Apply", err, errDisk)
			if !strings.Contains(err.Error(), "revisions 3 to 3") {
				t.Errorf("error %q does not name the revisions", err)
			}
			<-db.Failed()
			wantErr(t, "Err", db.Err(), errDisk)
			_, err = db.Apply(t.Context(), Op{Key: "b"})
			wantErr(t, "Apply after the failure", err, ErrFailed)
			wantErr(t, "Compact after the failure", db.Compact(t.Context(), rev), ErrFailed)
			if e, _ := db.Snapshot().Get("a"); string(e.Value) != "before" || db.Snapshot().Revision() != rev {
				t.Errorf("the failed write is visible: %+v at %d", e, db.Snapshot().Revision())
			}
			closeTest(t, db)
			want := map[bool]string{false: "before", true: "lost?"}[written]
			if e, _ := openTest(t, dir, Options{}).Snapshot().Get("a"); string(e.Value) != want {
				t.Errorf("after reopen: %q, want %q", e.Value, want)
			}
		})
	}
}

// TestFailStopWakesAll checks that nobody waits for a database that has
// failed: not the rest of the batch, its losers included, nor who watches.
func TestFailStopWakesAll(t *testing.T) {
	db := openTest(t, t.TempDir(), Options{})
	rev := put(t, db, "a", "1", 0)
	w, err := db.Watch("", rev)
	if err != nil {
		t.Fatal(err)
	}
	inCommit, release := make(chan struct{}), make(chan struct{})
	db.commit = func(tx *bolt.Tx) error {
		close(inCommit)
		<-release
		return errors.Join(errDisk, tx.Rollback())
	}
	errs := make(chan error)
	apply := func(op Op) {
		_, err := db.Apply(context.Background(), op)
		errs <- err
	}
	go apply(Op{Key: "a", Expect: rev})
	<-inCommit
	const waiting = 9
	for range waiting {
		go apply(Op{Key: "a", Expect: rev})
	}
	go func() {
		_, _, err := w.Next(context.Background())
		errs <- err
	}()
	go func() { errs <- db.WaitRevision(context.Background(), 99) }()
	eventually(t, "the watcher waits", func() bool { return db.Stats().Watchers == 1 })
	close(release)
	for range 1 + waiting + 2 {
		wantErr(t, "waiting call", <-errs, ErrFailed)
	}
}

func TestFailStopInCompaction(t *testing.T) {
	for name, written := range map[string]bool{"nothing written": false, "all written": true} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			db := openTest(t, dir, Options{})
			rev := put(t, db, "a", "1", 0)
			db.commit = failing(stateName, written)
			err := db.Compact(t.Context(), rev)
			wantErr(t, "Compact", err, ErrFailed)
			wantErr(t, "Compact", err, errDisk)
			<-db.stopped
			_, err = db.Apply(t.Context(), Op{Key: "b"})
			wantErr(t, "Apply", err, ErrFailed)
			closeTest(t, db)
			db = openTest(t, dir, Options{})
			if e, _ := db.Snapshot().Get("a"); string(e.Value) != "1" || db.Snapshot().Revision() != rev {
				t.Errorf("after reopen: %+v at %d", e, db.Snapshot().Revision())
			}
		})
	}
}

// TestFailStopWhenGrowing checks that a sync that fails after a file has grown
// is not tried again: the second answer would prove nothing. A full disk is
// no such failure.
func TestFailStopWhenGrowing(t *testing.T) {
	write := func(db *DB) error {
		_, err := db.Apply(context.Background(), Op{Key: "a"})
		return err
	}
	tests := []struct {
		name    string
		reserve func(*DB) *reserve
		do      func(*DB) error
	}{
		{"log", func(db *DB) *reserve { return db.files.logReserve }, write},
		{"state", func(db *DB) *reserve { return db.files.stateReserve },
			func(db *DB) error { return db.Compact(context.Background(), db.Snapshot().Revision()) }},
	}
	for _, tt := range tests {
		for errno, want := range map[syscall.Errno]error{syscall.EIO: ErrFailed, syscall.ENOSPC: ErrNoSpace} {
			t.Run(tt.name+" "+errno.Error(), func(t *testing.T) {
				dir := t.TempDir()
				db := openTest(t, dir, Options{})
				rev := put(t, db, "b", "1", 0)
				r := tt.reserve(db)
				r.end = 0
				r.sync = func(*os.File) error { return errno }
				wantErr(t, tt.name, tt.do(db), want)
				wantErr(t, tt.name, tt.do(db), errno)
				if failed := db.Err() != nil; failed != (want == ErrFailed) {
					t.Errorf("Err = %v", db.Err())
				}
				if db.Snapshot().Revision() != rev {
					t.Errorf("revision moved from %d to %d", rev, db.Snapshot().Revision())
				}
				closeTest(t, db)
				if e, _ := openTest(t, dir, Options{}).Snapshot().Get("b"); e.ModRev != rev {
					t.Errorf("after reopen: %+v", e)
				}
			})
		}
	}
}
