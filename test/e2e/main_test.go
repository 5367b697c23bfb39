package e2e

import (
	"context"
	"fmt"
	"os"
	"testing"
	"time"

	"arl.io/arl/hack/image/archive"
	"arl.io/arl/test/e2e/cluster"
)

const (
	// startTimeout includes the build of Kubernetes on a small machine.
	startTimeout = 40 * time.Minute
	// testImage is busybox with a file that no other image has.
	testImage = "arl.io/e2e/test:latest"
	markFile  = "/etc/e2e-test-image"
	markText  = "only this image has me"
)

// shared is the cluster of all tests of the package: one takes most of a
// minute to come up. A test that stops a part of it starts that again.
var shared *cluster.Cluster

func TestMain(m *testing.M) {
	os.Exit(run(m))
}

func run(m *testing.M) (code int) {
	ctx := context.Background()
	starting, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	started, err := cluster.Start(starting, cluster.Config{Logf: func(format string, args ...any) {
		fmt.Printf("cluster: "+format+"\n", args...)
	}})
	if err != nil {
		fmt.Fprintln(os.Stderr, "Error:", err)
		return 1
	}
	defer func() {
		if err := started.Close(); err != nil {
			fmt.Fprintln(os.Stderr, "Error: close the cluster:", err)
			code = 1
		}
		if code != 0 {
			fmt.Fprintln(os.Stderr, "The logs of the cluster are in", started.Logs())
		}
	}()
	mark := archive.File{Path: markFile, Content: []byte(markText), Mode: 0o644}
	if err := started.BusyboxImage(starting, testImage, mark); err != nil {
		fmt.Fprintln(os.Stderr, "Error: make the image of the tests:", err)
		return 1
	}
	shared = started
	code = m.Run()
	if err := awaitLeft(ctx); err != nil {
		fmt.Fprintf(os.Stderr, "Error: remove the namespaces of the tests: %v\n%s", err, serverState(ctx))
		return 1
	}
	return code
}
