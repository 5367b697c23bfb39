package local

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"syscall"

	securejoin "github.com/cyphar/filepath-securejoin"

	"arl.io/arl/pkg/podruntime/local/launch"
)

// podFiles are the files of one pod, while they are made. Files of the
// container are put into upper directories before these are mounted, when
// nothing of the pod runs yet that could play with links.
type podFiles struct {
	// dir is the pod's folder.
	dir string
	ids launch.IDRange
	// keepOwners: files get the owners they should have; only root can.
	keepOwners bool

	layers []layer
	rootfs launch.Rootfs
	mounts []launch.Mount
	hidden []string
}

// layer is a part of the container's root: an upper directory and the lower
// one it lies on.
type layer struct {
	// target is where it is mounted, relative to the root.
	target string
	// lower is empty if there is nothing below; upper, if nothing can be written.
	lower, upper string
	// shift is added to the owners of lower by the mount.
	shift int
}

// furnish makes what every container has: names, a place for temporary files,
// the directory where steps run.
func (f *podFiles) furnish(plan *plan, as account) error {
	root := f.ids.Base
	for name, text := range map[string]string{
		"hosts":    hostsFile(plan),
		"hostname": plan.hostname + "\n",
		// There is no network, so no name to ask for.
		"resolv.conf": "",
	} {
		if err := f.write(path.Join("/etc", name), text); err != nil {
			return err
		}
	}
	for _, dir := range []string{"/tmp", "/var/tmp"} {
		if err := f.ensure(dir, owned{0o777 | fs.ModeSticky, root, root}); err != nil {
			return err
		}
	}
	if err := f.ensure(homeTarget, owned{0o700, root + as.uid, root + as.gid}); err != nil {
		return err
	}
	return f.ensureWorkDir(plan.workDir, owned{0o755, root + as.uid, root + as.gid})
}

func hostsFile(plan *plan) string {
	var text strings.Builder
	text.WriteString("127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n")
	fmt.Fprintf(&text, "127.0.0.1\t%s\n", plan.hostname)
	for _, alias := range plan.hostAliases {
		fmt.Fprintf(&text, "%s\t%s\n", alias.IP, strings.Join(alias.Hostnames, "\t"))
	}
	return text.String()
}

// owned is how a new directory is made, in the machine's own user numbers.
type owned struct {
	mode     fs.FileMode
	uid, gid int
}

// write puts a file into the container in place of what is there.
func (f *podFiles) write(name, text string) error {
	if err := f.ensure(path.Dir(name), owned{0o755, f.ids.Base, f.ids.Base}); err != nil {
		return err
	}
	l, rel, err := f.locate(path.Dir(name))
	if err != nil {
		return err
	}
	if err := f.copyParents(l, rel, owned{}); err != nil {
		return err
	}
	file := filepath.Join(l.upper, rel, path.Base(name))
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		return err
	}
	return f.chown(file, f.ids.Base, f.ids.Base)
}

// ensure sees that the container has a directory.
func (f *podFiles) ensure(dir string, as owned) error {
	l, rel, err := f.locate(dir)
	if err != nil {
		return err
	}
	if l.lower != "" {
		info, err := os.Lstat(filepath.Join(l.lower, rel))
		switch {
		case err == nil && info.IsDir():
			return nil
		case err == nil:
			return fmt.Errorf("%s is in the image and is no directory", dir)
		case !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, syscall.ENOTDIR):
			return err
		}
	}
	return f.copyParents(l, rel, as)
}

// locate returns the layer in which a path of the container lies, and the path
// in it, with the symbolic links of the lower directory followed.
func (f *podFiles) locate(name string) (layer, string, error) {
	clean := strings.TrimPrefix(path.Clean("/"+name), "/")
	best := f.layers[0]
	for _, l := range f.layers[1:] {
		if clean == l.target || strings.HasPrefix(clean, l.target+"/") {
			best = l
		}
	}
	rel := clean
	if best.target != "." {
		rel = strings.TrimPrefix(strings.TrimPrefix(clean, best.target), "/")
	}
	if best.lower != "" {
		resolved, err := securejoin.SecureJoin(best.lower, rel)
		if err != nil {
			return layer{}, "", err
		}
		if rel, err = filepath.Rel(best.lower, resolved); err != nil {
			return layer{}, "", err
		}
	}
	if rel == "" {
		rel = "."
	}
	return best, rel, nil
}

// copyParents makes rel and all above it in the upper directory: like those
// below if there are, else as given for rel and ordinary for its parents.
func (f *podFiles) copyParents(l layer, rel string, as owned) error {
	if rel == "." {
		return nil
	}
	if l.upper == "" {
		return fmt.Errorf("/%s cannot be made: /%s is the machine's own and read-only", path.Join(l.target, rel), l.target)
	}
	if err := f.copyParents(l, path.Dir(rel), owned{0o755, f.ids.Base, f.ids.Base}); err != nil {
		return err
	}
	target := filepath.Join(l.upper, rel)
	if info, err := os.Lstat(target); err == nil {
		if !info.IsDir() {
			return fmt.Errorf("%s is no directory", rel)
		}
		return nil
	}
	if l.lower != "" {
		err := f.copyDir(l, rel, rel)
		if !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return f.mkdir(target, as.mode, as.uid, as.gid)
}

// copyDir makes a directory of the upper side with the attributes of one of the lower.
func (f *podFiles) copyDir(l layer, from, to string) error {
	info, err := os.Lstat(filepath.Join(l.lower, from))
	if err != nil {
		return err
	}
	if !info.IsDir() {
		return fmt.Errorf("%s is in the image and is no directory", from)
	}
	uid, gid := 0, 0
	if stat, ok := info.Sys().(*syscall.Stat_t); ok {
		uid, gid = int(stat.Uid)+l.shift, int(stat.Gid)+l.shift
	}
	return f.mkdir(filepath.Join(l.upper, to), info.Mode()&(fs.ModePerm|fs.ModeSetgid|fs.ModeSticky), uid, gid)
}

// mkdir makes a directory; the machine's umask has no say.
func (f *podFiles) mkdir(dir string, mode fs.FileMode, uid, gid int) error {
	if err := os.Mkdir(dir, 0o700); err != nil {
		return err
	}
	if err := f.chown(dir, uid, gid); err != nil {
		return err
	}
	return os.Chmod(dir, mode)
}

func (f *podFiles) chown(name string, uid, gid int) error {
	if !f.keepOwners {
		return nil
	}
	return os.Lchown(name, uid, gid)
}
