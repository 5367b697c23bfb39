package e2e

import (
	"context"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/utils/ptr"

	"arl.io/arl/hack/image/archive"
	"arl.io/arl/pkg/apis/arl/v1alpha1"
)

// imageUser is a kind of user that images have.
type imageUser struct {
	// name names the image and the pool; user is what a Dockerfile's USER would say.
	name, user string
	// as is the template's user, if the restricted standard needs one to be named.
	as *int64
	// want is what a step prints of user, owner of the work directory and HOME.
	want string
	// spared says that a later pod of a template needs no volume for the work directory.
	spared bool
}

var imageUsers = []imageUser{
	{name: "root", want: "0 0 /root", spared: true},
	{name: "number", user: "1000", want: "1000 1000 /home/worker"},
	{name: "name", user: "worker", as: ptr.To[int64](1000), want: "1000 1000 /home/worker"},
	{name: "unknown", user: "65532", want: "65532 65532 /.arl/home"},
}

// describeUser prints what imageUser.want has, and writes in both directories.
const describeUser = `echo "$(id -u) $(stat -c %u .) $HOME" && echo x >made && echo x >"$HOME/made"`

func (u imageUser) image() string { return "arl.io/e2e/user-" + u.name + ":latest" }

// provide gives the image to the node. It has files of root's in /repo.
func (u imageUser) provide(ctx context.Context) error {
	return shared.BusyboxImageAs(ctx, u.image(), u.user,
		archive.File{Path: "/etc/passwd", Mode: 0o644, Content: []byte("root:x:0:0:root:/root:/bin/sh\nworker:x:1000:1000::/home/worker:/bin/sh\n")},
		archive.File{Path: "/etc/group", Mode: 0o644, Content: []byte("root:x:0:\nworker:x:1000:\n")},
		archive.File{Path: "/root", Mode: fs.ModeDir | 0o700},
		archive.File{Path: "/home/worker", Mode: fs.ModeDir | 0o700, UID: 1000, GID: 1000},
		archive.File{Path: "/repo/.git/config", Mode: 0o644, Content: []byte("kept\n")})
}

// pool is a pool of the image.
func (u imageUser) pool(name string) *v1alpha1.WarmPool {
	pool := busyPool(name, 1)
	executorOf(pool).Image = u.image()
	return pool
}

// TestUsersOfImages runs images of users of all kinds. The work directory belongs to the user, with
// what the image has there, HOME is right, and both can be written; by default and where the namespace
// enforces the restricted standard.
func TestUsersOfImages(t *testing.T) {
	n, restricted := newTenant(t), newTenant(t)
	restricted.enforce("restricted")
	for _, u := range imageUsers {
		t.Run(u.name, func(t *testing.T) {
			if err := u.provide(t.Context()); err != nil {
				t.Fatal(err)
			}
			n.in(t).testUser(u)
			n.in(t).testUserInRepo(u)
			restricted.in(t).testRestrictedUser(u)
		})
	}
}

// testUser has two sandboxes one after another: the second pod of the template is made by what the
// first has found out.
func (n *tenant) testUser(u imageUser) {
	n.FillPool(u.pool(u.name))
	for i := range 2 {
		n.AwaitPool(u.name, 1)
		name := fmt.Sprintf("%s-%d", u.name, i)
		sandbox := n.ReadySandbox(name, u.name)
		if got := strings.TrimSpace(n.Output(name, describeUser)); got != u.want {
			n.T.Errorf("sandbox %s: %q, want %q", name, got, u.want)
		}
		pod, err := n.core.CoreV1().Pods(n.Namespace).Get(n.T.Context(), sandbox.Status.PodName, getNow)
		if err != nil {
			n.T.Fatal(err)
		}
		furnished := slices.ContainsFunc(pod.Spec.InitContainers, func(c corev1.Container) bool { return c.Name == "arl-workdir-setup" })
		if want := i == 0 || !u.spared; furnished != want {
			n.T.Errorf("pod %d has an init container for the work directory: %v, want %v", i, furnished, want)
		}
	}
}

// testUserInRepo has steps run where the image has files of root's.
func (n *tenant) testUserInRepo(u imageUser) {
	name := u.name + "-repo"
	pool := u.pool(name)
	pool.Spec.WorkDir = "/repo"
	n.FillPool(pool)
	n.ReadySandbox(name, name)
	if got := strings.TrimSpace(n.Output(name, describeUser+` && cat .git/config && [ "$(stat -c %u .git)" = "$(id -u)" ] && echo y >.git/config`)); got != u.want+"\nkept" {
		n.T.Errorf("in the image's own directory: %q, want %q", got, u.want+"\nkept")
	}
}

// testRestrictedUser runs the image where only users other than root may be.
func (n *tenant) testRestrictedUser(u imageUser) {
	pool := u.pool(u.name)
	security := &corev1.PodSecurityContext{RunAsNonRoot: ptr.To(true), RunAsUser: u.as}
	want := u.want
	if u.user == "" {
		security.RunAsUser, want = ptr.To[int64](1000), "1000 1000 /home/worker"
	}
	pool.Spec.Template.Spec.SecurityContext = security
	n.FillPool(pool)
	n.ReadySandbox(u.name, u.name)
	if got := strings.TrimSpace(n.Output(u.name, describeUser)); got != want {
		n.T.Errorf("restricted: %q, want %q", got, want)
	}
	if got := strings.TrimSpace(n.Output(u.name, "grep CapBnd /proc/self/status | cut -f2")); got != "0000000000000000" {
		n.T.Errorf("restricted: the container has the capabilities %s", got)
	}
}

// TestCapabilities shows that root has the default set in a cluster, as on one machine, and that the
// template narrows and widens it; as stored, so an empty list counts like none.
func TestCapabilities(t *testing.T) {
	n := newTenant(t)
	n.enforce("baseline")
	for _, tt := range []struct {
		name   string
		wanted *corev1.Capabilities
		want   string
	}{
		{"usual", nil, "00000000a80425fb"},
		{"nothing-dropped", &corev1.Capabilities{Drop: []corev1.Capability{}}, "00000000a80425fb"},
		{"one-only", &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}, Add: []corev1.Capability{"CHOWN"}}, "0000000000000001"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			n := n.in(t)
			pool := cappedPool(tt.name, 1)
			executorOf(pool).SecurityContext = &corev1.SecurityContext{Capabilities: tt.wanted}
			n.FillPool(pool)
			n.ReadySandbox(tt.name, tt.name)
			got := strings.TrimSpace(n.Output(tt.name, "grep CapEff /proc/self/status | cut -f2; touch file && chown 1000:1000 file"))
			if got != tt.want {
				t.Errorf("effective capabilities: %q, want %q", got, tt.want)
			}
		})
	}
	n.Output("usual", "ping -c 1 127.0.0.1")
}
