package validation

import (
	corev1 "k8s.io/api/core/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metav1validation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"arl.io/arl/pkg/apis/arl"
)

const (
	maxSandboxPriority    = 1000000
	maxSandboxTasksAtOnce = 64
)

// ValidateSandbox says what is wrong with a sandbox that is to be created.
func ValidateSandbox(sandbox *arl.Sandbox) field.ErrorList {
	errs := apivalidation.ValidateObjectMeta(&sandbox.ObjectMeta, true,
		nameValidator(validation.DNS1123LabelMaxLength), field.NewPath("metadata"))
	spec, fldPath := &sandbox.Spec, field.NewPath("spec")
	errs = append(errs, validateSandboxPoolRef(spec.PoolRef, fldPath.Child("poolRef"))...)
	errs = append(errs, validateSandboxResources(spec.Resources, fldPath.Child("resources"))...)
	errs = append(errs, validateRange(spec.Priority, -maxSandboxPriority, maxSandboxPriority, fldPath.Child("priority"))...)
	errs = append(errs, validateEnv(spec.Env, fldPath.Child("env"))...)
	errs = append(errs, validateSandboxExec(spec.Env, fldPath.Child("env"))...)
	errs = append(errs, validateStoredSize(storedSizeOfSandbox(sandbox), fldPath)...)
	return append(errs, validateSandboxLimits(spec, fldPath)...)
}

// ValidateSandboxUpdate says what is wrong with a change from old to sandbox.
func ValidateSandboxUpdate(sandbox, old *arl.Sandbox) field.ErrorList {
	errs := apivalidation.ValidateObjectMetaUpdate(&sandbox.ObjectMeta, &old.ObjectMeta, field.NewPath("metadata"))
	spec, was, fldPath := &sandbox.Spec, &old.Spec, field.NewPath("spec")
	errs = append(errs, validateImmutable(spec.PoolRef, was.PoolRef, fldPath.Child("poolRef"))...)
	errs = append(errs, validateImmutable(spec.Resources, was.Resources, fldPath.Child("resources"))...)
	errs = append(errs, validateImmutable(spec.AllocationTimeoutSeconds, was.AllocationTimeoutSeconds,
		fldPath.Child("allocationTimeoutSeconds"))...)
	errs = append(errs, validateImmutable(spec.Priority, was.Priority, fldPath.Child("priority"))...)
	errs = append(errs, validateImmutable(spec.Env, was.Env, fldPath.Child("env"))...)
	if !apiequality.Semantic.DeepEqual(spec, was) {
		errs = append(errs, validateSandboxLimits(spec, fldPath)...)
	}
	return append(errs, ifNew(validateStoredSize(storedSizeOfSandbox(sandbox), fldPath),
		validateStoredSize(storedSizeOfSandbox(old), fldPath))...)
}

func validateSandboxPoolRef(poolRef string, fldPath *field.Path) field.ErrorList {
	if poolRef == "" {
		return field.ErrorList{field.Required(fldPath, "must name a WarmPool of the same namespace")}
	}
	return validateName(poolRef, MaxWarmPoolNameLength, fldPath)
}

// validateSandboxResources accepts requests alone: a pod that is running
// already cannot be given limits.
func validateSandboxResources(resources *corev1.ResourceRequirements, fldPath *field.Path) field.ErrorList {
	if resources == nil {
		return nil
	}
	errs := validateResourceList(resources.Requests, fldPath.Child("requests"))
	if len(resources.Limits) > 0 {
		errs = append(errs, field.Forbidden(fldPath.Child("limits"), "only requests may be set: limits are those of the pool's template"))
	}
	if len(resources.Claims) > 0 {
		errs = append(errs, field.Forbidden(fldPath.Child("claims"), "only requests may be set"))
	}
	return errs
}

// validateSandboxLimits checks the fields that may be changed.
func validateSandboxLimits(spec *arl.SandboxSpec, fldPath *field.Path) field.ErrorList {
	timeouts := lifecycleTimeouts{
		idle:        spec.IdleTimeoutSeconds,
		maxLifetime: spec.MaxLifetimeSeconds,
		allocation:  spec.AllocationTimeoutSeconds,
	}
	errs := timeouts.validate(fldPath)
	if spec.MaxConcurrentTasks == nil {
		errs = append(errs, field.Required(fldPath.Child("maxConcurrentTasks"), ""))
	}
	return append(errs, validateOptionalRange(spec.MaxConcurrentTasks, 1, maxSandboxTasksAtOnce, fldPath.Child("maxConcurrentTasks"))...)
}

// ValidateSandboxStatusUpdate says what is wrong with a change of status. A
// sandbox holds one pod in its life, and Failed is final.
func ValidateSandboxStatusUpdate(sandbox, old *arl.Sandbox) field.ErrorList {
	errs := apivalidation.ValidateObjectMetaUpdate(&sandbox.ObjectMeta, &old.ObjectMeta, field.NewPath("metadata"))
	status, was, fldPath := &sandbox.Status, &old.Status, field.NewPath("status")
	errs = append(errs, apivalidation.ValidateNonnegativeField(status.ObservedGeneration, fldPath.Child("observedGeneration"))...)
	errs = append(errs, validateOptionalEnum(status.Phase, fldPath.Child("phase"),
		arl.SandboxPending, arl.SandboxReady, arl.SandboxFailed)...)
	if was.Phase == arl.SandboxFailed {
		errs = append(errs, validateSetOnce(status.Phase, was.Phase, fldPath.Child("phase"))...)
	}
	errs = append(errs, validateSetOnce(status.PodName, was.PodName, fldPath.Child("podName"))...)
	errs = append(errs, validateSetOnce(status.PodUID, was.PodUID, fldPath.Child("podUID"))...)
	if status.PodIP != "" {
		errs = append(errs, validation.IsValidIP(fldPath.Child("podIP"), status.PodIP)...)
	}
	if status.QueuePosition != nil && *status.QueuePosition < 1 {
		errs = append(errs, field.Invalid(fldPath.Child("queuePosition"), *status.QueuePosition, "must be at least 1, or unset"))
	}
	return append(errs, metav1validation.ValidateConditions(status.Conditions, fldPath.Child("conditions"))...)
}
