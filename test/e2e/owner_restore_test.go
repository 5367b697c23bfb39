package e2e

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"arl.io/arl/pkg/apis/arl/v1alpha1"
	"arl.io/arl/test/e2e/cluster"
)

// TestPodsAfterARestore restores a backup of the server while the cluster's garbage collector runs.
// Pods of pools in the backup go on, those of a pool that is not in it are deleted, and a pool that
// was deleted after the backup comes back and fills.
func TestPodsAfterARestore(t *testing.T) {
	n := newTenant(t)
	n.FillPool(busyPool("kept", 1))
	n.ReadySandbox("used", "kept")
	n.AwaitPool("kept", 1)
	n.FillPool(busyPool("back", 1))
	before := uids(n.poolPods("kept"))
	const backup = "/data/e2e.backup"
	out, err := shared.Kubectl(t.Context(), cluster.Admin, "exec", "-n", systemNamespace, serverPodName, "--",
		"/arl-apiserver", "storage", "backup", "--data-dir=/data", "--output="+backup)
	if err != nil {
		t.Fatal(err)
	}
	t.Log(out)
	n.FillPool(busyPool("unknown", 1))
	unknown := n.poolPods("unknown")
	deleted := n.poolPods("back")
	if err := n.Pools().Delete(t.Context(), "back", metav1.DeleteOptions{PropagationPolicy: ptr.To(metav1.DeletePropagationBackground)}); err != nil {
		t.Fatal(err)
	}
	for _, pod := range deleted {
		n.awaitNoPod(&pod)
	}

	dir := volumeDir(t)
	scaleServer(t, 0)
	if _, err := shared.Exec(t.Context(), "mv", filepath.Join(dir, "storage"), filepath.Join(dir, "storage.lost")); err != nil {
		t.Fatal(err)
	}
	runOnVolume(t, "storage", "restore", "--input="+backup, "--data-dir=/data")
	scaleServer(t, 1)
	awaitServed(t)

	for _, pod := range unknown {
		n.awaitNoPod(&pod)
	}
	n.AwaitPool("back", 1)
	refilled := uids(n.poolPods("back"))
	// When the collector has taken this pod, it has met every change of a pod before.
	n.awaitNoPod(n.stray("collected", metav1.OwnerReference{APIVersion: "v1", Kind: "ConfigMap", Name: "never", UID: "00000000-0000-0000-0000-000000000004"}))
	n.wantPods("back", refilled)
	n.wantPods("kept", before)
	n.AwaitSandbox("used", v1alpha1.SandboxReady)
	n.Output("used", "true")
}

// TestPodsAfterAnUninstall removes the server as docs/kubernetes.md says, without its data, and installs
// it again. Pods stay, because the cluster's garbage collector cannot ask about their owner, and
// the new server uses them.
func TestPodsAfterAnUninstall(t *testing.T) {
	n := newTenant(t)
	n.FillPool(busyPool("kept", 1))
	n.ReadySandbox("used", "kept")
	n.AwaitPool("kept", 1)
	n.Output("used", "echo before > note")
	before := n.poolPods("kept")

	dir, err := filepath.Abs(overlay)
	if err != nil {
		t.Fatal(err)
	}
	manifests, err := shared.Kubectl(t.Context(), cluster.Admin, "kustomize", dir)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "manifests.yaml")
	if err := os.WriteFile(file, []byte(manifests), 0o600); err != nil {
		t.Fatal(err)
	}
	defer func() {
		ctx := context.WithoutCancel(t.Context())
		if _, err := shared.Kubectl(ctx, cluster.Admin, "apply", "-k", dir); err != nil {
			t.Fatal(err)
		}
		awaitInstalled(t)
	}()
	if _, err := shared.Kubectl(t.Context(), cluster.Admin, "delete", "-f", file, "-l", "!pod-security.kubernetes.io/enforce"); err != nil {
		t.Fatal(err)
	}
	for _, pod := range before {
		if _, err := shared.Kubectl(t.Context(), cluster.Admin, "-n", n.Namespace, "annotate", "pod", pod.Name, "example.com/looked-at=yes"); err != nil {
			t.Fatal(err)
		}
	}
	n.awaitNoPod(n.stray("collected", metav1.OwnerReference{APIVersion: "v1", Kind: "ConfigMap", Name: "never", UID: "00000000-0000-0000-0000-000000000005"}))
	n.wantPods("kept", uids(before))
	if _, err := shared.Kubectl(t.Context(), cluster.Admin, "apply", "-k", dir); err != nil {
		t.Fatal(err)
	}
	awaitInstalled(t)
	n.AwaitSandbox("used", v1alpha1.SandboxReady)
	if got := n.Output("used", "cat note"); got != "before\n" {
		t.Errorf("the sandbox's file has %q", got)
	}
	n.AwaitPool("kept", 1)
	n.wantPods("kept", uids(before))
}

