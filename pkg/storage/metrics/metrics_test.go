package metrics

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/component-base/metrics"
	"k8s.io/component-base/metrics/testutil"

	"arl.io/arl/pkg/storage/bolt"
	"arl.io/arl/pkg/storage/kv"
)

// observed is a registry with the metrics of a database.
type observed struct {
	metrics.KubeRegistry
	*Metrics
	db *kv.DB
}

func newObserved(t *testing.T) *observed {
	t.Helper()
	registry := metrics.NewKubeRegistry()
	m, err := New(registry)
	if err != nil {
		t.Fatal(err)
	}
	db, err := kv.Open(t.TempDir(), kv.Options{OnCommit: m.Commit, Now: time.Now})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	return &observed{KubeRegistry: registry, Metrics: m, db: db}
}

// text returns what a scrape of all metrics, or those named, would give.
func (o *observed) text(t *testing.T, names ...string) string {
	t.Helper()
	families, err := o.Gather()
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	for _, family := range families {
		if len(names) > 0 && !slices.Contains(names, family.GetName()) {
			continue
		}
		if _, err := testutil.MetricFamilyToText(&out, family); err != nil {
			t.Fatal(err)
		}
	}
	return out.String()
}

// samples returns the lines of values of the metrics with the names.
func (o *observed) samples(t *testing.T, names ...string) []string {
	t.Helper()
	var lines []string
	for line := range strings.Lines(o.text(t, names...)) {
		if !strings.HasPrefix(line, "#") {
			lines = append(lines, strings.TrimSpace(line))
		}
	}
	return lines
}

func (o *observed) apply(t *testing.T, op kv.Op, want error) kv.Entry {
	t.Helper()
	entry, err := o.db.Apply(t.Context(), op)
	if !errors.Is(err, want) {
		t.Fatalf("%+v: %v, want %v", op, err, want)
	}
	return entry
}

func TestCountsAndState(t *testing.T) {
	o := newObserved(t)
	if got := o.samples(t, "arl_storage_revision"); len(got) != 0 {
		t.Errorf("before there is a source: %q", got)
	}
	o.Observe(Source{DB: o.db, Stores: &bolt.Stores{}})
	first := o.apply(t, kv.Op{Key: "a", Value: []byte("1")}, nil)
	o.apply(t, kv.Op{Key: "b", Value: []byte("1")}, nil)
	o.apply(t, kv.Op{Key: "a", Value: []byte("1")}, kv.ErrConflict)
	o.apply(t, kv.Op{Key: "a", Expect: first.ModRev, Delete: true}, nil)
	if err := o.db.Compact(t.Context(), first.ModRev); err != nil {
		t.Fatal(err)
	}
	o.Compaction(time.Second, nil)
	o.Compaction(time.Second, errors.New("no"))
	want := []string{
		"arl_storage_commit_batch_size_count 3",
		"arl_storage_compacted_revision 2",
		`arl_storage_compactions_total{result="error"} 1`,
		`arl_storage_compactions_total{result="success"} 1`,
		"arl_storage_failed 0",
		"arl_storage_keys 1",
		"arl_storage_log_entries 2",
		"arl_storage_queue_wait_seconds_count 4",
		"arl_storage_revision 4",
		`arl_storage_writes_total{result="conflict"} 1`,
		`arl_storage_writes_total{result="refused_no_space"} 0`,
		`arl_storage_writes_total{result="written"} 3`,
	}
	var got []string
	for _, line := range o.samples(t, "arl_storage_commit_batch_size", "arl_storage_compacted_revision", "arl_storage_compactions_total",
		"arl_storage_failed", "arl_storage_keys", "arl_storage_log_entries", "arl_storage_queue_wait_seconds", "arl_storage_revision",
		"arl_storage_writes_total") {
		if !strings.Contains(line, "_bucket") && !strings.Contains(line, "_sum") {
			got = append(got, line)
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("samples (-want +got):\n%s", diff)
	}
	for _, name := range []string{"log", "state"} {
		prefix := fmt.Sprintf("arl_storage_file_size_bytes{file=%q} ", name)
		if files := o.samples(t, "arl_storage_file_size_bytes"); !slices.ContainsFunc(files, func(line string) bool {
			return strings.HasPrefix(line, prefix) && !strings.HasSuffix(line, " 0")
		}) {
			t.Errorf("no size of %s in %q", name, files)
		}
	}
}

func TestDurationsAreThoseOfTheCommit(t *testing.T) {
	o := newObserved(t)
	o.Commit(kv.CommitStats{
		Writes: 2, QueueWaits: []time.Duration{time.Second, 2 * time.Second}, Duration: 4 * time.Second, WriteTime: 3 * time.Second, Bytes: 7,
	})
	o.Commit(kv.CommitStats{Trimmed: 5, Duration: time.Hour, WriteTime: time.Hour})
	want := []string{
		"arl_storage_commit_duration_seconds_sum 4", "arl_storage_commit_sync_duration_seconds_sum 3",
		"arl_storage_queue_wait_seconds_sum 3", "arl_storage_written_bytes_total 7",
	}
	got := slices.DeleteFunc(o.samples(t), func(line string) bool { return !slices.Contains(want, line) })
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("samples (-want +got):\n%s", diff)
	}
}

func TestASecondDatabaseIsRefused(t *testing.T) {
	if _, err := New(newObserved(t)); err == nil || !strings.Contains(err.Error(), "arl_storage_commit_duration_seconds") {
		t.Errorf("got %v", err)
	}
}

// TestNamesAndHelp holds the metrics to the rules for names and help texts.
func TestNamesAndHelp(t *testing.T) {
	o := newObserved(t)
	o.Observe(Source{DB: o.db, Stores: &bolt.Stores{}})
	problems, err := testutil.NewPromLinter(strings.NewReader(o.text(t))).Lint()
	if err != nil {
		t.Fatal(err)
	}
	for _, problem := range problems {
		t.Errorf("%s: %s", problem.Metric, problem.Text)
	}
}

// TestDocumented compares the metrics with the page that explains them.
func TestDocumented(t *testing.T) {
	page, err := os.ReadFile("../../../docs/metrics.md")
	if err != nil {
		t.Fatal(err)
	}
	row := regexp.MustCompile("(?m)^\\| `(arl_storage_[a-z_]+)` \\|")
	var documented []string
	for _, match := range row.FindAllSubmatch(page, -1) {
		documented = append(documented, string(match[1]))
	}
	o := newObserved(t)
	// Metrics of watches are there once there is a store.
	there := []string{"arl_storage_watchers", "arl_storage_watch_lag_revisions"}
	o.Observe(Source{DB: o.db, Stores: &bolt.Stores{}})
	families, err := o.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, family := range families {
		there = append(there, family.GetName())
	}
	slices.Sort(there)
	slices.Sort(documented)
	if diff := cmp.Diff(there, documented); diff != "" {
		t.Errorf("metrics (-there +documented):\n%s", diff)
	}
}
