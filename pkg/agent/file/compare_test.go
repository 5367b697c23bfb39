package file

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// tool is a program that applies patches, to compare with.
type tool struct {
	name    string
	command func(unidiffZero bool) []string
}

var (
	gitApply = tool{"git", func(unidiffZero bool) []string {
		command := []string{"git", "apply", "--recount", "--whitespace=nowarn"}
		if unidiffZero {
			command = append(command, "--unidiff-zero")
		}
		return command
	}}
	// gnuPatch does not guess at lines that differ, but takes them at other places.
	gnuPatch = tool{"patch", func(bool) []string {
		return []string{"patch", "-p1", "--force", "--fuzz=0", "--no-backup-if-mismatch", "--reject-file=-", "--silent"}
	}}
)

// need skips the test if a tool is missing.
func need(t *testing.T, names ...string) {
	t.Helper()
	for _, name := range names {
		if _, err := exec.LookPath(name); err != nil {
			t.Skipf("%s is not installed, and there is nothing to compare with: %v", name, err)
		}
	}
}

// in runs a command in a directory, without the settings of the user.
func in(t testing.TB, dir, stdin string, command ...string) (output string, err error) {
	t.Helper()
	made := exec.CommandContext(t.Context(), command[0], command[1:]...)
	made.Dir = dir
	made.Env = append(os.Environ(), "LC_ALL=C", "HOME="+dir, "GIT_CONFIG_NOSYSTEM=1", "GIT_CEILING_DIRECTORIES="+filepath.Dir(dir))
	made.Stdin = strings.NewReader(stdin)
	made.WaitDelay = time.Minute
	said, err := made.CombinedOutput()
	return string(said), err
}

// applyWith applies a patch to a tree with a tool and returns the tree afterwards, or an error.
func applyWith(t *testing.T, by tool, before snapshot, patch string, unidiffZero bool) (snapshot, error) {
	t.Helper()
	dir := before.write(t)
	said, err := in(t, dir, patch, by.command(unidiffZero)...)
	if err != nil {
		var exit *exec.ExitError
		if !errors.As(err, &exit) {
			t.Fatalf("running %s: %v", by.name, err)
		}
		return nil, fmt.Errorf("%s: %s", by.name, strings.TrimSpace(said))
	}
	return takeSnapshot(t, dir), nil
}

// applyOurs applies a patch as a step does. Whatever comes of it, nothing else is changed.
func applyOurs(t *testing.T, before snapshot, patch string) (snapshot, string, error) {
	t.Helper()
	dir := before.write(t)
	root, err := OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	message, err := root.Patch("/.", patch, nil)
	after := takeSnapshot(t, dir)
	if err != nil {
		if diff := before.diff(after); diff != "" {
			t.Errorf("the patch failed with %v, but changed something:\n%s", err, diff)
		}
		return nil, "", err
	}
	return after, message, nil
}

// snapshot is what a directory holds, by path: "x " and the content of a file that is
// executable, "- " and that of another, "-> " and the target of a link.
type snapshot map[string]string

func (s snapshot) write(t testing.TB) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range s {
		full := filepath.Join(dir, name)
		err := os.MkdirAll(filepath.Dir(full), 0o755)
		if target, found := strings.CutPrefix(text, "-> "); found {
			err = errors.Join(err, os.Symlink(target, full))
		} else {
			mode := fs.FileMode(0o644)
			if text[0] == 'x' {
				mode = 0o755
			}
			err = errors.Join(err, os.WriteFile(full, []byte(text[2:]), mode))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func takeSnapshot(t *testing.T, dir string) snapshot {
	t.Helper()
	found := snapshot{}
	err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || path == dir {
			return err
		}
		name := strings.TrimPrefix(path, dir+"/")
		switch {
		case entry.IsDir():
			if inside, err := os.ReadDir(path); err == nil && len(inside) == 0 {
				found[name+"/"] = "an empty directory"
			}
		case entry.Type()&fs.ModeSymlink != 0:
			target, err := os.Readlink(path)
			found[name] = "-> " + target
			return err
		default:
			content, err := os.ReadFile(path)
			if errors.Is(err, fs.ErrPermission) {
				// patch makes a file without permissions of a submodule.
				found[name] = "unreadable"
				return nil
			}
			if err != nil {
				return err
			}
			info, err := entry.Info()
			found[name] = "- " + string(content)
			if err == nil && info.Mode()&0o111 != 0 {
				found[name] = "x " + string(content)
			}
			return err
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// diff lists the differences, quoted.
func (s snapshot) diff(other snapshot) string {
	var lines bytes.Buffer
	for name, text := range s {
		if got, found := other[name]; !found {
			fmt.Fprintf(&lines, "%s is missing\n", name)
		} else if got != text {
			fmt.Fprintf(&lines, "%s:\nwant %q\ngot  %q\n", name, text, got)
		}
	}
	for name := range other {
		if _, found := s[name]; !found {
			fmt.Fprintf(&lines, "%s should not be there\n", name)
		}
	}
	return lines.String()
}
