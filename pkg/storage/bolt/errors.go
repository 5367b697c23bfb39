package bolt

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apiserver/pkg/storage"

	"arl.io/arl/pkg/storage/kv"
)

// StatusReasonInsufficientStorage is the reason of the status, with code 507,
// that answers a create or an update while the disk is short of space.
const StatusReasonInsufficientStorage metav1.StatusReason = "InsufficientStorage"

// Messages of 410 Expired. Clients and tests know them by these words.
const (
	watchExpired    = "The resourceVersion for the provided watch is too old."
	listExpired     = "The resourceVersion for the provided list is too old."
	continueExpired = "The provided continue parameter is too old to display a consistent list result. " +
		"You can start a new list without the continue parameter."
	continueInconsistent = "The provided continue parameter is too old to display a consistent list result. " +
		"You can start a new list without the continue parameter, or use the continue token in this response " +
		"to retrieve the remainder of the results. Continuing with the provided token results in an inconsistent " +
		"list - objects that were created, modified, or deleted between the time the first chunk was returned " +
		"and now may show up in the list."
)

// apiError returns what a client is told of an error of the database. An error
// that says nothing of the request is returned as it is.
func apiError(err error) error {
	switch {
	case errors.Is(err, kv.ErrTooLarge):
		return apierrors.NewRequestEntityTooLargeError(
			fmt.Sprintf("the object is too large to be stored: %v; make it smaller", err))
	case errors.Is(err, kv.ErrNoSpace):
		return statusError(http.StatusInsufficientStorage, StatusReasonInsufficientStorage,
			fmt.Sprintf("the server's disk is almost full, so nothing can be created or updated: %v; "+
				"delete objects that are not needed, or make room on the file system of the data directory", err))
	case errors.Is(err, kv.ErrFailed):
		return statusError(http.StatusInternalServerError, metav1.StatusReasonInternalError,
			fmt.Sprintf("the storage has failed and the server must be restarted; "+
				"whether the request took effect is known only then: %v", err))
	case errors.Is(err, kv.ErrClosed):
		return apierrors.NewServiceUnavailable("the storage is closed: the server is shutting down")
	case errors.Is(err, context.DeadlineExceeded):
		return apierrors.NewTimeoutError("request did not complete within requested timeout", 0)
	}
	return err
}

func statusError(code int32, reason metav1.StatusReason, message string) *apierrors.StatusError {
	return &apierrors.StatusError{ErrStatus: metav1.Status{
		Status:  metav1.StatusFailure,
		Code:    code,
		Reason:  reason,
		Message: message,
	}}
}

// expiredContinueError answers a continue token whose revision is gone. It
// offers a token to go on with at the newest revision.
func expiredContinueError(continueKey, prefix string) error {
	// Revision -1 stands for the newest: 0 would look like a bad token.
	token, err := storage.EncodeContinue(continueKey, prefix, -1)
	if err != nil {
		return apierrors.NewResourceExpired(continueExpired)
	}
	expired := apierrors.NewResourceExpired(continueInconsistent)
	expired.ErrStatus.ListMeta.Continue = token
	return expired
}
