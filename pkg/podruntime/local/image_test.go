package local

import (
	"archive/tar"
	"bytes"
	"errors"
	"io"
	"log"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	corev1 "k8s.io/api/core/v1"

	"arl.io/arl/pkg/podruntime"
)

// helperBinary builds the one program of the tests' image.
var helperBinary = sync.OnceValues(func() ([]byte, error) {
	if dir := os.Getenv(binariesEnv); dir != "" {
		return os.ReadFile(filepath.Join(dir, "helper"))
	}
	dir, err := os.MkdirTemp("", "arl-helper-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "helper")
	cmd := exec.Command("go", "build", "-o", path, "./testdata/helper")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return nil, errors.Join(err, errors.New(string(out)))
	}
	return os.ReadFile(path)
})

// tinyImage has the helper, a user and little else: no shell, no /tmp, no /etc/hosts.
func tinyImage(t *testing.T) v1.Image {
	t.Helper()
	return imageOf(t, v1.Config{
		Env: []string{"FROM_IMAGE=image", "BOTH=image"}, User: "worker", WorkingDir: "/home/worker",
		Entrypoint: []string{"/helper"}, Cmd: []string{"whoami"},
	})
}

// entry is a file of an image.
type entry struct {
	tar.Header
	text string
}

// imageOf has the helper, a user and some more entries.
func imageOf(t *testing.T, config v1.Config, more ...entry) v1.Image {
	t.Helper()
	helper, err := helperBinary()
	if err != nil {
		t.Fatalf("building the helper: %v", err)
	}
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	for _, e := range append([]entry{
		{tar.Header{Typeflag: tar.TypeReg, Name: "helper", Mode: 0o755}, string(helper)},
		{tar.Header{Typeflag: tar.TypeReg, Name: "etc/passwd", Mode: 0o644},
			"root:x:0:0:root:/root:/helper\nworker:x:1000:1001:worker:/home/worker:/helper\n"},
		{tar.Header{Typeflag: tar.TypeReg, Name: "etc/group", Mode: 0o644}, "root:x:0:\nworkers:x:1001:worker\n"},
		{tar.Header{Typeflag: tar.TypeReg, Name: "mine", Mode: 0o600, Uid: 1000, Gid: 1001}, "worker's own\n"},
		{tar.Header{Typeflag: tar.TypeDir, Name: "home/worker", Mode: 0o700, Uid: 1000, Gid: 1001}, ""},
		{tar.Header{Typeflag: tar.TypeSymlink, Name: "link", Linkname: "/home/worker"}, ""},
	}, more...) {
		e.Size = int64(len(e.text))
		if err := w.WriteHeader(&e.Header); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(w, e.text); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	layer, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(buf.Bytes())), nil })
	if err != nil {
		t.Fatal(err)
	}
	image, err := mutate.AppendLayers(empty.Image, layer)
	if err != nil {
		t.Fatal(err)
	}
	if image, err = mutate.Config(image, config); err != nil {
		t.Fatal(err)
	}
	return image
}

// pushed is the image in a registry on loopback.
func pushed(t *testing.T, image v1.Image) string {
	t.Helper()
	server := httptest.NewServer(registry.New(registry.Logger(log.New(io.Discard, "", 0))))
	t.Cleanup(server.Close)
	ref := strings.TrimPrefix(server.URL, "http://") + "/tiny:v1"
	parsed, err := name.ParseReference(ref)
	if err != nil {
		t.Fatal(err)
	}
	if err := remote.Write(parsed, image); err != nil {
		t.Fatal(err)
	}
	return ref
}

func TestImageIsHonoured(t *testing.T) {
	needContainers(t)
	f := start(t, Config{Dir: t.TempDir()})
	if f.machine.rootless {
		t.Skip("the image has a user of its own, which takes root")
	}
	defer f.removeAll()
	ref := pushed(t, tinyImage(t))
	spec := podSpec("tiny", ref)
	spec.WorkDir = "/link/work"
	spec.Template.Spec.Containers[0].Env = []corev1.EnvVar{{Name: "BOTH", Value: "template"}}
	spec.Template.Spec.Containers[0].Args = []string{"write", "/home/worker/main", "ran"}
	pod := f.create(spec)
	tests := []struct {
		name    string
		command []string
		want    string
	}{
		{"user, directory and environment", []string{"/helper", "whoami"}, "1000 1001 /home/worker/work /home/worker image template\n"},
		{"owners", []string{"/helper", "owner", "/mine"}, "1000:1001 600\n"},
		{"owner of root's files", []string{"/helper", "owner", "/helper"}, "0:0 755\n"},
		{"owner of the work directory", []string{"/helper", "owner", "/home/worker/work"}, "1000:1001 755\n"},
		{"a copied directory keeps its owner", []string{"/helper", "owner", "/home/worker"}, "1000:1001 700\n"},
		{"a file of the user's own", []string{"/helper", "cat", "/mine"}, "worker's own\n"},
		{"temporary files", []string{"/helper", "owner", "/tmp"}, "0:0 1777\n"},
		{"name of the host", []string{"/helper", "cat", "/etc/hostname"}, "tiny\n"},
		{"nothing but the image", []string{"/helper", "list", "/home"}, "worker\n"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if out, code := f.exec(pod, test.command...); code != 0 || out != test.want {
				t.Errorf("exit code %d, output %q, want %q", code, out, test.want)
			}
		})
	}
	f.eventually("the image's entrypoint with the template's arguments", func() bool {
		out, _ := f.exec(pod, "/helper", "cat", "/home/worker/main")
		return out == "ran"
	})
	if out, code := f.exec(pod, "/helper", "write", "/helper", "x"); code == 0 {
		t.Errorf("the worker wrote a file of root's: %q", out)
	}
}

