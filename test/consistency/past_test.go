package consistency

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"

	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/apiserver/pkg/apis/example"
	"k8s.io/apiserver/pkg/storage"
)

const (
	colorLabel  = "color"
	serialLabel = "serial"
	nodeField   = "spec.nodeName"
)

// version is what a pod shows. Serial is another one for each write, and Rev is
// that of the write, or of the event that takes the pod away.
type version struct {
	Key, UID, Serial, Color, Node string
	Rev                           int64
}

// versionOf returns the version of a pod.
func versionOf(pod *example.Pod) (version, error) {
	rev, err := strconv.ParseInt(pod.ResourceVersion, 10, 64)
	return version{
		Key:    pod.Namespace + "/" + pod.Name,
		UID:    string(pod.UID),
		Serial: pod.Labels[serialLabel],
		Color:  pod.Labels[colorLabel],
		Node:   pod.Spec.NodeName,
		Rev:    rev,
	}, err
}

func (v version) at(rev int64) version {
	v.Rev = rev
	return v
}

// write is one that was acknowledged. Serial is empty for what is not there:
// cur after a deletion, old before a creation.
type write struct {
	rev      int64
	cur, old version
}

// past is all that was acknowledged. It is complete when the writers have ended.
type past struct {
	mu     sync.Mutex
	writes []write
}

func (p *past) add(rev int64, key string, cur version) {
	p.mu.Lock()
	defer p.mu.Unlock()
	cur.Key = key
	p.writes = append(p.writes, write{rev: rev, cur: cur})
}

func (p *past) len() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.writes)
}

// complete puts the writes in order and finds out what each replaced. If the
// revisions are not those from 2 on, each of one write, it returns an error.
func (p *past) complete() error {
	slices.SortFunc(p.writes, func(a, b write) int { return cmp.Compare(a.rev, b.rev) })
	now := map[string]version{}
	for i := range p.writes {
		w := &p.writes[i]
		if want := int64(i) + 2; w.rev != want {
			return fmt.Errorf("acknowledged write %d has revision %d, want %d", i, w.rev, want)
		}
		w.old = now[w.cur.Key]
		now[w.cur.Key] = w.cur
	}
	return nil
}

func (p *past) newest() int64 { return int64(len(p.writes)) + 1 }

// at returns what a selection shows at a revision.
func (p *past) at(sel selection, rev int64) map[string]version {
	state := map[string]version{}
	for _, w := range p.writes[:rev-1] {
		if sel.shows(w.cur) {
			state[w.cur.Key] = w.cur
		} else {
			delete(state, w.cur.Key)
		}
	}
	return state
}

// event is what a watch says.
type event struct {
	Type watch.EventType
	version
}

// since returns the events of a selection after a revision.
func (p *past) since(sel selection, rev int64) (events []event) {
	for _, w := range p.writes[rev-1:] {
		is, was := sel.shows(w.cur), sel.shows(w.old)
		switch {
		case is && was:
			events = append(events, event{watch.Modified, w.cur})
		case is:
			events = append(events, event{watch.Added, w.cur})
		case was:
			events = append(events, event{watch.Deleted, w.old.at(w.rev)})
		}
	}
	return events
}

// selection is what a watch asks for. Empty fields ask for all.
type selection struct {
	// Namespace, and Name within it, narrow the key; Color and Node are selectors.
	Namespace, Name, Color, Node string
}

// shows says whether a version is one of the selection.
func (s selection) shows(v version) bool {
	namespace, name, _ := strings.Cut(v.Key, "/")
	return v.Serial != "" &&
		(s.Namespace == "" || s.Namespace == namespace) && (s.Name == "" || s.Name == name) &&
		(s.Color == "" || s.Color == v.Color) && (s.Node == "" || s.Node == v.Node)
}

// apply does to a replica what an event says. If that makes no sense for what
// is there, it returns an error.
func (e event) apply(replica map[string]version) error {
	_, there := replica[e.Key]
	if there != (e.Type != watch.Added) {
		return fmt.Errorf("%v, and the object is there: %t", e, there)
	}
	if e.Type == watch.Deleted {
		delete(replica, e.Key)
	} else {
		replica[e.Key] = e.version
	}
	return nil
}

func (s selection) key() string {
	switch {
	case s.Name != "":
		return "/pods/" + s.Namespace + "/" + s.Name
	case s.Namespace != "":
		return "/pods/" + s.Namespace
	}
	return "/pods"
}

// options returns those of a list or a watch of the selection.
func (s selection) options() storage.ListOptions {
	pred := storage.SelectionPredicate{
		Label: labels.Everything(), Field: fields.Everything(), GetAttrs: attributes, IndexFields: []string{nodeField},
	}
	if s.Color != "" {
		pred.Label = labels.SelectorFromSet(labels.Set{colorLabel: s.Color})
	}
	if s.Node != "" {
		pred.Field = fields.OneTermEqualSelector(nodeField, s.Node)
	}
	return storage.ListOptions{Predicate: pred, Recursive: s.Name == ""}
}

// attributes is a storage.AttrFunc.
func attributes(obj runtime.Object) (labels.Set, fields.Set, error) {
	pod, ok := obj.(*example.Pod)
	if !ok {
		return nil, nil, fmt.Errorf("got a %T, want a pod", obj)
	}
	return pod.Labels, fields.Set{nodeField: pod.Spec.NodeName}, nil
}

// sameState returns an error that names a difference between two states.
func sameState(got, want map[string]version) error {
	for key, v := range want {
		if got[key] != v {
			return fmt.Errorf("shows %s as %+v, want %+v", key, got[key], v)
		}
	}
	for key, v := range got {
		if _, ok := want[key]; !ok {
			return fmt.Errorf("shows %+v, want nothing at %s", v, key)
		}
	}
	return nil
}
