package client

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/http"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"arl.io/arl/pkg/agent/wire"
)

// twoSteps is what is asked of the agents of these tests.
var twoSteps = wire.Execution{ID: "id", Steps: make([]wire.Step, 2), OutputLimitBytes: 1000}

// play sends frames as the answer to an execution, and leaves the stream open.
func play(frames ...string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		for _, frame := range frames {
			if _, err := io.WriteString(w, frame+"\n"); err != nil {
				return
			}
		}
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
	}
}

// endless sends a frame again and again, until the client goes.
func endless(frame string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		block := []byte(strings.Repeat(frame, max(1, 4096/len(frame))))
		for {
			if _, err := w.Write(block); err != nil {
				return
			}
		}
	}
}

// kept says that an agent keeps the protocol, whatever else it does.
const kept = ""

// hostileFrames are answers to twoSteps, with what the error says.
var hostileFrames = map[string]struct {
	answer http.HandlerFunc
	says   string
}{
	"nonsense":                  {play("nonsense"), "not understood"},
	"a list":                    {play("[]"), "not understood"},
	"an empty line":             {play(""), "not understood"},
	"an unknown type":           {play(`{"seq":1,"type":"exploded"}`), "exploded"},
	"no type":                   {play(`{"seq":1}`), "which there is not"},
	"no sequence number":        {play(`{"type":"started"}`), "sequence number 0"},
	"a negative one":            {play(`{"seq":-5,"type":"started"}`), "sequence number -5"},
	"the largest one":           {play(`{"seq":9223372036854775807,"type":"started"}`), "sequence number 92"},
	"one that is too large":     {play(`{"seq":9223372036854775808,"type":"started"}`), "not understood"},
	"a step that is not there":  {play(`{"seq":1,"type":"stepStarted","step":2}`), "step 2 of 2"},
	"a negative step":           {play(`{"seq":1,"type":"stepStarted","step":-1}`), "step -1 of 2"},
	"the second step first":     {play(`{"seq":1,"type":"stepStarted","step":1}`), "out of order"},
	"a step that starts twice":  {play(`{"seq":1,"type":"stepStarted"}`, `{"seq":2,"type":"stepStarted"}`), "out of order"},
	"a step that was not begun": {play(`{"seq":1,"type":"stepFinished","stepDone":{"state":"Succeeded"}}`), "out of order"},
	"a step again": {play(`{"seq":1,"type":"stepStarted"}`, `{"seq":2,"type":"stepFinished","stepDone":{"state":"Succeeded"}}`,
		`{"seq":3,"type":"stepStarted"}`), "out of order"},
	"started late":         {play(`{"seq":1,"type":"stepStarted"}`, `{"seq":2,"type":"started"}`), "after others"},
	"finished without":     {play(`{"seq":1,"type":"finished"}`), "without done"},
	"stepFinished without": {play(`{"seq":1,"type":"stepStarted"}`, `{"seq":2,"type":"stepFinished"}`), "without stepDone"},
	"an unknown state":     {play(`{"seq":1,"type":"finished","done":{"state":"Won","steps":[]}}`), `"Won"`},
	"an unknown state of a step": {play(
		`{"seq":1,"type":"finished","done":{"state":"Failed","steps":[{"state":"Pending"}]}}`), `"Pending"`},
	"three steps": {play(
		`{"seq":1,"type":"finished","done":{"state":"Failed","steps":[{"state":"Failed"},{"state":"Skipped"},{"state":"Skipped"}]}}`), "more than the 2 steps"},
	"thousands of steps": {play(`{"seq":1,"type":"finished","done":{"state":"Failed","steps":[{}` + strings.Repeat(",{}", 20000) + `]}}`), "more than the 2 steps"},
	"thousands of nulls": {play(`{"seq":1,"type":"finished","done":{"state":"Failed","steps":[null` + strings.Repeat(",null", 10000) + `]}}`), "more than the 2 steps"},
	"too much output": {play(`{"seq":1,"type":"finished","done":{"state":"Failed","steps":[],"stdout":"` +
		base64.StdEncoding.EncodeToString(make([]byte, 1000+markerSlack+1)) + `"}}`), "more output than the 1000 bytes"},
	"a long message of a step": {play(`{"seq":1,"type":"finished","done":{"state":"Failed","steps":[{"state":"Failed","message":"` +
		strings.Repeat("x", maxStepMessage+1) + `"}]}}`), "a message of 4097"},
	"a long message": {play(`{"seq":1,"type":"finished","done":{"state":"Failed","message":"` +
		strings.Repeat("x", maxMessage+1) + `"}}`), "a message of 32769"},
	"a long reason":    {play(`{"seq":1,"type":"finished","done":{"state":"Failed","reason":"` + strings.Repeat("x", maxReason+1) + `"}}`), "a reason of 65"},
	"a long name":      {play(`{"seq":1,"type":"finished","done":{"state":"Failed","steps":[{"state":"Failed","name":"` + strings.Repeat("x", maxName+1) + `"}]}}`), "a name of 257"},
	"output unasked":   {play(`{"seq":1,"type":"output","output":{"stream":"stdout","data":""}}`), "not asked for"},
	"an endless frame": {endless("x"), "a frame of more than"},
	"endless pings":    {endless(`{"type":"ping"}` + "\n"), "pings and repeated events"},
	"an event, for ever": {func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, `{"seq":1,"type":"stepStarted"}`+"\n")
		endless(`{"seq":1,"type":"stepStarted"}`+"\n")(w, r)
	}, "pings and repeated events"},
	"a redirect": {func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, "http://elsewhere/", http.StatusTemporaryRedirect)
	}, "it answered 307"},
	"another redirect":   {func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/v1/health", http.StatusFound) }, "it answered 302"},
	"a redirect nowhere": {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusMovedPermanently) }, "it answered 301"},
	"a long instance": {func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set(wire.InstanceHeader, strings.Repeat("x", maxInstance+1))
		play()(w, r)
	}, "an instance of 129"},

	"pings for an hour":       {play(strings.Repeat(`{"type":"ping"}`+"\n", 240) + done), kept},
	"times of another age":    {play(`{"seq":1,"type":"finished","done":{"state":"Failed","durationMicros":9223372036854775807,"exitCode":-7,"steps":[{"state":"Failed","startTime":"9999-12-31T23:59:59-12:00","stdoutBytes":-1}]}}`), kept},
	"fields that are not":     {play(`{"seq":1,"type":"finished","colour":[[[{}]]],"done":{"state":"Failed","steps":null,"x":{"y":[1,2]}}}`), kept},
	"commas in a message":     {play(`{"seq":1,"type":"finished","done":{"state":"Failed","message":"` + strings.Repeat(",", 1000) + `","steps":[{"state":"Failed"}]}}`), kept},
	"many lines, all at once": {play(`{"seq":1,"type":"started"}`, `{"seq":2,"type":"stepStarted"}`, `{"seq":3,"type":"stepFinished","stepDone":{"state":"Succeeded"}}`, `{"seq":9,"type":"stepStarted","step":1}`, `{"seq":10,"type":"stepFinished","step":1,"stepDone":{"state":"Failed"}}`, `{"seq":11,"type":"finished","done":{"state":"Failed"}}`), kept},
}

