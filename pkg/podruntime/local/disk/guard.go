package disk

import (
	"context"
	"fmt"
	"math"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/sys/unix"
	"k8s.io/klog/v2"
	"k8s.io/utils/clock"

	"arl.io/arl/pkg/podruntime/local/filetree"
)

const (
	// lookInterval is how often the file system is asked. A disk writes some hundred megabytes in it.
	lookInterval = 250 * time.Millisecond
	// limitInterval is how often it is decided which pods to measure.
	limitInterval = time.Second
	// measureAge is after how long a pod is measured whether or not the file system has grown: files that
	// one pod removes hide those that another makes.
	measureAge = 2 * time.Minute
	// idleShare bounds the processor time: after a measurement, limits rests so many times as long.
	idleShare = 4
)

// Limits of a pod.
const (
	// bytesPerFile is how much of a pod's limit allows for one file. It is what ext4 makes its inodes by.
	bytesPerFile = 16 << 10
	// minFiles is the least number of files that a pod may have.
	minFiles = 16 << 10
	// maxFiles bounds the files of a pod without a limit, and so the cost of measuring it.
	maxFiles = 4 << 20
)

// Limits are what a pod may take of the disk.
type Limits struct {
	// Bytes is the most that all its files may take; 0 means no limit.
	Bytes int64
	// Request is what the pod may use without being the first to go when the disk is short.
	Request int64
	// Volumes are the limits of emptyDir volumes on disk that have one, by name.
	Volumes map[string]int64
}

// Files is the most files and directories that a pod may have.
func (l Limits) Files() int64 {
	if l.Bytes == 0 {
		return maxFiles
	}
	return min(max(l.Bytes/bytesPerFile, minFiles), maxFiles)
}

// Usage is what a pod takes of the disk.
type Usage struct {
	filetree.Usage
	// Volumes are those of Limits.Volumes.
	Volumes map[string]int64
}

// Pod is a pod that takes disk space.
type Pod struct {
	// ID is its UID, Name what people call it.
	ID, Name string
	Limits
}

// Reason is why a pod is failed.
type Reason string

// Reasons to fail a pod.
const (
	// LimitExceeded: the pod takes more than its limit.
	LimitExceeded Reason = "LimitExceeded"
	// Pressure: only the reserve of the disk is left, and the pod takes most of it.
	Pressure Reason = "Pressure"
)

// Space is what a file system has.
type Space struct {
	Bytes, FreeBytes uint64
	// Files are 0 if the file system does not count them.
	Files, FreeFiles uint64
}

// SpaceOf asks the file system of dir.
func SpaceOf(dir string) (Space, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return Space{}, fmt.Errorf("statfs %s: %w", dir, err)
	}
	size := uint64(st.Bsize)
	return Space{Bytes: st.Blocks * size, FreeBytes: st.Bavail * size, Files: st.Files, FreeFiles: st.Ffree}, nil
}

// Reserve is what of the disk is left to the database.
type Reserve struct{ Bytes, Files uint64 }

// Bounds of a Reserve.
const (
	maxReserveBytes = 1 << 30
	maxReserveFiles = 10_000
	reserveShare    = 20
)

// ReserveOf returns the reserve of a file system: a twentieth, 1 GiB and 10,000 files at most, and twice
// the free space below which the database refuses writes at least.
func ReserveOf(space Space, minFree uint64) Reserve {
	return Reserve{
		Bytes: max(2*minFree, min(maxReserveBytes, space.Bytes/reserveShare)),
		Files: min(maxReserveFiles, space.Files/reserveShare),
	}
}

// MinFree returns the free space that the database keeps on the file system of dir: minFree, or nothing
// if dir has a file system of its own, apart from the directory above it, where the database is.
func MinFree(dir string, minFree uint64) uint64 {
	var own, above unix.Stat_t
	if unix.Stat(dir, &own) == nil && unix.Stat(filepath.Dir(dir), &above) == nil && own.Dev != above.Dev {
		return 0
	}
	return minFree
}

// Low says that no more than the reserve is left.
func (r Reserve) Low(space Space) bool {
	return space.FreeBytes < r.Bytes || space.Files > 0 && space.FreeFiles < r.Files
}

// Config says what a Guard guards. All fields are needed.
type Config struct {
	// Space asks the file system, and MinFree is the free space below which the database refuses writes.
	Space   func() (Space, error)
	MinFree uint64
	// Pods returns the pods that run.
	Pods func() []Pod
	// Measure measures a pod, up to the files that it may have.
	Measure func(ctx context.Context, pod Pod) (Usage, error)
	// Fail ends a pod, and returns when its files are gone, or when that takes too long.
	Fail  func(ctx context.Context, pod Pod, reason Reason, message string)
	Clock clock.WithTicker
}

// Guard watches the disk.
type Guard struct {
	config Config

	mu sync.Mutex
	// last is the space at the last look; grown is how much the file system has grown, ever.
	last     Space
	looked   bool
	grown    growth
	measured map[string]measurement
}

// growth is how much a file system has grown; what it shrank does not count.
type growth struct{ bytes, files uint64 }

// measurement of a pod.
type measurement struct {
	usage Usage
	at    time.Time
	grown growth
}

