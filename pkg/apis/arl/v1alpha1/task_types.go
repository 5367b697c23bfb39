package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// TaskState is where a task stands. Later versions may add values that are not final: a client
// treats one that it does not know as it treats Running.
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

// StepState is where a step stands. Later versions may add values.
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
// +enum
type StepType string

// Types of a step.
const (
	// StepCommand runs a program.
	StepCommand StepType = "Command"
	// StepFilePatch writes a file, or patches a file or those of a directory.
	StepFilePatch StepType = "FilePatch"
)

// FailureAction says what a failed step means for those after it.
// +enum
type FailureAction string

// Failure actions.
const (
	// FailureStop ends the task as Failed.
	FailureStop FailureAction = "Stop"
	// FailureContinue goes on with the next step; the task may still succeed.
	FailureContinue FailureAction = "Continue"
)

// RetryPolicy names the failures that spec.retries applies to.
// +enum
type RetryPolicy string

// Retry policies.
const (
	// RetryInfrastructure retries only failures that the steps did not cause.
	RetryInfrastructure RetryPolicy = "Infrastructure"
	// RetryAlways retries failed steps and timeouts, too.
	RetryAlways RetryPolicy = "Always"
)

// RetentionPolicy says what becomes of a task after it ended.
// +enum
type RetentionPolicy string

// Retention policies.
const (
	// RetentionDelete deletes the task once its time to live has passed.
	RetentionDelete RetentionPolicy = "Delete"
	// RetentionRetain keeps the task until it is deleted by a client.
	RetentionRetain RetentionPolicy = "Retain"
)

// FailureClass says whose fault a failure was. Later versions may add values.
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

// +genclient
// +k8s:deepcopy-gen:interfaces=k8s.io/apimachinery/pkg/runtime.Object

// Task runs steps, one after another, in a Sandbox.
type Task struct {
	metav1.TypeMeta `json:",inline"`
	// metadata is standard object metadata. The name is a DNS label of at most
	// 63 characters.
	// +optional
	metav1.ObjectMeta `json:"metadata,omitempty" protobuf:"bytes,1,opt,name=metadata"`

	// spec is what to run.
	// +optional
	Spec TaskSpec `json:"spec,omitempty" protobuf:"bytes,2,opt,name=spec"`
	// status is how it went.
	// +optional
	Status TaskStatus `json:"status,omitempty" protobuf:"bytes,3,opt,name=status"`
}

