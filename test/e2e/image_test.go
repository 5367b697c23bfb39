package e2e

import (
	"context"
	"fmt"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"arl.io/arl/test/e2e/cluster"
)

// TestProductImage runs both programs of the product's image as strictly as a
// namespace can demand: by the restricted profile, with a root file system
// that cannot be written, on a volume that only its group may write.
func TestProductImage(t *testing.T) {
	if err := importProduct(); err != nil {
		t.Fatal(err)
	}
	admin := clientOf(t, cluster.Admin)
	namespace := newNamespace(t, admin, "image")
	enforce := []byte(`{"metadata":{"labels":{"pod-security.kubernetes.io/enforce":"restricted"}}}`)
	if _, err := admin.CoreV1().Namespaces().Patch(t.Context(), namespace, types.MergePatchType, enforce, metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := shared.AddVolume(t.Context(), namespace, resource.MustParse("10Mi"), true); err != nil {
		t.Fatal(err)
	}
	claim := &corev1.PersistentVolumeClaim{
		ObjectMeta: metav1.ObjectMeta{Name: "data"},
		Spec: corev1.PersistentVolumeClaimSpec{
			AccessModes: []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce},
			Resources:   corev1.VolumeResourceRequirements{Requests: corev1.ResourceList{corev1.ResourceStorage: resource.MustParse("10Mi")}},
		},
	}
	if _, err := admin.CoreV1().PersistentVolumeClaims(namespace).Create(t.Context(), claim, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	pod, err := admin.CoreV1().Pods(namespace).Create(t.Context(), strictPod(), metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "the programs have ended well", func(ctx context.Context) error {
		if pod, err = admin.CoreV1().Pods(namespace).Get(ctx, pod.Name, metav1.GetOptions{}); err != nil {
			return err
		}
		if pod.Status.Phase != corev1.PodSucceeded {
			return fmt.Errorf("the pod is %s: %+v %+v", pod.Status.Phase, pod.Status.Conditions, pod.Status.ContainerStatuses)
		}
		return nil
	})
	out, err := shared.Kubectl(t.Context(), cluster.Admin, "logs", "-n", namespace, pod.Name)
	if err != nil || !strings.Contains(out, "arl-apiserver") {
		t.Errorf("the server said %q (%v) of its version", out, err)
	}
}

// strictPod copies the agent to a volume and asks the server for its version.
func strictPod() *corev1.Pod {
	yes, no, group := true, false, int64(65532)
	security := &corev1.SecurityContext{
		AllowPrivilegeEscalation: &no, ReadOnlyRootFilesystem: &yes,
		Capabilities: &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}},
	}
	mounts := []corev1.VolumeMount{{Name: "data", MountPath: "/data"}}
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: "programs"},
		Spec: corev1.PodSpec{
			RestartPolicy: corev1.RestartPolicyNever,
			SecurityContext: &corev1.PodSecurityContext{
				RunAsNonRoot: &yes, FSGroup: &group,
				SeccompProfile: &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault},
			},
			InitContainers: []corev1.Container{{
				Name: "agent", Image: productImage, ImagePullPolicy: corev1.PullNever, SecurityContext: security,
				Command: []string{"/arl-agent", "copy", "/data"}, VolumeMounts: mounts,
			}},
			Containers: []corev1.Container{{
				Name: "server", Image: productImage, ImagePullPolicy: corev1.PullNever, SecurityContext: security,
				Args: []string{"--version"}, VolumeMounts: mounts,
			}},
			Volumes: []corev1.Volume{{Name: "data", VolumeSource: corev1.VolumeSource{
				PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: "data"},
			}}},
		},
	}
}
