package integration

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
	"k8s.io/apimachinery/pkg/types"

	"arl.io/arl/pkg/podruntime"
)

// podsDir is where the runtime keeps a folder for each pod.
func (s *server) podsDir() string { return filepath.Join(s.data, "runtime", "pods") }

// pods returns the UIDs, by name, of the pods that the server keeps for a
// namespace, as the runtime's own files have them: also while no server runs.
func (n *tenant) pods() map[string]types.UID {
	n.T.Helper()
	entries, err := os.ReadDir(n.server.podsDir())
	if err != nil {
		n.T.Fatal(err)
	}
	found := map[string]types.UID{}
	for _, entry := range entries {
		var record struct{ Pod podruntime.Pod }
		ok := n.readPodFile(types.UID(entry.Name()), "pod.json", &record)
		if ok && record.Pod.Namespace == n.Namespace {
			found[record.Pod.Name] = record.Pod.UID
		}
	}
	return found
}

// readPodFile returns false if there is no such file, or no such pod any more.
func (n *tenant) readPodFile(pod types.UID, name string, into any) bool {
	n.T.Helper()
	content, err := os.ReadFile(filepath.Join(n.server.podsDir(), string(pod), name))
	if errors.Is(err, fs.ErrNotExist) {
		return false
	}
	if err == nil {
		err = json.Unmarshal(content, into)
	}
	if err != nil {
		n.T.Fatal(err)
	}
	return true
}

// killPod ends the first process of a pod, and so the pod, as a machine short
// of memory or an administrator would.
func (n *tenant) killPod(pod types.UID) {
	n.T.Helper()
	var process struct {
		PID int `json:"pid"`
	}
	if !n.readPodFile(pod, "process.json", &process) || process.PID <= 1 {
		n.T.Fatalf("pod %s has no process", pod)
	}
	kill(n.T, process.PID)
}

func kill(t *testing.T, pid int) {
	t.Helper()
	if err := unix.Kill(pid, unix.SIGKILL); err != nil {
		t.Fatalf("kill process %d: %v", pid, err)
	}
}

// awaitPods waits until accept says nil of the pods of the namespace.
func (n *tenant) awaitPods(what string, accept func(pods map[string]types.UID) bool) {
	n.T.Helper()
	eventually(n.T, what, func(context.Context) error {
		if pods := n.pods(); !accept(pods) {
			return fmt.Errorf("pods are %v", pods)
		}
		return nil
	})
}