// TaskSpec describes the steps and where they run. Everything but cancel is
// immutable.
type TaskSpec struct {
	// sandboxRef is the name of the Sandbox, in the same namespace, in which
	// the steps run. The task may be created a little earlier than the sandbox: it
	// fails, with reason SandboxNotFound, if there is none for five seconds.
	// Exactly one of sandboxRef and poolRef is set. Immutable.
	// +optional
	SandboxRef string `json:"sandboxRef,omitempty" protobuf:"bytes,1,opt,name=sandboxRef"`

	// poolRef is the name of the WarmPool, in the same namespace, from which a
	// sandbox is created for this task alone and deleted after it. Exactly one of sandboxRef and poolRef is
	// set. The author of the task needs the right to create sandboxes, whose quotas and policies hold for
	// the task, too. Immutable.
	// +optional
	PoolRef string `json:"poolRef,omitempty" protobuf:"bytes,2,opt,name=poolRef"`

	// steps run in the order given, 1 to 256 of them. Together with the rest of the task but its
	// status they are at most 1214976 bytes, so that every status can be stored beside them. Immutable.
	// +listType=atomic
	Steps []TaskStep `json:"steps" protobuf:"bytes,3,rep,name=steps"`

	// timeout is how long all steps together may run, as a Go duration string
	// such as "90s" or "5m". Waiting for a sandbox does not count. Default
	// "5m", more than 0, at most "24h". Immutable.
	// +optional
	Timeout string `json:"timeout,omitempty" protobuf:"bytes,4,opt,name=timeout"`

	// retries is how many more attempts are made after a failed one. Default 0,
	// at most 10. Immutable.
	// +optional
	Retries int32 `json:"retries,omitempty" protobuf:"varint,5,opt,name=retries"`

	// retryPolicy names the failures that retries applies to: "Infrastructure"
	// (the default: the pod or its agent was lost) or "Always" (failed steps and timeouts, too; the
	// steps then run again from the first). What the user ended is never tried again: a task that was
	// cancelled, or whose sandbox was deleted, reached its maximum lifetime, or got no pod within its
	// allocation timeout. Immutable.
	// +optional
	RetryPolicy RetryPolicy `json:"retryPolicy,omitempty" protobuf:"bytes,6,opt,name=retryPolicy,casttype=RetryPolicy"`

	// ttlSecondsAfterFinished is how long the task is kept after it ended, in seconds, 0 to 31536000.
	// The default is the server's retention, one hour unless configured. Must not be set with
	// retentionPolicy Retain. A task that Git or a controller applies again after it was deleted runs
	// again. Immutable.
	// +optional
	TTLSecondsAfterFinished *int32 `json:"ttlSecondsAfterFinished,omitempty" protobuf:"varint,7,opt,name=ttlSecondsAfterFinished"`

	// traceID is an identifier of the caller's choice that the server's log lines about the task
	// carry, and that the steps find in the environment variable ARL_TRACE_ID: at most 256
	// characters, none of them a control character. Immutable.
	// +optional
	TraceID string `json:"traceID,omitempty" protobuf:"bytes,8,opt,name=traceID"`

	// cancel ends the task when set to true: running steps are stopped and the
	// task ends as Failed with reason Cancelled. It cannot be set back to false.
	// +optional
	Cancel bool `json:"cancel,omitempty" protobuf:"varint,9,opt,name=cancel"`

	// terminationGracePeriodSeconds is the time between the signal TERM and the signal KILL when steps
	// are stopped: by a timeout, by cancel, or because the sandbox ends. In seconds, 0 to 3600; 0
	// kills at once. Default 2. Immutable.
	// +optional
	TerminationGracePeriodSeconds *int32 `json:"terminationGracePeriodSeconds,omitempty" protobuf:"varint,10,opt,name=terminationGracePeriodSeconds"`

	// retentionPolicy is "Delete" (the default: the task is deleted ttlSecondsAfterFinished after it
	// ended) or "Retain" (the task is kept until a client deletes it). Retain keeps a task that Git or
	// a controller applies again from running again. Immutable.
	// +optional
	RetentionPolicy RetentionPolicy `json:"retentionPolicy,omitempty" protobuf:"bytes,11,opt,name=retentionPolicy,casttype=RetentionPolicy"`
}

// TaskStep is one step of a task.
type TaskStep struct {
	// name tells the steps of a task apart: letters, digits, '-', '_' and '.',
	// beginning and ending with a letter or digit, at most 63 characters,
	// unique in the task.
	Name string `json:"name" protobuf:"bytes,1,opt,name=name"`

	// type is "Command", which runs a program, or "FilePatch", which writes a
	// file, or applies a patch to a file or to those of a directory.
	Type StepType `json:"type" protobuf:"bytes,2,opt,name=type,casttype=StepType"`

	// command is the program and its arguments, at most 1024 strings of less than 128 KiB, and with env
	// at most 1 MiB. No shell is involved unless named. To run a longer script, give it as stdin to
	// the command ["sh", "-s"], or write it with a FilePatch step and run the file. The step ends when
	// the program ends: what it left in the background goes on until the sandbox ends, and its further
	// output is discarded. A timeout or cancel ends the program and everything it started. Needed by,
	// and only for, Command.
	// +optional
	// +listType=atomic
	Command []string `json:"command,omitempty" protobuf:"bytes,3,rep,name=command"`

	// env are environment variables for the command, on top of the image's and the sandbox's, at most
	// 256 of them, and with command at most 1 MiB. Only for Command.
	// +optional
	Env map[string]string `json:"env,omitempty" protobuf:"bytes,4,rep,name=env"`

	// workDir is the directory in which the command runs, absolute or relative
	// to the sandbox's workDir, which is the default. Created if missing. Only
	// for Command.
	// +optional
	WorkDir string `json:"workDir,omitempty" protobuf:"bytes,5,opt,name=workDir"`

	// stdin is what the command reads on standard input, at most 1 MiB; without
	// it the command reads nothing. Only for Command.
	// +optional
	Stdin string `json:"stdin,omitempty" protobuf:"bytes,6,opt,name=stdin"`

	// timeout is how long this step may run, as a Go duration string. More than
	// 0, at most "24h". The default is what is left of the task's. Only for
	// Command.
	// +optional
	Timeout string `json:"timeout,omitempty" protobuf:"bytes,7,opt,name=timeout"`

	// onFailure is "Stop" (the default: the task fails and later steps are
	// skipped) or "Continue" (later steps run, and the task may succeed).
	// +optional
	OnFailure FailureAction `json:"onFailure,omitempty" protobuf:"bytes,8,opt,name=onFailure,casttype=FailureAction"`

	// path is the file to write or patch, or the directory to patch, absolute or
	// relative to the sandbox's workDir. It means a directory if one is there,
	// or if it ends with "/"; "." is the workDir. Missing directories are
	// created. A path that leads out of the container's root, also by a symbolic
	// link, fails the step. Needed by, and only for, FilePatch.
	// +optional
	Path string `json:"path,omitempty" protobuf:"bytes,9,opt,name=path"`

	// content is the file's whole new content, at most 1 MiB, and may be empty.
	// Exactly one of content and patch is set, and only for FilePatch.
	// +optional
	Content *string `json:"content,omitempty" protobuf:"bytes,10,opt,name=content"`

	// patch is a unified diff that is applied as a whole or not at all, at most
	// 1 MiB. If path is a file, the diff changes this one file, whatever names
	// are in it. If path is a directory, the diff may be a whole git diff: names
	// in it are relative to path, and files may be created, deleted, renamed,
	// copied, binary and symbolic links. Wrong line numbers and counts of hunks
	// are corrected, and the line ends of files are kept; the step's message
	// says which hunks moved. Exactly one of content and patch is set, and only
	// for FilePatch.
	// +optional
	Patch *string `json:"patch,omitempty" protobuf:"bytes,11,opt,name=patch"`

	// mode is the file's permission bits, 0 to 0777 (a decimal number in JSON:
	// 420 is 0644). The default keeps those of an existing file, else 0644; a
	// patch may change them, too. Only for FilePatch, and only if path is a
	// file.
	// +optional
	Mode *int32 `json:"mode,omitempty" protobuf:"varint,12,opt,name=mode"`
}

