package disk

import (
	"context"
	"fmt"
	"sync"

	"k8s.io/klog/v2"
)

const (
	// measureParallelism is how many pods are measured at the same time when the disk is short.
	measureParallelism = 2
	// blameShare is the part of the reserve that a pod must take to be blamed for a short disk.
	blameShare = 16
)

// keepReserve looks at the file system, and makes room when only the reserve is left.
func (g *Guard) keepReserve(ctx context.Context) {
	ticker := g.config.Clock.NewTicker(lookInterval)
	defer ticker.Stop()
	var blind, blameless bool
	for {
		space, err := g.look()
		if err != nil && !blind {
			klog.FromContext(ctx).Error(err, "The disk is not guarded: the file system gives no answer")
		}
		blind = err != nil
		reserve := ReserveOf(space, g.config.MinFree)
		switch {
		case err != nil:
		case !reserve.Low(space):
			blameless = false
		case g.makeRoom(ctx, space, reserve):
			blameless = false
		case !blameless && ctx.Err() == nil:
			blameless = true
			klog.FromContext(ctx).Info("The disk is almost full, and no pod takes much of it: free some space, or use a larger disk",
				"freeBytes", space.FreeBytes, "reserveBytes", reserve.Bytes, "freeFiles", space.FreeFiles, "reserveFiles", reserve.Files)
		}
		select {
		case <-ticker.C():
		case <-ctx.Done():
			return
		}
	}
}

// makeRoom fails the pod that takes most of the disk. It returns whether there was one.
func (g *Guard) makeRoom(ctx context.Context, space Space, reserve Reserve) bool {
	worst, usage, ok := g.worst(ctx, space, reserve)
	if !ok || ctx.Err() != nil {
		return false
	}
	// Meanwhile somebody else may have made room.
	space, err := g.look()
	if err != nil || !reserve.Low(space) {
		return true
	}
	reason, message := LimitExceeded, exceeded(worst.Limits, usage)
	if message == "" {
		reason, message = Pressure, fmt.Sprintf("the disk has only %s and %d files left, and this pod takes most of it: %s and %d files",
			bytesOf(int64(space.FreeBytes)), space.FreeFiles, bytesOf(usage.Bytes), usage.Files)
	}
	g.config.Fail(ctx, worst, reason, message)
	return true
}

// score orders pods: those above a limit or uncountable first, then by what they use beyond their request.
type score struct {
	guilty bool
	excess int64
}

func (s score) above(other score) bool {
	if s.guilty != other.guilty {
		return s.guilty
	}
	return s.excess > other.excess
}

// worst measures all pods and returns the one to fail.
func (g *Guard) worst(ctx context.Context, space Space, reserve Reserve) (worst Pod, usage Usage, ok bool) {
	var mu sync.Mutex
	var best score
	pods := make(chan Pod)
	var group sync.WaitGroup
	for range measureParallelism {
		group.Go(func() {
			for pod := range pods {
				used, err := g.measure(ctx, pod)
				if err != nil {
					continue // logged by keepLimits
				}
				s, blamed := judge(pod, used, space, reserve)
				mu.Lock()
				if blamed && (!ok || s.above(best)) {
					worst, usage, best, ok = pod, used, s, true
				}
				mu.Unlock()
			}
		})
	}
	for _, pod := range g.config.Pods() {
		pods <- pod
	}
	close(pods)
	group.Wait()
	return worst, usage, ok
}

// judge says how much a pod is to be blamed for a short disk, if at all. If files are short, each counts
// as its share of the reserve.
func judge(pod Pod, usage Usage, space Space, reserve Reserve) (s score, blamed bool) {
	s.guilty = usage.Partial || exceeded(pod.Limits, usage) != ""
	used := usage.Bytes
	if space.Files > 0 && space.FreeFiles < reserve.Files {
		used = max(used, usage.Files*int64(reserve.Bytes/reserve.Files))
	}
	s.excess = used - pod.Request
	return s, s.guilty || used >= int64(reserve.Bytes/blameShare)
}
