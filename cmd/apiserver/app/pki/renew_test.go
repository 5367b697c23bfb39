package pki

import (
	"context"
	"errors"
	"testing"
	"time"

	testclock "k8s.io/utils/clock/testing"
)

// TestKeepRenewed goes on after a failure, and ends when it is told to.
func TestKeepRenewed(t *testing.T) {
	clk := testclock.NewFakeClock(time.Now())
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	calls := make(chan struct{})
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		KeepRenewed(ctx, clk, func() error {
			calls <- struct{}{}
			return errors.New("the disk is full")
		})
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