// TaskStatus is how a task went. It is written by the scheduler alone.
type TaskStatus struct {
	// observedGeneration is the metadata.generation this status speaks of.
	// +optional
	ObservedGeneration int64 `json:"observedGeneration,omitempty" protobuf:"varint,1,opt,name=observedGeneration"`
	// state is Pending, Running, Succeeded or Failed. The last two are final. Later versions may add
	// values that are not final.
	// +optional
	State TaskState `json:"state,omitempty" protobuf:"bytes,2,opt,name=state,casttype=TaskState"`
	// reason says in one word why the task is in its state.
	// +optional
	Reason string `json:"reason,omitempty" protobuf:"bytes,3,opt,name=reason"`
	// message says the same for humans.
	// +optional
	Message string `json:"message,omitempty" protobuf:"bytes,4,opt,name=message"`
	// failureClass says whose fault a failure was: User or Infrastructure.
	// +optional
	FailureClass FailureClass `json:"failureClass,omitempty" protobuf:"bytes,5,opt,name=failureClass,casttype=FailureClass"`
	// sandboxName is the sandbox in which the steps ran.
	// +optional
	SandboxName string `json:"sandboxName,omitempty" protobuf:"bytes,6,opt,name=sandboxName"`
	// podName is the pod in which the steps ran.
	// +optional
	PodName string `json:"podName,omitempty" protobuf:"bytes,7,opt,name=podName"`
	// exitCode is that of the step that decided the outcome, or of the last
	// step that ran: 128 plus the signal's number if a signal ended it. Unset
	// until the task ends, and if no command ran.
	// +optional
	ExitCode *int32 `json:"exitCode,omitempty" protobuf:"varint,8,opt,name=exitCode"`
	// stdout is what the steps of the last attempt wrote to standard output,
	// one after another. Bounded: of longer output the head and the tail are
	// kept, with a line between them that says how many bytes are missing.
	// +optional
	Stdout string `json:"stdout,omitempty" protobuf:"bytes,9,opt,name=stdout"`
	// stderr is the same for standard error.
	// +optional
	Stderr string `json:"stderr,omitempty" protobuf:"bytes,10,opt,name=stderr"`
	// duration is how long the last attempt took, as a Go duration string.
	// +optional
	Duration string `json:"duration,omitempty" protobuf:"bytes,11,opt,name=duration"`
	// startTime is when the first attempt was started.
	// +optional
	StartTime *metav1.MicroTime `json:"startTime,omitempty" protobuf:"bytes,12,opt,name=startTime"`
	// completionTime is when the task ended.
	// +optional
	CompletionTime *metav1.MicroTime `json:"completionTime,omitempty" protobuf:"bytes,13,opt,name=completionTime"`
	// attempts is how many attempts were started.
	// +optional
	Attempts int32 `json:"attempts,omitempty" protobuf:"varint,14,opt,name=attempts"`
	// steps are the states of the last attempt's steps, in the order of spec.steps. They are written
	// with state Running, then at most once a second as the steps go on, and at the end. If the steps
	// of the spec are larger than 16 KiB, they are written with state Running and at the end alone.
	// +optional
	// +listType=atomic
	Steps []TaskStepStatus `json:"steps,omitempty" protobuf:"bytes,15,rep,name=steps"`
	// conditions hold Succeeded, and Reconciling or Stalled while they are True.
	// +optional
	// +listType=map
	// +listMapKey=type
	// +patchMergeKey=type
	// +patchStrategy=merge
	Conditions []metav1.Condition `json:"conditions,omitempty" patchStrategy:"merge" patchMergeKey:"type" protobuf:"bytes,16,rep,name=conditions"`
	// output says how much the steps of the last attempt wrote, and whether stdout and stderr hold all
	// of it. Unset until the task ends, and if no step ran.
	// +optional
	Output *TaskOutput `json:"output,omitempty" protobuf:"bytes,17,opt,name=output"`
}

