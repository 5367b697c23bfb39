package integration

import (
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"
)

// barrenRegistry answers as an image registry that has no image, and notes when
// it was asked for one.
type barrenRegistry struct {
	*httptest.Server
	mu    sync.Mutex
	asked []time.Time
	more  chan struct{}
}

func newBarrenRegistry(t *testing.T) *barrenRegistry {
	r := &barrenRegistry{more: make(chan struct{}, 1)}
	r.Server = httptest.NewServer(http.HandlerFunc(r.serve))
	t.Cleanup(r.Close)
	return r
}

func (r *barrenRegistry) serve(w http.ResponseWriter, request *http.Request) {
	if !strings.Contains(request.URL.Path, "/manifests/") {
		return
	}
	r.mu.Lock()
	r.asked = append(r.asked, time.Now())
	r.mu.Unlock()
	select {
	case r.more <- struct{}{}:
	default:
	}
	http.Error(w, `{"errors":[{"code":"MANIFEST_UNKNOWN","message":"no such image"}]}`, http.StatusNotFound)
}

func (r *barrenRegistry) image() string {
	return net.JoinHostPort("127.0.0.1", r.URL[strings.LastIndex(r.URL, ":")+1:]) + "/none:latest"
}

// times returns when the registry was asked, requests of one attempt taken together.
func (r *barrenRegistry) times() []time.Time {
	r.mu.Lock()
	defer r.mu.Unlock()
	const oneAttempt = 200 * time.Millisecond
	var attempts []time.Time
	for _, at := range r.asked {
		if len(attempts) == 0 || at.Sub(attempts[len(attempts)-1]) > oneAttempt {
			attempts = append(attempts, at)
		}
	}
	return attempts
}

// requests is how often the registry was asked.
func (r *barrenRegistry) requests() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.asked)
}

// TestMissingImageIsNotAskedForInALoop sees that attempts go on, and ever more
// seldom, also for a pool that wants many pods.
func TestMissingImageIsNotAskedForInALoop(t *testing.T) {
	t.Parallel()
	n := newTenant(t, shared(t))
	registry := newBarrenRegistry(t)
	pool := hostPool("barren", 5)
	pool.Spec.Template.Spec.Containers[0].Image = registry.image()
	n.CreatePool(pool)

	const attempts = 4
	deadline := time.NewTimer(patience)
	defer deadline.Stop()
	for len(registry.times()) < attempts {
		select {
		case <-registry.more:
		case <-deadline.C:
			t.Fatalf("%d attempts within %s, want %d", len(registry.times()), patience, attempts)
		}
	}
	times := registry.times()
	first, last := times[1].Sub(times[0]), times[attempts-1].Sub(times[attempts-2])
	if last <= first {
		t.Errorf("the attempts came at %v: the last gap is not longer than the first", times)
	}
	// A hot loop of five pods asks hundreds of times.
	if got := registry.requests(); got > 20*attempts {
		t.Errorf("the registry was asked %d times in %d attempts", got, attempts)
	}
}
