// Command up starts the cluster of the end-to-end tests and keeps it until it
// is interrupted, for trying things out by hand. "make e2e-cluster" calls it.
// Its arguments are archives of images to import.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"arl.io/arl/test/e2e/cluster"
)

func main() {
	ctx, cancel := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer cancel()
	if err := run(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "Error:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, images []string) (err error) {
	c, err := cluster.Start(ctx, cluster.Config{Logf: func(format string, args ...any) {
		fmt.Printf(format+"\n", args...)
	}})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, c.Close()) }()
	for _, image := range images {
		if err := c.ImportImage(ctx, image); err != nil {
			return err
		}
	}
	shell, err := c.Shell()
	if err != nil {
		return err
	}
	fmt.Printf("\nThe cluster is up, its logs are in %s. A shell inside it, with kubectl:\n\n\t%s\n\nInterrupt this to end it.\n", c.Logs(), shell)
	<-ctx.Done()
	return nil
}
