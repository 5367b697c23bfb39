package plan

import (
	"cmp"
	"math"
	"time"

	"arl.io/arl/pkg/apis/arl/v1alpha1"
)

// Place is where a sandbox stands among those that wait for the same pool.
type Place struct {
	Priority int32
	// Created has a resolution of one second; the fields after it break ties.
	Created time.Time
	// Position is the queue position that was stored when the sandbox was first
	// seen. It keeps the order across a restart of the server. A
	// sandbox without one is newer than any that has one.
	Position int32
	// Arrival is the resource version at which the sandbox was first seen.
	Arrival uint64
	// UID makes the order total.
	UID string
}

// PlaceOf returns the place of a sandbox that is seen for the first time.
func PlaceOf(sandbox *v1alpha1.Sandbox) Place {
	place := Place{
		Priority: sandbox.Spec.Priority,
		Created:  sandbox.CreationTimestamp.Time,
		Position: math.MaxInt32,
		Arrival:  Arrival(sandbox.ResourceVersion),
		UID:      string(sandbox.UID),
	}
	if sandbox.Status.QueuePosition != nil {
		place.Position = *sandbox.Status.QueuePosition
	}
	return place
}

// Before says whether p is served before q: higher priority first, then first
// come first served.
func (p Place) Before(q Place) bool {
	return cmp.Or(
		cmp.Compare(q.Priority, p.Priority),
		p.Created.Compare(q.Created),
		cmp.Compare(p.Position, q.Position),
		cmp.Compare(p.Arrival, q.Arrival),
		cmp.Compare(p.UID, q.UID),
	) < 0
}

// MayOvertake says whether a sandbox that is being created may take a pod
// although others wait: only if its priority is higher than that of the first.
func MayOvertake(priority int32, first Place) bool { return priority > first.Priority }

// Turn is where a task stands among the tasks of its sandbox.
type Turn struct {
	// Created has a resolution of one second; the fields after it break ties.
	Created time.Time
	// Age puts a task that was begun, or whose wait was noted in its status, before
	// the tasks of the same second that were not. Notes are written in order,
	// which is how the order of creation survives a restart of the server.
	Age Age
	// Arrival is the resource version at which the task was first seen: that of
	// its creation, unless the server was restarted or the task edited since.
	Arrival uint64
	// UID makes the order total.
	UID string
}

// Age is how far a task had come when it was first seen.
type Age int

// Ages, oldest first.
const (
	Begun Age = iota
	Noted
	Fresh
)

// TurnOf returns the turn of a task that is seen for the first time.
func TurnOf(task *v1alpha1.Task) Turn {
	turn := Turn{
		Created: task.CreationTimestamp.Time,
		Age:     Fresh,
		Arrival: Arrival(task.ResourceVersion),
		UID:     string(task.UID),
	}
	switch {
	case task.Status.Attempts > 0 || task.Status.State == v1alpha1.TaskRunning:
		turn.Age = Begun
	case task.Status.ObservedGeneration > 0:
		turn.Age = Noted
	}
	return turn
}

// Before says whether a task starts before another of the same sandbox.
func (t Turn) Before(u Turn) bool {
	return cmp.Or(
		t.Created.Compare(u.Created),
		cmp.Compare(t.Age, u.Age),
		cmp.Compare(t.Arrival, u.Arrival),
		cmp.Compare(t.UID, u.UID),
	) < 0
}

// Startable returns how many of a sandbox's pending tasks may start now.
func Startable(maxConcurrent *int32, running, pending int) int {
	limit := 1
	if maxConcurrent != nil {
		limit = int(*maxConcurrent)
	}
	return max(min(limit-running, pending), 0)
}

// Arrival reads a resource version as a number. Ours are decimal and grow with
// every write; one that is not decimal counts as 0 and leaves the order to what is compared next.
func Arrival(resourceVersion string) uint64 {
	var number uint64
	for _, digit := range resourceVersion {
		if digit < '0' || digit > '9' || number > math.MaxUint64/10-1 {
			return 0
		}
		number = 10*number + uint64(digit-'0')
	}
	return number
}
