package plan

import "arl.io/arl/pkg/apis/arl/v1alpha1"

// Shelf counts pods that no sandbox uses.
type Shelf struct {
	// Starting pods are not ready yet.
	Starting int
	// Idle pods are ready to be given out.
	Idle int
}

func (s Shelf) total() int { return s.Starting + s.Idle }

// Stock counts the pods of one pool. Pods on their way out are not in it.
type Stock struct {
	// Current pods are made from the pool's current template, Old ones are not.
	Current, Old Shelf
	// InUse pods belong to a sandbox, or are about to.
	InUse int
}

// Want says what a pool should look like.
type Want struct {
	// Replicas is the number of idle pods to keep.
	Replicas int
	// Waiting is the number of sandboxes that wait for a pod. A pod is started for each of them.
	Waiting int
	// Spare is the number of pods to keep beyond what is wanted: their sandboxes stopped waiting a
	// moment ago, and others may come. No pod is started to have a spare one.
	Spare int
	// MaxPods caps all pods of the pool; 0 means no cap.
	MaxPods int
	// Strategy says when old pods go.
	Strategy v1alpha1.UpdateStrategyType
	// StartLimit caps the pods that may be starting at once.
	StartLimit int
}

// unused returns how many pods of the current template should be starting or idle. The pods that are
// starting should number max(Replicas - idle, Waiting).
func (w Want) unused(idle int) int {
	if w.Waiting == 0 {
		return w.Replicas
	}
	return max(w.Replicas, idle+w.Waiting)
}

// Order is what to do about a pool.
type Order struct {
	// Start is the number of pods to start from the current template.
	Start int
	// StopCurrent and StopOld are the pods to delete.
	StopCurrent, StopOld Shelf
	// Capped says that MaxPods keeps pods from being started that are wanted.
	Capped bool
}

// Fill decides how a pool comes closer to what is wanted. It is called again after every change, so it
// never plans ahead: pods that were started count as starting from then on, which is what keeps it
// from starting too many.
func Fill(want Want, have Stock) Order {
	var order Order
	order.StopCurrent = surplus(want, have)
	order.StopOld = outdated(want, have)

	remaining := have.Current.total() - order.StopCurrent.total()
	missing := want.unused(have.Current.Idle) - remaining
	if missing <= 0 {
		return order
	}
	order.Start = min(missing, want.StartLimit-have.Current.Starting-have.Old.Starting+order.StopOld.Starting)
	if want.MaxPods > 0 {
		room := want.MaxPods - have.InUse - remaining - (have.Old.total() - order.StopOld.total())
		if room <= 0 && have.Current.Starting == 0 && have.Old.Idle > order.StopOld.Idle {
			// At the cap an old pod makes way for a new one: one at a time, so that a template that
			// cannot start costs a single idle pod.
			order.StopOld.Idle++
			room++
		}
		order.Start = min(order.Start, room)
		order.Capped = missing > room
	}
	order.Start = max(order.Start, 0)
	return order
}

// surplus returns how many pods of the current template are too many. Those
// still starting go first: an idle pod is worth more.
func surplus(want Want, have Stock) Shelf {
	keep := want.unused(have.Current.Idle) + want.Spare
	if want.MaxPods > 0 {
		keep = min(keep, max(want.MaxPods-have.InUse, 0))
	}
	excess := max(have.Current.total()-keep, 0)
	starting := min(excess, have.Current.Starting)
	return Shelf{Starting: starting, Idle: excess - starting}
}

// outdated returns how many pods of an old template to delete. One that has
// not even started is of no use. Idle ones stay, under OnReplenish, for as long as
// there are too few idle pods of the current template.
func outdated(want Want, have Stock) Shelf {
	stop := Shelf{Starting: have.Old.Starting, Idle: have.Old.Idle}
	if want.Strategy == v1alpha1.UpdateRecreate {
		return stop
	}
	keep := max(want.Replicas-have.Current.Idle, 0)
	if want.MaxPods > 0 {
		keep = min(keep, max(want.MaxPods-have.InUse-have.Current.total(), 0))
	}
	stop.Idle = max(have.Old.Idle-keep, 0)
	return stop
}

// MayGive says whether an idle pod of an old template may be given to a
// sandbox: only under OnReplenish, and only while no pod of the current template is idle.
func MayGive(strategy v1alpha1.UpdateStrategyType, currentIdle int) bool {
	return strategy != v1alpha1.UpdateRecreate && currentIdle == 0
}

// PoolPhase sums a pool up: whether the sandboxes that come next get a pod at once. Failing says that
// pods cannot be started at present.
func PoolPhase(want Want, idle int, failing, terminating bool) v1alpha1.WarmPoolPhase {
	switch {
	case terminating:
		return v1alpha1.WarmPoolTerminating
	case idle >= want.Replicas && want.Waiting == 0:
		return v1alpha1.WarmPoolReady
	case failing:
		return v1alpha1.WarmPoolDegraded
	default:
		return v1alpha1.WarmPoolPending
	}
}
