package e2e

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"arl.io/arl/pkg/apis/arl/v1alpha1"
	"arl.io/arl/test/e2e/cluster"
)

// TestPodsBelongToTheirPool shows what the controller reference is for: a drain needs no --force, the
// budget that is shipped keeps pods in use, and the cluster's garbage collector deletes what has lost
// its pool, and nothing while the server is away.
func TestPodsBelongToTheirPool(t *testing.T) {
	n := newTenant(t)
	pool := busyPool("owned", 2)
	pool.Spec.SandboxLabel = v1alpha1.SandboxLabelName
	pool = n.FillPool(pool)
	for _, pod := range n.poolPods("owned") {
		owner := metav1.GetControllerOf(&pod)
		if owner == nil || owner.Kind != "WarmPool" || owner.UID != pool.UID || owner.BlockOwnerDeletion != nil {
			t.Errorf("pod %s has the controller %+v", pod.Name, owner)
		}
	}
	t.Run("the server away", func(t *testing.T) { n.in(t).keepWithoutServer() })
	t.Run("drain", func(t *testing.T) { n.in(t).drain() })
	t.Run("pool deleted while in use", func(t *testing.T) { n.in(t).deleteUsedPool() })
	t.Run("no such pool", func(t *testing.T) { n.in(t).collectStray(pool) })
}

// keepWithoutServer stops the server until the garbage collector has met an owner that it cannot ask for.
// A pod of a pool that is there must outlive that, idle or in use.
func (n *tenant) keepWithoutServer() {
	admin := clientOf(n.T, cluster.Admin)
	n.ReadySandbox("kept", "owned")
	before := n.poolPods("owned")
	scale := func(replicas string) {
		if _, err := shared.Kubectl(n.T.Context(), cluster.Admin, "-n", systemNamespace, "scale", "statefulset", serverName, "--replicas="+replicas); err != nil {
			n.T.Fatal(err)
		}
	}
	scale("0")
	defer scale("1")
	eventually(n.T, "the server is gone", func(ctx context.Context) error {
		_, err := admin.CoreV1().Pods(systemNamespace).Get(ctx, serverPodName, getNow)
		if apierrors.IsNotFound(err) {
			return nil
		}
		return errors.Join(errors.New("it is there"), err)
	})
	// A change of each pod has the collector look at it, and at its owner.
	for _, pod := range before {
		if _, err := shared.Kubectl(n.T.Context(), cluster.Admin, "-n", n.Namespace, "annotate", "pod", pod.Name, "example.com/looked-at=yes"); err != nil {
			n.T.Fatal(err)
		}
	}
	// What has no owner of any kind that the collector knows goes while it looks, so it does look.
	stray := n.stray("collected", metav1.OwnerReference{APIVersion: "v1", Kind: "ConfigMap", Name: "never", UID: "00000000-0000-0000-0000-000000000001"})
	n.awaitNoPod(stray)
	scale("1")
	awaitServed(n.T)
	after := map[string]bool{}
	for _, pod := range n.poolPods("owned") {
		after[string(pod.UID)] = true
	}
	for _, pod := range before {
		if !after[string(pod.UID)] {
			n.T.Errorf("pod %s was deleted while the server was away", pod.Name)
		}
	}
	n.Output("kept", "true")
	if err := n.Sandboxes().Delete(n.T.Context(), "kept", deleteNow); err != nil {
		n.T.Fatal(err)
	}
	n.AwaitPool("owned", 2)
}

