package kube

import (
	"context"
	"errors"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/klog/v2"

	"arl.io/arl/pkg/podruntime"
	"arl.io/arl/pkg/podruntime/kube/phase"
	"arl.io/arl/pkg/podruntime/kube/podspec"
)

// Record is what the runtime knows of a pod because it created the pod. It is the only ground on which
// a pod is used: whoever may create or change pods can write the same labels and annotations.
type Record struct {
	Namespace string    `json:"namespace"`
	Name      string    `json:"name"`
	UID       types.UID `json:"uid"`
	// Pool, PoolUID, TemplateHash, WorkDir and Container are what the pod was created for. The pod's
	// own labels and annotations say the same for people, and are not believed.
	Pool         string    `json:"pool"`
	PoolUID      types.UID `json:"poolUID"`
	TemplateHash string    `json:"templateHash"`
	WorkDir      string    `json:"workDir"`
	Container    string    `json:"container"`
	// Images identifies the images of the pod as the cluster took it.
	Images string `json:"images"`
}

// Records keeps Records beyond the process, where nobody but the server can write. All methods may be
// called concurrently, but Load only before the others.
type Records interface {
	// Load returns all records. complete is false before Complete was ever called.
	Load(ctx context.Context) (records []Record, complete bool, err error)
	// Add stores a record. It is durable when Add returns.
	Add(ctx context.Context, record Record) error
	// Remove drops the record of a pod. One that is not there is no error.
	Remove(ctx context.Context, pod types.UID) error
	// Complete says that every pod of this server has a record. It is durable when Complete returns.
	Complete(ctx context.Context) error
}

// recordOf returns the record of a pod that the cluster has as given, and which is believed to be ours.
func recordOf(pod *corev1.Pod) Record {
	read := podspec.Read(pod)
	return Record{
		Namespace: read.Namespace, Name: read.Name, UID: read.UID, Pool: read.Pool, PoolUID: read.PoolUID,
		TemplateHash: read.TemplateHash, WorkDir: read.WorkDir, Container: podspec.Executor(pod), Images: phase.ImagesOf(pod),
	}
}

// restore returns a pod as the cluster has it, with what it is known by taken from its record.
func (r Record) restore(seen *corev1.Pod) *corev1.Pod {
	restored := *seen
	restored.Labels = map[string]string{
		podruntime.LabelPool: r.Pool, podruntime.LabelPoolUID: string(r.PoolUID), podruntime.LabelTemplateHash: r.TemplateHash,
	}
	if sandbox, ok := seen.Labels[podruntime.LabelSandbox]; ok {
		restored.Labels[podruntime.LabelSandbox] = sandbox
	}
	restored.Annotations = map[string]string{podspec.AnnotationContainer: r.Container, podspec.AnnotationWorkDir: r.WorkDir}
	return &restored
}

// tampered says that the images of a pod are not those it was created with. They are what of a pod's
// containers can be changed later.
func (r Record) tampered(seen *corev1.Pod) bool { return phase.ImagesOf(seen) != r.Images }

// loadRecords reads what is known of pods of before the start.
func (r *Runtime) loadRecords(ctx context.Context) error {
	records, complete, err := r.config.Records.Load(ctx)
	if err != nil {
		return fmt.Errorf("load the records of pods: %w", err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, record := range records {
		r.records[record.UID] = record
	}
	r.trusting = !complete
	return nil
}

// settleRecords stores the records of the pods that an earlier version of the server has left, if this
// is the first start of one that keeps records, and drops those of pods that are gone. It is called once,
// when the pods there were at the start are known.
func (r *Runtime) settleRecords(ctx context.Context) error {
	r.mu.Lock()
	var found, gone []Record
	for uid, record := range r.records {
		switch p := r.pods[podruntime.Key{Namespace: record.Namespace, Name: record.Name}]; {
		case p != nil && p.pod.UID == uid:
			found = append(found, record)
		case r.serves(record.Namespace):
			gone = append(gone, record)
			delete(r.records, uid)
		}
	}
	first := r.trusting
	r.trusting = false
	r.mu.Unlock()
	for _, record := range gone {
		if err := r.config.Records.Remove(ctx, record.UID); err != nil {
			return fmt.Errorf("drop the record of pod %s/%s, which is gone: %w", record.Namespace, record.Name, err)
		}
	}
	if !first {
		return nil
	}
	for _, record := range found {
		if err := r.config.Records.Add(ctx, record); err != nil {
			return fmt.Errorf("record pod %s/%s of an earlier version: %w", record.Namespace, record.Name, err)
		}
	}
	if err := r.config.Records.Complete(ctx); err != nil {
		return fmt.Errorf("record that all pods are recorded: %w", err)
	}
	return nil
}

// serves says that pods of a namespace are watched.
func (r *Runtime) serves(namespace string) bool {
	return slices.Contains(r.config.Namespaces, corev1.NamespaceAll) || slices.Contains(r.config.Namespaces, namespace)
}

// recognizeLocked returns the record of a pod that was seen, if there is one.
func (r *Runtime) recognizeLocked(seen *corev1.Pod) (Record, bool) {
	record, known := r.records[seen.UID]
	if !known && r.trusting {
		record, known = recordOf(seen), true
		r.records[seen.UID] = record
	}
	return record, known
}

// forgetRecordLocked drops the record of a pod that is gone. If that fails, the next start does it.
func (r *Runtime) forgetRecordLocked(uid types.UID) {
	if _, known := r.records[uid]; !known {
		return
	}
	delete(r.records, uid)
	r.startLocked(func(ctx context.Context) {
		if err := r.config.Records.Remove(ctx, uid); err != nil && ctx.Err() == nil {
			klog.FromContext(ctx).Error(err, "The record of a pod that is gone was not dropped, and will be at the next start", "uid", uid)
		}
	})
}

// foreignLocked takes in a pod that looks like one of a pool and was not created by this runtime. It is
// never used. If it says that a pool is its controller, the sweeper deletes it, as controllers do with
// what is too much; else it is left alone.
func (r *Runtime) foreignLocked(seen *corev1.Pod) {
	owner := metav1.GetControllerOf(seen)
	if owner == nil || owner.Kind != podspec.PoolKind || owner.APIVersion != podspec.PoolAPIVersion || seen.DeletionTimestamp != nil {
		delete(r.foreign, seen.UID)
		return
	}
	r.foreign[seen.UID] = podspec.Read(seen)
}

// removeForeign deletes the pods that claim to belong to a pool and were not created here.
func (r *Runtime) removeForeign(ctx context.Context) {
	r.mu.Lock()
	var foreign []podruntime.Pod
	if !r.trusting {
		for _, p := range r.foreign {
			foreign = append(foreign, p)
		}
		clear(r.foreign)
	}
	r.mu.Unlock()
	for _, p := range foreign {
		klog.FromContext(ctx).Info("A pod has a pool as its controller but was not created by this server: it is not used, and deleted",
			"pod", klog.KRef(p.Namespace, p.Name), "uid", p.UID, "pool", p.Pool)
		if err := r.remove(ctx, p, gracePeriodSeconds); err != nil && !errors.Is(err, podruntime.ErrNotFound) && ctx.Err() == nil {
			klog.FromContext(ctx).Error(err, "A pod that was not created by this server could not be deleted", "pod", klog.KRef(p.Namespace, p.Name))
			r.mu.Lock()
			r.foreign[p.UID] = p
			r.mu.Unlock()
		}
	}
}
