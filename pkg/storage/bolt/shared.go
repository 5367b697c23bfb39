package bolt

import (
	"bytes"
	"io"
	"sync"
	"sync/atomic"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// sharedObject is the object of an event that goes to many watches. It never
// changes, and it is encoded once for each form that clients ask for, however
// many they are. Whoever wants to change the object gets a copy.
type sharedObject struct {
	obj runtime.Object
	// origin is set if memo is to know the object for as long as somebody holds it.
	origin atomic.Pointer[reading]

	mu sync.Mutex
	// encodings has an entry for each form, which are as many as the versions
	// and media types that the server speaks.
	encodings map[runtime.Identifier]*encoding
}

// encoding is an object in one form.
type encoding struct {
	once sync.Once
	data []byte
	err  error
}

var (
	_ runtime.CacheableObject   = (*sharedObject)(nil)
	_ metav1.ObjectMetaAccessor = (*sharedObject)(nil)
)

// newSharedObject takes over obj.
func newSharedObject(obj runtime.Object) *sharedObject {
	return &sharedObject{obj: obj, encodings: map[runtime.Identifier]*encoding{}}
}

// CacheEncode implements runtime.CacheableObject.
func (o *sharedObject) CacheEncode(id runtime.Identifier, encode func(runtime.Object, io.Writer) error, w io.Writer) error {
	e := o.encoding(id)
	e.once.Do(func() {
		var buf bytes.Buffer
		// Encoders own what they encode and may change it.
		e.err = encode(o.GetObject(), &buf)
		e.data = buf.Bytes()
	})
	if e.err != nil {
		return e.err
	}
	if s, ok := w.(runtime.Splice); ok {
		s.Splice(e.data)
		return nil
	}
	_, err := w.Write(e.data)
	return err
}

func (o *sharedObject) encoding(id runtime.Identifier) *encoding {
	o.mu.Lock()
	defer o.mu.Unlock()
	e := o.encodings[id]
	if e == nil {
		e = &encoding{}
		o.encodings[id] = e
	}
	return e
}

// GetObject implements runtime.CacheableObject: it returns a copy.
func (o *sharedObject) GetObject() runtime.Object { return o.obj.DeepCopyObject() }

// DeepCopyObject implements runtime.Object. The copy shares no encodings.
func (o *sharedObject) DeepCopyObject() runtime.Object { return newSharedObject(o.GetObject()) }

// GetObjectKind implements runtime.Object. What is set in it is lost.
func (o *sharedObject) GetObjectKind() schema.ObjectKind {
	kind := metav1.TypeMeta{}
	kind.SetGroupVersionKind(o.obj.GetObjectKind().GroupVersionKind())
	return &kind
}

// GetObjectMeta implements metav1.ObjectMetaAccessor. What is set in it is
// lost; maps and slices in it must not be changed.
func (o *sharedObject) GetObjectMeta() metav1.Object {
	m, err := meta.Accessor(o.obj)
	if err != nil {
		return nil
	}
	return &meta.AsPartialObjectMetadata(m).ObjectMeta
}
