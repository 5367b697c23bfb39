package client

import (
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"arl.io/arl/pkg/agent/wire"
)

// ErrProtocol means that the agent breaks the protocol of package wire. It is not the program that the server
// started, or not that program alone: whoever runs in the pod has taken it over. Every request to it
// fails with this error from then on.
var ErrProtocol = errors.New("the agent broke the protocol")

// violation returns an ErrProtocol that says what was wrong. Text of the agent in it is to be
// bounded by the format.
func violation(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrProtocol, fmt.Sprintf(format, args...))
}

// Bounds of what an agent says, in bytes as decoded. What is longer breaks the protocol. They are
// above what any version of the agent sends: text that is not UTF-8 triples on the way.
const (
	maxName         = 256
	maxReason       = 64
	maxStepMessage  = 4 << 10
	maxMessage      = 32 << 10
	maxInstance     = 128
	maxVersion      = 256
	maxPodUID       = 128
	maxRunning      = 1024
	maxExecutionID  = 128
	maxProbeMessage = 16 << 10
	// maxErrorMessage is what is kept of the message of an answer that is an error.
	maxErrorMessage = 2 << 10
	// maxSeq is far above the events of the longest execution, and far below where counting overflows.
	maxSeq = 1 << 53
	// markerSlack is what the line about missing bytes may take on top of the limit of an output.
	markerSlack = 256
)

// limits are what an execution's answer is bounded by: what was asked for.
type limits struct {
	// steps is the number of steps of the execution.
	steps int
	// output bounds each of stdout and stderr, in bytes.
	output int
}

// agentLimits are those of an execution of which nothing is known: the agent's own.
var agentLimits = limits{steps: wire.MaxSteps, output: wire.MaxOutputLimitBytes}

// limitsOf returns the limits of an execution of so many steps and that Execution.OutputLimitBytes.
func limitsOf(steps, outputLimitBytes int) limits {
	if outputLimitBytes <= 0 {
		outputLimitBytes = wire.DefaultOutputLimitBytes
	}
	return limits{steps: steps, output: outputLimitBytes}
}

const (
	// stepFrameBytes is the largest result of a step as JSON: a message of 1 KiB, each byte of which
	// may take six, and the other fields.
	stepFrameBytes = 8 << 10
	// frameSlack is for everything else in a frame, among it a chunk of output of 32 KiB.
	frameSlack = 64 << 10
)

// frameBytes is the size of the largest frame that an agent which keeps the protocol sends.
func (l limits) frameBytes() int {
	return l.steps*stepFrameBytes + 2*(l.output+markerSlack)*4/3 + frameSlack
}

// checkEvent says what is wrong with an event that comes after those that f has seen, and takes it in.
func (f *following) checkEvent(event *wire.Event) error {
	if event.Seq < 1 || event.Seq > maxSeq {
		return violation("an event of type %.32q has the sequence number %d", event.Type, event.Seq)
	}
	if event.Step < 0 || event.Step > 0 && event.Step >= f.limits.steps {
		return violation("an event of step %d of %d", event.Step, f.limits.steps)
	}
	switch event.Type {
	case wire.EventStarted:
		return f.order.begin()
	case wire.EventStepStarted:
		return f.order.stepStarted(event.Step)
	case wire.EventOutput:
		return f.checkOutput(event.Output)
	case wire.EventStepFinished:
		if event.StepDone == nil {
			return violation("an event of type stepFinished without stepDone")
		}
		if err := f.order.stepFinished(event.Step); err != nil {
			return err
		}
		return checkStep(event.StepDone)
	case wire.EventFinished:
		if event.Done == nil {
			return violation("an event of type finished without done")
		}
		return checkResult(event.Done, f.limits)
	default:
		return violation("an event of the type %.32q, which there is not", event.Type)
	}
}

func (f *following) checkOutput(output *wire.Output) error {
	switch {
	case f.quiet:
		return violation("an event of type output, which was not asked for")
	case output == nil:
		return violation("an event of type output without output")
	case output.Stream != wire.Stdout && output.Stream != wire.Stderr:
		return violation("output of the stream %.32q, which there is not", output.Stream)
	case output.Offset < 0 || output.Offset > maxSeq:
		return violation("output at the offset %d", output.Offset)
	}
	return nil
}

// order is how far the events of an execution have come. An agent keeps all events but those of
// type output, so a reader from the first on sees each, once.
type order struct {
	// unknown says that earlier events were not asked for: any may come.
	unknown bool
	// begun says that an event has come, done counts the steps that have finished, and running says
	// that the next one has started.
	begun, running bool
	done           int
}

