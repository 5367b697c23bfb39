package integration

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/util/rand"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"k8s.io/utils/ptr"

	"arl.io/arl/pkg/apis/arl/v1alpha1"
)

func TestSecondServerOnADirectoryIsRefused(t *testing.T) {
	t.Parallel()
	s := shared(t)
	wantWords(t, s.refuse(t), "another server uses "+s.data)
	if err := s.get(t.Context(), s.config, "/readyz"); err != nil {
		t.Errorf("the first server has suffered: %v", err)
	}

	purge, err := runToEnd(t.Context(), exec.CommandContext(t.Context(), binary(), "purge", "--data-dir", s.data))
	if err != nil {
		t.Fatal(err)
	}
	if purge.Code == 0 {
		t.Error("purge of a running server's directory exits with 0")
	}
	wantWords(t, purge.Stderr, "a server uses "+s.data)
}

// get asks for a path as whoever the config is.
func (s *server) get(ctx context.Context, config *rest.Config, path string) error {
	_, err := s.body(ctx, config, path)
	return err
}

func (s *server) body(ctx context.Context, config *rest.Config, path string) (string, error) {
	config = rest.CopyConfig(config)
	config.NegotiatedSerializer = scheme.Codecs.WithoutConversion()
	client, err := rest.UnversionedRESTClientFor(config)
	if err != nil {
		return "", err
	}
	body, err := client.Get().AbsPath(path).DoRaw(ctx)
	return string(body), err
}

func TestAdminSeesHealthAndMetrics(t *testing.T) {
	t.Parallel()
	s := shared(t)
	for path, want := range map[string]string{
		"/readyz": "ok", "/livez": "ok", "/metrics": "apiserver_request_total", "/version": `"major"`, "/openapi/v3": "arl.io",
	} {
		body, err := s.body(t.Context(), s.config, path)
		if err != nil {
			t.Errorf("%s: %v", path, err)
			continue
		}
		if !strings.Contains(body, want) {
			t.Errorf("no %q in %s: %.300s", want, path, body)
		}
	}
}

func TestStrangersAreRefused(t *testing.T) {
	t.Parallel()
	s := shared(t)
	strangers := map[string]*rest.Config{
		"nobody":                         rest.AnonymousClientConfig(s.config),
		"bearer of a token":              rest.AnonymousClientConfig(s.config),
		"admin by another's certificate": rest.AnonymousClientConfig(s.config),
	}
	strangers["bearer of a token"].BearerToken = rand.String(32)
	foreign := &strangers["admin by another's certificate"].TLSClientConfig
	foreign.CertData, foreign.KeyData = foreignAdmin(t)
	for who, config := range strangers {
		for _, path := range []string{"/apis/arl.io/v1alpha1/warmpools", "/apis", "/metrics", "/readyz", "/livez"} {
			if err := s.get(t.Context(), config, path); !apierrors.IsUnauthorized(err) {
				t.Errorf("%s asks for %s: %v, want 401", who, path, err)
			}
		}
	}
}

