// Package pod is the registry of the pods of a standalone server. They are not
// stored: a pod runtime owns the truth about them, and somebody who observes it
// keeps a Feed right. Clients may read them, watch them, and read their logs.
//
// Feed has the one lock. Each watch has a goroutine, which ends with the context
// of its request or when it is stopped. Read feed.go first, then watch.go.
package pod

import (
	"slices"
	"strings"
	"sync"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/utils/clock"
)

// historyLimit is how many changes are kept for watches to resume from.
const historyLimit = 4096

// change is one change of a pod.
type change struct {
	revision uint64
	kind     watch.EventType
	// pod is the state after the change, or the last one of a pod that is gone.
	pod *corev1.Pod
	// before is the state before the change; nil if there was none.
	before *corev1.Pod
}

// Feed is the pods there are, and their latest changes. It is safe for
// concurrent use. A pod is never changed once it is in the feed.
type Feed struct {
	mu sync.Mutex
	// revision is that of the latest change. Revisions begin with the time of the
	// start, in microseconds, so that they grow over restarts as well.
	revision uint64
	pods     map[types.NamespacedName]*corev1.Pod
	history  []change
	// dropped is the revision up to which changes are not kept.
	dropped uint64
	// changed is closed at the next change.
	changed chan struct{}
}

// NewFeed returns a feed without pods.
func NewFeed(clk clock.PassiveClock) *Feed {
	start := uint64(clk.Now().UnixMicro())
	return &Feed{revision: start, dropped: start, pods: map[types.NamespacedName]*corev1.Pod{}, changed: make(chan struct{})}
}

// Set puts a pod into the feed in place of what it had of that name.
func (f *Feed) Set(pod *corev1.Pod) {
	f.mu.Lock()
	defer f.mu.Unlock()
	key := keyOf(pod)
	before := f.pods[key]
	if before != nil && before.UID != pod.UID {
		f.appendLocked(change{kind: watch.Deleted, pod: before, before: before})
		before = nil
	}
	kind := watch.Modified
	if before == nil {
		kind = watch.Added
	}
	f.pods[key] = f.appendLocked(change{kind: kind, pod: pod, before: before})
}

// Remove takes a pod out of the feed, if it is the one of that UID.
func (f *Feed) Remove(key types.NamespacedName, uid types.UID) {
	f.mu.Lock()
	defer f.mu.Unlock()
	before, ok := f.pods[key]
	if !ok || before.UID != uid {
		return
	}
	delete(f.pods, key)
	f.appendLocked(change{kind: watch.Deleted, pod: before, before: before})
}

// appendLocked gives a change its revision and wakes the watches. It returns the
// pod with that revision.
func (f *Feed) appendLocked(c change) *corev1.Pod {
	f.revision++
	c.revision = f.revision
	c.pod = withRevision(c.pod, f.revision)
	f.history = append(f.history, c)
	if over := len(f.history) - historyLimit; over > historyLimit/4 {
		f.dropped = f.history[over-1].revision
		f.history = slices.Clone(f.history[over:])
	}
	close(f.changed)
	f.changed = make(chan struct{})
	return c.pod
}

// Get returns a pod, or false.
func (f *Feed) Get(key types.NamespacedName) (*corev1.Pod, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	pod, ok := f.pods[key]
	return pod, ok
}

// List returns the pods of a namespace, "" for all, by namespace and name, and
// the revision of the latest change.
func (f *Feed) List(namespace string) ([]*corev1.Pod, uint64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	var found []*corev1.Pod
	for key, pod := range f.pods {
		if namespace == "" || key.Namespace == namespace {
			found = append(found, pod)
		}
	}
	slices.SortFunc(found, func(a, b *corev1.Pod) int {
		if c := strings.Compare(a.Namespace, b.Namespace); c != 0 {
			return c
		}
		return strings.Compare(a.Name, b.Name)
	})
	return found, f.revision
}

// after returns the changes after a revision and a channel that is closed at the
// next one. ok is false if they are not all kept, or the revision is yet to come.
func (f *Feed) after(revision uint64) (changes []change, next <-chan struct{}, ok bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if revision < f.dropped || revision > f.revision {
		return nil, nil, false
	}
	at, found := slices.BinarySearchFunc(f.history, revision, func(c change, r uint64) int {
		switch {
		case c.revision < r:
			return -1
		case c.revision > r:
			return 1
		}
		return 0
	})
	if found {
		at++
	}
	return slices.Clone(f.history[at:]), f.changed, true
}

func keyOf(pod *corev1.Pod) types.NamespacedName {
	return types.NamespacedName{Namespace: pod.Namespace, Name: pod.Name}
}
