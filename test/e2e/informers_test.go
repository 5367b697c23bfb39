package e2e

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/cache"

	"arl.io/arl/pkg/apis/arl/v1alpha1"
	"arl.io/arl/pkg/generated/informers/externalversions"
	"arl.io/arl/test/e2e/cluster"
)

// manyWrites must reach the informer before each restart, and again after it.
const manyWrites = 300

// TestInformer has an informer, as it comes out of the generated code, hold a
// tenant's sandboxes while our server and then kube-apiserver are restarted
// beneath it, and writes go on all the time.
func TestInformer(t *testing.T) {
	n := newTenant(t)
	held := n.startInformer()
	for _, test := range []struct {
		name    string
		restart func(t *testing.T)
	}{
		{"our server restarts", restartServer},
		{"kube-apiserver restarts", func(t *testing.T) {
			if err := shared.RestartAPIServer(t.Context()); err != nil {
				t.Fatal(err)
			}
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			n := n.in(t)
			s := n.startScribbler()
			s.awaitWrites(t, manyWrites)
			begin := time.Now()
			test.restart(t)
			awaitServed(t)
			t.Logf("all was served again after %s", since(begin))
			s.awaitWrites(t, manyWrites)
			s.stop()
			t.Logf("%d writes were made, and %d failed meanwhile", s.made.Load(), s.failed.Load())
			n.awaitInSync(held)
			// What is written from now on must arrive, too.
			n.CreateSandbox(sandboxOf("after", "nowhere"))
			n.awaitInSync(held)
			if err := n.Sandboxes().Delete(t.Context(), "after", deleteNow); err != nil {
				t.Fatal(err)
			}
			n.awaitInSync(held)
		})
	}
}

// restartServer has the cluster replace the server's pod.
func restartServer(t *testing.T) {
	t.Helper()
	admin := clientOf(t, cluster.Admin)
	old := serverPod(t)
	if err := admin.CoreV1().Pods(systemNamespace).Delete(t.Context(), old.Name, deleteNow); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the server has another pod", func(ctx context.Context) error {
		pod, err := admin.CoreV1().Pods(systemNamespace).Get(ctx, old.Name, getNow)
		if err == nil && pod.UID == old.UID {
			err = fmt.Errorf("it has the old one: %s", pod.Status.Phase)
		}
		return err
	})
}

// informer is one that is checked for what its handlers are told.
type informer struct {
	store cache.Store

	mu    sync.Mutex
	told  map[string]string // version by name, as the handlers were told
	wrong []string          // what they should not have been told
}

// startInformer starts an informer of the tenant's sandboxes, which ends with the test.
func (n *tenant) startInformer() *informer {
	n.T.Helper()
	factory := externalversions.NewSharedInformerFactoryWithOptions(n.Client(), 0, externalversions.WithNamespace(n.Namespace))
	sandboxes := factory.Arl().V1alpha1().Sandboxes().Informer()
	held := &informer{store: sandboxes.GetStore(), told: map[string]string{}}
	if _, err := sandboxes.AddEventHandler(held); err != nil {
		n.T.Fatal(err)
	}
	stop := make(chan struct{})
	n.T.Cleanup(func() {
		close(stop)
		factory.Shutdown()
	})
	factory.Start(stop)
	for kind, synced := range factory.WaitForCacheSync(n.T.Context().Done()) {
		if !synced {
			n.T.Fatalf("the informer of %s has not synced", kind)
		}
	}
	return held
}

// OnAdd implements cache.ResourceEventHandler: what is added was not there.
func (i *informer) OnAdd(object any, _ bool) {
	i.mu.Lock()
	defer i.mu.Unlock()
	sandbox := object.(*v1alpha1.Sandbox)
	if version, known := i.told[sandbox.Name]; known {
		i.wrong = append(i.wrong, fmt.Sprintf("%s was added at %s and is held at %s", sandbox.Name, sandbox.ResourceVersion, version))
	}
	i.told[sandbox.Name] = sandbox.ResourceVersion
}

// OnUpdate implements cache.ResourceEventHandler: what is updated was there, and grows no older.
func (i *informer) OnUpdate(former, object any) {
	i.mu.Lock()
	defer i.mu.Unlock()
	old, sandbox := former.(*v1alpha1.Sandbox), object.(*v1alpha1.Sandbox)
	if version := i.told[sandbox.Name]; version != old.ResourceVersion || revision(sandbox) < revision(old) {
		i.wrong = append(i.wrong, fmt.Sprintf("%s was updated from %s to %s and is held at %q",
			sandbox.Name, old.ResourceVersion, sandbox.ResourceVersion, version))
	}
	i.told[sandbox.Name] = sandbox.ResourceVersion
}

