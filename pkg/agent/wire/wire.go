// Package wire holds the types that the server and the agent exchange: JSON
// bodies of HTTP/2 requests, and event frames, one JSON object a line, in the
// responses. It has no behaviour.
//
// Requests of protocol version 1:
//
//	GET    /v1/health                         Health
//	POST   /v1/executions                     Execution in, Events out (idempotent by ID)
//	GET    /v1/executions/{id}/events?from=N  Events out, from sequence number N
//	POST   /v1/executions/{id}/cancel         CancelRequest in
//	DELETE /v1/executions/{id}                drops the output; the ID stays known
//
// A failed request answers with an Error and a 4xx or 5xx status. Every answer
// names the agent's process in InstanceHeader. A request that answers with
// Events may ask for none of the output ones: ?output=none. The others, a few a
// step, always come: they show which step runs.
//
// An execution is one attempt at a whole task, and its ID is the task's UID
// with the attempt's number. Posting an ID that is known never runs anything
// again: the response replays the events there are and goes on from there. An
// execution goes on when the client goes away.
package wire

import "time"

// ProtocolVersion is the version of the requests of this package.
const ProtocolVersion = 1

// InstanceHeader is the response header with the identity of the agent's
// process, a new one each time it starts. An agent that was started anew knows
// nothing of the executions of the one before it.
const InstanceHeader = "Arl-Agent-Instance"

// Query parameters of requests that answer with Events.
const (
	// FromQuery is the sequence number of the first event wanted.
	FromQuery = "from"
	// OutputQuery set to OutputNone leaves out events of type EventOutput.
	OutputQuery = "output"
	OutputNone  = "none"
)

// TraceVariable is the environment variable that carries a task's trace ID. The
// server sets it in Execution.Env; the protocol has no field of its own for it.
const TraceVariable = "ARL_TRACE_ID"

// Health describes the agent that answers.
type Health struct {
	ProtocolVersion int `json:"protocolVersion"`
	// Version is that of the agent's program.
	Version string `json:"version"`
	PodUID  string `json:"podUID"`
	// Used says that the agent has begun an execution, however long ago: the
	// pod is not as its template made it any more.
	Used bool `json:"used,omitempty"`
	// Running are the IDs of the executions that have not ended, at most as many as may run at a time.
	Running []string `json:"running,omitempty"`
	// Main is set if the template has a command of its own.
	Main *MainStatus `json:"main,omitempty"`
	// Readiness is what the template's probes found. Nil if the agent was given
	// no probes: the pod is then ready as soon as the agent answers.
	Readiness *Readiness `json:"readiness,omitempty"`
}

// MainStatus is the state of the template's own command.
type MainStatus struct {
	Running  bool  `json:"running"`
	ExitCode int32 `json:"exitCode,omitempty"`
	// Error says why the command could not be started, if it could not. ExitCode
	// is then what a shell would have exited with.
	Error string `json:"error,omitempty"`
}

// Execution is one attempt at a task.
type Execution struct {
	// ID is 1 to 128 characters of letters, digits, '-', '_', '.' and ':'.
	ID    string `json:"id"`
	Steps []Step `json:"steps"`
	// TimeoutMillis bounds all steps together; 0 means no bound.
	TimeoutMillis int64 `json:"timeoutMillis,omitempty"`
	// Env is for every command, on top of the image's; a step's own wins.
	Env map[string]string `json:"env,omitempty"`
	// WorkDir is the absolute directory that relative ones are resolved
	// against, and the default for commands. Created if missing.
	WorkDir string `json:"workDir,omitempty"`
	// OutputLimitBytes bounds what of each of stdout and stderr of all steps together is
	// kept for ExecutionResult; the head and the tail are kept. 0 means the agent's own limit.
	OutputLimitBytes int `json:"outputLimitBytes,omitempty"`
	// GraceMillis is the time between TERM and KILL, 0 to MaxGraceMillis, when a step is stopped: by
	// a timeout, a cancellation or SIGTERM to the agent. What a step left running gets the same time
	// when the agent gets SIGTERM. 0 means KILL at once; nil means the agent's own default of 2 s.
	GraceMillis *int64 `json:"graceMillis,omitempty"`
}

// Bounds of an Execution, which an agent refuses beyond them. An outcome is bounded by what was asked.
const (
	// MaxSteps is above what the API allows.
	MaxSteps = 1024
	// DefaultOutputLimitBytes and MaxOutputLimitBytes are of Execution.OutputLimitBytes.
	DefaultOutputLimitBytes = 64 << 10
	MaxOutputLimitBytes     = 1 << 20
)

// MaxGraceMillis bounds Execution.GraceMillis: an hour.
const MaxGraceMillis = 3_600_000

// Types of a Step; the values of v1alpha1.StepType.
const (
	StepCommand   = "Command"
	StepFilePatch = "FilePatch"
)

// Step is one step of an execution.
type Step struct {
	Name              string            `json:"name"`
	Type              string            `json:"type"`
	ContinueOnFailure bool              `json:"continueOnFailure,omitempty"`
	Command           []string          `json:"command,omitempty"`
	Env               map[string]string `json:"env,omitempty"`
	WorkDir           string            `json:"workDir,omitempty"`
	Stdin             string            `json:"stdin,omitempty"`
	TimeoutMillis     int64             `json:"timeoutMillis,omitempty"`
	Path              string            `json:"path,omitempty"`
	Content           *string           `json:"content,omitempty"`
	Patch             *string           `json:"patch,omitempty"`
	Mode              *int32            `json:"mode,omitempty"`
}

