package bolt

import (
	"context"
	"fmt"
	"reflect"

	"k8s.io/apimachinery/pkg/conversion"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apiserver/pkg/storage"

	"arl.io/arl/pkg/storage/kv"
)

// state is an object as an update or a deletion finds it.
type state struct {
	// entry is what is stored; zero if nothing is.
	entry kv.Entry
	// obj is the caller's to change. It is nil for a corrupt object.
	obj  runtime.Object
	meta storage.ResponseMeta
	// data is the serialized object, and stale says that its stored form
	// should be written again even if data stays the same.
	data  []byte
	stale bool
}

// loader makes states of one key for one request.
type loader struct {
	store *Store
	key   string
	// out is what the request sets in the end; it gives the type of objects.
	out runtime.Object
	// suggestion may save decoding the object, if it is at the right revision.
	suggestion     runtime.Object
	ignoreNotFound bool
	// wantCorrupt refuses objects that can be read, and accepts only others.
	wantCorrupt bool
}

// current returns the state in the newest snapshot.
func (l *loader) current(ctx context.Context) (*state, error) {
	entry, found := l.store.db.Snapshot().Get(l.key)
	return l.state(ctx, entry, found)
}

// afterConflict returns the state that a write was refused for.
func (l *loader) afterConflict(ctx context.Context, c *kv.ConflictError) (*state, error) {
	return l.state(ctx, c.Current, c.Exists)
}

// state returns the state of an entry, whose key is l.key. If it is not found
// and that is not ignored, the error is a storage.NewKeyNotFoundError.
func (l *loader) state(ctx context.Context, entry kv.Entry, found bool) (*state, error) {
	var raw []byte
	var err error
	if found {
		if entry, raw, found, err = l.store.load(ctx, entry); err != nil {
			return nil, apiError(err)
		}
	}
	if !found {
		return l.absent()
	}
	st := &state{entry: entry, meta: storage.ResponseMeta{
		ResourceVersion: uint64(entry.ModRev),
		TTL:             remaining(entry, l.store.clock.Now()),
	}}
	err = l.read(ctx, st, raw)
	switch {
	case err == nil && l.wantCorrupt:
		return nil, storage.NewInvalidObjError(l.key,
			"unsafe deletion is not allowed because the object is decodable from storage")
	case err != nil && !l.wantCorrupt:
		return nil, err
	case err != nil:
		st.obj = nil
	}
	return st, nil
}

// read sets what state says of the object, from the value of the entry.
func (l *loader) read(ctx context.Context, st *state, raw []byte) (err error) {
	codec := &l.store.codec
	st.data, st.stale, err = codec.open(ctx, l.key, raw)
	if err != nil {
		return storage.NewInternalError(err)
	}
	if l.suggestion != nil {
		if rev, err := codec.versioner.ObjectResourceVersion(l.suggestion); err == nil && rev == uint64(st.entry.ModRev) {
			st.obj = l.suggestion
			return nil
		}
	}
	if st.obj, err = l.empty(); err != nil {
		return err
	}
	return codec.decodeInto(st.data, st.obj, st.entry.ModRev)
}

func (l *loader) absent() (*state, error) {
	if !l.ignoreNotFound {
		return nil, storage.NewKeyNotFoundError(l.key, 0)
	}
	obj, err := l.empty()
	if err != nil {
		return nil, err
	}
	return &state{obj: obj}, nil
}

// empty returns a new object of the type of out.
func (l *loader) empty() (runtime.Object, error) {
	v, err := conversion.EnforcePtr(l.out)
	if err != nil {
		return nil, fmt.Errorf("output object: %w", err)
	}
	return reflect.New(v.Type()).Interface().(runtime.Object), nil
}
