package storagecmd

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"arl.io/arl/pkg/storage/kv"
)

// run runs a storage command in this process.
func run(t *testing.T, args ...string) (stdout string, err error) {
	t.Helper()
	var out bytes.Buffer
	cmd := New(Layout{Storage: "storage", PKI: "pki", Kubeconfig: "kubeconfig"})
	cmd.SilenceUsage, cmd.SilenceErrors = true, true
	cmd.SetArgs(args)
	cmd.SetOut(&out)
	cmd.SetErr(io.Discard)
	err = cmd.ExecuteContext(t.Context())
	return out.String(), err
}

func TestBadFlags(t *testing.T) {
	for _, tt := range []struct {
		args  []string
		words string
	}{
		{[]string{"backup"}, "--data-dir or --kubeconfig: one of them must be given"},
		{[]string{"backup", "--data-dir", "d"}, "--output: must be given"},
		{[]string{"backup", "--offline", "--kubeconfig", "k"}, "--offline and --kubeconfig"},
		{[]string{"backup", "--data-dir", "none", "-o", "-"}, "none/kubeconfig: no such file"},
		{[]string{"backup", "--data-dir", "none", "-o", "none/deep/file"}, "--output: open none/deep/file.partial"},
		{[]string{"restore", "--data-dir", "d"}, "--input: must be given"},
		{[]string{"restore", "--data-dir", "d", "-i", "-", "--revision-bump", "0"}, "--revision-bump: must be at least 1"},
		{[]string{"verify"}, "exactly one"},
		{[]string{"verify", "--data-dir", "d", "--backup", "b"}, "exactly one"},
		{[]string{"verify", "--data-dir", "d", "-o", "yaml"}, `"yaml" is not known`},
		{[]string{"verify", "--data-dir", "d", "--max-problems", "0"}, "--max-problems: must be at least 1"},
		{[]string{"compact"}, "--data-dir: must be given"},
		{[]string{"stats", "--data-dir", "d", "-o", "xml"}, `"xml" is not known`},
		{[]string{"stats", "extra"}, "unknown command"},
	} {
		_, err := run(t, tt.args...)
		if err == nil || !strings.Contains(err.Error(), tt.words) {
			t.Errorf("%v: %v, want %q", tt.args, err, tt.words)
		}
	}
}

// TestHelpTeaches sees that every command says what it is for and shows how it is used.
func TestHelpTeaches(t *testing.T) {
	commands := New(Layout{}).Commands()
	names := []string{}
	for _, cmd := range commands {
		names = append(names, cmd.Name())
		if strings.Count(cmd.Long, "\n") < 5 || !strings.Contains(cmd.Example, "arl-apiserver storage "+cmd.Name()) {
			t.Errorf("%s: too little help:\n%s\n%s", cmd.Name(), cmd.Long, cmd.Example)
		}
		for line := range strings.Lines(cmd.Long) {
			if len(line) > 82 {
				t.Errorf("%s: line too long for a terminal: %s", cmd.Name(), line)
			}
		}
	}
	if want := []string{"backup", "compact", "restore", "stats", "verify"}; !slices.Equal(names, want) {
		t.Errorf("commands are %v, want %v", names, want)
	}
}

func TestBackupFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	write := func(text string, err error) func(io.Writer) error {
		return func(w io.Writer) error {
			_, writeErr := io.WriteString(w, text)
			return errors.Join(writeErr, err)
		}
	}
	broken := errors.New("broken")
	if err := writeFile(path, write("half", broken)); !errors.Is(err, broken) {
		t.Errorf("got %v, want %v", err, broken)
	}
	if _, err := os.Lstat(path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a file is there after a failure: %v", err)
	}
	for _, text := range []string{"first", "second"} {
		if err := writeFile(path, write(text, nil)); err != nil {
			t.Fatal(err)
		}
	}
	if err := writeFile(path, write("third", broken)); !errors.Is(err, broken) {
		t.Errorf("got %v, want %v", err, broken)
	}
	if got, err := os.ReadFile(path); err != nil || string(got) != "second" {
		t.Errorf("the file says %q, want the last that was whole: %v", got, err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("others may read the backup: %v, %v", info.Mode(), err)
	}

	err := writeFile(path, func(io.Writer) error {
		return writeFile(path, write("meanwhile", nil))
	})
	if err == nil || !strings.Contains(err.Error(), "another command is writing "+path+".partial") {
		t.Errorf("two at once: %v", err)
	}
	if entries, err := os.ReadDir(filepath.Dir(path)); err != nil || len(entries) != 1 {
		t.Errorf("files are left: %v, %v", entries, err)
	}
}

