package cluster

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	"arl.io/arl/hack/image/archive"
)

// ImportImage makes the images of an archive known to the node, under the names
// that the archive gives them. Pods use them with imagePullPolicy: Never or IfNotPresent.
// The archive must not be below a folder that Exec does not see.
func (c *Cluster) ImportImage(ctx context.Context, file string) error {
	if _, err := c.ctr(ctx, "images", "import", file); err != nil {
		return fmt.Errorf("import %s: %w", file, err)
	}
	return nil
}

// BuildImage builds an image under a name and makes it known to the node.
func (c *Cluster) BuildImage(ctx context.Context, name string, spec archive.Image) error {
	if spec.Architecture == "" {
		spec.Architecture = runtime.GOARCH
	}
	if spec.Created.IsZero() {
		spec.Created = time.Unix(0, 0)
	}
	image, err := archive.Build(spec)
	if err != nil {
		return fmt.Errorf("build %s: %w", name, err)
	}
	dir, err := os.MkdirTemp(c.run, "image-")
	if err != nil {
		return fmt.Errorf("build %s: %w", name, err)
	}
	file := filepath.Join(dir, "image.tar")
	if err := archive.WriteFile(file, image, []string{name}); err != nil {
		return errors.Join(fmt.Errorf("build %s: %w", name, err), os.RemoveAll(dir))
	}
	return errors.Join(c.ImportImage(ctx, file), os.RemoveAll(dir))
}

func (c *Cluster) importPause(ctx context.Context) error {
	return c.BuildImage(ctx, pauseImage, archive.Image{
		Files:      []archive.File{{Path: "/pause", Source: c.programs["pause"], Mode: 0o755}},
		Entrypoint: []string{"/pause"},
		User:       "65535:65535",
	})
}

// BusyboxImage is an image with busybox as its shell and its tools. Further files tell it from others.
func (c *Cluster) BusyboxImage(ctx context.Context, name string, files ...archive.File) error {
	return c.BusyboxImageAs(ctx, name, "", files...)
}

// BusyboxImageAs is BusyboxImage with a user, as USER in a Dockerfile names one.
func (c *Cluster) BusyboxImageAs(ctx context.Context, name, user string, files ...archive.File) error {
	busybox, err := c.busybox(ctx)
	if err != nil {
		return err
	}
	applets, err := output(ctx, "", busybox, "--list")
	if err != nil {
		return fmt.Errorf("list the tools of busybox: %w", err)
	}
	files = append(slices.Clone(files),
		archive.File{Path: "/bin/busybox", Source: busybox, Mode: 0o755},
		archive.File{Path: "/tmp", Mode: fs.ModeDir | fs.ModeSticky | 0o777})
	for _, applet := range strings.Fields(applets) {
		if applet != "busybox" {
			files = append(files, archive.File{Path: "/bin/" + applet, Link: "busybox", Mode: fs.ModeSymlink | 0o777})
		}
	}
	return c.BuildImage(ctx, name, archive.Image{Files: files, User: user, Env: []string{"PATH=/bin"}, Cmd: []string{"/bin/sh"}})
}

// busybox is the path of Debian's static busybox, which is downloaded once.
func (c *Cluster) busybox(ctx context.Context) (string, error) {
	dir := filepath.Join(c.config.Dir, "busybox")
	program := filepath.Join(dir, "bin", "busybox")
	if _, err := os.Stat(program); err == nil {
		return program, nil
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", fmt.Errorf("make the folder of busybox: %w", err)
	}
	download := func() error {
		_, err := output(ctx, dir, "apt-get", "-o", "APT::Sandbox::User=root", "download", "busybox-static")
		return err
	}
	if err := download(); err != nil {
		// A fresh machine has no list of packages yet.
		if _, updated := output(ctx, dir, "apt-get", "update"); updated != nil {
			return "", fmt.Errorf("download busybox: %w", errors.Join(err, updated))
		}
		if err := download(); err != nil {
			return "", fmt.Errorf("download busybox: %w", err)
		}
	}
	found, err := filepath.Glob(filepath.Join(dir, "busybox-static_*.deb"))
	if err != nil || len(found) == 0 {
		return "", fmt.Errorf("download busybox: apt-get left no package in %s", dir)
	}
	unpacked := filepath.Join(dir, "unpacked")
	if _, err := output(ctx, dir, "dpkg-deb", "-x", found[len(found)-1], unpacked); err != nil {
		return "", fmt.Errorf("unpack busybox: %w", err)
	}
	if err := os.MkdirAll(filepath.Dir(program), 0o755); err != nil {
		return "", fmt.Errorf("keep busybox: %w", err)
	}
	return program, os.Rename(filepath.Join(unpacked, "bin", "busybox"), program)
}
