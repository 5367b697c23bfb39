package integration

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"

	"arl.io/arl/test/harness"
)

// Names of objects of a database that is to be damaged: one is in state.db, the
// other in log.db alone.
const (
	foldedName = "folded-into-the-state"
	loggedName = "only-in-the-log"
)

// TestDamagedDatabaseIsRefused damages a database in many ways. The server must
// say which file is damaged, and leave everything as it is.
func TestDamagedDatabaseIsRefused(t *testing.T) {
	t.Parallel()
	s := ownServer(t)
	makeDatabase(t, s)
	log, state := filepath.Join(s.storage(), "log.db"), filepath.Join(s.storage(), "state.db")
	whole := map[string][]byte{log: mustRead(t, log), state: mustRead(t, state)}
	restore := func(t *testing.T) {
		for path, content := range whole {
			mustWrite(t, path, content)
		}
	}
	for _, path := range []string{log, state} {
		name := map[string]string{log: loggedName, state: foldedName}[path]
		for _, tt := range []struct {
			name   string
			damage func(t *testing.T)
		}{
			{"object flipped", func(t *testing.T) { mustWrite(t, path, flipped(t, whole[path], name)) }},
			{"first pages zeroed", func(t *testing.T) { mustWrite(t, path, zeroed(whole[path], 64<<10)) }},
			{"cut within a page", func(t *testing.T) { mustWrite(t, path, whole[path][:10_000]) }},
			{"emptied", func(t *testing.T) { mustWrite(t, path, nil) }},
			{"of another program", func(t *testing.T) { mustWrite(t, path, bytes.Repeat([]byte("SQLite format 3\x00"), 4096)) }},
			{"missing", func(t *testing.T) {
				if err := os.Remove(path); err != nil {
					t.Fatal(err)
				}
			}},
		} {
			t.Run(filepath.Base(path)+" "+tt.name, func(t *testing.T) {
				defer restore(t)
				tt.damage(t)
				before := checksums(t, s.data)
				wantWords(t, s.refuse(t), path)
				if diff := gocmp.Diff(before, checksums(t, s.data)); diff != "" {
					t.Errorf("the refused start changed files (-before +after):\n%s", diff)
				}
			})
		}
	}

	// Whole again, it has everything: the damage was done to copies of this.
	s.mustStart(t)
	n := tenantIn(t, s, "default")
	for _, name := range []string{foldedName, loggedName} {
		if _, err := n.Pools().Get(t.Context(), name, getNow); err != nil {
			t.Error(err)
		}
	}
}

// makeDatabase runs the server until its database has something in both files.
func makeDatabase(t *testing.T, s *server) {
	t.Helper()
	brief, err := harness.New(harness.Config{Binary: binary(), Dir: s.data, Args: []string{"--storage-retention=100ms", "--allow-host-image"}})
	if err != nil {
		t.Fatal(err)
	}
	usual := s.Server
	s.Server = brief
	s.mustStart(t)
	n := tenantIn(t, s, "default")
	folded := n.CreatePool(hostPool(foldedName, 0))
	n.awaitCompacted(folded.ResourceVersion)
	s.mustStop(t)

	s.Server = usual
	s.mustStart(t)
	n.CreatePool(hostPool(loggedName, 0))
	s.mustStop(t)
}

// flipped returns a copy of a file in which one bit of each place that has the
// name is another. bbolt leaves old copies of pages behind, which nobody reads.
func flipped(t *testing.T, content []byte, name string) []byte {
	t.Helper()
	count := bytes.Count(content, []byte(name))
	if count == 0 {
		t.Fatalf("%s is not in the file", name)
	}
	other := []byte(name)
	other[3] ^= 1
	return bytes.ReplaceAll(content, []byte(name), other)
}

func zeroed(content []byte, count int) []byte {
	content = bytes.Clone(content)
	clear(content[:min(count, len(content))])
	return content
}

func mustRead(t *testing.T, path string) []byte {
	t.Helper()
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return content
}

func mustWrite(t *testing.T, path string, content []byte) {
	t.Helper()
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
}

// checksums describes every file below a directory.
func checksums(t *testing.T, dir string) map[string]string {
	t.Helper()
	sums := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := entry.Info()
		if err != nil {
			return err
		}
		sums[path] = info.Mode().String()
		if info.Mode().IsRegular() {
			sums[path] += fmt.Sprintf(" %d bytes %x", info.Size(), sha256.Sum256(mustRead(t, path)))
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return sums
}
