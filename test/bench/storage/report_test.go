package main

import (
	"strings"
	"testing"
	"time"
)

func TestReportComparesWithOurs(t *testing.T) {
	var r report
	r.add("writes", nameEtcd, []sample{{metric: "writes/s", count: 10, elapsed: time.Second, cpu: time.Millisecond,
		latencies: []time.Duration{4 * time.Millisecond, 2 * time.Millisecond}}})
	r.add("writes", nameOurs, []sample{{metric: "writes/s", count: 60, elapsed: time.Second, cpu: 3 * time.Millisecond,
		latencies: []time.Duration{time.Millisecond}}})
	r.add("writes", nameOurs, []sample{{metric: "writes/s", count: 20, elapsed: time.Second, cpu: time.Millisecond,
		latencies: []time.Duration{2 * time.Millisecond}}})
	var out strings.Builder
	r.print(&out, "writes")
	for _, want := range []string{
		"| writes | writes/s | ours | 40 | 1.00 | 2.00 | 2.00 | 50.0 |  |  |  |  |\n",
		"| writes | writes/s | etcd3 | 10 | 2.00 | 4.00 | 4.00 | 100.0 | 4.0× | 2.0× | 2.0× | 2.0× |\n",
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("want %q in\n%s", want, out.String())
		}
	}
}

func TestParseSuiteTakesRates(t *testing.T) {
	var r report
	out := `goos: linux
WriteThroughput/Traffic=Patch/Background=None-2   	    5000	     60000 ns/op	     16000 writes/s
WriteThroughput/Traffic=Patch/Background=Lister   	    5000	     60000 ns/op	        12.50 list-calls/s	       900 list-objs/s
PASS
`
	if err := parseSuite(&r, "WriteThroughput", nameOurs, []byte(out)); err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, row := range r.rows {
		got = append(got, row.metric+" "+number(summarize(row.samples[nameOurs]).rate))
	}
	want := "Traffic=Patch/Background=None: writes/s 16000, Traffic=Patch/Background=Lister: list-calls/s 12"
	if strings.Join(got, ", ") != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if err := parseSuite(&r, "WriteThroughput", nameOurs, []byte("FAIL\n")); err == nil {
		t.Error("no result is no error")
	}
}
