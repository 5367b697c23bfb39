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

// statusOf describes a pool. Conditions that say the same as before keep their
// time. A remark of the runtime's is for whoever reads them.
func statusOf(pool *v1alpha1.WarmPool, counts ledger.Counts, remark string, now time.Time) *v1alpha1.WarmPoolStatus {
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

	ready := readyCondition(counts, replicas)
	if remark != "" {
		ready.Message += "; " + remark
	}
	for _, condition := range []metav1.Condition{ready, failureCondition(counts)} {
		condition.Message = clip(condition.Message)
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
		condition.Message = counts.Message
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
