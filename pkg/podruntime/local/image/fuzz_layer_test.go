package image

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/klauspost/compress/zstd"

	"arl.io/arl/pkg/podruntime/local/filetree"
)

// Bounds of the images that are fuzzed.
const (
	fuzzBytes   = 1 << 16
	fuzzEntries = 60
)

// blob is a layer of any bytes. What it says of its content is true, so that fuzzing gets beyond the
// check of it.
type blob []byte

func (b blob) Digest() (v1.Hash, error)             { return hashOf(b), nil }
func (b blob) Compressed() (io.ReadCloser, error)   { return io.NopCloser(bytes.NewReader(b)), nil }
func (b blob) Uncompressed() (io.ReadCloser, error) { return uncompressed(b, false) }
func (b blob) Size() (int64, error)                 { return int64(len(b)), nil }
func (b blob) MediaType() (types.MediaType, error)  { return types.OCILayer, nil }
func (b blob) DiffID() (v1.Hash, error) {
	sum := sha256.New()
	if content, err := uncompressed(b, false); err == nil {
		// What fails here fails in the test, too.
		_, _ = io.CopyN(sum, content, fuzzBytes+1)
		_ = content.Close()
	}
	return v1.Hash{Algorithm: "sha256", Hex: hex.EncodeToString(sum.Sum(nil))}, nil
}

func hashOf(data []byte) v1.Hash {
	sum := sha256.Sum256(data)
	return v1.Hash{Algorithm: "sha256", Hex: hex.EncodeToString(sum[:])}
}

// yard is a directory with a file that no image may reach, beside the place for an image.
type yard struct {
	dir, rootfs string
	before      map[string]string
}

func newYard(t *testing.T) yard {
	t.Helper()
	dir := t.TempDir()
	y := yard{dir: dir, rootfs: filepath.Join(dir, "store", "rootfs")}
	err := errors.Join(os.Mkdir(filepath.Join(dir, "store"), 0o700), os.MkdirAll(filepath.Join(dir, "outside", "sub"), 0o750),
		os.WriteFile(filepath.Join(dir, "outside", "victim"), []byte("safe"), 0o640))
	if err != nil {
		t.Fatal(err)
	}
	y.before = y.surroundings(t)
	return y
}

