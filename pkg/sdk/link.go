package sdk

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net/http"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/util/wait"
)

// attemptTimeout bounds one request. No request of this package waits for
// anything but storage, so a server that takes longer is given up on.
const attemptTimeout = 30 * time.Second

// pauses are those between attempts: short at first, because a server is back
// within a second as a rule, and spread, because many clients wait for it.
var pauses = wait.Backoff{Duration: 50 * time.Millisecond, Factor: 2, Jitter: 0.5, Steps: 64, Cap: 3 * time.Second}

// link makes requests, and makes them again while the server is away.
type link struct {
	// patience is how long a server that does not answer is tried.
	patience time.Duration
}

// try makes a request until it is answered with something other than "not
// now". The request must be safe to make again after it failed without an
// answer, and must end with its context.
//
// A request that is answered with 401 is made once more: by then client-go has run the credential
// plugin again, or read the token file.
//
// It returns the request's error, the context's if that has ended, or one that is
// ErrUnavailable, each with the operation before it. Patience does not cut short
// a request that is under way.
func (l link) try(ctx context.Context, operation string, request func(context.Context) error) error {
	deadline := time.Now().Add(l.patience)
	pause := pauses.DelayFunc()
	renewed := false
	for {
		err := attempt(ctx, request)
		switch {
		case err == nil:
			return nil
		case ctx.Err() != nil:
			return interrupted(ctx, operation)
		case apierrors.IsUnauthorized(err) && !renewed:
			renewed = true
			continue
		case !again(err):
			return fmt.Errorf("%s: %w", operation, err)
		}
		left := time.Until(deadline)
		if left <= 0 {
			return fmt.Errorf("%s: %w: no answer for %s, the last error: %w: check that the server runs and can be reached, for instance with 'kubectl get --raw /readyz'",
				operation, ErrUnavailable, l.patience, err)
		}
		if !sleep(ctx, min(left, max(pause(), retryAfter(err)))) {
			return interrupted(ctx, operation)
		}
	}
}

func attempt(ctx context.Context, request func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, attemptTimeout)
	defer cancel()
	return request(ctx)
}

// interrupted is the error of an operation whose context has ended.
func interrupted(ctx context.Context, operation string) error {
	if cause := context.Cause(ctx); !errors.Is(cause, ctx.Err()) {
		return fmt.Errorf("%s: %w: %w", operation, ctx.Err(), cause)
	}
	return fmt.Errorf("%s: %w", operation, ctx.Err())
}

// again says whether a request that failed may succeed later as it is. Errors
// that are no answer of the server are those of a connection, as a rule.
func again(err error) bool {
	if status := apierrors.APIStatus(nil); errors.As(err, &status) {
		code := status.Status().Code
		return code == http.StatusTooManyRequests || code >= 500 && code != http.StatusNotImplemented
	}
	var certificate *tls.CertificateVerificationError
	var record tls.RecordHeaderError
	return !errors.Is(err, ErrConflict) && !errors.Is(err, http.ErrSchemeMismatch) &&
		!errors.As(err, &certificate) && !errors.As(err, &record)
}

// sleep returns false if ctx ends first.
func sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// retryAfter is the pause that the server asks for.
func retryAfter(err error) time.Duration {
	seconds, ok := apierrors.SuggestsClientDelay(err)
	if !ok {
		return 0
	}
	return time.Duration(seconds) * time.Second
}
