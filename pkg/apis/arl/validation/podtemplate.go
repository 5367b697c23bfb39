package validation

import (
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metav1validation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"arl.io/arl/pkg/apis/arl"
)

// validatePodTemplate checks what every pod runtime relies on. What one of
// them does not support it refuses itself, which the pool's conditions tell;
// and a cluster checks the whole pod again.
func validatePodTemplate(template *corev1.PodTemplateSpec, fldPath *field.Path) field.ErrorList {
	metadata, spec := fldPath.Child("metadata"), fldPath.Child("spec")
	errs := metav1validation.ValidateLabels(template.Labels, metadata.Child("labels"))
	errs = append(errs, validateUnreserved(template.Labels, metadata.Child("labels"))...)
	errs = append(errs, apivalidation.ValidateAnnotations(template.Annotations, metadata.Child("annotations"))...)
	errs = append(errs, validateUnreserved(template.Annotations, metadata.Child("annotations"))...)
	return append(errs, validatePodSpec(&template.Spec, spec)...)
}

// validateUnreserved refuses the keys by which the server finds its pods again.
func validateUnreserved(keys map[string]string, fldPath *field.Path) field.ErrorList {
	var errs field.ErrorList
	for _, key := range sortedKeys(keys) {
		domain, _, qualified := strings.Cut(key, "/")
		if qualified && (domain == arl.GroupName || strings.HasSuffix(domain, "."+arl.GroupName)) {
			errs = append(errs, field.Forbidden(fldPath.Key(key), "keys of "+arl.GroupName+" are set by the server alone"))
		}
	}
	return errs
}

func validatePodSpec(spec *corev1.PodSpec, fldPath *field.Path) field.ErrorList {
	// None of them is used, but templates written for other controllers have them.
	errs := validateOptionalEnum(spec.RestartPolicy, fldPath.Child("restartPolicy"),
		corev1.RestartPolicyAlways, corev1.RestartPolicyOnFailure, corev1.RestartPolicyNever)
	if len(spec.EphemeralContainers) > 0 {
		errs = append(errs, field.Forbidden(fldPath.Child("ephemeralContainers"), "not allowed in a template"))
	}
	volumes, volumeErrs := validateVolumes(spec.Volumes, fldPath.Child("volumes"))
	errs = append(errs, volumeErrs...)

	check := containerCheck{volumes: volumes, names: map[string]bool{}}
	if len(spec.Containers) == 0 {
		errs = append(errs, field.Required(fldPath.Child("containers"), "must have at least one container"))
	}
	errs = append(errs, check.all(spec.InitContainers, fldPath.Child("initContainers"))...)
	return append(errs, check.all(spec.Containers, fldPath.Child("containers"))...)
}

// validateVolumes checks names alone, and returns them.
func validateVolumes(volumes []corev1.Volume, fldPath *field.Path) (names map[string]bool, errs field.ErrorList) {
	names = make(map[string]bool, len(volumes))
	for i := range volumes {
		errs = append(errs, validateUniqueName(volumes[i].Name, names, fldPath.Index(i).Child("name"))...)
	}
	return names, errs
}

// validateUniqueName wants a DNS label that is not in seen, and adds it.
func validateUniqueName(name string, seen map[string]bool, fldPath *field.Path) field.ErrorList {
	if name == "" {
		return field.ErrorList{field.Required(fldPath, "")}
	}
	if seen[name] {
		return field.ErrorList{field.Duplicate(fldPath, name)}
	}
	seen[name] = true
	return validateName(name, validation.DNS1123LabelMaxLength, fldPath)
}

// containerCheck goes over the containers of one pod, init containers
// included, since their names must differ.
type containerCheck struct {
	volumes, names map[string]bool
}

func (c containerCheck) all(containers []corev1.Container, fldPath *field.Path) field.ErrorList {
	var errs field.ErrorList
	for i := range containers {
		errs = append(errs, c.one(&containers[i], fldPath.Index(i))...)
	}
	return errs
}

func (c containerCheck) one(container *corev1.Container, fldPath *field.Path) field.ErrorList {
	errs := validateUniqueName(container.Name, c.names, fldPath.Child("name"))
	image := fldPath.Child("image")
	switch {
	case container.Image == "":
		errs = append(errs, field.Required(image, "must name an image"))
	case container.Image != strings.TrimSpace(container.Image):
		errs = append(errs, field.Invalid(image, container.Image, "must not begin or end with white space"))
	}
	errs = append(errs, validateArguments(container.Command, fldPath.Child("command"))...)
	errs = append(errs, validateArguments(container.Args, fldPath.Child("args"))...)
	errs = append(errs, validatePath(container.WorkingDir, fldPath.Child("workingDir"))...)
	for i, variable := range container.Env {
		errs = append(errs, validateEnvVar(variable.Name, variable.Value, fldPath.Child("env").Index(i))...)
	}
	for i, mount := range container.VolumeMounts {
		errs = append(errs, c.mount(&mount, fldPath.Child("volumeMounts").Index(i))...)
	}
	return append(errs, validateContainerResources(&container.Resources, fldPath.Child("resources"))...)
}

func (c containerCheck) mount(mount *corev1.VolumeMount, fldPath *field.Path) field.ErrorList {
	var errs field.ErrorList
	switch {
	case mount.Name == "":
		errs = append(errs, field.Required(fldPath.Child("name"), "must name a volume of the template"))
	case !c.volumes[mount.Name]:
		errs = append(errs, field.NotFound(fldPath.Child("name"), mount.Name))
	}
	if mount.MountPath == "" {
		errs = append(errs, field.Required(fldPath.Child("mountPath"), ""))
	}
	return append(errs, validatePath(mount.MountPath, fldPath.Child("mountPath"))...)
}

func validateContainerResources(resources *corev1.ResourceRequirements, fldPath *field.Path) field.ErrorList {
	limits, requests := fldPath.Child("limits"), fldPath.Child("requests")
	errs := validateResourceList(resources.Limits, limits)
	errs = append(errs, validateResourceList(resources.Requests, requests)...)
	for _, name := range sortedKeys(resources.Requests) {
		request := resources.Requests[name]
		if limit, ok := resources.Limits[name]; ok && request.Cmp(limit) > 0 {
			errs = append(errs, field.Invalid(requests.Key(string(name)), request.String(),
				"must be at most the limit of "+limit.String()))
		}
	}
	return errs
}

func validateResourceList(list corev1.ResourceList, fldPath *field.Path) field.ErrorList {
	var errs field.ErrorList
	for _, name := range sortedKeys(list) {
		key := fldPath.Key(string(name))
		for _, message := range validation.IsQualifiedName(string(name)) {
			errs = append(errs, field.Invalid(key, name, message))
		}
		if quantity := list[name]; quantity.Cmp(resource.Quantity{}) < 0 {
			errs = append(errs, field.Invalid(key, quantity.String(), "must not be negative"))
		}
	}
	return errs
}
