package manifests

import (
	"fmt"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/pod-security-admission/api"
	"k8s.io/pod-security-admission/policy"
	"k8s.io/utils/ptr"

	"arl.io/arl/pkg/podruntime"
	"arl.io/arl/pkg/podruntime/kube/podspec"
)

// oldestStandard is the minor version of Kubernetes from which on the restricted standard is tried, up
// to the latest.
const oldestStandard = 25

// violations are what the restricted pod security standard, in any of its versions, has against a pod,
// by the standard's own checks.
func violations(t *testing.T, meta *metav1.ObjectMeta, spec *corev1.PodSpec) (found []string) {
	t.Helper()
	evaluator, err := policy.NewEvaluator(policy.DefaultChecks(), nil)
	if err != nil {
		t.Fatal(err)
	}
	versions := []api.Version{api.LatestVersion()}
	for minor := oldestStandard; minor <= 37; minor++ {
		versions = append(versions, api.MajorMinorVersion(1, minor))
	}
	for _, version := range versions {
		for _, result := range evaluator.EvaluatePod(api.LevelVersion{Level: api.LevelRestricted, Version: version}, meta, spec) {
			if !result.Allowed {
				found = append(found, fmt.Sprintf("%s: %s: %s", version, result.ForbiddenReason, result.ForbiddenDetail))
			}
		}
	}
	return found
}

// podTemplates are those of all workloads among the objects.
func podTemplates(t *testing.T, all objects) map[string]corev1.PodTemplateSpec {
	t.Helper()
	templates := map[string]corev1.PodTemplateSpec{}
	for key, object := range all {
		switch object.GetKind() {
		case "StatefulSet":
			templates[key] = decoded[*appsv1.StatefulSet](t, all, key).Spec.Template
		case "Deployment", "DaemonSet", "Job", "CronJob", "Pod", "ReplicaSet":
			t.Errorf("this test cannot read the template of %s", key)
		}
	}
	return templates
}

// TestServerIsRestricted has the kustomization, and the chart with each of its values, meet the
// restricted standard.
func TestServerIsRestricted(t *testing.T) {
	rendered := map[string]objects{"kustomization": kustomize(t, kustomizeDir), "chart": mustRender(t, "")}
	for name, tt := range effects {
		rendered["chart with "+name] = mustRender(t, tt.values)
	}
	for name, all := range rendered {
		templates := podTemplates(t, all)
		if len(templates) == 0 {
			t.Errorf("%s: there is no workload", name)
		}
		for key, template := range templates {
			for _, violation := range violations(t, &template.ObjectMeta, &template.Spec) {
				t.Errorf("%s: %s: %s", name, key, violation)
			}
		}
	}
}

// poolTemplate is a template whose executor is as change makes it.
func poolTemplate(change func(pod *corev1.PodSpec, executor *corev1.Container)) *corev1.PodTemplateSpec {
	template := &corev1.PodTemplateSpec{Spec: corev1.PodSpec{Containers: []corev1.Container{
		{Name: podruntime.ExecutorContainer, Image: "python:3.12-slim"},
	}}}
	change(&template.Spec, &template.Spec.Containers[0])
	return template
}

// nonRoot satisfies the standard as far as the server leaves it to the template.
func nonRoot(pod *corev1.PodSpec, _ *corev1.Container) {
	pod.SecurityContext = &corev1.PodSecurityContext{RunAsNonRoot: ptr.To(true), RunAsUser: ptr.To[int64](1000)}
}

