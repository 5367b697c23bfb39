package app

import (
	"fmt"
	"io"
	"log"
	"sync/atomic"

	"k8s.io/client-go/util/flowcontrol"
	"k8s.io/component-base/logs"
)

// A library may log so many lines a second, and so many at once.
const (
	libraryLogRate  = 10
	libraryLogBurst = 100
)

// limitLibraryLog bounds what libraries log by Go's package log. Net/http logs a line for each frame
// of HTTP/2 of a type that it does not know, which is for the peer to decide.
func limitLibraryLog() {
	log.SetOutput(&limitedWriter{
		to: logs.KlogWriter{}, rate: flowcontrol.NewTokenBucketRateLimiter(libraryLogRate, libraryLogBurst),
	})
}

// limitedWriter drops lines that come too fast, and says how many when the next one is written. It is
// safe for concurrent use if what it writes to is.
type limitedWriter struct {
	to      io.Writer
	rate    flowcontrol.PassiveRateLimiter
	dropped atomic.Int64
}

// Write writes a line, or counts it as written.
func (w *limitedWriter) Write(line []byte) (int, error) {
	if !w.rate.TryAccept() {
		w.dropped.Add(1)
		return len(line), nil
	}
	if n := w.dropped.Swap(0); n > 0 {
		if _, err := fmt.Fprintf(w.to, "%d lines of libraries were left out before this one\n", n); err != nil {
			return 0, err
		}
	}
	return w.to.Write(line)
}
