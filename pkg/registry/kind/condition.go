package kind

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// ReasonPending is the reason of a new object's condition: its controller has
// not looked at it yet.
const ReasonPending = "Pending"

// Unobserved returns the conditions of a new object whose controller has yet
// to look at it. Their observedGeneration is 0, as that of the status itself.
func Unobserved(obj metav1.Object, conditionType string, status metav1.ConditionStatus) []metav1.Condition {
	return []metav1.Condition{{
		Type:               conditionType,
		Status:             status,
		LastTransitionTime: obj.GetCreationTimestamp(),
		Reason:             ReasonPending,
		Message:            "The scheduler has not looked at it yet.",
	}}
}
