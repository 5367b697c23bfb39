package image

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/klauspost/compress/zstd"
)

// maxWindow bounds the memory that a layer may ask for to be decompressed. It is the most that zstd
// uses unless told otherwise.
const maxWindow = 128 << 20

var (
	gzipMagic = []byte{0x1f, 0x8b}
	zstdMagic = []byte{0x28, 0xb5, 0x2f, 0xfd}
)

// uncompressed returns the content of a layer, whatever it is compressed with. If derived is set, the
// layer's compressed form may be made from the content, which takes much longer than reading it.
func uncompressed(layer v1.Layer, derived bool) (io.ReadCloser, error) {
	blob, err := layer.Compressed()
	if err != nil {
		return nil, err
	}
	buffered := bufio.NewReader(blob)
	// What is too short for a magic number is not compressed.
	magic, err := buffered.Peek(len(zstdMagic))
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, errors.Join(err, blob.Close())
	}
	switch {
	case bytes.HasPrefix(magic, zstdMagic):
		reader, err := zstd.NewReader(buffered, zstd.WithDecoderMaxWindow(maxWindow), zstd.WithDecoderConcurrency(1))
		if err != nil {
			return nil, errors.Join(fmt.Errorf("decompressing: %w", err), blob.Close())
		}
		return &layerReader{Reader: reader, close: func() error { reader.Close(); return blob.Close() }}, nil
	case derived:
		if err := blob.Close(); err != nil {
			return nil, err
		}
		return layer.Uncompressed()
	case bytes.HasPrefix(magic, gzipMagic):
		reader, err := gzip.NewReader(buffered)
		if err != nil {
			return nil, errors.Join(fmt.Errorf("decompressing: %w", err), blob.Close())
		}
		return &layerReader{Reader: reader, close: func() error { return errors.Join(reader.Close(), blob.Close()) }}, nil
	}
	return &layerReader{Reader: buffered, close: blob.Close}, nil
}

// layerReader is a reader with something to close.
type layerReader struct {
	io.Reader
	close func() error
}

func (r *layerReader) Close() error { return r.close() }
