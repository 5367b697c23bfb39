package local

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"testing"
	"time"

	"arl.io/arl/pkg/podruntime"
)

// killedEnv makes the test binary a server on the folder it names, to be killed.
const killedEnv = "ARL_TEST_KILLED_SERVER"

// killedPods is how many pods the server starts.
const killedPods = 6

// TestServerIsKilled kills a server while its pods start, at ten instants from
// before the first to after the last, and looks that the next server finds each
// pod that was made, can use those that are Ready, and can remove them all.
func TestServerIsKilled(t *testing.T) {
	needContainers(t)
	if dir := os.Getenv(killedEnv); dir != "" {
		serveUntilKilled(t, dir)
		return
	}
	for round := range 10 {
		t.Run(fmt.Sprintf("after %d ms", 30*round), func(t *testing.T) {
			dir := t.TempDir()
			killServer(t, dir, time.Duration(30*round)*time.Millisecond)
			f := start(t, Config{Dir: dir})
			ready := 0
			for _, event := range f.recorder.events {
				switch event.Pod.Phase {
				case podruntime.Ready:
					ready++
					if out, code := f.run(event.Pod, "echo works"); code != 0 || out != "works\n" {
						t.Errorf("exit code %d, output %q", code, out)
					}
				case podruntime.Starting:
					f.pod(t, event.Pod.Name, podruntime.Ready, podruntime.Failed)
				}
			}
			t.Logf("%d pods found, %d Ready", len(f.recorder.events), ready)
			f.removeAll()
			f.stop()
			if found := leftovers(t, dir, f.config.CgroupParent); len(found) > 0 {
				t.Errorf("left behind: %q", found)
			}
		})
	}
}

// killServer runs a server and kills it some time after it began to make pods.
func killServer(t *testing.T, dir string, after time.Duration) {
	t.Helper()
	agent, err := agentBinary()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	server := exec.CommandContext(ctx, "/proc/self/exe", "-test.run=^TestServerIsKilled$", "-test.v")
	server.Env = append(os.Environ(), killedEnv+"="+dir, "ARL_TEST_AGENT="+agent)
	out, err := server.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	for lines.Scan() && lines.Text() != killedEnv {
	}
	<-time.After(after) // the instant is the point of the test, not a wait for something
	cancel()
	_ = server.Wait() // it was killed
}

func serveUntilKilled(t *testing.T, dir string) {
	r, err := New(t.Context(), Config{Dir: dir, AgentPath: os.Getenv("ARL_TEST_AGENT"), AllowHostImage: true})
	if err != nil {
		t.Fatal(err)
	}
	told := &recorder{changed: make(chan struct{})}
	go func() { _ = r.Run(context.Background(), told) }()
	told.await(t, "PodsSynced", func() bool { return told.synced })
	fmt.Printf("\n%s\n", killedEnv)
	for i := range killedPods {
		if _, err := r.Create(t.Context(), hostSpec(fmt.Sprintf("pod-%d", i))); err != nil {
			t.Fatal(err)
		}
	}
	<-time.After(deadline)
	t.Fatal("nobody killed this server")
}
