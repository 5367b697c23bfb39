package consistency

import (
	"fmt"
	"hash/maphash"
	"strconv"
)

// keys is how many objects the clients of a history share: few, so that they meet.
const keys = 4

// verb is what a request asks for.
type verb string

const (
	create       verb = "create"
	get          verb = "get"
	update       verb = "update"
	upsert       verb = "upsert" // an update that creates what is not there
	remove       verb = "delete"
	list         verb = "list"
	listAt       verb = "listAt" // a list at exactly the revision AtLeast
	current      verb = "current"
	compact      verb = "compact"
	compactedRev verb = "compacted"
	// end is no call: it stands behind all that was answered.
	end verb = "end"
)

// change is what an update makes of an object. Each depends on what it finds.
type change string

const (
	// increment counts, and signs with the ID of the request.
	increment change = "increment"
	// incrementEven refuses odd counts.
	incrementEven change = "incrementEven"
	// reset sets the count to 0, and writes nothing if it is.
	reset change = "reset"
)

// request is one call of a client.
type request struct {
	Verb verb
	// ID names the request in its history; it is never 0.
	ID  int
	Key int
	// Change is what an update does. Deletions honour incrementEven: they refuse odd counts.
	Change change
	// UID and Rev are preconditions of updates and deletions; 0: none.
	UID int
	Rev int64
	// AtLeast is the revision that a read asks for.
	AtLeast int64
	// Limit is the size of a list's pages; 0: all in one.
	Limit int64
}

func (r request) String() string {
	text := fmt.Sprintf("#%d %s", r.ID, r.Verb)
	switch r.Verb {
	case update, upsert, remove:
		text += fmt.Sprintf(" %d %s", r.Key, r.Change)
	case create, get:
		text += fmt.Sprintf(" %d", r.Key)
	}
	for _, option := range []struct {
		name  string
		value int64
	}{{"uid", int64(r.UID)}, {"rev", r.Rev}, {"at", r.AtLeast}} {
		if option.value != 0 {
			text += fmt.Sprintf(" %s=%d", option.name, option.value)
		}
	}
	return text
}

// failure is how a request may fail. The empty one is success.
type failure string

const (
	exists       failure = "exists"
	notFound     failure = "not found"
	precondition failure = "precondition failed"
	refused      failure = "refused"
	future       failure = "too large a revision"
	expired      failure = "expired"
)

// object is what a client sees of one: the zero value is none.
type object struct {
	// UID is the ID of the request that created it, Writer that of the last
	// that changed it.
	UID, Writer, Count int
	Rev                int64
}

func (o object) String() string {
	if o == (object{}) {
		return "none"
	}
	return fmt.Sprintf("{uid %d, writer %d, count %d}@%d", o.UID, o.Writer, o.Count, o.Rev)
}

// response is the answer to a request.
type response struct {
	Failure failure
	// Object is the outcome of a request for one.
	Object object
	// Objects is what a list shows, and Rev at which revision.
	Objects [keys]object
	Rev     int64
}

func (r response) String() string {
	switch {
	case r.Failure != "":
		return string(r.Failure)
	case r.Rev != 0:
		return fmt.Sprintf("%v at revision %d", r.Objects, r.Rev)
	}
	return r.Object.String()
}

// state is everything the storage knows at one moment. It is never changed.
type state struct {
	rev       int64
	compacted int64
	objects   [keys]object
	// before is the state that the last write found, for lists in the past.
	before *state
	// digest stands for the state and all before it.
	digest uint64
	// ended is set behind all that was answered.
	ended bool
}

var digestSeed = maphash.MakeSeed()

// newState is an empty storage: revision 1 is its creation.
func newState() *state { return &state{rev: 1} }

func (s *state) equal(o *state) bool {
	return s.rev == o.rev && s.compacted == o.compacted && s.objects == o.objects &&
		s.digest == o.digest && s.ended == o.ended
}

// write returns the state after the next write, which sets key to obj.
func (s *state) write(key int, obj object) *state {
	next := &state{rev: s.rev + 1, compacted: s.compacted, objects: s.objects, before: s}
	next.objects[key] = obj
	next.digest = maphash.Comparable(digestSeed, struct {
		before  uint64
		objects [keys]object
	}{s.digest, next.objects})
	return next
}