// surroundings describes all that is not the image.
func (y yard) surroundings(t *testing.T) map[string]string {
	t.Helper()
	found := map[string]string{}
	err := filepath.WalkDir(y.dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if path == y.rootfs {
			return fs.SkipDir
		}
		info, err := entry.Info()
		if err != nil {
			return err
		}
		stat := info.Sys().(*syscall.Stat_t)
		text := fmt.Sprintf("%v %d:%d", info.Mode(), stat.Uid, stat.Gid)
		if info.Mode().IsRegular() {
			content, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			text += fmt.Sprintf(" %d names, %v, %s", stat.Nlink, info.ModTime(), content)
		}
		found[path] = text
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// check fails unless the image is within its bounds and nothing else has changed, and removes it.
func (y yard) check(t *testing.T, unpackErr error) {
	t.Helper()
	if diff := cmp.Diff(y.before, y.surroundings(t)); diff != "" {
		t.Fatalf("unpacking changed what is outside (error %v):\n%s", unpackErr, diff)
	}
	if unpackErr != nil && !strings.Contains(unpackErr.Error(), "layer ") {
		t.Fatalf("the error does not say where it is: %v", unpackErr)
	}
	files, size, seen := 0, int64(0), map[uint64]bool{}
	err := filepath.WalkDir(y.rootfs, func(path string, entry fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) && path == y.rootfs {
			return nil
		}
		if err != nil || path == y.rootfs {
			return err
		}
		info, err := entry.Info()
		if err != nil {
			return err
		}
		files++
		stat := info.Sys().(*syscall.Stat_t)
		if info.Mode().IsRegular() && !seen[stat.Ino] {
			seen[stat.Ino] = true
			size += info.Size()
		}
		if info.Mode()&fs.ModeDevice != 0 {
			t.Errorf("a device: %s", path)
		}
		if depth := strings.Count(path[len(y.rootfs):], "/"); depth > maxDepth+1 {
			t.Errorf("%d directories deep", depth)
		}
		if unpackErr == nil && info.Mode()&fs.ModeSymlink == 0 && info.ModTime().Before(earliest) {
			t.Errorf("%s is of %v", path, info.ModTime())
		}
		return nil
	})
	if err != nil && os.Geteuid() == 0 {
		t.Fatal(err)
	}
	if files > fuzzEntries || size > fuzzBytes {
		t.Errorf("%d files with %d bytes", files, size)
	}
	if err := filetree.Remove(context.Background(), y.rootfs); err != nil {
		t.Fatal(err)
	}
}

// unpackIn unpacks an image of those layers, as root with the owners that they name.
func (y yard) unpackIn(t *testing.T, those ...v1.Layer) {
	t.Helper()
	options := unpackOptions{bounds: bounds{bytes: fuzzBytes, entries: fuzzEntries}, keepOwners: os.Geteuid() == 0}
	y.check(t, unpack(t.Context(), layers(those), y.rootfs, options))
}

// layers are an image.
type layers []v1.Layer

func (l layers) Layers() ([]v1.Layer, error) { return l, nil }

// script makes layers of a text, a line for each entry: its type, its mode, a name, and after a tab
// the target of a link or the content. A line "-" begins a layer. \x01 stands for 300 bytes and \x02
// for 600 directories, which no change of a few bytes would make.
func script(text string) (layers []v1.Layer) {
	text = strings.ReplaceAll(text, "\x01", strings.Repeat("n", 300))
	text = strings.ReplaceAll(text, "\x02", strings.Repeat("d/", 600))
	for part := range strings.SplitSeq(text, "\n-\n") {
		var buf bytes.Buffer
		w := tar.NewWriter(&buf)
		for line := range strings.SplitSeq(part, "\n") {
			if len(line) < 3 {
				continue
			}
			name, target, _ := strings.Cut(line[2:], "\t")
			header := &tar.Header{Typeflag: line[0], Name: name, Mode: int64(line[1]&7)<<6 | int64(line[1]>>3)<<9,
				Uid: int(line[1]), Gid: len(line), ModTime: stamp, Format: tar.FormatPAX}
			switch header.Typeflag {
			case tar.TypeReg:
				header.Size = int64(len(target))
			case tar.TypeSymlink, tar.TypeLink:
				header.Linkname = target
			case tar.TypeDir, tar.TypeFifo, tar.TypeChar, tar.TypeBlock:
			default:
				continue
			}
			if w.WriteHeader(header) == nil && header.Typeflag == tar.TypeReg {
				_, _ = io.WriteString(w, target) // into memory
			}
		}
		_ = w.Close() // into memory
		layers = append(layers, blob(buf.Bytes()))
	}
	return layers
}

// FuzzLayers unpacks images of several layers with links, whiteouts, opaque markers, devices and names
// of any kind. Nothing outside of the image changes, and it stays within its bounds.
func FuzzLayers(f *testing.F) {
	for _, test := range unpackTests {
		var text []string
		for _, items := range test.layers {
			var lines []string
			for _, i := range items {
				lines = append(lines, string(i.typ)+"7"+i.name+"\t"+i.text)
			}
			text = append(text, strings.Join(lines, "\n"))
		}
		f.Add(strings.Join(text, "\n-\n"))
	}
	for _, text := range []string{
		"2\x07out\t../../outside\n0\x07out/victim\tx\n-\n0\x07out/.wh.victim\t",
		"2\x07out\t/\n0\x07out/outside/victim\tx\n-\n0\x07out/outside/.wh..wh..opq\t",
		"1\x07a\toutside/victim\n1\x07b\t/../outside/victim",
		"2\x07a\tb\n2\x07b\ta\n0\x07a/x\ty",
		"2\x07l\td/d/d/d\n0\x07l/l/l/l/x\ty\n2\x07d/l\t../..\n0\x07d/l/d/l/x\ty",
		"0\x07\x02f\tx", "5\x00\x01\t", "5\x07a/\x02\t\n-\n0\x07.wh.a\t",
		"3\x07null\t\n4\x07disk\t\n6\x07pipe\t", "0\x07.\tx", "5\x00.\t\n0\x07a/b\tc",
		"5\x07a\t\n5\x07a/b\t\n0\x07a/b/.wh..wh..opq\t\n0\x07a/.wh..wh..opq\t\n0\x07.wh..wh..opq\t\n-\n0\x07a/.wh..wh..opq\t\n0\x07a/b/c\tx",
		"0\x07a\tx\n1\x07a\ta", "0\x07.wh.\t", "0\x07.wh...\t", "0\x07.wh..wh.x\t",
	} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if len(text) > 1<<14 {
			t.Skip("too large to be quick")
		}
		newYard(t).unpackIn(t, script(text)...)
	})
}

