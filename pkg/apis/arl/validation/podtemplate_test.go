package validation

import (
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

type templateCase struct {
	name   string
	change func(*corev1.PodTemplateSpec)
	want   []string
}

func (tc templateCase) run(t *testing.T) {
	t.Run(tc.name, func(t *testing.T) {
		pool := newPool()
		tc.change(&pool.Spec.Template)
		var want []string
		for _, w := range tc.want {
			want = append(want, "spec.template."+w)
		}
		wantErrors(t, ValidateWarmPool(pool), want...)
	})
}

func TestValidatePodTemplateMetadata(t *testing.T) {
	for _, tc := range []templateCase{
		{name: "labels and annotations of the user", change: func(p *corev1.PodTemplateSpec) {
			p.Labels = map[string]string{"team": "a", "example.com/tier": "b", "notarl.io/x": "c"}
			p.Annotations = map[string]string{"example.com/note": "any text: at all"}
		}},
		{name: "label that is none", change: func(p *corev1.PodTemplateSpec) { p.Labels = map[string]string{"team": "a b"} },
			want: []string{`metadata.labels: Invalid value: "a b": a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')`}},
		{name: "reserved label", change: func(p *corev1.PodTemplateSpec) { p.Labels = map[string]string{"arl.io/pool": "x"} },
			want: []string{`metadata.labels[arl.io/pool]: Forbidden: keys of arl.io are set by the server alone`}},
		{name: "reserved annotation of a sub-domain", change: func(p *corev1.PodTemplateSpec) { p.Annotations = map[string]string{"pods.arl.io/x": ""} },
			want: []string{`metadata.annotations[pods.arl.io/x]: Forbidden: keys of arl.io are set by the server alone`}},
	} {
		tc.run(t)
	}
}

func TestValidatePodTemplateSpec(t *testing.T) {
	for _, tc := range []templateCase{
		{name: "sidecar and init container", change: func(p *corev1.PodTemplateSpec) {
			p.Spec.Containers = append(p.Spec.Containers, corev1.Container{Name: "sidecar", Image: "old"})
			p.Spec.InitContainers = []corev1.Container{{Name: "init", Image: "busybox"}}
		}},
		{name: "never restarted", change: func(p *corev1.PodTemplateSpec) { p.Spec.RestartPolicy = corev1.RestartPolicyNever }},
		{name: "restarted", change: func(p *corev1.PodTemplateSpec) { p.Spec.RestartPolicy = corev1.RestartPolicyAlways }},
		{name: "restarted on failure", change: func(p *corev1.PodTemplateSpec) { p.Spec.RestartPolicy = corev1.RestartPolicyOnFailure }},
		{name: "restarted somehow", change: func(p *corev1.PodTemplateSpec) { p.Spec.RestartPolicy = "Sometimes" },
			want: []string{`spec.restartPolicy: Unsupported value: "Sometimes": supported values: "Always", "OnFailure", "Never"`}},
		{name: "no container", change: func(p *corev1.PodTemplateSpec) { p.Spec.Containers = nil },
			want: []string{`spec.containers: Required value: must have at least one container`}},
		{name: "no name", change: func(p *corev1.PodTemplateSpec) { p.Spec.Containers[0].Name = "" },
			want: []string{`spec.containers[0].name: Required value`}},
		{name: "name that is no DNS label", change: func(p *corev1.PodTemplateSpec) { p.Spec.Containers[0].Name = "a.b" },
			want: []string{`spec.containers[0].name: Invalid value: "a.b": must not contain dots`}},
		{name: "no image", change: func(p *corev1.PodTemplateSpec) { p.Spec.Containers[0].Image = "" },
			want: []string{`spec.containers[0].image: Required value: must name an image`}},
		{name: "image with white space", change: func(p *corev1.PodTemplateSpec) { p.Spec.Containers[0].Image = "python " },
			want: []string{`spec.containers[0].image: Invalid value: "python ": must not begin or end with white space`}},
		{name: "name used twice", change: func(p *corev1.PodTemplateSpec) {
			p.Spec.InitContainers = []corev1.Container{{Name: "executor", Image: "busybox"}}
		}, want: []string{`spec.containers[0].name: Duplicate value: "executor"`}},
		{name: "ephemeral container", change: func(p *corev1.PodTemplateSpec) {
			p.Spec.EphemeralContainers = []corev1.EphemeralContainer{{}}
		}, want: []string{`spec.ephemeralContainers: Forbidden: not allowed in a template`}},
		{name: "command with NUL", change: func(p *corev1.PodTemplateSpec) {
			p.Spec.Containers[0].Command = []string{"a", "b\x00"}
			p.Spec.Containers[0].Args = []string{strings.Repeat("a", 128<<10)}
			p.Spec.Containers[0].WorkingDir = "\x00"
		}, want: []string{
			`spec.containers[0].command[1]: Invalid value: must not contain a NUL byte`,
			`spec.containers[0].args[0]: Too long: may not be more than 131071 bytes`,
			`spec.containers[0].workingDir: Invalid value: "\x00": must not contain a NUL byte`,
		}},
		{name: "environment", change: func(p *corev1.PodTemplateSpec) {
			p.Spec.Containers[0].Env = []corev1.EnvVar{{Name: "A", Value: "1"}, {Name: "A=B"}, {Name: ""}}
		}, want: []string{
			`spec.containers[0].env[1]: Invalid value: the name of a variable must not contain '=' or a NUL byte`,
			`spec.containers[0].env[2]: Invalid value: the name of a variable must not be empty`,
		}},
	} {
		tc.run(t)
	}
}

func TestValidatePodTemplateVolumes(t *testing.T) {
	for _, tc := range []templateCase{
		{name: "mounted", change: func(p *corev1.PodTemplateSpec) {
			p.Spec.Volumes = []corev1.Volume{{Name: "data"}}
			p.Spec.Containers[0].VolumeMounts = []corev1.VolumeMount{{Name: "data", MountPath: "/data"}}
		}},
		{name: "missing", change: func(p *corev1.PodTemplateSpec) {
			p.Spec.Containers[0].VolumeMounts = []corev1.VolumeMount{{Name: "data", MountPath: "/data"}, {}}
		}, want: []string{
			`spec.containers[0].volumeMounts[0].name: Not found: "data"`,
			`spec.containers[0].volumeMounts[1].name: Required value: must name a volume of the template`,
			`spec.containers[0].volumeMounts[1].mountPath: Required value`,
		}},
		{name: "bad names", change: func(p *corev1.PodTemplateSpec) {
			p.Spec.Volumes = []corev1.Volume{{Name: "a"}, {Name: "a"}, {Name: ""}, {Name: "x.y"}}
		}, want: []string{
			`spec.volumes[1].name: Duplicate value: "a"`,
			`spec.volumes[2].name: Required value`,
			`spec.volumes[3].name: Invalid value: "x.y": must not contain dots`,
		}},
	} {
		tc.run(t)
	}
}

func TestValidatePodTemplateResources(t *testing.T) {
	list := func(pairs ...string) corev1.ResourceList {
		l := corev1.ResourceList{}
		for i := 0; i < len(pairs); i += 2 {
			l[corev1.ResourceName(pairs[i])] = resource.MustParse(pairs[i+1])
		}
		return l
	}
	set := func(requests, limits corev1.ResourceList) func(*corev1.PodTemplateSpec) {
		return func(p *corev1.PodTemplateSpec) {
			p.Spec.Containers[0].Resources = corev1.ResourceRequirements{Requests: requests, Limits: limits}
		}
	}
	for _, tc := range []templateCase{
		{name: "usual", change: set(list("cpu", "100m", "memory", "64Mi"), list("cpu", "1", "memory", "64Mi", "example.com/gpu", "1"))},
		{name: "negative", change: set(list("cpu", "-1"), list("memory", "-1Mi")), want: []string{
			`spec.containers[0].resources.limits[memory]: Invalid value: "-1Mi": must not be negative`,
			`spec.containers[0].resources.requests[cpu]: Invalid value: "-1": must not be negative`,
		}},
		{name: "request above limit", change: set(list("cpu", "2"), list("cpu", "1")),
			want: []string{`spec.containers[0].resources.requests[cpu]: Invalid value: "2": must be at most the limit of 1`}},
		{name: "no resource name", change: set(list("a b", "2"), nil),
			want: []string{`spec.containers[0].resources.requests[a b]: Invalid value: "a b": name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')`}},
	} {
		tc.run(t)
	}
}
