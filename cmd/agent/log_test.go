package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestLogIsBounded writes far more than the limit: the newest lines stay, each of
// them whole.
func TestLogIsBounded(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	file, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_RDWR, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	const limit = 4096
	at := time.Date(2026, 1, 2, 3, 4, 5, 6, time.UTC)
	log := &logFile{file: file, limit: limit, now: func() time.Time { return at }}
	text := strings.Repeat("x", 90)
	for range 1000 {
		log.copy("stdout", strings.NewReader(text+"\n"))
	}
	log.copy("stderr", strings.NewReader("last\n"))
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if len(content) > limit {
		t.Errorf("the log has %d bytes, more than %d", len(content), limit)
	}
	lines := strings.Split(strings.TrimSuffix(string(content), "\n"), "\n")
	if len(lines) < 10 {
		t.Errorf("only %d lines are left", len(lines))
	}
	for _, line := range lines[:len(lines)-1] {
		if line != "2026-01-02T03:04:05.000000006Z stdout F "+text {
			t.Errorf("a line was changed: %q", line)
		}
	}
	if last := lines[len(lines)-1]; last != "2026-01-02T03:04:05.000000006Z stderr F last" {
		t.Errorf("the last line is %q", last)
	}
}

// TestLongLinesAreCut has a line without an end.
func TestLongLinesAreCut(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	file, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_RDWR, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	log := &logFile{file: file, limit: 1 << 20, now: time.Now}
	log.copy("stdout", strings.NewReader(strings.Repeat("y", 3*maxLogLine)+"end"))
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if pieces := strings.Count(string(content), " stdout P "); pieces != 4 || !strings.HasSuffix(string(content), " stdout P end\n") {
		t.Errorf("%d pieces, the last of them ends with %q", pieces, content[max(0, len(content)-20):])
	}
}
