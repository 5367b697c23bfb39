package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"runtime/pprof"
	"slices"
	"strings"
	"time"

	"k8s.io/apiserver/pkg/storage"
)

// benchmark is one case.
type benchmark struct {
	name string
	// watchCache has the case run with kube-apiserver's watch cache, too.
	watchCache bool
	// prepare is not measured. It may be nil.
	prepare func(ctx context.Context, store storage.Interface) error
	// run measures; its samples have the same metrics in the same order for
	// every backend.
	run func(ctx context.Context, store *opened) ([]sample, error)
}

func run(ctx context.Context, s settings) (err error) {
	if s.etcd == "" {
		return errors.New("give the etcd binary to measure against by --etcd")
	}
	dir, err := os.MkdirTemp(s.dir, "arl-bench-storage-")
	if err != nil {
		return fmt.Errorf("make a directory: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	facts, err := machine(dir)
	if err != nil {
		return err
	}
	fmt.Println(facts)
	kind, err := tasks()
	if err != nil {
		return err
	}
	report := &report{facts: facts}
	for _, c := range cases(s) {
		if !strings.Contains(c.name, s.only) {
			continue
		}
		if err := runCase(ctx, s, c, kind, dir, report); err != nil {
			return err
		}
		report.print(os.Stdout, c.name)
	}
	if err := runSuites(ctx, s, dir, report); err != nil {
		return err
	}
	if s.out != "" {
		return report.writeFile(s.out)
	}
	return nil
}

// runCase runs the rounds of a case.
func runCase(ctx context.Context, s settings, c benchmark, kind resource, dir string, report *report) error {
	backends := []backend{ours{}, etcd3{binary: s.etcd}}
	if c.watchCache {
		backends = append(backends, etcd3{binary: s.etcd, cached: true})
	}
	if s.backend != "" {
		backends = slices.DeleteFunc(backends, func(b backend) bool { return b.name() != s.backend })
	}
	for round := range s.rounds {
		for _, b := range backends {
			samples, err := measure(ctx, b, c, kind, dir, profileName(s.profiles, c, b, round))
			if err != nil {
				return fmt.Errorf("%s on %s: %w", c.name, b.name(), err)
			}
			report.add(c.name, b.name(), samples)
		}
		slices.Reverse(backends)
	}
	return nil
}

func cases(s settings) []benchmark {
	return []benchmark{
		writes("lifecycles, 64 writers", 64, s.duration, lifecycle),
		writes("lifecycles, 1 writer", 1, s.duration, lifecycle),
		writes("creates, 64 writers", 64, s.duration, createOnly),
		writes("creates, 1 writer", 1, s.duration, createOnly),
		fanout(s.watchers, s.events),
		reads(s.objects),
	}
}

// measure runs a case once on one backend, in a directory that is empty and
// gone afterwards.
func measure(ctx context.Context, b backend, c benchmark, kind resource, dir, profile string) (samples []sample, err error) {
	dir, err = os.MkdirTemp(dir, "round-")
	if err != nil {
		return nil, fmt.Errorf("make a directory: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	store, err := b.open(ctx, dir, kind)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, store.close()) }()
	if c.prepare != nil {
		if err := c.prepare(ctx, store); err != nil {
			return nil, fmt.Errorf("prepare: %w", err)
		}
	}
	// What the round before left behind is not this one's garbage.
	runtime.GC()
	if profile == "" {
		return c.run(ctx, store)
	}
	file, err := os.Create(profile)
	if err != nil {
		return nil, fmt.Errorf("write a profile: %w", err)
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	if err := pprof.StartCPUProfile(file); err != nil {
		return nil, fmt.Errorf("start the profile: %w", err)
	}
	defer pprof.StopCPUProfile()
	return c.run(ctx, store)
}

// profileName is the file of the CPU profile of a case: only the first round,
// and only what runs in this process.
func profileName(dir string, c benchmark, b backend, round int) string {
	if dir == "" || b.name() != nameOurs || round > 0 {
		return ""
	}
	name := strings.NewReplacer(" ", "-", ",", "").Replace(c.name)
	return filepath.Join(dir, name+".pprof")
}

// sample is what one round of a case found for one metric.
type sample struct {
	metric string
	// count is how much was done in elapsed; 0 for a metric without a rate.
	count   int
	elapsed time.Duration
	// cpu is the processor time used for it by client and server.
	cpu time.Duration
	// latencies may be empty.
	latencies []time.Duration
}
