package pod

import (
	"context"
	"fmt"
	"io"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apiserver/pkg/endpoints/request"
	"k8s.io/apiserver/pkg/registry/rest"
	"k8s.io/utils/clock"
)

// LogRequest says what of a pod's log is wanted.
type LogRequest struct {
	Namespace, Name string
	UID             types.UID
	// Follow goes on until the pod or the context ends.
	Follow bool
	// Timestamps puts the time before each line.
	Timestamps bool
	// TailLines is how many lines of what there is are wanted; below 0: all.
	TailLines int64
	// Since is when the first line that is wanted was written, if not zero.
	Since time.Time
	// Stream is stdout or stderr; empty: both.
	Stream string
}

// Logs opens the logs of pods. If there is none, it returns fs.ErrNotExist.
type Logs interface {
	OpenLog(ctx context.Context, wanted LogRequest) (io.ReadCloser, error)
}

// LogREST serves the log subresource of pods.
type LogREST struct {
	feed  *Feed
	logs  Logs
	clock clock.PassiveClock
}

var (
	_ rest.Storage           = (*LogREST)(nil)
	_ rest.GetterWithOptions = (*LogREST)(nil)
	_ rest.StorageMetadata   = (*LogREST)(nil)
)

// NewLog returns the storage of the logs of a feed's pods.
func NewLog(feed *Feed, logs Logs, clk clock.PassiveClock) *LogREST {
	return &LogREST{feed: feed, logs: logs, clock: clk}
}

// New returns an empty pod, which the subresource is one of.
func (r *LogREST) New() runtime.Object { return &corev1.Pod{} }

// Destroy does nothing.
func (r *LogREST) Destroy() {}

// NewGetOptions returns what query parameters are read into.
func (r *LogREST) NewGetOptions() (runtime.Object, bool, string) {
	return &corev1.PodLogOptions{}, false, ""
}

// ProducesMIMETypes are the types of a log.
func (r *LogREST) ProducesMIMETypes(string) []string { return []string{"text/plain"} }

// ProducesObject is for the documentation of the API: a log is text.
func (r *LogREST) ProducesObject(string) any { return "" }

// Get returns a streamer of the log. If there is no such pod or container,
// returns NotFound or BadRequest.
func (r *LogREST) Get(ctx context.Context, name string, options runtime.Object) (runtime.Object, error) {
	wanted, ok := options.(*corev1.PodLogOptions)
	if !ok {
		return nil, fmt.Errorf("%T are no options of a log", options)
	}
	namespace := request.NamespaceValue(ctx)
	pod, ok := r.feed.Get(types.NamespacedName{Namespace: namespace, Name: name})
	if !ok {
		return nil, apierrors.NewNotFound(resource, name)
	}
	container := pod.Status.ContainerStatuses[0].Name
	switch {
	case wanted.Container != "" && wanted.Container != container:
		return nil, apierrors.NewBadRequest(fmt.Sprintf("container %s does not run in pod %s: its container is %s", wanted.Container, name, container))
	case wanted.Previous:
		return nil, apierrors.NewBadRequest(fmt.Sprintf("previous terminated container %q in pod %q not found: a pod that ends is replaced by another one", container, name))
	case wanted.TailLines != nil && *wanted.TailLines < 0, wanted.LimitBytes != nil && *wanted.LimitBytes < 1, wanted.SinceSeconds != nil && *wanted.SinceSeconds < 1:
		return nil, apierrors.NewBadRequest("tailLines must be at least 0, limitBytes and sinceSeconds at least 1")
	}
	log := LogRequest{
		Namespace: namespace, Name: name, UID: pod.UID, Follow: wanted.Follow, Timestamps: wanted.Timestamps, TailLines: -1,
	}
	if wanted.TailLines != nil {
		log.TailLines = *wanted.TailLines
	}
	switch {
	case wanted.SinceTime != nil:
		log.Since = wanted.SinceTime.Time
	case wanted.SinceSeconds != nil:
		log.Since = r.clock.Now().Add(-time.Duration(*wanted.SinceSeconds) * time.Second)
	}
	switch {
	case wanted.Stream == nil || *wanted.Stream == corev1.LogStreamAll:
	case *wanted.Stream == corev1.LogStreamStdout:
		log.Stream = "stdout"
	case *wanted.Stream == corev1.LogStreamStderr:
		log.Stream = "stderr"
	default:
		return nil, apierrors.NewBadRequest(fmt.Sprintf("stream: %q must be All, Stdout or Stderr", *wanted.Stream))
	}
	return &streamer{logs: r.logs, wanted: log, limit: wanted.LimitBytes}, nil
}

// streamer is an "object" that is answered by streaming a log.
type streamer struct {
	metav1.TypeMeta
	logs   Logs
	wanted LogRequest
	limit  *int64
}

var (
	_ rest.ResourceStreamer = (*streamer)(nil)
	_ runtime.Object        = (*streamer)(nil)
)

// DeepCopyObject is needed of an object; nobody copies a stream.
func (s *streamer) DeepCopyObject() runtime.Object { return s }

// InputStream opens the log.
func (s *streamer) InputStream(ctx context.Context, _, _ string) (io.ReadCloser, bool, string, error) {
	log, err := s.logs.OpenLog(ctx, s.wanted)
	if err != nil {
		return nil, false, "", fmt.Errorf("open the log of pod %s: %w", s.wanted.Name, err)
	}
	if s.limit != nil {
		log = struct {
			io.Reader
			io.Closer
		}{io.LimitReader(log, *s.limit), log}
	}
	return log, s.wanted.Follow, "text/plain", nil
}
