package bolt

import (
	"context"
	"fmt"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apiserver/pkg/storage"
	"k8s.io/apiserver/pkg/storage/value"
)

// keyContext binds a value to its key: a value that is moved to another key in
// the file does not decrypt.
type keyContext string

var _ value.Context = keyContext("")

// AuthenticatedData implements value.Context.
func (k keyContext) AuthenticatedData() []byte { return []byte(k) }

// objectCodec is the way between an object and the value that is stored.
type objectCodec struct {
	codec       runtime.Codec
	transformer value.Transformer
	versioner   storage.Versioner
}

// open returns the serialized object in a stored value, and whether the value
// should be written again because of how it is transformed. The result may
// share memory with raw and must not be modified.
func (c *objectCodec) open(ctx context.Context, key string, raw []byte) (data []byte, stale bool, err error) {
	return c.transformer.TransformFromStorage(ctx, raw, keyContext(key))
}

// seal returns the value to store for a serialized object.
func (c *objectCodec) seal(ctx context.Context, key string, data []byte) ([]byte, error) {
	raw, err := c.transformer.TransformToStorage(ctx, data, keyContext(key))
	if err != nil {
		return nil, storage.NewInternalError(fmt.Errorf("transforming %q for storage: %w", key, err))
	}
	return raw, nil
}

// decodeInto sets into to the object that data holds, at revision rev.
func (c *objectCodec) decodeInto(data []byte, into runtime.Object, rev int64) error {
	if _, _, err := c.codec.Decode(data, nil, into); err != nil {
		return &corruptError{problem: undecodable, rev: rev, err: err}
	}
	return c.setRevision(into, rev)
}

// decode returns the object that data holds, without a revision.
func (c *objectCodec) decode(data []byte) (runtime.Object, error) {
	return runtime.Decode(c.codec, data)
}

func (c *objectCodec) setRevision(obj runtime.Object, rev int64) error {
	if err := c.versioner.UpdateObject(obj, uint64(rev)); err != nil {
		return fmt.Errorf("setting the resource version of %T: %w", obj, err)
	}
	return nil
}
