package disk

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"

	"arl.io/arl/pkg/podruntime/local/filetree"
)

// maxOpen bounds the open files of a pod that are looked at.
const maxOpen = 200_000

// blockBytes is the unit in which the kernel counts blocks.
const blockBytes = 512

// openID identifies an open file.
type openID struct {
	major, minor uint32
	inode        uint64
}

// RemovedButOpen measures the files without a name that processes have open or mapped, on an overlay or
// on the file system of dir. Files in memory do not count. Processes that end meanwhile count as nothing.
func RemovedButOpen(dir string, pids []int) (filetree.Usage, error) {
	var st unix.Statx_t
	if err := unix.Statx(unix.AT_FDCWD, dir, 0, unix.STATX_INO, &st); err != nil {
		return filetree.Usage{}, fmt.Errorf("stat %s: %w", dir, err)
	}
	s := &openScan{major: st.Dev_major, minor: st.Dev_minor, seen: map[openID]bool{}}
	for _, pid := range pids {
		s.process(filepath.Join("/proc", strconv.Itoa(pid)))
	}
	return s.usage, nil
}

// openScan looks at the open files of a pod.
type openScan struct {
	major, minor uint32
	looked       int
	seen         map[openID]bool
	usage        filetree.Usage
}

// process looks at the descriptors of each thread, since threads may have tables of their own, and at
// what is mapped.
func (s *openScan) process(dir string) {
	threads, err := os.ReadDir(filepath.Join(dir, "task"))
	if err != nil {
		return // it has ended
	}
	for _, thread := range threads {
		s.links(filepath.Join(dir, "task", thread.Name(), "fd"))
	}
	s.links(filepath.Join(dir, "map_files"))
}

// links looks at the files that the links of a directory lead to, in batches: there may be very many.
func (s *openScan) links(dir string) {
	f, err := os.Open(dir)
	if err != nil {
		return
	}
	defer f.Close()
	const batch = 1000
	for {
		names, err := f.Readdirnames(batch)
		for _, name := range names {
			if s.looked++; s.looked > maxOpen {
				s.usage.Partial = true
				return
			}
			s.file(filepath.Join(dir, name))
		}
		if err != nil {
			return
		}
	}
}

func (s *openScan) file(path string) {
	var st unix.Statx_t
	const mask = unix.STATX_TYPE | unix.STATX_NLINK | unix.STATX_INO | unix.STATX_BLOCKS
	if err := unix.Statx(unix.AT_FDCWD, path, 0, mask, &st); err != nil || st.Nlink > 0 || st.Mode&unix.S_IFMT != unix.S_IFREG {
		return
	}
	id := openID{st.Dev_major, st.Dev_minor, st.Ino}
	if s.seen[id] || !s.onDisk(path, &st) {
		return
	}
	s.seen[id] = true
	s.usage.Files++
	s.usage.Bytes += int64(st.Blocks) * blockBytes
}

// onDisk says that a file takes disk space: it is on the file system itself, or on an overlay.
func (s *openScan) onDisk(path string, st *unix.Statx_t) bool {
	if st.Dev_major == s.major && st.Dev_minor == s.minor {
		return true
	}
	var fs unix.Statfs_t
	return unix.Statfs(path, &fs) == nil && fs.Type == unix.OVERLAYFS_SUPER_MAGIC
}