// TestImageWithoutShiftedOwners is for file systems that do not take idmapped mounts.
func TestImageWithoutShiftedOwners(t *testing.T) {
	needContainers(t)
	f := startTuned(t, Config{Dir: t.TempDir()}, func(r *Runtime) { r.machine.shifts = false })
	if f.machine.rootless {
		t.Skip("nothing is ever shifted without root")
	}
	defer f.removeAll()
	pod := f.create(podSpec("tiny", pushed(t, tinyImage(t))))
	for path, want := range map[string]string{"/mine": "1000:1001 600\n", "/helper": "0:0 755\n", "/tmp": "0:0 1777\n"} {
		if out, _ := f.exec(pod, "/helper", "owner", path); out != want {
			t.Errorf("owner of %s is %q, want %q", path, out, want)
		}
	}
}

func TestPodsOfOneImageDoNotSeeEachOther(t *testing.T) {
	needContainers(t)
	f := start(t, Config{Dir: t.TempDir()})
	defer f.removeAll()
	root := int64(0)
	ref := pushed(t, tinyImage(t))
	var pods []podruntime.Pod
	for _, name := range []string{"one", "two"} {
		spec := podSpec(name, ref)
		spec.Template.Spec.SecurityContext = &corev1.PodSecurityContext{RunAsUser: &root}
		pods = append(pods, f.create(spec))
	}
	if out, code := f.exec(pods[0], "/helper", "write", "/mine", "changed"); code != 0 {
		t.Fatalf("exit code %d, output %q", code, out)
	}
	if out, _ := f.exec(pods[0], "/helper", "cat", "/mine"); out != "changed" {
		t.Errorf("pod one reads %q", out)
	}
	if out, _ := f.exec(pods[1], "/helper", "cat", "/mine"); out != "worker's own\n" {
		t.Errorf("pod two reads %q", out)
	}
	images, err := filepath.Glob(filepath.Join(f.config.Dir, imagesName, "sha256-*"))
	if err != nil || len(images) != 1 {
		t.Fatalf("images on disk: %v, %v, want one", images, err)
	}
	if text, err := os.ReadFile(filepath.Join(images[0], "rootfs", "mine")); err != nil || string(text) != "worker's own\n" {
		t.Errorf("the image itself has %q, %v", text, err)
	}
}

func TestImageCannotBeHad(t *testing.T) {
	needContainers(t)
	f := start(t, Config{Dir: t.TempDir()})
	present := pushed(t, tinyImage(t))
	host, _, _ := strings.Cut(present, "/")
	never := podSpec("never", host+"/other:v1")
	never.Template.Spec.Containers[0].ImagePullPolicy = corev1.PullNever
	tests := []struct {
		spec podruntime.Spec
		want string
	}{
		{podSpec("unknown", host+"/none:v1"), "404"},
		{podSpec("refused", "127.0.0.1:1/none:v1"), "connection refused"},
		{podSpec("file", "oci-archive:/none.tar"), "no such file"},
		{never, "Never"},
	}
	for _, test := range tests {
		t.Run(test.spec.Name, func(t *testing.T) {
			if _, err := f.Create(t.Context(), test.spec); err != nil {
				t.Fatal(err)
			}
			failed := f.pod(t, test.spec.Name, podruntime.Failed)
			image := test.spec.Template.Spec.Containers[0].Image
			if failed.Reason != podruntime.ReasonImagePull || !strings.Contains(failed.Message, test.want) || !strings.Contains(failed.Message, image) {
				t.Errorf("reason %q, message %q, want it to name %s and say %q", failed.Reason, failed.Message, image, test.want)
			}
		})
	}
	f.removeAll()
	if found := leftovers(t, f.config.Dir, f.config.CgroupParent); len(found) > 0 {
		t.Errorf("left behind: %q", found)
	}
}

func TestUserThatIsNotInTheImage(t *testing.T) {
	needContainers(t)
	f := start(t, Config{Dir: t.TempDir()})
	defer f.removeAll()
	image, err := mutate.Config(tinyImage(t), v1.Config{User: "nobody-knows"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.Create(t.Context(), podSpec("bad", pushed(t, image))); err != nil {
		t.Fatal(err)
	}
	failed := f.pod(t, "bad", podruntime.Failed)
	if failed.Reason != podruntime.ReasonStart || !strings.Contains(failed.Message, "nobody-knows") {
		t.Errorf("reason %q, message %q", failed.Reason, failed.Message)
	}
}
