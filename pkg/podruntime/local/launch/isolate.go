package launch

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// isolate replaces what the container would share with others on the machine: shared files by ones of
// an overlay, and device nodes by new ones. A shared inode, even one that is only read, can be locked
// with flock and fcntl, can have a lease, and shows by inotify when others open it.
func (s *stage) isolate(spec *Spec) error {
	for i := range spec.Mounts {
		if m := &spec.Mounts[i]; m.Shared {
			source, err := s.ownFile(m.Source, i, spec.Rootless)
			if err != nil {
				return err
			}
			m.Source = source
		}
	}
	if spec.Rootless {
		// The kernel lets nobody make device nodes in a user namespace, so that these are shared.
		return nil
	}
	return s.ownDevices(spec.IDs)
}

// ownFile returns the path of an inode of the container's own with the content of file.
func (s *stage) ownFile(file string, index int, rootless bool) (string, error) {
	target := s.path(fmt.Sprintf("shared%d", index))
	if err := os.Mkdir(target, 0o755); err != nil {
		return "", err
	}
	if err := mountReadOnlyOverlay(filepath.Dir(file), s.empty(), target, rootless); err != nil {
		// Something is mounted in the directory, or it cannot be below an overlay. The container
		// shares the file then.
		return file, nil
	}
	own := filepath.Join(target, filepath.Base(file))
	ownInfo, ownErr := os.Stat(own)
	info, err := os.Stat(file)
	if err := errors.Join(err, ownErr); err != nil {
		return "", err
	}
	// Of a file that is itself a mount point, the overlay has the one below.
	if ownInfo.Size() != info.Size() || !ownInfo.ModTime().Equal(info.ModTime()) {
		return file, nil
	}
	return own, nil
}

// ownDevices makes the container's device nodes and mounts them over those of the machine, in the
// launcher's mount namespace, where libcontainer takes them from.
func (s *stage) ownDevices(ids IDRange) error {
	dir := s.path("devices")
	if err := os.Mkdir(dir, 0o755); err != nil {
		return err
	}
	if err := unix.Mount("tmpfs", dir, "tmpfs", unix.MS_NOSUID|unix.MS_NOEXEC, "mode=0755,size=64k"); err != nil {
		return fmt.Errorf("mounting a file system for devices: %w", err)
	}
	for _, node := range deviceNodes() {
		number, err := node.Mkdev()
		if err != nil {
			return fmt.Errorf("device %s: %w", node.Path, err)
		}
		own := filepath.Join(dir, strings.ReplaceAll(strings.TrimPrefix(node.Path, "/dev/"), "/", "-"))
		if err := unix.Mknod(own, unix.S_IFCHR, int(number)); err != nil {
			return &os.PathError{Op: "mknod", Path: node.Path, Err: err}
		}
		if err := os.Chmod(own, node.FileMode.Perm()); err != nil {
			return err
		}
		if err := os.Chown(own, ids.Base, ids.Base); err != nil {
			return err
		}
		if err := unix.Mount(own, node.Path, "", unix.MS_BIND, ""); err != nil {
			return fmt.Errorf("mounting the container's %s: %w", node.Path, err)
		}
	}
	return nil
}

// mountReadOnlyOverlay shows lower at target by inodes that no other mount has. What is mounted in
// lower is not shown.
func mountReadOnlyOverlay(lower, empty, target string, rootless bool) error {
	var names [2]string
	for i, dir := range []string{lower, empty} {
		f, err := os.OpenFile(dir, unix.O_PATH|unix.O_DIRECTORY, 0)
		if err != nil {
			return fmt.Errorf("overlay: %w", err)
		}
		defer f.Close()
		names[i] = fmt.Sprintf("/proc/self/fd/%d", f.Fd())
	}
	options := fmt.Sprintf("lowerdir=%s:%s", names[0], names[1])
	if rootless {
		options += ",userxattr"
	}
	if err := unix.Mount("overlay", target, "overlay", unix.MS_RDONLY|unix.MS_NODEV|unix.MS_NOSUID, options); err != nil {
		return fmt.Errorf("mounting a read-only overlay of %s: %w", lower, err)
	}
	return nil
}