func TestOfflineRound(t *testing.T) {
	from, to := t.TempDir(), filepath.Join(t.TempDir(), "new")
	db, err := kv.Open(filepath.Join(from, "storage"), kv.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := db.Apply(t.Context(), kv.Op{Key: "/registry/arl.io/tasks/ns/a", Value: []byte("x")}); err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(from, "backup")
	for _, tt := range []struct {
		args  []string
		words []string
	}{
		{[]string{"backup", "--offline", "--data-dir", from, "-o", file}, []string{"backed up revision 2: 1 objects"}},
		{[]string{"verify", "--backup", file}, []string{"the backup is whole: revision 2, 1 objects"}},
		{[]string{"verify", "--backup", file, "-o", "json"}, []string{`"Revision":2`}},
		{[]string{"restore", "-i", file, "--data-dir", to, "--revision-bump", "100"}, []string{"restored 1 objects of revision 2", "the database is at revision 1", "new certificates"}},
		{[]string{"verify", "--data-dir", to}, []string{"everything is in order: 1 objects at revision 1", "history from revision 1"}},
		{[]string{"verify", "--data-dir", to, "-o", "json"}, []string{`"Problems": null`}},
		{[]string{"compact", "--data-dir", from}, []string{"BEFORE", "1 objects at revision 2, 2 revisions of history dropped"}},
		{[]string{"stats", "--offline", "--data-dir", from}, []string{"tasks.arl.io", "HISTORY FROM"}},
		{[]string{"stats", "--offline", "--data-dir", from, "-o", "json"}, []string{`"revision": 2`, `"logFreeBytes"`}},
	} {
		out, err := run(t, tt.args...)
		if err != nil {
			t.Errorf("%v: %v", tt.args, err)
		}
		for _, word := range tt.words {
			if !strings.Contains(out, word) {
				t.Errorf("%v: no %q in:\n%s", tt.args, word, out)
			}
		}
	}
}

func TestProgress(t *testing.T) {
	var out bytes.Buffer
	p := newProgress(&out, "testing", true)
	for done := range int64(1001) {
		p.report(kv.BackupProgress{Keys: done, TotalKeys: 1000, Bytes: done << 10, TotalBytes: 1000 << 10})
	}
	p.end()
	if lines := strings.Split(strings.TrimSpace(out.String()), "\n"); len(lines) != 11 || lines[10] != "testing: 100%, 1000 of 1000 objects, 1000.0 KiB of 1000.0 KiB" {
		t.Errorf("progress is:\n%s", &out)
	}
	out.Reset()
	newProgress(&out, "testing", false).report(kv.BackupProgress{})
	if out.Len() > 0 {
		t.Errorf("progress that nobody asked for: %s", &out)
	}
}

func TestHumanBytes(t *testing.T) {
	for n, want := range map[int64]string{0: "0 B", 1023: "1023 B", 1536: "1.5 KiB", 3 << 20: "3.0 MiB", 5 << 30: "5.0 GiB"} {
		if got := humanBytes(n); got != want {
			t.Errorf("%d: %s, want %s", n, got, want)
		}
	}
}

// TestErrorsNameTheCommand sees that an error speaks of the command that was
// typed, not of what the function inside is called.
func TestErrorsNameTheCommand(t *testing.T) {
	_, err := run(t, "compact", "--data-dir", t.TempDir())
	if err == nil || !strings.HasPrefix(err.Error(), "compact ") || strings.Contains(err.Error(), "shrink") {
		t.Errorf("compact without a database: %v", err)
	}
}