func (o *order) begin() error {
	if o.begun && !o.unknown {
		return violation("an event of type started after others")
	}
	o.begun = true
	return nil
}

func (o *order) stepStarted(step int) error {
	if !o.unknown && (o.running || step != o.done) {
		return violation("step %d started out of order: %d have finished", step, o.done)
	}
	o.begun, o.running = true, true
	return nil
}

func (o *order) stepFinished(step int) error {
	if !o.unknown && (!o.running || step != o.done) {
		return violation("step %d finished out of order: %d have finished", step, o.done)
	}
	o.begun, o.running, o.done = true, false, step+1
	return nil
}

// checkResult says what is wrong with the outcome of an execution, and cleans its texts.
func checkResult(result *wire.ExecutionResult, l limits) error {
	switch {
	case result.State != wire.Succeeded && result.State != wire.Failed:
		return violation("an outcome with the state %.32q, which there is not", result.State)
	case len(result.Steps) > l.steps:
		return violation("an outcome of more than the %d steps there are", l.steps)
	case len(result.Stdout) > l.output+markerSlack, len(result.Stderr) > l.output+markerSlack:
		return violation("an outcome with more output than the %d bytes asked for", l.output)
	case len(result.Reason) > maxReason, len(result.Message) > maxMessage:
		return violation("an outcome with a reason of %d bytes and a message of %d", len(result.Reason), len(result.Message))
	}
	for i := range result.Steps {
		if err := checkStep(&result.Steps[i]); err != nil {
			return err
		}
	}
	result.Reason, result.Message = Clean(result.Reason), Clean(result.Message)
	return nil
}

// checkStep says what is wrong with the outcome of a step, and cleans its texts.
func checkStep(step *wire.StepResult) error {
	switch {
	case step.State != wire.Succeeded && step.State != wire.Failed && step.State != wire.Skipped:
		return violation("a step with the state %.32q, which there is not", step.State)
	case len(step.Name) > maxName, len(step.Reason) > maxReason, len(step.Message) > maxStepMessage:
		return violation("a step with a name of %d bytes, a reason of %d and a message of %d", len(step.Name), len(step.Reason), len(step.Message))
	}
	step.Name, step.Reason, step.Message = Clean(step.Name), Clean(step.Reason), Clean(step.Message)
	return nil
}

// checkHealth says what is wrong with what an agent says of itself, and cleans its texts.
func checkHealth(health *wire.Health) error {
	switch {
	case len(health.Version) > maxVersion, len(health.PodUID) > maxPodUID:
		return violation("a version of %d bytes and a pod UID of %d", len(health.Version), len(health.PodUID))
	case len(health.Running) > maxRunning:
		return violation("%d executions that run", len(health.Running))
	case health.Main != nil && len(health.Main.Error) > maxMessage:
		return violation("a message of %d bytes about the template's command", len(health.Main.Error))
	}
	for i, id := range health.Running {
		if len(id) > maxExecutionID {
			return violation("an execution with an ID of %d bytes", len(id))
		}
		health.Running[i] = Clean(id)
	}
	health.Version, health.PodUID = Clean(health.Version), Clean(health.PodUID)
	if health.Main != nil {
		health.Main.Error = Clean(health.Main.Error)
	}
	if ready := health.Readiness; ready != nil {
		switch ready.State {
		case wire.Starting, wire.Ready, wire.NotReady, wire.StartupFailed:
		default:
			return violation("probes with the state %.32q, which there is not", ready.State)
		}
		if len(ready.Message) > maxProbeMessage {
			return violation("a message of %d bytes about probes", len(ready.Message))
		}
		ready.Message = Clean(ready.Message)
	}
	return nil
}

// Clean returns a text of an agent that can be shown and logged: valid UTF-8 in which U+FFFD stands
// for control characters other than the ends of lines and tabs. It is not longer than three times
// the text, and the same if there is nothing to clean.
func Clean(text string) string {
	unfit := func(r rune) bool {
		return r < ' ' && r != '\n' && r != '\t' && r != '\r' || r == 0x7f || r >= 0x80 && r < 0xa0
	}
	if utf8.ValidString(text) && !strings.ContainsFunc(text, unfit) {
		return text
	}
	return strings.Map(func(r rune) rune {
		if unfit(r) {
			return utf8.RuneError
		}
		return r
	}, text)
}

// clipped is Clean for a text that is shown in part if it is longer than limit.
func clipped(text string, limit int) string {
	if len(text) > limit {
		text = strings.ToValidUTF8(text[:limit], "") + "..."
	}
	return Clean(text)
}
