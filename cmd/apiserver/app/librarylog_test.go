package app

import (
	"bytes"
	"fmt"
	"log"
	"strings"
	"testing"
	"time"

	"k8s.io/client-go/util/flowcontrol"
	testingclock "k8s.io/utils/clock/testing"
)

// TestLibrariesCannotFloodTheLog has a library log as fast as it can, as net/http does for frames that
// an agent makes up.
func TestLibrariesCannotFloodTheLog(t *testing.T) {
	var out bytes.Buffer
	clock := testingclock.NewFakeClock(time.Now())
	library := log.New(&limitedWriter{to: &out, rate: flowcontrol.NewTokenBucketPassiveRateLimiterWithClock(10, 100, clock)}, "", 0)
	for i := range 10_000 {
		library.Printf("frame %d", i)
	}
	if lines := strings.Count(out.String(), "\n"); lines != 100 {
		t.Errorf("%d lines", lines)
	}
	clock.Step(time.Second)
	library.Print("the next one")
	if want := fmt.Sprintf("%d lines of libraries were left out before this one\nthe next one\n", 9900); !strings.HasSuffix(out.String(), want) {
		t.Errorf("it ends with %q", out.String()[out.Len()-100:])
	}
}
