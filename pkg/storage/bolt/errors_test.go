package bolt

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apiserver/pkg/apis/example"
	"k8s.io/apiserver/pkg/storage"

	"arl.io/arl/pkg/storage/kv"
)

func TestAPIError(t *testing.T) {
	tests := []struct {
		err     error
		code    int32
		reason  metav1.StatusReason
		message string
	}{
		{kv.ErrTooLarge, http.StatusRequestEntityTooLarge, metav1.StatusReasonRequestEntityTooLarge, "make it smaller"},
		{kv.ErrNoSpace, http.StatusInsufficientStorage, StatusReasonInsufficientStorage, "delete objects"},
		{kv.ErrFailed, http.StatusInternalServerError, metav1.StatusReasonInternalError, "must be restarted"},
		{kv.ErrClosed, http.StatusServiceUnavailable, metav1.StatusReasonServiceUnavailable, "shutting down"},
		{context.DeadlineExceeded, http.StatusGatewayTimeout, metav1.StatusReasonTimeout, "timeout"},
	}
	for _, tc := range tests {
		t.Run(string(tc.reason), func(t *testing.T) {
			err := apiError(fmt.Errorf("doing it: %w", tc.err))
			var status apierrors.APIStatus
			if !errors.As(err, &status) {
				t.Fatalf("%v is no status", err)
			}
			got := status.Status()
			if got.Code != tc.code || got.Reason != tc.reason || !strings.Contains(got.Message, tc.message) {
				t.Errorf("got %d %s %q, want %d %s and %q in the message",
					got.Code, got.Reason, got.Message, tc.code, tc.reason, tc.message)
			}
		})
	}
	if other := errors.New("other"); apiError(other) != other {
		t.Error("an error that is nobody's was changed")
	}
}

func TestWritesThatAreRefused(t *testing.T) {
	var free uint64 = 1 << 40
	db := openDB(t, kv.Options{
		MaxValueBytes: 2000,
		MinFreeBytes:  1 << 20,
		FreeBytes:     func(string) (uint64, error) { return free, nil },
	})
	s, err := New(podConfig(db))
	if err != nil {
		t.Fatal(err)
	}
	f := &fixture{Store: s, db: db}
	small := f.mustCreate(t, "ns", "small")

	large := &example.Pod{ObjectMeta: metav1.ObjectMeta{
		Name: "large", Namespace: "ns", Annotations: map[string]string{"a": strings.Repeat("x", 2000)},
	}}
	if err := s.Create(t.Context(), podKey(large), large, nil, 0); !apierrors.IsRequestEntityTooLargeError(err) {
		t.Errorf("an object above the limit: %v", err)
	}

	free = 0
	another := &example.Pod{ObjectMeta: metav1.ObjectMeta{Name: "another", Namespace: "ns"}}
	err = s.Create(t.Context(), podKey(another), another, nil, 0)
	if apierrors.ReasonForError(err) != StatusReasonInsufficientStorage {
		t.Errorf("a create without room on the disk: %v", err)
	}
	err = s.Delete(t.Context(), podKey(small), &example.Pod{}, nil, storage.ValidateAllObjectFunc, nil, storage.DeleteOptions{})
	if err != nil {
		t.Errorf("a delete without room on the disk: %v", err)
	}
}

func TestContextThatHasEnded(t *testing.T) {
	f := newFixture(t)
	pod := f.mustCreate(t, "ns", "a")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	other := &example.Pod{ObjectMeta: metav1.ObjectMeta{Name: "b", Namespace: "ns"}}
	if err := f.Create(ctx, podKey(other), other, nil, 0); !errors.Is(err, context.Canceled) {
		t.Errorf("Create: %v", err)
	}
	err := f.Delete(ctx, podKey(pod), &example.Pod{}, nil, storage.ValidateAllObjectFunc, nil, storage.DeleteOptions{})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("Delete: %v", err)
	}
	err = f.GetList(ctx, "/pods/", storage.ListOptions{Recursive: true, Predicate: storage.Everything}, &example.PodList{})
	if !storage.IsRequestTimeout(err) {
		t.Errorf("GetList: %v", err)
	}
}

func TestExpiredContinueOfAnotherPrefix(t *testing.T) {
	if err := expiredContinueError("/a/b", "/c/"); !apierrors.IsResourceExpired(err) {
		t.Errorf("got %v, want 410", err)
	}
}
