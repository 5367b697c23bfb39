package v1alpha1

import (
	"fmt"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/runtime"
)

// Labels of the field selectors beyond metadata.name and metadata.namespace,
// which every kind has. The registry keeps an index of each.
const (
	// FieldSandboxPoolRef selects Sandboxes by the pool they claim from.
	FieldSandboxPoolRef = "spec.poolRef"
	// FieldSandboxPhase selects Sandboxes by phase.
	FieldSandboxPhase = "status.phase"
	// FieldSandboxPodName selects Sandboxes by the pod they hold.
	FieldSandboxPodName = "status.podName"
	// FieldTaskSandboxRef selects Tasks by the sandbox they name.
	FieldTaskSandboxRef = "spec.sandboxRef"
	// FieldTaskPoolRef selects Tasks by the pool they name.
	FieldTaskPoolRef = "spec.poolRef"
	// FieldTaskState selects Tasks by state.
	FieldTaskState = "status.state"
)

// addFieldLabelConversions says which field selectors each kind supports. The
// labels are the same in the internal version.
func addFieldLabelConversions(scheme *runtime.Scheme) error {
	for kind, labels := range map[string][]string{
		"WarmPool": nil,
		"Sandbox":  {FieldSandboxPoolRef, FieldSandboxPhase, FieldSandboxPodName},
		"Task":     {FieldTaskSandboxRef, FieldTaskPoolRef, FieldTaskState},
	} {
		labels = append([]string{"metadata.name", "metadata.namespace"}, labels...)
		gvk := SchemeGroupVersion.WithKind(kind)
		if err := scheme.AddFieldLabelConversionFunc(gvk, fieldLabelConversion(kind, labels)); err != nil {
			return fmt.Errorf("adding the field selectors of %s: %w", kind, err)
		}
	}
	return nil
}

// fieldLabelConversion accepts the given labels, and for any other returns an
// error that names them.
func fieldLabelConversion(kind string, labels []string) runtime.FieldLabelConversionFunc {
	return func(label, value string) (internalLabel, internalValue string, err error) {
		if slices.Contains(labels, label) {
			return label, value, nil
		}
		return "", "", fmt.Errorf("field selector %q is not supported for %s: use one of %s",
			label, kind, strings.Join(labels, ", "))
	}
}
