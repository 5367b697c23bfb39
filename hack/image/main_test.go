package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

// static builds, once, a program that is linked statically. What it does is not
// this command's matter.
var static = sync.OnceValues(func() (content []byte, err error) {
	dir, err := os.MkdirTemp("", "static-program-*")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	source, program := filepath.Join(dir, "main.go"), filepath.Join(dir, "program")
	if err := os.WriteFile(source, []byte("package main\n\nfunc main() {}\n"), 0o600); err != nil {
		return nil, err
	}
	build := exec.Command("go", "build", "-o", program, source)
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("%w\n%s", err, out)
	}
	return os.ReadFile(program)
})

// programs makes a folder with the program under both names.
func programs(t *testing.T) string {
	t.Helper()
	content, err := static()
	if err != nil {
		t.Fatalf("build a static program: %v", err)
	}
	dir := t.TempDir()
	for _, program := range []string{"arl-apiserver", "arl-agent"} {
		if err := os.WriteFile(filepath.Join(dir, program), content, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func execute(t *testing.T, args ...string) error {
	t.Helper()
	cmd := command()
	cmd.SetArgs(args)
	cmd.SetOut(io.Discard)
	cmd.SetErr(io.Discard)
	return cmd.Execute()
}

func TestTwoRunsWriteTheSameBytes(t *testing.T) {
	t.Setenv("SOURCE_DATE_EPOCH", "1700000000")
	var archives [2][]byte
	for i := range archives {
		out := filepath.Join(t.TempDir(), "image.tar")
		if err := execute(t, "--bin", programs(t), "--out", out, "--tag", "example.com/arl:v1", "--tag", "example.com/arl:latest"); err != nil {
			t.Fatal(err)
		}
		content, err := os.ReadFile(out)
		if err != nil {
			t.Fatal(err)
		}
		archives[i] = content
	}
	if !bytes.Equal(archives[0], archives[1]) {
		t.Error("two runs over the same programs wrote different archives")
	}
}

func TestConfiguration(t *testing.T) {
	t.Setenv("SOURCE_DATE_EPOCH", "1700000000")
	out := filepath.Join(t.TempDir(), "image.tar")
	err := execute(t, "--bin", programs(t), "--out", out, "--tag", "example.com/arl:v1", "--version", "v1", "--revision", "abc")
	if err != nil {
		t.Fatal(err)
	}
	image, err := tarball.ImageFromPath(out, nil)
	if err != nil {
		t.Fatal(err)
	}
	config, err := image.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	want := v1.Config{
		User: "65532:65532", Entrypoint: []string{"/arl-apiserver"}, Env: []string{"PATH=/"}, WorkingDir: "/",
		ExposedPorts: map[string]struct{}{"7443/tcp": {}},
		Labels: map[string]string{
			"org.opencontainers.image.title": "arl", "org.opencontainers.image.licenses": "Apache-2.0",
			"org.opencontainers.image.version": "v1", "org.opencontainers.image.revision": "abc",
		},
	}
	if diff := cmp.Diff(want, config.Config); diff != "" {
		t.Errorf("configuration (-want +got):\n%s", diff)
	}
	if config.Architecture != runtime.GOARCH || config.Created.Unix() != 1700000000 {
		t.Errorf("the image is for %s, of %s", config.Architecture, config.Created)
	}
}

func TestRefusals(t *testing.T) {
	dir := programs(t)
	out := filepath.Join(t.TempDir(), "image.tar")
	other := map[string]string{"amd64": "arm64", "arm64": "amd64"}[runtime.GOARCH]
	for _, test := range []struct {
		name, epoch, want string
		args              []string
	}{
		{name: "no archive", args: []string{"--bin", dir}, want: "--out must name"},
		{name: "no programs", args: []string{"--bin", t.TempDir(), "--out", out}, want: "no such file"},
		{name: "no tag", args: []string{"--bin", dir, "--out", out}, want: "needs a tag"},
		{name: "other machine", args: []string{"--bin", dir, "--out", out, "--arch", other}, want: "not for " + other},
		{name: "unknown machine", args: []string{"--bin", dir, "--out", out, "--arch", "mips"}, want: "only amd64 and arm64"},
		{name: "no time", epoch: "today", args: []string{"--bin", dir, "--out", out}, want: "SOURCE_DATE_EPOCH"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Setenv("SOURCE_DATE_EPOCH", test.epoch)
			if err := execute(t, test.args...); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("error %v, want one with %q", err, test.want)
			}
		})
	}
}

func TestDynamicProgramsAreRefused(t *testing.T) {
	shell, err := exec.LookPath("bash")
	if err != nil {
		t.Skip("there is no bash here to take for a program that is linked dynamically")
	}
	if err := mustBeStatic(shell, runtime.GOARCH); err == nil || !strings.Contains(err.Error(), "linked dynamically") {
		t.Errorf("error %v, want a refusal", err)
	}
}
