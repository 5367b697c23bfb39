package cluster

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"golang.org/x/sys/unix"
	"k8s.io/apimachinery/pkg/util/wait"
)

const cgroupRoot = "/sys/fs/cgroup"

// cgroupName is where the pods of a folder's cluster are, the same each time.
func cgroupName(dir string) string {
	hash := fnv.New32a()
	_, _ = hash.Write([]byte(dir)) // it never fails
	return fmt.Sprintf("/arl-e2e-%08x", hash.Sum32())
}

// removeLeftovers removes the data and the cgroups of a cluster that has ended.
// The logs are renewed by the start only, so that they can be read.
func (c *Cluster) removeLeftovers(ctx context.Context) error {
	err := wait.PollUntilContextTimeout(ctx, pollInterval, dyingTimeout, true, func(context.Context) (bool, error) {
		// The last processes may still be going.
		return errors.Join(removeCgroups(c.cgroup), os.RemoveAll(c.run)) == nil, nil
	})
	if err != nil {
		return fmt.Errorf("remove what a cluster left: %w", errors.Join(err, removeCgroups(c.cgroup), os.RemoveAll(c.run)))
	}
	return nil
}

// makeFolders makes those of a new cluster, and forgets the former one's logs.
func (c *Cluster) makeFolders(context.Context) error {
	if err := os.RemoveAll(c.logs); err != nil {
		return fmt.Errorf("remove old logs: %w", err)
	}
	for _, dir := range []string{c.run, c.logs, filepath.Join(c.config.Dir, "bin")} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return fmt.Errorf("make folders: %w", err)
		}
	}
	return nil
}

// cgroupDirs are the folders of a cgroup in every hierarchy that there is.
func cgroupDirs(name string) ([]string, error) {
	entries, err := os.ReadDir(cgroupRoot)
	if err != nil {
		return nil, fmt.Errorf("list the cgroup hierarchies: %w", err)
	}
	var stat unix.Statfs_t
	if err := unix.Statfs(cgroupRoot, &stat); err != nil {
		return nil, fmt.Errorf("see which cgroups there are: %w", err)
	}
	if stat.Type == unix.CGROUP2_SUPER_MAGIC {
		return []string{filepath.Join(cgroupRoot, name)}, nil
	}
	var dirs []string
	for _, entry := range entries {
		if entry.IsDir() {
			dirs = append(dirs, filepath.Join(cgroupRoot, entry.Name(), name))
		}
	}
	return dirs, nil
}

// makeCgroups makes the cgroup below which the kubelet puts the pods.
func (c *Cluster) makeCgroups() error {
	dirs, err := cgroupDirs(c.cgroup)
	if err != nil {
		return err
	}
	for _, dir := range dirs {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return fmt.Errorf("make the cgroup of the pods: %w", err)
		}
	}
	return nil
}

// removeCgroups removes a cgroup and those below, which must be empty of processes.
func removeCgroups(name string) error {
	tops, err := cgroupDirs(name)
	if err != nil {
		return err
	}
	var dirs []string
	for _, top := range tops {
		err := filepath.WalkDir(top, func(path string, entry fs.DirEntry, err error) error {
			if errors.Is(err, fs.ErrNotExist) {
				return nil
			}
			if err == nil && entry.IsDir() {
				dirs = append(dirs, path)
			}
			return err
		})
		if err != nil {
			return fmt.Errorf("list %s: %w", top, err)
		}
	}
	slices.Reverse(dirs) // the deepest first
	for _, dir := range dirs {
		if err := unix.Rmdir(dir); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("remove the cgroup %s: %w", dir, err)
		}
	}
	return nil
}
