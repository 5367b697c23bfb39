package probe

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"arl.io/arl/pkg/agent/wire"
)

// change is what Readiness becomes, and how long after the start.
type change struct {
	after time.Duration
	state string
	says  string
}

// outcomes are those of attempts, one letter each: s succeeds, f fails, t takes
// until its timeout and fails. The last one repeats.
type outcomes struct{ startup, readiness string }

// played runs probes with these outcomes and returns what Readiness becomes, and
// when attempts were made.
func played(t *testing.T, probes wire.Probes, script outcomes) (changes []change, attempts []string) {
	t.Helper()
	prober, err := New(Config{Probes: probes})
	if err != nil {
		t.Fatal(err)
	}
	begin := time.Now()
	rest := map[*wire.Probe]*string{prober.config.Probes.Startup: &script.startup, prober.config.Probes.Readiness: &script.readiness}
	prober.attempt = func(ctx context.Context, probe *wire.Probe) error {
		name := "readiness"
		if probe == prober.config.Probes.Startup {
			name = "startup"
		}
		attempts = append(attempts, fmt.Sprintf("%s %s", name, time.Since(begin)))
		left := rest[probe]
		outcome := (*left)[0]
		if len(*left) > 1 {
			*left = (*left)[1:]
		}
		switch outcome {
		case 's':
			return nil
		case 't':
			<-ctx.Done()
			return errors.New("too slow")
		}
		return errors.New("no")
	}
	ctx, cancel := context.WithTimeout(t.Context(), 65*time.Second)
	defer cancel()
	done := make(chan struct{})
	go func() {
		defer close(done)
		prober.Run(ctx)
	}()
	var last wire.Readiness
	for ctx.Err() == nil {
		synctest.Wait()
		if now := prober.Readiness(); now != last {
			last = now
			changes = append(changes, change{time.Since(begin), now.State, now.Message})
		}
		time.Sleep(500 * time.Millisecond)
	}
	<-done
	return changes, attempts
}

func probe(change func(*wire.Probe)) *wire.Probe {
	made := &wire.Probe{TCPSocket: &wire.TCPProbe{Port: 1}}
	change(made)
	return made
}

var probeCases = []struct {
	name     string
	probes   wire.Probes
	script   outcomes
	want     []change
	attempts []string
}{
	{
		name:   "readiness with defaults",
		probes: wire.Probes{Readiness: probe(func(*wire.Probe) {})},
		script: outcomes{readiness: "fsfffs"},
		want: []change{
			{0, wire.Starting, "the readiness probe failed (1 in a row, failureThreshold 3): no"},
			{10 * time.Second, wire.Ready, ""},
			{40 * time.Second, wire.NotReady, "the readiness probe failed (3 in a row, failureThreshold 3): no"},
			{50 * time.Second, wire.Ready, ""},
		},
		attempts: []string{"readiness 0s", "readiness 10s", "readiness 20s", "readiness 30s", "readiness 40s", "readiness 50s", "readiness 1m0s"},
	},
	{
		name: "thresholds of readiness",
		probes: wire.Probes{Readiness: probe(func(p *wire.Probe) {
			p.InitialDelaySeconds, p.PeriodSeconds, p.SuccessThreshold, p.FailureThreshold = 5, 4, 2, 1
		})},
		script: outcomes{readiness: "sfsss"},
		want: []change{
			{0, wire.Starting, "the readiness probe has not been tried yet"},
			{5 * time.Second, wire.Starting, "the readiness probe succeeded 1 of 2 times"},
			{9 * time.Second, wire.NotReady, "the readiness probe failed (1 in a row, failureThreshold 1): no"},
			{13 * time.Second, wire.NotReady, "the readiness probe succeeded 1 of 2 times"},
			{17 * time.Second, wire.Ready, ""},
		},
	},
	{
		name: "startup gates readiness",
		probes: wire.Probes{
			Startup:   probe(func(p *wire.Probe) { p.PeriodSeconds, p.FailureThreshold = 2, 30 }),
			Readiness: probe(func(p *wire.Probe) { p.PeriodSeconds, p.InitialDelaySeconds = 20, 3 }),
		},
		script: outcomes{startup: "ffs", readiness: "s"},
		want: []change{
			{0, wire.Starting, "the startup probe failed 1 of 30 times: no"},
			{2 * time.Second, wire.Starting, "the startup probe failed 2 of 30 times: no"},
			{4 * time.Second, wire.Ready, ""},
		},
		attempts: []string{"startup 0s", "startup 2s", "startup 4s", "readiness 4s", "readiness 24s", "readiness 44s", "readiness 1m4s"},
	},
	{
		name:   "startup fails for good",
		probes: wire.Probes{Startup: probe(func(p *wire.Probe) { p.FailureThreshold, p.PeriodSeconds = 2, 1 }), Readiness: probe(func(*wire.Probe) {})},
		script: outcomes{startup: "ffs", readiness: "s"},
		want: []change{
			{0, wire.Starting, "the startup probe failed 1 of 2 times: no"},
			{time.Second, wire.StartupFailed, "the startup probe failed 2 of 2 times: no"},
		},
		attempts: []string{"startup 0s", "startup 1s"},
	},
	{
		name:     "startup alone",
		probes:   wire.Probes{Startup: probe(func(p *wire.Probe) { p.InitialDelaySeconds = 7 })},
		script:   outcomes{startup: "s"},
		want:     []change{{0, wire.Starting, "the startup probe has not been tried yet"}, {7 * time.Second, wire.Ready, ""}},
		attempts: []string{"startup 7s"},
	},
	{
		name:   "an attempt ends with its timeout",
		probes: wire.Probes{Readiness: probe(func(p *wire.Probe) { p.TimeoutSeconds, p.PeriodSeconds, p.FailureThreshold = 6, 4, 2 })},
		script: outcomes{readiness: "tts"},
		want: []change{
			{0, wire.Starting, "the readiness probe has not been tried yet"},
			{6 * time.Second, wire.Starting, "the readiness probe failed (1 in a row, failureThreshold 2): too slow"},
			{12 * time.Second, wire.Ready, ""},
		},
	},
}