const done = `{"seq":1,"type":"finished","done":{"state":"Failed"}}`

// TestAnAgentThatBreaksTheProtocol has agents answer in ways that one never does. The client has done
// with them at once and for good, and says why in few words.
func TestAnAgentThatBreaksTheProtocol(t *testing.T) {
	for name, test := range hostileFrames {
		t.Run(name, func(t *testing.T) {
			var requests atomic.Int32
			c := newServed(t, Config{}, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				requests.Add(1)
				test.answer(w, r)
			}))
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			_, err := c.Run(ctx, twoSteps, nil)
			if test.says == kept {
				if err != nil {
					t.Errorf("got %v", err)
				}
				return
			}
			if !errors.Is(err, ErrProtocol) || !strings.Contains(err.Error(), test.says) || len(err.Error()) > 400 {
				t.Fatalf("got %v", err)
			}
			before := requests.Load()
			if _, err := c.Health(ctx); !errors.Is(err, ErrProtocol) {
				t.Errorf("Health after it: %v", err)
			}
			if err := c.Cancel(ctx, "id", wire.CancelRequest{}); !errors.Is(err, ErrProtocol) {
				t.Errorf("Cancel after it: %v", err)
			}
			if _, err := c.Attach(ctx, "id", 1, nil); !errors.Is(err, ErrProtocol) {
				t.Errorf("Attach after it: %v", err)
			}
			if now := requests.Load(); before != 1 || now != before {
				t.Errorf("it was asked %d times before, and %d after", before, now-before)
			}
		})
	}
}

