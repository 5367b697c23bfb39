package launch

import (
	"fmt"
	"os"
	"os/exec"
	"syscall"

	"golang.org/x/sys/unix"
)

// NewUserNS returns a user namespace with the given mapping. It serves to shift
// the owners of files, and lives until the file is closed.
func NewUserNS(ids IDRange) (ns *os.File, err error) {
	cmd := exec.Command(selfExe)
	cmd.Args = []string{holderName}
	cmd.Env = []string{}
	// The holder ends when its input does: at the end of this call, or of this process.
	release, err := cmd.StdinPipe()
	if err != nil {
		return nil, fmt.Errorf("making a user namespace: %w", err)
	}
	mapping := []syscall.SysProcIDMap{{ContainerID: 0, HostID: ids.Base, Size: ids.Size}}
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: unix.CLONE_NEWUSER, UidMappings: mapping, GidMappings: mapping,
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("making a user namespace: %w", err)
	}
	defer func() {
		release.Close()
		if waitErr := cmd.Wait(); err == nil && waitErr != nil {
			ns.Close()
			ns, err = nil, fmt.Errorf("making a user namespace: %w", waitErr)
		}
	}()
	ns, err = os.Open(fmt.Sprintf("/proc/%d/ns/user", cmd.Process.Pid))
	if err != nil {
		return nil, fmt.Errorf("making a user namespace: %w", err)
	}
	return ns, nil
}

// CheckIDMap returns nil if the owners of the files under dir can be shifted by
// a mount, which depends on the kernel and on the file system.
func CheckIDMap(dir string, ns *os.File) error {
	tree, err := cloneIDMapped(dir, ns)
	if err != nil {
		return err
	}
	return tree.Close()
}

// cloneIDMapped returns a mount of dir alone, not attached anywhere, that shows
// its owners shifted by the mapping of ns.
func cloneIDMapped(dir string, ns *os.File) (*os.File, error) {
	fd, err := unix.OpenTree(unix.AT_FDCWD, dir, unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC)
	if err != nil {
		return nil, &os.PathError{Op: "open_tree", Path: dir, Err: err}
	}
	tree := os.NewFile(uintptr(fd), dir)
	attr := &unix.MountAttr{Attr_set: unix.MOUNT_ATTR_IDMAP, Userns_fd: uint64(ns.Fd())}
	if err := unix.MountSetattr(fd, "", unix.AT_EMPTY_PATH, attr); err != nil {
		tree.Close()
		return nil, &os.PathError{Op: "mount_setattr(idmap)", Path: dir, Err: err}
	}
	return tree, nil
}
