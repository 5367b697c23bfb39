package validation

import (
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metav1validation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"arl.io/arl/pkg/apis/arl"
)

const (
	// MaxWarmPoolNameLength leaves room, in the 63 characters of a pod's host
	// name, for the "-" and the 10 random characters that tell the pods of a
	// pool apart.
	MaxWarmPoolNameLength = 52

	maxWarmPoolReplicas = 10000
)

// ValidateWarmPool says what is wrong with a pool that is to be created.
func ValidateWarmPool(pool *arl.WarmPool) field.ErrorList {
	errs := apivalidation.ValidateObjectMeta(&pool.ObjectMeta, true,
		nameValidator(MaxWarmPoolNameLength), field.NewPath("metadata"))
	errs = append(errs, validateStoredSize(storedSizeOfWarmPool(pool), field.NewPath("spec"))...)
	return append(errs, validateWarmPoolSpec(&pool.Spec, field.NewPath("spec"))...)
}

// ValidateWarmPoolUpdate says what is wrong with a change from old to pool.
// All of a pool's spec may change.
func ValidateWarmPoolUpdate(pool, old *arl.WarmPool) field.ErrorList {
	errs := apivalidation.ValidateObjectMetaUpdate(&pool.ObjectMeta, &old.ObjectMeta, field.NewPath("metadata"))
	if !apiequality.Semantic.DeepEqual(pool.Spec, old.Spec) {
		errs = append(errs, validateWarmPoolSpec(&pool.Spec, field.NewPath("spec"))...)
	}
	return append(errs, ifNew(validateStoredSize(storedSizeOfWarmPool(pool), field.NewPath("spec")),
		validateStoredSize(storedSizeOfWarmPool(old), field.NewPath("spec")))...)
}

func validateWarmPoolSpec(spec *arl.WarmPoolSpec, fldPath *field.Path) field.ErrorList {
	var errs field.ErrorList
	if spec.Replicas == nil {
		errs = append(errs, field.Required(fldPath.Child("replicas"), ""))
	}
	errs = append(errs, validateOptionalRange(spec.Replicas, 0, maxWarmPoolReplicas, fldPath.Child("replicas"))...)
	errs = append(errs, validatePodTemplate(&spec.Template, fldPath.Child("template"))...)
	if spec.MaxPods != nil && *spec.MaxPods < 1 {
		errs = append(errs, field.Invalid(fldPath.Child("maxPods"), *spec.MaxPods, "must be at least 1, or unset for no cap"))
	}
	errs = append(errs, validateAbsoluteDir(spec.WorkDir, fldPath.Child("workDir"))...)
	errs = append(errs, validateEnum(spec.ReclaimPolicy, fldPath.Child("reclaimPolicy"), arl.ReclaimDelete)...)
	errs = append(errs, validateEnum(spec.UpdateStrategy.Type, fldPath.Child("updateStrategy", "type"),
		arl.UpdateOnReplenish, arl.UpdateRecreate)...)
	errs = append(errs, validateEnum(spec.SandboxLabel, fldPath.Child("sandboxLabel"), arl.SandboxLabelNone, arl.SandboxLabelName)...)
	timeouts := lifecycleTimeouts{
		idle:        spec.IdleTimeoutSeconds,
		maxLifetime: spec.MaxLifetimeSeconds,
		allocation:  spec.AllocationTimeoutSeconds,
	}
	return append(errs, timeouts.validate(fldPath)...)
}

// ValidateWarmPoolStatusUpdate says what is wrong with a change of status.
func ValidateWarmPoolStatusUpdate(pool, old *arl.WarmPool) field.ErrorList {
	errs := apivalidation.ValidateObjectMetaUpdate(&pool.ObjectMeta, &old.ObjectMeta, field.NewPath("metadata"))
	status, fldPath := &pool.Status, field.NewPath("status")
	errs = append(errs, apivalidation.ValidateNonnegativeField(status.ObservedGeneration, fldPath.Child("observedGeneration"))...)
	errs = append(errs, validateOptionalEnum(status.Phase, fldPath.Child("phase"),
		arl.WarmPoolPending, arl.WarmPoolReady, arl.WarmPoolDegraded, arl.WarmPoolTerminating)...)
	errs = append(errs, validateCounters(fldPath, map[string]int32{
		"replicas":          status.Replicas,
		"readyReplicas":     status.ReadyReplicas,
		"allocatedReplicas": status.AllocatedReplicas,
		"updatedReplicas":   status.UpdatedReplicas,
		"pendingSandboxes":  status.PendingSandboxes,
	})...)
	if _, err := labels.Parse(status.Selector); err != nil {
		errs = append(errs, field.Invalid(fldPath.Child("selector"), status.Selector, "must be a label selector: "+err.Error()))
	}
	return append(errs, metav1validation.ValidateConditions(status.Conditions, fldPath.Child("conditions"))...)
}
