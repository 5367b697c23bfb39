package local

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/klog/v2"

	"arl.io/arl/pkg/agent/client"
	"arl.io/arl/pkg/podruntime"
	"arl.io/arl/pkg/podruntime/local/filetree"
	"arl.io/arl/pkg/podruntime/local/image"
	"arl.io/arl/pkg/podruntime/local/launch"
	"arl.io/arl/pkg/podruntime/local/trash"
)

// Names below Config.Dir.
const (
	imagesName = "images"
	podsName   = "pods"
	trashName  = "trash"
)

// Runtime makes pods as containers on this machine.
type Runtime struct {
	config   Config
	nodeName string
	images   *image.Store
	trash    *trash.Bin
	machine  machine
	filters  filters
	// users are given to pods, each its own.
	users *userPool
	// podsDir is the open pods folder. Sockets are named through it, because
	// the kernel takes 107 bytes of a socket's path and a data directory may have more.
	podsDir *os.File
	// starts holds a token for every start under way.
	starts chan struct{}
	// decodes bounds what agents' large answers take of the memory.
	decodes *client.Decodes
	// wake tells Run's loop that there is something in events or jobs.
	wake chan struct{}

	mu sync.Mutex
	// state is where the runtime stands.
	state runState
	pods  map[podruntime.Key]*pod
	// events are not yet told, jobs not yet begun.
	events []podruntime.Event
	jobs   []func(context.Context)
	// views are not yet shown to the observer.
	views []View
}

type runState int

const (
	notRunning runState = iota
	running
	stopped
)

var _ podruntime.Runtime = (*Runtime)(nil)

// InitProcess must be called first in main, and in TestMain, of every binary
// that uses a Runtime. A container is begun by executing the binary again; in
// such a process InitProcess never returns.
func InitProcess() { launch.InitProcess() }

// New opens the state in config.Dir. It starts no pod and no goroutine; Run does.
func New(ctx context.Context, config Config) (*Runtime, error) {
	if err := config.complete(); err != nil {
		return nil, fmt.Errorf("local runtime: %w", err)
	}
	r := &Runtime{
		config:  config,
		users:   newUserPool(&config),
		starts:  make(chan struct{}, config.Parallelism),
		decodes: client.NewDecodes(client.DefaultDecodeBytes),
		wake:    make(chan struct{}, 1),
		pods:    map[podruntime.Key]*pod{},
	}
	if err := r.open(ctx); err != nil {
		return nil, fmt.Errorf("local runtime: %w", err)
	}
	return r, nil
}

func (r *Runtime) open(ctx context.Context) (err error) {
	for _, name := range []string{podsName, imagesName} {
		if err := os.MkdirAll(filepath.Join(r.config.Dir, name), 0o700); err != nil {
			return err
		}
	}
	if r.trash, err = trash.Open(TrashDir(r.config.Dir), r.config.Clock); err != nil {
		return err
	}
	if r.nodeName, err = os.Hostname(); err != nil {
		return fmt.Errorf("host name: %w", err)
	}
	// An architecture that the filter does not know is reported here rather than by the first pod.
	if _, err := r.filters.of(nil); err != nil {
		return err
	}
	if r.machine, err = examine(ctx, &r.config); err != nil {
		return err
	}
	r.images, err = image.Open(image.Config{
		Dir: filepath.Join(r.config.Dir, imagesName), KeepOwners: !r.machine.rootless,
		Keychain: r.config.Keychain, Transport: r.config.Transport, Mirrors: r.config.Mirrors,
		Clock: r.config.Clock, Trash: r.trash, ReserveBytes: r.reserveBytes(),
	})
	if err != nil {
		return err
	}
	if err := r.users.open(); err != nil {
		return err
	}
	if r.podsDir, err = os.Open(filepath.Join(r.config.Dir, podsName)); err != nil {
		return err
	}
	if r.config.AllowHostImage {
		klog.FromContext(ctx).Info("The image \"host\" is allowed: its pods can read what every user of this machine can read")
	}
	return nil
}

// Name returns "local".
func (r *Runtime) Name() string { return "local" }

