package image

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// Documents of images. In those that are fuzzed, a word in capital letters stands for the digest, or
// the name, of another document, so that a changed one is still found by those that name it.
const (
	seedIndex = `{"schemaVersion":2,"manifests":[{"mediaType":"application/vnd.oci.image.manifest.v1+json","size":1,` +
		`"digest":"MANIFEST","platform":{"os":"linux","architecture":"amd64"},"annotations":{"org.opencontainers.image.ref.name":"v1"}}]}`
	seedOuter = `{"schemaVersion":2,"manifests":[{"mediaType":"application/vnd.oci.image.index.v1+json","size":1,"digest":"INDEX"}]}`
	seedLie   = `{"schemaVersion":2,"manifests":[{"mediaType":"application/vnd.oci.image.index.v1+json","size":1,"digest":"LIE"}]}`
	seedImage = `{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json",` +
		`"config":{"mediaType":"application/vnd.oci.image.config.v1+json","size":300,"digest":"CONFIG"},` +
		`"layers":[{"mediaType":"application/vnd.oci.image.layer.v1.tar","size":2048,"digest":"LAYER"}]}`
	seedConfig = `{"os":"linux","architecture":"amd64","config":{"Env":["PATH=/bin"],"User":"1000","WorkingDir":"/w","Entrypoint":["/x"]},` +
		`"rootfs":{"type":"layers","diff_ids":["LAYER"]}}`
	seedDocker = `[{"Config":"config.json","RepoTags":["team/image:v1"],"Layers":["layer.tar"]}]`
)

// lie is the digest under which a layout has a document that is another.
var lie = v1.Hash{Algorithm: "sha256", Hex: strings.Repeat("0", 64)}

func fuzzLayer() []byte { return script("0\x07a/b\tx\n2\x07l\t/a")[0].(blob) }

// resolved replaces the words for digests.
func resolved(text string, words ...string) string {
	return strings.NewReplacer(words...).Replace(text)
}

// checkImage fails unless an image that was accepted is within the bounds, and is what its digest says.
func checkImage(t *testing.T, image v1.Image) {
	t.Helper()
	config, err := configOf(image)
	if err != nil {
		return
	}
	if layers := len(config.RootFS.DiffIDs); layers > maxLayers {
		t.Fatalf("%d layers", layers)
	}
	digest, err := image.Digest()
	if err != nil {
		return
	}
	if manifest, err := image.RawManifest(); err != nil || hashOf(manifest) != digest {
		t.Fatalf("the manifest has another digest than %s, %v", digest, err)
	}
	if manifest, err := image.Manifest(); err == nil {
		raw, _ := image.RawConfigFile()
		if hashOf(raw) != manifest.Config.Digest {
			t.Fatal("the configuration has another digest than the manifest says")
		}
	}
	newYard(t).unpackImage(t, image)
}

// unpackImage is unpackIn for an image whose errors may be about its documents.
func (y yard) unpackImage(t *testing.T, image v1.Image) {
	t.Helper()
	err := unpack(t.Context(), image, y.rootfs, unpackOptions{bounds: bounds{bytes: fuzzBytes, entries: fuzzEntries}})
	if err != nil {
		err = fmt.Errorf("layer of the image: %w", err)
	}
	y.check(t, err)
}

