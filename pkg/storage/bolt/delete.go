package bolt

import (
	"context"
	"errors"
	"fmt"

	"k8s.io/apimachinery/pkg/conversion"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apiserver/pkg/storage"

	"arl.io/arl/pkg/storage/kv"
)

// Delete implements storage.Interface. The object in out has the revision of
// the deletion. validateDeletion is called for exactly the state that is
// deleted, and before that for each state that lost a race against an update.
func (s *Store) Delete(
	ctx context.Context, key string, out runtime.Object, preconditions *storage.Preconditions,
	validateDeletion storage.ValidateObjectFunc, cachedExistingObject runtime.Object, opts storage.DeleteOptions,
) error {
	key, err := s.prepareKey(key, false)
	if err != nil {
		return err
	}
	if _, err := conversion.EnforcePtr(out); err != nil {
		return fmt.Errorf("output object: %w", err)
	}
	l := &loader{
		store:       s,
		key:         key,
		out:         out,
		suggestion:  cachedExistingObject,
		wantCorrupt: s.reportCorrupt && opts.ExpectTransformOrDecodeError,
	}
	if l.wantCorrupt {
		// A suggestion says nothing about what is stored.
		l.suggestion = nil
	}
	st, err := l.current(ctx)
	for {
		if err != nil {
			return err
		}
		if err := preconditions.Check(key, st.obj); err != nil {
			return err
		}
		if err := validateDeletion(ctx, st.obj); err != nil {
			return err
		}
		deleted, err2 := s.db.Apply(ctx, kv.Op{Key: key, Delete: true, Expect: st.entry.ModRev})
		var conflict *kv.ConflictError
		if errors.As(err2, &conflict) {
			st, err = l.afterConflict(ctx, conflict)
			continue
		}
		if err2 != nil {
			return apiError(err2)
		}
		if l.wantCorrupt {
			return nil
		}
		return s.codec.decodeInto(st.data, out, deleted.ModRev)
	}
}
