package kube

import (
	"k8s.io/apimachinery/pkg/types"

	"arl.io/arl/pkg/podruntime"
	"arl.io/arl/pkg/podruntime/kube/phase"
)

// maxWorkDirs bounds Runtime.workDirs. Templates beyond it cost their pods one more init container.
const maxWorkDirs = 4096

// templateKey names what pods of one pool are made from, as far as their work directory depends on it.
type templateKey struct {
	poolUID       types.UID
	hash, workDir string
}

func templateOf(p podruntime.Pod) templateKey {
	return templateKey{poolUID: p.PoolUID, hash: p.TemplateHash, workDir: p.WorkDir}
}

// learnWorkDirLocked remembers that a template's user needs no volume for the work directory, which
// only a pod can find out: the user stands in the image. Later pods of the template start with one
// container less, and see their image's own directory instead of a copy of it. If the image changes
// under its name, a pod fails to start; that forgets what was learned, and the next pod has the volume.
func (r *Runtime) learnWorkDirLocked(p podruntime.Pod, status phase.State) {
	if !status.OwnWorkDir || status.Phase == podruntime.Failed {
		return
	}
	if len(r.workDirs) >= maxWorkDirs {
		clear(r.workDirs)
	}
	r.workDirs[templateOf(p)] = struct{}{}
}

// ownsWorkDir says that the user of a spec's template is known to need no volume.
func (r *Runtime) ownsWorkDir(spec podruntime.Spec) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	_, known := r.workDirs[templateKey{poolUID: spec.PoolUID, hash: spec.TemplateHash, workDir: spec.WorkDir}]
	return known
}
