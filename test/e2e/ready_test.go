package e2e

import (
	"context"
	"fmt"
	"slices"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"arl.io/arl/pkg/apis/arl/v1alpha1"
	"arl.io/arl/test/e2e/cluster"
)

// TestReadiness has pods that say themselves when they are ready: by a probe, and by a readiness gate
// that the test opens and closes.
func TestReadiness(t *testing.T) {
	n := newTenant(t)
	t.Run("probe", func(t *testing.T) { n.in(t).testProbe() })
	t.Run("gate", func(t *testing.T) { n.in(t).testGate() })
}

// testProbe has a sandbox wait for a pod whose command takes a while to be ready.
func (n *tenant) testProbe() {
	pool := cappedPool("probed", 1)
	container := executorOf(pool)
	container.Command = []string{"sh", "-c", "sleep 3; touch /tmp/serves; exec sleep infinity"}
	container.ReadinessProbe = &corev1.Probe{
		ProbeHandler: corev1.ProbeHandler{Exec: &corev1.ExecAction{Command: []string{"test", "-e", "/tmp/serves"}}}, PeriodSeconds: 1,
	}
	n.CreatePool(pool)
	n.CreateSandbox(sandboxOf("probed", "probed"))
	ready := n.AwaitSandbox("probed", v1alpha1.SandboxReady)
	n.Output("probed", "test -e /tmp/serves")
	pod, err := n.core.CoreV1().Pods(n.Namespace).Get(n.T.Context(), ready.Status.PodName, getNow)
	if err != nil {
		n.T.Fatal(err)
	}
	if !podReady(pod) {
		n.T.Errorf("the pod was given out before it was ready: %s", podTrouble(pod))
	}
}

// testGate opens, closes and opens the gate of an idle pod.
func (n *tenant) testGate() {
	const gate = "example.com/checked"
	pool := cappedPool("gated", 1)
	pool.Spec.Template.Spec.ReadinessGates = []corev1.PodReadinessGate{{ConditionType: gate}}
	n.CreatePool(pool)
	var pods []corev1.Pod
	eventually(n.T, "the gated pod runs", func(context.Context) error {
		if pods = n.poolPods("gated"); len(pods) != 1 || pods[0].Status.Phase != corev1.PodRunning {
			return fmt.Errorf("pods: %d", len(pods))
		}
		return nil
	})
	n.awaitIdle("gated", 0)
	n.setCondition(pods[0].Name, gate, corev1.ConditionTrue)
	n.awaitIdle("gated", 1)
	n.setCondition(pods[0].Name, gate, corev1.ConditionFalse)
	n.awaitIdle("gated", 0)
	if waiting := n.CreateSandbox(sandboxOf("gated", "gated")); waiting.Status.Phase != v1alpha1.SandboxPending {
		n.T.Errorf("a sandbox got an unready pod: %+v", waiting.Status)
	}
	n.kubectl().Run(words("describe", "warmpool", "gated"), "NotReady", gate)
	n.setCondition(pods[0].Name, gate, corev1.ConditionTrue)
	n.AwaitSandbox("gated", v1alpha1.SandboxReady)
	n.setCondition(pods[0].Name, gate, corev1.ConditionFalse)
	n.Output("gated", "true")
}

// setCondition sets a condition of a pod, as the controller behind a readiness gate does.
func (n *tenant) setCondition(name string, kind corev1.PodConditionType, status corev1.ConditionStatus) {
	n.T.Helper()
	admin := clientOf(n.T, cluster.Admin)
	eventually(n.T, "the condition is set", func(ctx context.Context) error {
		pod, err := admin.CoreV1().Pods(n.Namespace).Get(ctx, name, getNow)
		if err != nil {
			return err
		}
		pod.Status.Conditions = slices.DeleteFunc(pod.Status.Conditions, func(c corev1.PodCondition) bool { return c.Type == kind })
		pod.Status.Conditions = append(pod.Status.Conditions, corev1.PodCondition{Type: kind, Status: status})
		_, err = admin.CoreV1().Pods(n.Namespace).UpdateStatus(ctx, pod, metav1.UpdateOptions{})
		return err
	})
}

// awaitIdle waits until a pool has so many pods that can be given out. Pods that are not ready count as
// unused, too.
func (n *tenant) awaitIdle(name string, ready int32) {
	n.T.Helper()
	eventually(n.T, fmt.Sprintf("pool %s has %d ready pods", name, ready), func(ctx context.Context) error {
		pool, err := n.Pools().Get(ctx, name, getNow)
		if err == nil && (pool.Status.ReadyReplicas != ready || pool.Status.Replicas != 1) {
			err = fmt.Errorf("its status is %+v", pool.Status)
		}
		return err
	})
}