// EventType says which field of an Event is set.
type EventType string

// Types of an Event, in the order in which they come.
const (
	EventStarted      EventType = "started"
	EventStepStarted  EventType = "stepStarted"
	EventOutput       EventType = "output"
	EventStepFinished EventType = "stepFinished"
	EventFinished     EventType = "finished"
	// EventPing comes now and then while nothing else does, so that a dead
	// connection is noticed. It has no sequence number.
	EventPing EventType = "ping"
)

// Streams of an Output.
const (
	Stdout = "stdout"
	Stderr = "stderr"
)

// Event is one frame of a response.
type Event struct {
	// Seq grows by one an event, from 1.
	Seq  int64     `json:"seq,omitempty"`
	Type EventType `json:"type"`
	Time time.Time `json:"time"`
	// Step is the index of the step that stepStarted, output and stepFinished speak of.
	Step     int              `json:"step,omitempty"`
	Output   *Output          `json:"output,omitempty"`
	StepDone *StepResult      `json:"stepDone,omitempty"`
	Done     *ExecutionResult `json:"done,omitempty"`
}

// Output is a chunk of a step's output as read: bytes, not lines.
type Output struct {
	Stream string `json:"stream"`
	// Offset is the position of Data in the step's stream. A reader that sees a
	// jump has missed what lay between: it was not kept.
	Offset int64  `json:"offset"`
	Data   []byte `json:"data"`
}

// Outcomes of a step and of an execution; the values of v1alpha1.StepState and TaskState.
const (
	Succeeded = "Succeeded"
	Failed    = "Failed"
	Skipped   = "Skipped"
)

// Reasons of a StepResult or ExecutionResult that failed.
const (
	// ReasonStepFailed: the command exited with a code other than 0, or the file could not be written or patched.
	ReasonStepFailed = "StepFailed"
	// ReasonTimeout: the step's or the execution's timeout ran out.
	ReasonTimeout = "Timeout"
	// ReasonCancelled: the execution was cancelled.
	ReasonCancelled = "Cancelled"
	// ReasonInvalidStep: the step cannot be run as it stands.
	ReasonInvalidStep = "InvalidStep"
)

// StepResult is how a step went.
type StepResult struct {
	Name   string `json:"name"`
	State  string `json:"state"`
	Reason string `json:"reason,omitempty"`
	// Message says why the step failed, or, of a patch that succeeded, what was applied otherwise
	// than the patch says. At most 1 KiB.
	Message string `json:"message,omitempty"`
	// ExitCode is 128 plus the signal's number if a signal ended the command.
	// Nil if no command ran.
	ExitCode *int32 `json:"exitCode,omitempty"`
	// StdoutBytes and StderrBytes count all that the step wrote until its end,
	// kept or not.
	StdoutBytes    int64     `json:"stdoutBytes,omitempty"`
	StderrBytes    int64     `json:"stderrBytes,omitempty"`
	StartTime      time.Time `json:"startTime,omitzero"`
	DurationMicros int64     `json:"durationMicros,omitempty"`
}

// ExecutionResult is how an execution went.
type ExecutionResult struct {
	// State is Succeeded or Failed.
	State   string `json:"state"`
	Reason  string `json:"reason,omitempty"`
	Message string `json:"message,omitempty"`
	// ExitCode is that of the step that decided the outcome, or of the last command.
	ExitCode *int32       `json:"exitCode,omitempty"`
	Steps    []StepResult `json:"steps"`
	// Stdout and Stderr are the bytes that all steps wrote, one after another,
	// exactly. Of a stream that is longer than the limit, the head and the tail
	// are kept, with a line between them that says how many bytes are missing. They are cut at
	// ends of lines, or between characters of UTF-8 where lines are long.
	Stdout []byte `json:"stdout,omitempty"`
	Stderr []byte `json:"stderr,omitempty"`
	// StdoutBytes and StderrBytes count all that the steps wrote, kept or not.
	StdoutBytes int64 `json:"stdoutBytes,omitempty"`
	StderrBytes int64 `json:"stderrBytes,omitempty"`
	// StdoutTruncated and StderrTruncated say that bytes are missing from Stdout and Stderr.
	StdoutTruncated bool  `json:"stdoutTruncated,omitempty"`
	StderrTruncated bool  `json:"stderrTruncated,omitempty"`
	DurationMicros  int64 `json:"durationMicros"`
}

// CancelRequest ends an execution: its steps are stopped, the rest are skipped.
type CancelRequest struct {
	// Reason is ReasonCancelled or ReasonTimeout.
	Reason  string `json:"reason,omitempty"`
	Message string `json:"message,omitempty"`
}

// Error is the body of a failed request.
type Error struct {
	Code    string `json:"code"`
	Message string `json:"message"`
}

// Codes of an Error.
const (
	CodeInvalid  = "Invalid"
	CodeNotFound = "NotFound"
	// CodeForgotten: the execution is known to have run, but its outcome was dropped.
	CodeForgotten = "Forgotten"
	CodeTooMany   = "TooMany"
	CodeInternal  = "Internal"
)
