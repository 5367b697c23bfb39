package main

import (
	"fmt"
	"io"
	"slices"
	"time"
)

// distribution is a set of latencies of one kind.
type distribution struct {
	name    string
	samples []time.Duration
	// elapsed is how long the whole set took, for a rate; 0 for none.
	elapsed time.Duration
}

// percentile returns the smallest sample that p per cent of all do not exceed.
func (d distribution) percentile(p int) time.Duration {
	sorted := slices.Sorted(slices.Values(d.samples))
	return sorted[max(0, (len(sorted)*p+99)/100-1)]
}

func (d distribution) print(w io.Writer) {
	if len(d.samples) == 0 {
		return
	}
	fmt.Fprintf(w, "%-46s %6d  %8s %8s %8s %8s", d.name, len(d.samples),
		millis(d.percentile(50)), millis(d.percentile(90)), millis(d.percentile(99)), millis(d.percentile(100)))
	if d.elapsed > 0 {
		fmt.Fprintf(w, "  %8.0f", float64(len(d.samples))/d.elapsed.Seconds())
	}
	fmt.Fprintln(w)
}

func printHeader(w io.Writer) {
	fmt.Fprintf(w, "%-46s %6s  %8s %8s %8s %8s  %8s\n", "milliseconds", "count", "p50", "p90", "p99", "max", "per sec")
}

func millis(d time.Duration) string { return fmt.Sprintf("%.2f", float64(d.Microseconds())/1000) }
