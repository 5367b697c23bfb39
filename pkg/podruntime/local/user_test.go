package local

import (
	"archive/tar"
	"fmt"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/utils/ptr"
)

// TestUsersOfImages runs images of users of all kinds: in each the work directory belongs to the user
// of the steps, HOME is right, and both can be written.
func TestUsersOfImages(t *testing.T) {
	needContainers(t)
	f := start(t, Config{Dir: t.TempDir()})
	if f.machine.rootless {
		t.Skip("users other than root take root")
	}
	defer f.removeAll()
	// Content that the image gives to root, in the work directory of some pods.
	content := []entry{
		{tar.Header{Typeflag: tar.TypeDir, Name: "repo", Mode: 0o755}, ""},
		{tar.Header{Typeflag: tar.TypeDir, Name: "repo/.git", Mode: 0o755}, ""},
		{tar.Header{Typeflag: tar.TypeReg, Name: "repo/.git/config", Mode: 0o644}, "kept\n"},
	}
	for i, tt := range []struct {
		name, user string
		// env is the image's; as is the template's user, and home its HOME.
		env  []string
		as   *int64
		home string
		want string
	}{
		{name: "root", want: "user 0, work 0:0, home /root\n"},
		{name: "a number with a name", user: "1000", want: "user 1000, work 1000:1001, home /home/worker\n"},
		{name: "a name of the image's passwd", user: "worker", want: "user 1000, work 1000:1001, home /home/worker\n"},
		{name: "a number that passwd does not know", user: "65532", want: "user 65532, work 65532:0, home /.arl/home\n"},
		{name: "a number and a group", user: "65532:65532", want: "user 65532, work 65532:65532, home /.arl/home\n"},
		{name: "root's image, another user in the template", as: ptr.To[int64](1000), want: "user 1000, work 1000:1001, home /home/worker\n"},
		{name: "HOME of the image that is another user's", user: "65532", env: []string{"HOME=/root"}, want: "user 65532, work 65532:0, home /.arl/home\n"},
		{name: "HOME of the template", user: "worker", home: "/repo", want: "user 1000, work 1000:1001, home /repo\n"},
	} {
		ref := pushed(t, imageOf(t, v1.Config{User: tt.user, Env: tt.env}, content...))
		for j, workDir := range []string{"/workspace", "/repo", "/deep/er"} {
			if tt.home != "" && workDir != tt.home {
				continue // Only there may its user write.
			}
			t.Run(tt.name+" in "+workDir, func(t *testing.T) {
				spec := podSpec(fmt.Sprintf("pod-%d-%d", i, j), ref)
				spec.WorkDir = workDir
				spec.Template.Spec.SecurityContext = &corev1.PodSecurityContext{RunAsUser: tt.as}
				if tt.home != "" {
					first(&spec.Template.Spec).Env = []corev1.EnvVar{{Name: "HOME", Value: tt.home}}
				}
				pod := f.create(spec)
				if out, code := f.exec(pod, "/helper", "usable"); code != 0 || out != tt.want {
					t.Errorf("exit code %d, output %q, want %q", code, out, tt.want)
				}
				if workDir != "/repo" {
					return
				}
				if out, code := f.exec(pod, "/helper", "cat", ".git/config"); code != 0 || out != "kept\n" {
					t.Errorf("the image's content: exit code %d, output %q", code, out)
				}
				owner, _ := f.exec(pod, "/helper", "owner", ".")
				if inner, _ := f.exec(pod, "/helper", "owner", ".git"); inner != owner {
					t.Errorf("the work directory is of %q, what the image has in it of %q", owner, inner)
				}
			})
		}
	}
}
