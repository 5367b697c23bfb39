package execute

import (
	"maps"
	"time"

	"k8s.io/utils/ptr"

	"arl.io/arl/pkg/agent/wire"
	"arl.io/arl/pkg/apis/arl/v1alpha1"
	"arl.io/arl/pkg/scheduler/plan"
)

// requestOf returns what the agent is to run of a whole task.
func requestOf(x *execution, task *v1alpha1.Task, outputLimit int) wire.Execution {
	steps := make([]wire.Step, len(task.Spec.Steps))
	for i := range task.Spec.Steps {
		step := &task.Spec.Steps[i]
		steps[i] = wire.Step{
			Name:              step.Name,
			Type:              string(step.Type),
			ContinueOnFailure: step.OnFailure == v1alpha1.FailureContinue,
			Command:           step.Command,
			Env:               step.Env,
			WorkDir:           step.WorkDir,
			Stdin:             step.Stdin,
			TimeoutMillis:     millis(plan.Timeout(step.Timeout)),
			Path:              step.Path,
			Content:           step.Content,
			Patch:             step.Patch,
			Mode:              step.Mode,
		}
	}
	return wire.Execution{
		ID:               x.id.id,
		Steps:            steps,
		TimeoutMillis:    millis(plan.TaskTimeout(task)),
		Env:              envOf(x.sandbox, task),
		WorkDir:          x.sandbox.Status.WorkDir,
		OutputLimitBytes: outputLimit,
		GraceMillis:      ptr.To(millis(plan.TaskGrace(task))),
	}
}

// envOf returns the environment of all steps: the sandbox's, with the task's trace ID.
func envOf(sandbox *v1alpha1.Sandbox, task *v1alpha1.Task) map[string]string {
	if task.Spec.TraceID == "" {
		return sandbox.Spec.Env
	}
	env := make(map[string]string, len(sandbox.Spec.Env)+1)
	maps.Copy(env, sandbox.Spec.Env)
	env[wire.TraceVariable] = task.Spec.TraceID
	return env
}

// millis rounds up, so that a timeout below a millisecond does not become none.
func millis(d time.Duration) int64 {
	return int64((d + time.Millisecond - 1) / time.Millisecond)
}
