package main

import (
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"arl.io/arl/test/bench/load"
)

// row is one metric of one case, with the samples of each backend.
type row struct {
	benchmark, metric string
	samples           map[string][]sample
}

// report gathers what was measured, in the order in which it was.
type report struct {
	facts string
	rows  []*row
}

func (r *report) add(benchmark, backend string, samples []sample) {
	for _, s := range samples {
		i := slices.IndexFunc(r.rows, func(o *row) bool { return o.benchmark == benchmark && o.metric == s.metric })
		if i < 0 {
			i = len(r.rows)
			r.rows = append(r.rows, &row{benchmark: benchmark, metric: s.metric, samples: map[string][]sample{}})
		}
		r.rows[i].samples[backend] = append(r.rows[i].samples[backend], s)
	}
}

const header = `| case | metric | backend | rate | p50 ms | p90 ms | p99 ms | CPU µs each | ours: rate | ours: p50 | ours: p99 | ours: CPU |
|---|---|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|
`

// legend explains the columns.
const legend = `The last four columns say how many times better ours is than the backend of
the line: more per second, or less time. Rates and distributions are over all
rounds. "CPU" is the processor time of client and server together for one write,
event, object or get; rates depend on what else the machine does, that hardly.
`

// print writes the lines of one case.
func (r *report) print(w io.Writer, benchmark string) {
	fmt.Fprint(w, header)
	for _, row := range r.rows {
		if row.benchmark == benchmark {
			row.print(w)
		}
	}
	fmt.Fprintln(w)
}

func (r *report) writeFile(name string) error {
	var text strings.Builder
	fmt.Fprintf(&text, "%s.\n\n%s\n%s", r.facts, legend, header)
	for _, row := range r.rows {
		row.print(&text)
	}
	if err := os.WriteFile(name, []byte(text.String()), 0o644); err != nil {
		return fmt.Errorf("write the report: %w", err)
	}
	return nil
}

// print writes a line for each backend.
func (r *row) print(w io.Writer) {
	mine := summarize(r.samples[nameOurs])
	for _, name := range []string{nameOurs, nameEtcd, nameCached} {
		if len(r.samples[name]) == 0 {
			continue
		}
		s := summarize(r.samples[name])
		ratios := []string{"", "", "", ""}
		if name != nameOurs {
			ratios = []string{ratio(mine.rate, s.rate), ratio(s.p50, mine.p50), ratio(s.p99, mine.p99), ratio(s.cpu, mine.cpu)}
		}
		fmt.Fprintf(w, "| %s | %s | %s | %s | %s | %s | %s | %s | %s |\n", r.benchmark, r.metric, name,
			number(s.rate), millis(s.p50), millis(s.p90), millis(s.p99), micros(s.cpu), strings.Join(ratios, " | "))
	}
}

// summary is what a backend's samples come to. Times are in seconds; 0 is
// "not measured".
type summary struct{ rate, p50, p90, p99, cpu float64 }

func summarize(samples []sample) (s summary) {
	var count int
	var elapsed, cpu time.Duration
	var all []time.Duration
	for _, one := range samples {
		count += one.count
		elapsed += one.elapsed
		cpu += one.cpu
		all = append(all, one.latencies...)
	}
	if elapsed > 0 {
		s.rate = float64(count) / elapsed.Seconds()
	}
	if count > 0 {
		s.cpu = cpu.Seconds() / float64(count)
	}
	s.p50, s.p90, s.p99 = percentile(all, 50), percentile(all, 90), percentile(all, 99)
	return s
}

func percentile(durations []time.Duration, p int) float64 {
	return load.Percentile(durations, p).Seconds()
}

func ratio(better, worse float64) string {
	if better == 0 || worse == 0 {
		return "–"
	}
	if better < worse {
		return fmt.Sprintf("%.2f×", better/worse)
	}
	return fmt.Sprintf("%.1f×", better/worse)
}

func number(rate float64) string {
	if rate == 0 {
		return "–"
	}
	return fmt.Sprintf("%.0f", rate)
}

func millis(seconds float64) string {
	if seconds == 0 {
		return "–"
	}
	return fmt.Sprintf("%.2f", seconds*1000)
}

func micros(seconds float64) string {
	if seconds == 0 {
		return "–"
	}
	return fmt.Sprintf("%.1f", seconds*1e6)
}
