package image

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"
)

// ErrTooLarge says that the image is beyond the bounds of the store.
var ErrTooLarge = errors.New("image is too large")

// copyBytes is how much is copied between two looks at the context.
const copyBytes = 4 << 20

// maxNameBytes bounds the names of one image's files, which take memory while it is unpacked. A full
// distribution has less than a tenth of it.
const maxNameBytes = 128 << 20

// ErrNoSpace says that the disk has no room for the image beside its reserve.
var ErrNoSpace = errors.New("the disk has no room for the image: free some space")

// checkSpaceEvery is after how many entries the disk is looked at.
const checkSpaceEvery = 256

// bounds are what is left of an image's allowance.
type bounds struct {
	bytes   int64
	entries int
	// names is how many bytes of names were used so far.
	names int
	// free returns what the disk has left beside its reserve; nil means enough.
	free func() (int64, error)
}

// space returns ErrNoSpace if only the reserve of the disk is left.
func (b *bounds) space() error {
	if b.free == nil {
		return nil
	}
	free, err := b.free()
	if err == nil && free <= 0 {
		err = ErrNoSpace
	}
	return err
}

// entry takes one file, or directory, of that name from the allowance.
func (b *bounds) entry(name string) error {
	if b.entries%checkSpaceEvery == 0 {
		if err := b.space(); err != nil {
			return err
		}
	}
	if b.entries--; b.entries < 0 {
		return fmt.Errorf("%w: too many files", ErrTooLarge)
	}
	if b.names += len(name); b.names > maxNameBytes {
		return fmt.Errorf("%w: the names of its files take more than %d bytes", ErrTooLarge, maxNameBytes)
	}
	return nil
}

// copy copies all of r.
func (b *bounds) copy(ctx context.Context, w io.Writer, r io.Reader) error {
	for {
		n, err := io.CopyN(w, r, min(copyBytes, b.bytes+1))
		if b.bytes -= n; b.bytes < 0 {
			return fmt.Errorf("%w: too many bytes", ErrTooLarge)
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err := errors.Join(err, context.Cause(ctx), b.space()); err != nil {
			return err
		}
	}
}

// publish gives a complete directory its name. If there is one of that name, it stays.
func publish(from, to string) error {
	dir, err := os.Open(from)
	if err != nil {
		return fmt.Errorf("publishing: %w", err)
	}
	defer dir.Close()
	// A rename that outlives a power failure must not name files that did not.
	if err := unix.Syncfs(int(dir.Fd())); err != nil {
		return fmt.Errorf("syncing %s: %w", from, err)
	}
	err = os.Rename(from, to)
	if err != nil && !errors.Is(err, fs.ErrExist) && !errors.Is(err, unix.ENOTEMPTY) {
		return fmt.Errorf("publishing: %w", err)
	}
	return nil
}
