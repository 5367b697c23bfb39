// Command storage measures the project's storage against the one it replaces:
// the etcd3 store of k8s.io/apiserver, in front of an etcd of its own process,
// on the same disk, in the same run, with the same objects and codec.
//
// Every case runs in rounds; each round gives both backends an empty directory,
// one after the other, and every second round takes them the other way round,
// so that neither gains by its place. What is printed are rates, distributions
// and ratios. It asserts nothing: a machine's numbers are its own.
//
// It is a module of its own to keep etcd out of the product's dependencies.
// Read run.go first, then the file of the case: write.go, fanout.go, read.go,
// upstream.go.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/go-logr/logr"
	"k8s.io/klog/v2"
)

// settings are the command's flags.
type settings struct {
	etcd     string
	dir      string
	out      string
	only     string
	backend  string
	profiles string
	rounds   int
	duration time.Duration
	objects  int
	watchers int
	events   int
	upstream int
	timeout  time.Duration
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	// The libraries tell of every slow request; the distributions do that here.
	klog.SetLogger(logr.Discard())
	if len(os.Args) > 1 && os.Args[1] == suiteCommand {
		exit(stop, runSuite(ctx, os.Args[2:]))
	}
	s := parseFlags()
	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	exit(stop, run(ctx, s))
}

func parseFlags() (s settings) {
	flag.StringVar(&s.etcd, "etcd", "", "etcd binary to measure against")
	flag.StringVar(&s.dir, "dir", "", "directory for the databases, on the disk to measure; a temporary one if empty")
	flag.StringVar(&s.out, "o", "", "file to write the tables to, as Markdown")
	flag.StringVar(&s.only, "only", "", "run only the cases whose name contains this")
	flag.StringVar(&s.backend, "backend", "", "run only the backend of this name: "+nameOurs+" or "+nameEtcd)
	flag.StringVar(&s.profiles, "profiles", "", "directory for a CPU profile of each case, of our side")
	flag.IntVar(&s.rounds, "rounds", 4, "rounds of each case")
	flag.DurationVar(&s.duration, "duration", 2*time.Second, "how long a backend is written to in each round of a case of writes")
	flag.IntVar(&s.objects, "objects", 10_000, "objects that are listed")
	flag.IntVar(&s.watchers, "watchers", 100, "watchers of the fan-out")
	flag.IntVar(&s.events, "events", 1_500, "writes that are fanned out in each round")
	flag.IntVar(&s.upstream, "upstream", 5_000, "iterations of each of Kubernetes' own benchmarks; 0 leaves them out")
	flag.DurationVar(&s.timeout, "timeout", 30*time.Minute, "when to give up")
	flag.Parse()
	return s
}

func exit(stop func(), err error) {
	if err == nil {
		os.Exit(0)
	}
	fmt.Fprintln(os.Stderr, "storage:", err)
	stop()
	os.Exit(1)
}