// TaskOutput describes the output of a task.
type TaskOutput struct {
	// stdout describes standard output.
	// +optional
	Stdout TaskStream `json:"stdout,omitempty" protobuf:"bytes,1,opt,name=stdout"`
	// stderr describes standard error.
	// +optional
	Stderr TaskStream `json:"stderr,omitempty" protobuf:"bytes,2,opt,name=stderr"`
}

// TaskStream describes one stream of a task's output.
type TaskStream struct {
	// bytes is how many bytes all steps wrote, whether they were kept or not.
	// +optional
	Bytes int64 `json:"bytes,omitempty" protobuf:"varint,1,opt,name=bytes"`
	// truncated says that the status holds only the head and the tail of the stream.
	// +optional
	Truncated bool `json:"truncated,omitempty" protobuf:"varint,2,opt,name=truncated"`
	// data is what was kept, byte for byte, base64 in JSON. Set only if that is not valid UTF-8: the
	// text in status.stdout or status.stderr then shows U+FFFD in place of the bytes that are not.
	// +optional
	Data []byte `json:"data,omitempty" protobuf:"bytes,3,opt,name=data"`
}

// TaskStepStatus is how a step went.
type TaskStepStatus struct {
	// name is the step's name.
	Name string `json:"name" protobuf:"bytes,1,opt,name=name"`
	// state is Pending, Running, Succeeded, Failed or Skipped.
	State StepState `json:"state" protobuf:"bytes,2,opt,name=state,casttype=StepState"`
	// reason says in one word why a step failed.
	// +optional
	Reason string `json:"reason,omitempty" protobuf:"bytes,3,opt,name=reason"`
	// message explains why a step failed. Of a patch that succeeded, it says
	// which hunks were applied elsewhere or otherwise than the patch says. At
	// most 1 KiB.
	// +optional
	Message string `json:"message,omitempty" protobuf:"bytes,4,opt,name=message"`
	// exitCode is the command's: 128 plus the signal's number if a signal ended it.
	// +optional
	ExitCode *int32 `json:"exitCode,omitempty" protobuf:"varint,5,opt,name=exitCode"`
	// stdoutBytes is how much the step wrote to standard output, whatever of it
	// was kept.
	// +optional
	StdoutBytes int64 `json:"stdoutBytes,omitempty" protobuf:"varint,6,opt,name=stdoutBytes"`
	// stderrBytes is the same for standard error.
	// +optional
	StderrBytes int64 `json:"stderrBytes,omitempty" protobuf:"varint,7,opt,name=stderrBytes"`
	// startTime is when the step was started.
	// +optional
	StartTime *metav1.MicroTime `json:"startTime,omitempty" protobuf:"bytes,8,opt,name=startTime"`
	// duration is how long the step took, as a Go duration string.
	// +optional
	Duration string `json:"duration,omitempty" protobuf:"bytes,9,opt,name=duration"`
}

// +k8s:deepcopy-gen:interfaces=k8s.io/apimachinery/pkg/runtime.Object

// TaskList is a list of Tasks.
type TaskList struct {
	metav1.TypeMeta `json:",inline"`
	// metadata is standard list metadata.
	// +optional
	metav1.ListMeta `json:"metadata,omitempty" protobuf:"bytes,1,opt,name=metadata"`
	// items are the tasks.
	Items []Task `json:"items" protobuf:"bytes,2,rep,name=items"`
}