// FuzzLayout opens OCI layouts of any documents. No document is taken for another, no index that names
// itself is followed for ever, and what is accepted unpacks within its bounds or not at all.
func FuzzLayout(f *testing.F) {
	f.Add(seedIndex, seedOuter, seedImage, seedConfig, "")
	f.Add(seedIndex, seedOuter, seedImage, seedConfig, "v1")
	f.Add(seedOuter, seedOuter, seedImage, seedConfig, "")
	f.Add(seedLie, seedLie, seedImage, seedConfig, "")
	f.Add(strings.ReplaceAll(seedIndex, "MANIFEST", "LIE"), "{}", seedImage, seedConfig, "")
	f.Add(seedIndex, "{}", strings.ReplaceAll(seedImage, "CONFIG", "LIE"), seedConfig, "")
	f.Add(seedIndex, "{}", strings.ReplaceAll(seedImage, `"layers":[{`, `"layers":[{},{},{`), seedConfig, "")
	f.Add(seedIndex, "{}", seedImage, strings.ReplaceAll(seedConfig, `"LAYER"`, `"LAYER","LAYER"`), "")
	f.Add(strings.ReplaceAll(seedIndex, "MANIFEST", "sha256:../../../outside/victim"), "{}", seedImage, seedConfig, "")
	layer := fuzzLayer()
	f.Fuzz(func(t *testing.T, index, inner, manifest, config, tag string) {
		if len(index)+len(inner)+len(manifest)+len(config) > 1<<15 {
			t.Skip("too large to be quick")
		}
		dir := t.TempDir()
		blobs := filepath.Join(dir, "blobs", "sha256")
		config = resolved(config, "LAYER", hashOf(layer).String())
		manifest = resolved(manifest, "CONFIG", hashOf([]byte(config)).String(), "LAYER", hashOf(layer).String(), "LIE", lie.String())
		inner = resolved(inner, "MANIFEST", hashOf([]byte(manifest)).String(), "LIE", lie.String())
		index = resolved(index, "MANIFEST", hashOf([]byte(manifest)).String(), "INDEX", hashOf([]byte(inner)).String(), "LIE", lie.String())
		err := errors.Join(os.MkdirAll(blobs, 0o700), os.WriteFile(filepath.Join(dir, "index.json"), []byte(index), 0o600),
			os.WriteFile(filepath.Join(blobs, lie.Hex), []byte(inner), 0o600))
		for _, document := range [][]byte{[]byte(inner), []byte(manifest), []byte(config), layer} {
			err = errors.Join(err, os.WriteFile(filepath.Join(blobs, hashOf(document).Hex), document, 0o600))
		}
		if err != nil {
			t.Fatal(err)
		}
		image, err := openLayout(dir, tag)
		if err != nil {
			return
		}
		checkImage(t, image)
	})
}

// FuzzArchive reads any bytes as an OCI archive. Nothing but the files of a layout is written, within
// bounds, and in its directory; and an error names the file of the archive.
func FuzzArchive(f *testing.F) {
	f.Add([]byte(script("0\x07index.json\t{}\n0\x07blobs/sha256/00\tx\n2\x07blobs/sha256/11\t/etc/passwd\n0\x07./blobs/sha256/../../../x\ty")[0].(blob)))
	f.Add([]byte(script("0\x07../outside/victim\tx\n0\x07/outside\tx\n5\x07index.json\t\n0\x07index.json\t{}\n0\x07index.json\t{}")[0].(blob)))
	f.Add(paxEntry(map[string]string{"path": "blobs/sha256/aa", "GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.realsize": "99999999"}))
	f.Fuzz(func(t *testing.T, data []byte) {
		if len(data) > 1<<15 {
			t.Skip("too large to be quick")
		}
		y := newYard(t)
		archive := filepath.Join(y.dir, "archive.tar")
		if err := errors.Join(os.WriteFile(archive, data, 0o600), os.Mkdir(y.rootfs, 0o700)); err != nil {
			t.Fatal(err)
		}
		y.before = y.surroundings(t)
		err := extractArchive(t.Context(), archive, y.rootfs, &bounds{bytes: fuzzBytes, entries: fuzzEntries})
		if err != nil && !strings.Contains(err.Error(), `"`) {
			t.Fatalf("the error names no file: %v", err)
		}
		walkErr := fs.WalkDir(os.DirFS(y.rootfs), ".", func(path string, entry fs.DirEntry, err error) error {
			if err == nil && !entry.IsDir() && !layoutFile.MatchString(path) {
				t.Errorf("%s was written", path)
			}
			return err
		})
		if walkErr != nil {
			t.Fatal(walkErr)
		}
		y.check(t, nil)
	})
}

// FuzzDockerArchive opens docker archives of any documents, with links.
func FuzzDockerArchive(f *testing.F) {
	f.Add(seedDocker, seedConfig, "layer.tar", "")
	f.Add(seedDocker, seedConfig, "layer.tar", "team/image:v1")
	f.Add(strings.ReplaceAll(seedDocker, "layer.tar", "link"), seedConfig, "layer.tar", "")
	f.Add(strings.ReplaceAll(seedDocker, "config.json", "link"), seedConfig, "link", "")
	f.Add(strings.ReplaceAll(seedDocker, `"layer.tar"`, `"layer.tar","layer.tar"`), seedConfig, "../layer.tar", "")
	f.Add(`[{},{}]`, `null`, "", "x")
	layer := fuzzLayer()
	f.Fuzz(func(t *testing.T, manifest, config, link, tag string) {
		if len(manifest)+len(config) > 1<<15 {
			t.Skip("too large to be quick")
		}
		path := filepath.Join(t.TempDir(), "docker.tar")
		file, err := os.Create(path)
		if err != nil {
			t.Fatal(err)
		}
		w := tar.NewWriter(file)
		config = resolved(config, "LAYER", hashOf(layer).String())
		for name, content := range map[string][]byte{"manifest.json": []byte(manifest), "config.json": []byte(config), "layer.tar": layer} {
			err := w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: name, Size: int64(len(content)), Mode: 0o600})
			if _, writeErr := w.Write(content); err != nil || writeErr != nil {
				t.Fatal(err, writeErr)
			}
		}
		if w.WriteHeader(&tar.Header{Typeflag: tar.TypeSymlink, Name: "link", Linkname: link}) != nil {
			t.Skip("no archive has such a link")
		}
		if err := errors.Join(w.Close(), file.Close()); err != nil {
			t.Fatal(err)
		}
		image, err := openDocker(t.Context(), Reference{Kind: DockerArchive, Path: path, Tag: tag})
		if err != nil {
			return
		}
		checkImage(t, image)
	})
}

