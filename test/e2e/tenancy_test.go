package e2e

import (
	"context"
	"fmt"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"

	"arl.io/arl/test/e2e/cluster"
)

// TestReservedPodLabels has a user with the role edit, and an administrator of the cluster, try to give
// pods the labels and annotations of pools' pods, to take them away and to exchange the image of such a
// pod. The policy that is installed refuses all of it, and nothing else.
func TestReservedPodLabels(t *testing.T) {
	n := newTenant(t)
	n.FillPool(busyPool("guarded", 1))
	awaitPolicy(t, n.core, n.Namespace)
	genuine := n.poolPods("guarded")[0]
	plain := func(name string) *corev1.Pod {
		return &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: corev1.PodSpec{
			Containers: []corev1.Container{{Name: "main", Image: testImage, ImagePullPolicy: corev1.PullNever, Command: []string{"sleep", "infinity"}}},
		}}
	}
	existing, err := n.core.CoreV1().Pods(n.Namespace).Create(t.Context(), plain("existing"), createNow)
	if err != nil {
		t.Fatal(err)
	}
	for who, core := range map[string]kubernetes.Interface{"user": n.core, "administrator": clientOf(t, cluster.Admin)} {
		pods := core.CoreV1().Pods(n.Namespace)
		patch := func(pod, patch string) error {
			_, err := pods.Patch(t.Context(), pod, types.MergePatchType, []byte(patch), patchNow)
			return err
		}
		t.Run(who, func(t *testing.T) {
			forged := plain("forged")
			forged.Labels, forged.Annotations = genuine.Labels, genuine.Annotations
			_, err := pods.Create(t.Context(), forged, createNow)
			wantReserved(t, "create a copy of a pool's pod", err)
			for _, label := range []string{"arl.io/pool", "arl.io/pool-uid", "arl.io/template-hash", "arl.io/sandbox"} {
				wantReserved(t, "set "+label, patch(existing.Name, `{"metadata":{"labels":{"`+label+`":"x"}}}`))
				wantReserved(t, "change "+label, patch(genuine.Name, `{"metadata":{"labels":{"`+label+`":"x"}}}`))
			}
			wantReserved(t, "remove a label", patch(genuine.Name, `{"metadata":{"labels":{"arl.io/pool":null}}}`))
			wantReserved(t, "change an annotation", patch(genuine.Name, `{"metadata":{"annotations":{"arl.io/container":"x"}}}`))
			_, err = pods.Patch(t.Context(), genuine.Name, types.StrategicMergePatchType,
				fmt.Appendf(nil, `{"spec":{"containers":[{"name":%q,"image":"other"}]}}`, genuine.Spec.Containers[0].Name), patchNow)
			wantReserved(t, "exchange an image", err)
			for _, pod := range []string{existing.Name, genuine.Name} {
				if err := patch(pod, `{"metadata":{"labels":{"example.com/mine":"`+who+`"},"annotations":{"example.com/mine":"`+who+`"}}}`); err != nil {
					t.Errorf("a label of the user's own on %s: %v", pod, err)
				}
			}
		})
	}
	n.ReadySandbox("works", "guarded")
	n.Output("works", "true")
}

func wantReserved(t *testing.T, attempt string, err error) {
	t.Helper()
	if !apierrors.IsForbidden(err) || !strings.Contains(err.Error(), "ValidatingAdmissionPolicy 'arl-pool-pods'") {
		t.Errorf("%s: got %v, want a refusal by the policy", attempt, err)
	}
}

// awaitPolicy waits until kube-apiserver enforces the installed policy, by a dry run.
func awaitPolicy(t *testing.T, core kubernetes.Interface, namespace string) {
	t.Helper()
	eventually(t, "the policy is enforced", func(ctx context.Context) error {
		pod := &corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{Name: "probe", Labels: map[string]string{"arl.io/pool": "x"}},
			Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "main", Image: testImage}}},
		}
		_, err := core.CoreV1().Pods(namespace).Create(ctx, pod, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
		if apierrors.IsForbidden(err) {
			return nil
		}
		return fmt.Errorf("a pod with a reserved label got: %w", err)
	})
}
