package app

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"arl.io/arl/cmd/apiserver/app/modes"
	"arl.io/arl/pkg/storage/kv"
)

// notesPrefix is before the keys of notes. Objects of the API are under another prefix, so no request
// reaches a note.
const notesPrefix = "/private/arl.io/"

// notes are modes.Notes in the database.
type notes struct{ db *kv.DB }

var _ modes.Notes = notes{}

// List returns the values whose keys begin with a prefix.
func (n notes) List(prefix string) (map[string][]byte, error) {
	found := map[string][]byte{}
	var failed error
	n.db.Snapshot().Ascend(notesPrefix+prefix, "", func(e kv.Entry) bool {
		value, err := e.Load()
		if err != nil {
			failed = fmt.Errorf("read %s: %w", e.Key, err)
			return false
		}
		found[strings.TrimPrefix(e.Key, notesPrefix+prefix)] = value
		return true
	})
	return found, failed
}

// Put stores a value.
func (n notes) Put(ctx context.Context, key string, value []byte) error {
	return n.apply(ctx, kv.Op{Key: notesPrefix + key, Value: value})
}

// Delete drops a value.
func (n notes) Delete(ctx context.Context, key string) error {
	return n.apply(ctx, kv.Op{Key: notesPrefix + key, Delete: true})
}

// apply writes whatever state the key has. It ends: each conflict is the success of another writer of
// the same key, of which there are few.
func (n notes) apply(ctx context.Context, op kv.Op) error {
	if current, exists := n.db.Snapshot().Get(op.Key); exists {
		op.Expect = current.ModRev
	}
	for {
		if op.Delete && op.Expect == 0 {
			return nil
		}
		_, err := n.db.Apply(ctx, op)
		var conflict *kv.ConflictError
		if !errors.As(err, &conflict) {
			return err
		}
		op.Expect = conflict.Current.ModRev
	}
}