// answers is a registry that answers with any documents.
type answers struct {
	manifest, config, layer []byte
	mediaType, digest       string
}

func (a answers) RoundTrip(request *http.Request) (*http.Response, error) {
	response := &http.Response{StatusCode: http.StatusOK, Header: http.Header{}, Request: request}
	body := []byte("{}")
	switch path := request.URL.Path; {
	case strings.Contains(path, "/manifests/"):
		body = a.manifest
		response.Header.Set("Content-Type", a.mediaType)
		response.Header.Set("Docker-Content-Digest", a.digest)
	case strings.Contains(path, "/blobs/"):
		body = a.config
		if strings.HasSuffix(path, hashOf(a.layer).Hex) {
			body = a.layer
		}
	}
	response.ContentLength = int64(len(body))
	response.Body = io.NopCloser(bytes.NewReader(body))
	return response, nil
}

// FuzzRegistry pulls from a registry that answers with any documents.
func FuzzRegistry(f *testing.F) {
	for _, mediaType := range []types.MediaType{types.OCIManifestSchema1, types.DockerManifestSchema2, types.OCIImageIndex, types.DockerManifestSchema1Signed, ""} {
		f.Add(seedImage, seedConfig, string(mediaType), lie.String())
		f.Add(seedIndex, seedConfig, string(mediaType), "")
		f.Add(strings.ReplaceAll(seedImage, `"size":300`, `"size":9999999999`), seedConfig, string(mediaType), "")
		f.Add(strings.ReplaceAll(seedImage, `"digest":"LAYER"`, `"digest":"LAYER","urls":["http://169.254.169.254/x"],"data":"eA=="`), seedConfig, string(mediaType), "")
	}
	ref, err := name.ParseReference("registry.test/image:v1")
	if err != nil {
		f.Fatal(err)
	}
	layer := fuzzLayer()
	f.Fuzz(func(t *testing.T, manifest, config, mediaType, digest string) {
		if len(manifest)+len(config) > 1<<15 {
			t.Skip("too large to be quick")
		}
		config = resolved(config, "LAYER", hashOf(layer).String())
		manifest = resolved(manifest, "CONFIG", hashOf([]byte(config)).String(), "LAYER", hashOf(layer).String(), `"size":300`, fmt.Sprintf(`"size":%d`, len(config)))
		store := &Store{config: Config{Keychain: authn.NewMultiKeychain(), Transport: answers{[]byte(manifest), []byte(config), layer, mediaType, digest}}}
		image, err := store.openRemote(context.WithoutCancel(t.Context()), ref)
		if err != nil {
			return
		}
		checkImage(t, image)
	})
}

// FuzzReference reads any text as the name of an image.
func FuzzReference(f *testing.F) {
	for _, text := range []string{"python:3.12-slim", "localhost:5000/a@sha256:" + strings.Repeat("a", 64), "oci-archive:/a/b.tar:v1",
		"docker-archive:/a:team/image:v1", "oci:/a/../../b", "oci:/a\x00b", "oci-archive:", ":::", "registry.test/image"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		ref, err := Parse(text, []string{"registry.test"})
		if err != nil {
			return
		}
		if ref.Text != text || (ref.Kind == Registry) != (ref.Remote != nil) {
			t.Errorf("%q was read as %+v", text, ref)
		}
		if ref.Kind != Registry && (!filepath.IsAbs(ref.Path) || filepath.Clean(ref.Path) != ref.Path) {
			t.Errorf("%q has the path %q", text, ref.Path)
		}
		ref.Floating()
	})
}
