package cluster

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// StorageClass is the class of volumes that claims get by default.
const StorageClass = "e2e"

// AddVolume gives the node a persistent volume for one claim, as nothing here
// provisions any. Its name is one of its own. A full volume is to be had with limited: then
// it lives in memory and holds no more than its size; else it is a folder on
// disk, which survives the pods, and its size is what it says only. Close
// removes it.
func (c *Cluster) AddVolume(ctx context.Context, name string, size resource.Quantity, limited bool) error {
	dir := filepath.Join(c.run, "volumes", name)
	if err := os.MkdirAll(dir, 0o777); err != nil {
		return fmt.Errorf("make volume %s: %w", name, err)
	}
	if limited {
		if _, err := c.Exec(ctx, "mount", "-t", "tmpfs", "-o", fmt.Sprintf("size=%d", size.Value()), name, dir); err != nil {
			return fmt.Errorf("make volume %s: %w", name, err)
		}
	}
	client, err := c.Client(Admin)
	if err != nil {
		return err
	}
	wait, keep := storagev1.VolumeBindingWaitForFirstConsumer, corev1.PersistentVolumeReclaimRetain
	_, err = client.StorageV1().StorageClasses().Create(ctx, &storagev1.StorageClass{
		ObjectMeta: metav1.ObjectMeta{
			Name: StorageClass, Annotations: map[string]string{"storageclass.kubernetes.io/is-default-class": "true"},
		},
		Provisioner: "kubernetes.io/no-provisioner", VolumeBindingMode: &wait,
	}, metav1.CreateOptions{})
	if err != nil && !apierrors.IsAlreadyExists(err) {
		return fmt.Errorf("make the storage class: %w", err)
	}
	_, err = client.CoreV1().PersistentVolumes().Create(ctx, &corev1.PersistentVolume{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: corev1.PersistentVolumeSpec{
			Capacity:                      corev1.ResourceList{corev1.ResourceStorage: size},
			AccessModes:                   []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce},
			PersistentVolumeReclaimPolicy: keep,
			StorageClassName:              StorageClass,
			PersistentVolumeSource:        corev1.PersistentVolumeSource{Local: &corev1.LocalVolumeSource{Path: dir}},
			NodeAffinity: &corev1.VolumeNodeAffinity{Required: &corev1.NodeSelector{NodeSelectorTerms: []corev1.NodeSelectorTerm{{
				MatchExpressions: []corev1.NodeSelectorRequirement{{
					Key: corev1.LabelHostname, Operator: corev1.NodeSelectorOpIn, Values: []string{NodeName},
				}},
			}}}},
		},
	}, metav1.CreateOptions{})
	if err != nil {
		return fmt.Errorf("make volume %s: %w", name, err)
	}
	return nil
}
