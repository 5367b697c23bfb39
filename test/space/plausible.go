package space

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"arl.io/arl/pkg/apis/arl/v1alpha1"
)

// mostBytes is more than a stored task takes.
const mostBytes = 3 << 20

// Plausible returns an error that names every value of a task's status that cannot be true of a task
// that ran between begin and end, whatever its agent reports.
func Plausible(task *v1alpha1.Task, begin, end time.Time) error {
	// Times in objects may have whole seconds.
	begin, end = begin.Add(-time.Second), end.Add(time.Second)
	var errs []error
	wrong := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	duration := func(what, text string) {
		value, err := time.ParseDuration(text)
		if text != "" && (err != nil || value < 0 || value > end.Sub(begin)) {
			wrong("%s: the duration is %q, want 0 to %s", what, text, end.Sub(begin))
		}
	}
	states := []v1alpha1.StepState{
		v1alpha1.StepPending, v1alpha1.StepRunning, v1alpha1.StepSucceeded, v1alpha1.StepFailed, v1alpha1.StepSkipped,
	}
	if got, most := len(task.Status.Steps), len(task.Spec.Steps); got > most {
		wrong("%d steps have a status, of %d", got, most)
	}
	for i, step := range task.Status.Steps {
		what := fmt.Sprintf("step %d", i)
		if start := step.StartTime; start != nil && (start.Time.Before(begin) || start.Time.After(end)) {
			wrong("%s: it started at %s, want %s to %s", what, start, begin, end)
		}
		if !slices.Contains(states, step.State) {
			wrong("%s: the state is %q", what, step.State)
		}
		duration(what, step.Duration)
	}
	duration("task", task.Status.Duration)
	if text, err := json.Marshal(task); err != nil || len(text) > mostBytes {
		wrong("it takes %d bytes as JSON, want at most %d: %v", len(text), mostBytes, err)
	}
	return errors.Join(errs...)
}
