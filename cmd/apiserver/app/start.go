package app

import (
	"context"
	"os"
	"runtime/debug"
	"time"

	"k8s.io/utils/clock"
)

const (
	// startGCPercent is how much garbage may pile up during a start, in percent
	// of what is kept. A start makes everything that is stored pass through the
	// scheduler's informers; with the usual 100 a fifth of its time goes to
	// collecting what is garbage right after.
	startGCPercent = 300
	// readyCheckInterval is how often a start is looked at.
	readyCheckInterval = 50 * time.Millisecond
)

// easeStart lets the garbage collector rest until settle. It leaves alone who
// has set GOGC.
func easeStart() (settle func()) {
	if os.Getenv("GOGC") != "" {
		return func() {}
	}
	before := debug.SetGCPercent(startGCPercent)
	return func() {
		debug.SetGCPercent(before)
		debug.FreeOSMemory()
	}
}

// settleWhenReady calls settle once the server is ready, or ctx ends.
func settleWhenReady(ctx context.Context, clk clock.WithTicker, ready func() bool, settle func()) {
	defer settle()
	ticker := clk.NewTicker(readyCheckInterval)
	defer ticker.Stop()
	for !ready() {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C():
		}
	}
}