func TestSecretsAreTheOwnersAlone(t *testing.T) {
	t.Parallel()
	s := shared(t)
	err := filepath.WalkDir(s.data, func(path string, entry os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if entry.IsDir() && entry.Name() == "runtime" {
			return filepath.SkipDir // files of containers
		}
		info, err := entry.Info()
		secret := entry.Name() == "kubeconfig" || strings.HasSuffix(path, ".key") || strings.HasSuffix(path, ".db")
		if err == nil && secret && info.Mode() != 0o600 {
			t.Errorf("%s has mode %v, want 0600", path, info.Mode())
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(s.Kubeconfig()); err != nil || info.Mode() != 0o600 {
		t.Errorf("the kubeconfig: %v, %v", info, err)
	}
	if info, err := os.Stat(s.data); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("the data directory: %v, %v", info, err)
	}
}

func TestTakenPortIsNamed(t *testing.T) {
	t.Parallel()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	port := fmt.Sprint(listener.Addr().(*net.TCPAddr).Port)
	wantWords(t, ownServer(t).refuse(t, "--secure-port", port), port, "address already in use")
}

func TestBadFlagsAreNamed(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	data := filepath.Join(dir, "data")
	notDir := filepath.Join(dir, "file")
	if err := os.WriteFile(notDir, []byte("mine"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name, args string
		words      []string
	}{
		{"no mode", "--data-dir " + data, []string{"--standalone: must be given"}},
		{"no directory", "--standalone", []string{"--data-dir: must be given"}},
		{"nothing", "", []string{"--standalone: must be given", "--data-dir: must be given"}},
		{"no flag of ours", "--standalone --data-dir " + data + " --data-directory x", []string{"unknown flag", "--data-directory"}},
		{"an argument", "--standalone --data-dir " + data + " serve", []string{`unknown command "serve"`}},
		{"a file for a directory", "--standalone --secure-port 0 --data-dir " + notDir, []string{notDir, "not a directory"}},
		{"no agent", "--standalone --agent-path /nowhere --data-dir " + data, []string{"--agent-path", "/nowhere"}},
		{"no size", "--standalone --storage-min-free lots --data-dir " + data, []string{"--storage-min-free", `"lots" is not a size`}},
		{"purge of nothing", "purge", []string{"data-dir"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			got, err := runToEnd(ctx, exec.CommandContext(ctx, binary(), strings.Fields(tt.args)...))
			if err != nil {
				t.Fatal(err)
			}
			if got.Code == 0 {
				t.Error("exit code 0, want another")
			}
			if got.Stdout != "" || strings.Contains(got.Stderr, "goroutine ") {
				t.Errorf("it says %q and %q", got.Stdout, got.Stderr)
			}
			wantWords(t, got.Stderr, tt.words...)
			if _, err := os.Stat(data); !os.IsNotExist(err) {
				t.Errorf("a refused server has made %s: %v", data, err)
			}
		})
	}
}

// TestSIGTERMLeavesTasksRunning ends a server that has a watch open and a task
// running; the next one carries the task to its end.
func TestSIGTERMLeavesTasksRunning(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	n := newTenant(t, s)
	n.FillPool(hostPool("pool", 1))
	sandbox := sandboxOf("x", "pool")
	sandbox.Spec.MaxConcurrentTasks = ptr.To(int32(2))
	n.CreateSandbox(sandbox)
	mark := rand.String(16)
	step := shell("step", "echo begun >>log; until [ -e go ]; do sleep 0.05; done; cat log")
	step.Env = map[string]string{markVariable: mark}
	n.CreateTask(taskIn("x", "waits", step))
	n.AwaitRunning("waits")
	eventually(t, "the step's process", func(context.Context) error {
		if len(marked(t, mark)) == 0 {
			return fmt.Errorf("no process has the mark")
		}
		return nil
	})
	watch, err := n.Tasks().Watch(t.Context(), everything)
	if err != nil {
		t.Fatal(err)
	}
	defer watch.Stop()

	begun := time.Now()
	s.mustStop(t)
	// A watch that is waited for would take the whole of --shutdown-timeout.
	if took := time.Since(begun); took > 10*time.Second {
		t.Errorf("the server took %s to stop", took)
	}
	for event := range watch.ResultChan() { // until it is closed, as it must be
		t.Logf("seen before the server was gone: %s", event.Type)
	}
	if len(marked(t, mark)) == 0 {
		t.Error("the step has ended with the server")
	}
	s.mustStart(t)
	n.Output("x", "touch go")
	done := n.AwaitEnd("waits")
	if done.Status.State != v1alpha1.TaskSucceeded || done.Status.Stdout != "begun\n" || done.Status.Attempts != 1 {
		t.Errorf("the task is %s, wrote %q", describe(done), done.Status.Stdout)
	}
}
