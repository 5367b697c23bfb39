package metrics

import (
	"fmt"
	"time"

	"k8s.io/component-base/metrics"

	"arl.io/arl/pkg/storage/kv"
)

const (
	namespace = "arl"
	subsystem = "storage"
)

// Results of writes and compactions.
const (
	resultWritten  = "written"
	resultConflict = "conflict"
	resultNoSpace  = "refused_no_space"

	resultSuccess = "success"
	resultError   = "error"
)

// Buckets. A commit takes from a tenth of a millisecond, in memory, to seconds
// on a disk that is worn out; a compaction of a large history takes longer.
var (
	commitBuckets     = metrics.ExponentialBuckets(0.0001, 2, 16)
	batchBuckets      = metrics.ExponentialBuckets(1, 2, 11)
	compactionBuckets = metrics.ExponentialBuckets(0.001, 2, 16)
)

// Registry is where metrics are registered, such as that of the API server.
type Registry interface {
	Register(metrics.Registerable) error
	CustomRegister(metrics.StableCollector) error
}

// Metrics are those of one database.
type Metrics struct {
	commitDuration, syncDuration, batchSize, queueWait, compactionDuration *metrics.Histogram

	writes, compactions *metrics.CounterVec
	bytes               *metrics.Counter

	state *collector
}

// New registers the metrics of a database that is about to be opened. A second
// database cannot be registered in the same registry: that is an error.
func New(registry Registry) (*Metrics, error) {
	m := &Metrics{
		commitDuration: histogram("commit_duration_seconds", commitBuckets,
			"Time from the begin of a commit of the log to its end on disk, in seconds."),
		syncDuration: histogram("commit_sync_duration_seconds", commitBuckets,
			"Part of a commit of the log that is spent in writing and syncing the file, in seconds."),
		batchSize: histogram("commit_batch_size", batchBuckets,
			"Number of writes that one commit of the log makes durable."),
		queueWait: histogram("queue_wait_seconds", commitBuckets,
			"Time that a write waits until its commit begins, in seconds."),
		compactionDuration: histogram("compaction_duration_seconds", compactionBuckets,
			"Time that a compaction of the history takes, in seconds."),
		writes: metrics.NewCounterVec(&metrics.CounterOpts{
			Namespace: namespace, Subsystem: subsystem, Name: "writes_total", StabilityLevel: metrics.ALPHA,
			Help: "Number of writes that were decided, by result: written, conflict, or refused_no_space.",
		}, []string{"result"}),
		compactions: metrics.NewCounterVec(&metrics.CounterOpts{
			Namespace: namespace, Subsystem: subsystem, Name: "compactions_total", StabilityLevel: metrics.ALPHA,
			Help: "Number of compactions of the history, by result: success or error.",
		}, []string{"result"}),
		bytes: metrics.NewCounter(&metrics.CounterOpts{
			Namespace: namespace, Subsystem: subsystem, Name: "written_bytes_total", StabilityLevel: metrics.ALPHA,
			Help: "Size of the records that were written to the log, in bytes.",
		}),
		state: newCollector(),
	}
	for _, each := range []metrics.Registerable{
		m.commitDuration, m.syncDuration, m.batchSize, m.queueWait, m.compactionDuration, m.writes, m.compactions, m.bytes,
	} {
		if err := registry.Register(each); err != nil {
			return nil, fmt.Errorf("register the metric %s: %w", each.FQName(), err)
		}
	}
	if err := registry.CustomRegister(m.state); err != nil {
		return nil, fmt.Errorf("register the metrics of the database's state: %w", err)
	}
	// What has not happened yet is 0, not absent, so that a rate of it can be alerted on.
	for _, result := range []string{resultWritten, resultConflict, resultNoSpace} {
		m.writes.WithLabelValues(result).Add(0)
	}
	for _, result := range []string{resultSuccess, resultError} {
		m.compactions.WithLabelValues(result).Add(0)
	}
	return m, nil
}

func histogram(name string, buckets []float64, help string) *metrics.Histogram {
	return metrics.NewHistogram(&metrics.HistogramOpts{
		Namespace: namespace, Subsystem: subsystem, Name: name, Help: help,
		Buckets: buckets, StabilityLevel: metrics.ALPHA,
	})
}

// Commit counts a commit. It is the OnCommit of kv.Options, where Now must be
// set for its durations to mean something.
func (m *Metrics) Commit(s kv.CommitStats) {
	for _, wait := range s.QueueWaits {
		m.queueWait.Observe(wait.Seconds())
	}
	m.add(resultWritten, s.Writes)
	m.add(resultConflict, s.Conflicts)
	m.add(resultNoSpace, s.NoSpace)
	if s.Writes == 0 {
		// Nobody waits for a commit that only trims, and one that is not made took no time.
		return
	}
	m.batchSize.Observe(float64(s.Writes))
	m.commitDuration.Observe(s.Duration.Seconds())
	m.syncDuration.Observe(s.WriteTime.Seconds())
	m.bytes.Add(float64(s.Bytes))
}

func (m *Metrics) add(result string, writes int) {
	if writes > 0 {
		m.writes.WithLabelValues(result).Add(float64(writes))
	}
}

// Compaction counts a compaction. It is the OnCompact of bolt.CompactorConfig.
func (m *Metrics) Compaction(took time.Duration, err error) {
	result := resultSuccess
	if err != nil {
		result = resultError
	}
	m.compactions.WithLabelValues(result).Inc()
	m.compactionDuration.Observe(took.Seconds())
}

// Observe has the state of the source looked up from now on. Before it, the
// metrics of state are absent.
func (m *Metrics) Observe(s Source) { m.state.source.Store(&s) }
