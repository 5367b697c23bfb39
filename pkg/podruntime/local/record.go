package local

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strconv"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"arl.io/arl/pkg/podruntime"
	"arl.io/arl/pkg/podruntime/local/idrange"
	"arl.io/arl/pkg/podruntime/local/launch"
)

// Names in a pod's folder.
const (
	recordName  = "pod.json"
	processName = "process.json"
	socketName  = "agent.sock"
	upperName   = "upper"
	workName    = "work"
	volumesName = "volumes"
	logName     = "output.log"
)

// recordVersion is the format of pod.json.
const recordVersion = 1

// record is what pod.json says.
type record struct {
	Version int            `json:"version"`
	Pod     podruntime.Pod `json:"pod"`
	Cgroup  launch.Cgroup  `json:"cgroup"`
	// Users are the pod's alone; an earlier version gave all pods the same.
	Users *idrange.Lease `json:"users,omitempty"`
	// Template is what the pod was made from; an earlier version did not keep it.
	Template *corev1.PodTemplateSpec `json:"template,omitempty"`
	// Image is the digest of the unpacked image that the pod uses, once it is known.
	Image string `json:"image,omitempty"`
}

func (r *Runtime) podDir(uid types.UID) string {
	return filepath.Join(r.config.Dir, podsName, string(uid))
}

func (r *Runtime) podPath(uid types.UID, name string) string {
	return filepath.Join(r.podDir(uid), name)
}

// socketPath names the pod's socket in few bytes.
func (r *Runtime) socketPath(uid types.UID) string {
	return filepath.Join("/proc/self/fd", strconv.Itoa(int(r.podsDir.Fd())), string(uid), socketName)
}

// save writes pod.json of a pod in a state such that a reader sees all of it or
// nothing.
func (r *Runtime) save(p *pod, pod podruntime.Pod) error {
	data, err := json.Marshal(record{
		Version: recordVersion, Pod: pod, Cgroup: p.cgroup, Users: &p.users, Template: p.template, Image: p.image,
	})
	if err != nil {
		return fmt.Errorf("encoding the pod's record: %w", err)
	}
	next := r.podPath(pod.UID, "."+recordName+".next")
	if err := os.WriteFile(next, data, 0o600); err != nil {
		return fmt.Errorf("writing the pod's record: %w", err)
	}
	if err := os.Rename(next, r.podPath(pod.UID, recordName)); err != nil {
		return fmt.Errorf("writing the pod's record: %w", err)
	}
	return nil
}

// load reads pod.json.
func (r *Runtime) load(uid types.UID) (record, error) { return loadRecord(r.podDir(uid), uid) }

// loadRecord reads pod.json in a pod's folder, wherever that is.
func loadRecord(dir string, uid types.UID) (record, error) {
	data, err := os.ReadFile(filepath.Join(dir, recordName))
	if err != nil {
		return record{}, err
	}
	var rec record
	if err := json.Unmarshal(data, &rec); err != nil {
		return record{}, err
	}
	if rec.Version != recordVersion || rec.Pod.UID != uid || rec.Pod.Name == "" {
		return record{}, fmt.Errorf("%s is of version %d and names pod %q", recordName, rec.Version, rec.Pod.UID)
	}
	return rec, nil
}

// discard removes a pod's folder: at once by its name, so that what is half
// removed is never taken for a pod. What of it cannot be removed is left to the trash.
func (r *Runtime) discard(ctx context.Context, uid types.UID) error {
	if err := r.trash.Discard(ctx, r.podDir(uid), string(uid)); err != nil {
		return fmt.Errorf("removing the pod's folder: %w", err)
	}
	return nil
}
