package app

import (
	"k8s.io/component-base/metrics"

	"arl.io/arl/pkg/podruntime/local/trash"
)

// leftovers is the runtime of a server that removes files of pods itself.
type leftovers interface {
	// Stuck returns what is left of deleted pods and images because it could not be removed.
	Stuck() []trash.Item
}

// podCollector looks up the state of a runtime when somebody asks.
type podCollector struct {
	metrics.BaseStableCollector
	runtime      leftovers
	items, bytes *metrics.Desc
}

var _ metrics.StableCollector = (*podCollector)(nil)

// newPodCollector returns what collects metrics of a runtime.
func newPodCollector(runtime leftovers) *podCollector {
	desc := func(name, help string) *metrics.Desc {
		return metrics.NewDesc(metrics.BuildFQName("arl", "local", name), help, nil, nil, metrics.ALPHA, "")
	}
	return &podCollector{
		runtime: runtime,
		items:   desc("trash_stuck", "Number of deleted pods and images whose files could not be removed. They are tried again."),
		bytes:   desc("trash_stuck_bytes", "Disk space that the files take that could not be removed, in bytes, as far as it was measured."),
	}
}

// DescribeWithStability implements metrics.StableCollector.
func (c *podCollector) DescribeWithStability(ch chan<- *metrics.Desc) {
	ch <- c.items
	ch <- c.bytes
}

// CollectWithStability implements metrics.StableCollector.
func (c *podCollector) CollectWithStability(ch chan<- metrics.Metric) {
	stuck := c.runtime.Stuck()
	var bytes int64
	for _, item := range stuck {
		bytes += item.Usage.Bytes
	}
	ch <- metrics.NewLazyConstMetric(c.items, metrics.GaugeValue, float64(len(stuck)))
	ch <- metrics.NewLazyConstMetric(c.bytes, metrics.GaugeValue, float64(bytes))
}
