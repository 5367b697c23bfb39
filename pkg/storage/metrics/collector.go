package metrics

import (
	"sync/atomic"

	"k8s.io/component-base/metrics"

	"arl.io/arl/pkg/storage/bolt"
	"arl.io/arl/pkg/storage/kv"
)

// Source is what metrics of state are looked up in.
type Source struct {
	// DB is the database. It may be closed. Required.
	DB *kv.DB
	// Stores are those on the database. Required.
	Stores *bolt.Stores
}

// collector looks up the state of a database when somebody asks.
type collector struct {
	metrics.BaseStableCollector
	source atomic.Pointer[Source]

	revision, compacted, keys, entries, logMemory, fileSize, failed, watchers, lag *metrics.Desc
}

var _ metrics.StableCollector = (*collector)(nil)

func newCollector() *collector {
	return &collector{
		revision:  desc("revision", "Newest revision, which is the resourceVersion of the last write."),
		compacted: desc("compacted_revision", "Revision up to which the history is gone."),
		keys:      desc("keys", "Number of objects that are stored, of all resources."),
		entries:   desc("log_entries", "Number of revisions of the history that are kept, in memory and in the log."),
		logMemory: desc("log_memory_bytes", "Memory that the history takes beside the objects themselves, in bytes."),
		fileSize:  desc("file_size_bytes", "Size of a file of the database, in bytes. Files do not shrink while the server runs.", "file"),
		failed:    desc("failed", "1 if the database has failed and takes no more writes, else 0."),
		watchers:  desc("watchers", "Number of watches that are open.", "group", "resource"),
		lag: desc("watch_lag_revisions", "Number of revisions that the slowest watch has not handed on yet.",
			"group", "resource"),
	}
}

func desc(name, help string, labels ...string) *metrics.Desc {
	return metrics.NewDesc(metrics.BuildFQName(namespace, subsystem, name), help, labels, nil, metrics.ALPHA, "")
}

// DescribeWithStability implements metrics.StableCollector.
func (c *collector) DescribeWithStability(ch chan<- *metrics.Desc) {
	for _, d := range []*metrics.Desc{
		c.revision, c.compacted, c.keys, c.entries, c.logMemory, c.fileSize, c.failed, c.watchers, c.lag,
	} {
		ch <- d
	}
}

// CollectWithStability implements metrics.StableCollector.
func (c *collector) CollectWithStability(ch chan<- metrics.Metric) {
	source := c.source.Load()
	if source == nil {
		return
	}
	gauge := func(d *metrics.Desc, value int64, labels ...string) {
		ch <- metrics.NewLazyConstMetric(d, metrics.GaugeValue, float64(value), labels...)
	}
	stats := source.DB.Stats()
	gauge(c.revision, stats.Revision)
	gauge(c.compacted, stats.CompactedRevision)
	gauge(c.keys, int64(stats.Keys))
	gauge(c.entries, stats.LogEntries)
	gauge(c.logMemory, stats.LogBytes)
	gauge(c.fileSize, stats.LogFileBytes, "log")
	gauge(c.fileSize, stats.StateFileBytes, "state")
	var failed int64
	if source.DB.Err() != nil {
		failed = 1
	}
	gauge(c.failed, failed)
	for _, w := range source.Stores.WatchStats() {
		gauge(c.watchers, int64(w.Watches), w.Resource.Group, w.Resource.Resource)
		gauge(c.lag, w.Lag, w.Resource.Group, w.Resource.Resource)
	}
}
