package local

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"

	"arl.io/arl/pkg/agent/wire"
	"arl.io/arl/pkg/podruntime"
)

func TestPodIsConfined(t *testing.T) {
	needContainers(t)
	f := start(t, Config{Dir: t.TempDir()})
	pod := f.create(hostSpec("confined"))
	defer f.removeAll()
	secret := filepath.Join(f.config.Dir, "secret")
	if err := os.WriteFile(secret, []byte("top secret"), 0o644); err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name, script string
		// want is the whole output; forbidden must not be in it.
		want, forbidden string
		fails           bool
	}{
		{name: "the agent is process 1", script: `tr '\0' ' ' </proc/1/cmdline | cut -d' ' -f1`, want: agentTarget + "\n"},
		{name: "few processes are seen", script: `ls -d /proc/[0-9]* | wc -l | awk '{print ($1 < 10)}'`, want: "1\n"},
		{name: "loopback is the only network", script: `tail -n +3 /proc/net/dev | cut -d: -f1 | tr -d ' '`, want: "lo\n"},
		{name: "loopback is up", script: `grep -c 'lo$' /proc/net/if_inet6 || ip -br addr show lo | grep -c 127.0.0.1 || echo none`, forbidden: "none"},
		{name: "no privileges can be gained", script: `grep NoNewPrivs /proc/self/status | tr -d '\t '`, want: "NoNewPrivs:1\n"},
		{name: "system calls are filtered", script: `grep '^Seccomp:' /proc/self/status | tr -d '\t '`, want: "Seccomp:2\n"},
		{name: "no capability is ambient", script: `grep CapAmb /proc/self/status | tr -d '\t '`, want: "CapAmb:0000000000000000\n"},
		{name: "no namespace can be made", script: `unshare -m true`, fails: true},
		{name: "nothing can be mounted", script: `mount -t tmpfs none /mnt`, fails: true},
		{name: "the server's data is not seen", script: `cat ` + secret, fails: true, forbidden: "top secret"},
		{name: "the server's data is not seen from outside its root", script: `cat /proc/1/root` + secret, fails: true, forbidden: "top secret"},
		{name: "password hashes are not read", script: `cat /etc/shadow`, fails: true},
		{name: "the machine's files are not written", script: `touch /etc/arl-test; touch /usr/bin/arl-test`, fails: true},
		{name: "the agent cannot be replaced", script: `echo x > ` + agentTarget, fails: true},
		{name: "the kernel's switches are not written", script: `echo 1 > /proc/sys/kernel/panic`, fails: true},
		{name: "the host's name is its own", script: `hostname; cat /etc/hostname; grep -c confined /etc/hosts`, want: "confined\nconfined\n1\n"},
		{name: "temporary files are its own", script: `ls -A /tmp /var/tmp | grep -c arl; stat -c %a /tmp`, want: "0\n1777\n"},
		{name: "devices work", script: `head -c 4 /dev/zero | wc -c; echo x > /dev/null; ls /dev/shm | wc -l`, want: "4\n0\n"},
		{name: "its root is its own to write", script: `mkdir /data && echo x > /data/y && cat /data/y`, want: "x\n"},
		{name: "its home is its own to write", script: `cd ~ && pwd && ls -A | wc -l && echo x > file`, want: "/root\n0\n"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			out, code := f.run(pod, test.script)
			if test.fails == (code == 0) {
				t.Errorf("exit code %d, output %q", code, out)
			}
			if test.want != "" && out != test.want {
				t.Errorf("output %q, want %q", out, test.want)
			}
			if test.forbidden != "" && strings.Contains(out, test.forbidden) {
				t.Errorf("output %q has %q", out, test.forbidden)
			}
		})
	}
	for _, name := range []string{"/data", "/usr/bin/arl-test", "/etc/arl-test"} {
		if _, err := os.Lstat(name); err == nil {
			t.Errorf("%s is on the machine", name)
		}
	}
}

func TestPodsDoNotSeeEachOther(t *testing.T) {
	needContainers(t)
	f := start(t, Config{Dir: t.TempDir()})
	one, two := f.create(hostSpec("one")), f.create(hostSpec("two"))
	defer f.removeAll()
	if out, code := f.run(one, "echo mine > /workspace/file; echo mine > /tmp/file; sleep 1000 & echo started"); code != 0 || out != "started\n" {
		t.Fatalf("exit code %d, output %q", code, out)
	}
	out, _ := f.run(two, "ls -A /workspace /tmp; grep -l sleep /proc/[0-9]*/comm")
	if strings.Contains(out, "file") || strings.Contains(out, "comm") {
		t.Errorf("pod two sees of pod one: %q", out)
	}
	// The next step in the same pod does.
	if out, _ := f.run(one, "cat /workspace/file"); out != "mine\n" {
		t.Errorf("pod one reads %q of its own file", out)
	}
}

