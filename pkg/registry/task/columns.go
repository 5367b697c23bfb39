package task

import (
	"fmt"
	"strconv"
	"time"

	"arl.io/arl/pkg/apis/arl"
	"arl.io/arl/pkg/registry/kind"
)

var columns = []kind.Column[*arl.Task]{
	{Name: "Sandbox", Description: "Sandbox in which the steps run.",
		Cell: func(t *arl.Task, _ time.Time) any { return sandbox(t) }},
	{Name: "State", Description: "Pending, Running, Succeeded or Failed.",
		Cell: func(t *arl.Task, _ time.Time) any { return kind.OrNone(t.Status.State) }},
	{Name: "Reason", Description: "Why the task is in its state.",
		Cell: func(t *arl.Task, _ time.Time) any { return kind.OrNone(t.Status.Reason) }},
	{Name: "Exit", Description: "Exit code of the step that decided the outcome.",
		Cell: func(t *arl.Task, _ time.Time) any { return exitCode(t) }},
	{Name: "Duration", Description: "How long the last attempt took, or the task has been running.",
		Cell: func(t *arl.Task, now time.Time) any { return elapsed(t, now) }},
	{Name: "Pool", Wide: true, Description: "Pool that a sandbox is taken from for this task alone.",
		Cell: func(t *arl.Task, _ time.Time) any { return kind.OrNone(t.Spec.PoolRef) }},
	{Name: "Pod", Wide: true, Description: "Pod in which the steps run.",
		Cell: func(t *arl.Task, _ time.Time) any { return kind.OrNone(t.Status.PodName) }},
	{Name: "Attempts", Type: "integer", Wide: true, Description: "Number of attempts that were started.",
		Cell: func(t *arl.Task, _ time.Time) any { return int64(t.Status.Attempts) }},
	{Name: "Steps", Wide: true, Description: "Steps that ended, of all steps.",
		Cell: func(t *arl.Task, _ time.Time) any { return progress(t) }},
}

// sandbox is the one the task runs in, as soon as there is one.
func sandbox(t *arl.Task) string {
	if t.Status.SandboxName != "" {
		return t.Status.SandboxName
	}
	return kind.OrNone(t.Spec.SandboxRef)
}

func exitCode(t *arl.Task) string {
	if t.Status.ExitCode == nil {
		return kind.None
	}
	return strconv.Itoa(int(*t.Status.ExitCode))
}

func elapsed(t *arl.Task, now time.Time) string {
	if d, err := time.ParseDuration(t.Status.Duration); err == nil {
		return kind.Elapsed(d)
	}
	if t.Status.State == arl.TaskRunning && t.Status.StartTime != nil {
		return kind.Elapsed(now.Sub(t.Status.StartTime.Time))
	}
	return kind.None
}

func progress(t *arl.Task) string {
	ended := 0
	for _, s := range t.Status.Steps {
		if s.State == arl.StepSucceeded || s.State == arl.StepFailed {
			ended++
		}
	}
	return fmt.Sprintf("%d/%d", ended, len(t.Spec.Steps))
}
