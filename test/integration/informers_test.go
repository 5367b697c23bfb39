package integration

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"sync/atomic"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"
	"golang.org/x/sync/errgroup"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"

	"arl.io/arl/pkg/generated/clientset/versioned"
	"arl.io/arl/pkg/generated/informers/externalversions"
	listers "arl.io/arl/pkg/generated/listers/arl/v1alpha1"
)

const (
	informerWriters = 16
	informerWrites  = 10_000
	// afterRestart is how many writes must still reach the informers then.
	afterRestart = 500
)

// TestInformersStayInSync writes at random while history is compacted all the
// time, and ends the server twice: what informers hold must in the end be what
// a list says.
func TestInformersStayInSync(t *testing.T) {
	t.Parallel()
	n := newTenant(t, startServer(t, "--storage-retention=200ms"))
	first := n.CreatePool(hostPool("first", 0))
	held := watchTenant(t, n)

	n.scribble(informerWrites)
	n.awaitInSync(held)
	n.awaitCompacted(first.ResourceVersion)
	for _, restart := range []struct {
		how  string
		stop func(*testing.T)
	}{{"SIGTERM", n.server.mustStop}, {"SIGKILL", n.server.mustKill}} {
		restart.stop(t)
		n.server.mustStart(t)
		n.scribble(afterRestart)
		n.awaitInSync(held)
		t.Logf("in sync after %s and a restart", restart.how)
	}
	if held.requests.streamed.Load() == 0 || held.requests.listed.Load() != 0 {
		t.Errorf("the informers began with %d watch-lists and %d lists, want no lists",
			held.requests.streamed.Load(), held.requests.listed.Load())
	}
}

