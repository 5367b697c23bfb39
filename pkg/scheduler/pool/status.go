package pool

import (
	"fmt"
	"strings"
	"time"

	apiequality "k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"arl.io/arl/pkg/apis/arl/v1alpha1"
	"arl.io/arl/pkg/podruntime"
	"arl.io/arl/pkg/scheduler/ledger"
	"arl.io/arl/pkg/scheduler/plan"
)

var updateOptions = metav1.UpdateOptions{FieldManager: "arl-scheduler"}

// opinion is what the runtime has to say about a template.
type opinion struct {
	advice podruntime.Advice
	// err is set if no pod can be made from it.
	err error
}

// statusOf describes a pool. Conditions that say the same as before keep their time.
func statusOf(pool *v1alpha1.WarmPool, counts ledger.Counts, template opinion, now time.Time) *v1alpha1.WarmPoolStatus {
	replicas := 1
	if pool.Spec.Replicas != nil {
		replicas = int(*pool.Spec.Replicas)
	}
	status := pool.Status.DeepCopy()
	status.ObservedGeneration = pool.Generation
	status.Phase = plan.PoolPhase(replicas, counts.Ready, counts.Failing, pool.DeletionTimestamp != nil)
	status.Replicas = int32(counts.Unused)
	status.ReadyReplicas = int32(counts.Ready)
	status.UpdatedReplicas = int32(counts.Updated)
	status.AllocatedReplicas = int32(counts.Allocated)
	status.PendingSandboxes = int32(counts.Waiting)
	status.Selector = podruntime.LabelPool + "=" + pool.Name

	for _, condition := range []metav1.Condition{
		readyCondition(counts, replicas), failureCondition(counts), templateCondition(counts, template),
	} {
		condition.ObservedGeneration = pool.Generation
		condition.LastTransitionTime = metav1.NewTime(now)
		meta.SetStatusCondition(&status.Conditions, condition)
	}
	return status
}

func readyCondition(counts ledger.Counts, replicas int) metav1.Condition {
	condition := metav1.Condition{
		Type:    v1alpha1.WarmPoolConditionReady,
		Status:  metav1.ConditionTrue,
		Reason:  "EnoughIdlePods",
		Message: "as many pods as wanted are idle and ready",
	}
	if counts.Ready < replicas {
		condition.Status = metav1.ConditionFalse
		condition.Reason = "PodsStarting"
		condition.Message = fmt.Sprintf("%d of %d wanted pods are idle and ready", counts.Ready, replicas)
		if counts.Failing {
			condition.Reason = "PodsFailing"
			condition.Message += ", and ReplicaFailure says what keeps others from it"
		}
	}
	return condition
}

func failureCondition(counts ledger.Counts) metav1.Condition {
	condition := metav1.Condition{
		Type:    v1alpha1.WarmPoolConditionReplicaFailure,
		Status:  metav1.ConditionFalse,
		Reason:  "NoFailure",
		Message: "nothing is known that would keep pods from starting",
	}
	if counts.Failing {
		condition.Status = metav1.ConditionTrue
		condition.Reason = wordOr(counts.Reason, podruntime.ReasonStart)
		condition.Message = clip(counts.Message)
		if !counts.RetryAt.IsZero() {
			condition.Message += "; not tried again before " + counts.RetryAt.UTC().Format(time.RFC3339)
		}
	}
	return condition
}

// templateCondition is False for what the runtime refuses and for what the
// cluster behind it has refused, and otherwise True, whatever there is to say.
func templateCondition(counts ledger.Counts, template opinion) metav1.Condition {
	condition := metav1.Condition{
		Type:    v1alpha1.WarmPoolConditionTemplateAccepted,
		Status:  metav1.ConditionTrue,
		Reason:  "Accepted",
		Message: "pods are made from the template",
	}
	switch {
	case template.err != nil:
		condition.Status, condition.Reason, condition.Message = metav1.ConditionFalse, ReasonInvalidTemplate, clip(template.err.Error())
	case counts.Failing && counts.Reason == ReasonInvalidTemplate:
		condition.Status, condition.Reason, condition.Message = metav1.ConditionFalse, ReasonInvalidTemplate, clip(counts.Message)
	case template.advice.Reason != "":
		condition.Reason, condition.Message = template.advice.Reason, clip(template.advice.Message)
	}
	return condition
}

// maxMessage is what a condition's message may have.
const maxMessage = 1024

func clip(message string) string {
	if len(message) <= maxMessage {
		return message
	}
	return strings.ToValidUTF8(message[:maxMessage-3], "") + "..."
}

// wordOr returns the reason, which a condition must not be without.
func wordOr(reason, otherwise string) string {
	if reason == "" {
		return otherwise
	}
	return reason
}

// sameStatus compares what statuses say.
func sameStatus(a, b *v1alpha1.WarmPoolStatus) bool {
	return apiequality.Semantic.DeepEqual(a, b)
}
