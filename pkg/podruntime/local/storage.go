package local

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/klog/v2"

	"arl.io/arl/pkg/podruntime"
	"arl.io/arl/pkg/podruntime/local/disk"
	"arl.io/arl/pkg/podruntime/local/filetree"
)

// clearPatience is how long the guard of the disk waits until the files of a failed pod are gone, before
// it looks for another pod to fail.
const clearPatience = 30 * time.Second

// kept are the files of a failed pod that stay until it is deleted.
var kept = []string{recordName, processName, logName, socketName}

// limitsOf returns what pods of a template may take of the disk.
func (r *Runtime) limitsOf(template *corev1.PodTemplateSpec) disk.Limits {
	limits := disk.Limits{Bytes: r.config.StorageLimit}
	if template == nil {
		return limits
	}
	container, _, err := executor(&template.Spec)
	if err != nil {
		return limits // Create refuses such a template
	}
	if limit, ok := container.Resources.Limits[corev1.ResourceEphemeralStorage]; ok {
		limits.Bytes = limit.Value()
	}
	if request, ok := container.Resources.Requests[corev1.ResourceEphemeralStorage]; ok {
		limits.Request = request.Value()
	}
	for _, v := range template.Spec.Volumes {
		if v.EmptyDir == nil || v.EmptyDir.Medium != corev1.StorageMediumDefault || v.EmptyDir.SizeLimit == nil || v.EmptyDir.SizeLimit.IsZero() {
			continue
		}
		if limits.Volumes == nil {
			limits.Volumes = map[string]int64{}
		}
		limits.Volumes[v.Name] = v.EmptyDir.SizeLimit.Value()
	}
	return limits
}

// reserveBytes is what images leave of the disk. If the file system does not answer, a later step reports it.
func (r *Runtime) reserveBytes() int64 {
	space, err := disk.SpaceOf(r.config.Dir)
	if err != nil {
		return 0
	}
	return int64(disk.ReserveOf(space, r.config.MinFree).Bytes)
}

// guardDisk keeps pods from filling the disk until ctx ends.
func (r *Runtime) guardDisk(ctx context.Context) {
	disk.New(disk.Config{
		Space:   func() (disk.Space, error) { return disk.SpaceOf(r.config.Dir) },
		MinFree: r.config.MinFree,
		Pods:    r.podsOnDisk,
		Measure: r.measurePod,
		Fail:    r.failForDisk,
		Clock:   r.config.Clock,
	}).Run(ctx)
}

// podsOnDisk returns the pods that may write.
func (r *Runtime) podsOnDisk() []disk.Pod {
	r.mu.Lock()
	defer r.mu.Unlock()
	pods := make([]disk.Pod, 0, len(r.pods))
	for key, p := range r.pods {
		if p.pod.Phase != podruntime.Failed && !p.deleting && p.condemned == nil {
			pods = append(pods, disk.Pod{ID: string(p.pod.UID), Name: key.String(), Limits: p.limits})
		}
	}
	return pods
}

// measurePod measures what a pod takes: its folder, and files that its processes have open although they
// are removed.
func (r *Runtime) measurePod(ctx context.Context, pod disk.Pod) (disk.Usage, error) {
	var usage disk.Usage
	var err error
	dir := r.podDir(types.UID(pod.ID))
	if usage.Usage, err = filetree.Measure(ctx, dir, pod.Files()); err != nil {
		return usage, err
	}
	for name := range pod.Volumes {
		if usage.Volumes == nil {
			usage.Volumes = map[string]int64{}
		}
		volume, err := filetree.Measure(ctx, filepath.Join(dir, volumesName, name), pod.Files())
		if err != nil {
			return usage, err
		}
		usage.Volumes[name] = volume.Bytes
	}
	removed, err := r.removedButOpen(pod)
	usage.Usage = usage.Usage.Add(removed)
	return usage, err
}

// removedButOpen measures files that have no name any more. Without a cgroup, the processes of a pod are
// not known, and nothing is counted.
func (r *Runtime) removedButOpen(pod disk.Pod) (filetree.Usage, error) {
	p := r.podOf(types.UID(pod.ID))
	if p == nil {
		return filetree.Usage{}, nil
	}
	cgroup, err := r.machine.podCgroup(pod.ID, p.cgroup)
	if err != nil || cgroup == nil || !cgroup.Exists() {
		return filetree.Usage{}, err
	}
	pids, err := cgroup.GetAllPids()
	if err != nil {
		return filetree.Usage{}, nil // the pod is ending
	}
	return disk.RemovedButOpen(r.config.Dir, pids)
}

// failForDisk fails a pod, and waits until its files are gone.
func (r *Runtime) failForDisk(ctx context.Context, pod disk.Pod, reason disk.Reason, message string) {
	p := r.podOf(types.UID(pod.ID))
	if p == nil {
		return
	}
	f := &failure{podruntime.ReasonDiskLimit, errors.New("the pod takes too much disk space: " + message)}
	if reason == disk.Pressure {
		f = &failure{podruntime.ReasonDiskPressure, errors.New("the pod was ended to make room: " + message)}
	}
	r.mu.Lock()
	if p.condemned != nil || p.deleting || p.pod.Phase == podruntime.Failed {
		r.mu.Unlock()
		return
	}
	p.condemned = f
	r.mu.Unlock()
	klog.FromContext(ctx).Info("A pod is ended because of the disk space that it takes",
		"pod", pod.Name, "uid", pod.ID, "reason", f.reason, "message", message)
	if err := r.killInit(ctx, p); err != nil {
		klog.FromContext(ctx).Error(err, "A pod that takes too much disk space does not end", "pod", pod.Name, "uid", pod.ID)
	}
	select {
	case <-p.cleared:
	case <-r.config.Clock.After(clearPatience):
	case <-ctx.Done():
	}
}

// podOf returns the pod of a UID, or nil.
func (r *Runtime) podOf(uid types.UID) *pod {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, p := range r.pods {
		if p.pod.UID == uid {
			return p
		}
	}
	return nil
}

// condemnation returns why a pod is to fail, or nil.
func (r *Runtime) condemnation(p *pod) *failure {
	r.mu.Lock()
	defer r.mu.Unlock()
	return p.condemned
}

// clear removes the files of a failed pod, all but its record and its log.
func (r *Runtime) clear(ctx context.Context, p *pod) {
	defer r.setCleared(p)
	// The agent keeps the log short; one that was taken over may not have.
	log := r.podPath(p.pod.UID, logName)
	if info, err := os.Lstat(log); err == nil && info.Size() > 2*logLimit {
		if err := os.Truncate(log, logLimit); err != nil {
			klog.FromContext(ctx).Error(err, "The log of a failed pod cannot be shortened", "pod", p.pod.Key.String(), "uid", p.pod.UID)
		}
	}
	entries, err := os.ReadDir(r.podDir(p.pod.UID))
	for _, entry := range entries {
		if !slices.Contains(kept, entry.Name()) {
			err = errors.Join(err, filetree.Remove(ctx, r.podPath(p.pod.UID, entry.Name())))
		}
	}
	if err != nil && ctx.Err() == nil && !errors.Is(err, fs.ErrNotExist) {
		klog.FromContext(ctx).Error(fmt.Errorf("removing the files of a failed pod: %w", err),
			"Files of a failed pod stay until the pod is deleted", "pod", p.pod.Key.String(), "uid", p.pod.UID)
	}
}

// setCleared says that the files of a pod are gone.
func (r *Runtime) setCleared(p *pod) {
	r.mu.Lock()
	defer r.mu.Unlock()
	select {
	case <-p.cleared:
	default:
		close(p.cleared)
	}
}
