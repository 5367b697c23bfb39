package arl

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// TaskState is where a task stands.
type TaskState string

// States of a Task.
const (
	// TaskPending means that no step has been started.
	TaskPending TaskState = "Pending"
	// TaskRunning means that steps run, or may have been started.
	TaskRunning TaskState = "Running"
	// TaskSucceeded is final: every step succeeded, or was allowed to fail.
	TaskSucceeded TaskState = "Succeeded"
	// TaskFailed is final: the reason and message say why.
	TaskFailed TaskState = "Failed"
)

// StepState is where a step stands.
type StepState string

// States of a step.
const (
	// StepPending means that the step has not been started.
	StepPending StepState = "Pending"
	// StepRunning means that the step was started and has not ended.
	StepRunning StepState = "Running"
	// StepSucceeded means that the command exited 0 or the file was written.
	StepSucceeded StepState = "Succeeded"
	// StepFailed means that the step ended in any other way.
	StepFailed StepState = "Failed"
	// StepSkipped means that an earlier step failed or the task was ended.
	StepSkipped StepState = "Skipped"
)

// StepType names what a step does.
type StepType string

// Types of a step.
const (
	// StepCommand runs a program.
	StepCommand StepType = "Command"
	// StepFilePatch writes a file, or patches a file or those of a directory.
	StepFilePatch StepType = "FilePatch"
)

// FailureAction says what a failed step means for those after it.
type FailureAction string

// Failure actions.
const (
	// FailureStop ends the task as Failed.
	FailureStop FailureAction = "Stop"
	// FailureContinue goes on with the next step; the task may still succeed.
	FailureContinue FailureAction = "Continue"
)

// RetryPolicy names the failures that spec.retries applies to.
type RetryPolicy string

// Retry policies.
const (
	// RetryInfrastructure retries only failures that the steps did not cause.
	RetryInfrastructure RetryPolicy = "Infrastructure"
	// RetryAlways retries failed steps and timeouts, too.
	RetryAlways RetryPolicy = "Always"
)

// RetentionPolicy says what becomes of a task after it ended.
type RetentionPolicy string

// Retention policies.
const (
	// RetentionDelete deletes the task once its time to live has passed.
	RetentionDelete RetentionPolicy = "Delete"
	// RetentionRetain keeps the task until it is deleted by a client.
	RetentionRetain RetentionPolicy = "Retain"
)

// FailureClass says whose fault a failure was.
type FailureClass string

// Failure classes.
const (
	// FailureUser: the steps failed, timed out or were cancelled.
	FailureUser FailureClass = "User"
	// FailureInfrastructure: the pod, its agent or the sandbox was lost.
	FailureInfrastructure FailureClass = "Infrastructure"
)

// Condition types of a Task.
const (
	// TaskConditionSucceeded is Unknown until the task ends, then True or False.
	TaskConditionSucceeded = "Succeeded"
)

// Reasons in a Task's status.reason and Succeeded condition, and in a step's reason.
const (
	// TaskReasonCompleted: every step succeeded, or was allowed to fail.
	TaskReasonCompleted = "Completed"
	// TaskReasonRunning: steps run.
	TaskReasonRunning = "Running"
	// TaskReasonWaitingForSandbox: the sandbox is not Ready yet.
	TaskReasonWaitingForSandbox = "WaitingForSandbox"
	// TaskReasonQueued: earlier tasks of the sandbox come first, or the server runs as many tasks as it
	// may, in all or of this namespace.
	TaskReasonQueued = "Queued"
	// TaskReasonRetrying: an attempt failed and another will be made.
	TaskReasonRetrying = "Retrying"
	// TaskReasonStepFailed: a step failed.
	TaskReasonStepFailed = "StepFailed"
	// TaskReasonTimeout: the task or one of its steps ran longer than its timeout.
	TaskReasonTimeout = "Timeout"
	// TaskReasonCancelled: spec.cancel was set.
	TaskReasonCancelled = "Cancelled"
	// TaskReasonSandboxNotFound: spec.sandboxRef names no sandbox.
	TaskReasonSandboxNotFound = "SandboxNotFound"
	// TaskReasonSandboxFailed: the sandbox failed before the task ended.
	TaskReasonSandboxFailed = "SandboxFailed"
	// TaskReasonSandboxDeleted: a client deleted the sandbox before the task ended. Final: it is not retried.
	TaskReasonSandboxDeleted = "SandboxDeleted"
	// TaskReasonSandboxExpired: the sandbox reached its maximum lifetime before the task ended. Final.
	TaskReasonSandboxExpired = "SandboxExpired"
	// TaskReasonAllocationTimeout: the sandbox got no pod within its allocation timeout. Final.
	TaskReasonAllocationTimeout = "AllocationTimeout"
	// TaskReasonAgentLost: the pod's agent was lost while steps may have run.
	TaskReasonAgentLost = "AgentLost"
	// TaskReasonAgentProtocolViolation: while the task ran, the pod's agent answered in a way that the
	// agent's program never does: a step has taken it over. Final.
	TaskReasonAgentProtocolViolation = "AgentProtocolViolation"
	// TaskReasonInvalidStep: the agent refused a step.
	TaskReasonInvalidStep = "InvalidStep"
)

// +k8s:deepcopy-gen:interfaces=k8s.io/apimachinery/pkg/runtime.Object

// Task runs steps, one after another, in a Sandbox.
type Task struct {
	metav1.TypeMeta
	metav1.ObjectMeta
	Spec   TaskSpec
	Status TaskStatus
}

// TaskSpec describes the steps and where they run. Everything but cancel is
// immutable.
type TaskSpec struct {
	SandboxRef                    string
	PoolRef                       string
	Steps                         []TaskStep
	Timeout                       string
	Retries                       int32
	RetryPolicy                   RetryPolicy
	TTLSecondsAfterFinished       *int32
	TraceID                       string
	Cancel                        bool
	TerminationGracePeriodSeconds *int32
	RetentionPolicy               RetentionPolicy
}

// TaskStep is one step of a task.
type TaskStep struct {
	Name      string
	Type      StepType
	Command   []string
	Env       map[string]string
	WorkDir   string
	Stdin     string
	Timeout   string
	OnFailure FailureAction
	Path      string
	Content   *string
	Patch     *string
	Mode      *int32
}

// TaskStatus is how a task went. It is written by the scheduler alone.
type TaskStatus struct {
	ObservedGeneration int64
	State              TaskState
	Reason             string
	Message            string
	FailureClass       FailureClass
	SandboxName        string
	PodName            string
	ExitCode           *int32
	Stdout             string
	Stderr             string
	Duration           string
	StartTime          *metav1.MicroTime
	CompletionTime     *metav1.MicroTime
	Attempts           int32
	Steps              []TaskStepStatus
	Conditions         []metav1.Condition
	Output             *TaskOutput
}

// TaskOutput describes the output of a task.
type TaskOutput struct {
	Stdout TaskStream
	Stderr TaskStream
}

// TaskStream describes one stream of a task's output.
type TaskStream struct {
	Bytes     int64
	Truncated bool
	Data      []byte
}

// TaskStepStatus is how a step went.
type TaskStepStatus struct {
	Name        string
	State       StepState
	Reason      string
	Message     string
	ExitCode    *int32
	StdoutBytes int64
	StderrBytes int64
	StartTime   *metav1.MicroTime
	Duration    string
}

// +k8s:deepcopy-gen:interfaces=k8s.io/apimachinery/pkg/runtime.Object

// TaskList is a list of Tasks.
type TaskList struct {
	metav1.TypeMeta
	metav1.ListMeta
	Items []Task
}
