package local

import (
	"fmt"
	"reflect"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"arl.io/arl/pkg/podruntime"
)

// sidecarName is a container that older templates carry for the agent. It has
// no work here and is passed over.
const sidecarName = "sidecar"

// Fields of a template by their JSON names. Those that are honoured are read in
// plan.go. Those that are idle say where or how a cluster places a pod, or
// speak of what a container here has not got: they have no effect on what the
// pod can do. All others would have one, and are refused.
var (
	podFields = fieldSet{
		honoured: []string{"containers", "volumes", "hostname", "hostAliases", "securityContext"},
		idle: []string{
			"restartPolicy", "terminationGracePeriodSeconds", "dnsPolicy", "nodeSelector", "serviceAccountName",
			"serviceAccount", "automountServiceAccountToken", "nodeName", "imagePullSecrets", "affinity", "schedulerName",
			"tolerations", "priorityClassName", "priority", "readinessGates", "enableServiceLinks", "preemptionPolicy",
			"overhead", "topologySpreadConstraints", "setHostnameAsFQDN", "subdomain", "os", "schedulingGates",
			"shareProcessNamespace",
		},
	}
	podSecurityFields = fieldSet{
		honoured: []string{"runAsUser", "runAsGroup", "runAsNonRoot", "supplementalGroups", "seccompProfile", "appArmorProfile"},
		idle:     []string{"supplementalGroupsPolicy", "fsGroupChangePolicy"},
	}
	containerFields = fieldSet{
		honoured: []string{
			"name", "image", "command", "args", "workingDir", "env", "resources", "volumeMounts", "imagePullPolicy", "securityContext",
			"readinessProbe", "startupProbe",
		},
		idle: []string{"ports", "resizePolicy", "restartPolicy", "terminationMessagePath", "terminationMessagePolicy"},
	}
	containerSecurityFields = fieldSet{
		honoured: []string{"runAsUser", "runAsGroup", "runAsNonRoot", "seccompProfile", "appArmorProfile", "capabilities"},
	}
	mountFields    = fieldSet{honoured: []string{"name", "readOnly", "mountPath"}}
	emptyDirFields = fieldSet{honoured: []string{"medium", "sizeLimit"}}
)

// fieldSet says which fields of a struct are supported.
type fieldSet struct{ honoured, idle []string }

// check returns ErrInvalid, naming the first field of value that is set and
// not supported. False and empty values count as not set.
func (s fieldSet) check(path string, value any) error {
	v := reflect.ValueOf(value)
	for i := range v.NumField() {
		name, options, _ := strings.Cut(v.Type().Field(i).Tag.Get("json"), ",")
		if name == "" && !strings.Contains(options, "inline") {
			continue
		}
		if v.Field(i).IsZero() || isFalse(v.Field(i)) || contains(s.honoured, name) || contains(s.idle, name) {
			continue
		}
		return invalid(path+"."+name, "is not supported by the local runtime; supported here: "+strings.Join(s.honoured, ", "))
	}
	return nil
}

// isFalse takes a pointer to false, an empty list and an empty struct for not set.
func isFalse(v reflect.Value) bool {
	switch v.Kind() {
	case reflect.Pointer:
		return v.Elem().Kind() == reflect.Bool && !v.Elem().Bool()
	case reflect.Slice, reflect.Map:
		return v.Len() == 0
	}
	return false
}

func contains(list []string, name string) bool {
	for _, item := range list {
		if item == name {
			return true
		}
	}
	return false
}

func invalid(path, problem string) error {
	return fmt.Errorf("%w: %s: %s", podruntime.ErrInvalid, path, problem)
}

// executor returns the container in which steps run, with its field path. Any
// other container but the sidecar is refused: a pod here is one container.
func executor(spec *corev1.PodSpec) (*corev1.Container, string, error) {
	if len(spec.Containers) == 0 {
		return nil, "", invalid("spec.containers", "needs a container")
	}
	chosen := 0
	for i := range spec.Containers {
		if spec.Containers[i].Name == podruntime.ExecutorContainer {
			chosen = i
			break
		}
	}
	for i := range spec.Containers {
		if i != chosen && spec.Containers[i].Name != sidecarName {
			return nil, "", invalid(fmt.Sprintf("spec.containers[%d]", i), fmt.Sprintf(
				"a pod of the local runtime has one container, here %q; only one more of the name %q is passed over",
				spec.Containers[chosen].Name, sidecarName))
		}
	}
	return &spec.Containers[chosen], fmt.Sprintf("spec.containers[%d]", chosen), nil
}

// checkProfiles refuses profiles that ask for less or other confinement than
// every container here has.
func checkProfiles(path string, seccomp *corev1.SeccompProfile, appArmor *corev1.AppArmorProfile) error {
	if seccomp != nil && seccomp.Type != corev1.SeccompProfileTypeRuntimeDefault {
		return invalid(path+".seccompProfile.type", "only RuntimeDefault is supported by the local runtime")
	}
	if appArmor != nil && appArmor.Type == corev1.AppArmorProfileTypeLocalhost {
		return invalid(path+".appArmorProfile.type", "Localhost is not supported by the local runtime")
	}
	return nil
}

// volumeKind names the kind of a volume by its field.
func volumeKind(source corev1.VolumeSource) string {
	v := reflect.ValueOf(source)
	for i := range v.NumField() {
		if !v.Field(i).IsZero() {
			name, _, _ := strings.Cut(v.Type().Field(i).Tag.Get("json"), ",")
			return name
		}
	}
	return "emptyDir"
}
