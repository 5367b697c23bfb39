package bolt

import (
	"context"
	"errors"
	"fmt"
	"reflect"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/conversion"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apiserver/pkg/features"
	"k8s.io/apiserver/pkg/storage"
	"k8s.io/apiserver/pkg/storage/metrics"
	utilfeature "k8s.io/apiserver/pkg/util/feature"

	"arl.io/arl/pkg/storage/kv"
)

// maxGuessedGrowth bounds the room made in advance for a list that may stay
// almost empty.
const maxGuessedGrowth = 2048

// GetList implements storage.Interface. All pages of a list are read at the
// revision of the first; if that has been compacted meanwhile the error is 410
// Expired, with a token to go on inconsistently.
func (s *Store) GetList(ctx context.Context, key string, opts storage.ListOptions, listObj runtime.Object) error {
	prefix, err := s.prepareKey(key, opts.Recursive)
	if err != nil {
		return err
	}
	rev, from, err := storage.ValidateListOptions(prefix, s.codec.versioner, opts)
	if err != nil {
		return err
	}
	r := listRange{prefix: prefix, from: from, rev: rev}
	for attempt := 1; ; attempt++ {
		err := s.list(ctx, r, opts, listObj)
		if !errors.Is(err, kv.ErrCompacted) {
			return err
		}
		// A large object that the snapshot had is gone.
		if rev != 0 || attempt == listAttempts {
			return expiredListError(r, opts)
		}
	}
}

// list makes one list. If compaction overtakes it, the error is kv.ErrCompacted.
func (s *Store) list(ctx context.Context, r listRange, opts storage.ListOptions, listObj runtime.Object) error {
	items, newItem, err := listItems(listObj)
	if err != nil {
		return err
	}
	snap, err := s.listSnapshot(ctx, r, opts)
	if err != nil {
		return err
	}
	l := &listing{
		store:   s,
		opts:    opts,
		prefix:  r.prefix,
		from:    max(r.prefix, r.from),
		items:   items,
		newItem: newItem,
		errs:    listErrors{report: s.reportCorrupt, resource: s.groupResource},
	}
	defer l.record()
	if err := l.read(ctx, snap); err != nil {
		l.items.SetZero()
		return err
	}
	return l.finish(listObj, snap)
}

// listItems returns the slice of items of a list, and what makes an item.
func listItems(listObj runtime.Object) (items reflect.Value, newItem func() runtime.Object, err error) {
	ptr, err := meta.GetItemsPtr(listObj)
	if err != nil {
		return items, nil, err
	}
	items, err = conversion.EnforcePtr(ptr)
	if err != nil {
		return items, nil, fmt.Errorf("items of %T: %w", listObj, err)
	}
	if items.Kind() != reflect.Slice {
		return items, nil, fmt.Errorf("items of %T: want a slice, got %v", listObj, items.Kind())
	}
	elem := items.Type().Elem()
	return items, func() runtime.Object { return reflect.New(elem).Interface().(runtime.Object) }, nil
}

// listRange is what a list reads: keys with a prefix, beginning with from, at a
// revision; 0 stands for the newest.
type listRange struct {
	prefix, from string
	rev          int64
}

func (s *Store) listSnapshot(ctx context.Context, r listRange, opts storage.ListOptions) (kv.Snapshot, error) {
	if r.rev == 0 {
		snap := s.db.Snapshot()
		return snap, s.checkNotOlder(snap, opts.ResourceVersion)
	}
	snap, err := s.db.SnapshotAt(ctx, r.rev)
	switch {
	case errors.Is(err, kv.ErrCompacted):
		return snap, expiredListError(r, opts)
	case errors.Is(err, kv.ErrFutureRevision):
		return snap, storage.NewTooLargeResourceVersionError(uint64(r.rev), uint64(s.db.Snapshot().Revision()), 0)
	case err != nil:
		return snap, apiError(err)
	}
	return snap, nil
}

// expiredListError answers a list whose revision is gone.
func expiredListError(r listRange, opts storage.ListOptions) error {
	if opts.Predicate.Continue != "" {
		return expiredContinueError(r.from, r.prefix)
	}
	return apierrors.NewResourceExpired(listExpired)
}

// listing is one list in the making.
type listing struct {
	store        *Store
	opts         storage.ListOptions
	prefix, from string
	items        reflect.Value
	newItem      func() runtime.Object
	errs         listErrors
	// lastKey is the last key looked at, whether or not it was selected.
	lastKey string
	more    bool
	// bytes is the size of the values of the items.
	bytes int
	// evaluated is how many objects were looked at, and index what they were found by.
	evaluated int
	index     string
}

