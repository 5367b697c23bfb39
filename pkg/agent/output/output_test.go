package output

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"arl.io/arl/pkg/agent/wire"
)

// chunk is an event of output with n bytes.
func chunk(n int) wire.Event {
	return wire.Event{Type: wire.EventOutput, Output: &wire.Output{Data: make([]byte, n)}}
}

func mark(eventType wire.EventType) wire.Event { return wire.Event{Type: eventType} }

// drain reads until nothing has come for a second and tells the events as "sequence:type".
func drain(t *testing.T, reader *Reader) []string {
	t.Helper()
	var seen []string
	for {
		events, err := reader.Next(t.Context(), time.Second)
		if err != nil {
			t.Fatal(err)
		}
		if len(events) == 0 {
			return seen
		}
		for _, event := range events {
			seen = append(seen, fmt.Sprintf("%d:%s", event.Seq, event.Type))
		}
	}
}

func TestLogKeepsMarksAndTheLastOutput(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := NewLog(2*(chunkCost+10), time.Second)
		log.Mark(mark(wire.EventStarted))
		for range 4 {
			log.Output(t.Context(), chunk(10))
		}
		log.Mark(mark(wire.EventFinished))
		for name, test := range map[string]struct {
			from   int64
			output bool
			want   []string
		}{
			"all":            {1, true, []string{"1:started", "4:output", "5:output", "6:finished"}},
			"from the fifth": {5, true, []string{"5:output", "6:finished"}},
			"no output":      {0, false, []string{"1:started", "6:finished"}},
			"from beyond":    {7, true, nil},
		} {
			reader := log.Read(test.from, test.output)
			if diff := cmp.Diff(test.want, drain(t, reader)); diff != "" {
				t.Errorf("%s (-want +got):\n%s", name, diff)
			}
			reader.Close()
		}
		if log.Kept() != 2*(chunkCost+10) {
			t.Errorf("kept %d", log.Kept())
		}
		log.DropOutput()
		if diff := cmp.Diff([]string{"1:started", "6:finished"}, drain(t, log.Read(1, true))); diff != "" || log.Kept() != 0 {
			t.Errorf("after DropOutput: %s", diff)
		}
	})
}

// write writes n chunks in the background, and returns a channel that is closed after.
func write(ctx context.Context, log *Log, n int) <-chan struct{} {
	done := make(chan struct{})
	go func() {
		defer close(done)
		for range n {
			log.Output(ctx, chunk(10))
		}
	}()
	return done
}

func TestOutputWaitsForAReaderThatReads(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := NewLog(2*(chunkCost+10), time.Minute)
		reader := log.Read(1, true)
		defer reader.Close()
		done := write(t.Context(), log, 100)
		seen := 0
		for seen < 100 {
			// Slow, but not as slow as a minute.
			time.Sleep(30 * time.Second)
			events, err := reader.Next(t.Context(), time.Second)
			if err != nil || len(events) == 0 {
				t.Fatalf("nothing after %d events: %v", seen, err)
			}
			for _, event := range events {
				seen++
				if event.Seq != int64(seen) {
					t.Fatalf("event %d in the place of %d", event.Seq, seen)
				}
			}
		}
		<-done
	})
}

func TestOutputPassesAReaderThatStandsStill(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := NewLog(2*(chunkCost+10), time.Minute)
		reader := log.Read(1, true)
		defer reader.Close()
		begin := time.Now()
		<-write(t.Context(), log, 100)
		if took := time.Since(begin); took != time.Minute {
			t.Errorf("output took %s", took)
		}
		if diff := cmp.Diff([]string{"99:output", "100:output"}, drain(t, reader)); diff != "" {
			t.Errorf("events (-want +got):\n%s", diff)
		}
		// It has caught up, so it is waited for again.
		done := write(t.Context(), log, 3)
		synctest.Wait()
		select {
		case <-done:
			t.Error("output did not wait for a reader that caught up")
		default:
		}
		if diff := cmp.Diff([]string{"101:output", "102:output", "103:output"}, drain(t, reader)); diff != "" {
			t.Errorf("events (-want +got):\n%s", diff)
		}
		<-done
	})
}

func TestOutputDoesNotWait(t *testing.T) {
	for name, read := range map[string]func(*Log) context.Context{
		"without readers":               func(*Log) context.Context { return context.Background() },
		"for readers without output":    func(l *Log) context.Context { l.Read(1, false); return context.Background() },
		"for a reader that was closed":  func(l *Log) context.Context { l.Read(1, true).Close(); return context.Background() },
		"when the step is to end":       func(l *Log) context.Context { l.Read(1, true); return ended() },
		"for a reader that begins late": func(l *Log) context.Context { l.Read(1000, true); return context.Background() },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				log := NewLog(2*(chunkCost+10), time.Minute)
				begin := time.Now()
				<-write(read(log), log, 100)
				if took := time.Since(begin); took != 0 {
					t.Errorf("output took %s", took)
				}
			})
		})
	}
}

func ended() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return ctx
}

// Two writers that wait are both let go when the reader closes.
func TestCloseLetsWritersGo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := NewLog(chunkCost+10, time.Hour)
		reader := log.Read(1, true)
		first, second := write(t.Context(), log, 5), write(t.Context(), log, 5)
		synctest.Wait()
		begin := time.Now()
		reader.Close()
		<-first
		<-second
		if took := time.Since(begin); took != 0 {
			t.Errorf("they waited for %s", took)
		}
	})
}

func TestNextEndsWithItsContext(t *testing.T) {
	reader := NewLog(1, 0).Read(1, true)
	if _, err := reader.Next(ended(), time.Hour); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}
