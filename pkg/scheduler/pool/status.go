package pool

import (
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

// stallAfter is how long pods may fail to start before the pool counts as stalled. It is what a
// Deployment gives its pods by default.
const stallAfter = 10 * time.Minute

// statusOf describes a pool. Conditions that say the same as before keep their time.
func statusOf(pool *v1alpha1.WarmPool, state ledger.State, template opinion, now time.Time) *v1alpha1.WarmPoolStatus {
	v := view{State: state, replicas: 1, terminating: pool.DeletionTimestamp != nil}
	if pool.Spec.Replicas != nil {
		v.replicas = int(*pool.Spec.Replicas)
	}
	status := pool.Status.DeepCopy()
	status.ObservedGeneration = pool.Generation
	status.Phase = plan.PoolPhase(plan.Want{Replicas: v.replicas, Waiting: v.Waiting}, v.Ready, v.Failing, v.terminating)
	status.Replicas = int32(v.Unused)
	status.ReadyReplicas = int32(v.Ready)
	status.UpdatedReplicas = int32(v.Updated)
	status.AllocatedReplicas = int32(v.Allocated)
	status.PendingSandboxes = int32(v.Waiting)
	status.Selector = podruntime.LabelPool + "=" + pool.Name

	set := func(condition metav1.Condition) {
		condition.ObservedGeneration = pool.Generation
		condition.LastTransitionTime = metav1.NewTime(now)
		meta.SetStatusCondition(&status.Conditions, condition)
	}
	v.template = templateCondition(v.Counts, template)
	set(v.template)
	set(failureCondition(v.Counts))
	ready := readyCondition(v)
	set(ready)
	set(filledCondition(v))
	set(updatedCondition(v))
	set(progressingCondition(v))
	setHealth(status, v, ready, set, now)
	return status
}

// setHealth sets Reconciling or Stalled, or removes them. They are what tools go by that know no other
// condition, so claims change neither.
func setHealth(status *v1alpha1.WarmPoolStatus, v view, ready metav1.Condition, set func(metav1.Condition), now time.Time) {
	stalled := v.template.Status == metav1.ConditionFalse
	if at, failing := stallTime(status); failing && !now.Before(at) {
		stalled = true
	}
	done := ready.Status == metav1.ConditionTrue && v.updated()
	meta.RemoveStatusCondition(&status.Conditions, v1alpha1.ConditionReconciling)
	meta.RemoveStatusCondition(&status.Conditions, v1alpha1.ConditionStalled)
	switch why := ready; {
	case v.terminating:
	case stalled:
		why.Type, why.Status = v1alpha1.ConditionStalled, metav1.ConditionTrue
		set(why)
	case !done:
		if ready.Status == metav1.ConditionTrue {
			why = updatedCondition(v)
		}
		why.Type, why.Status = v1alpha1.ConditionReconciling, metav1.ConditionTrue
		set(why)
	}
}

// stallTime returns when a pool whose pods fail to start counts as stalled. It follows from the stored
// status, so a restart of the server changes nothing.
func stallTime(status *v1alpha1.WarmPoolStatus) (at time.Time, failing bool) {
	failure := meta.FindStatusCondition(status.Conditions, v1alpha1.WarmPoolConditionReplicaFailure)
	if failure == nil || failure.Status != metav1.ConditionTrue {
		return time.Time{}, false
	}
	return failure.LastTransitionTime.Add(stallAfter), true
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
			condition.Message += ledger.RetryMark + counts.RetryAt.UTC().Format(time.RFC3339)
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
