package consistency

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"sync"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apiserver/pkg/apis/example"
	"k8s.io/apiserver/pkg/storage"
	"k8s.io/utils/ptr"

	"arl.io/arl/pkg/storage/kv"
)

const (
	namespace   = "ns"
	writerLabel = "writer"
	countLabel  = "count"
)

// call is a request as a client sends it.
type call struct {
	request
	// Continue asks for the next page of a list.
	Continue string
}

// reply answers a call.
type reply struct {
	response
	// Continue is the token for the next page of a list; empty: this is the last.
	Continue string
	// Problem is what no request should meet.
	Problem string
}

// service does requests on a store.
type service struct {
	store *podStore
	// padding is stored with every object and means nothing.
	padding string

	mu sync.Mutex
	// suggestions are pods of any age, as a cache in front of the storage would offer them.
	suggestions [keys]*example.Pod
}

// errRefused is how an update or a deletion declines what it finds.
var errRefused = errors.New("the count is odd")

// serve does one call.
func (s *service) serve(ctx context.Context, c call) reply {
	r, err := s.do(ctx, c)
	if r.Failure = failureOf(err); r.Failure == "" && err != nil {
		return reply{Problem: err.Error()}
	}
	return r
}

func (s *service) do(ctx context.Context, c call) (reply, error) {
	pod := &example.Pod{}
	var err error
	switch c.Verb {
	case create:
		in := &example.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: keyName(c.Key)}}
		setObject(in, object{UID: c.ID, Writer: c.ID})
		in.Spec.Hostname = s.padding
		err = s.store.Create(ctx, keyOf(c.Key), in, pod, 0)
	case get:
		err = s.store.Get(ctx, keyOf(c.Key), storage.GetOptions{ResourceVersion: revision(c.AtLeast)}, pod)
	case update, upsert:
		err = s.store.GuaranteedUpdate(ctx, keyOf(c.Key), pod, c.Verb == upsert, c.preconditions(), s.updater(c.request), s.suggestion(c.Key))
	case remove:
		err = s.store.Delete(ctx, keyOf(c.Key), pod, c.preconditions(), c.validate, s.suggestion(c.Key), storage.DeleteOptions{})
	case list, listAt:
		return s.page(ctx, c)
	case current:
		rev, err := s.store.GetCurrentResourceVersion(ctx)
		return reply{response: response{Rev: int64(rev)}}, err
	case compact:
		return reply{}, s.store.db.Compact(ctx, c.AtLeast)
	case compactedRev:
		return reply{response: response{Rev: s.store.CompactRevision()}}, nil
	}
	if err != nil {
		return reply{}, err
	}
	s.suggest(c.Key, pod)
	obj, err := objectOf(pod)
	return reply{response: response{Object: obj}}, err
}

func (s *service) page(ctx context.Context, c call) (r reply, err error) {
	pred := storage.Everything
	pred.Limit, pred.Continue = c.Limit, c.Continue
	opts := storage.ListOptions{Predicate: pred, Recursive: true}
	switch {
	case c.Continue != "":
	case c.Verb == listAt:
		opts.ResourceVersion, opts.ResourceVersionMatch = revision(c.AtLeast), metav1.ResourceVersionMatchExact
	case c.AtLeast != 0:
		opts.ResourceVersion, opts.ResourceVersionMatch = revision(c.AtLeast), metav1.ResourceVersionMatchNotOlderThan
	}
	pods := &example.PodList{}
	if err := s.store.GetList(ctx, "/pods/"+namespace, opts, pods); err != nil {
		return r, err
	}
	for i := range pods.Items {
		key, err := strconv.Atoi(strings.TrimPrefix(pods.Items[i].Name, keyName(0)[:len("pod-")]))
		if err != nil {
			return r, fmt.Errorf("name of a pod: %w", err)
		}
		if r.Objects[key], err = objectOf(&pods.Items[i]); err != nil {
			return r, err
		}
	}
	r.Continue = pods.Continue
	r.Rev, err = strconv.ParseInt(pods.ResourceVersion, 10, 64)
	return r, err
}

// suggest remembers a pod that somebody saw.
func (s *service) suggest(key int, pod *example.Pod) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.suggestions[key] = pod.DeepCopy()
}

// suggestion returns, now and then, a pod that may be outdated or deleted.
func (s *service) suggestion(key int) runtime.Object {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.suggestions[key] == nil || rand.IntN(2) == 0 {
		return nil
	}
	return s.suggestions[key].DeepCopy()
}

func (r request) preconditions() *storage.Preconditions {
	if r.UID == 0 && r.Rev == 0 {
		return nil
	}
	p := &storage.Preconditions{}
	if r.UID != 0 {
		p.UID = ptr.To(types.UID(strconv.Itoa(r.UID)))
	}
	if r.Rev != 0 {
		p.ResourceVersion = ptr.To(revision(r.Rev))
	}
	return p
}

// updater returns what an update does to the pod it finds.
func (s *service) updater(r request) storage.UpdateFunc {
	return storage.SimpleUpdate(func(in runtime.Object) (runtime.Object, error) {
		pod := in.(*example.Pod)
		old, err := objectOf(pod)
		if err != nil {
			return nil, err
		}
		next, ok := r.changed(old)
		if !ok {
			return nil, errRefused
		}
		pod.Namespace, pod.Name, pod.Spec.Hostname = namespace, keyName(r.Key), s.padding
		setObject(pod, next)
		return pod, nil
	})
}

// validate is a storage.ValidateObjectFunc.
func (r request) validate(_ context.Context, obj runtime.Object) error {
	old, err := objectOf(obj.(*example.Pod))
	if err == nil && r.Change == incrementEven && old.Count%2 == 1 {
		return errRefused
	}
	return err
}

// setObject makes a pod carry an object, but for its revision.
func setObject(pod *example.Pod, obj object) {
	pod.UID = types.UID(strconv.Itoa(obj.UID))
	pod.Labels = map[string]string{writerLabel: strconv.Itoa(obj.Writer), countLabel: strconv.Itoa(obj.Count)}
}

// objectOf returns what a pod carries; the zero object if it is empty.
func objectOf(pod *example.Pod) (obj object, err error) {
	if pod.UID == "" {
		return obj, nil
	}
	_, err = fmt.Sscan(strings.Join([]string{
		string(pod.UID), pod.Labels[writerLabel], pod.Labels[countLabel], pod.ResourceVersion}, " "),
		&obj.UID, &obj.Writer, &obj.Count, &obj.Rev)
	if err != nil {
		return obj, fmt.Errorf("pod %v: %w", pod, err)
	}
	return obj, nil
}

// failureOf names an error that a request may meet; all others are problems.
func failureOf(err error) failure {
	switch {
	case storage.IsExist(err):
		return exists
	case storage.IsNotFound(err):
		return notFound
	case storage.IsInvalidObj(err):
		return precondition
	case errors.Is(err, errRefused):
		return refused
	case storage.IsTooLargeResourceVersion(err), errors.Is(err, kv.ErrFutureRevision):
		return future
	case apierrors.IsResourceExpired(err):
		return expired
	}
	return ""
}

func keyOf(key int) string { return "/pods/" + namespace + "/" + keyName(key) }

// revision returns a resourceVersion; 0 asks for none.
func revision(rev int64) string {
	if rev == 0 {
		return ""
	}
	return strconv.FormatInt(rev, 10)
}
