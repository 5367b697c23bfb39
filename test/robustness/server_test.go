//go:build linux

package robustness

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"

	"arl.io/arl/pkg/apis/arl/v1alpha1"
	arlv1alpha1 "arl.io/arl/pkg/generated/clientset/versioned/typed/arl/v1alpha1"
	"arl.io/arl/test/harness"
)

const namespace = "default"

// newServer returns a server that is not started, as "make build" made it.
func newServer(t *testing.T) (s *harness.Server, dir string) {
	t.Helper()
	binary := os.Getenv("ARL_BIN")
	if binary == "" {
		t.Skip("ARL_BIN does not name an arl-apiserver: run make robustness")
	}
	dir = filepath.Join(t.TempDir(), "data")
	s, err := harness.New(harness.Config{Binary: binary, Dir: dir, Args: []string{"--allow-host-image", "--storage-retention=1s"}})
	if err != nil {
		t.Fatal(err)
	}
	return s, dir
}

// TestKillServer kills a whole server under load, and looks for every object
// that a client was told of, at the resource version that it was told.
func TestKillServer(t *testing.T) {
	s, dir := newServer(t)
	c := &clients{server: s, seen: map[string]object{}, unsure: map[string]bool{}}
	n := max(2, *rounds/10)
	defer func() {
		t.Logf("rounds: %d, acknowledged: %d", n, c.acknowledged)
		if err := s.Purge(context.Background()); err != nil {
			t.Error(err)
		}
	}()
	for round := range n {
		if err := s.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := c.check(t.Context()); err != nil {
			t.Fatalf("seed %d, round %d, %s: %v", *seed, round, dir, err)
		}
		if err := c.load(t.Context(), round, 20+random(t, round).IntN(500)); err != nil {
			t.Fatalf("seed %d, round %d: %v", *seed, round, err)
		}
	}
	if err := errors.Join(s.Start(t.Context()), c.check(t.Context()), s.Stop()); err != nil {
		t.Fatal(err)
	}
}

// object is what a client was told of an object.
type object struct {
	uid     types.UID
	version int64
	note    string
}

// clients are all that talk to the server, and what they were told.
type clients struct {
	server *harness.Server

	mu   sync.Mutex
	seen map[string]object
	// unsure are the objects with a request that was not answered.
	unsure       map[string]bool
	newest       int64
	acknowledged int
}

func (c *clients) pools() (arlv1alpha1.WarmPoolInterface, error) {
	client, err := harness.NewClient(c.server.Kubeconfig())
	if err != nil {
		return nil, err
	}
	return client.ArlV1alpha1().WarmPools(namespace), nil
}

// load writes with many clients at once and kills the server after so many answers.
func (c *clients) load(ctx context.Context, round, answers int) error {
	pools, err := c.pools()
	if err != nil {
		return err
	}
	enough := make(chan struct{})
	errs := make(chan error, 8)
	for client := range cap(errs) {
		go func() {
			for i := 0; ; i++ {
				err := c.writeAny(ctx, pools, fmt.Sprintf("p-%d-%d", client, i%20), fmt.Sprintf("%d-%d", round, i))
				if err != nil {
					errs <- err
					return
				}
				c.mu.Lock()
				if answers--; answers == 0 {
					close(enough)
				}
				c.mu.Unlock()
			}
		}()
	}
	<-enough
	err = c.server.Kill()
	for range cap(errs) {
		if status := apierrors.APIStatus(nil); errors.As(<-errs, &status) {
			err = errors.Join(err, fmt.Errorf("a server that was to be killed has answered: %v", status.Status().Message))
		}
	}
	return err
}

