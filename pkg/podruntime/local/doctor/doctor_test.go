package doctor

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"arl.io/arl/pkg/podruntime/local/launch"
)

func TestMain(m *testing.M) {
	launch.InitProcess()
	os.Exit(m.Run())
}

func TestRunLooksAtEverythingAndLeavesNothing(t *testing.T) {
	dir := t.TempDir()
	report := Run(t.Context(), Config{Dir: filepath.Join(dir, "not", "yet"), AgentPath: "/proc/self/exe"})
	t.Logf("\n%s", report)
	want := []string{"user", "kernel", "user namespaces", "overlay", "idmapped mounts", "cgroups", "seccomp", "mount point", "disk", "images", "trash", "agent"}
	var got []string
	for _, check := range report.Checks {
		got = append(got, check.Name)
		if check.Level != OK && check.Fix == "" {
			t.Errorf("%s is %s, and nothing says how to mend it", check.Name, check.Level)
		}
		if check.Detail == "" {
			t.Errorf("%s says nothing", check.Name)
		}
	}
	if strings.Join(got, ",") != strings.Join(want, ",") {
		t.Errorf("checks %v, want %v", got, want)
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) != 0 {
		t.Errorf("left behind: %v, %v", entries, err)
	}
}

func TestAgent(t *testing.T) {
	dir := t.TempDir()
	text := filepath.Join(dir, "text")
	closed := filepath.Join(dir, "closed")
	for path, mode := range map[string]os.FileMode{text: 0o755, closed: 0o700} {
		if err := os.WriteFile(path, []byte("#!/bin/sh\n"), mode); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
	}
	tests := []struct{ name, path, fix string }{
		{"missing", filepath.Join(dir, "missing"), "go build"},
		{"not executable by all", closed, "chmod 0755"},
		{"not a program", text, "go build"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			check := (&patient{Config: Config{AgentPath: test.path}}).agent(t.Context())
			if check.Level != Fail || !strings.Contains(check.Fix, test.fix) {
				t.Errorf("got %+v, want a failure whose mending names %q", check, test.fix)
			}
		})
	}
}

func TestVersion(t *testing.T) {
	for release, want := range map[string][2]int{
		"6.18.44-fc": {6, 18}, "5.10": {5, 10}, "6.1-rc2": {6, 1}, "5.4.0-100-generic": {5, 4}, "": {0, 0},
	} {
		if major, minor := version(release); major != want[0] || minor != want[1] {
			t.Errorf("version of %q is %d.%d, want %v", release, major, minor, want)
		}
	}
}

func TestFailed(t *testing.T) {
	if (Report{Checks: []Check{{Level: OK}, {Level: Warn}}}).Failed() {
		t.Error("a warning counts as failure")
	}
	if !(Report{Checks: []Check{{Level: OK}, {Level: Fail}}}).Failed() {
		t.Error("a failure does not count")
	}
}
