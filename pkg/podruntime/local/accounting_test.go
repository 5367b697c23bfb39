package local

import (
	"fmt"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"

	"arl.io/arl/pkg/agent/wire"
	"arl.io/arl/pkg/podruntime"
	"arl.io/arl/pkg/podruntime/local/launch"
)

// TestAPodAtItsLimitsChangesNothingForTheNext has one pod take all it gets of what the kernel counts,
// and keep it. The next pod gets what it wants nevertheless, and so does the machine.
func TestAPodAtItsLimitsChangesNothingForTheNext(t *testing.T) {
	needContainers(t)
	f := start(t, Config{Dir: t.TempDir(), PidsLimit: 200})
	defer f.removeAll()
	if f.machine.rootless {
		f.testAccounting(t, sharedHoards)
		return
	}
	f.testAccounting(t, hoards)
}

// TestAccountingWithoutShiftedOwners is for file systems that do not take idmapped mounts. What is
// counted by the owner of a user namespace is apart there too.
func TestAccountingWithoutShiftedOwners(t *testing.T) {
	needContainers(t)
	f := startTuned(t, Config{Dir: t.TempDir(), PidsLimit: 200}, func(r *Runtime) { r.machine.shifts = false })
	defer f.removeAll()
	if f.machine.rootless {
		t.Skip("nothing is ever shifted without root")
	}
	f.testAccounting(t, hoards, "pipe-pages", "files-in-flight")
}

// hoard is a resource that one pod takes as much of as it gets.
type hoard struct {
	// hoarded is what the first pod takes: no more than most, of offered.
	hoarded       string
	offered, most int
	// wanted is what the next pod takes; empty means the same.
	wanted string
	count  int
	// refused is why nobody gets any.
	refused error
	// fatal: the hostile pod may not survive it.
	fatal bool
	// machine is what the machine's root wants of it.
	machine func() error
}

var hoards = []hoard{
	{hoarded: "inotify-instances", offered: 1000, most: 128, count: 100, machine: takeInotify},
	{hoarded: "inotify-watches", offered: 70000, most: 65536, count: 1000},
	{hoarded: "epoll-watches", offered: 10000, most: 10000, count: 1000},
	{hoarded: "pipe-pages", offered: 200, most: 64, wanted: "pipes", count: 20},
	{hoarded: "terminals", offered: 4000, most: 64, count: 50},
	{hoarded: "message-queues", offered: 100, most: 20, count: 5},
	{hoarded: "timers", offered: 100_000, most: 8192, count: 1000},
	{hoarded: "locked-memory", offered: 20, most: 8, count: 4},
	{hoarded: "files-in-flight", offered: 1000, most: 65536 / 250, count: 10},
	{hoarded: "files", offered: 100_000, most: 65536, count: 1000},
	{hoarded: "processes", offered: 1000, most: 200, count: 20, fatal: true},
	{hoarded: "keys", offered: 1000, most: 0, count: 1, refused: unix.EPERM},
	{hoarded: "aio", offered: 1000, most: 0, count: 1, refused: unix.ENOSYS},
	{hoarded: "user-namespaces", offered: 10, most: 0, count: 1, refused: unix.EPERM},
}

// sharedHoards are for pods that all have the same user, who has more of these than one of them gets.
var sharedHoards = []hoard{
	{hoarded: "inotify-instances", offered: 1000, most: 16, count: 16, machine: takeInotify},
	{hoarded: "inotify-watches", offered: 9000, most: 8192, count: 1000},
	{hoarded: "terminals", offered: 4000, most: 64, count: 50},
	{hoarded: "timers", offered: 100_000, most: 8192, count: 1000},
	{hoarded: "processes", offered: 1000, most: 200, count: 20, fatal: true},
	{hoarded: "keys", offered: 1000, most: 0, count: 1, refused: unix.EPERM},
	{hoarded: "aio", offered: 1000, most: 0, count: 1, refused: unix.ENOSYS},
	{hoarded: "user-namespaces", offered: 10, most: 0, count: 1, refused: unix.EPERM},
}

// testAccounting leaves out the resources that are named.
func (f *fixture) testAccounting(t *testing.T, hoards []hoard, except ...string) {
	image := pushed(t, imageOf(t, v1.Config{}))
	newPod := func(name string) podruntime.Pod {
		spec := podSpec(name, image)
		spec.Template.Spec.Containers[0].Resources.Limits = corev1.ResourceList{corev1.ResourceMemory: resource.MustParse("512Mi")}
		return f.create(spec)
	}
	honest := newPod("honest")
	for _, test := range hoards {
		if contains(except, test.hoarded) {
			continue
		}
		t.Run(test.hoarded, func(t *testing.T) {
			hostile := newPod("hostile-" + test.hoarded)
			answer := f.background(t, hostile, "/helper", "hoard", test.hoarded, strconv.Itoa(test.offered))
			got, refusal, _ := strings.Cut(strings.TrimSpace(answer), " ")
			t.Logf("the hostile pod has %s", answer)
			if n, err := strconv.Atoi(got); test.fatal && err != nil {
				t.Log("the hostile pod has ended")
			} else if err != nil || n > test.most || n < test.offered && refusal == "<nil>" {
				t.Errorf("the hostile pod has %s of %d, want no more than %d", answer, test.offered, test.most)
			}
			want := fmt.Sprintf("%d <nil>\n", test.count)
			if test.refused != nil {
				want = fmt.Sprintf("0 %v\n", test.refused)
			}
			wanted := test.hoarded
			if test.wanted != "" {
				wanted = test.wanted
			}
			if out, code := f.exec(honest, "/helper", "take", wanted, strconv.Itoa(test.count)); code != 0 || out != want {
				t.Errorf("the honest pod gets %q, want %q", out, want)
			}
			if test.machine != nil {
				if err := test.machine(); err != nil {
					t.Errorf("the machine gets none: %v", err)
				}
			}
			if err := f.Delete(t.Context(), hostile.Key, hostile.UID); err != nil {
				t.Error(err)
			}
			f.gone(t, hostile.Name)
		})
	}
}

