package pool

import (
	"errors"
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

var (
	noon  = time.Date(2026, 1, 2, 12, 0, 0, 0, time.UTC)
	retry = noon.Add(time.Minute)
)

// conditionCase is a pool of three replicas, unless it is cold, and what its conditions say: status
// and reason, and none for Reconciling and Stalled if they are absent.
type conditionCase struct {
	name string
	ledger.State
	refused error
	cold    bool
	since   time.Duration
	deleted bool
	// accepted, ready and so on are "True Reason" or "False Reason".
	accepted, ready, filled, updated, progressing, failure, reconciling, stalled string
	// says is in the message of Ready, or of Filled while Ready is True.
	says string
}

var conditionCases = []conditionCase{
	{
		name: "new", State: ledger.State{Counts: ledger.Counts{Unused: 3}},
		accepted: "True Accepted", ready: "False PodsStarting", filled: "False PodsStarting", updated: "False PodsStarting",
		progressing: "True PodsStarting", failure: "False NoFailure", reconciling: "True PodsStarting",
		says: "no pod of the current template has been ready yet",
	}, {
		name: "full", State: ledger.State{Counts: ledger.Counts{Unused: 3, Ready: 3, Updated: 3}, Proven: true},
		accepted: "True Accepted", ready: "True TemplateProven", filled: "True EnoughIdlePods", updated: "True PodsUpdated",
		progressing: "False Complete", failure: "False NoFailure",
	}, {
		name: "after a claim", State: ledger.State{Counts: ledger.Counts{Unused: 3, Ready: 2, Updated: 2, Allocated: 1}, Proven: true},
		accepted: "True Accepted", ready: "True TemplateProven", filled: "False PodsStarting", updated: "True PodsUpdated",
		progressing: "True PodsStarting", failure: "False NoFailure", says: "2 of 3 wanted pods are idle and ready",
	}, {
		name: "after more claims than pods", State: ledger.State{Counts: ledger.Counts{Unused: 3, Allocated: 3, Waiting: 1}, Proven: true},
		accepted: "True Accepted", ready: "True TemplateProven", filled: "False PodsStarting", updated: "True PodsUpdated",
		progressing: "True PodsStarting", failure: "False NoFailure",
	}, {
		name: "cold", cold: true,
		accepted: "True Accepted", ready: "True ColdPool", filled: "True EnoughIdlePods", updated: "True PodsUpdated",
		progressing: "False Complete", failure: "False NoFailure",
	}, {
		name: "cold, with a sandbox that waits", cold: true, State: ledger.State{Counts: ledger.Counts{Unused: 1, Waiting: 1}},
		accepted: "True Accepted", ready: "True ColdPool", filled: "True EnoughIdlePods", updated: "True PodsUpdated",
		progressing: "True PodsStarting", failure: "False NoFailure",
	}, {
		name: "at the cap", State: ledger.State{Counts: ledger.Counts{Allocated: 4, Waiting: 2}, Proven: true, Capped: true},
		accepted: "True Accepted", ready: "True TemplateProven", filled: "False MaxPodsReached", updated: "True PodsUpdated",
		progressing: "False MaxPodsReached", failure: "False NoFailure", says: "raise spec.maxPods",
	}, {
		name: "another template, at the cap", State: ledger.State{Counts: ledger.Counts{Allocated: 4}, Capped: true},
		accepted: "True Accepted", ready: "False MaxPodsReached", filled: "False MaxPodsReached", updated: "False MaxPodsReached",
		progressing: "False MaxPodsReached", failure: "False NoFailure", reconciling: "True MaxPodsReached", says: "raise spec.maxPods",
	}, {
		name: "another template, its pods starting", State: ledger.State{Counts: ledger.Counts{Unused: 6, Ready: 3}},
		accepted: "True Accepted", ready: "False PodsStarting", filled: "True EnoughIdlePods", updated: "False PodsStarting",
		progressing: "True PodsStarting", failure: "False NoFailure", reconciling: "True PodsStarting",
	}, {
		name: "another template, one pod updated", State: ledger.State{Counts: ledger.Counts{Unused: 5, Ready: 3, Updated: 1}, Proven: true},
		accepted: "True Accepted", ready: "True TemplateProven", filled: "True EnoughIdlePods", updated: "False PodsStarting",
		progressing: "True PodsStarting", failure: "False NoFailure", reconciling: "True PodsStarting",
	}, {
		name: "another template, its image is missing", since: time.Minute,
		State: ledger.State{Counts: ledger.Counts{
			Unused: 4, Ready: 3, Failing: true, Reason: "ImagePullFailed", Message: "no such image; check it", RetryAt: retry,
		}},
		accepted: "True Accepted", ready: "False ImagePullFailed", filled: "True EnoughIdlePods", updated: "False ImagePullFailed",
		progressing: "False ImagePullFailed", failure: "True ImagePullFailed", reconciling: "True ImagePullFailed",
		says: "no such image; check it; not tried again before 2026-01-02T12:01:00Z",
	}, {
		name: "the image has been missing for long", since: stallAfter,
		State:    ledger.State{Counts: ledger.Counts{Unused: 1, Failing: true, Reason: "ImagePullFailed", Message: "no such image; check it"}},
		accepted: "True Accepted", ready: "False ImagePullFailed", filled: "False ImagePullFailed", updated: "False ImagePullFailed",
		progressing: "False ImagePullFailed", failure: "True ImagePullFailed", stalled: "True ImagePullFailed",
	}, {
		name: "a template that is refused", cold: true, refused: errors.New("hostNetwork is not supported"),
		accepted: "False InvalidTemplate", ready: "False InvalidTemplate", filled: "True EnoughIdlePods", updated: "True PodsUpdated",
		progressing: "False Complete", failure: "False NoFailure", stalled: "True InvalidTemplate", says: "hostNetwork is not supported",
	}, {
		name: "a failure of many words", State: ledger.State{Counts: ledger.Counts{Failing: true, Message: strings.Repeat("x", 2*maxMessage)}},
		accepted: "True Accepted", ready: "False StartFailed", filled: "False StartFailed", updated: "False StartFailed",
		progressing: "False StartFailed", failure: "True StartFailed", reconciling: "True StartFailed",
		says: strings.Repeat("x", maxMessage-3) + "...",
	}, {
		name: "deleted, with a sandbox in use", deleted: true, State: ledger.State{Counts: ledger.Counts{Allocated: 1}, Proven: true, Terminating: true},
		accepted: "True Accepted", ready: "False Terminating", filled: "False Terminating", updated: "True PodsUpdated",
		progressing: "False Terminating", failure: "False NoFailure", says: "stays until no sandbox uses its pods; 1 do",
	},
}

// TestConditions says what each condition of a pool means.
func TestConditions(t *testing.T) {
	for _, tt := range conditionCases {
		t.Run(tt.name, func(t *testing.T) {
			pool := &v1alpha1.WarmPool{ObjectMeta: metav1.ObjectMeta{Generation: 7}, Spec: v1alpha1.WarmPoolSpec{Replicas: ptr.To[int32](3)}}
			if tt.cold {
				pool.Spec.Replicas = ptr.To[int32](0)
			}
			if tt.deleted {
				pool.DeletionTimestamp = ptr.To(metav1.NewTime(noon))
			}
			meta.SetStatusCondition(&pool.Status.Conditions, metav1.Condition{
				Type: v1alpha1.WarmPoolConditionReplicaFailure, Status: "True", LastTransitionTime: metav1.NewTime(noon.Add(-tt.since)),
			})
			for _, left := range []string{v1alpha1.ConditionReconciling, v1alpha1.ConditionStalled} {
				meta.SetStatusCondition(&pool.Status.Conditions, metav1.Condition{Type: left, Status: "True", Reason: "Before"})
			}
			status := statusOf(pool, tt.State, opinion{err: tt.refused}, noon)
			for kind, want := range map[string]string{
				v1alpha1.WarmPoolConditionTemplateAccepted: tt.accepted, v1alpha1.WarmPoolConditionReady: tt.ready,
				v1alpha1.WarmPoolConditionFilled: tt.filled, v1alpha1.WarmPoolConditionUpdated: tt.updated,
				v1alpha1.WarmPoolConditionProgressing: tt.progressing, v1alpha1.WarmPoolConditionReplicaFailure: tt.failure,
				v1alpha1.ConditionReconciling: tt.reconciling, v1alpha1.ConditionStalled: tt.stalled,
			} {
				got := ""
				if c := meta.FindStatusCondition(status.Conditions, kind); c != nil {
					got = string(c.Status) + " " + c.Reason
					if c.ObservedGeneration != 7 || c.Message == "" || len(c.Message) > maxMessage+100 {
						t.Errorf("condition %s is %+v", kind, c)
					}
				}
				if got != want {
					t.Errorf("condition %s is %q, want %q", kind, got, want)
				}
			}
			told := meta.FindStatusCondition(status.Conditions, v1alpha1.WarmPoolConditionReady)
			if told.Status == metav1.ConditionTrue {
				told = meta.FindStatusCondition(status.Conditions, v1alpha1.WarmPoolConditionFilled)
			}
			if !strings.Contains(told.Message, tt.says) {
				t.Errorf("the message is %q, want %q in it", told.Message, tt.says)
			}
		})
	}
}

func TestAdviceOnATemplate(t *testing.T) {
	pool := &v1alpha1.WarmPool{}
	status := statusOf(pool, ledger.State{}, opinion{advice: podruntime.Advice{Reason: "Left", Message: "something is left out"}}, noon)
	got := meta.FindStatusCondition(status.Conditions, v1alpha1.WarmPoolConditionTemplateAccepted)
	if got.Status != metav1.ConditionTrue || got.Reason != "Left" || got.Message != "something is left out" {
		t.Errorf("the condition is %+v", got)
	}
}