// TestARedirectIsNotFollowed has an agent send the server to another one, for each request there is.
func TestARedirectIsNotFollowed(t *testing.T) {
	for name, ask := range map[string]func(ctx context.Context, c *Client) error{
		"health": func(ctx context.Context, c *Client) error { _, err := c.Health(ctx); return err },
		"run":    func(ctx context.Context, c *Client) error { _, err := c.Run(ctx, twoSteps, nil); return err },
		"attach": func(ctx context.Context, c *Client) error { _, err := c.Attach(ctx, "id", 1, nil); return err },
		"cancel": func(ctx context.Context, c *Client) error { return c.Cancel(ctx, "id", wire.CancelRequest{}) },
		"forget": func(ctx context.Context, c *Client) error { return c.Forget(ctx, "id") },
	} {
		t.Run(name, func(t *testing.T) {
			var followed atomic.Int32
			c := newServed(t, Config{}, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Path == "/elsewhere" {
					followed.Add(1)
					return
				}
				http.Redirect(w, r, "/elsewhere", http.StatusTemporaryRedirect)
			}))
			if err := ask(t.Context(), c); !errors.Is(err, ErrProtocol) || followed.Load() > 0 {
				t.Errorf("got %v, followed %d times", err, followed.Load())
			}
		})
	}
}

// TestHealthIsBounded has agents say too much of themselves.
func TestHealthIsBounded(t *testing.T) {
	for name, test := range map[string]struct{ body, says string }{
		"much":             {`{"version":"` + strings.Repeat("x", maxHealthBytes) + `"}`, "an answer of more than"},
		"a version":        {`{"version":"` + strings.Repeat("x", maxVersion+1) + `"}`, "a version of 257"},
		"a pod":            {`{"podUID":"` + strings.Repeat("x", maxPodUID+1) + `"}`, "a pod UID of 129"},
		"many executions":  {`{"running":[""` + strings.Repeat(`,""`, maxRunning) + `]}`, "1025 executions"},
		"a long execution": {`{"running":["` + strings.Repeat("x", maxExecutionID+1) + `"]}`, "an ID of 129"},
		"a command":        {`{"main":{"error":"` + strings.Repeat("x", maxMessage+1) + `"}}`, "about the template's command"},
		"a probe":          {`{"readiness":{"state":"Ready","message":"` + strings.Repeat("x", maxProbeMessage+1) + `"}}`, "about probes"},
		"a probe's state":  {`{"readiness":{"state":"Fine"}}`, `"Fine"`},
	} {
		t.Run(name, func(t *testing.T) {
			c := newServed(t, Config{}, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, test.body) }))
			if health, err := c.Health(t.Context()); !errors.Is(err, ErrProtocol) || !strings.Contains(err.Error(), test.says) || health.Running != nil {
				t.Errorf("got %v", err)
			}
		})
	}
}

// TestTextsOfAgentsAreClean has an agent say what a terminal or a log would act upon.
func TestTextsOfAgentsAreClean(t *testing.T) {
	const dirty, clean = `\u001b[2Jgone\u0000\u009b\ntwo\tlines\ud800`, "\uFFFD[2Jgone\uFFFD\uFFFD\ntwo\tlines\uFFFD"
	c := newServed(t, Config{}, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.Method {
		case http.MethodPost:
			play(`{"seq":1,"type":"finished","done":{"state":"Failed","message":"`+dirty+`","steps":[{"state":"Failed","message":"`+dirty+`"}]}}`)(w, r)
		case http.MethodDelete:
			w.WriteHeader(http.StatusBadRequest)
			_, _ = io.WriteString(w, `{"code":"Invalid","message":"`+dirty+strings.Repeat("x", 10000)+`"}`)
		default:
			_, _ = io.WriteString(w, `{"main":{"error":"`+dirty+`"},"readiness":{"state":"NotReady","message":"`+dirty+`"}}`)
		}
	}))
	health, err := c.Health(t.Context())
	if err != nil || health.Main.Error != clean || health.Readiness.Message != clean {
		t.Errorf("health: %+v, %v", health, err)
	}
	result, err := c.Run(t.Context(), twoSteps, nil)
	if err != nil || result.Message != clean || result.Steps[0].Message != clean {
		t.Errorf("outcome: %+v, %v", result, err)
	}
	if err := c.Forget(t.Context(), "id"); !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), clean) || len(err.Error()) > 2*maxErrorMessage {
		t.Errorf("error: %v", err)
	}
}

