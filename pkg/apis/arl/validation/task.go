package validation

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"

	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"arl.io/arl/pkg/apis/arl"
)

const (
	// MaxTaskSteps bounds the steps of a task.
	MaxTaskSteps = 256

	maxTaskRetries    = 10
	maxTaskTTLSeconds = 365 * 24 * 60 * 60
	// maxGracePeriodSeconds is what the agent accepts.
	maxGracePeriodSeconds = 60 * 60
	maxTraceID            = 256
)

// ValidateTask says what is wrong with a task that is to be created.
func ValidateTask(task *arl.Task) field.ErrorList {
	errs := apivalidation.ValidateObjectMeta(&task.ObjectMeta, true,
		nameValidator(validation.DNS1123LabelMaxLength), field.NewPath("metadata"))
	spec, fldPath := &task.Spec, field.NewPath("spec")
	errs = append(errs, validateTaskTarget(spec, fldPath)...)
	errs = append(errs, validateTaskSteps(spec.Steps, fldPath.Child("steps"))...)
	errs = append(errs, validateTimeout(spec.Timeout, fldPath.Child("timeout"))...)
	errs = append(errs, validateRange(spec.Retries, 0, maxTaskRetries, fldPath.Child("retries"))...)
	errs = append(errs, validateEnum(spec.RetryPolicy, fldPath.Child("retryPolicy"),
		arl.RetryInfrastructure, arl.RetryAlways)...)
	errs = append(errs, validateOptionalRange(spec.TTLSecondsAfterFinished, 0, maxTaskTTLSeconds,
		fldPath.Child("ttlSecondsAfterFinished"))...)
	errs = append(errs, validateOptionalRange(spec.TerminationGracePeriodSeconds, 0, maxGracePeriodSeconds,
		fldPath.Child("terminationGracePeriodSeconds"))...)
	errs = append(errs, validateOptionalEnum(spec.RetentionPolicy, fldPath.Child("retentionPolicy"),
		arl.RetentionDelete, arl.RetentionRetain)...)
	if spec.RetentionPolicy == arl.RetentionRetain && spec.TTLSecondsAfterFinished != nil {
		errs = append(errs, field.Forbidden(fldPath.Child("ttlSecondsAfterFinished"),
			"must not be set with retentionPolicy Retain, which keeps the task until it is deleted: leave out one of them"))
	}
	errs = append(errs, validateTraceID(spec.TraceID, fldPath.Child("traceID"))...)
	return append(errs, validateTaskSize(task, fldPath)...)
}

// ValidateTaskUpdate says what is wrong with a change from old to task. The
// one change of a task's spec is that cancel becomes true.
func ValidateTaskUpdate(task, old *arl.Task) field.ErrorList {
	errs := apivalidation.ValidateObjectMetaUpdate(&task.ObjectMeta, &old.ObjectMeta, field.NewPath("metadata"))
	spec, was, fldPath := &task.Spec, &old.Spec, field.NewPath("spec")
	errs = append(errs, validateImmutable(spec.SandboxRef, was.SandboxRef, fldPath.Child("sandboxRef"))...)
	errs = append(errs, validateImmutable(spec.PoolRef, was.PoolRef, fldPath.Child("poolRef"))...)
	errs = append(errs, validateImmutable(spec.Steps, was.Steps, fldPath.Child("steps"))...)
	errs = append(errs, validateImmutable(spec.Timeout, was.Timeout, fldPath.Child("timeout"))...)
	errs = append(errs, validateImmutable(spec.Retries, was.Retries, fldPath.Child("retries"))...)
	errs = append(errs, validateImmutable(spec.RetryPolicy, was.RetryPolicy, fldPath.Child("retryPolicy"))...)
	errs = append(errs, validateImmutable(spec.TTLSecondsAfterFinished, was.TTLSecondsAfterFinished,
		fldPath.Child("ttlSecondsAfterFinished"))...)
	errs = append(errs, validateImmutable(spec.TerminationGracePeriodSeconds, was.TerminationGracePeriodSeconds,
		fldPath.Child("terminationGracePeriodSeconds"))...)
	errs = append(errs, validateImmutable(spec.RetentionPolicy, was.RetentionPolicy, fldPath.Child("retentionPolicy"))...)
	errs = append(errs, validateImmutable(spec.TraceID, was.TraceID, fldPath.Child("traceID"))...)
	if was.Cancel && !spec.Cancel {
		errs = append(errs, field.Invalid(fldPath.Child("cancel"), false, "must stay true once set: a cancelled task cannot be resumed"))
	}
	return append(errs, ifNew(validateTaskSize(task, fldPath), validateTaskSize(old, fldPath))...)
}

// validateTaskTarget wants exactly one of sandboxRef and poolRef.
func validateTaskTarget(spec *arl.TaskSpec, fldPath *field.Path) field.ErrorList {
	const exactlyOne = "exactly one of sandboxRef and poolRef must be set"
	sandboxRef, poolRef := fldPath.Child("sandboxRef"), fldPath.Child("poolRef")
	switch {
	case spec.SandboxRef == "" && spec.PoolRef == "":
		return field.ErrorList{field.Required(sandboxRef, exactlyOne)}
	case spec.SandboxRef != "" && spec.PoolRef != "":
		return field.ErrorList{field.Forbidden(poolRef, exactlyOne)}
	case spec.SandboxRef != "":
		return validateName(spec.SandboxRef, validation.DNS1123LabelMaxLength, sandboxRef)
	default:
		return validateName(spec.PoolRef, MaxWarmPoolNameLength, poolRef)
	}
}

// validateTraceID bounds what logs and traces carry, and keeps it on one line.
func validateTraceID(traceID string, fldPath *field.Path) field.ErrorList {
	if utf8.RuneCountInString(traceID) > maxTraceID {
		return field.ErrorList{field.TooLongCharacters(fldPath, "", maxTraceID)}
	}
	if strings.ContainsFunc(traceID, unicode.IsControl) {
		return field.ErrorList{field.Invalid(fldPath, traceID, "must not contain control characters")}
	}
	return nil
}

func validateTaskSteps(steps []arl.TaskStep, fldPath *field.Path) field.ErrorList {
	if len(steps) == 0 {
		return field.ErrorList{field.Required(fldPath, fmt.Sprintf("must have 1 to %d steps", MaxTaskSteps))}
	}
	if len(steps) > MaxTaskSteps {
		return field.ErrorList{field.TooMany(fldPath, len(steps), MaxTaskSteps)}
	}
	var errs field.ErrorList
	seen := make(map[string]bool, len(steps))
	for i := range steps {
		step, stepPath := &steps[i], fldPath.Index(i)
		if seen[step.Name] && step.Name != "" {
			errs = append(errs, field.Duplicate(stepPath.Child("name"), step.Name))
		}
		seen[step.Name] = true
		errs = append(errs, validateStep(step, stepPath)...)
	}
	return errs
}
