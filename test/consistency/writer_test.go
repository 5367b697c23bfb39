package consistency

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strconv"
	"sync/atomic"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apiserver/pkg/apis/example"
	"k8s.io/apiserver/pkg/storage"
)

var (
	// namespaces has one that is the beginning of another.
	namespaces = []string{"ns-1", "ns-10", "ns-2"}
	colors     = []string{"red", "green", "blue"}
	nodes      = []string{"", "node-1", "node-2"}
)

const podsPerNamespace = 8

// writers write at random and keep what was acknowledged.
type writers struct {
	store *podStore
	// padding is stored with every pod and means nothing.
	padding string
	past    past
	serial  atomic.Int64
}

// run writes until so many writes have been acknowledged to all writers
// together.
func (w *writers) run(ctx context.Context, random *rand.Rand, total int) error {
	for w.past.len() < total {
		namespace, name := namespaces[random.IntN(len(namespaces))], keyName(random.IntN(podsPerNamespace))
		pod := w.randomPod(random, namespace, name)
		var err error
		switch random.IntN(6) {
		case 0, 1:
			err = w.create(ctx, pod)
		case 2:
			err = w.remove(ctx, pod)
		default:
			err = w.update(ctx, pod)
		}
		if err != nil && !storage.IsExist(err) && !storage.IsNotFound(err) {
			return fmt.Errorf("writing %s/%s: %w", namespace, name, err)
		}
	}
	return nil
}

func (w *writers) randomPod(random *rand.Rand, namespace, name string) *example.Pod {
	serial := strconv.FormatInt(w.serial.Add(1), 10)
	return &example.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: namespace, Name: name, UID: types.UID("uid-" + serial),
			Labels: map[string]string{serialLabel: serial, colorLabel: colors[random.IntN(len(colors))]},
		},
		Spec: example.PodSpec{NodeName: nodes[random.IntN(len(nodes))], Hostname: w.padding},
	}
}

func (w *writers) create(ctx context.Context, pod *example.Pod) error {
	out := &example.Pod{}
	if err := w.store.Create(ctx, pathOf(pod), pod, out, 0); err != nil {
		return err
	}
	return w.acknowledged(out, false)
}

func (w *writers) update(ctx context.Context, pod *example.Pod) error {
	out := &example.Pod{}
	try := func(in runtime.Object) (runtime.Object, error) {
		old := in.(*example.Pod)
		old.Labels, old.Spec = pod.Labels, pod.Spec
		return old, nil
	}
	if err := w.store.GuaranteedUpdate(ctx, pathOf(pod), out, false, nil, storage.SimpleUpdate(try), nil); err != nil {
		return err
	}
	return w.acknowledged(out, false)
}

func (w *writers) remove(ctx context.Context, pod *example.Pod) error {
	out := &example.Pod{}
	err := w.store.Delete(ctx, pathOf(pod), out, nil, storage.ValidateAllObjectFunc, nil, storage.DeleteOptions{})
	if err != nil {
		return err
	}
	return w.acknowledged(out, true)
}

func (w *writers) acknowledged(out *example.Pod, deleted bool) error {
	v, err := versionOf(out)
	if err != nil {
		return err
	}
	if deleted {
		w.past.add(v.Rev, v.Key, version{})
	} else {
		w.past.add(v.Rev, v.Key, v)
	}
	return nil
}

func pathOf(pod *example.Pod) string { return "/pods/" + pod.Namespace + "/" + pod.Name }
