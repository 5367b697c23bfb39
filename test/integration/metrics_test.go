package integration

import (
	"context"
	"fmt"
	"strconv"
	"testing"

	"k8s.io/component-base/metrics/testutil"
)

// value returns the sum of the samples of a metric that have the label, given
// as its name and value; without one, of all.
func value(samples testutil.Metrics, name string, label ...string) (sum float64, found bool) {
	for _, sample := range samples[name] {
		matches := len(label) == 0
		for key, value := range sample.Metric {
			matches = matches || string(key) == label[0] && string(value) == label[1]
		}
		if matches {
			sum, found = sum+float64(sample.Value), true
		}
	}
	return sum, found
}

// mustScrape returns a server's metrics.
func (s *server) mustScrape(t *testing.T) testutil.Metrics {
	t.Helper()
	samples, err := s.scrape(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return samples
}

// mustValue is value of a metric that must be there.
func mustValue(t *testing.T, samples testutil.Metrics, name string, label ...string) float64 {
	t.Helper()
	got, found := value(samples, name, label...)
	if !found {
		t.Errorf("no %s %q", name, label)
	}
	return got
}

// TestMetricsOfStorage compares what the metrics say with what was written.
func TestMetricsOfStorage(t *testing.T) {
	t.Parallel()
	s := startServer(t, "--storage-retention=200ms")
	n := tenantIn(t, s, "default")
	before := s.mustScrape(t)
	const pools = 20
	for i := range pools {
		n.CreatePool(hostPool(fmt.Sprintf("pool-%d", i), 0))
	}
	n.awaitNewestRevision()
	n.awaitCompacted(n.CreatePool(hostPool("last", 0)).ResourceVersion)
	after := s.mustScrape(t)

	wantCounted(t, before, after)
	wantNothingOfEtcd(t, after)
	if keys := mustValue(t, after, "arl_storage_keys"); keys != pools+2 {
		t.Errorf("%v keys, want %d: the pools and a namespace", keys, pools+2)
	}
	compacted, revision := mustValue(t, after, "arl_storage_compacted_revision"), mustValue(t, after, "arl_storage_revision")
	if compacted == 0 || compacted > revision {
		t.Errorf("compacted revision %v, newest %v", compacted, revision)
	}
	if mustValue(t, after, "arl_storage_failed") != 0 {
		t.Error("the database has failed")
	}
	for _, resource := range []string{"warmpools", "sandboxes", "tasks"} {
		if watchers := mustValue(t, after, "arl_storage_watchers", "resource", resource); watchers != 1 {
			t.Errorf("%v watches of %s, want that of the scheduler", watchers, resource)
		}
		mustValue(t, after, "arl_storage_watch_lag_revisions", "resource", resource)
	}
	for _, file := range []string{"log", "state"} {
		if mustValue(t, after, "arl_storage_file_size_bytes", "file", file) == 0 {
			t.Errorf("%s has no size", file)
		}
	}

	// The API server counts once a minute, and at the start.
	s.mustStop(t)
	s.mustStart(t)
	eventually(t, "the API server has counted", func(ctx context.Context) error {
		samples, err := s.scrape(ctx)
		if err != nil {
			return err
		}
		objects, _ := value(samples, "apiserver_resource_objects", "resource", "warmpools")
		size, _ := value(samples, "apiserver_resource_size_estimate_bytes", "resource", "warmpools")
		if objects != pools+1 || size < objects {
			return fmt.Errorf("%v objects of %v bytes", objects, size)
		}
		return nil
	})
}

// awaitNewestRevision waits until the metric of the revision is that of the
// newest pool: the scheduler writes, too, until it has nothing more to say.
func (n *tenant) awaitNewestRevision() {
	n.T.Helper()
	eventually(n.T, "the revision is that of the last write", func(ctx context.Context) error {
		list, err := n.Pools().List(ctx, everything)
		if err != nil {
			return err
		}
		newest := 0
		for _, pool := range list.Items {
			rev, err := strconv.Atoi(pool.ResourceVersion)
			if err != nil {
				return err
			}
			newest = max(newest, rev)
		}
		samples, err := n.server.scrape(ctx)
		if err != nil {
			return err
		}
		if got, _ := value(samples, "arl_storage_revision"); got != float64(newest) {
			return fmt.Errorf("it is %v, the newest object is of %d", got, newest)
		}
		return nil
	})
}

// wantCounted fails unless what was written between two scrapes was counted.
func wantCounted(t *testing.T, before, after testutil.Metrics) {
	t.Helper()
	rise := func(name string, label ...string) float64 {
		t.Helper()
		was, _ := value(before, name, label...)
		return mustValue(t, after, name, label...) - was
	}
	written := rise("arl_storage_revision")
	if got := rise("arl_storage_writes_total", "result", "written"); got != written {
		t.Errorf("%v writes were counted, the revision rose by %v", got, written)
	}
	if got := rise("arl_storage_commit_batch_size_sum"); got != written {
		t.Errorf("commits of %v writes in all, the revision rose by %v", got, written)
	}
	commits := rise("arl_storage_commit_batch_size_count")
	for name, atLeast := range map[string]float64{
		"arl_storage_queue_wait_seconds_count":           written,
		"arl_storage_commit_duration_seconds_count":      commits,
		"arl_storage_commit_sync_duration_seconds_count": commits,
		"arl_storage_compaction_duration_seconds_count":  1,
		"arl_storage_written_bytes_total":                written * 100,
		"apiserver_storage_list_total":                   1,
		"arl_storage_commit_duration_seconds_sum":        0,
		"arl_storage_queue_wait_seconds_sum":             0,
	} {
		if got := rise(name); got < atLeast || got == 0 {
			t.Errorf("%s rose by %v, want at least %v and not 0", name, got, atLeast)
		}
	}
}

// wantNothingOfEtcd fails if a metric speaks of what is not there.
func wantNothingOfEtcd(t *testing.T, samples testutil.Metrics) {
	t.Helper()
	for _, name := range []string{
		"apiserver_storage_size_bytes", "etcd_requests_total", "etcd_bookmark_total", "apiserver_storage_events_received_total",
	} {
		if _, found := value(samples, name); found {
			t.Errorf("%s speaks of an etcd that is not there", name)
		}
	}
	for _, sample := range samples["apiserver_resource_size_estimate_bytes"] {
		if sample.Value < 0 {
			t.Errorf("the size of a resource is said to be unknown: %v", sample)
		}
	}
}
