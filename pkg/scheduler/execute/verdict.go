package execute

import (
	"fmt"

	"arl.io/arl/pkg/agent/wire"
	"arl.io/arl/pkg/apis/arl/v1alpha1"
	"arl.io/arl/pkg/oneshot"
	"arl.io/arl/pkg/scheduler/plan"
)

// verdict is how an attempt at a task, or the task without any, has ended.
type verdict struct {
	state           v1alpha1.TaskState
	reason, message string
	class           v1alpha1.FailureClass
	// sandboxGone says that no other attempt can be made in the same sandbox.
	sandboxGone bool
	// final says that the user ended the attempt, by a limit or a deletion: no other is made.
	final bool
	// begun says that steps may have run.
	begun bool
	// result is the agent's, if it gave one.
	result *wire.ExecutionResult
}

// mayHaveRun is added to the message of a verdict that cannot tell.
const mayHaveRun = "; steps may have run"

// failedVerdict returns a verdict of a failure.
func failedVerdict(reason string, class v1alpha1.FailureClass, message string) verdict {
	return verdict{state: v1alpha1.TaskFailed, reason: reason, class: class, message: message}
}

func cancelledVerdict() verdict {
	return failedVerdict(v1alpha1.TaskReasonCancelled, v1alpha1.FailureUser, "the task was cancelled before it was started")
}

func missingVerdict(t *entry) verdict {
	v := failedVerdict(v1alpha1.TaskReasonSandboxNotFound, v1alpha1.FailureUser,
		fmt.Sprintf("there is no sandbox %q in namespace %q: create it first, or name the pool in spec.poolRef", t.box.key.Name, t.box.key.Namespace))
	v.sandboxGone = true
	return v
}

// unmadeVerdict is for a task that cannot have a sandbox of its own.
func unmadeVerdict(why string) verdict {
	v := failedVerdict(v1alpha1.TaskReasonSandboxFailed, v1alpha1.FailureUser, "the sandbox for this task cannot be made: "+why)
	v.sandboxGone = true
	return v
}

// foreignVerdict is for a task whose sandbox's name is taken by another one.
func foreignVerdict(t *entry) verdict {
	return unmadeVerdict(fmt.Sprintf("its name %q belongs to a sandbox that was not made for this task: delete that sandbox, then create the task again", t.box.key.Name))
}

// goneVerdict is for a task that ran when the server ended, and whose sandbox is gone since.
func goneVerdict(t *entry) verdict {
	v := failedVerdict(v1alpha1.TaskReasonSandboxDeleted, v1alpha1.FailureUser,
		fmt.Sprintf("sandbox %q was deleted while the task ran", t.box.key.Name)+mayHaveRun)
	v.sandboxGone, v.final, v.begun = true, true, true
	return v
}

// loss says why a sandbox runs nothing any more.
type loss struct {
	reason, message string
	class           v1alpha1.FailureClass
	// final says that the user ended the sandbox, by a limit or by deleting it.
	final bool
	// graceful says that its pod is there still: what runs in it gets its grace.
	graceful bool
	// podLost says that the pod went without the agent's telling how steps went, and broken that its
	// agent has broken the protocol.
	podLost, broken bool
}

// deleted is the loss of a sandbox that was deleted.
func (e *Executor) deleted(sandbox *v1alpha1.Sandbox) loss {
	l := loss{
		reason:   v1alpha1.TaskReasonSandboxDeleted,
		message:  fmt.Sprintf("sandbox %q was deleted", sandbox.Name),
		class:    v1alpha1.FailureUser,
		final:    true,
		graceful: sandbox.Status.Phase == v1alpha1.SandboxReady,
	}
	pool, err := e.config.Pools.WarmPools(sandbox.Namespace).Get(sandbox.Spec.PoolRef)
	if err != nil {
		pool = nil
	}
	if plan.Expired(sandbox, pool, e.config.Clock.Now()) {
		l.reason = v1alpha1.TaskReasonSandboxExpired
		l.message = fmt.Sprintf("sandbox %q reached its maxLifetimeSeconds: raise it on the %s for tasks that take longer", sandbox.Name, ownerOfLimits(sandbox))
	}
	return l
}

// ownerOfLimits names the object whose timeouts a user of the sandbox can change.
func ownerOfLimits(sandbox *v1alpha1.Sandbox) string {
	if oneshot.Owner(sandbox) != "" {
		return fmt.Sprintf("pool %q", sandbox.Spec.PoolRef)
	}
	return fmt.Sprintf("sandbox or on pool %q", sandbox.Spec.PoolRef)
}

