package execute

import (
	"k8s.io/apimachinery/pkg/types"
)

// podUse is what runs in a pod.
type podUse struct {
	// executions counts those under way.
	executions int
	// released are called when there are none.
	released []func()
}

// Hold says whether steps run in a pod. If so, released is called once none does any more: the steps
// of a sandbox that was deleted get their grace before their pod is. Released may only enqueue.
func (e *Executor) Hold(pod types.UID, released func()) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	use, ok := e.uses[pod]
	if !ok {
		return false
	}
	use.released = append(use.released, released)
	return true
}

// useLocked counts an execution in a pod.
func (e *Executor) useLocked(pod types.UID) {
	use, ok := e.uses[pod]
	if !ok {
		use = &podUse{}
		e.uses[pod] = use
	}
	use.executions++
}

// release counts an execution out.
func (e *Executor) release(pod types.UID) {
	e.mu.Lock()
	defer e.mu.Unlock()
	use := e.uses[pod]
	if use.executions--; use.executions > 0 {
		return
	}
	delete(e.uses, pod)
	for _, released := range use.released {
		released()
	}
}
