package local

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"arl.io/arl/pkg/podruntime"
)

// BenchmarkPod measures create → Ready and delete → gone, one pod at a time.
func BenchmarkPod(b *testing.B) {
	f := startBench(b)
	var ready, gone []time.Duration
	for i := range b.N {
		name := fmt.Sprintf("bench-%d", i)
		begun := time.Now()
		pod := f.create(hostSpec(name))
		ready = append(ready, time.Since(begun))
		begun = time.Now()
		if err := f.Delete(b.Context(), pod.Key, pod.UID); err != nil {
			b.Fatal(err)
		}
		f.gone(b, name)
		gone = append(gone, time.Since(begun))
	}
	report(b, "ready", ready)
	report(b, "gone", gone)
}

// BenchmarkPodsAtOnce measures create → Ready of twenty pods created together.
func BenchmarkPodsAtOnce(b *testing.B) {
	f := startBench(b)
	var ready []time.Duration
	for i := range b.N {
		begun := time.Now()
		var names []string
		for j := range 20 {
			spec := hostSpec(fmt.Sprintf("bench-%d-%d", i, j))
			if _, err := f.Create(b.Context(), spec); err != nil {
				b.Fatal(err)
			}
			names = append(names, spec.Name)
		}
		for _, name := range names {
			f.pod(b, name, podruntime.Ready)
			ready = append(ready, time.Since(begun))
		}
		f.removeAll()
	}
	report(b, "ready", ready)
}

func startBench(b *testing.B) *fixture {
	needContainers(b)
	return start(b, Config{Dir: b.TempDir()})
}

func report(b *testing.B, what string, samples []time.Duration) {
	slices.Sort(samples)
	at := func(q float64) float64 {
		return float64(samples[int(q*float64(len(samples)-1))].Microseconds()) / 1000
	}
	b.ReportMetric(at(0.5), what+"-p50-ms")
	b.ReportMetric(at(0.99), what+"-p99-ms")
}
