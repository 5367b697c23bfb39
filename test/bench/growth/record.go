package main

import (
	"bytes"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"strconv"
	"strings"
	"time"

	"arl.io/arl/test/bench/load"
)

// record is what the target was like after some lifecycles. Times are those
// since the record before.
type record struct {
	lifecycles, live        int
	rate                    float64
	logFile, stateFile      int64
	heap, private, mapped   int64
	commit50, commit99      time.Duration
	request50, request99    time.Duration
	logEntries, logInMemory int64
}

// columns are the fields of a record as they are reported.
var columns = []struct {
	name  string
	value func(record) string
}{
	{"lifecycles", func(r record) string { return strconv.Itoa(r.lifecycles) }},
	{"live", func(r record) string { return strconv.Itoa(r.live) }},
	{"lifecycles/s", func(r record) string { return fmt.Sprintf("%.0f", r.rate) }},
	{"log.db MB", func(r record) string { return megabytes(r.logFile) }},
	{"state.db MB", func(r record) string { return megabytes(r.stateFile) }},
	{"heap MB", func(r record) string { return megabytes(r.heap) }},
	{"private MB", func(r record) string { return megabytes(r.private) }},
	{"mapped MB", func(r record) string { return megabytes(r.mapped) }},
	{"history MB", func(r record) string { return megabytes(r.logInMemory) }},
	{"log entries", func(r record) string { return strconv.FormatInt(r.logEntries, 10) }},
	{"commit p50 ms", func(r record) string { return millis(r.commit50) }},
	{"commit p99 ms", func(r record) string { return millis(r.commit99) }},
	{"request p50 ms", func(r record) string { return millis(r.request50) }},
	{"request p99 ms", func(r record) string { return millis(r.request99) }},
}

// record takes the numbers of the run that has just ended. The heap is what is
// left after a collection; memory is the whole process's, clients and all.
func (t *target) record(c *clients) (record, error) {
	stats := t.db.Stats()
	r := record{
		lifecycles: c.made, live: c.alive(), rate: c.rate,
		logEntries: stats.LogEntries, logInMemory: stats.LogBytes,
	}
	if stats.Keys != r.live {
		return record{}, fmt.Errorf("%d keys are stored, want the %d live tasks", stats.Keys, r.live)
	}
	commits := t.takeCommits()
	r.commit50, r.commit99 = load.Percentile(commits, 50), load.Percentile(commits, 99)
	r.request50, r.request99 = load.Percentile(c.requests, 50), load.Percentile(c.requests, 99)
	c.requests = nil
	var err1, err2, err3 error
	r.logFile, err1 = t.size("log.db")
	r.stateFile, err2 = t.size("state.db")
	r.private, r.mapped, err3 = residentBytes()
	runtime.GC()
	var memory runtime.MemStats
	runtime.ReadMemStats(&memory)
	r.heap = int64(memory.HeapAlloc)
	return r, errors.Join(err1, err2, err3)
}

// residentBytes is how much memory this process occupies: what is its own, and
// pages of the mapped files, which the kernel takes back when it needs them.
func residentBytes() (private, mapped int64, err error) {
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0, 0, fmt.Errorf("resident size: %w", err)
	}
	for line := range bytes.Lines(status) {
		for prefix, size := range map[string]*int64{"RssAnon:": &private, "RssFile:": &mapped} {
			rest, found := strings.CutPrefix(string(line), prefix)
			if !found {
				continue
			}
			kilobytes, err := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(rest), " kB"), 10, 64)
			if err != nil {
				return 0, 0, fmt.Errorf("resident size: %w", err)
			}
			*size = kilobytes << 10
		}
	}
	return private, mapped, nil
}

// report prints records as they come, so that a long run can be followed.
type report struct {
	rows [][]string
	csv  *csv.Writer
	file io.Closer
}

// newReport writes CSV to a file, too, unless its name is empty.
func newReport(name string) (*report, error) {
	r := &report{}
	heads := make([]string, 0, len(columns))
	for _, c := range columns {
		heads = append(heads, c.name)
	}
	if name != "" {
		file, err := os.Create(name)
		if err != nil {
			return nil, fmt.Errorf("write the numbers: %w", err)
		}
		r.csv, r.file = csv.NewWriter(file), file
	}
	if err := r.line(heads); err != nil {
		return nil, errors.Join(err, r.close())
	}
	return r, r.line(strings.Split(strings.Repeat("---: ", len(columns)-1)+"---:", " "))
}

func (r *report) add(one record) error {
	row := make([]string, 0, len(columns))
	for _, c := range columns {
		row = append(row, c.value(one))
	}
	return r.line(row)
}

// line prints a line of the table and keeps it.
func (r *report) line(row []string) error {
	r.rows = append(r.rows, row)
	fmt.Println(markdown(row))
	if r.csv == nil || len(r.rows) == 2 {
		return nil // the second line only rules the table
	}
	if err := r.csv.Write(row); err != nil {
		return fmt.Errorf("write the numbers: %w", err)
	}
	r.csv.Flush()
	return r.csv.Error()
}

func (r *report) close() error {
	if r.file == nil {
		return nil
	}
	return r.file.Close()
}

func (r *report) writeFile(name string) error {
	var text strings.Builder
	for _, row := range r.rows {
		fmt.Fprintln(&text, markdown(row))
	}
	if err := os.WriteFile(name, []byte(text.String()), 0o644); err != nil {
		return fmt.Errorf("write the table: %w", err)
	}
	return nil
}

func markdown(row []string) string { return "| " + strings.Join(row, " | ") + " |" }

func megabytes(n int64) string { return fmt.Sprintf("%.1f", float64(n)/(1<<20)) }

func millis(d time.Duration) string { return fmt.Sprintf("%.2f", float64(d.Microseconds())/1000) }
