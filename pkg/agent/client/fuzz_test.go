package client

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"runtime"
	"strings"
	"testing"
	"unicode/utf8"

	"arl.io/arl/pkg/agent/wire"
)

// bytesAgent is a transport that answers each request with the same bytes, and then breaks off.
type bytesAgent []byte

func (b bytesAgent) RoundTrip(*http.Request) (*http.Response, error) {
	return &http.Response{StatusCode: http.StatusOK, Header: http.Header{}, Body: io.NopCloser(bytes.NewReader(b))}, nil
}

// FuzzFrames has an agent answer an execution of two steps, and a question for its health, with any
// bytes. Nothing panics, memory is bounded, and what is passed on is as package wire and the limits
// say.
func FuzzFrames(f *testing.F) {
	for _, seed := range []string{
		`{"seq":1,"type":"started","time":"2026-01-02T12:00:00Z"}` + "\n" + `{"seq":2,"type":"stepStarted","step":0}` + "\n" +
			`{"seq":3,"type":"output","output":{"stream":"stdout","offset":0,"data":"eA=="}}` + "\n" +
			`{"seq":4,"type":"stepFinished","step":0,"stepDone":{"name":"a","state":"Failed","reason":"Timeout","message":"m","exitCode":1,"stdoutBytes":1,"startTime":"2026-01-02T12:00:00Z","durationMicros":5}}` + "\n" +
			`{"type":"ping"}` + "\n" + `{"seq":5,"type":"finished","done":{"state":"Succeeded","steps":[{"name":"a","state":"Succeeded"}],"stdout":"eA==","stdoutBytes":1,"durationMicros":7}}` + "\n",
		`{"seq":1,"type":"finished","done":{"state":"Failed","durationMicros":9223372036854775807,"exitCode":-2147483648,"steps":[{"state":"Failed","startTime":"9999-12-31T23:59:59-12:00"}]}}` + "\n",
		hostileOutcome(64 << 10), strings.Repeat(`{"type":"ping"}`+"\n", 300), strings.Repeat("[", 20000) + "\n",
		`{"protocolVersion":1,"version":"v","podUID":"p","running":["a-1"],"main":{"error":"e"},"readiness":{"state":"NotReady","message":"\u001b"}}`,
		`{"running":[""` + strings.Repeat(`,""`, 2000) + `]}`, `{"seq":1,"type":"finished","Done":{"Steps":[]},"done":null,"DONE":{}}` + "\n",
	} {
		f.Add([]byte(seed), true)
		f.Add([]byte(seed), false)
	}
	f.Fuzz(func(t *testing.T, answer []byte, quiet bool) {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		c := New(Config{Transport: bytesAgent(answer), BaseURL: "http://agent", ReconnectWindow: -1})
		onEvent := func(event wire.Event) { checkPassed(t, &event) }
		options := []Option{}
		if quiet {
			options = append(options, WithoutOutput)
		}
		result, err := c.Run(context.Background(), twoSteps, onEvent, options...)
		if err == nil {
			checkPassed(t, &wire.Event{Done: &result})
		} else if !errors.Is(err, ErrProtocol) && !errors.Is(err, ErrUnreachable) || len(err.Error()) > 1<<10 || !utf8.ValidString(err.Error()) {
			t.Errorf("an error of %d bytes: %q", len(err.Error()), err)
		}
		c = New(Config{Transport: bytesAgent(answer), BaseURL: "http://agent"})
		health, err := c.Health(context.Background())
		if text := fmt.Sprint(health.Version, health.PodUID, health.Running, health.Readiness, err); !utf8.ValidString(text) {
			t.Errorf("health: %q", text)
		}
		runtime.ReadMemStats(&after)
		// An answer may hold many frames, each of which is decoded once.
		if took, most := after.TotalAlloc-before.TotalAlloc, uint64(64*len(answer)+8<<20); took > most {
			t.Errorf("%d bytes took %d of memory", len(answer), took)
		}
	})
}

// checkPassed says what is wrong with an event that the client has let pass.
func checkPassed(t *testing.T, event *wire.Event) {
	t.Helper()
	if event.Step < 0 || event.Step >= len(twoSteps.Steps) {
		t.Errorf("step %d", event.Step)
	}
	steps := []wire.StepResult{}
	if event.StepDone != nil {
		steps = append(steps, *event.StepDone)
	}
	if done := event.Done; done != nil {
		steps = append(steps, done.Steps...)
		if len(done.Steps) > len(twoSteps.Steps) || len(done.Stdout) > twoSteps.OutputLimitBytes+markerSlack || len(done.Stderr) > twoSteps.OutputLimitBytes+markerSlack {
			t.Errorf("%d steps, %d and %d bytes of output", len(done.Steps), len(done.Stdout), len(done.Stderr))
		}
		if !utf8.ValidString(done.Message+done.Reason) || len(done.Message) > 3*maxMessage {
			t.Errorf("the message %q", done.Message)
		}
	}
	for _, step := range steps {
		if text := step.Name + step.Reason + step.Message; !utf8.ValidString(text) || len(text) > 3*(maxName+maxReason+maxStepMessage) || Clean(text) != text {
			t.Errorf("the texts %q", text)
		}
	}
}
