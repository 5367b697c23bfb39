package pki

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	testclock "k8s.io/utils/clock/testing"
)

// TestRenewTakesEveryStep has one step after another fail: the others are taken all the same, and the
// error names each that failed.
func TestRenewTakesEveryStep(t *testing.T) {
	full := errors.New("the disk is full")
	for failing := range 3 {
		var taken []int
		var steps []Step
		for i := range 3 {
			steps = append(steps, Step{Name: fmt.Sprintf("certificate %d", i), Do: func() error {
				taken = append(taken, i)
				if i >= failing {
					return full
				}
				return nil
			}})
		}
		err := Renew(steps...)
		if len(taken) != 3 {
			t.Errorf("step %d fails: only steps %v were taken", failing, taken)
		}
		for i := range 3 {
			if named := strings.Contains(err.Error(), steps[i].Name); named != (i >= failing) || !errors.Is(err, full) {
				t.Errorf("step %d fails: got error %q", failing, err)
			}
		}
	}
}

// TestKeepRenewed goes on after a failure, and ends with its context.
func TestKeepRenewed(t *testing.T) {
	clk := testclock.NewFakeClock(time.Now())
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	calls := make(chan struct{})
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		KeepRenewed(ctx, clk, Step{Name: "a certificate", Do: func() error {
			calls <- struct{}{}
			return errors.New("the disk is full")
		}})
	}()
	for deadline := time.Now().Add(time.Minute); !clk.HasWaiters(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("nothing waits for the time to pass")
		}
	}
	for range 3 {
		clk.Step(renewPeriod)
		<-calls
	}
	cancel()
	<-ended
}