// scribble makes so many random writes, from many goroutines: pools without
// pods, and sandboxes that wait for a pool that is not there.
func (n *tenant) scribble(writes int) {
	n.T.Helper()
	group, ctx := errgroup.WithContext(n.T.Context())
	for i := range informerWriters {
		group.Go(func() error {
			w := scribbler{tenant: n, id: i, random: rand.New(rand.NewPCG(uint64(i), uint64(writes))), there: map[string]bool{}}
			for range writes / informerWriters {
				if err := w.write(ctx); err != nil {
					return err
				}
			}
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		n.T.Fatal(err)
	}
}

// scribbler writes objects that no other scribbler does.
type scribbler struct {
	*tenant
	id     int
	random *rand.Rand
	there  map[string]bool
}

// write makes one write that succeeds: it creates, relabels or deletes an object.
func (w *scribbler) write(ctx context.Context) (err error) {
	const names = 20
	kind := w.kinds()[w.random.IntN(2)]
	name := fmt.Sprintf("w%d-%d", w.id, w.random.IntN(names))
	key := kind.name + "/" + name
	switch {
	case !w.there[key]:
		err = kind.create(ctx, name)
		if apierrors.IsAlreadyExists(err) {
			err = nil // from before a restart
		}
		w.there[key] = true
	case w.random.IntN(4) == 0:
		err = kind.remove(ctx, name)
		delete(w.there, key)
	default:
		err = kind.patch(ctx, name, fmt.Appendf(nil, `{"metadata":{"labels":{"n":"%d"}}}`, w.random.Int()))
	}
	if err != nil {
		return fmt.Errorf("%s %s: %w", kind.name, name, err)
	}
	return nil
}

// writable is a kind of objects that a scribbler writes.
type writable struct {
	name   string
	create func(ctx context.Context, name string) error
	patch  func(ctx context.Context, name string, patch []byte) error
	remove func(ctx context.Context, name string) error
}

func (n *tenant) kinds() [2]writable {
	return [2]writable{{
		name: "pool",
		create: func(ctx context.Context, name string) error {
			_, err := n.Pools().Create(ctx, hostPool(name, 0), createNow)
			return err
		},
		patch: func(ctx context.Context, name string, patch []byte) error {
			_, err := n.Pools().Patch(ctx, name, types.MergePatchType, patch, patchNow)
			return err
		},
		remove: func(ctx context.Context, name string) error { return n.Pools().Delete(ctx, name, deleteNow) },
	}, {
		name: "sandbox",
		create: func(ctx context.Context, name string) error {
			_, err := n.Sandboxes().Create(ctx, sandboxOf(name, "missing"), createNow)
			return err
		},
		patch: func(ctx context.Context, name string, patch []byte) error {
			_, err := n.Sandboxes().Patch(ctx, name, types.MergePatchType, patch, patchNow)
			return err
		},
		remove: func(ctx context.Context, name string) error { return n.Sandboxes().Delete(ctx, name, deleteNow) },
	}}
}

// informers are those of a tenant's pools and sandboxes.
type informers struct {
	pools     listers.WarmPoolNamespaceLister
	sandboxes listers.SandboxNamespaceLister
	requests  *requestCounts
}

// watchTenant starts informers that end with the test.
func watchTenant(t *testing.T, n *tenant) *informers {
	t.Helper()
	counts := &requestCounts{}
	config := rest.CopyConfig(n.server.config)
	config.Wrap(func(next http.RoundTripper) http.RoundTripper {
		return roundTripper(func(r *http.Request) (*http.Response, error) {
			counts.count(r)
			return next.RoundTrip(r)
		})
	})
	client, err := versioned.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	factory := externalversions.NewSharedInformerFactoryWithOptions(client, 0, externalversions.WithNamespace(n.Namespace))
	kinds := factory.Arl().V1alpha1()
	held := &informers{
		pools:     kinds.WarmPools().Lister().WarmPools(n.Namespace),
		sandboxes: kinds.Sandboxes().Lister().Sandboxes(n.Namespace),
		requests:  counts,
	}
	stop := make(chan struct{})
	t.Cleanup(func() {
		close(stop)
		factory.Shutdown()
	})
	factory.Start(stop)
	for kind, synced := range factory.WaitForCacheSync(t.Context().Done()) {
		if !synced {
			t.Fatalf("the informer of %s has not synced", kind)
		}
	}
	return held
}

// requestCounts counts how informers ask for what there is.
type requestCounts struct{ streamed, listed atomic.Int64 }

func (c *requestCounts) count(r *http.Request) {
	switch query := r.URL.Query(); {
	case query.Get("sendInitialEvents") == "true":
		c.streamed.Add(1)
	case query.Get("watch") != "true":
		c.listed.Add(1)
	}
}

// roundTripper is a function that is an http.RoundTripper.
type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// awaitInSync waits until informers hold just what lists say.
func (n *tenant) awaitInSync(held *informers) {
	n.T.Helper()
	eventually(n.T, "informers in sync", func(ctx context.Context) error {
		want, err := n.versions(ctx)
		if err != nil {
			return err
		}
		got, err := held.versions()
		if err != nil {
			return err
		}
		if diff := gocmp.Diff(want, got); diff != "" {
			return fmt.Errorf("versions (-listed +held):\n%s", diff)
		}
		return nil
	})
}

// versions returns the resourceVersions of what is stored.
func (n *tenant) versions(ctx context.Context) (map[string]string, error) {
	pools, err := n.Pools().List(ctx, everything)
	if err != nil {
		return nil, err
	}
	sandboxes, err := n.Sandboxes().List(ctx, everything)
	if err != nil {
		return nil, err
	}
	found := map[string]string{}
	for _, pool := range pools.Items {
		found["pool/"+pool.Name] = pool.ResourceVersion
	}
	for _, sandbox := range sandboxes.Items {
		found["sandbox/"+sandbox.Name] = sandbox.ResourceVersion
	}
	return found, nil
}

// versions returns the resourceVersions of what informers hold.
func (i *informers) versions() (map[string]string, error) {
	pools, err := i.pools.List(labels.Everything())
	if err != nil {
		return nil, err
	}
	sandboxes, err := i.sandboxes.List(labels.Everything())
	if err != nil {
		return nil, err
	}
	found := map[string]string{}
	for _, pool := range pools {
		found["pool/"+pool.Name] = pool.ResourceVersion
	}
	for _, sandbox := range sandboxes {
		found["sandbox/"+sandbox.Name] = sandbox.ResourceVersion
	}
	return found, nil
}

// awaitCompacted waits until a revision is known no more.
func (n *tenant) awaitCompacted(revision string) {
	n.T.Helper()
	exactly := metav1.ListOptions{ResourceVersion: revision, ResourceVersionMatch: metav1.ResourceVersionMatchExact}
	eventually(n.T, "revision "+revision+" compacted", func(ctx context.Context) error {
		_, err := n.Pools().List(ctx, exactly)
		if apierrors.IsResourceExpired(err) {
			return nil
		}
		return fmt.Errorf("a list of it: %w", err)
	})
}