// apply does one request, alone, and returns the state and the answer.
func (s *state) apply(r request) (*state, response) {
	switch r.Verb {
	case create:
		return s.create(r)
	case update, upsert:
		return s.update(r)
	case remove:
		return s.remove(r)
	case compact:
		return s.compact(r)
	case end:
		next := *s
		next.ended = true
		return &next, response{}
	}
	return s, s.read(r)
}

func (s *state) create(r request) (*state, response) {
	if s.objects[r.Key] != (object{}) {
		return s, response{Failure: exists}
	}
	obj := object{UID: r.ID, Writer: r.ID, Rev: s.rev + 1}
	return s.write(r.Key, obj), response{Object: obj}
}

func (s *state) update(r request) (*state, response) {
	old := s.objects[r.Key]
	if old == (object{}) && r.Verb == update {
		return s, response{Failure: notFound}
	}
	if !r.holds(old) {
		return s, response{Failure: precondition}
	}
	obj, ok := r.changed(old)
	if !ok {
		return s, response{Failure: refused}
	}
	if obj == old {
		return s, response{Object: old}
	}
	obj.Rev = s.rev + 1
	return s.write(r.Key, obj), response{Object: obj}
}

// remove answers with the object as it was, at the revision of its deletion.
func (s *state) remove(r request) (*state, response) {
	old := s.objects[r.Key]
	switch {
	case old == (object{}):
		return s, response{Failure: notFound}
	case !r.holds(old):
		return s, response{Failure: precondition}
	case r.Change == incrementEven && old.Count%2 == 1:
		return s, response{Failure: refused}
	}
	next := s.write(r.Key, object{})
	old.Rev = next.rev
	return next, response{Object: old}
}

func (s *state) compact(r request) (*state, response) {
	if r.AtLeast > s.rev {
		return s, response{Failure: future}
	}
	next := *s
	next.compacted = max(s.compacted, r.AtLeast)
	return &next, response{}
}

func (s *state) read(r request) response {
	switch {
	case r.Verb == current:
		return response{Rev: s.rev}
	case r.Verb == compactedRev:
		return response{Rev: s.compacted}
	case r.AtLeast > s.rev:
		return response{Failure: future}
	case r.Verb == get && s.objects[r.Key] == (object{}):
		return response{Failure: notFound}
	case r.Verb == get:
		return response{Object: s.objects[r.Key]}
	case r.Verb == list:
		return response{Objects: s.objects, Rev: s.rev}
	case r.AtLeast < s.compacted:
		return response{Failure: expired}
	}
	then := s
	for then.rev > r.AtLeast {
		then = then.before
	}
	return response{Objects: then.objects, Rev: then.rev}
}

// holds says whether the preconditions do. What is not there has no UID and no revision.
func (r request) holds(obj object) bool {
	return (r.UID == 0 || r.UID == obj.UID) && (r.Rev == 0 || r.Rev == obj.Rev)
}

// changed returns what an update makes of an object, which may be none yet,
// and false if it refuses to.
func (r request) changed(obj object) (object, bool) {
	if obj.UID == 0 {
		obj.UID, obj.Writer = r.ID, r.ID
	}
	switch {
	case r.Change == incrementEven && obj.Count%2 == 1:
		return obj, false
	case r.Change == reset && obj.Count == 0:
		return obj, true
	case r.Change == reset:
		obj.Count = 0
	default:
		obj.Count++
	}
	obj.Writer = r.ID
	return obj, true
}

// writes says whether a request may leave something behind.
func (r request) writes() bool {
	switch r.Verb {
	case create, update, upsert, remove, compact:
		return true
	}
	return false
}

// wrote returns the revision that an answered request wrote, if it did.
func (r request) wrote(got response) (rev int64, ok bool) {
	switch r.Verb {
	case create, remove:
		return got.Object.Rev, got.Failure == ""
	case update, upsert:
		return got.Object.Rev, got.Object.Writer == r.ID
	}
	return 0, false
}

func keyName(key int) string { return "pod-" + strconv.Itoa(key) }
