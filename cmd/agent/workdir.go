package main

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"arl.io/arl/pkg/agent/tree"
	"arl.io/arl/pkg/agent/wire"
)

// workdir makes the directories of a volume that stand in for the work directory and for HOME of the
// same image in another container of the pod. They belong to the user of this process, which is the
// image's or the template's: only the node knows who that is. What the image has in its work directory
// is copied.
//
// The report says whether the image could have done without. Both containers see the same image, so
// what this one cannot make in its own root, the other could not either.
func workdir(args []string, stderr io.Writer) error {
	flags := flag.NewFlagSet("arl-agent workdir", flag.ContinueOnError)
	flags.SetOutput(stderr)
	report := flags.String("report", "/dev/termination-log", "`file` to write to who this user is and whether the volume is needed")
	keepHome := flags.Bool("keep-home", false, "HOME is the template's and stays as it is")
	if err := flags.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return err
		}
		return errUsage
	}
	if flags.NArg() != 2 || !filepath.IsAbs(flags.Arg(0)) {
		fmt.Fprint(stderr, usage)
		return errUsage
	}
	dir, volume := flags.Arg(0), flags.Arg(1)
	if err := furnish(dir, volume); err != nil {
		return fmt.Errorf("preparing work directory %s as user %d: %w", dir, os.Geteuid(), err)
	}
	found := wire.WorkDirReport{UID: os.Geteuid(), GID: os.Getegid()}
	found.OwnWorkDir = ownsDir(dir) && (*keepHome || slices.ContainsFunc(ownHomes(), usableHome))
	encoded, err := json.Marshal(found)
	if err == nil {
		err = os.WriteFile(*report, encoded, 0o644)
	}
	if err != nil {
		return fmt.Errorf("reporting the work directory: %w", err)
	}
	return nil
}

// furnish makes the directories in volume.
func furnish(dir, volume string) error {
	work, home := filepath.Join(volume, wire.WorkSubPath), filepath.Join(volume, wire.HomeSubPath)
	// An init container may be run again.
	if err := errors.Join(os.RemoveAll(work), os.RemoveAll(home)); err != nil {
		return err
	}
	if err := errors.Join(makeDir(work, 0o755), makeDir(home, 0o700)); err != nil {
		return err
	}
	existing, err := filepath.EvalSymlinks(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, fs.ErrPermission):
		return nil
	case err != nil:
		return err
	}
	return tree.Copy(existing, work, nil)
}

// makeDir makes a directory whatever the umask is.
func makeDir(dir string, mode fs.FileMode) error {
	if err := os.Mkdir(dir, mode); err != nil {
		return err
	}
	return os.Chmod(dir, mode)
}

// ownsDir says that dir is there, or could be made, and that this process's user can work in it: it
// owns the directory and may write. Root need not own it.
func ownsDir(dir string) bool {
	if err := os.MkdirAll(dir, 0o755); err != nil || !writable(dir) {
		return false
	}
	owner, err := ownerOf(dir)
	return err == nil && (os.Geteuid() == 0 || owner == os.Geteuid())
}
