package bolt

import (
	"context"
	"errors"
	"fmt"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apiserver/pkg/storage"

	"arl.io/arl/pkg/storage/kv"
)

// Create implements storage.Interface. When it returns, the object is on disk.
// The object in out is decoded from what was stored, which is not always what
// was passed: times, for one, are stored in seconds.
func (s *Store) Create(ctx context.Context, key string, obj, out runtime.Object, ttl uint64) error {
	key, err := s.prepareKey(key, false)
	if err != nil {
		return err
	}
	if rev, err := s.codec.versioner.ObjectResourceVersion(obj); err == nil && rev != 0 {
		return storage.ErrResourceVersionSetOnCreate
	}
	expiry, err := s.expiry(ttl)
	if err != nil {
		return err
	}
	data, err := s.encode(obj)
	if err != nil {
		return err
	}
	raw, err := s.codec.seal(ctx, key, data)
	if err != nil {
		return err
	}
	tags, err := s.tags(obj, expiry)
	if err != nil {
		return err
	}
	entry, err := s.db.Apply(ctx, kv.Op{Key: key, Value: raw, Expiry: expiry, Tags: tags})
	if errors.Is(err, kv.ErrConflict) {
		return storage.NewKeyExistsError(key, 0)
	}
	if err != nil {
		return apiError(err)
	}
	s.track(entry)
	if out == nil {
		return nil
	}
	return s.codec.decodeInto(data, out, entry.ModRev)
}

// encode serializes an object without what is not stored: its revision.
func (s *Store) encode(obj runtime.Object) ([]byte, error) {
	if err := s.codec.versioner.PrepareObjectForStorage(obj); err != nil {
		return nil, fmt.Errorf("preparing %T for storage: %w", obj, err)
	}
	return runtime.Encode(s.codec.codec, obj)
}
