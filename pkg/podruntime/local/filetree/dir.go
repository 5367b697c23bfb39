package filetree

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// bufferBytes holds some hundred entries.
const bufferBytes = 32 << 10

// ErrMountPoint is the error of a directory on which something is mounted.
var ErrMountPoint = errors.New("something is mounted there; unmount it")

// entry is one name in a directory.
type entry struct {
	name string
	// isDir says that it is a directory, as far as the directory's listing knows.
	isDir bool
	// before and after are the positions of the listing before and after the entry.
	before, after int64
}

// dir is an open directory and where its listing stands.
type dir struct {
	fd    int
	inode uint64
	mount uint64
	// position is that after the last entry that was returned.
	position int64
	// data is the part of the walk's buffer that is not parsed yet.
	data []byte
}

const openFlags = unix.O_RDONLY | unix.O_DIRECTORY | unix.O_NOFOLLOW | unix.O_CLOEXEC | unix.O_NONBLOCK

// statxMask is what stat asks for.
const statxMask = unix.STATX_TYPE | unix.STATX_MODE | unix.STATX_INO | unix.STATX_NLINK | unix.STATX_BLOCKS | unix.STATX_MNT_ID

// stat describes name in the directory fd, or fd itself if name is empty. It does not follow links.
func stat(fd int, name string) (unix.Statx_t, error) {
	flags := unix.AT_SYMLINK_NOFOLLOW | unix.AT_NO_AUTOMOUNT
	if name == "" {
		flags |= unix.AT_EMPTY_PATH
	}
	var st unix.Statx_t
	err := retry(func() error { return unix.Statx(fd, name, flags, statxMask, &st) })
	return st, err
}

// openDir opens the directory name of parent. With force, it makes the directory accessible to this
// user if its mode is in the way.
func openDir(parent int, name string, force bool) (*dir, error) {
	fd, err := openat(parent, name, openFlags)
	if errors.Is(err, unix.EACCES) && force {
		if err := chmod(parent, name); err != nil {
			return nil, err
		}
		fd, err = openat(parent, name, openFlags)
	}
	if err != nil {
		return nil, err
	}
	st, err := stat(fd, "")
	if err != nil {
		unix.Close(fd)
		return nil, err
	}
	d := &dir{fd: fd, inode: st.Ino, mount: mountOf(&st)}
	if force {
		d.unlock(&st)
	}
	return d, nil
}

// mountOf identifies the mount of a file. The device must do where the kernel does not say.
func mountOf(st *unix.Statx_t) uint64 {
	if st.Mask&unix.STATX_MNT_ID != 0 {
		return st.Mnt_id
	}
	return unix.Mkdev(st.Dev_major, st.Dev_minor)
}

// unlock lets entries of a directory be removed. What fails here shows in the removal.
func (d *dir) unlock(st *unix.Statx_t) {
	if st.Mode&0o700 != 0o700 {
		_ = unix.Fchmod(d.fd, 0o700)
	}
	if st.Attributes&(unix.STATX_ATTR_IMMUTABLE|unix.STATX_ATTR_APPEND) != 0 {
		_ = clearFlags(d.fd)
	}
}

// chmod makes a directory accessible, and never the target of a link.
func chmod(parent int, name string) error {
	fd, err := openat(parent, name, unix.O_PATH|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	return unix.Chmod(fmt.Sprintf("/proc/self/fd/%d", fd), 0o700)
}

// Flags of FS_IOC_GETFLAGS that keep a file from being removed, and its directory's entries.
const (
	immutableFlag  = 0x10
	appendOnlyFlag = 0x20
)

// clearFlags removes the flags immutable and append-only of an open file.
func clearFlags(fd int) error {
	flags, err := unix.IoctlGetUint32(fd, unix.FS_IOC_GETFLAGS)
	if err != nil {
		return err
	}
	return unix.IoctlSetPointerInt(fd, unix.FS_IOC_SETFLAGS, int(flags&^(immutableFlag|appendOnlyFlag)))
}

// next returns the next entry; ok is false at the end. buffer is used until the next call of seek.
func (d *dir) next(buffer []byte) (e entry, ok bool, err error) {
	for {
		if len(d.data) == 0 {
			var n int
			err := retry(func() (err error) { n, err = unix.Getdents(d.fd, buffer); return err })
			if errors.Is(err, unix.ENOENT) {
				return entry{}, false, nil // the directory itself was removed
			}
			if err != nil || n == 0 {
				return entry{}, false, err
			}
			d.data = buffer[:n]
		}
		// The kernel's struct linux_dirent64: inode, position after it, length, type, name.
		const header = 19
		length := int(binary.NativeEndian.Uint16(d.data[16:]))
		record := d.data[:length]
		d.data = d.data[length:]
		name, _, _ := bytes.Cut(record[header:], []byte{0})
		e := entry{
			name: string(name), isDir: record[18] == unix.DT_DIR,
			before: d.position, after: int64(binary.NativeEndian.Uint64(record[8:])),
		}
		d.position = e.after
		if e.name != "." && e.name != ".." {
			return e, true, nil
		}
	}
}

// seek continues the listing at a position.
func (d *dir) seek(position int64) error {
	d.data, d.position = nil, position
	_, err := unix.Seek(d.fd, position, unix.SEEK_SET)
	return err
}

func openat(fd int, name string, flags int) (opened int, err error) {
	err = retry(func() (err error) { opened, err = unix.Openat(fd, name, flags, 0); return err })
	return opened, err
}

// retry repeats a call that a signal interrupts.
func retry(call func() error) error {
	for {
		if err := call(); !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}
