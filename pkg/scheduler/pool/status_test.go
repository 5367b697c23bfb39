package pool

import (
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"arl.io/arl/pkg/apis/arl/v1alpha1"
	"arl.io/arl/pkg/podruntime"
	"arl.io/arl/pkg/scheduler/ledger"
)

func TestConditions(t *testing.T) {
	const remark = "the template leaves something out"
	retry := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for _, tt := range []struct {
		name           string
		counts         ledger.Counts
		ready, failing metav1.Condition
	}{
		{
			name:    "all is well",
			counts:  ledger.Counts{Ready: 3},
			ready:   metav1.Condition{Status: "True", Reason: "EnoughIdlePods", Message: "as many pods as wanted are idle and ready"},
			failing: metav1.Condition{Status: "False", Reason: "NoFailure", Message: "nothing is known that would keep pods from starting"},
		},
		{
			name:    "pods are on their way",
			counts:  ledger.Counts{Ready: 1, Unused: 3},
			ready:   metav1.Condition{Status: "False", Reason: "PodsStarting", Message: "1 of 3 wanted pods are idle and ready"},
			failing: metav1.Condition{Status: "False", Reason: "NoFailure", Message: "nothing is known that would keep pods from starting"},
		},
		{
			name:   "pods cannot start",
			counts: ledger.Counts{Ready: 1, Failing: true, Reason: "ImagePullFailed", Message: "no such image", RetryAt: retry},
			ready: metav1.Condition{
				Status: "False", Reason: "PodsFailing",
				Message: "1 of 3 wanted pods are idle and ready, and ReplicaFailure says what keeps others from it",
			},
			failing: metav1.Condition{Status: "True", Reason: "ImagePullFailed", Message: "no such image; not tried again before 2026-01-02T03:04:05Z"},
		},
		{
			name:   "pods cannot start, and that takes many words",
			counts: ledger.Counts{Failing: true, Message: strings.Repeat("x", 2*maxMessage)},
			ready: metav1.Condition{
				Status: "False", Reason: "PodsFailing",
				Message: "0 of 3 wanted pods are idle and ready, and ReplicaFailure says what keeps others from it",
			},
			failing: metav1.Condition{Status: "True", Reason: "StartFailed", Message: strings.Repeat("x", maxMessage-3) + "..."},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			pool := &v1alpha1.WarmPool{Spec: v1alpha1.WarmPoolSpec{Replicas: ptr.To[int32](3)}}
			status := statusOf(pool, tt.counts, opinion{advice: podruntime.Advice{Reason: "Left", Message: remark}}, time.Now())
			for kind, want := range map[string]metav1.Condition{
				v1alpha1.WarmPoolConditionReady: tt.ready, v1alpha1.WarmPoolConditionReplicaFailure: tt.failing,
				v1alpha1.WarmPoolConditionTemplateAccepted: {Status: "True", Reason: "Left", Message: remark},
			} {
				got := meta.FindStatusCondition(status.Conditions, kind)
				if got == nil || got.Status != want.Status || got.Reason != want.Reason || got.Message != want.Message {
					t.Errorf("condition %s: %+v, want %+v", kind, got, want)
				}
			}
		})
	}
}
