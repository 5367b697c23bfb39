package doctor

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"arl.io/arl/pkg/podruntime/local/idrange"
	"arl.io/arl/pkg/podruntime/local/launch"
)

func TestMain(m *testing.M) {
	launch.InitProcess()
	os.Exit(m.Run())
}

func TestRunLooksAtEverythingAndLeavesNothing(t *testing.T) {
	dir := t.TempDir()
	report := Run(t.Context(), Config{Dir: filepath.Join(dir, "not", "yet"), AgentPath: "/proc/self/exe", UserIDs: idrange.Default})
	t.Logf("\n%s", report)
	want := []string{"user", "kernel", "user namespaces", "overlay", "idmapped mounts", "user IDs", "open files", "processes", "cgroups", "seccomp", "mount point", "disk", "pod storage", "images", "trash", "agent"}
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

func TestUserIDs(t *testing.T) {
	if os.Geteuid() != 0 {
		check := (&patient{rootless: true}).userIDs(t.Context())
		if check.Level != Warn || !strings.Contains(check.Fix, "root") {
			t.Errorf("without root: %+v", check)
		}
		return
	}
	for _, test := range []struct {
		name  string
		ids   idrange.Range
		level Level
		want  string
	}{
		{"the default", idrange.Default, OK, "4096 pods"},
		{"too few", idrange.Range{First: 0x70000000, Size: 70000}, Warn, "all share"},
		{"a user's", idrange.Range{First: 65534, Size: 10 * idrange.PerPod}, Warn, "/etc/passwd"},
	} {
		check := (&patient{Config: Config{UserIDs: test.ids}, existing: t.TempDir()}).userIDs(t.Context())
		if check.Level != test.level || !strings.Contains(check.Detail, test.want) {
			t.Errorf("%s: %+v, want %s with %q", test.name, check, test.level, test.want)
		}
	}
}

func TestOwnerOfUserIDs(t *testing.T) {
	dir := t.TempDir()
	users, ranges := filepath.Join(dir, "passwd"), filepath.Join(dir, "subuid")
	if err := os.WriteFile(users, []byte("# a comment\nroot:x:0:0:root:/root:/bin/sh\nkim:x:1000:1000::/home/kim:/bin/sh\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(ranges, []byte("kim:100000:65536\nlee:x:y\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		ids               idrange.Range
		inUsers, inRanges string
	}{
		{idrange.Range{First: 1000, Size: 1}, "kim", ""},
		{idrange.Range{First: 500, Size: 500}, "", ""},
		{idrange.Range{First: 165535, Size: 10}, "", "kim"},
		{idrange.Range{First: 165536, Size: 10}, "", ""},
	} {
		if got := ownerIn(users, 2, false, test.ids); got != test.inUsers {
			t.Errorf("%v in passwd: %q, want %q", test.ids, got, test.inUsers)
		}
		if got := ownerIn(ranges, 1, true, test.ids); got != test.inRanges {
			t.Errorf("%v in subuid: %q, want %q", test.ids, got, test.inRanges)
		}
	}
	if got := ownerIn(filepath.Join(dir, "missing"), 2, false, idrange.Default); got != "" {
		t.Errorf("a missing file gives them to %q", got)
	}
}

// TestLimitsAreReported reads what doctor reports for pods whose template has no limits.
func TestLimitsAreReported(t *testing.T) {
	for memory, want := range map[int64]string{1 << 30: "with 1.0 GiB of memory", 0: "without a limit of memory"} {
		text := (&patient{Config: Config{Memory: memory, Pids: 4096}}).limits()
		if !strings.Contains(text, want) || !strings.Contains(text, "4096 processes") {
			t.Errorf("a limit of %d: %q", memory, text)
		}
	}
}
