package main

import (
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"arl.io/arl/pkg/agent/wire"
)

// TestWorkDir makes the directories of a volume, with the content that the image has, and reports
// whether the image could have done without.
func TestWorkDir(t *testing.T) {
	image := t.TempDir()
	t.Setenv("HOME", image)
	full := filepath.Join(image, "full")
	if err := errors.Join(os.Mkdir(full, 0o755), os.WriteFile(filepath.Join(full, "file"), []byte("kept"), 0o644)); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name, dir string
		own       bool
		text      string
	}{
		{name: "one that is there", dir: full, own: true, text: "kept"},
		{name: "one that can be made", dir: filepath.Join(image, "new/dir"), own: true},
		{name: "one that nobody can make", dir: "/proc/none"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			volume, report := t.TempDir(), filepath.Join(t.TempDir(), "report")
			// Init containers may be run again.
			for range 2 {
				if err := workdir([]string{"--report", report, tt.dir, volume}, io.Discard); err != nil {
					t.Fatal(err)
				}
			}
			encoded, err := os.ReadFile(report)
			if err != nil {
				t.Fatal(err)
			}
			var got wire.WorkDirReport
			want := wire.WorkDirReport{UID: os.Geteuid(), GID: os.Getegid(), OwnWorkDir: tt.own}
			if err := json.Unmarshal(encoded, &got); err != nil || got != want {
				t.Errorf("reported %+v, %v, want %+v", got, err, want)
			}
			for _, name := range []string{wire.WorkSubPath, wire.HomeSubPath} {
				if info, err := os.Stat(filepath.Join(volume, name)); err != nil || !info.IsDir() {
					t.Errorf("%s: %v, %v", name, info, err)
				}
			}
			text, err := os.ReadFile(filepath.Join(volume, wire.WorkSubPath, "file"))
			if string(text) != tt.text || (err == nil) != (tt.text != "") {
				t.Errorf("the image's file: %q, %v", text, err)
			}
		})
	}
	for _, args := range [][]string{{}, {"/a"}, {"relative", t.TempDir()}} {
		if err := workdir(args, io.Discard); !errors.Is(err, errUsage) {
			t.Errorf("arguments %q: %v", args, err)
		}
	}
}

func TestSettleHome(t *testing.T) {
	good, fallback := t.TempDir(), filepath.Join(t.TempDir(), "made")
	for _, tt := range []struct {
		name, home string
		// keeps says that HOME stays what it is.
		keeps bool
	}{
		{"one that can be written", good, true},
		{"one that can be made", filepath.Join(good, "new"), true},
		{"none", "", false},
		{"one that nobody can write", "/proc/none", false},
		{"a relative one", "somewhere", false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Setenv("HOME", tt.home)
			if err := settleHome(fallback, "/workspace"); err != nil {
				t.Fatal(err)
			}
			got := os.Getenv("HOME")
			if (got == tt.home) != tt.keeps || strings.HasPrefix(got, "/proc") {
				t.Errorf("HOME was %q and is %q", tt.home, got)
			}
			if err := os.WriteFile(filepath.Join(got, ".arl-test"), nil, 0o600); err != nil {
				t.Error(err)
			}
			_ = os.Remove(filepath.Join(got, ".arl-test"))
		})
	}
}
