package local

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"k8s.io/utils/clock"

	"arl.io/arl/pkg/podruntime/local/disk"
	"arl.io/arl/pkg/podruntime/local/idrange"
	"arl.io/arl/pkg/podruntime/local/image"
)

// Defaults of a Config.
const (
	// DefaultStartTimeout is far above what a start takes, and short enough
	// that a broken image does not hold a place of the parallel starts for long.
	DefaultStartTimeout = 30 * time.Second
	// DefaultPids stops a fork bomb and is above what builds and tests use.
	DefaultPids = 4096
)

// launcherName is the launcher's file.
const launcherName = "arl-launcher"

// Config says how to run pods. Dir and AgentPath are needed.
type Config struct {
	// Dir holds all state: images and pods. It belongs to this runtime; the
	// caller sees that no other process uses it.
	Dir string
	// AgentPath is the statically linked arl-agent, readable and executable by everyone.
	AgentPath string
	// LauncherPath is the arl-launcher, which starts containers faster than this
	// program executed again would. Empty means the one beside the agent, if there is one.
	LauncherPath string
	// AllowHostImage permits the image "host".
	AllowHostImage bool
	// Parallelism bounds how many pods start at the same time; 0 means two for each CPU.
	Parallelism int
	// StartTimeout bounds a start, from the image's presence to the agent's
	// first answer; 0 means DefaultStartTimeout.
	StartTimeout time.Duration
	// PidsLimit bounds the processes of a pod; 0 means DefaultPids.
	PidsLimit int64
	// DefaultMemoryBytes bounds the memory of pods whose template has no limit; 0 means not at all.
	DefaultMemoryBytes int64
	// UserIDs are given to pods, a part to each; zero means idrange.Default. Without root they mean nothing:
	// every pod is the server's own user.
	UserIDs idrange.Range
	// CgroupParent is the cgroup that holds those of the pods; empty means one
	// named after Dir.
	CgroupParent string
	// Keychain and Transport reach registries; nil means those of the user's docker
	// configuration and the default transport.
	Keychain  authn.Keychain
	Transport http.RoundTripper
	// InsecureRegistries are the hosts, with port, of registries without TLS.
	InsecureRegistries []string
	// Mirrors are asked before the registries that they stand for.
	Mirrors image.Mirrors
	// Images say when images that no pod uses are removed; zero means never.
	Images image.Watermarks
	// StorageLimit bounds the disk space of a pod whose template does not, in bytes; 0 means no bound.
	StorageLimit int64
	// MinFree is the free space below which the database beside Dir refuses writes, in bytes. Pods that
	// take the disk are failed before. If Dir has a file system of its own, it does not matter.
	MinFree uint64
	// KeepTrash has Run leave what is left of deleted pods and images to EmptyTrash.
	KeepTrash bool
	// Observer is shown every pod, for others to see; nil means nobody is.
	Observer Observer
	// Clock times deletions that are tried again; nil means the real one.
	Clock clock.WithTicker
}

// complete fills in defaults and checks what can be checked without a pod.
func (c *Config) complete() error {
	if c.Dir == "" || c.AgentPath == "" {
		return errors.New("the configuration needs Dir and AgentPath")
	}
	var err error
	if c.Dir, err = filepath.Abs(c.Dir); err != nil {
		return err
	}
	if err := os.MkdirAll(c.Dir, 0o700); err != nil {
		return fmt.Errorf("making the runtime's directory: %w", err)
	}
	// The kernel names files without symbolic links; so do we, to compare.
	if c.Dir, err = filepath.EvalSymlinks(c.Dir); err != nil {
		return err
	}
	c.MinFree = disk.MinFree(c.Dir, c.MinFree)
	if err := c.completeAgent(); err != nil {
		return err
	}
	if c.Parallelism <= 0 {
		c.Parallelism = 2 * runtime.NumCPU()
	}
	if c.StartTimeout <= 0 {
		c.StartTimeout = DefaultStartTimeout
	}
	if c.PidsLimit <= 0 {
		c.PidsLimit = DefaultPids
	}
	if c.Images.HighPercent == 0 {
		c.Images.HighPercent = 100
	}
	if c.UserIDs.Size == 0 || os.Geteuid() != 0 {
		c.UserIDs = idrange.Default
	}
	if c.CgroupParent == "" {
		c.CgroupParent = fmt.Sprintf("/arl-%08x", c.seed())
	}
	if c.Clock == nil {
		c.Clock = clock.RealClock{}
	}
	return nil
}

// seed is a number that runtimes with other directories are unlikely to have.
func (c *Config) seed() uint32 {
	sum := sha256.Sum256([]byte(c.Dir))
	return binary.BigEndian.Uint32(sum[:])
}

func (c *Config) completeAgent() error {
	path, err := filepath.Abs(c.AgentPath)
	if err == nil {
		path, err = filepath.EvalSymlinks(path)
	}
	if err != nil {
		return fmt.Errorf("agent binary: %w", err)
	}
	info, err := os.Stat(path)
	if err != nil {
		return fmt.Errorf("agent binary: %w", err)
	}
	// In the container, the file belongs to nobody known there.
	if !info.Mode().IsRegular() || info.Mode().Perm()&0o005 != 0o005 {
		return fmt.Errorf("agent binary %s must be a file that everyone may read and execute: chmod 0755 %s", path, path)
	}
	c.AgentPath = path
	if c.LauncherPath == "" {
		beside := filepath.Join(filepath.Dir(path), launcherName)
		if info, err := os.Stat(beside); err == nil && info.Mode().IsRegular() {
			c.LauncherPath = beside
		}
	}
	return nil
}
