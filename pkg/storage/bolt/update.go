package bolt

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"

	"k8s.io/apimachinery/pkg/conversion"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apiserver/pkg/storage"

	"arl.io/arl/pkg/storage/kv"
)

// GuaranteedUpdate implements storage.Interface. It retries only when another
// write came first, with the state that write left. A result that serializes
// to what is stored already writes nothing, and does not prolong a TTL.
func (s *Store) GuaranteedUpdate(
	ctx context.Context, key string, destination runtime.Object, ignoreNotFound bool,
	preconditions *storage.Preconditions, tryUpdate storage.UpdateFunc, cachedExistingObject runtime.Object,
) error {
	key, err := s.prepareKey(key, false)
	if err != nil {
		return err
	}
	if _, err := conversion.EnforcePtr(destination); err != nil {
		return fmt.Errorf("output object: %w", err)
	}
	l := &loader{
		store:          s,
		key:            key,
		out:            destination,
		suggestion:     cachedExistingObject,
		ignoreNotFound: ignoreNotFound,
	}
	st, err := l.current(ctx)
	for {
		if err != nil {
			return err
		}
		if err := preconditions.Check(key, st.obj); err != nil {
			return err
		}
		err2 := s.tryUpdate(ctx, st, update{key: key, try: tryUpdate, out: destination})
		var conflict *kv.ConflictError
		if !errors.As(err2, &conflict) {
			return err2
		}
		st, err = l.afterConflict(ctx, conflict)
	}
}

// update is what GuaranteedUpdate does to each state it finds.
type update struct {
	key string
	try storage.UpdateFunc
	out runtime.Object
}

// tryUpdate writes what u makes of st. If another write came first, the error
// is a *kv.ConflictError.
func (s *Store) tryUpdate(ctx context.Context, st *state, u update) error {
	obj, ttl, err := u.try(st.obj, st.meta)
	if err != nil {
		return err
	}
	expiry := st.entry.Expiry
	if ttl != nil {
		if expiry, err = s.expiry(*ttl); err != nil {
			return err
		}
	}
	data, err := s.encode(obj)
	if err != nil {
		return err
	}
	tags, err := s.tags(obj, st.entry.Expiry)
	if err != nil {
		return err
	}
	if st.entry.ModRev != 0 && !st.stale && bytes.Equal(data, st.data) && slices.Equal(tags, st.entry.Tags) {
		return s.codec.decodeInto(st.data, u.out, st.entry.ModRev)
	}
	raw, err := s.codec.seal(ctx, u.key, data)
	if err != nil {
		return err
	}
	if tags, err = s.tags(obj, expiry); err != nil {
		return err
	}
	op := kv.Op{Key: u.key, Value: raw, Expiry: expiry, Tags: tags, Expect: st.entry.ModRev}
	entry, err := s.db.Apply(ctx, op)
	if err != nil {
		return apiError(err)
	}
	s.track(entry)
	return s.codec.decodeInto(data, u.out, entry.ModRev)
}
