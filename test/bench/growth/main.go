// Command growth shows what a server is like after a million tasks: it lets
// clients make tasks, write their status twice and delete them, keeps a fixed
// number alive, and records at even distances how large files and memory are
// and how long commits and requests take. Nothing must grow with what is gone.
//
// By default requests take the whole way through the API server, in this
// process and without the network; --path storage leaves the API server out,
// which is several times as fast. There is no scheduler: nobody but the clients
// writes. It asserts nothing.
package main

import (
	"context"
	"errors"
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
	path       string
	dir        string
	csv        string
	out        string
	lifecycles int
	live       int
	every      int
	clients    int
	content    int
	timeout    time.Duration
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	// The libraries tell of every slow request; the distributions do that here.
	klog.SetLogger(logr.Discard())
	var s settings
	flag.StringVar(&s.path, "path", pathAPI, "what the lifecycles go through: "+pathAPI+" or "+pathStorage)
	flag.StringVar(&s.dir, "dir", "", "directory for the database, on the disk to measure; a temporary one if empty")
	flag.StringVar(&s.csv, "csv", "", "file to write the numbers to, as CSV")
	flag.StringVar(&s.out, "o", "", "file to write the table to, as Markdown")
	flag.IntVar(&s.lifecycles, "lifecycles", 1_000_000, "tasks to make and to end")
	flag.IntVar(&s.live, "live", 20_000, "tasks that are kept before the oldest is deleted")
	flag.IntVar(&s.every, "every", 50_000, "lifecycles between two records")
	flag.IntVar(&s.clients, "clients", 32, "clients at the same time")
	flag.IntVar(&s.content, "content", 0, "size of the file that each task writes, in bytes; a screen of text if 0")
	flag.DurationVar(&s.timeout, "timeout", 2*time.Hour, "when to give up")
	flag.Parse()
	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	if err := run(ctx, s); err != nil {
		fmt.Fprintln(os.Stderr, "growth:", err)
		cancel()
		stop()
		os.Exit(1)
	}
}

func run(ctx context.Context, s settings) (err error) {
	if s.every < 1 || s.clients < 1 || s.live < s.clients {
		return errors.New("--every and --clients must be 1 at least, and --live as many as --clients")
	}
	dir, err := os.MkdirTemp(s.dir, "arl-bench-growth-")
	if err != nil {
		return fmt.Errorf("make a directory: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	target, err := open(ctx, dir, s)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, target.close()) }()
	report, err := newReport(s.csv)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, report.close()) }()
	load := newLoad(target.tasks, s)
	for done := 0; done < s.lifecycles; done += s.every {
		if err := load.run(ctx, min(s.every, s.lifecycles-done)); err != nil {
			return err
		}
		r, err := target.record(load)
		if err != nil {
			return err
		}
		if err := report.add(r); err != nil {
			return err
		}
	}
	if s.out == "" {
		return nil
	}
	return report.writeFile(s.out)
}
