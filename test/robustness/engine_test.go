//go:build linux

package robustness

import (
	"context"
	"errors"
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	"k8s.io/apiserver/pkg/apis/example"
	examplev1 "k8s.io/apiserver/pkg/apis/example/v1"
	"k8s.io/apiserver/pkg/storage"
	"k8s.io/utils/ptr"

	"arl.io/arl/pkg/storage/bolt"
	"arl.io/arl/pkg/storage/kv"
)

// engine is the layer that a child writes through. All writes are conditional:
// expect is the revision that the key must have, 0 for none.
type engine interface {
	put(ctx context.Context, key, value string, expect int64) (rev int64, err error)
	remove(ctx context.Context, key string, expect int64) (rev int64, err error)
}

// The layers, and how the value of an entry of kv is told from what they store.
const (
	overKV   = "kv"
	overBolt = "bolt"
)

func newEngine(layer string, db *kv.DB) (engine, error) {
	if layer == overKV {
		return kvEngine{db}, nil
	}
	return newBoltEngine(db)
}

func valueOf(layer string, stored []byte) (string, error) {
	if layer == overKV {
		return string(stored), nil
	}
	obj, err := runtime.Decode(codec, stored)
	if err != nil {
		return "", err
	}
	return obj.(*example.Pod).Annotations[annotation], nil
}

// noSpace reports whether a write was refused for want of space.
func noSpace(err error) bool {
	var status apierrors.APIStatus
	return errors.Is(err, kv.ErrNoSpace) ||
		errors.As(err, &status) && status.Status().Reason == bolt.StatusReasonInsufficientStorage
}

type kvEngine struct{ db *kv.DB }

func (e kvEngine) put(ctx context.Context, key, value string, expect int64) (int64, error) {
	entry, err := e.db.Apply(ctx, kv.Op{Key: key, Value: []byte(value), Expect: expect})
	return entry.ModRev, err
}

func (e kvEngine) remove(ctx context.Context, key string, expect int64) (int64, error) {
	entry, err := e.db.Apply(ctx, kv.Op{Key: key, Delete: true, Expect: expect})
	return entry.ModRev, err
}

// annotation is where a pod carries the value.
const annotation = "value"

var codec = func() runtime.Codec {
	scheme := runtime.NewScheme()
	metav1.AddToGroupVersion(scheme, metav1.SchemeGroupVersion)
	utilruntime.Must(example.AddToScheme(scheme))
	utilruntime.Must(examplev1.AddToScheme(scheme))
	return serializer.NewCodecFactory(scheme).LegacyCodec(examplev1.SchemeGroupVersion)
}()

type boltEngine struct{ store *bolt.Store }

func newBoltEngine(db *kv.DB) (engine, error) {
	store, err := bolt.New(bolt.Config{
		DB:             db,
		Codec:          codec,
		NewFunc:        func() runtime.Object { return &example.Pod{} },
		GroupResource:  schema.GroupResource{Resource: "pods"},
		ResourcePrefix: "/pods",
	})
	return boltEngine{store}, err
}

func (e boltEngine) revision(pod *example.Pod) (int64, error) {
	rev, err := e.store.Versioner().ObjectResourceVersion(pod)
	return int64(rev), err
}

// conflict is what a write is answered with that expects another revision.
func conflict(key string) error { return storage.NewResourceVersionConflictsError(key, 0) }

func (e boltEngine) put(ctx context.Context, key, value string, expect int64) (int64, error) {
	in := &example.Pod{ObjectMeta: metav1.ObjectMeta{Name: key[len("/pods/"):], Annotations: map[string]string{annotation: value}}}
	out := &example.Pod{}
	var err error
	if expect == 0 {
		err = e.store.Create(ctx, key, in, out, 0)
	} else {
		err = e.store.GuaranteedUpdate(ctx, key, out, false, nil, storage.SimpleUpdate(func(obj runtime.Object) (runtime.Object, error) {
			now := obj.(*example.Pod)
			if now.ResourceVersion != fmt.Sprint(expect) {
				return nil, conflict(key)
			}
			now.Annotations = in.Annotations
			return now, nil
		}), nil)
	}
	if err != nil {
		return 0, err
	}
	return e.revision(out)
}

func (e boltEngine) remove(ctx context.Context, key string, expect int64) (int64, error) {
	out := &example.Pod{}
	preconditions := &storage.Preconditions{ResourceVersion: ptr.To(fmt.Sprint(expect))}
	if err := e.store.Delete(ctx, key, out, preconditions, storage.ValidateAllObjectFunc, nil, storage.DeleteOptions{}); err != nil {
		return 0, err
	}
	return e.revision(out)
}
