package integration

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"

	"arl.io/arl/pkg/apis/arl/v1alpha1"
	"arl.io/arl/pkg/podruntime/local/image"
)

// imageOf writes an OCI layout of an image with one file, whose name makes it an image of its own.
func imageOf(t *testing.T, name string) (ref string) {
	t.Helper()
	var layer bytes.Buffer
	w := tar.NewWriter(&layer)
	err := errors.Join(w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: "etc/" + name, Mode: 0o644}), w.Close())
	if err != nil {
		t.Fatal(err)
	}
	opened, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(layer.Bytes())), nil })
	if err != nil {
		t.Fatal(err)
	}
	made, err := mutate.AppendLayers(empty.Image, opened)
	if err != nil {
		t.Fatal(err)
	}
	path, err := layout.Write(filepath.Join(t.TempDir(), name), empty.Index)
	if err == nil {
		err = path.AppendImage(made)
	}
	if err != nil {
		t.Fatal(err)
	}
	return "oci:" + string(path)
}

// poolOf is a pool of one pod of an image.
func poolOf(name, ref string) *v1alpha1.WarmPool {
	pool := hostPool(name, 1)
	pool.Spec.Template.Spec.Containers[0].Image = ref
	return pool
}

// images returns the references of the images that a server keeps.
func (s *server) images() (found []string, err error) {
	stored, err := image.List(filepath.Join(s.data, "runtime", "images"))
	for _, each := range stored {
		found = append(found, each.References...)
	}
	return found, err
}

// TestUnusedImagesAreRemovedAboveTheWatermark has three images: one in use since before the server was
// started, one that nothing uses any more, and one that is pulled. Below the high watermark all stay;
// above it, the unused one goes, and never one in use.
func TestUnusedImagesAreRemovedAboveTheWatermark(t *testing.T) {
	t.Parallel()
	below := []string{"--image-gc-high-threshold=100", "--minimum-image-ttl-duration=0s"}
	s := startServer(t, below...)
	n := tenantIn(t, s, "default")
	used, unused, later := imageOf(t, "used"), imageOf(t, "unused"), imageOf(t, "later")
	n.FillPool(poolOf("used", used))
	n.FillPool(poolOf("unused", unused))
	n.ReadySandbox("box", "used")
	if err := n.Pools().Delete(t.Context(), "unused", deleteNow); err != nil {
		t.Fatal(err)
	}
	n.FillPool(poolOf("later", later))
	if err := wantImages(s, used, unused, later); err != nil {
		t.Errorf("below the high watermark: %v", err)
	}

	s.mustStop(t)
	// Every disk has more than this in use.
	s.reconfigure(t, "--image-gc-high-threshold=1", "--image-gc-low-threshold=0", "--minimum-image-ttl-duration=0s")
	s.mustStart(t)
	waits.Eventually(t, "the image that nothing uses is removed", func(context.Context) error { return wantImages(s, used, later) })
	n.AwaitPool("later", 1)
	done := n.Succeed(taskIn("box", "write", write("s", "file", "text")))
	if done.Status.State != v1alpha1.TaskSucceeded {
		t.Errorf("in the pod of the image in use: %s", describe(done))
	}
	// It is pulled again for whoever wants it.
	n.FillPool(poolOf("again", unused))
	if err := wantImages(s, used, unused, later); err != nil {
		t.Errorf("after another pull: %v", err)
	}
}

func wantImages(s *server, want ...string) error {
	found, err := s.images()
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	slices.Sort(found)
	slices.Sort(want)
	if !slices.Equal(found, want) {
		return fmt.Errorf("the server keeps the images %q, want %q", found, want)
	}
	return nil
}
