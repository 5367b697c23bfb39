package image

import (
	"archive/tar"
	"context"
	"errors"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

func open(t *testing.T, dir string) *Store {
	t.Helper()
	store, err := Open(Config{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(store.Close)
	return store
}

func parse(t *testing.T, text string) Reference {
	t.Helper()
	ref, err := Parse(text, nil)
	if err != nil {
		t.Fatal(err)
	}
	return ref
}

// serve is a registry that counts requests for blobs.
func serve(t *testing.T) (host string, blobs *atomic.Int64) {
	t.Helper()
	blobs = &atomic.Int64{}
	handler := registry.New(registry.Logger(log.New(io.Discard, "", 0)))
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodGet && strings.Contains(r.URL.Path, "/blobs/") {
			blobs.Add(1)
		}
		handler.ServeHTTP(w, r)
	}))
	t.Cleanup(server.Close)
	return strings.TrimPrefix(server.URL, "http://"), blobs
}

func push(t *testing.T, ref string, image v1.Image) {
	t.Helper()
	parsed, err := name.ParseReference(ref)
	if err != nil {
		t.Fatal(err)
	}
	if err := remote.Write(parsed, image); err != nil {
		t.Fatal(err)
	}
}

func content(t *testing.T, image Image, path string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(image.Rootfs, path))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// checkTidy fails if pulls have left anything behind.
func checkTidy(t *testing.T, dir string) {
	t.Helper()
	if entries, err := os.ReadDir(filepath.Join(dir, tmpName)); err != nil || len(entries) > 0 {
		t.Errorf("left behind: %v, %v", entries, err)
	}
}

func TestRegistry(t *testing.T) {
	host, blobs := serve(t)
	ref := host + "/team/image:v1"
	push(t, ref, imageOf(t, layerOf(t, file("version", "1"))))
	dir := t.TempDir()
	store := open(t, dir)

	first, err := store.Get(t.Context(), parse(t, ref), "")
	if err != nil {
		t.Fatal(err)
	}
	if got := content(t, first, "version"); got != "1" {
		t.Errorf("version %q, want 1", got)
	}
	fetched := blobs.Load()
	push(t, ref, imageOf(t, layerOf(t, file("version", "2"))))

	steps := []struct {
		name    string
		store   *Store
		policy  Policy
		version string
		fetches bool
	}{
		{"present", store, IfNotPresent, "1", false},
		{"never fetched", store, Never, "1", false},
		{"present after a restart", open(t, dir), IfNotPresent, "1", false},
		{"always", store, Always, "2", true},
		{"present is the newer one now", store, IfNotPresent, "2", false},
		{"always, of the same digest", store, Always, "2", false},
	}
	for _, step := range steps {
		t.Run(step.name, func(t *testing.T) {
			image, err := step.store.Get(t.Context(), parse(t, ref), step.policy)
			if err != nil {
				t.Fatal(err)
			}
			if got := content(t, image, "version"); got != step.version {
				t.Errorf("version %q, want %q", got, step.version)
			}
			if now := blobs.Load(); (now > fetched) != step.fetches {
				t.Errorf("blobs fetched: %d, before: %d", now, fetched)
			}
			fetched = blobs.Load()
		})
	}
	checkTidy(t, dir)
}

func TestGetErrors(t *testing.T) {
	host, _ := serve(t)
	dir := t.TempDir()
	store := open(t, dir)
	garbage := filepath.Join(t.TempDir(), "garbage.tar")
	if err := os.WriteFile(garbage, []byte(strings.Repeat("no archive ", 100)), 0o600); err != nil {
		t.Fatal(err)
	}
	push(t, host+"/evil:v1", imageOf(t, layerOf(t, file("../evil", "x"))))
	tests := []struct {
		name, ref string
		policy    Policy
		want      string
	}{
		{"no such image", host + "/none:v1", "", "404 NAME_UNKNOWN"},
		{"no such registry", "127.0.0.1:1/none:v1", "", "connection refused"},
		{"never", host + "/none:v1", Never, "pull policy is Never"},
		{"no such archive", "oci-archive:/none.tar", "", "no such file"},
		{"no archive", "oci-archive:" + garbage, "", "reading the archive"},
		{"no docker archive", "docker-archive:" + garbage, "", "reading the archive"},
		{"no layout", "oci:" + dir, "", "no such file"},
		{"malicious", host + "/evil:v1", "", "outside of the image"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			_, err := store.Get(t.Context(), parse(t, test.ref), test.policy)
			if err == nil || !strings.Contains(err.Error(), test.want) || !strings.Contains(err.Error(), test.ref) {
				t.Fatalf("got %v, want an error that names %s and says %q", err, test.ref, test.want)
			}
			if len(err.Error()) > maxErrorBytes+len(test.ref)+100 {
				t.Errorf("the error has %d bytes", len(err.Error()))
			}
		})
	}
	checkTidy(t, dir)
}