// dead says whether a sandbox runs nothing any more, and why.
func (e *Executor) dead(sandbox *v1alpha1.Sandbox) (l loss, isDead bool) {
	status := &sandbox.Status
	switch {
	case sandbox.DeletionTimestamp != nil:
		return e.deleted(sandbox), true
	case status.Phase != v1alpha1.SandboxFailed:
		return loss{}, false
	case status.Reason == v1alpha1.SandboxReasonAllocationTimeout:
		// The wait is the user's own limit. That no pod came is not.
		return loss{
			reason:  v1alpha1.TaskReasonAllocationTimeout,
			message: fmt.Sprintf("sandbox %q got no pod in time: %s", sandbox.Name, status.Message),
			class:   v1alpha1.FailureInfrastructure,
			final:   true,
		}, true
	case status.Reason == v1alpha1.SandboxReasonOOMKilled:
		return tookTooMuch(sandbox, "use less memory, or raise resources.limits.memory"), true
	case status.Reason == v1alpha1.SandboxReasonDiskLimitExceeded:
		return tookTooMuch(sandbox, "write less, or raise the limit of ephemeral-storage"), true
	default:
		return loss{
			reason:  v1alpha1.TaskReasonSandboxFailed,
			message: fmt.Sprintf("sandbox %q has failed: %s: %s", sandbox.Name, status.Reason, status.Message),
			class:   v1alpha1.FailureInfrastructure,
			podLost: status.Reason == v1alpha1.SandboxReasonPodLost || status.Reason == v1alpha1.SandboxReasonAgentLost,
			broken:  status.Reason == v1alpha1.SandboxReasonAgentProtocolViolation,
		}, true
	}
}

// tookTooMuch is for a sandbox that failed because its steps went beyond a limit of the template.
// Another attempt would need as much.
func tookTooMuch(sandbox *v1alpha1.Sandbox, remedy string) loss {
	return loss{
		reason: v1alpha1.TaskReasonSandboxFailed,
		message: fmt.Sprintf("sandbox %q has failed: %s: %s: %s in the template of pool %q",
			sandbox.Name, sandbox.Status.Reason, sandbox.Status.Message, remedy, sandbox.Spec.PoolRef),
		class: v1alpha1.FailureUser,
	}
}

// lostVerdict is for a task whose sandbox runs nothing any more.
func lostVerdict(t *entry, sandbox *v1alpha1.Sandbox, l loss) verdict {
	v := failedVerdict(l.reason, l.class, l.message)
	v.sandboxGone, v.final = true, l.final
	v.begun = t.begun || t.stage == running || t.restored && sandbox.Status.PodName != ""
	if v.begun {
		v.message += mayHaveRun
		switch {
		case l.podLost:
			v.reason = v1alpha1.TaskReasonAgentLost
		case l.broken:
			// As brokenVerdict has it, whoever was the first to find out.
			v.reason, v.class, v.final = v1alpha1.TaskReasonAgentProtocolViolation, v1alpha1.FailureUser, true
		}
	}
	return v
}

// endedVerdict is for a task that was stopped because its sandbox ended: it says why, and has what
// the agent says of the steps. A task that had ended by itself before it was stopped keeps its outcome.
func endedVerdict(x *execution, lost verdict, l loss, result wire.ExecutionResult) verdict {
	if result.State == wire.Succeeded || result.Reason != wire.ReasonCancelled {
		return resultVerdict(result)
	}
	lost.message = fmt.Sprintf("%s; the steps were stopped with a grace of %s", l.message, plan.TaskGrace(x.task))
	lost.begun, lost.result = true, &result
	return lost
}

// agentVerdict is for an execution of which the agent cannot tell how it went.
func agentVerdict(x *execution, why string) verdict {
	v := failedVerdict(v1alpha1.TaskReasonAgentLost, v1alpha1.FailureInfrastructure,
		fmt.Sprintf("the agent of pod %q %s", x.id.pod.Name, why)+mayHaveRun)
	v.begun = true
	return v
}

// unaccountedVerdict is for an execution whose steps may run still.
func unaccountedVerdict(x *execution, why string) verdict {
	v := failedVerdict(v1alpha1.TaskReasonAgentLost, v1alpha1.FailureInfrastructure, fmt.Sprintf(
		"the agent of pod %q %s: steps may have run and may run still, so sandbox %q has been failed and its pod is deleted", x.id.pod.Name, why, x.sandbox.Name))
	v.begun, v.sandboxGone = true, true
	return v
}

// brokenVerdict is for an execution whose agent has broken the protocol. A step of the sandbox has
// taken it over, so it is the user's failure, and another attempt would do the same again.
func brokenVerdict(x *execution, err error) verdict {
	v := failedVerdict(v1alpha1.TaskReasonAgentProtocolViolation, v1alpha1.FailureUser, fmt.Sprintf(
		"%s; sandbox %q has been failed and its pod is deleted", brokenAgent(x.id.pod.Name, err), x.sandbox.Name)+mayHaveRun)
	v.begun, v.sandboxGone, v.final = true, true, true
	return v
}

// brokenAgent says how an agent has broken the protocol.
func brokenAgent(pod string, err error) string {
	return fmt.Sprintf("the agent of pod %q has been taken over by something that runs in the pod: %v", pod, err)
}

func refusedVerdict(err error) verdict {
	return failedVerdict(v1alpha1.TaskReasonInvalidStep, v1alpha1.FailureUser, err.Error())
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