// TestWorkDirOfTheMachine has steps run where the machine has files of its own:
// they are not shown, and stay as they are.
func TestWorkDirOfTheMachine(t *testing.T) {
	needContainers(t)
	const dir = "/usr/local"
	before, err := os.ReadDir(dir)
	if err != nil {
		t.Skipf("the machine has no %s: %v", dir, err)
	}
	f := start(t, Config{Dir: t.TempDir()})
	defer f.removeAll()
	spec := hostSpec("one")
	spec.WorkDir = dir
	out, code := f.run(f.create(spec), "ls -A; echo mine > file && cat file")
	if code != 0 || out != "mine\n" {
		t.Errorf("exit code %d, output %q", code, out)
	}
	after, err := os.ReadDir(dir)
	if err != nil || len(after) != len(before) {
		t.Errorf("the machine's %s had %d entries and has %d, %v", dir, len(before), len(after), err)
	}
}

func TestHostImageNeedsPermission(t *testing.T) {
	r := &Runtime{config: Config{}, state: running, pods: map[podruntime.Key]*pod{}}
	_, err := r.Create(t.Context(), hostSpec("one"))
	if err == nil || !strings.Contains(err.Error(), "--allow-host-image") {
		t.Errorf("got %v, want an error that says how to allow it", err)
	}
}

func TestLimits(t *testing.T) {
	needContainers(t)
	f := start(t, Config{Dir: t.TempDir(), PidsLimit: 64})
	if !f.machine.cgroups {
		t.Skip("needs cgroups that may be written")
	}
	defer f.removeAll()
	spec := hostSpec("limited")
	spec.Template.Spec.Containers[0].Resources = corev1.ResourceRequirements{
		Limits: corev1.ResourceList{corev1.ResourceMemory: resource.MustParse("96Mi"), corev1.ResourceCPU: resource.MustParse("2")},
	}
	pod := f.create(spec)
	cgroup, err := f.machine.podCgroup(string(pod.UID), f.pods[pod.Key].cgroup)
	if err != nil {
		t.Fatal(err)
	}
	stats, err := cgroup.GetStats()
	if err != nil {
		t.Fatal(err)
	}
	if got := stats.MemoryStats.Usage.Limit; got != 96<<20 {
		t.Errorf("memory limit is %d, want %d", got, 96<<20)
	}
	if got := stats.PidsStats.Limit; got != 64 {
		t.Errorf("limit of processes is %d, want 64", got)
	}
	// A step that takes too much is ended; the pod goes on if it is not the agent.
	out, code := f.run(pod, "i=0; while [ $i -lt 200 ]; do sleep 100 & i=$((i+1)); done 2>&1; echo done")
	if code == 0 && !strings.Contains(out, "fork") && !strings.Contains(out, "Cannot") {
		t.Errorf("200 processes under a limit of 64: exit code %d, output %q", code, out)
	}
}

func TestOutOfMemory(t *testing.T) {
	needContainers(t)
	f := start(t, Config{Dir: t.TempDir()})
	if !f.machine.cgroups {
		t.Skip("needs cgroups that may be written")
	}
	defer f.removeAll()
	spec := hostSpec("greedy")
	spec.Template.Spec.Containers[0].Resources.Limits = corev1.ResourceList{corev1.ResourceMemory: resource.MustParse("64Mi")}
	pod := f.create(spec)
	// Files in memory count for the pod and belong to no process. The kernel ends those of the step first,
	// and then the agent, when that starts another. The answer is lost with it.
	agent, err := f.Agent(pod.Key, pod.UID)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var group sync.WaitGroup
	defer group.Wait()
	defer cancel()
	group.Go(func() {
		for i := 0; ctx.Err() == nil; i++ {
			id := "oom-" + strconv.Itoa(i)
			_, _ = agent.Run(ctx, execution(id, "/bin/sh", "-c", "exec head -c 200M /dev/zero >/dev/shm/"+id), nil)
		}
	})
	failed := f.pod(t, "greedy", podruntime.Failed)
	if failed.Reason != podruntime.ReasonOOM {
		t.Errorf("reason %q (%s), want %q", failed.Reason, failed.Message, podruntime.ReasonOOM)
	}
}

