// Command latency measures a standalone server the way its users feel it:
// from a client's request to the answer, over the network interface, with
// distributions rather than means.
//
// With --server it starts a server of its own in a temporary directory, on the
// image "host", and removes it afterwards. With --kubeconfig it measures a
// server that runs, on the pool named by --pool.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"
)

// settings are the command's flags.
type settings struct {
	server     string
	kubeconfig string
	pool       string
	sandboxes  int
	tasks      int
	clients    int
	burst      int
	timeout    time.Duration
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	var s settings
	flag.StringVar(&s.server, "server", "", "arl-apiserver binary to start for the measurement")
	flag.StringVar(&s.kubeconfig, "kubeconfig", "", "kubeconfig of a running server to measure instead")
	flag.StringVar(&s.pool, "pool", "bench", "pool to claim from; made if --server is given")
	flag.IntVar(&s.sandboxes, "sandboxes", 100, "sandboxes to claim one after another")
	flag.IntVar(&s.tasks, "tasks", 1000, "echo tasks to run one after another")
	flag.IntVar(&s.clients, "clients", 0, "clients that run tasks at the same time, each in a sandbox of its own; 0 leaves it out")
	flag.IntVar(&s.burst, "burst", 0, "sandboxes to claim at the same time; 0 leaves it out")
	flag.DurationVar(&s.timeout, "timeout", 5*time.Minute, "when to give up")
	flag.Parse()
	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	if err := run(ctx, s); err != nil {
		fmt.Fprintln(os.Stderr, "latency:", err)
		cancel()
		stop()
		os.Exit(1)
	}
}

func run(ctx context.Context, s settings) error {
	if (s.server == "") == (s.kubeconfig == "") {
		return fmt.Errorf("give one of --server and --kubeconfig")
	}
	if s.server != "" {
		return withOwnServer(ctx, s)
	}
	target, err := connect(ctx, s.kubeconfig, s.pool)
	if err != nil {
		return err
	}
	defer target.close()
	return target.measure(ctx, s)
}
