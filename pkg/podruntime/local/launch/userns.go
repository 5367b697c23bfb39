package launch

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"runtime"

	"golang.org/x/sys/unix"
)

// userNS says what a user namespace is like.
type userNS struct {
	// ids maps its users and groups.
	ids IDRange
	// owner is the user of the machine that the kernel charges for all that is used in the namespace;
	// 0 stands for the caller's user.
	owner int
	// settings are written in it, see nsSettings.
	settings []setting
}

// NewUserNS returns a user namespace with the given mapping. It serves to find out whether the machine
// allows one and whether it can shift the owners of files, and lives until the file is closed.
func NewUserNS(ids IDRange) (*os.File, error) { return userNS{ids: ids}.make() }

// make makes the namespace. A namespace lives as long as a process or a descriptor refers to it; the
// first process ends before make returns.
func (u userNS) make() (ns *os.File, err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("making a user namespace: %w", err)
		}
	}()
	control, peer, err := socketPair("userns")
	if err != nil {
		return nil, err
	}
	defer control.Close()
	pid, err := u.begin(int(peer.Fd()), int(control.Fd()))
	peer.Close()
	if err != nil {
		return nil, err
	}
	defer func() {
		control.Close()
		var status unix.WaitStatus
		for _, err := unix.Wait4(pid, &status, 0, nil); errors.Is(err, unix.EINTR); {
			_, err = unix.Wait4(pid, &status, 0, nil)
		}
	}()
	var errno int32
	if err := binary.Read(control, binary.NativeEndian, &errno); err != nil {
		return nil, fmt.Errorf("its first process ended: %w", err)
	}
	if errno != 0 {
		return nil, fmt.Errorf("setting its limits: %w", unix.Errno(errno))
	}
	if err := u.writeMaps(pid); err != nil {
		return nil, err
	}
	return os.Open(fmt.Sprintf("/proc/%d/ns/user", pid))
}

// begin starts the first process of the namespace. The kernel takes the calling thread's effective user
// for the namespace's owner, so that thread, and no other, is the owner for this one call. It keeps its
// capabilities meanwhile: some machines deny user namespaces to those who have none.
func (u userNS) begin(peer, control int) (pid int, err error) {
	settings := encodeSettings(u.settings)
	if u.owner == 0 {
		return cloneUserNS(peer, control, settings)
	}
	runtime.LockOSThread()
	const keep = ^uintptr(0)
	owner := uintptr(u.owner)
	if _, _, errno := unix.RawSyscall(unix.SYS_SETRESUID, owner, owner, keep); errno != 0 {
		runtime.UnlockOSThread()
		return 0, os.NewSyscallError("setresuid", errno)
	}
	if err = raiseCapabilities(); err == nil {
		pid, err = cloneUserNS(peer, control, settings)
	}
	if _, _, errno := unix.RawSyscall(unix.SYS_SETRESUID, 0, 0, 0); errno != 0 {
		// The thread stays locked, so it ends with its goroutine and serves nobody else as that user.
		return pid, errors.Join(err, os.NewSyscallError("setresuid", errno))
	}
	runtime.UnlockOSThread()
	return pid, err
}

// raiseCapabilities makes all permitted capabilities of this thread effective again.
func raiseCapabilities() error {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capget(&header, &data[0]); err != nil {
		return os.NewSyscallError("capget", err)
	}
	for i := range data {
		data[i].Effective = data[i].Permitted
	}
	if err := unix.Capset(&header, &data[0]); err != nil {
		return os.NewSyscallError("capset", err)
	}
	return nil
}

func (u userNS) writeMaps(pid int) error {
	type file struct{ name, text string }
	mapping := fmt.Sprintf("0 %d %d\n", u.ids.Base, u.ids.Size)
	files := []file{{"uid_map", mapping}, {"gid_map", mapping}}
	if os.Geteuid() != 0 {
		// An ordinary user may map a group only where groups cannot be dropped.
		files = []file{{"setgroups", "deny"}, {"uid_map", mapping}, {"gid_map", mapping}}
	}
	for _, f := range files {
		if err := os.WriteFile(fmt.Sprintf("/proc/%d/%s", pid, f.name), []byte(f.text), 0); err != nil {
			return err
		}
	}
	return nil
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
