package phase

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"

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
	annotations := only(pod.Annotations, podspec.AnnotationContainer, podspec.AnnotationWorkDir)
	annotations[annotationImages] = ImagesOf(pod)
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: pod.Namespace, Name: pod.Name, UID: pod.UID, ResourceVersion: pod.ResourceVersion,
			CreationTimestamp: pod.CreationTimestamp, DeletionTimestamp: pod.DeletionTimestamp,
			OwnerReferences: pod.OwnerReferences,
			Labels:          only(pod.Labels, podruntime.LabelPool, podruntime.LabelPoolUID, podruntime.LabelTemplateHash, podruntime.LabelSandbox),
			Annotations:     annotations,
		},
		Spec: corev1.PodSpec{
			NodeName: pod.Spec.NodeName, ReadinessGates: pod.Spec.ReadinessGates,
			Containers: outlines(pod.Spec.Containers), InitContainers: probedOnes(pod.Spec.InitContainers),
		},
		Status: pod.Status,
	}, nil
}

// annotationImages is where a trimmed pod has what ImagesOf returns. No pod in a cluster can have such a
// key: it is not a valid one.
const annotationImages = "images of the pod"

// ImagesOf identifies the images of a pod's containers, trimmed or not.
func ImagesOf(pod *corev1.Pod) string {
	if images, trimmed := pod.Annotations[annotationImages]; trimmed {
		return images
	}
	sum := sha256.New()
	for _, containers := range [][]corev1.Container{pod.Spec.InitContainers, pod.Spec.Containers} {
		for i := range containers {
			fmt.Fprintf(sum, "%s %s\n", containers[i].Name, containers[i].Image)
		}
		fmt.Fprintln(sum)
	}
	return hex.EncodeToString(sum.Sum(nil)[:16])
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

// outlines keeps of containers who they are, where they listen and whether they are probed.
func outlines(containers []corev1.Container) []corev1.Container {
	kept := make([]corev1.Container, len(containers))
	for i := range containers {
		kept[i].Name, kept[i].Ports = containers[i].Name, containers[i].Ports
		kept[i].ReadinessProbe, kept[i].StartupProbe = outline(containers[i].ReadinessProbe), outline(containers[i].StartupProbe)
	}
	return kept
}

// outline keeps of a probe that there is one.
func outline(probe *corev1.Probe) *corev1.Probe {
	if probe == nil {
		return nil
	}
	return &corev1.Probe{}
}

// probedOnes are the init containers that run beside the others and are probed.
func probedOnes(containers []corev1.Container) []corev1.Container {
	return slices.DeleteFunc(outlines(containers), func(c corev1.Container) bool { return c.ReadinessProbe == nil && c.StartupProbe == nil })
}