func TestArchives(t *testing.T) {
	dir := t.TempDir()
	image := imageOf(t, layerOf(t, file("hello", "world")))
	tag, err := name.NewTag("team/image:v1")
	if err != nil {
		t.Fatal(err)
	}
	docker := filepath.Join(dir, "docker.tar")
	if err := tarball.WriteToFile(docker, tag, image); err != nil {
		t.Fatal(err)
	}
	folder := filepath.Join(dir, "layout")
	path, err := layout.Write(folder, empty.Index)
	if err != nil {
		t.Fatal(err)
	}
	if err := path.AppendImage(image, layout.WithAnnotations(map[string]string{tagAnnotation: "v1"})); err != nil {
		t.Fatal(err)
	}
	other := mutate.MediaType(image, "application/vnd.oci.image.manifest.v1+json")
	if err := path.AppendImage(other, layout.WithAnnotations(map[string]string{tagAnnotation: "v2"})); err != nil {
		t.Fatal(err)
	}
	archive := filepath.Join(dir, "oci.tar")
	archiveFolder(t, folder, archive)

	store := open(t, filepath.Join(dir, "store"))
	for _, ref := range []string{
		"docker-archive:" + docker, "docker-archive:" + docker + ":team/image:v1",
		"oci:" + folder + ":v1", "oci-archive:" + archive + ":v1", "oci-archive:" + archive + ":v2",
	} {
		t.Run(ref, func(t *testing.T) {
			got, err := store.Get(t.Context(), parse(t, ref), Never)
			if err != nil {
				t.Fatal(err)
			}
			if text := content(t, got, "hello"); text != "world" {
				t.Errorf("content %q", text)
			}
		})
	}
	for ref, want := range map[string]string{
		"oci-archive:" + archive: "name one by a tag", "oci-archive:" + archive + ":v3": `no image "v3"`,
	} {
		if _, err := store.Get(t.Context(), parse(t, ref), ""); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want an error that says %q", ref, err, want)
		}
	}
	// A file that has changed is read again.
	if err := tarball.WriteToFile(docker, tag, imageOf(t, layerOf(t, file("hello", "changed")))); err != nil {
		t.Fatal(err)
	}
	got, err := store.Get(t.Context(), parse(t, "docker-archive:"+docker), "")
	if err != nil {
		t.Fatal(err)
	}
	if text := content(t, got, "hello"); text != "changed" {
		t.Errorf("content %q after the archive changed", text)
	}
	checkTidy(t, filepath.Join(dir, "store"))
}

// archiveFolder makes an OCI archive of a layout.
func archiveFolder(t *testing.T, folder, archive string) {
	t.Helper()
	out, err := os.Create(archive)
	if err != nil {
		t.Fatal(err)
	}
	w := tar.NewWriter(out)
	if err := errors.Join(w.AddFS(os.DirFS(folder)), w.Close(), out.Close()); err != nil {
		t.Fatal(err)
	}
}

func TestConcurrentGetsShareOnePull(t *testing.T) {
	host, blobs := serve(t)
	ref := host + "/image:v1"
	push(t, ref, imageOf(t, layerOf(t, file("a", "1")), layerOf(t, file("b", "2"))))
	dir := t.TempDir()
	store := open(t, dir)
	var wait sync.WaitGroup
	for range 20 {
		wait.Go(func() {
			if _, err := store.Get(t.Context(), parse(t, ref), ""); err != nil {
				t.Error(err)
			}
		})
	}
	// One who gives up does not take the others along.
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := store.Get(ctx, parse(t, ref), Always); err != nil && !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want the context's error", err)
	}
	wait.Wait()
	store.Close()
	// The configuration and two layers.
	if got := blobs.Load(); got != 3 {
		t.Errorf("%d blobs were fetched, want 3", got)
	}
	checkTidy(t, dir)
	if _, err := store.Get(t.Context(), parse(t, ref), Always); err == nil {
		t.Error("Get after Close returned no error")
	}
}

func TestOpenRemovesUnfinishedPulls(t *testing.T) {
	dir := t.TempDir()
	left := filepath.Join(dir, tmpName, "unpack-1", "rootfs", "locked")
	if err := os.MkdirAll(left, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(left, "file"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(left, 0); err != nil {
		t.Fatal(err)
	}
	open(t, dir)
	checkTidy(t, dir)
}

func TestParse(t *testing.T) {
	dir := t.TempDir()
	colon := filepath.Join(dir, "with:colon.tar")
	if err := os.WriteFile(colon, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	good := []struct {
		text      string
		kind      Kind
		path, tag string
		floating  bool
	}{
		{"python:3.12-slim", Registry, "", "", false},
		{"python", Registry, "", "", true},
		{"python:latest", Registry, "", "", true},
		{"localhost:5000/a/b@sha256:" + strings.Repeat("a", 64), Registry, "", "", false},
		{"oci-archive:/a/b.tar", OCIArchive, "/a/b.tar", "", false},
		{"oci-archive:/a/b.tar:v1", OCIArchive, "/a/b.tar", "v1", false},
		{"oci-archive:" + colon, OCIArchive, colon, "", false},
		{"docker-archive:" + colon + ":team/image:v1", DockerArchive, colon, "team/image:v1", false},
		{"oci:/a/layout:v1", OCILayout, "/a/layout", "v1", false},
	}
	for _, test := range good {
		t.Run(test.text, func(t *testing.T) {
			ref, err := Parse(test.text, nil)
			if err != nil {
				t.Fatal(err)
			}
			if ref.Kind != test.kind || ref.Path != test.path || ref.Tag != test.tag || ref.Floating() != test.floating {
				t.Errorf("got %+v, floating %v", ref, ref.Floating())
			}
		})
	}
	for _, text := range []string{"", "UPPER/Case", "a b", "oci-archive:relative.tar", "oci-archive:", "image:tag:tag", "image@sha256:short"} {
		if ref, err := Parse(text, nil); err == nil {
			t.Errorf("%q was taken as %+v", text, ref)
		}
	}
	ref, err := Parse("registry.test/image", []string{"registry.test"})
	if err != nil || ref.Remote.Context().Scheme() != "http" {
		t.Errorf("an insecure registry is spoken to by %v, %v", ref.Remote.Context().Scheme(), err)
	}
}
