package app

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"
	"k8s.io/utils/clock"

	"arl.io/arl/cmd/apiserver/app/options"
	"arl.io/arl/cmd/apiserver/app/standalone"
	"arl.io/arl/pkg/podruntime"
	"arl.io/arl/pkg/podruntime/local"
	"arl.io/arl/pkg/podruntime/local/image"
)

// newPurgeCommand returns the command that removes what a stopped server left running.
func newPurgeCommand() *cobra.Command {
	o := options.New()
	keepImages := false
	cmd := &cobra.Command{
		Use:   "purge --data-dir DIR",
		Short: "Remove all containers and images of a standalone server that has stopped",
		Long: `Remove all containers and images of a standalone server that has stopped.

Containers outlive the server, so that a restart finds them and what runs in
them. purge ends them and frees what they hold, removes what is left of deleted
ones, and removes the images that were unpacked for them, unless --keep-images
is given. If something cannot be removed, purge names it and fails. Objects stay as they are; a
server that is started afterwards fails the sandboxes that were in use, refills
its pools, and pulls the images again.

The server must be stopped. A damaged database does not matter.`,
		Example: `  arl-apiserver purge --data-dir ./arl-data`,
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := o.Complete(); err != nil {
				return err
			}
			return purge(cmd.Context(), o, keepImages, cmd.OutOrStdout())
		},
	}
	cmd.Flags().StringVar(&o.DataDir, "data-dir", "", "The stopped server's data directory.")
	cmd.Flags().StringVar(&o.Runtime.AgentPath, "agent-path", "", "The arl-agent binary. Default: arl-agent beside this binary.")
	o.Runtime.AddPodUserIDs(cmd.Flags())
	cmd.Flags().BoolVar(&keepImages, "keep-images", false, "Keep the images, so that they need not be pulled again.")
	if err := cmd.MarkFlagRequired("data-dir"); err != nil {
		panic(err) // the flag is defined two lines above
	}
	return cmd
}

func purge(ctx context.Context, o *options.Options, keepImages bool, out io.Writer) (err error) {
	if _, err := os.Stat(o.DataDir); errors.Is(err, os.ErrNotExist) {
		fmt.Fprintf(out, "%s does not exist: nothing to remove\n", o.DataDir)
		return nil
	}
	unlock, err := lockStorage(ctx, clock.RealClock{}, o.DataDir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, unlock()) }()
	pods, err := local.New(ctx, local.Config{
		Dir: filepath.Join(o.DataDir, standalone.RuntimeDir), AgentPath: o.Runtime.AgentPath, UserIDs: o.Runtime.PodUserIDs,
		KeepTrash: true,
	})
	if err != nil {
		return fmt.Errorf("set up the container runtime: %w", err)
	}
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	p := &purger{
		found: map[podruntime.Key]podruntime.Pod{}, synced: make(chan struct{}), empty: make(chan struct{}),
		progress: make(chan struct{}, 1), clock: clock.RealClock{},
	}
	ended := make(chan struct{})
	var runErr error
	go func() {
		defer close(ended)
		runErr = pods.Run(ctx, p)
	}()

	removed, err := p.removeAll(ctx, pods, ended)
	fmt.Fprintf(out, "%d containers removed\n", removed)
	if err == nil && !keepImages {
		var freed int64
		var images int
		freed, images, err = pods.RemoveImages(ctx)
		fmt.Fprintf(out, "%d images removed, %s freed\n", images, image.FormatBytes(freed))
	}
	if freed, leftovers, trashErr := pods.EmptyTrash(ctx); leftovers > 0 || trashErr != nil {
		fmt.Fprintf(out, "%d leftovers of deleted containers and images removed, %s freed\n", leftovers, image.FormatBytes(freed.Bytes))
		err = errors.Join(err, trashErr)
	}
	stop()
	<-ended
	return errors.Join(err, runErr)
}

// purgePatience is how long purge waits for one more container to be gone. It is far above what the
// removal of a container's files takes.
const purgePatience = 5 * time.Minute

// purger keeps count of the pods there are.
type purger struct {
	synced chan struct{}
	empty  chan struct{}
	// progress has an entry after a container is gone.
	progress chan struct{}
	clock    clock.Clock

	mu       sync.Mutex
	isSynced bool
	found    map[podruntime.Key]podruntime.Pod
}

var _ podruntime.Handler = (*purger)(nil)

// PodChanged implements podruntime.Handler.
func (p *purger) PodChanged(event podruntime.Event) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if event.Deleted {
		delete(p.found, event.Pod.Key)
		select {
		case p.progress <- struct{}{}:
		default:
		}
		p.noticeEmptyLocked()
		return
	}
	p.found[event.Pod.Key] = event.Pod
}

// PodsSynced implements podruntime.Handler.
func (p *purger) PodsSynced() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.isSynced = true
	close(p.synced)
	p.noticeEmptyLocked()
}

func (p *purger) noticeEmptyLocked() {
	if p.isSynced && len(p.found) == 0 {
		select {
		case <-p.empty:
		default:
			close(p.empty)
		}
	}
}

// removeAll returns how many pods there were, once none is left.
func (p *purger) removeAll(ctx context.Context, pods podruntime.Runtime, ended <-chan struct{}) (int, error) {
	select {
	case <-p.synced:
	case <-ctx.Done():
		return 0, ctx.Err()
	case <-ended:
		return 0, errors.New("the container runtime stopped before it had found its containers")
	}
	p.mu.Lock()
	all := make([]podruntime.Pod, 0, len(p.found))
	for _, pod := range p.found {
		all = append(all, pod)
	}
	p.mu.Unlock()
	for _, pod := range all {
		if err := pods.Delete(ctx, pod.Key, pod.UID); err != nil && !errors.Is(err, podruntime.ErrNotFound) {
			return 0, fmt.Errorf("remove %s: %w", pod.Key, err)
		}
	}
	for {
		select {
		case <-p.empty:
			return len(all), nil
		case <-p.progress:
		case <-p.clock.After(purgePatience):
			left := p.left()
			return len(all) - len(left), fmt.Errorf("containers %s cannot be removed: see the errors above", strings.Join(left, ", "))
		case <-ctx.Done():
			return len(all) - len(p.left()), ctx.Err()
		case <-ended:
			return len(all) - len(p.left()), errors.New("the container runtime stopped before its containers were gone")
		}
	}
}

// left names the containers that are still there.
func (p *purger) left() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	names := make([]string, 0, len(p.found))
	for key, pod := range p.found {
		names = append(names, fmt.Sprintf("%s (%s)", key, pod.UID))
	}
	slices.Sort(names)
	return names
}
