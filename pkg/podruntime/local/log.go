package local

import (
	"context"
	"fmt"
	"io"

	"k8s.io/apimachinery/pkg/types"

	"arl.io/arl/pkg/podruntime"
	"arl.io/arl/pkg/podruntime/local/podlog"
)

// logLimit bounds the log of a pod, in bytes.
const logLimit = 4 << 20

// OpenLog opens the log of a pod: what its agent and the template's command have
// printed. Following ends with the pod. If there is no such pod, returns
// podruntime.ErrNotFound; if it has not been started, fs.ErrNotExist.
func (r *Runtime) OpenLog(ctx context.Context, key podruntime.Key, uid types.UID, options podlog.Options) (io.ReadCloser, error) {
	alive := func() bool {
		r.mu.Lock()
		defer r.mu.Unlock()
		p, ok := r.pods[key]
		return ok && p.pod.UID == uid && p.pod.Phase != podruntime.Failed && !p.deleting
	}
	r.mu.Lock()
	p, ok := r.pods[key]
	there := ok && p.pod.UID == uid
	r.mu.Unlock()
	if !there {
		return nil, fmt.Errorf("log of pod %s: %w", key, podruntime.ErrNotFound)
	}
	options.Alive, options.Clock = alive, r.config.Clock
	log, err := podlog.Open(ctx, r.podPath(uid, logName), options)
	if err != nil {
		return nil, fmt.Errorf("log of pod %s: %w", key, err)
	}
	return log, nil
}
