package pool

import (
	"fmt"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"arl.io/arl/pkg/apis/arl/v1alpha1"
	"arl.io/arl/pkg/scheduler/ledger"
)

// view is what the conditions of a pool are made from.
type view struct {
	ledger.State
	replicas    int
	terminating bool
	// template is the condition TemplateAccepted.
	template metav1.Condition
}

func (v view) filled() bool { return v.Ready >= v.replicas }

// proven says whether pods can be expected to start. A cold pool starts none before a sandbox asks for
// one, so its template counts as proven until a pod fails.
func (v view) proven() bool { return v.Proven || v.replicas == 0 }

func (v view) updated() bool { return v.Ready == v.Updated && v.proven() }

// blocked returns why pods that are wanted are not started, if anything keeps them from it.
func (v view) blocked() (reason, message string, blocked bool) {
	switch {
	case v.terminating:
		return v1alpha1.WarmPoolReasonTerminating,
			fmt.Sprintf("the pool is being deleted and stays until no sandbox uses its pods; %d do", v.Allocated), true
	case v.template.Status == metav1.ConditionFalse:
		return v.template.Reason, v.template.Message, true
	case v.Failing:
		failure := failureCondition(v.Counts)
		return failure.Reason, failure.Message, true
	case v.Capped && v.Unused == v.Ready:
		return v1alpha1.WarmPoolReasonMaxPodsReached,
			"the pool has as many pods as spec.maxPods allows: the next is started when a sandbox is deleted; raise spec.maxPods to have more", true
	}
	return "", "", false
}

func condition(kind string, isTrue bool, reason, message string) metav1.Condition {
	status := metav1.ConditionFalse
	if isTrue {
		status = metav1.ConditionTrue
	}
	return metav1.Condition{Type: kind, Status: status, Reason: reason, Message: message}
}

func readyCondition(v view) metav1.Condition {
	const kind = v1alpha1.WarmPoolConditionReady
	reason, message, blocked := v.blocked()
	switch {
	case blocked && (reason != v1alpha1.WarmPoolReasonMaxPodsReached || !v.proven()):
		return condition(kind, false, reason, message)
	case v.Proven:
		return condition(kind, true, v1alpha1.WarmPoolReasonTemplateProven,
			"a pod of the current template has been ready, and nothing is known that would keep others from it")
	case v.proven():
		return condition(kind, true, v1alpha1.WarmPoolReasonColdPool,
			"spec.replicas is 0: pods are started for the sandboxes that ask for one, and nothing is known that would keep them from it")
	default:
		return condition(kind, false, v1alpha1.WarmPoolReasonPodsStarting, "no pod of the current template has been ready yet")
	}
}

func filledCondition(v view) metav1.Condition {
	const kind = v1alpha1.WarmPoolConditionFilled
	if v.filled() {
		return condition(kind, true, "EnoughIdlePods", "as many pods as wanted are idle and ready")
	}
	count := fmt.Sprintf("%d of %d wanted pods are idle and ready", v.Ready, v.replicas)
	if reason, message, blocked := v.blocked(); blocked {
		return condition(kind, false, reason, clip(count+": "+message))
	}
	return condition(kind, false, v1alpha1.WarmPoolReasonPodsStarting, count)
}

func updatedCondition(v view) metav1.Condition {
	const kind = v1alpha1.WarmPoolConditionUpdated
	if v.updated() {
		return condition(kind, true, "PodsUpdated", "every idle pod is made from the current template")
	}
	count := "no pod of the current template has been ready yet"
	if old := v.Ready - v.Updated; old > 0 {
		count = fmt.Sprintf("%d of %d idle pods are made from an earlier template", old, v.Ready)
	}
	if reason, message, blocked := v.blocked(); blocked {
		return condition(kind, false, reason, clip(count+": "+message))
	}
	return condition(kind, false, v1alpha1.WarmPoolReasonPodsStarting, count)
}

func progressingCondition(v view) metav1.Condition {
	const kind = v1alpha1.WarmPoolConditionProgressing
	if v.filled() && v.updated() && v.Waiting == 0 && !v.terminating {
		return condition(kind, false, "Complete", "no pod has to be started or replaced")
	}
	if reason, message, blocked := v.blocked(); blocked {
		return condition(kind, false, reason, message)
	}
	return condition(kind, true, v1alpha1.WarmPoolReasonPodsStarting, "pods are being started or replaced")
}