// Run implements podruntime.Runtime. It also frees what New opened.
func (r *Runtime) Run(ctx context.Context, handler podruntime.Handler) error {
	if err := r.begin(); err != nil {
		return err
	}
	ctx = klog.NewContext(ctx, klog.FromContext(ctx).WithName("local"))
	var pods sync.WaitGroup
	defer r.end(ctx)
	defer pods.Wait()
	if !r.config.KeepTrash {
		pods.Go(func() { r.trash.Run(ctx) })
	}
	if err := r.adoptAll(ctx, &pods); err != nil {
		return err
	}
	pods.Go(func() { r.guardDisk(ctx) })
	// Only now is it known what is in use.
	pods.Go(func() { image.NewCollector(r.images, r.config.Images).Run(ctx) })
	synced := false
	for {
		events, jobs, views := r.take()
		for _, view := range views {
			r.config.Observer.Observe(view)
		}
		for _, event := range events {
			handler.PodChanged(event)
		}
		if !synced {
			handler.PodsSynced()
			synced = true
		}
		for _, job := range jobs {
			pods.Go(func() { job(ctx) })
		}
		select {
		case <-r.wake:
		case <-ctx.Done():
			return nil
		}
	}
}

func (r *Runtime) begin() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.state != notRunning {
		return errors.New("local runtime: Run was called before")
	}
	r.state = running
	return nil
}

// end runs after all pods' goroutines have ended.
func (r *Runtime) end(ctx context.Context) {
	r.mu.Lock()
	r.state = stopped
	idle := len(r.pods) == 0
	for _, p := range r.pods {
		p.disconnectLocked()
	}
	r.mu.Unlock()
	r.images.Close()
	err := r.podsDir.Close()
	if idle {
		err = errors.Join(err, r.machine.removeCgroupParent(r.config.CgroupParent))
	}
	if err != nil {
		klog.FromContext(ctx).Error(err, "Not all that the runtime held could be freed")
	}
}

// take returns what is to be told and begun.
func (r *Runtime) take() ([]podruntime.Event, []func(context.Context), []View) {
	r.mu.Lock()
	defer r.mu.Unlock()
	events, jobs, views := r.events, r.jobs, r.views
	r.events, r.jobs, r.views = nil, nil, nil
	return events, jobs, views
}

// signalLocked makes Run's loop look again.
func (r *Runtime) signalLocked() {
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

// Agent implements podruntime.Runtime.
func (r *Runtime) Agent(key podruntime.Key, uid types.UID) (*client.Client, error) {
	p, agent, err := r.readyPod(key, uid)
	if err != nil {
		return nil, err
	}
	p.kills.note(r.memoryKills(p), r.config.Clock.Now())
	return agent, nil
}

// readyPod returns a pod that is Ready, and the client of its agent.
func (r *Runtime) readyPod(key podruntime.Key, uid types.UID) (*pod, *client.Client, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	p, ok := r.pods[key]
	if !ok || (uid != "" && p.pod.UID != uid) || p.pod.Phase != podruntime.Ready || p.deleting {
		return nil, nil, fmt.Errorf("%w: %s is not ready here", podruntime.ErrNotFound, key)
	}
	return p, p.client, nil
}

// RemoveImages removes all images that no pod uses, and says how many there were
// and how much disk space they took. Run must have reported its pods.
func (r *Runtime) RemoveImages(ctx context.Context) (freed int64, count int, err error) {
	freed, count, err = r.images.RemoveUnused(ctx)
	if err != nil {
		return freed, count, fmt.Errorf("remove images: %w", err)
	}
	return freed, count, nil
}

// EmptyTrash removes what is left of deleted pods and images, and says how many of them there were and
// what they took. The error names what cannot be removed. It is for a Config with KeepTrash.
func (r *Runtime) EmptyTrash(ctx context.Context) (freed filetree.Usage, count int, err error) {
	return r.trash.Empty(ctx)
}

// Stuck returns what is left of deleted pods and images because it could not be removed.
func (r *Runtime) Stuck() []trash.Item { return r.trash.Stuck() }

// TrashDir is where a runtime whose directory is dir keeps what it is removing.
func TrashDir(dir string) string { return filepath.Join(dir, trashName) }

// ImagesDir is where a runtime whose directory is dir keeps images.
func ImagesDir(dir string) string { return filepath.Join(dir, imagesName) }
