package execute

import (
	"fmt"
	"slices"
)

// A namespace may have so many parts of the executions that other namespaces leave. What is left
// over is for whoever comes next: an execution is not stopped for another one, and may take a day.
const (
	shareParts = 7
	shareOf    = 8
)

// slots shares the executions that the server runs at the same time among namespaces: the one that
// runs the fewest is served first, and in it each sandbox in turn. It has no lock: Executor.mu guards
// it.
type slots struct {
	most, running int
	// lanes are the namespaces with something that runs or waits.
	lanes map[string]*lane
	// waiting are those with a sandbox that has a task to start, the one that was served last at the end.
	waiting []*lane
}

// lane is one namespace.
type lane struct {
	namespace string
	running   int
	// ready are its sandboxes with a task to start, in turn.
	ready []*box
}

func newSlots(most int) *slots { return &slots{most: most, lanes: map[string]*lane{}} }

func (s *slots) lane(namespace string) *lane {
	l, ok := s.lanes[namespace]
	if !ok {
		l = &lane{namespace: namespace}
		s.lanes[namespace] = l
	}
	return l
}

// share returns how many executions a namespace may have now. It is at least one, if there is one.
func (s *slots) share(l *lane) int {
	return max(1, (s.most-(s.running-l.running))*shareParts/shareOf)
}

// queue puts a sandbox with a task to start behind those of its namespace.
func (s *slots) queue(b *box) {
	l := s.lane(b.key.Namespace)
	if len(l.ready) == 0 {
		s.waiting = append(s.waiting, l)
	}
	l.ready = append(l.ready, b)
}

// next takes out the sandbox whose task is to be started next, or returns nil if none may be.
func (s *slots) next() *box {
	if s.running >= s.most {
		return nil
	}
	var first *lane
	for _, l := range s.waiting {
		if l.running < s.share(l) && (first == nil || l.running < first.running) {
			first = l
		}
	}
	if first == nil {
		return nil
	}
	b := first.ready[0]
	first.ready[0] = nil
	first.ready = first.ready[1:]
	at := slices.Index(s.waiting, first)
	s.waiting = slices.Delete(s.waiting, at, at+1)
	if len(first.ready) > 0 {
		s.waiting = append(s.waiting, first)
	}
	s.tidy(first)
	return b
}

// take counts an execution that is started, and give one that has ended.
func (s *slots) take(namespace string) {
	s.running++
	s.lane(namespace).running++
}

func (s *slots) give(namespace string) {
	l := s.lane(namespace)
	s.running--
	l.running--
	s.tidy(l)
}

func (s *slots) tidy(l *lane) {
	if l.running == 0 && len(l.ready) == 0 {
		delete(s.lanes, l.namespace)
	}
}

// why says why a task of a namespace that could start does not.
func (s *slots) why(namespace string) string {
	l := s.lane(namespace)
	defer s.tidy(l)
	if s.running < s.most || l.running >= s.share(l) {
		return fmt.Sprintf("namespace %q runs %d tasks, which is its share of the %d that the server runs at the same time (--max-executions)",
			namespace, l.running, s.most)
	}
	return fmt.Sprintf("the server runs %d tasks, as many as it runs at the same time (--max-executions)", s.most)
}
