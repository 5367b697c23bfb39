package local

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"

	"arl.io/arl/pkg/agent/client"
	"arl.io/arl/pkg/podruntime"
)

// storageSpec is a pod with a limit of ephemeral-storage, and a volume at /small with another.
func storageSpec(name, limit, volumeLimit string) podruntime.Spec {
	spec := hostSpec(name)
	pod := &spec.Template.Spec
	sizeLimit := resource.MustParse(volumeLimit)
	pod.Volumes = []corev1.Volume{{Name: "small", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{SizeLimit: &sizeLimit}}}}
	pod.Containers[0].VolumeMounts = []corev1.VolumeMount{{Name: "small", MountPath: "/small"}}
	pod.Containers[0].Resources.Limits = corev1.ResourceList{corev1.ResourceEphemeralStorage: resource.MustParse(limit)}
	return spec
}

// TestStorageLimits: a pod that takes more disk space than it may, in any way, fails with the reason. Its
// files are gone at once, and other pods go on.
func TestStorageLimits(t *testing.T) {
	needContainers(t)
	f := start(t, Config{Dir: t.TempDir(), StorageLimit: 64 << 20})
	defer f.removeAll()
	honest := f.create(hostSpec("honest"))
	for _, test := range []struct {
		name, script, want string
		spec               podruntime.Spec
		root               bool
	}{
		{"large", "head -c 20M /dev/zero > large; sleep 1000", "limit of ephemeral-storage is 8Mi", storageSpec("large", "8Mi", "1Gi"), false},
		{"default", "head -c 100M /dev/zero > large; sleep 1000", "limit of ephemeral-storage is 64Mi", hostSpec("default"), false},
		{"allocated", "fallocate -l 20M large; sleep 1000", "limit of ephemeral-storage is 8Mi", storageSpec("allocated", "8Mi", "1Gi"), false},
		{"volume", "head -c 20M /dev/zero > /small/large; sleep 1000", `volume "small" takes`, storageSpec("volume", "1Gi", "8Mi"), false},
		{"many", "i=0; while [ $i -lt 200 ]; do mkdir $i; (cd $i && seq 100 | xargs touch); i=$((i+1)); done; sleep 1000",
			"files or more", storageSpec("many", "64Mi", "1Gi"), false},
		{"removed", "exec 3> large; rm large; head -c 20M /dev/zero >&3; sleep 1000", "limit of ephemeral-storage is 8Mi", storageSpec("removed", "8Mi", "1Gi"), true},
	} {
		t.Run(test.name, func(t *testing.T) {
			if test.root && os.Geteuid() != 0 {
				t.Skip("the processes of a pod are known by its cgroup, which takes root")
			}
			pod := f.create(test.spec)
			agent, err := f.Agent(pod.Key, pod.UID)
			if err != nil {
				t.Fatal(err)
			}
			done := f.startStep(t, agent, pod, test.script)
			failed := f.pod(t, test.name, podruntime.Failed)
			<-done
			if failed.Reason != podruntime.ReasonDiskLimit || !strings.Contains(failed.Message, test.want) {
				t.Errorf("failed with %s: %s; want %s and %q", failed.Reason, failed.Message, podruntime.ReasonDiskLimit, test.want)
			}
			f.eventually("the pod's files to be gone", func() bool {
				left, err := filepath.Glob(filepath.Join(f.podDir(pod.UID), "*"))
				return err == nil && len(left) <= len(kept)
			})
		})
	}
	if out, code := f.run(honest, "echo goes on"); code != 0 || out != "goes on\n" {
		t.Errorf("the honest pod: exit code %d, %q", code, out)
	}
}

// startStep runs a script that ends with its pod.
func (f *fixture) startStep(t *testing.T, agent *client.Client, pod podruntime.Pod, script string) (done chan struct{}) {
	t.Helper()
	done = make(chan struct{})
	ex := execution("step", "/bin/sh", "-c", script)
	ex.WorkDir = pod.WorkDir
	go func() {
		defer close(done)
		_, _ = agent.Run(t.Context(), ex, nil) // the pod ends in the midst of it
	}()
	return done
}