// drain drains the node without --force, against a budget as it is shipped.
func (n *tenant) drain() {
	budget, err := filepath.Abs("../../artifacts/kubernetes/pool-budget")
	if err != nil {
		n.T.Fatal(err)
	}
	if _, err := shared.Kubectl(n.T.Context(), cluster.Admin, "apply", "-n", n.Namespace, "-k", budget); err != nil {
		n.T.Fatal(err)
	}
	admin := clientOf(n.T, cluster.Admin)
	sandbox := n.ReadySandbox("in-use", "owned")
	used := n.awaitReported(sandbox.Status.PodName)
	eventually(n.T, "the pod names its sandbox", func(ctx context.Context) error {
		pod, err := n.core.CoreV1().Pods(n.Namespace).Get(ctx, used.Name, getNow)
		if err == nil && pod.Labels["arl.io/sandbox"] == "" {
			err = fmt.Errorf("its labels are %v", pod.Labels)
		}
		return err
	})
	if err := evict(n.T.Context(), admin, used); !apierrors.IsTooManyRequests(err) {
		n.T.Errorf("the eviction of a pod in use got %v, want a refusal", err)
	}
	out, err := shared.Kubectl(n.T.Context(), cluster.Admin, "drain", used.Spec.NodeName, "--dry-run=client",
		"--ignore-daemonsets", "--delete-emptydir-data", "--pod-selector=arl.io/pool=owned")
	if err != nil {
		n.T.Errorf("a drain without --force: %v\n%s", err, out)
	}
	wantWords(n.T, out, used.Name)
	n.Output("in-use", "true")
	if err := n.Sandboxes().Delete(n.T.Context(), "in-use", deleteNow); err != nil {
		n.T.Fatal(err)
	}
}

// deleteUsedPool deletes a pool whose pod is in use: the sandbox goes on until it is released.
func (n *tenant) deleteUsedPool() {
	n.FillPool(cappedPool("ending", 1))
	sandbox := n.ReadySandbox("outlives", "ending")
	if err := n.Pools().Delete(n.T.Context(), "ending", metav1.DeleteOptions{PropagationPolicy: ptr.To(metav1.DeletePropagationBackground)}); err != nil {
		n.T.Fatal(err)
	}
	// The collector has looked at what a deleted owner leaves when it has taken this one.
	n.awaitNoPod(n.stray("after", metav1.OwnerReference{APIVersion: "v1", Kind: "ConfigMap", Name: "never", UID: "00000000-0000-0000-0000-000000000002"}))
	n.Output("outlives", "true")
	used, err := n.core.CoreV1().Pods(n.Namespace).Get(n.T.Context(), sandbox.Status.PodName, getNow)
	if err != nil {
		n.T.Fatal(err)
	}
	if err := n.Sandboxes().Delete(n.T.Context(), "outlives", deleteNow); err != nil {
		n.T.Fatal(err)
	}
	n.awaitNoPod(used)
	eventually(n.T, "the pool is gone", func(ctx context.Context) error {
		_, err := n.Pools().Get(ctx, "ending", getNow)
		if apierrors.IsNotFound(err) {
			return nil
		}
		return errors.Join(errors.New("it is there"), err)
	})
}

// collectStray has a pod of a pool that is no more, as after the loss of the server's volume or the
// restore of an older backup: the collector deletes it.
func (n *tenant) collectStray(pool *v1alpha1.WarmPool) {
	n.awaitNoPod(n.stray("lost", metav1.OwnerReference{
		APIVersion: "arl.io/v1alpha1", Kind: "WarmPool", Name: pool.Name, UID: "00000000-0000-0000-0000-000000000003", Controller: ptr.To(true),
	}))
}

// stray makes a pod with an owner that is not there.
func (n *tenant) stray(name string, owner metav1.OwnerReference) *corev1.Pod {
	n.T.Helper()
	pod, err := clientOf(n.T, cluster.Admin).CoreV1().Pods(n.Namespace).Create(n.T.Context(), &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: name, OwnerReferences: []metav1.OwnerReference{owner}},
		Spec: corev1.PodSpec{
			TerminationGracePeriodSeconds: ptr.To[int64](0),
			Containers:                    []corev1.Container{{Name: "main", Image: testImage, ImagePullPolicy: corev1.PullNever, Command: []string{"sleep", "infinity"}}},
		},
	}, createNow)
	if err != nil {
		n.T.Fatal(err)
	}
	return pod
}
