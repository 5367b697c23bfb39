package kv

import (
	"context"
	"testing"

	bolt "go.etcd.io/bbolt"
)

// TestNothingIsSeenBeforeItsCommit holds a commit up. Until it is through, no
// reader and no watcher may know of the write, and it must not be answered.
func TestNothingIsSeenBeforeItsCommit(t *testing.T) {
	db := openTest(t, t.TempDir(), Options{})
	rev := put(t, db, "a", "old", 0)
	watcher, err := db.Watch("", rev)
	if err != nil {
		t.Fatal(err)
	}
	inCommit, release := make(chan struct{}), make(chan struct{})
	db.commit = func(tx *bolt.Tx) error {
		close(inCommit)
		<-release
		return tx.Commit()
	}
	answered, seen := make(chan error, 1), make(chan []Event, 1)
	go func() {
		_, err := db.Apply(context.Background(), Op{Key: "a", Value: []byte("new"), Expect: rev})
		answered <- err
	}()
	go func() {
		events, _, err := watcher.Next(context.Background())
		if err != nil {
			t.Errorf("Next: %v", err)
		}
		seen <- events
	}()
	<-inCommit
	if e, _ := db.Snapshot().Get("a"); string(e.Value) != "old" || db.Snapshot().Revision() != rev {
		t.Errorf("a reader sees %q at revision %d in the midst of the commit", e.Value, db.Snapshot().Revision())
	}
	_, err = db.SnapshotAt(t.Context(), rev+1)
	wantErr(t, "SnapshotAt in the midst of the commit", err, ErrFutureRevision)
	select {
	case err := <-answered:
		t.Errorf("the write was answered with %v in the midst of the commit", err)
	case events := <-seen:
		t.Errorf("a watcher sees %+v in the midst of the commit", events)
	default:
	}
	close(release)
	if err := <-answered; err != nil {
		t.Fatal(err)
	}
	if events := <-seen; len(events) != 1 || string(events[0].Value) != "new" {
		t.Errorf("events after the commit: %+v", events)
	}
}
