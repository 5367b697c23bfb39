package phase

import (
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"arl.io/arl/pkg/podruntime"
	"arl.io/arl/pkg/podruntime/kube/podspec"
)

// Trim drops what nothing here reads from a pod that is kept in memory. It is a
// cache.TransformFunc; other objects pass.
func Trim(obj any) (any, error) {
	pod, ok := obj.(*corev1.Pod)
	if !ok {
		return obj, nil
	}
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: pod.Namespace, Name: pod.Name, UID: pod.UID, ResourceVersion: pod.ResourceVersion,
			CreationTimestamp: pod.CreationTimestamp, DeletionTimestamp: pod.DeletionTimestamp,
			Labels:      only(pod.Labels, podruntime.LabelPool, podruntime.LabelPoolUID, podruntime.LabelTemplateHash, podruntime.LabelSandbox),
			Annotations: only(pod.Annotations, podspec.AnnotationContainer, podspec.AnnotationWorkDir),
		},
		Spec:   corev1.PodSpec{NodeName: pod.Spec.NodeName, Containers: outlines(pod.Spec.Containers)},
		Status: pod.Status,
	}, nil
}

func only(all map[string]string, keys ...string) map[string]string {
	kept := make(map[string]string, len(keys))
	for _, key := range keys {
		if value, ok := all[key]; ok {
			kept[key] = value
		}
	}
	return kept
}

// outlines keeps of containers who they are and where they listen.
func outlines(containers []corev1.Container) []corev1.Container {
	kept := make([]corev1.Container, len(containers))
	for i := range containers {
		kept[i].Name, kept[i].Ports = containers[i].Name, containers[i].Ports
	}
	return kept
}