// OnDelete implements cache.ResourceEventHandler: what is deleted was there.
func (i *informer) OnDelete(object any) {
	i.mu.Lock()
	defer i.mu.Unlock()
	key, err := cache.DeletionHandlingMetaNamespaceKeyFunc(object)
	_, name, split := cache.SplitMetaNamespaceKey(key)
	if _, known := i.told[name]; !known || err != nil || split != nil {
		i.wrong = append(i.wrong, fmt.Sprintf("%q was deleted and is not held (%v, %v)", key, err, split))
	}
	delete(i.told, name)
}

func revision(sandbox *v1alpha1.Sandbox) uint64 {
	number, err := strconv.ParseUint(sandbox.ResourceVersion, 10, 64)
	if err != nil {
		panic(err) // our server counts its versions
	}
	return number
}

// awaitInSync waits until an informer holds, and has told its handlers, just what a list says.
func (n *tenant) awaitInSync(held *informer) {
	n.T.Helper()
	eventually(n.T, "the informer is in sync", func(ctx context.Context) error {
		list, err := n.Sandboxes().List(ctx, everything)
		if err != nil {
			return err
		}
		listed, stored := map[string]string{}, map[string]string{}
		for _, sandbox := range list.Items {
			listed[sandbox.Name] = sandbox.ResourceVersion
		}
		for _, object := range held.store.List() {
			sandbox := object.(*v1alpha1.Sandbox)
			stored[sandbox.Name] = sandbox.ResourceVersion
		}
		held.mu.Lock()
		defer held.mu.Unlock()
		if !maps.Equal(listed, stored) || !maps.Equal(listed, held.told) {
			return fmt.Errorf("listed are %v, held are %v, told were %v", listed, stored, held.told)
		}
		return nil
	})
	held.mu.Lock()
	defer held.mu.Unlock()
	for _, wrong := range held.wrong {
		n.T.Error(wrong)
	}
	n.T.Logf("in sync with %d objects", len(held.told))
}

// scribbler makes random writes until it is stopped. Some fail, while a server
// is being restarted.
type scribbler struct {
	made, failed atomic.Int64
	stop         func() // waits until it has stopped
}

func (n *tenant) startScribbler() *scribbler {
	ctx, cancel := context.WithCancel(n.T.Context())
	done := make(chan struct{})
	s := &scribbler{stop: func() {
		cancel()
		<-done
	}}
	n.T.Cleanup(s.stop)
	go func() {
		defer close(done)
		random := rand.New(rand.NewPCG(1, 2))
		for ctx.Err() == nil {
			if err := n.scrawl(ctx, random); err == nil {
				s.made.Add(1)
				continue
			}
			s.failed.Add(1)
			select {
			case <-time.After(poll):
			case <-ctx.Done():
			}
		}
	}()
	return s
}

// awaitWrites waits until so many more writes were made.
func (s *scribbler) awaitWrites(t *testing.T, more int64) {
	t.Helper()
	want := s.made.Load() + more
	eventually(t, fmt.Sprintf("%d writes were made", want), func(context.Context) error {
		if made := s.made.Load(); made < want {
			return fmt.Errorf("%d were made, %d failed", made, s.failed.Load())
		}
		return nil
	})
}

// scrawl creates, relabels or deletes one sandbox of a few. That it was
// done before by a request of which only the answer got lost is no failure.
func (n *tenant) scrawl(ctx context.Context, random *rand.Rand) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	name := fmt.Sprintf("s%d", random.IntN(50))
	switch random.IntN(4) {
	case 0:
		err := n.Sandboxes().Delete(ctx, name, metav1.DeleteOptions{})
		return ignore(err, apierrors.IsNotFound)
	case 1:
		_, err := n.Sandboxes().Create(ctx, sandboxOf(name, "nowhere"), createNow)
		return ignore(err, apierrors.IsAlreadyExists)
	default:
		label := fmt.Appendf(nil, `{"metadata":{"labels":{"n":"%d"}}}`, random.Int())
		_, err := n.Sandboxes().Patch(ctx, name, types.MergePatchType, label, patchNow)
		return ignore(err, apierrors.IsNotFound)
	}
}

func ignore(err error, harmless func(error) bool) error {
	if harmless(err) {
		return nil
	}
	return err
}