// awaitInstalled waits until the API is served and its roles are in effect.
func awaitInstalled(t *testing.T) {
	t.Helper()
	admin := clientOf(t, cluster.Admin)
	eventually(t, "the API is served", func(ctx context.Context) error {
		return errors.Join(served(ctx, admin), aggregated(ctx, admin))
	})
}

// uids are the UIDs of pods.
func uids(pods []corev1.Pod) map[string]bool {
	found := map[string]bool{}
	for _, pod := range pods {
		found[string(pod.UID)] = true
	}
	return found
}

// wantPods checks that all the given pods of a pool are there.
func (n *tenant) wantPods(pool string, want map[string]bool) {
	n.T.Helper()
	got := uids(n.poolPods(pool))
	for uid := range want {
		if !got[uid] {
			n.T.Errorf("the pod with UID %s of pool %s was deleted", uid, pool)
		}
	}
}

// runOnVolume runs the server's program to its end in a pod that has the server's volume.
func runOnVolume(t *testing.T, args ...string) {
	t.Helper()
	admin := clientOf(t, cluster.Admin)
	user := ptr.To[int64](65532)
	pod, err := admin.CoreV1().Pods(systemNamespace).Create(t.Context(), &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{GenerateName: "storage-"},
		Spec: corev1.PodSpec{
			RestartPolicy: corev1.RestartPolicyNever,
			SecurityContext: &corev1.PodSecurityContext{
				RunAsNonRoot: ptr.To(true), RunAsUser: user, RunAsGroup: user, FSGroup: user,
				SeccompProfile: &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault},
			},
			Containers: []corev1.Container{{
				Name: "storage", Image: productImage, ImagePullPolicy: corev1.PullNever, Args: args,
				TerminationMessagePolicy: corev1.TerminationMessageFallbackToLogsOnError,
				VolumeMounts:             []corev1.VolumeMount{{Name: "data", MountPath: "/data"}},
				SecurityContext: &corev1.SecurityContext{
					AllowPrivilegeEscalation: ptr.To(false),
					Capabilities:             &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}},
				},
			}},
			Volumes: []corev1.Volume{{Name: "data", VolumeSource: corev1.VolumeSource{
				PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: "data-" + serverPodName},
			}}},
		},
	}, createNow)
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "the command has ended", func(ctx context.Context) error {
		if pod, err = admin.CoreV1().Pods(systemNamespace).Get(ctx, pod.Name, getNow); err != nil {
			return err
		}
		if pod.Status.Phase != corev1.PodSucceeded && pod.Status.Phase != corev1.PodFailed {
			return errors.New("it is " + string(pod.Status.Phase) + ": " + podTrouble(pod))
		}
		return nil
	})
	if pod.Status.Phase != corev1.PodSucceeded {
		t.Fatalf("%v: %s", args, podTrouble(pod))
	}
	if err := admin.CoreV1().Pods(systemNamespace).Delete(t.Context(), pod.Name, deleteNow); err != nil {
		t.Error(err)
	}
}
