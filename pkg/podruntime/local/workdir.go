package local

import (
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"syscall"

	"arl.io/arl/pkg/agent/tree"
	"arl.io/arl/pkg/podruntime/local/launch"
)

// ensureWorkDir sees that the container has the directory where steps run, and that their user may
// work in it. A missing one is made for that user. One that the image gives to another user is copied
// for a user who is not root: it could not be written, and git would refuse to work in it. Where the
// machine's own directory shows, which is to be read only, it is covered by an empty one.
func (f *podFiles) ensureWorkDir(dir string, as owned) error {
	l, rel, err := f.locate(dir)
	if err != nil {
		return err
	}
	if l.lower == "" {
		return f.ensure(dir, as)
	}
	info, err := os.Lstat(filepath.Join(l.lower, rel))
	switch {
	case err != nil || !info.IsDir():
		return f.ensure(dir, as) // which says what is wrong with anything but a directory
	case l.upper == "":
		fresh := filepath.Join(f.dir, "host-workdir")
		if err := f.mkdir(fresh, as.mode, as.uid, as.gid); err != nil {
			return err
		}
		f.mounts = append(f.mounts, launch.Mount{Source: fresh, Target: dir})
		return nil
	case f.isForeign(info, l, as):
		return f.takeOver(l, rel, as)
	}
	return f.ensure(dir, as)
}

// isForeign says that a directory of the image belongs to somebody else than the container's user, who
// is not root. A directory that all users share, such as /tmp, is nobody's.
func (f *podFiles) isForeign(info fs.FileInfo, l layer, as owned) bool {
	const shared = 0o002
	if !f.keepOwners || as.uid == f.ids.Base || info.Mode()&fs.ModeSticky != 0 && info.Mode().Perm()&shared != 0 {
		return false
	}
	stat, ok := info.Sys().(*syscall.Stat_t)
	return ok && int(stat.Uid)+l.shift != as.uid
}

// takeOver puts a copy of a directory of the image that belongs to the container's user on top of it.
// The root and directories with files that every container gets, such as /etc, stay as they are.
func (f *podFiles) takeOver(l layer, rel string, as owned) error {
	if rel == "." {
		return nil
	}
	if err := f.copyParents(l, path.Dir(rel), owned{}); err != nil {
		return err
	}
	target := filepath.Join(l.upper, rel)
	if _, err := os.Lstat(target); err == nil {
		return nil
	}
	if err := f.mkdir(target, as.mode, as.uid, as.gid); err != nil {
		return err
	}
	return tree.Copy(filepath.Join(l.lower, rel), target, func(name string) error {
		return f.chown(name, as.uid, as.gid)
	})
}
