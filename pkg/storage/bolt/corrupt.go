package bolt

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/storage"
	"k8s.io/apiserver/pkg/storage/value"
)

// Why an object cannot be read.
const (
	untransformable = "data from the storage is not transformable"
	undecodable     = "object not decodable"
)

// maxCorruptReported bounds the error of a list: at this many objects that
// cannot be read, it gives up.
const maxCorruptReported = 100

var errTooManyCorrupt = errors.New("too many errors, the list is truncated")

// corruptError says that an object is there and cannot be read, whoever asks
// and whenever: the condition under which unsafe deletion is allowed.
type corruptError struct {
	problem string
	// rev is 0 if it is not known.
	rev int64
	err error
}

func (e *corruptError) Error() string {
	return fmt.Sprintf("%s revision=%d: %v", e.problem, e.rev, e.err)
}

func (e *corruptError) Unwrap() error { return e.err }

// corruptMarker marks what its transformer cannot read as corrupt.
type corruptMarker struct {
	value.Transformer
}

// TransformFromStorage implements value.Transformer. A request that ended
// meanwhile says nothing about the object, so that is no corruption.
func (m corruptMarker) TransformFromStorage(ctx context.Context, data []byte, dataCtx value.Context) ([]byte, bool, error) {
	out, stale, err := m.Transformer.TransformFromStorage(ctx, data, dataCtx)
	if err != nil && ctx.Err() == nil {
		err = &corruptError{problem: untransformable, err: err}
	}
	return out, stale, err
}

// listErrors collects what a list could not read. Unless corrupt objects are
// to be reported, the first error ends the list.
type listErrors struct {
	report   bool
	resource schema.GroupResource
	corrupt  []*storage.StorageError
	// fatal is what ended the list.
	fatal error
}

// add notes the error of an object and returns whether the list must end.
func (l *listErrors) add(key string, err error) (done bool) {
	var corrupt *corruptError
	if !l.report || !errors.As(err, &corrupt) {
		l.fatal = err
		return true
	}
	l.corrupt = append(l.corrupt, storage.NewCorruptObjError(key, corrupt))
	if len(l.corrupt) < maxCorruptReported {
		return false
	}
	l.fatal = errTooManyCorrupt
	return true
}

// err returns nil if everything was read.
func (l *listErrors) err() error {
	if len(l.corrupt) == 0 {
		return l.fatal
	}
	message := fmt.Sprintf("failed to read one or more %s from the storage: %v", l.resource, l.corrupt[0])
	if more := len(l.corrupt) - 1; more > 0 {
		message += fmt.Sprintf(" (and %d more)", more)
	}
	return &apierrors.StatusError{ErrStatus: metav1.Status{
		Status:  metav1.StatusFailure,
		Code:    http.StatusInternalServerError,
		Reason:  metav1.StatusReasonStoreReadError,
		Message: message,
		Details: &metav1.StatusDetails{
			Group:  l.resource.Group,
			Kind:   l.resource.Resource,
			Name:   "list",
			Causes: l.causes(),
		},
	}}
}

func (l *listErrors) causes() []metav1.StatusCause {
	causes := make([]metav1.StatusCause, 0, len(l.corrupt)+1)
	for _, e := range l.corrupt {
		causes = append(causes, metav1.StatusCause{
			Type:    metav1.CauseTypeUnexpectedServerResponse,
			Field:   e.Key,
			Message: e.Error(),
		})
	}
	switch {
	case errors.Is(l.fatal, errTooManyCorrupt):
		causes = append(causes, metav1.StatusCause{Type: metav1.CauseTypeTooMany, Message: l.fatal.Error()})
	case l.fatal != nil:
		causes = append(causes, metav1.StatusCause{Type: metav1.CauseTypeUnexpectedServerResponse, Message: l.fatal.Error()})
	}
	return causes
}
