package pki

import (
	"context"
	"errors"
	"fmt"
	"time"

	"k8s.io/klog/v2"
	"k8s.io/utils/clock"
)

// renewPeriod is how often certificates are checked: far more often than any needs it, so that a
// failure can be fixed in time.
const renewPeriod = time.Hour

// Step renews one thing. It leaves alone what is still good, and uses what earlier steps have renewed,
// but must work, as far as it can, if they failed.
type Step struct {
	// Name says for the log what the step renews, such as "the kubeconfig".
	Name string
	Do   func() error
}

// Renew takes all steps, also after one that failed: a certificate must not expire because another
// could not be renewed. The error joins those of all steps that failed.
func Renew(steps ...Step) error {
	var errs []error
	for _, step := range steps {
		if err := step.Do(); err != nil {
			errs = append(errs, fmt.Errorf("renew %s: %w", step.Name, err))
		}
	}
	return errors.Join(errs...)
}

// KeepRenewed takes all steps once an hour until ctx ends. Failures are logged and tried again an hour
// later.
func KeepRenewed(ctx context.Context, clk clock.WithTicker, steps ...Step) {
	ticker := clk.NewTicker(renewPeriod)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C():
		}
		if err := Renew(steps...); err != nil {
			klog.FromContext(ctx).Error(err, "Cannot renew certificates, will try again", "pause", renewPeriod)
		}
	}
}
