package pool_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"arl.io/arl/pkg/apis/arl/v1alpha1"
	"arl.io/arl/pkg/podruntime"
	"arl.io/arl/pkg/scheduler/schedulertest"
)

// fault is a way in which a pool has no pods, as the runtime reports it.
type fault struct {
	reason, message string
	// how is "refuse" for a create that is refused, "invalid" for a template, "fail" for a pod that
	// fails, "wait" for one that waits.
	how  string
	step string
}

// faults are those of docs/kubernetes-faults.md, in its order.
var faults = []fault{
	{"ImagePullFailed", `image "typo:v1" of container "executor": not found`, "wait", "check the image and imagePullSecrets"},
	{"ImagePullFailed", `image "typo:v1": manifest unknown`, "fail", "check the image and imagePullSecrets"},
	{"QuotaExceeded", "exceeded quota: few", "refuse", "raise the ResourceQuota of the namespace"},
	{"PodSecurityViolation", "violates PodSecurity: runAsNonRoot", "refuse", "set these fields in the pool's spec.template"},
	{"Forbidden", `serviceaccount "nobody" not found`, "refuse", "change the rule, or the pool's spec.template"},
	{"InvalidTemplate", "spec.hostNetwork", "invalid", "correct this field in the pool's spec.template"},
	{"Unschedulable", "0/1 nodes are available", "wait", "add nodes, or ask for less"},
	{"SchedulingGated", "scheduling gates", "wait", "remove schedulingGates"},
	{"StartFailed", "listen on :7317: address already in use", "fail", "change the port of the other container"},
	{"StartFailed", `CreateContainerConfigError: secret "missing" not found`, "wait", "create what the message names"},
	{"StartFailed", "the template's command cannot be started: no such program", "fail", "correct command"},
	{"StartFailed", `FailedMount: configmap "missing" not found`, "wait", "create what the message names"},
	{"StartFailed", "no answer from the agent within 1m0s", "fail", "NetworkPolicy"},
	{"NotReady", "Readiness probe failed: connection refused", "wait", "correct the probes"},
	{"NamespaceNotFound", "there is no such namespace", "refuse", "create the namespace"},
	{"NamespaceTerminating", "it is being terminated", "refuse", "use another namespace"},
	{"NamespaceNotServed", "the server makes pods in others", "refuse", "create the pool in a namespace that the server serves"},
	{"ClusterUnavailable", "too busy", "refuse", "the server tries again by itself"},
}

// TestEveryFaultNamesItsCauseAndStep breaks a pool in every way that the faults page lists and looks at
// what "kubectl describe" of the pool and of its sandboxes shows.
func TestEveryFaultNamesItsCauseAndStep(t *testing.T) {
	for _, f := range faults {
		t.Run(f.reason+" "+f.how, func(t *testing.T) {
			h := schedulertest.New(t)
			h.Runtime.Manual(true)
			f.prepare(h)
			h.Start()
			h.CreatePool(schedulertest.Pool("pool", 1))
			h.CreateSandbox(schedulertest.Sandbox("waits", "pool"))
			f.strike(h)
			pool := h.WaitPool("pool", func(p *v1alpha1.WarmPool) bool { return p.Status.Phase == v1alpha1.WarmPoolDegraded })
			for kind, want := range map[string]metav1.ConditionStatus{
				v1alpha1.WarmPoolConditionReady: metav1.ConditionFalse, v1alpha1.WarmPoolConditionReplicaFailure: metav1.ConditionTrue,
				v1alpha1.WarmPoolConditionFilled: metav1.ConditionFalse,
			} {
				c := meta.FindStatusCondition(pool.Status.Conditions, kind)
				if c.Status != want || c.Reason != f.reason {
					t.Errorf("condition %s is %+v", kind, c)
				}
				f.check(t, kind, c.Message)
			}
			box := h.WaitSandbox("waits", func(s *v1alpha1.Sandbox) bool { return s.Status.Reason == f.reason })
			f.check(t, "the sandbox that waits", box.Status.Message)
			late := schedulertest.Sandbox("late", "pool")
			late.Spec.AllocationTimeoutSeconds = ptr.To[int32](0)
			h.CreateSandbox(late)
			box = h.WaitPhase("late", v1alpha1.SandboxFailed)
			if box.Status.Reason != v1alpha1.SandboxReasonAllocationTimeout {
				t.Errorf("the sandbox that waited for too long has the reason %s", box.Status.Reason)
			}
			f.check(t, "the sandbox that waited for too long", box.Status.Message)
		})
	}
}

func (f fault) prepare(h *schedulertest.Harness) {
	switch f.how {
	case "refuse":
		h.Runtime.Refuse(func(podruntime.Spec) error {
			return &podruntime.Refusal{Reason: f.reason, Err: errors.New(f.message)}
		})
	case "invalid":
		h.Runtime.Refuse(func(podruntime.Spec) error { return fmt.Errorf("%w: %s", podruntime.ErrInvalid, f.message) })
	}
}

// strike has the pods of the pool fail or wait.
func (f fault) strike(h *schedulertest.Harness) {
	if f.how != "fail" && f.how != "wait" {
		return
	}
	podCount(h, 1)
	for _, p := range h.Runtime.Pods() {
		if f.how == "fail" {
			h.Runtime.Fail(p.Name, f.reason, f.message)
		} else {
			h.Runtime.Stick(p.Name, f.reason, f.message)
		}
	}
}

// check looks for the cause and for the one step, and for none that fits another cause.
func (f fault) check(t *testing.T, where, message string) {
	t.Helper()
	for _, want := range []string{f.message, f.step} {
		if !strings.Contains(message, want) {
			t.Errorf("%s says %q, want %q in it", where, message, want)
		}
	}
	for _, wrong := range []string{"spec.replicas", "delete this sandbox", "spec.maxPods"} {
		if strings.Contains(message, wrong) {
			t.Errorf("%s says %q, which advises %s", where, message, wrong)
		}
	}
}

// TestTheFaultsPageIsTried reads the reasons that docs/kubernetes-faults.md lists for a pool that has no
// pods, so that none is listed and not tried.
func TestTheFaultsPageIsTried(t *testing.T) {
	page, err := os.ReadFile(filepath.Join("..", "..", "..", "docs", "kubernetes-faults.md"))
	if err != nil {
		t.Fatal(err)
	}
	_, section, _ := strings.Cut(string(page), "## A pool that has no pods\n")
	section, _, _ = strings.Cut(section, "A pool can also be in good order")
	tried := map[string]bool{}
	for _, f := range faults {
		tried[f.reason] = true
	}
	listed := 0
	for _, row := range regexp.MustCompile("(?m)^\\| (`[^|]*) \\|").FindAllStringSubmatch(section, -1) {
		for _, reason := range regexp.MustCompile("`([A-Z][A-Za-z]+)`").FindAllStringSubmatch(row[1], -1) {
			switch reason[1] {
			case "CreateContainerConfigError", "FailedMount", "FailedCreatePodSandBox":
				continue // the cluster's words after StartFailed
			}
			listed++
			if !tried[reason[1]] {
				t.Errorf("%s is listed and not tried", reason[1])
			}
		}
	}
	if listed < 14 {
		t.Errorf("found %d reasons on the page", listed)
	}
}
