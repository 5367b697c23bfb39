package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apiserver/pkg/apis/example"
	examplev1 "k8s.io/apiserver/pkg/apis/example/v1"
	storagetesting "k8s.io/apiserver/pkg/storage/testing"
)

// The benchmarks that Kubernetes measures its own stores by. They are written
// for package testing, whose runner ends the process, so each runs in a child.

// suiteCommand, as the first argument, has this binary be such a child.
const suiteCommand = "suite"

const (
	suiteNamespaces, suitePods, suiteNodes = 5, 100, 50
	// listShare is the part of the iterations that suffices for a list of
	// hundreds of objects.
	listShare = 100
)

// suites are the benchmarks, in the order in which they are run.
var suites = []struct {
	name string
	// share is the part of --upstream that is run of each of its cases.
	share int
	run   func(b *testing.B, store *opened, data storagetesting.BenchmarkData)
}{
	{"WriteThroughput", 1, func(b *testing.B, store *opened, data storagetesting.BenchmarkData) {
		storagetesting.RunBenchmarkWriteThroughput(b.Context(), b, store, data, false, nil)
	}},
	{"StoreList", listShare, func(b *testing.B, store *opened, data storagetesting.BenchmarkData) {
		if err := storagetesting.PrecreateBenchmarkPods(b.Context(), store, data); err != nil {
			b.Fatal(err)
		}
		storagetesting.RunBenchmarkStoreList(b.Context(), b, store, data, false)
	}},
}

// pods is the resource of those benchmarks.
func pods() (resource, error) {
	scheme := runtime.NewScheme()
	metav1.AddToGroupVersion(scheme, metav1.SchemeGroupVersion)
	if err := errors.Join(example.AddToScheme(scheme), examplev1.AddToScheme(scheme)); err != nil {
		return resource{}, fmt.Errorf("register pods: %w", err)
	}
	codecs := serializer.NewCodecFactory(scheme)
	// In kube-apiserver, too, both would store protobuf.
	info, ok := runtime.SerializerInfoForMediaType(codecs.SupportedMediaTypes(), runtime.ContentTypeProtobuf)
	if !ok {
		return resource{}, fmt.Errorf("no serializer for %s", runtime.ContentTypeProtobuf)
	}
	return resource{
		group: schema.GroupResource{Resource: "pods"},
		codec: codecs.CodecForVersions(info.Serializer, codecs.UniversalDeserializer(),
			examplev1.SchemeGroupVersion, runtime.InternalGroupVersioner),
		newFunc:     func() runtime.Object { return &example.Pod{} },
		newListFunc: func() runtime.Object { return &example.PodList{} },
		prefix:      "/pods/",
	}, nil
}

// runSuites runs each of the benchmarks on each backend and adds what they
// print to the report.
func runSuites(ctx context.Context, s settings, dir string, report *report) error {
	binary, err := os.Executable()
	if err != nil {
		return fmt.Errorf("find this program: %w", err)
	}
	for _, suite := range suites {
		if err := os.MkdirAll(filepath.Join(dir, suite.name), 0o755); err != nil {
			return fmt.Errorf("make a directory: %w", err)
		}
		if s.upstream == 0 || !strings.Contains(suite.name, s.only) {
			continue
		}
		for _, backend := range []string{nameOurs, nameEtcd} {
			if s.backend != "" && backend != s.backend {
				continue
			}
			cmd := exec.CommandContext(ctx, binary, suiteCommand, "--name="+suite.name, "--backend="+backend,
				"--etcd="+s.etcd, "--dir="+filepath.Join(dir, suite.name), "--n="+strconv.Itoa(max(1, s.upstream/suite.share)))
			var errs bytes.Buffer
			cmd.Stderr = &errs
			out, err := cmd.Output()
			if err != nil {
				return fmt.Errorf("%s on %s: %w\n%s%s", suite.name, backend, err, out, errs.String())
			}
			if err := parseSuite(report, suite.name, backend, out); err != nil {
				return err
			}
		}
		report.print(os.Stdout, suite.name)
	}
	return nil
}

// benchmarkLine is a result of package testing: name, iterations, then values
// and their units.
var benchmarkLine = regexp.MustCompile(`^\w+/(\S+?)(?:-\d+)?\s+\d+\s+(.*)$`)

// parseSuite adds the rates that a child printed.
func parseSuite(report *report, suite, backend string, out []byte) error {
	found := false
	for lines := bufio.NewScanner(bytes.NewReader(out)); lines.Scan(); {
		parts := benchmarkLine.FindStringSubmatch(lines.Text())
		if parts == nil {
			continue
		}
		found = true
		values := strings.Fields(parts[2])
		for pair := range slices.Chunk(values, 2) {
			value, err := strconv.ParseFloat(pair[0], 64)
			if err != nil || len(pair) != 2 {
				return fmt.Errorf("%s on %s printed %q", suite, backend, lines.Text())
			}
			// list-objs/s counts what the list held before, too, on stores that
			// add to it.
			if unit := pair[1]; strings.HasSuffix(unit, "/s") && unit != "list-objs/s" {
				report.add(suite, backend, []sample{{metric: parts[1] + ": " + unit, count: int(value), elapsed: time.Second}})
			}
		}
	}
	if !found {
		return fmt.Errorf("%s on %s printed no result:\n%s", suite, backend, out)
	}
	return nil
}

// runSuite is the child. If the benchmark was run, it does not return.
func runSuite(ctx context.Context, args []string) error {
	flags := flag.NewFlagSet(suiteCommand, flag.ContinueOnError)
	name := flags.String("name", "", "benchmark to run")
	backendName := flags.String("backend", "", "backend to run it on")
	etcd := flags.String("etcd", "", "etcd binary")
	dir := flags.String("dir", "", "directory for the databases")
	n := flags.Int("n", 1, "iterations of each case")
	if err := flags.Parse(args); err != nil {
		return fmt.Errorf("flags: %w", err)
	}
	var under backend = ours{}
	if *backendName == nameEtcd {
		under = etcd3{binary: *etcd}
	}
	kind, err := pods()
	if err != nil {
		return err
	}
	for _, suite := range suites {
		if suite.name != *name {
			continue
		}
		os.Args = []string{os.Args[0], "-test.run=^$", "-test.bench=.", fmt.Sprintf("-test.benchtime=%dx", *n), "-test.timeout=0"}
		testing.Main(regexp.MatchString, nil, []testing.InternalBenchmark{{Name: suite.name, F: func(b *testing.B) {
			store, err := under.open(ctx, *dir, kind)
			if err != nil {
				b.Fatal(err)
			}
			defer func() {
				if err := store.close(); err != nil {
					b.Error(err)
				}
			}()
			suite.run(b, store, storagetesting.PrepareBenchmarkData(suiteNamespaces, suitePods, suiteNodes))
		}}}, nil)
	}
	return fmt.Errorf("there is no benchmark %q", *name)
}