// writeAny creates a pool, changes it, or deletes it. Each name is one client's.
func (c *clients) writeAny(ctx context.Context, pools arlv1alpha1.WarmPoolInterface, name, note string) error {
	c.mu.Lock()
	known, exists := c.seen[name]
	c.unsure[name] = true
	c.mu.Unlock()
	var pool *v1alpha1.WarmPool
	var err error
	switch {
	case !exists:
		pool, err = pools.Create(ctx, newPool(name, note), metav1.CreateOptions{})
	case len(note)%5 == 0:
		options := metav1.DeleteOptions{Preconditions: &metav1.Preconditions{UID: &known.uid}}
		err = pools.Delete(ctx, name, options)
	default:
		patch := fmt.Appendf(nil, `{"metadata":{"annotations":{"note":%q}}}`, note)
		pool, err = pools.Patch(ctx, name, types.MergePatchType, patch, metav1.PatchOptions{})
	}
	if err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.acknowledged++
	delete(c.unsure, name)
	if pool == nil {
		delete(c.seen, name)
		return nil
	}
	version, err := strconv.ParseInt(pool.ResourceVersion, 10, 64)
	c.seen[name] = object{uid: pool.UID, version: version, note: note}
	c.newest = max(c.newest, version)
	return err
}

func newPool(name, note string) *v1alpha1.WarmPool {
	return &v1alpha1.WarmPool{
		ObjectMeta: metav1.ObjectMeta{Name: name, Annotations: map[string]string{"note": note}},
		Spec: v1alpha1.WarmPoolSpec{
			Replicas: ptr.To(int32(0)),
			Template: corev1.PodTemplateSpec{Spec: corev1.PodSpec{
				Containers: []corev1.Container{{Name: "executor", Image: "host"}},
			}},
		},
	}
}

// check compares the server's objects with what clients were told, and takes
// over what became of requests that were not answered.
func (c *clients) check(ctx context.Context) error {
	pools, err := c.pools()
	if err != nil {
		return err
	}
	list, err := pools.List(ctx, metav1.ListOptions{})
	if err != nil {
		return err
	}
	version, err := strconv.ParseInt(list.ResourceVersion, 10, 64)
	if err != nil || version < c.newest {
		return fmt.Errorf("the resource version is %q, %d was seen", list.ResourceVersion, c.newest)
	}
	found := map[string]object{}
	for _, pool := range list.Items {
		version, err := strconv.ParseInt(pool.ResourceVersion, 10, 64)
		if err != nil {
			return err
		}
		found[pool.Name] = object{uid: pool.UID, version: version, note: pool.Annotations["note"]}
	}
	for name := range merge(c.seen, found) {
		want, got := c.seen[name], found[name]
		// The pool's controller may have written its status since.
		same := got.uid == want.uid && got.note == want.note && got.version >= want.version
		if !same && !c.unsure[name] {
			return fmt.Errorf("pool %s is %+v, clients were told %+v", name, got, want)
		}
	}
	c.seen, c.newest = found, max(c.newest, version)
	clear(c.unsure)
	return nil
}

func merge(a, b map[string]object) map[string]object {
	out := clone(a)
	for name, o := range b {
		out[name] = o
	}
	return out
}

// TestServerRefusesDamage checks that a server whose database is damaged
// says so, and what the operator can do.
func TestServerRefusesDamage(t *testing.T) {
	s, dir := newServer(t)
	if err := errors.Join(s.Start(t.Context()), s.Stop()); err != nil {
		t.Fatal(err)
	}
	var path string
	err := filepath.WalkDir(dir, func(name string, _ os.DirEntry, err error) error {
		if filepath.Base(name) == "log.db" {
			path = name
		}
		return err
	})
	if err == nil {
		err = os.Truncate(path, 40_000)
	}
	if err != nil {
		t.Fatal(err)
	}
	err = s.Start(t.Context())
	if err == nil {
		t.Fatal("the server started on half a file")
	}
	for _, words := range []string{path, "truncated", "storage verify", "storage restore"} {
		if !strings.Contains(err.Error(), words) {
			t.Errorf("the message does not say %q: %v", words, err)
		}
	}
	if err := s.Purge(t.Context()); err != nil {
		t.Error(err)
	}
}
