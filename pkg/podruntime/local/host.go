package local

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/moby/sys/mountinfo"

	"arl.io/arl/pkg/podruntime/local/launch"
)

// The image "host" is a root that the container owns, with the machine's own
// top-level directories in it, to be read only. Each of them is a read-only
// overlay rather than a bind: with a bind the container has the machine's
// inodes, and can lock the machine's files, hold leases on them and watch their
// use. /etc has an overlay that can be written, for the files that name the
// container. A pod changes what it likes of its own root, and nothing of the
// machine's.
//
// The owners of the machine's files are not shifted: to the container they
// belong to nobody it knows. So it reads what every user of the machine may
// read, and neither password hashes nor private keys. Homes, temporary files,
// /run and the runtime's own directory are not shown at all. A rootless server
// is an ordinary user itself, so its pods can read what that user can, its home
// apart.

// Top-level directories that are not the machine's in a container.
var (
	// hostFresh are empty ones of the container.
	hostFresh = map[string]fs.FileMode{
		"tmp": 0o777 | fs.ModeSticky, "root": 0o700, "home": 0o755, "run": 0o755, "mnt": 0o755, "media": 0o755, "srv": 0o755,
	}
	// hostOmitted are made by the container's start, or of no use.
	hostOmitted = []string{"proc", "sys", "dev", "boot", "lost+found"}
)

// addHost makes the root from the machine's directories.
func (f *podFiles) addHost(runtimeDir string) error {
	base := filepath.Join(f.dir, upperName)
	if err := f.mkdir(base, 0o755, f.ids.Base, f.ids.Base); err != nil {
		return err
	}
	f.rootfs.Base = base
	f.layers = []layer{{target: ".", upper: base}}
	for name, mode := range hostFresh {
		if err := f.mkdir(filepath.Join(base, name), mode, f.ids.Base, f.ids.Base); err != nil {
			return err
		}
	}
	entries, err := os.ReadDir("/")
	if err != nil {
		return err
	}
	for _, entry := range entries {
		if _, fresh := hostFresh[entry.Name()]; fresh || slices.Contains(hostOmitted, entry.Name()) {
			continue
		}
		if err := f.addHostEntry(base, entry); err != nil {
			return err
		}
	}
	f.hide(runtimeDir)
	if home, err := os.UserHomeDir(); err == nil {
		f.hide(home)
	}
	return f.freshVarTmp()
}

func (f *podFiles) addHostEntry(base string, entry fs.DirEntry) error {
	name := entry.Name()
	switch {
	case entry.Type()&fs.ModeSymlink != 0:
		link, err := os.Readlink("/" + name)
		if err != nil {
			return err
		}
		return os.Symlink(link, filepath.Join(base, name))
	case entry.IsDir():
		return f.addHostDir(base, name)
	}
	return nil
}

// addHostDir shows one directory of the machine.
func (f *podFiles) addHostDir(base, name string) error {
	if err := f.mkdir(filepath.Join(base, name), 0o755, f.ids.Base, f.ids.Base); err != nil {
		return err
	}
	if name == "etc" {
		return f.addHostEtc()
	}
	f.layers = append(f.layers, layer{target: name, lower: "/" + name})
	f.rootfs.Overlays = append(f.rootfs.Overlays, launch.Overlay{Target: name, Lower: "/" + name, ReadOnlyFallback: true})
	return f.addHostMounts(name)
}

// maxHostMounts bounds how many of the machine's mounts a container is shown: each costs time at its
// start.
const maxHostMounts = 64

// addHostMounts shows what is mounted below a directory of the machine, as far as every user can get
// there: an overlay does not contain it. Without root, the kernel puts no overlay on a directory with
// mounts in it, and the fallback shows them.
func (f *podFiles) addHostMounts(name string) error {
	if !f.keepOwners {
		return nil
	}
	mounts, err := mountinfo.GetMounts(mountinfo.PrefixFilter("/" + name))
	if err != nil {
		return fmt.Errorf("reading the machine's mounts: %w", err)
	}
	shown := 0
	for _, mount := range mounts {
		rel := strings.TrimPrefix(mount.Mountpoint, "/")
		if rel == name || shown == maxHostMounts || slices.Contains(f.overlayTargets(), rel) || !openDir(mount.Mountpoint) {
			continue
		}
		shown++
		f.rootfs.Overlays = append(f.rootfs.Overlays, launch.Overlay{Target: rel, Lower: mount.Mountpoint, Optional: true})
	}
	return nil
}

func (f *podFiles) overlayTargets() []string {
	targets := make([]string, 0, len(f.rootfs.Overlays))
	for _, o := range f.rootfs.Overlays {
		targets = append(targets, o.Target)
	}
	return targets
}

// openDir says that every user can list dir and pass through all directories above it.
func openDir(dir string) bool {
	for p, want := dir, fs.FileMode(0o005); p != "/"; p, want = filepath.Dir(p), 0o001 {
		info, err := os.Lstat(p)
		if err != nil || !info.IsDir() || info.Mode().Perm()&want != want {
			return false
		}
	}
	return true
}

func (f *podFiles) addHostEtc() error {
	const name = "etc"
	l := layer{target: name, lower: "/" + name, upper: filepath.Join(f.dir, "host-"+name)}
	work := filepath.Join(f.dir, "host-"+name+"-work")
	if err := f.copyDir(l, ".", "."); err != nil {
		return err
	}
	if err := f.mkdir(work, 0o700, 0, 0); err != nil {
		return err
	}
	f.layers = append(f.layers, l)
	f.rootfs.Overlays = append(f.rootfs.Overlays, launch.Overlay{
		Target: name, Lower: l.lower, Upper: l.upper, Work: work, ReadOnlyFallback: true,
	})
	return nil
}

// hide covers a directory of the machine, if it would be seen.
func (f *podFiles) hide(dir string) {
	for _, l := range f.layers[1:] {
		if strings.HasPrefix(dir+"/", "/"+l.target+"/") {
			f.hidden = append(f.hidden, dir)
		}
	}
}

// freshVarTmp gives the container a /var/tmp of its own, in a place where the
// machine's users leave files too.
func (f *podFiles) freshVarTmp() error {
	if !slices.ContainsFunc(f.layers[1:], func(l layer) bool { return l.target == "var" }) {
		return nil
	}
	dir := filepath.Join(f.dir, "host-var-tmp")
	if err := f.mkdir(dir, 0o777|fs.ModeSticky, f.ids.Base, f.ids.Base); err != nil {
		return err
	}
	f.mounts = append(f.mounts, launch.Mount{Source: dir, Target: "/var/tmp"})
	return nil
}