// New returns a guard.
func New(config Config) *Guard {
	return &Guard{config: config, measured: map[string]measurement{}}
}

// Run guards the disk until ctx ends.
func (g *Guard) Run(ctx context.Context) {
	var group sync.WaitGroup
	defer group.Wait()
	group.Go(func() { g.keepReserve(ctx) })
	group.Go(func() { g.keepLimits(ctx) })
}

// look asks the file system.
func (g *Guard) look() (Space, error) {
	space, err := g.config.Space()
	if err != nil {
		return space, err
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.looked {
		g.grown.bytes += less(g.last.FreeBytes, space.FreeBytes)
		g.grown.files += less(g.last.FreeFiles, space.FreeFiles)
	}
	g.last, g.looked = space, true
	return space, nil
}

// less is by how much a number has become less.
func less(before, now uint64) uint64 {
	if now >= before {
		return 0
	}
	return before - now
}

// measure measures a pod, and keeps the result.
func (g *Guard) measure(ctx context.Context, pod Pod) (Usage, error) {
	g.mu.Lock()
	m := measurement{at: g.config.Clock.Now(), grown: g.grown}
	g.mu.Unlock()
	usage, err := g.config.Measure(ctx, pod)
	g.mu.Lock()
	defer g.mu.Unlock()
	if err != nil {
		// It is another's turn.
		m.usage = g.measured[pod.ID].usage
		g.measured[pod.ID] = m
		return usage, fmt.Errorf("measure the files of pod %s: %w", pod.Name, err)
	}
	m.usage = usage
	g.measured[pod.ID] = m
	return usage, nil
}

// exceeded says which limit a usage exceeds, or nothing.
func exceeded(limits Limits, usage Usage) string {
	for name, limit := range limits.Volumes {
		if used := usage.Volumes[name]; used > limit {
			return fmt.Sprintf("volume %q takes %s, and its sizeLimit is %s", name, bytesOf(used), bytesOf(limit))
		}
	}
	switch {
	case limits.Bytes > 0 && usage.Bytes > limits.Bytes:
		return fmt.Sprintf("its files take %s, and its limit of ephemeral-storage is %s", bytesOf(usage.Bytes), bytesOf(limits.Bytes))
	case usage.Files >= limits.Files():
		return fmt.Sprintf("it has %d files or more, and may have one for each 16Ki of its limit of ephemeral-storage", usage.Files)
	}
	return ""
}

// bytesOf is a size in the notation of Kubernetes, rounded.
func bytesOf(n int64) string {
	switch {
	case n < 1<<20:
		return fmt.Sprintf("%dKi", n>>10)
	case n < 10<<30:
		return fmt.Sprintf("%dMi", n>>20)
	}
	return fmt.Sprintf("%dGi", n>>30)
}

// keepLimits measures pods that may be above their limits, one at a time, and fails those that are.
func (g *Guard) keepLimits(ctx context.Context) {
	reported := map[string]bool{}
	for {
		rest := limitInterval
		if pod, ok := g.suspect(); ok {
			begun := g.config.Clock.Now()
			usage, err := g.measure(ctx, pod)
			switch {
			case ctx.Err() != nil:
				return
			case err != nil:
				if !reported[pod.ID] {
					klog.FromContext(ctx).Error(err, "The limit of a pod's disk space is not enforced", "uid", pod.ID)
				}
				reported[pod.ID] = true
			default:
				if message := exceeded(pod.Limits, usage); message != "" {
					g.config.Fail(ctx, pod, LimitExceeded, message)
				}
			}
			rest = idleShare * g.config.Clock.Since(begun)
		} else {
			clear(reported)
		}
		select {
		case <-g.config.Clock.After(rest):
		case <-ctx.Done():
			return
		}
	}
}

// suspect returns the pod that is to be measured next, if any: one that may be above a limit, else
// one that was not measured for long. It forgets pods that are gone.
func (g *Guard) suspect() (found Pod, ok bool) {
	pods := g.config.Pods()
	g.mu.Lock()
	defer g.mu.Unlock()
	known := make(map[string]measurement, len(pods))
	oldest := g.config.Clock.Now().Add(-measureAge)
	best := int64(math.MinInt64)
	for _, pod := range pods {
		m := g.measured[pod.ID]
		if !m.at.IsZero() {
			known[pod.ID] = m
		}
		over := g.overLocked(pod, m)
		if over <= 0 && m.at.After(oldest) {
			continue
		}
		if over > best {
			found, ok, best = pod, true, over
		}
	}
	g.measured = known
	return found, ok
}

// overLocked is by how much a pod may be above its limits at most, if it alone has grown since it was
// measured. Files count as bytes.
func (g *Guard) overLocked(pod Pod, m measurement) int64 {
	grown := int64(g.grown.bytes - m.grown.bytes)
	over := m.usage.Files + int64(g.grown.files-m.grown.files) - pod.Files()
	if pod.Bytes > 0 {
		over = max(over, m.usage.Bytes+grown-pod.Bytes)
	}
	for name, limit := range pod.Volumes {
		over = max(over, m.usage.Volumes[name]+grown-limit)
	}
	return over
}