// TestLargeFramesWaitForEachOther has three agents send a large frame each where there is room for
// one. An agent that does not go on with its frame holds the others up for a while only.
func TestLargeFramesWaitForEachOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		decodes := NewDecodes(1)
		stuck := newPiped(t, Config{Decodes: decodes, ReconnectWindow: -1}, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.WriteString(w, `{"seq":1,"x":"`+strings.Repeat("x", 2*smallFrame))
			_ = http.NewResponseController(w).Flush()
			<-r.Context().Done()
		}))
		failed := make(chan error, 1)
		go func() {
			_, err := stuck.Run(t.Context(), twoSteps, nil)
			failed <- err
		}()
		synctest.Wait()
		begin := time.Now()
		for i := range 2 {
			honest := newPiped(t, Config{Decodes: decodes}, play(`{"seq":1,"type":"finished","x":"`+strings.Repeat("x", 2*smallFrame)+`","done":{"state":"Succeeded"}}`))
			if _, err := honest.Run(t.Context(), twoSteps, nil); err != nil {
				t.Errorf("agent %d: %v", i, err)
			}
			if took := time.Since(begin); took != largeTime {
				t.Errorf("agent %d: after %s", i, took)
			}
		}
		if err := <-failed; !errors.Is(err, ErrUnreachable) || !strings.Contains(err.Error(), "a large frame did not arrive") {
			t.Errorf("got %v", err)
		}
	})
}

// TestAnAgentThatSendsLargeFramesSlowly gets some time again and again, and then no more.
func TestAnAgentThatSendsLargeFramesSlowly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newPiped(t, Config{ReconnectWindow: time.Hour}, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.WriteString(w, `{"seq":1,"x":"`+strings.Repeat("x", 2*smallFrame))
			_ = http.NewResponseController(w).Flush()
			<-r.Context().Done()
		}))
		begin := time.Now()
		if _, err := c.Run(t.Context(), twoSteps, nil); !errors.Is(err, ErrProtocol) {
			t.Errorf("got %v", err)
		}
		if took := time.Since(begin); took > 2*time.Minute {
			t.Errorf("after %s", took)
		}
	})
}

// TestARequestWithoutAnAnswerEnds has an agent answer nothing but events.
func TestARequestWithoutAnAnswerEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newPiped(t, Config{}, play())
		for name, err := range map[string]error{
			"cancel": c.Cancel(t.Context(), "id", wire.CancelRequest{}),
			"forget": c.Forget(t.Context(), "id"),
		} {
			if !errors.Is(err, ErrUnreachable) || !strings.Contains(err.Error(), "no answer within") {
				t.Errorf("%s: %v", name, err)
			}
		}
	})
}

// hostileOutcome is a frame of so many bytes that decodes to as much as can be.
func hostileOutcome(size int) string {
	return `{"seq":1,"type":"finished","done":{"state":"Failed","steps":[{}` + strings.Repeat(",{}", size/3) + "]}}\n"
}

// BenchmarkHostileOutcome reports what a frame costs by which an agent tries to fill the memory.
func BenchmarkHostileOutcome(b *testing.B) {
	for _, size := range []int{64 << 10, 8 << 20} {
		b.Run(fmt.Sprintf("%d KiB", size>>10), func(b *testing.B) {
			frame := hostileOutcome(size)
			b.ReportAllocs()
			for b.Loop() {
				hostileRun(b, frame)
			}
		})
	}
}

func hostileRun(tb testing.TB, frame string) {
	c := newServed(tb, Config{ReconnectWindow: -1}, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, frame) }))
	defer c.Close()
	_, err := c.Run(tb.Context(), wire.Execution{ID: "id", Steps: make([]wire.Step, 1), OutputLimitBytes: 32 << 10}, nil)
	if !errors.Is(err, ErrProtocol) {
		tb.Fatalf("got %v", err)
	}
}

// TestAHostileOutcomeCostsLittleMemory bounds what is allocated for a frame of 8 MiB whose steps
// would take 600 MiB.
func TestAHostileOutcomeCostsLittleMemory(t *testing.T) {
	frame := hostileOutcome(8 << 20)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	hostileRun(t, frame)
	runtime.ReadMemStats(&after)
	if took := after.TotalAlloc - before.TotalAlloc; took > 4<<20 {
		t.Errorf("it took %d KiB", took>>10)
	}
}
