package sdk_test

import (
	"context"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"go.uber.org/goleak"

	"arl.io/arl/pkg/sdk"
)

// patience bounds what a test waits for. It is long: the machine may be busy.
const patience = 2 * time.Minute

// here is the server that tests and examples share. $KUBECONFIG leads to it.
var here *server

func TestMain(m *testing.M) {
	if called, err := asChild(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	} else if called {
		return
	}
	flag.Parse()
	os.Exit(run(m))
}

func run(m *testing.M) (code int) {
	ending := &cleanups{}
	defer func() {
		if err := ending.run(); err != nil {
			fmt.Fprintln(os.Stderr, "end the server:", err)
			code = 1
		}
		if err := leaks(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = 1
		}
	}()
	if err := prepare(ending); err != nil {
		fmt.Fprintln(os.Stderr, "start a server:", err)
		return 1
	}
	return m.Run()
}

// ignored are goroutines that libraries start for the life of the process.
var ignored = []goleak.Option{
	goleak.IgnoreTopFunction("k8s.io/klog/v2.(*flushDaemon).run.func1"),
}

// leaks returns an error if there are goroutines that do not end. On a busy
// machine those of a server that was ended take their time.
func leaks() error {
	for deadline := time.Now().Add(patience); ; {
		err := goleak.Find(ignored...)
		if err == nil || time.Now().After(deadline) {
			return err
		}
	}
}

// prepare starts the server, with the pools of the examples, and points $KUBECONFIG to it.
func prepare(ending *cleanups) (err error) {
	if here, err = startServer(); err != nil {
		return err
	}
	ending.add(here.close)
	kubeconfig := filepath.Join(here.pods.dir, "..", "kubeconfig")
	if err := here.kubeconfig(kubeconfig); err != nil {
		return err
	}
	if err := os.Setenv("KUBECONFIG", kubeconfig); err != nil {
		return err
	}
	client, err := sdk.Connect()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	for _, namespace := range []string{"default", "rl"} {
		pools := sdk.NewPools(client, namespace)
		if _, err := pools.Create(ctx, sdk.NewPool("python", "python:3.12-slim", 2)); err != nil {
			return err
		}
		if _, err = pools.WaitReady(ctx, "python"); err != nil {
			return err
		}
	}
	return nil
}
