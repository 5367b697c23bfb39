package local

import (
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"arl.io/arl/pkg/podruntime/local/launch"
)

// The image "host" is a root that the container owns, with the machine's own
// top-level directories in it, to be read only; /etc has an overlay, for the
// files that name the container. A pod changes what it likes of its own root,
// and nothing of the machine's.
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
	f.rootfs.Binds = append(f.rootfs.Binds, launch.Bind{Source: "/" + name, Target: name})
	return nil
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