// read appends what is selected, until the page is full.
func (l *listing) read(ctx context.Context, snap kv.Snapshot) (err error) {
	if !l.opts.Recursive {
		if entry, found := snap.Get(l.prefix); found {
			_, err = l.add(ctx, entry)
		}
		return err
	}
	l.grow(snap)
	limit := int(l.opts.Predicate.Limit)
	add := func(entry kv.Entry) bool {
		if limit > 0 && (l.items.Len() >= limit || l.bytes >= maxPageBytes) {
			l.more = true
			return false
		}
		l.lastKey = entry.Key
		var done bool
		done, err = l.add(ctx, entry)
		return !done && err == nil
	}
	if tag, ok := l.store.index.match(ctx, &l.opts.Predicate, snap.Revision()); ok {
		l.index = listIndex
		snap.AscendTag(tag, l.prefix, l.from, add)
	} else {
		snap.Ascend(l.prefix, l.from, add)
	}
	return err
}

// grow makes room for the items, as far as it is known how many there will be:
// to count all keys for a short page would cost more than it saves.
func (l *listing) grow(snap kv.Snapshot) {
	limit := l.opts.Predicate.Limit
	switch {
	case limit > 0 && limit <= maxGuessedGrowth:
		l.items.Grow(int(limit))
	case !l.opts.Predicate.Empty():
		l.items.Grow(int(min(snap.Count(l.prefix), maxGuessedGrowth)))
	case limit > 0:
		l.items.Grow(int(min(snap.Count(l.prefix), limit)))
	default:
		l.items.Grow(int(snap.Count(l.prefix)))
	}
}

// add appends the object of an entry if it is selected. It returns whether an
// object that could not be read ends the list.
func (l *listing) add(ctx context.Context, entry kv.Entry) (done bool, err error) {
	if ctx.Err() != nil {
		return true, storage.NewTimeoutError(entry.Key, "request did not complete within requested timeout")
	}
	l.evaluated++
	codec := &l.store.codec
	raw, err := entry.Load()
	if err != nil {
		return true, apiError(err)
	}
	data, _, err := codec.open(ctx, entry.Key, raw)
	if err != nil {
		err = storage.NewInternalError(fmt.Errorf("unable to transform key %q: %w", entry.Key, err))
		return l.errs.add(entry.Key, err), nil
	}
	obj, _, err := codec.codec.Decode(data, nil, l.newItem())
	if err != nil {
		return l.errs.add(entry.Key, &corruptError{problem: undecodable, rev: entry.ModRev, err: err}), nil
	}
	if err := codec.setRevision(obj, entry.ModRev); err != nil {
		return true, err
	}
	if selected, err := l.opts.Predicate.Matches(obj); err == nil && selected {
		l.items.Set(reflect.Append(l.items, reflect.ValueOf(obj).Elem()))
		l.bytes += entry.Size()
	}
	return false, nil
}

// finish sets the metadata of the list.
func (l *listing) finish(listObj runtime.Object, snap kv.Snapshot) error {
	if err := l.errs.err(); err != nil {
		return err
	}
	if l.items.IsNil() {
		l.items.Set(reflect.MakeSlice(l.items.Type(), 0, 0))
	}
	pred := &l.opts.Predicate
	count := pred.Limit
	if l.more && pred.Empty() {
		snap.Ascend(l.prefix, l.lastKey+"\x00", func(kv.Entry) bool {
			count++
			return true
		})
	}
	token, remaining, err := storage.PrepareContinueToken(l.lastKey, l.prefix, snap.Revision(), count, l.more, l.opts)
	if err != nil {
		return err
	}
	if err := l.store.codec.versioner.UpdateList(listObj, uint64(snap.Revision()), token, remaining); err != nil {
		return err
	}
	if utilfeature.DefaultFeatureGate.Enabled(features.ShardedListAndWatch) {
		pred.SetShardInfoOnList(listObj)
	}
	return nil
}

// Labels of the API server's metrics of lists.
const (
	listStorage = "bolt"
	listIndex   = "tags"
)

// record counts what the list has cost, also if it failed.
func (l *listing) record() {
	metrics.RecordStorageListMetrics(l.store.groupResource, listStorage, l.index, l.evaluated, l.evaluated, l.items.Len())
}