func takeInotify() error {
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC)
	if err != nil {
		return err
	}
	return unix.Close(fd)
}

// background runs a command that does not end, and returns the first line that it prints.
func (f *fixture) background(t *testing.T, pod podruntime.Pod, command ...string) string {
	t.Helper()
	agent, err := f.Agent(pod.Key, pod.UID)
	if err != nil {
		t.Fatal(err)
	}
	lines := make(chan string, 1)
	go func() {
		var text strings.Builder
		_, err := agent.Run(t.Context(), execution("background", command...), func(event wire.Event) {
			if event.Output == nil {
				return
			}
			if text.Write(event.Output.Data); strings.Contains(text.String(), "\n") {
				select {
				case lines <- text.String():
				default:
				}
			}
		})
		select {
		case lines <- fmt.Sprintf("nothing: it ended: %v", err):
		default:
		}
	}()
	return <-lines
}

// TestLimitsOfTheServerAreNotThePods: what bounds the server, by how it was started, does not bound pods.
func TestLimitsOfTheServerAreNotThePods(t *testing.T) {
	needContainers(t)
	f := start(t, Config{Dir: t.TempDir(), PidsLimit: 300})
	defer f.removeAll()
	for resource, soft := range map[int]uint64{unix.RLIMIT_FSIZE: 1 << 40, unix.RLIMIT_STACK: 16 << 20, unix.RLIMIT_CORE: 0} {
		var before unix.Rlimit
		if err := unix.Getrlimit(resource, &before); err != nil {
			t.Fatal(err)
		}
		if err := unix.Setrlimit(resource, &unix.Rlimit{Cur: min(soft, before.Max), Max: before.Max}); err != nil {
			t.Fatal(err)
		}
		defer func() {
			if err := unix.Setrlimit(resource, &before); err != nil {
				t.Error(err)
			}
		}()
	}
	out, _ := f.run(f.create(hostSpec("limited")), "cat /proc/self/limits")
	for _, want := range []string{
		`Max file size +unlimited +unlimited`,
		`Max stack size +8388608 +unlimited`,
		`Max core file size +0 +0`,
		`Max processes +300 +300`,
		`Max pending signals +8192 +8192`,
		`Max msgqueue size +819200 +819200`,
		`Max locked memory +8388608 +8388608`,
		`Max realtime priority +0 +0`,
	} {
		if !regexp.MustCompile(want).MatchString(out) {
			t.Errorf("the pod's limits have no line %q:\n%s", want, out)
		}
	}
}

// TestPodsLeaveProcessesToTheMachine: however many pods there are, they have a bound together.
func TestPodsLeaveProcessesToTheMachine(t *testing.T) {
	needContainers(t)
	f := start(t, Config{Dir: t.TempDir()})
	if !f.machine.cgroups {
		t.Skip("needs cgroups that may be written")
	}
	for _, dir := range []string{"/sys/fs/cgroup/pids", "/sys/fs/cgroup"} {
		text, err := os.ReadFile(dir + f.config.CgroupParent + "/pids.max")
		if err != nil {
			continue
		}
		if want := fmt.Sprintf("%d\n", launch.AllPodsProcesses()); string(text) != want || want == "0\n" {
			t.Errorf("all pods have %q processes, want %q", text, want)
		}
		return
	}
	t.Error("the cgroup of all pods has no limit of processes")
}

// TestEachPodHasItsOwnUsers looks at pods from outside.
func TestEachPodHasItsOwnUsers(t *testing.T) {
	needContainers(t)
	dir := t.TempDir()
	f := start(t, Config{Dir: dir})
	defer func() { f.removeAll() }()
	if f.machine.rootless {
		t.Skip("a rootless server has one user")
	}
	one, two := f.create(hostSpec("one")), f.create(hostSpec("two"))
	before := map[string]string{"one": f.usersOf(t, one), "two": f.usersOf(t, two)}
	if before["one"] == before["two"] {
		t.Fatalf("both pods have the users %s", before["one"])
	}
	f.stop()

	// The next runtime knows which are taken, and gives others to a new pod.
	f = start(t, Config{Dir: dir, UserIDs: f.config.UserIDs})
	three := f.create(hostSpec("three"))
	for name, users := range before {
		if now := f.usersOf(t, f.pod(t, name, podruntime.Ready)); now != users {
			t.Errorf("pod %s had the users %s and has %s", name, users, now)
		}
		if f.usersOf(t, three) == users {
			t.Errorf("the new pod has the users %s of pod %s", users, name)
		}
	}
}

var mapLine = regexp.MustCompile(`^\s*0\s+(\d+)\s+65536\n$`)

// usersOf returns the first user of a pod as the kernel tells it.
func (f *fixture) usersOf(t *testing.T, pod podruntime.Pod) string {
	t.Helper()
	process, err := launch.ReadProcess(f.podPath(pod.UID, processName))
	if err != nil {
		t.Fatal(err)
	}
	var users []string
	for _, name := range []string{"uid_map", "gid_map"} {
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/%s", process.PID, name))
		if err != nil {
			t.Fatal(err)
		}
		match := mapLine.FindStringSubmatch(string(text))
		if match == nil {
			t.Fatalf("%s of pod %s is %q", name, pod.Name, text)
		}
		users = append(users, match[1])
	}
	if users[0] != users[1] {
		t.Errorf("users %s and groups %s of pod %s differ", users[0], users[1], pod.Name)
	}
	return users[0]
}
