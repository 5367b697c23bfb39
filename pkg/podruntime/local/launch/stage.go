package launch

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// stage is a small file system in memory, in the launcher's mount namespace
// alone, on which the container's root is put together. The root cannot be put
// together in the pod's directory: the container's root user, an ordinary user
// of the machine, has to reach it, and may not look into the server's data.
type stage struct {
	dir string
	// users is the container's user namespace, by which the owners of files are shifted.
	users *os.File
}

// stageDirs are directories that a machine has one of; what they hold is
// covered in the launcher's mount namespace.
var stageDirs = []string{
	"/mnt", "/media", "/srv", "/opt", "/var/empty", "/var/opt", "/usr/src", "/usr/games", "/home", "/var/tmp", "/tmp",
}

func newStage(spec *Spec, users *os.File) (*stage, error) {
	dir, err := stageDir(usedPaths(spec))
	if err != nil {
		return nil, err
	}
	if err := unix.Mount("tmpfs", dir, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, "mode=0755,size=1m"); err != nil {
		return nil, fmt.Errorf("mounting a stage on %s: %w", dir, err)
	}
	return &stage{dir: dir, users: users}, nil
}

// stageDir returns the first of stageDirs that exists and covers nothing in use.
func stageDir(used []string) (string, error) {
	for _, dir := range stageDirs {
		if reachable(dir) && !covers(dir, used) {
			return dir, nil
		}
	}
	return "", fmt.Errorf("none of %s can be mounted on for the container's root: make one of them, with mode 0755",
		strings.Join(stageDirs, ", "))
}

func (s *stage) path(name string) string { return filepath.Join(s.dir, name) }
func (s *stage) rootfs() string          { return s.path("rootfs") }

// empty is a directory without entries: an overlay without an upper directory needs two lower ones.
func (s *stage) empty() string { return s.path("empty") }

// assemble mounts the container's root.
func (s *stage) assemble(spec *Spec) error {
	if err := os.Mkdir(s.rootfs(), 0o755); err != nil {
		return err
	}
	if base := spec.Rootfs.Base; base != "" {
		if err := unix.Mount(base, s.rootfs(), "", unix.MS_BIND, ""); err != nil {
			return fmt.Errorf("binding %s: %w", base, err)
		}
	}
	if err := os.Mkdir(s.empty(), 0o755); err != nil {
		return err
	}
	for i, overlay := range spec.Rootfs.Overlays {
		if spec.Rootfs.IDMapped {
			lower, err := s.shift(overlay.Lower, i)
			if err != nil {
				return err
			}
			overlay.Lower = lower
		}
		if err := s.overlay(overlay, spec.Rootless); err != nil {
			return err
		}
	}
	return nil
}

// shift attaches a mount of dir with its owners shifted, and returns where.
func (s *stage) shift(dir string, index int) (string, error) {
	tree, err := cloneIDMapped(dir, s.users)
	if err != nil {
		return "", err
	}
	defer tree.Close()
	target := s.path(fmt.Sprintf("lower%d", index))
	if err := os.Mkdir(target, 0o755); err != nil {
		return "", err
	}
	if err := unix.MoveMount(int(tree.Fd()), "", unix.AT_FDCWD, target, unix.MOVE_MOUNT_F_EMPTY_PATH); err != nil {
		return "", &os.PathError{Op: "move_mount", Path: target, Err: err}
	}
	return target, nil
}

func (s *stage) overlay(o Overlay, rootless bool) error {
	target := filepath.Join(s.rootfs(), o.Target)
	err := s.mountOverlay(o, target, rootless)
	if err == nil || o.Optional {
		return nil
	}
	if !o.ReadOnlyFallback {
		return err
	}
	if bindErr := bindReadOnly(o.Lower, target); bindErr != nil {
		return errors.Join(err, bindErr)
	}
	return nil
}

func (s *stage) mountOverlay(o Overlay, target string, rootless bool) error {
	if o.Upper == "" {
		return mountReadOnlyOverlay(o.Lower, s.empty(), target, rootless)
	}
	return mountOverlay(o, target, rootless)
}

// mountOverlay names the directories by descriptors, so that no character of a
// path can be taken for an option.
func mountOverlay(o Overlay, target string, rootless bool) error {
	var names [3]string
	for i, dir := range []string{o.Lower, o.Upper, o.Work} {
		f, err := os.OpenFile(dir, unix.O_PATH|unix.O_DIRECTORY, 0)
		if err != nil {
			return fmt.Errorf("overlay: %w", err)
		}
		defer f.Close()
		names[i] = fmt.Sprintf("/proc/self/fd/%d", f.Fd())
	}
	options := fmt.Sprintf("lowerdir=%s,upperdir=%s,workdir=%s", names[0], names[1], names[2])
	if rootless {
		// Trusted attributes, the overlay's usual notes, are root's alone.
		options += ",userxattr"
	}
	// What a pod wrote is worthless without the pod, so it need not be synced;
	// a kernel before 5.10 does not know the option.
	err := unix.Mount("overlay", target, "overlay", unix.MS_NODEV, options+",volatile")
	if errors.Is(err, unix.EINVAL) {
		err = unix.Mount("overlay", target, "overlay", unix.MS_NODEV, options)
	}
	if err != nil {
		return fmt.Errorf("mounting an overlay of %s and %s: %w", o.Lower, o.Upper, err)
	}
	return nil
}

func bindReadOnly(source, target string) error {
	if err := unix.Mount(source, target, "", unix.MS_BIND|unix.MS_REC, ""); err != nil {
		return fmt.Errorf("binding %s: %w", source, err)
	}
	attr := &unix.MountAttr{Attr_set: unix.MOUNT_ATTR_RDONLY | unix.MOUNT_ATTR_NODEV | unix.MOUNT_ATTR_NOSUID}
	if err := unix.MountSetattr(unix.AT_FDCWD, target, unix.AT_RECURSIVE, attr); err != nil {
		return fmt.Errorf("binding %s read-only: %w", source, err)
	}
	return nil
}

// usedPaths are those of the machine that must stay reachable.
func usedPaths(spec *Spec) []string {
	used := []string{spec.StatePath, spec.Rootfs.Base}
	for _, overlay := range spec.Rootfs.Overlays {
		for _, dir := range []string{overlay.Lower, overlay.Upper, overlay.Work} {
			if dir != "" {
				used = append(used, dir)
			}
		}
	}
	for _, mount := range spec.Mounts {
		used = append(used, mount.Source)
	}
	if exe, err := os.Readlink(selfExe); err == nil {
		used = append(used, exe)
	}
	return used
}

func covers(dir string, used []string) bool {
	for _, path := range used {
		if path == dir || strings.HasPrefix(path, dir+"/") {
			return true
		}
	}
	return false
}

// reachable says that every user of the machine can pass through dir.
func reachable(dir string) bool {
	for path := dir; path != "/"; path = filepath.Dir(path) {
		info, err := os.Lstat(path)
		if err != nil || !info.IsDir() || info.Mode().Perm()&0o001 == 0 {
			return false
		}
	}
	return true
}
