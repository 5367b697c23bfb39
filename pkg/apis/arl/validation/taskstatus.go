package validation

import (
	"time"

	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metav1validation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"arl.io/arl/pkg/apis/arl"
)

// ValidateTaskStatusUpdate says what is wrong with a change of status.
// Succeeded and Failed are final.
func ValidateTaskStatusUpdate(task, old *arl.Task) field.ErrorList {
	errs := apivalidation.ValidateObjectMetaUpdate(&task.ObjectMeta, &old.ObjectMeta, field.NewPath("metadata"))
	status, was, fldPath := &task.Status, &old.Status, field.NewPath("status")
	errs = append(errs, apivalidation.ValidateNonnegativeField(status.ObservedGeneration, fldPath.Child("observedGeneration"))...)
	errs = append(errs, validateOptionalEnum(status.State, fldPath.Child("state"),
		arl.TaskPending, arl.TaskRunning, arl.TaskSucceeded, arl.TaskFailed)...)
	if was.State == arl.TaskSucceeded || was.State == arl.TaskFailed {
		errs = append(errs, validateSetOnce(status.State, was.State, fldPath.Child("state"))...)
	}
	errs = append(errs, validateOptionalEnum(status.FailureClass, fldPath.Child("failureClass"),
		arl.FailureUser, arl.FailureInfrastructure)...)
	errs = append(errs, validateCounters(fldPath, map[string]int32{"attempts": status.Attempts})...)
	errs = append(errs, validateDuration(status.Duration, fldPath.Child("duration"))...)
	errs = append(errs, validateStepStatuses(status.Steps, fldPath.Child("steps"))...)
	return append(errs, metav1validation.ValidateConditions(status.Conditions, fldPath.Child("conditions"))...)
}

func validateStepStatuses(steps []arl.TaskStepStatus, fldPath *field.Path) field.ErrorList {
	if len(steps) > MaxTaskSteps {
		return field.ErrorList{field.TooMany(fldPath, len(steps), MaxTaskSteps)}
	}
	var errs field.ErrorList
	for i := range steps {
		step, stepPath := &steps[i], fldPath.Index(i)
		errs = append(errs, validateStepName(step.Name, stepPath.Child("name"))...)
		errs = append(errs, validateEnum(step.State, stepPath.Child("state"),
			arl.StepPending, arl.StepRunning, arl.StepSucceeded, arl.StepFailed, arl.StepSkipped)...)
		errs = append(errs, validateCounters(stepPath, map[string]int64{
			"stdoutBytes": step.StdoutBytes,
			"stderrBytes": step.StderrBytes,
		})...)
		errs = append(errs, validateDuration(step.Duration, stepPath.Child("duration"))...)
	}
	return errs
}

// validateDuration accepts a Go duration string that is not negative, or none.
func validateDuration(duration string, fldPath *field.Path) field.ErrorList {
	if duration == "" {
		return nil
	}
	if d, err := time.ParseDuration(duration); err != nil || d < 0 {
		return field.ErrorList{field.Invalid(fldPath, duration, `must be a Go duration string such as "1.5s", and not negative`)}
	}
	return nil
}
