package memory

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestKills(t *testing.T) {
	for name, tt := range map[string]struct {
		content string
		want    int64
	}{
		"version 2":             {"low 0\nhigh 0\nmax 12\noom 3\noom_kill 2\noom_group_kill 1\n", 2},
		"version 1":             {"oom_kill_disable 0\nunder_oom 0\noom_kill 7\n", 7},
		"an old kernel":         {"oom_kill_disable 1\nunder_oom 0\n", 0},
		"not a file of cgroups": {"oom_kill x\n", 0},
		"nothing":               {"", 0},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "events")
			if err := os.WriteFile(path, []byte(tt.content), 0o600); err != nil {
				t.Fatal(err)
			}
			file, err := os.Open(path)
			if err != nil {
				t.Fatal(err)
			}
			events := Of(file, 64<<20)
			defer events.Close()
			for range 2 {
				if got := events.Kills(); got != tt.want {
					t.Errorf("%d kills, want %d", got, tt.want)
				}
			}
			if text := events.Explain(); !strings.Contains(text, "limit of 64Mi") {
				t.Errorf("it says %q", text)
			}
		})
	}
	var none *Events
	if none.Kills() != 0 || none.Limit() != 0 || none.Close() != nil {
		t.Error("a cgroup that cannot be read has content")
	}
}

func TestReadLimit(t *testing.T) {
	for content, want := range map[string]int64{"max\n": 0, "67108864\n": 64 << 20, "9223372036854771712\n": 0, "": 0} {
		path := filepath.Join(t.TempDir(), "limit")
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		if got := readLimit(path); got != want {
			t.Errorf("%q is a limit of %d, want %d", content, got, want)
		}
	}
	if got := readLimit("/no/such/file"); got != 0 {
		t.Errorf("no file is a limit of %d", got)
	}
}

func TestFormat(t *testing.T) {
	for n, want := range map[int64]string{64 << 20: "64Mi", 1 << 30: "1Gi", 1500: "1500", 3 << 10: "3Ki", 1<<30 + 1<<20: "1025Mi"} {
		if got := format(n); got != want {
			t.Errorf("%d is written %q, want %q", n, got, want)
		}
	}
}
