package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
)

// copySelf copies this program to dest, so that whoever finds it there finds
// the whole of it. If dest is a directory, it becomes arl-agent in it.
func copySelf(dest string) (err error) {
	if info, statErr := os.Stat(dest); statErr == nil && info.IsDir() {
		dest = filepath.Join(dest, "arl-agent")
	}
	source, err := os.Open("/proc/self/exe")
	if err != nil {
		return fmt.Errorf("opening this program: %w", err)
	}
	defer source.Close()
	temporary, err := os.CreateTemp(filepath.Dir(dest), ".arl-agent-*")
	if err != nil {
		return fmt.Errorf("copying this program: %w", err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("copying this program to %s: %w", dest, err), os.Remove(temporary.Name()))
		}
	}()
	_, err = io.Copy(temporary, source)
	if err == nil {
		err = temporary.Chmod(0o755)
	}
	if err = errors.Join(err, temporary.Close()); err != nil {
		return err
	}
	return os.Rename(temporary.Name(), dest)
}
