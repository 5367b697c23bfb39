// Command restart measures how long a start takes, and how much memory objects
// take, for each of several numbers of stored tasks: the opening of the
// database in this process, and of a whole server from the start of its process
// until it is ready.
//
// It prints a table and, with --svg, draws the times. It asserts nothing.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/go-logr/logr"
	"k8s.io/klog/v2"
)

// settings are the command's flags.
type settings struct {
	server  string
	dir     string
	objects string
	out     string
	svg     string
	times   int
	timeout time.Duration
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	klog.SetLogger(logr.Discard())
	var s settings
	flag.StringVar(&s.server, "server", "", "arl-apiserver binary to start; empty leaves servers out")
	flag.StringVar(&s.dir, "dir", "", "directory for the databases, on the disk to measure; a temporary one if empty")
	flag.StringVar(&s.objects, "objects", "1000,10000,100000", "numbers of stored tasks, separated by commas")
	flag.StringVar(&s.out, "o", "", "file to write the table to, as Markdown")
	flag.StringVar(&s.svg, "svg", "", "file to draw the times to")
	flag.IntVar(&s.times, "times", 5, "starts of each kind, of which the median is reported")
	flag.DurationVar(&s.timeout, "timeout", 30*time.Minute, "when to give up")
	flag.Parse()
	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	if err := run(ctx, s); err != nil {
		fmt.Fprintln(os.Stderr, "restart:", err)
		cancel()
		stop()
		os.Exit(1)
	}
}

func run(ctx context.Context, s settings) (err error) {
	dir, err := os.MkdirTemp(s.dir, "arl-bench-restart-")
	if err != nil {
		return fmt.Errorf("make a directory: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	var results []result
	fmt.Print(tableHead)
	for text := range strings.SplitSeq(s.objects, ",") {
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 || s.times < 1 {
			return fmt.Errorf("--objects %s: want numbers such as 1000,10000; and --times 1 at least", s.objects)
		}
		for _, where := range places {
			r, err := measure(ctx, filepath.Join(dir, text+"-"+where), s, n, where)
			if err != nil {
				return fmt.Errorf("%d objects in the %s: %w", n, where, err)
			}
			fmt.Print(r.line())
			results = append(results, r)
		}
	}
	if s.out != "" {
		err = writeTable(s.out, results)
	}
	if s.svg != "" {
		err = errors.Join(err, writePlot(s.svg, results))
	}
	return err
}
