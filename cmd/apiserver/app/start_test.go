package app

import (
	"context"
	"runtime/debug"
	"testing"
	"time"

	testingclock "k8s.io/utils/clock/testing"
)

func TestStartIsEasedAndSettles(t *testing.T) {
	t.Setenv("GOGC", "")
	usual := debug.SetGCPercent(100)
	defer debug.SetGCPercent(usual)
	settle := easeStart()
	if got := debug.SetGCPercent(startGCPercent); got != startGCPercent {
		t.Errorf("during the start the percentage is %d, want %d", got, startGCPercent)
	}
	clk := testingclock.NewFakeClock(time.Now())
	asked := 0
	done := make(chan struct{})
	go func() {
		defer close(done)
		settleWhenReady(t.Context(), clk, func() bool { asked++; return asked > 3 }, settle)
	}()
	for settled := false; !settled; {
		select {
		case <-done:
			settled = true
		default:
			clk.Step(readyCheckInterval)
		}
	}
	if got := debug.SetGCPercent(100); got != 100 {
		t.Errorf("once ready the percentage is %d, want what it was", got)
	}
}

func TestWhoSetGOGCIsLeftAlone(t *testing.T) {
	t.Setenv("GOGC", "50")
	before := debug.SetGCPercent(70)
	defer debug.SetGCPercent(before)
	easeStart()()
	if got := debug.SetGCPercent(70); got != 70 {
		t.Errorf("the percentage is %d, want 70", got)
	}
}

func TestAStartThatIsCutShortSettlesToo(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	settled := false
	settleWhenReady(ctx, testingclock.NewFakeClock(time.Now()), func() bool { return false }, func() { settled = true })
	if !settled {
		t.Error("nothing was settled")
	}
}
