package sdk_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"

	"arl.io/arl/pkg/sdk"
)

// empty is a list of no pools.
const empty = `{"kind":"WarmPoolList","apiVersion":"arl.io/v1alpha1","metadata":{},"items":[]}`

// What this program is in place of a run of the tests, if these are set: see asChild.
const (
	// childServer names the server to list the pools of. net/http reads the environment's proxies once,
	// so that each case of TestProxyOfTheEnvironment is a process of its own.
	childServer = "ARL_TEST_CHILD_SERVER"
	// pluginFolder names the folder of a credential plugin.
	pluginFolder = "ARL_TEST_PLUGIN_FOLDER"
)

// asChild does what a test has called this program for.
func asChild() (called bool, err error) {
	if folder := os.Getenv(pluginFolder); folder != "" {
		return true, plugin(folder)
	}
	if server := os.Getenv(childServer); server != "" {
		return true, listFrom(server)
	}
	return false, nil
}

func TestProxyOfTheEnvironment(t *testing.T) {
	t.Parallel()
	var asked atomic.Int32
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Host == "arl.example.com" {
			asked.Add(1)
		}
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprint(w, empty)
	}))
	defer proxy.Close()
	dead := "http://127.0.0.1:9"
	tests := []struct {
		name, server string
		env          []string
		want         int32
	}{
		{"far away", "http://arl.example.com", []string{"HTTP_PROXY=" + proxy.URL}, 1},
		{"loopback", proxy.URL, []string{"HTTP_PROXY=" + dead, "HTTPS_PROXY=" + dead}, 0},
		{"exempt", proxy.URL, []string{"HTTP_PROXY=" + dead, "NO_PROXY=127.0.0.0/8"}, 0},
	}
	for _, test := range tests {
		before := asked.Load()
		child := exec.CommandContext(t.Context(), os.Args[0])
		child.Env = append(os.Environ(), append(test.env, childServer+"="+test.server)...)
		output, err := child.CombinedOutput()
		if err != nil {
			t.Errorf("%s: %v\n%s", test.name, err, output)
		}
		if got := asked.Load() - before; got != test.want {
			t.Errorf("%s: the proxy was asked %d times, want %d", test.name, got, test.want)
		}
	}
}

func listFrom(server string) error {
	client, err := sdk.NewClient(&rest.Config{Host: server})
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	_, err = client.ArlV1alpha1().WarmPools("default").List(ctx, metav1.ListOptions{})
	return err
}

// plugin is a credential plugin whose first token is refused: each run issues the next one.
func plugin(folder string) error {
	runs, err := filepath.Glob(filepath.Join(folder, "run-*"))
	if err != nil {
		return err
	}
	number := len(runs) + 1
	if err := os.WriteFile(filepath.Join(folder, fmt.Sprintf("run-%d", number)), nil, 0o600); err != nil {
		return err
	}
	_, err = fmt.Printf(`{"apiVersion":"client.authentication.k8s.io/v1","kind":"ExecCredential","status":{"token":"t-%d"}}`, number)
	return err
}

// TestPluginIsRunAgain has the server refuse the first token of a credential plugin.
func TestPluginIsRunAgain(t *testing.T) {
	t.Parallel()
	var tokens []string
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		tokens = append(tokens, strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer "))
		w.Header().Set("Content-Type", "application/json")
		if len(tokens) == 1 {
			w.WriteHeader(http.StatusUnauthorized)
		}
		fmt.Fprint(w, empty)
	}))
	defer server.Close()
	folder := t.TempDir()
	config := clientcmdapi.NewConfig()
	config.Clusters["c"] = &clientcmdapi.Cluster{Server: server.URL, InsecureSkipTLSVerify: true}
	config.AuthInfos["u"] = &clientcmdapi.AuthInfo{Exec: &clientcmdapi.ExecConfig{
		APIVersion: "client.authentication.k8s.io/v1", Command: os.Args[0], InteractiveMode: clientcmdapi.NeverExecInteractiveMode,
		Env: []clientcmdapi.ExecEnvVar{{Name: pluginFolder, Value: folder}},
	}}
	config.Contexts["x"] = &clientcmdapi.Context{Cluster: "c", AuthInfo: "u"}
	rest, err := clientcmd.NewNonInteractiveClientConfig(*config, "x", nil, nil).ClientConfig()
	if err != nil {
		t.Fatal(err)
	}
	client, err := sdk.NewClient(rest)
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if _, err := sdk.NewPools(client, "").List(waiting(t)); err != nil {
			t.Fatal(err)
		}
	}
	if got := strings.Join(tokens, " "); got != "t-1 t-2 t-2" {
		t.Errorf("tokens %s, want t-1, then t-2 twice", got)
	}
}