// TestAStepThatTakesTooMuchMemory has steps reach the memory limit of their pod, with one large process
// and with many that are each smaller than the agent. The kernel ends processes of the step, not the
// agent, and the step says why.
func TestAStepThatTakesTooMuchMemory(t *testing.T) {
	needContainers(t)
	f := start(t, Config{Dir: t.TempDir()})
	if !f.machine.cgroups {
		t.Skip("needs cgroups that may be written")
	}
	defer f.removeAll()
	for name, script := range map[string]string{
		"large": "x=x; while :; do x=$x$x; done",
		"many": `for i in $(seq 60); do
				(sh -c 'x=$(head -c 3000000 /dev/zero | tr "\\0" x); sleep 3600; exit $?' || echo >ended) &
			done
			until [ -e ended ]; do sleep 0.05; done
			exit 137`,
	} {
		t.Run(name, func(t *testing.T) {
			spec := hostSpec(name)
			spec.Template.Spec.Containers[0].Resources.Limits = corev1.ResourceList{corev1.ResourceMemory: resource.MustParse("64Mi")}
			pod := f.create(spec)
			agent, err := f.Agent(pod.Key, pod.UID)
			if err != nil {
				t.Fatal(err)
			}
			// A command that is killed otherwise did not run out of memory.
			result, err := agent.Run(t.Context(), execution("killed", "/bin/sh", "-c", "kill -KILL $$"), nil)
			if err != nil || result.Message == "" || strings.Contains(result.Message, "memory") {
				t.Errorf("killed by itself: %q, %v", result.Message, err)
			}
			ex := execution("grows", "/bin/sh", "-c", script)
			ex.WorkDir = pod.WorkDir
			if result, err = agent.Run(t.Context(), ex, nil); err != nil {
				t.Fatal(err)
			}
			if result.State != wire.Failed || result.ExitCode == nil || *result.ExitCode != 137 {
				t.Errorf("got %+v", result)
			}
			for _, word := range []string{"out of memory", "64Mi", "resources.limits.memory"} {
				if !strings.Contains(result.Message, word) {
					t.Errorf("no %q in %q", word, result.Message)
				}
			}
		})
	}
}

// leftovers lists what pods hold of the machine's outside of their folder.
func leftovers(t *testing.T, dir, cgroupParent string) []string {
	t.Helper()
	var found []string
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	for line := range bytes.Lines(mounts) {
		if bytes.Contains(line, []byte(dir)) {
			found = append(found, "mount "+string(line))
		}
	}
	for _, pattern := range []string{"/sys/fs/cgroup/*" + cgroupParent + "/*/", "/sys/fs/cgroup" + cgroupParent + "/*/"} {
		cgroups, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		found = append(found, cgroups...)
	}
	processes, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	for _, process := range processes {
		cgroup, _ := os.ReadFile(filepath.Join(filepath.Dir(process), "cgroup"))
		status, _ := os.ReadFile(filepath.Join(filepath.Dir(process), "status"))
		// The dead are for the machine's first process to bury.
		if bytes.Contains(cgroup, []byte(cgroupParent+"/")) && !bytes.Contains(status, []byte("State:\tZ")) {
			found = append(found, process)
		}
	}
	for _, sub := range []string{podsName, trashName} {
		entries, err := os.ReadDir(filepath.Join(dir, sub))
		if err != nil {
			t.Fatal(err)
		}
		for _, entry := range entries {
			found = append(found, filepath.Join(sub, entry.Name()))
		}
	}
	slices.Sort(found)
	return found
}

func TestDeleteLeavesNothing(t *testing.T) {
	needContainers(t)
	f := start(t, Config{Dir: t.TempDir()})
	for _, name := range []string{"one", "two", "three"} {
		pod := f.create(hostSpec(name))
		if _, code := f.run(pod, "mkdir -p /workspace/a/b && chmod 0 /workspace/a && (setsid sleep 1000 >/dev/null 2>&1 &)"); code != 0 {
			t.Fatalf("exit code %d", code)
		}
	}
	// One is deleted while it starts.
	if _, err := f.Create(t.Context(), hostSpec("early")); err != nil {
		t.Fatal(err)
	}
	if len(leftovers(t, f.config.Dir, f.config.CgroupParent)) == 0 {
		t.Fatal("the test finds nothing of pods that run")
	}
	f.removeAll()
	if found := leftovers(t, f.config.Dir, f.config.CgroupParent); len(found) > 0 {
		t.Errorf("left behind: %q", found)
	}
	f.stop()
	if parents, _ := filepath.Glob("/sys/fs/cgroup/*" + f.config.CgroupParent); len(parents) > 0 {
		t.Errorf("left behind: %q", parents)
	}
}
