package pki

import (
	"context"
	"time"

	"k8s.io/klog/v2"
	"k8s.io/utils/clock"
)

// renewPeriod is how often certificates are looked at: far more often than any
// needs it, so that a failure can be mended in time.
const renewPeriod = time.Hour

// KeepRenewed calls renew now and then until ctx ends. A failure is logged, and
// tried again in an hour.
func KeepRenewed(ctx context.Context, clk clock.WithTicker, renew func() error) {
	ticker := clk.NewTicker(renewPeriod)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C():
		}
		if err := renew(); err != nil {
			klog.FromContext(ctx).Error(err, "Cannot renew certificates, will try again", "pause", renewPeriod)
		}
	}
}
