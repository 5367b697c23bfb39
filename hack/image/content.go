package main

import (
	"debug/elf"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"time"

	"arl.io/arl/hack/image/archive"
)

const (
	// nobody owns nothing on a machine. Pods that demand a user other than root
	// want it as a number.
	nobody = 65532
	// dataDir is where the manifests mount the volume of the database.
	dataDir = "/data"
	// port is the one the server listens on unless it is told another.
	port = "7443/tcp"
)

// server is what the image holds: two programs, a place for the database and
// one for temporary files. artifacts/image/Dockerfile makes the same.
func server(o options, created time.Time) archive.Image {
	labels := map[string]string{
		"org.opencontainers.image.title":    "arl",
		"org.opencontainers.image.licenses": "Apache-2.0",
		"org.opencontainers.image.version":  o.version,
	}
	if o.revision != "" {
		labels["org.opencontainers.image.revision"] = o.revision
	}
	return archive.Image{
		Files: []archive.File{
			{Path: "/arl-apiserver", Source: filepath.Join(o.bin, "arl-apiserver"), Mode: 0o755},
			{Path: "/arl-agent", Source: filepath.Join(o.bin, "arl-agent"), Mode: 0o755},
			{Path: dataDir, Mode: fs.ModeDir | 0o700, UID: nobody, GID: nobody},
			{Path: "/tmp", Mode: fs.ModeDir | fs.ModeSticky | 0o777},
		},
		Architecture: o.arch,
		Created:      created,
		User:         fmt.Sprintf("%d:%d", nobody, nobody),
		Entrypoint:   []string{"/arl-apiserver"},
		Env:          []string{"PATH=/"},
		WorkingDir:   "/",
		ExposedPorts: []string{port},
		Labels:       labels,
	}
}

// machines are ELF's names of the architectures that the project is built for.
var machines = map[string]elf.Machine{"amd64": elf.EM_X86_64, "arm64": elf.EM_AARCH64}

// mustBeStatic returns an error if a program could not run in an image that
// holds no dynamic linker.
func mustBeStatic(program, arch string) (err error) {
	file, err := elf.Open(program)
	if err != nil {
		return fmt.Errorf("read %s: %w", program, err)
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	machine, ok := machines[arch]
	if !ok {
		return fmt.Errorf("--arch %s: only amd64 and arm64 are known", arch)
	}
	if file.Machine != machine {
		return fmt.Errorf("%s is built for %s, not for %s", program, file.Machine, arch)
	}
	for _, segment := range file.Progs {
		if segment.Type == elf.PT_INTERP {
			return fmt.Errorf("%s is linked dynamically: the image has no linker for it; build it with make image", program)
		}
	}
	return nil
}
