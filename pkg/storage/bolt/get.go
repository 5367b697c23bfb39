package bolt

import (
	"context"
	"errors"
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apiserver/pkg/storage"

	"arl.io/arl/pkg/storage/kv"
)

// Get implements storage.Interface. It reads the newest state.
func (s *Store) Get(ctx context.Context, key string, opts storage.GetOptions, out runtime.Object) error {
	key, err := s.prepareKey(key, false)
	if err != nil {
		return err
	}
	snap := s.db.Snapshot()
	if err := s.checkNotOlder(snap, opts.ResourceVersion); err != nil {
		return err
	}
	var raw []byte
	entry, found := snap.Get(key)
	if found {
		if entry, raw, found, err = s.load(ctx, entry); err != nil {
			return apiError(err)
		}
	}
	if !found {
		if opts.IgnoreNotFound {
			return runtime.SetZeroValue(out)
		}
		return storage.NewKeyNotFoundError(key, 0)
	}
	return s.readInto(ctx, entry, raw, out)
}

// readInto sets out to the object of an entry whose value is raw.
func (s *Store) readInto(ctx context.Context, entry kv.Entry, raw []byte, out runtime.Object) error {
	data, _, err := s.codec.open(ctx, entry.Key, raw)
	if err != nil {
		return s.readError(entry.Key, storage.NewInternalError(err))
	}
	if err := s.codec.decodeInto(data, out, entry.ModRev); err != nil {
		return s.readError(entry.Key, err)
	}
	return nil
}

// readError makes an error of a corrupt object known as such to the registry,
// which then allows its unsafe deletion.
func (s *Store) readError(key string, err error) error {
	var corrupt *corruptError
	if s.reportCorrupt && errors.As(err, &corrupt) {
		return storage.NewCorruptObjError(key, corrupt)
	}
	return err
}

// checkNotOlder refuses a resourceVersion that has not been reached. Nothing
// would be gained by waiting: every version we handed out is in the snapshot.
func (s *Store) checkNotOlder(snap kv.Snapshot, resourceVersion string) error {
	rev, err := s.codec.versioner.ParseResourceVersion(resourceVersion)
	if err != nil {
		return apierrors.NewBadRequest(fmt.Sprintf("invalid resource version: %v", err))
	}
	if current := uint64(snap.Revision()); rev > current {
		return storage.NewTooLargeResourceVersionError(rev, current, 0)
	}
	return nil
}