func TestProbesHaveTheSemanticsOfKubernetes(t *testing.T) {
	for _, test := range probeCases {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				changes, attempts := played(t, test.probes, test.script)
				if diff := cmp.Diff(test.want, changes, cmp.AllowUnexported(change{})); diff != "" {
					t.Errorf("readiness (-want +got):\n%s", diff)
				}
				if diff := cmp.Diff(test.attempts, attempts); diff != "" && test.attempts != nil {
					t.Errorf("attempts (-want +got):\n%s", diff)
				}
			})
		})
	}
}

func TestProbesThatAreWrongAreRefused(t *testing.T) {
	for _, test := range []struct {
		probes wire.Probes
		want   string
	}{
		{wire.Probes{}, "needs startup or readiness"},
		{wire.Probes{Startup: &wire.Probe{}}, "startup: needs exactly one of exec, httpGet, tcpSocket and grpc"},
		{wire.Probes{Readiness: probe(func(p *wire.Probe) { p.Exec = &wire.ExecProbe{Command: []string{"a"}} })}, "readiness: needs exactly one of"},
		{wire.Probes{Readiness: &wire.Probe{Exec: &wire.ExecProbe{}}}, "readiness: exec.command: must name a program"},
		{wire.Probes{Readiness: &wire.Probe{GRPC: &wire.GRPCProbe{}}}, "readiness: grpc.port: must be 1 to 65535"},
		{wire.Probes{Readiness: &wire.Probe{HTTPGet: &wire.HTTPProbe{Port: 1, Scheme: "ftp"}}}, "readiness: httpGet.scheme: must be HTTP or HTTPS"},
		{wire.Probes{Readiness: probe(func(p *wire.Probe) { p.PeriodSeconds = -1 })}, "readiness: periodSeconds: must not be negative"},
		{wire.Probes{Startup: probe(func(p *wire.Probe) { p.SuccessThreshold = 2 })}, "startup: successThreshold: must be 1"},
	} {
		if _, err := New(Config{Probes: test.probes}); err == nil || !strings.HasPrefix(err.Error(), test.want) {
			t.Errorf("got %v, want %q", err, test.want)
		}
	}
}
