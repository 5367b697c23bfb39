package execute

import (
	"fmt"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/types"
)

// fill queues so many sandboxes of a namespace, each of which always has a task to start.
func fill(s *slots, namespace string, sandboxes int) {
	for i := range sandboxes {
		s.queue(&box{key: types.NamespacedName{Namespace: namespace, Name: fmt.Sprint(i)}})
	}
}

// start starts what may be started, at most so many, and returns the namespaces in order.
func start(s *slots, most int) (started []string) {
	for range most {
		b := s.next()
		if b == nil {
			break
		}
		s.take(b.key.Namespace)
		started = append(started, b.key.Namespace)
		s.queue(b)
	}
	return started
}

// TestANamespaceCannotHaveAllExecutions has namespaces one after another start as much as they can,
// none of which ever ends.
func TestANamespaceCannotHaveAllExecutions(t *testing.T) {
	for most, want := range map[int]map[string]int{
		1024: {"a": 896, "b": 112, "c": 14, "d": 1, "e": 1},
		8:    {"a": 7, "b": 1},
		3:    {"a": 2, "b": 1},
		1:    {"a": 1},
	} {
		s := newSlots(most)
		for _, namespace := range []string{"a", "b", "c", "d", "e"} {
			fill(s, namespace, 3)
			if got := len(start(s, 2*most)); got != want[namespace] {
				t.Errorf("of %d, namespace %s starts %d, want %d", most, namespace, got, want[namespace])
			}
		}
		if s.running != most {
			t.Errorf("%d of %d run", s.running, most)
		}
	}
}

// TestExecutionsGoToWhoeverHasTheFewest has a namespace that holds nearly all meet another: what ends
// is the other's until both have about the same.
func TestExecutionsGoToWhoeverHasTheFewest(t *testing.T) {
	s := newSlots(16)
	fill(s, "hog", 40)
	if n := len(start(s, 100)); n != 14 {
		t.Fatalf("%d started", n)
	}
	fill(s, "other", 40)
	start(s, 100)
	for range 40 {
		if s.lanes["hog"].running > 8 {
			s.give("hog")
		} else {
			s.give([]string{"hog", "other"}[s.running%2])
		}
		start(s, 100)
	}
	// One is kept for the next namespace.
	if a, b := s.lanes["hog"].running, s.lanes["other"].running; a < 7 || b < 7 || a+b != 15 {
		t.Errorf("they run %d and %d", a, b)
	}
	if why := s.why("other"); !strings.Contains(why, `namespace "other" runs`) {
		t.Errorf("it says %q", why)
	}
	fill(s, "third", 1)
	start(s, 100)
	if why := s.why("fourth"); !strings.Contains(why, "the server runs 16 tasks") {
		t.Errorf("it says %q", why)
	}
}

// TestSandboxesOfANamespaceTakeTurns starts one of each sandbox before the second of any.
func TestSandboxesOfANamespaceTakeTurns(t *testing.T) {
	s := newSlots(100)
	fill(s, "a", 5)
	seen := map[string]int{}
	for range 10 {
		b := s.next()
		s.take("a")
		seen[b.key.Name]++
		s.queue(b)
	}
	for name, n := range seen {
		if n != 2 {
			t.Errorf("sandbox %s got %d", name, n)
		}
	}
}

// TestSlotsForgetNamespaces has what is kept of a namespace go with it.
func TestSlotsForgetNamespaces(t *testing.T) {
	s := newSlots(10)
	fill(s, "a", 1)
	s.next()
	s.take("a")
	s.give("a")
	_ = s.why("b")
	if len(s.lanes) > 0 || len(s.waiting) > 0 || s.running != 0 {
		t.Errorf("it keeps %+v", s)
	}
}
