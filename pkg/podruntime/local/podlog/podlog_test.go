package podlog

import (
	"context"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"k8s.io/utils/clock"
)

const sample = `2026-01-02T03:04:01Z stdout F one
2026-01-02T03:04:02Z stderr F two
panic: not a line of the format
2026-01-02T03:04:03Z stdout P thr
2026-01-02T03:04:03Z stdout F ee
2026-01-02T03:04:04Z stdout F four
`

func writeLog(t *testing.T, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "log")
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestRead(t *testing.T) {
	at := func(second int) time.Time { return time.Date(2026, 1, 2, 3, 4, second, 0, time.UTC) }
	for _, tt := range []struct {
		name    string
		options Options
		want    string
	}{
		{"all", Options{TailLines: -1}, "one\ntwo\npanic: not a line of the format\nthree\nfour\n"},
		{"the last two", Options{TailLines: 2}, "three\nfour\n"},
		{"none", Options{TailLines: 0}, ""},
		{"more than there are", Options{TailLines: 100}, "one\ntwo\npanic: not a line of the format\nthree\nfour\n"},
		{"one stream", Options{TailLines: -1, Stream: "stderr"}, "two\npanic: not a line of the format\n"},
		{"since", Options{TailLines: -1, Since: at(3)}, "panic: not a line of the format\nthree\nfour\n"},
		{"with times", Options{TailLines: 2, Timestamps: true}, "2026-01-02T03:04:03Z three\n2026-01-02T03:04:04Z four\n"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r, err := Open(t.Context(), writeLog(t, sample), tt.options)
			if err != nil {
				t.Fatal(err)
			}
			defer r.Close()
			if got, err := io.ReadAll(r); err != nil || string(got) != tt.want {
				t.Errorf("got %q, %v; want %q", got, err, tt.want)
			}
		})
	}
}

// TestFollow reads while the file grows and is shortened by its writer, until the
// writer ends: no line comes twice, and none that the file still has is left out.
func TestFollow(t *testing.T) {
	path := writeLog(t, sample)
	var alive atomic.Bool
	alive.Store(true)
	r, err := Open(t.Context(), path, Options{Follow: true, Alive: alive.Load, TailLines: 1, Clock: clock.RealClock{}})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	want := func(line string) {
		t.Helper()
		buffer := make([]byte, len(line))
		if _, err := io.ReadFull(r, buffer); err != nil || string(buffer) != line {
			t.Fatalf("got %q, %v; want %q", buffer, err, line)
		}
	}
	want("four\n")
	if err := appendTo(path, "2026-01-02T03:04:05Z stdout F five\n"); err != nil {
		t.Fatal(err)
	}
	want("five\n")
	if err := os.WriteFile(path, []byte("2026-01-02T03:04:05Z stdout F five\n2026-01-02T03:04:06Z stdout F six\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	want("six\n")
	alive.Store(false)
	if rest, err := io.ReadAll(r); err != nil || len(rest) > 0 {
		t.Errorf("after the end: %q, %v", rest, err)
	}
}

func appendTo(path, text string) error {
	file, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	if _, err := io.Copy(file, strings.NewReader(text)); err != nil {
		return err
	}
	return file.Close()
}

// TestFollowEndsWithItsContext has a log to which nothing is written any more.
func TestFollowEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	r, err := Open(ctx, writeLog(t, ""), Options{Follow: true, Alive: func() bool { return true }, TailLines: -1, Clock: clock.RealClock{}})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	cancel()
	if rest, err := io.ReadAll(r); err != nil || len(rest) > 0 {
		t.Errorf("got %q, %v", rest, err)
	}
}