// FuzzTarEntries unpacks any bytes as a layer: an archive that may be damaged, and compressed data
// that may be.
func FuzzTarEntries(f *testing.F) {
	for _, layer := range script("0\x07a/b\tx\n2\x07l\t/a\n1\x07h\ta/b\n6\x07p\t\n-\n0\x07" + strings.Repeat("long/", 40) + "\tx\n5\x07\x01\t") {
		f.Add([]byte(layer.(blob)), byte(0))
		f.Add([]byte(layer.(blob)), byte(1))
		f.Add([]byte(layer.(blob)), byte(2))
		f.Add(deflated(layer.(blob)), byte(0))
		f.Add(zstandard(layer.(blob)), byte(0))
	}
	for _, records := range []map[string]string{
		{"path": "../evil"}, {"uid": "4294967296"}, {"uid": "-1"}, {"mtime": "99999999999999"}, {"mtime": "-5.5"},
		{"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.realsize": "9999999999999"},
		{"size": "9999999999"}, {"SCHILY.xattr.user.x": "y"},
	} {
		f.Add(paxEntry(records), byte(0))
	}
	f.Add(zstandard(make([]byte, 4<<20)), byte(0))
	f.Add(deflated(make([]byte, 4<<20)), byte(0))
	f.Add(hugeWindow, byte(0))
	f.Fuzz(func(t *testing.T, data []byte, compression byte) {
		if len(data) > 1<<15 {
			t.Skip("too large to be quick")
		}
		switch compression % 3 {
		case 1:
			data = deflated(data)
		case 2:
			data = zstandard(data)
		}
		newYard(t).unpackIn(t, blob(data))
	})
}

// hugeWindow is a frame of zstd that wants 512 MiB to be decompressed to one byte.
var hugeWindow = []byte{0x28, 0xb5, 0x2f, 0xfd, 0x00, 0x98, 0x09, 0x00, 0x00, 'x'}

func deflated(data []byte) []byte {
	var buf bytes.Buffer
	w := gzip.NewWriter(&buf)
	_, _ = w.Write(data) // into memory
	_ = w.Close()
	return buf.Bytes()
}

// encoder is made once: it takes long.
var encoder, _ = zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1))

func zstandard(data []byte) []byte { return encoder.EncodeAll(data, nil) }

// paxEntry is an archive of one file with those records, which the package that writes archives
// would refuse.
func paxEntry(records map[string]string) []byte {
	var body string
	for key, value := range records {
		record := fmt.Sprintf(" %s=%s\n", key, value)
		size := len(record) + 1
		for len(strconv.Itoa(size))+len(record) != size {
			size++
		}
		body += strconv.Itoa(size) + record
	}
	var buf bytes.Buffer
	block := func(typ byte, size int) {
		header := make([]byte, 512)
		copy(header, "name")
		copy(header[100:], "0000644\x000000000\x000000000\x00")
		copy(header[124:], fmt.Sprintf("%011o\x0000000000000\x00", size))
		header[156] = typ
		copy(header[257:], "ustar\x0000")
		sum := 8 * int(' ')
		for _, b := range header {
			sum += int(b)
		}
		copy(header[148:], fmt.Sprintf("%06o\x00 ", sum))
		buf.Write(header)
	}
	block('x', len(body))
	buf.WriteString(body)
	buf.Write(make([]byte, (512-len(body)%512)%512))
	block('0', 0)
	buf.Write(make([]byte, 1024))
	return buf.Bytes()
}