// TestPoolPodsAreRestricted builds the pods of templates that satisfy the standard: the server adds
// nothing that does not. Those of others are not made to look as if they did.
func TestPoolPodsAreRestricted(t *testing.T) {
	for _, tt := range []struct {
		name   string
		change func(pod *corev1.PodSpec, executor *corev1.Container)
		agent  podspec.Agent
		refuse bool
	}{
		{name: "user of the pod", change: nonRoot},
		{name: "no user of a number", change: func(pod *corev1.PodSpec, _ *corev1.Container) {
			pod.SecurityContext = &corev1.PodSecurityContext{RunAsNonRoot: ptr.To(true)}
		}},
		{name: "user of the container", change: func(_ *corev1.PodSpec, executor *corev1.Container) {
			executor.SecurityContext = &corev1.SecurityContext{RunAsNonRoot: ptr.To(true), RunAsUser: ptr.To[int64](7)}
		}},
		{name: "the server asks for it", agent: podspec.Agent{NonRoot: true}, change: func(*corev1.PodSpec, *corev1.Container) {}},
		{name: "no volume for the work directory", agent: podspec.Agent{OwnWorkDir: true}, change: nonRoot},
		{name: "own capabilities", change: func(pod *corev1.PodSpec, executor *corev1.Container) {
			nonRoot(pod, executor)
			executor.SecurityContext = &corev1.SecurityContext{Capabilities: &corev1.Capabilities{
				Drop: []corev1.Capability{"ALL"}, Add: []corev1.Capability{"NET_BIND_SERVICE"},
			}}
		}},
		{name: "volumes and a home", change: func(pod *corev1.PodSpec, executor *corev1.Container) {
			nonRoot(pod, executor)
			pod.Volumes = []corev1.Volume{{Name: "v", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{Medium: corev1.StorageMediumMemory}}}}
			executor.VolumeMounts = []corev1.VolumeMount{{Name: "v", MountPath: "/v"}}
			executor.Env = []corev1.EnvVar{{Name: "HOME", Value: "/v"}}
		}},
		{name: "a second container", change: func(pod *corev1.PodSpec, executor *corev1.Container) {
			nonRoot(pod, executor)
			pod.Containers = append(pod.Containers, corev1.Container{Name: "other", Image: "i", SecurityContext: &corev1.SecurityContext{
				AllowPrivilegeEscalation: ptr.To(false), Capabilities: &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}},
			}})
		}},

		{name: "silent", refuse: true, change: func(*corev1.PodSpec, *corev1.Container) {}},
		{name: "root", refuse: true, change: func(pod *corev1.PodSpec, _ *corev1.Container) {
			pod.SecurityContext = &corev1.PodSecurityContext{RunAsUser: ptr.To[int64](0)}
		}},
		{name: "privileged", refuse: true, change: func(pod *corev1.PodSpec, executor *corev1.Container) {
			nonRoot(pod, executor)
			executor.SecurityContext = &corev1.SecurityContext{Privileged: ptr.To(true)}
		}},
		{name: "a path of the node", refuse: true, change: func(pod *corev1.PodSpec, executor *corev1.Container) {
			nonRoot(pod, executor)
			pod.Volumes = []corev1.Volume{{Name: "v", VolumeSource: corev1.VolumeSource{HostPath: &corev1.HostPathVolumeSource{Path: "/"}}}}
		}},
		{name: "the node's network", refuse: true, change: func(pod *corev1.PodSpec, executor *corev1.Container) {
			nonRoot(pod, executor)
			pod.HostNetwork = true
		}},
		{name: "unconfined", refuse: true, change: func(pod *corev1.PodSpec, executor *corev1.Container) {
			nonRoot(pod, executor)
			executor.SecurityContext = &corev1.SecurityContext{SeccompProfile: &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeUnconfined}}
		}},
	} {
		for _, workDir := range []string{"/workspace", "/repo/sub"} {
			t.Run(tt.name+workDir, func(t *testing.T) {
				agent := tt.agent
				agent.Image, agent.Port, agent.ClientCA = "arl", podspec.DefaultPort, []byte("authority")
				built, err := podspec.Build(podruntime.Spec{
					Key: podruntime.Key{Namespace: "default", Name: "pod"}, Pool: "pool", PoolUID: "uid", TemplateHash: "hash",
					WorkDir: workDir, Template: poolTemplate(tt.change),
				}, agent)
				if err != nil {
					if tt.refuse {
						return // The server itself refuses it.
					}
					t.Fatal(err)
				}
				found := violations(t, &built.ObjectMeta, &built.Spec)
				if !tt.refuse && len(found) > 0 {
					t.Errorf("the standard refuses the pod: %q", found)
				}
				if tt.refuse && len(found) == 0 {
					t.Error("the standard allows the pod")
				}
			})
		}
	}
}

// TestExamplePoolIsRestricted is about the pool of the example for clusters.
func TestExamplePoolIsRestricted(t *testing.T) {
	built := poolPod(t)
	for _, violation := range violations(t, &built.ObjectMeta, &built.Spec) {
		t.Error(violation)
	}
}
