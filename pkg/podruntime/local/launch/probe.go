package launch

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"

	"github.com/opencontainers/cgroups"
	"github.com/opencontainers/cgroups/manager"
	"golang.org/x/sys/unix"
)

// ProbeOverlay returns nil if an overlay can be mounted whose directories are in
// dir, in the way that Start does it. It leaves nothing in dir.
func ProbeOverlay(ctx context.Context, dir string, rootless bool) (err error) {
	scratch, err := os.MkdirTemp(dir, "probe-")
	if err != nil {
		return fmt.Errorf("probing overlays: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(scratch)) }()
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	cmd := exec.CommandContext(ctx, selfExe, scratch)
	cmd.Args[0] = probeName
	cmd.Env = []string{}
	cmd.WaitDelay = killGrace
	if rootless {
		cmd.Args = append(cmd.Args, "rootless")
	}
	stderr := &tail{limit: maxStderrBytes}
	cmd.Stderr = stderr
	cmd.SysProcAttr = ownNamespaces(rootless)
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("probing overlays: %w%s", err, stderr.suffix())
	}
	return nil
}

// probeMain is the process that ProbeOverlay starts.
func probeMain() (exitCode int) {
	if err := probe(os.Args[1], len(os.Args) > 2); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

func probe(dir string, rootless bool) error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("making mounts private: %w", err)
	}
	at := func(name string) string { return filepath.Join(dir, name) }
	for _, name := range []string{"lower", "upper", "work", "target"} {
		if err := os.Mkdir(at(name), 0o700); err != nil {
			return err
		}
	}
	o := Overlay{Lower: at("lower"), Upper: at("upper"), Work: at("work")}
	if err := mountOverlay(o, at("target"), rootless); err != nil {
		return err
	}
	// An overlay may be mounted and yet be read-only.
	if err := os.Mkdir(filepath.Join(at("target"), "made"), 0o700); err != nil {
		return err
	}
	if err := unix.Unmount(at("target"), 0); err != nil {
		return err
	}
	// What the kernel leaves in there is closed to an ordinary user.
	return filepath.WalkDir(at("work"), func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		return os.Chmod(path, 0o700)
	})
}

// MakeCgroup makes a cgroup, by its path from the root, in every hierarchy, with a limit of processes in
// it and below it. 0 sets none.
func MakeCgroup(name string, pids int64) error {
	m, err := manager.New(emptyCgroup(name))
	if err != nil {
		return fmt.Errorf("cgroups: %w", err)
	}
	// The number -1 stands for no process.
	if err := m.Apply(-1); err != nil {
		return fmt.Errorf("making cgroup %s: %w", name, err)
	}
	if pids > 0 {
		if err := m.Set(&cgroups.Resources{PidsLimit: &pids, SkipDevices: true}); err != nil {
			return fmt.Errorf("limit of processes in cgroup %s: %w", name, err)
		}
	}
	return nil
}

// RemoveCgroup removes what MakeCgroup made.
func RemoveCgroup(name string) error {
	m, err := manager.New(emptyCgroup(name))
	if err == nil {
		err = m.Destroy()
	}
	if err != nil {
		return fmt.Errorf("removing cgroup %s: %w", name, err)
	}
	return nil
}

func emptyCgroup(name string) *cgroups.Cgroup {
	return &cgroups.Cgroup{Name: name, Resources: &cgroups.Resources{}}
}

// ProbeStage returns nil if there is a place on which Start can put a root
// together.
func ProbeStage(used ...string) error {
	_, err := stageDir(used)
	return err
}
