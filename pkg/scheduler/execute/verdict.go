package execute

import (
	"fmt"

	"arl.io/arl/pkg/agent/wire"
	"arl.io/arl/pkg/apis/arl/v1alpha1"
)

// verdict is how an attempt at a task, or the task without any, has ended.
type verdict struct {
	state           v1alpha1.TaskState
	reason, message string
	class           v1alpha1.FailureClass
	// sandboxGone says that no other attempt can be made in the same sandbox.
	sandboxGone bool
	// begun says that steps may have run.
	begun bool
	// result is the agent's, if it gave one.
	result *wire.ExecutionResult
}

// mayHaveRun is added to the message of a verdict that cannot tell.
const mayHaveRun = "; steps may have run"

func cancelledVerdict() verdict {
	return verdict{
		state:   v1alpha1.TaskFailed,
		reason:  v1alpha1.TaskReasonCancelled,
		message: "the task was cancelled before it was started",
		class:   v1alpha1.FailureUser,
	}
}

func missingVerdict(t *entry) verdict {
	return verdict{
		state:  v1alpha1.TaskFailed,
		reason: v1alpha1.TaskReasonSandboxNotFound,
		message: fmt.Sprintf("there is no sandbox %q in namespace %q: create it first, or name the pool in spec.poolRef",
			t.box.key.Name, t.box.key.Namespace),
		class:       v1alpha1.FailureUser,
		sandboxGone: true,
	}
}

// unmadeVerdict is for a task that cannot have a sandbox of its own.
func unmadeVerdict(why string) verdict {
	return verdict{
		state:       v1alpha1.TaskFailed,
		reason:      v1alpha1.TaskReasonSandboxFailed,
		message:     "the sandbox for this task cannot be made: " + why,
		class:       v1alpha1.FailureUser,
		sandboxGone: true,
	}
}

// foreignVerdict is for a task whose sandbox's name is taken by another one.
func foreignVerdict(t *entry) verdict {
	return unmadeVerdict(fmt.Sprintf("there is another one named %q: delete that", t.box.key.Name))
}

// goneVerdict is for a task that ran when the server ended, and whose sandbox is gone since.
func goneVerdict(t *entry) verdict {
	return verdict{
		state:       v1alpha1.TaskFailed,
		reason:      v1alpha1.TaskReasonSandboxFailed,
		message:     fmt.Sprintf("sandbox %q was deleted while the task ran", t.box.key.Name) + mayHaveRun,
		class:       v1alpha1.FailureInfrastructure,
		sandboxGone: true,
		begun:       true,
	}
}

// lostVerdict is for a task whose sandbox runs nothing any more.
func lostVerdict(t *entry, sandbox *v1alpha1.Sandbox, why string) verdict {
	v := verdict{
		state:       v1alpha1.TaskFailed,
		reason:      v1alpha1.TaskReasonSandboxFailed,
		message:     fmt.Sprintf("sandbox %q %s", sandbox.Name, why),
		class:       v1alpha1.FailureInfrastructure,
		sandboxGone: true,
		begun:       t.begun || t.stage == running || t.restored && sandbox.Status.PodName != "",
	}
	if v.begun {
		v.message += mayHaveRun
	}
	podLost := sandbox.Status.Reason == v1alpha1.SandboxReasonPodLost
	if podLost && v.begun {
		v.reason = v1alpha1.TaskReasonAgentLost
	}
	return v
}

// agentVerdict is for an execution of which the agent cannot tell how it went.
func agentVerdict(x *execution, why string) verdict {
	return verdict{
		state:   v1alpha1.TaskFailed,
		reason:  v1alpha1.TaskReasonAgentLost,
		message: fmt.Sprintf("the agent of pod %q %s", x.id.pod.Name, why) + mayHaveRun,
		class:   v1alpha1.FailureInfrastructure,
		begun:   true,
	}
}

func refusedVerdict(err error) verdict {
	return verdict{
		state:   v1alpha1.TaskFailed,
		reason:  v1alpha1.TaskReasonInvalidStep,
		message: err.Error(),
		class:   v1alpha1.FailureUser,
	}
}

// resultVerdict is the agent's own. The agent shares its container with the
// user's code: what it says is taken only if it makes sense.
func resultVerdict(result wire.ExecutionResult) verdict {
	v := verdict{begun: true, result: &result, message: result.Message}
	if result.State == wire.Succeeded {
		v.state, v.reason = v1alpha1.TaskSucceeded, v1alpha1.TaskReasonCompleted
		return v
	}
	v.state, v.class = v1alpha1.TaskFailed, v1alpha1.FailureUser
	v.reason = knownReason(result.Reason)
	return v
}

// knownReason returns one of the agent's reasons.
func knownReason(reason string) string {
	switch reason {
	case wire.ReasonTimeout:
		return v1alpha1.TaskReasonTimeout
	case wire.ReasonCancelled:
		return v1alpha1.TaskReasonCancelled
	case wire.ReasonInvalidStep:
		return v1alpha1.TaskReasonInvalidStep
	default:
		return v1alpha1.TaskReasonStepFailed
	}
}
