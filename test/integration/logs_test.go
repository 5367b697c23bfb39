package integration

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"arl.io/arl/pkg/apis/arl/v1alpha1"
)

// TestSecretsAreInNoLog has words in all that a user may hold secret go through a server that logs as
// much as it can, and looks for them in its log and in what the pods log.
func TestSecretsAreInNoLog(t *testing.T) {
	t.Parallel()
	key := encryptionKey("key-1")
	s := encryptedServer(t, "--v=10", "--vmodule=*=10")
	s.encrypt(t, secretbox(key))
	s.mustStart(t)
	n := tenantIn(t, s, "default")
	secrets := append(n.storeCanaries(), n.failCanaries()...)
	secrets = append(secrets, s.sendCanaries(t)...)
	secrets = append(secrets, key.Secret)
	secrets = append(secrets, s.ownSecrets(t)...)

	s.mustStop(t) // A log is whole when its server has ended.
	log := mustRead(t, s.LogFile())
	for _, line := range []string{"httplog.go", "Response Body", "satisfied by gorestful"} {
		if !bytes.Contains(log, []byte(line)) {
			t.Errorf("the log has no line %q: it is not of the highest level", line)
		}
	}
	log = append(log, undump(log)...)
	for _, secret := range secrets {
		for form, text := range map[string]string{
			"in clear": secret, "in base64": base64.StdEncoding.EncodeToString([]byte(secret)), "quoted": fmt.Sprintf("%q", secret),
		} {
			if at := bytes.Index(log, []byte(text)); at >= 0 {
				t.Errorf("%.40q is in the server's log, %s: %s", secret, form, around(log, at))
				break
			}
		}
	}
	pods := filepath.Join(s.data, "runtime", "pods")
	if _, err := os.Stat(pods); err != nil {
		t.Fatal(err)
	}
	for _, secret := range secrets {
		for _, path := range search(t, pods, []byte(secret)) {
			// What the user's own steps write is the user's.
			if filepath.Base(path) == "output.log" {
				t.Errorf("%.40q is in a pod's log, %s", secret, path)
			}
		}
	}
}

// dumpLine is a line of a hexadecimal dump, in which client-go logs what is no text.
var dumpLine = regexp.MustCompile(`(?m)^\s*[0-9a-f]{8}  ((?:[0-9a-f]{2} +){1,16})`)

// undump returns what the dumps in a log are of.
func undump(log []byte) (content []byte) {
	for _, line := range dumpLine.FindAllSubmatch(log, -1) {
		part, err := hex.DecodeString(string(bytes.ReplaceAll(line[1], []byte(" "), nil)))
		if err == nil {
			content = append(content, part...)
		}
	}
	return content
}

// around is the line of a log that has a place.
func around(log []byte, at int) string {
	begin := bytes.LastIndexByte(log[:at], '\n') + 1
	end := min(at+100, len(log))
	return string(log[max(begin, at-300):end])
}

// failCanaries are in what fails: errors quote what they are about.
func (n *tenant) failCanaries() (canaries []string) {
	n.T.Helper()
	word := func(place string) string {
		canaries = append(canaries, "canary-in-"+place)
		return canaries[len(canaries)-1]
	}
	patch := "--- a/none.txt\n+++ b/none.txt\n@@ -1 +1 @@\n-" + word("a-patch") + "\n+x\n"
	for name, step := range map[string]v1alpha1.TaskStep{
		"stdin":   {Name: "s", Type: v1alpha1.StepCommand, Command: []string{"sh", "-c", "exit 3"}, Stdin: word("stdin")},
		"missing": {Name: "s", Type: v1alpha1.StepCommand, Command: []string{"/" + word("a-missing-command")}},
		"patch":   {Name: "s", Type: v1alpha1.StepFilePatch, Path: "none.txt", Patch: &patch},
		"stderr":  {Name: "s", Type: v1alpha1.StepCommand, Command: []string{"sh", "-c", "echo canary-in-$PLACE >&2; exit 1"}, Env: map[string]string{"PLACE": "stderr"}},
	} {
		task := taskIn("box", "fails-"+name, step)
		if got := n.Perform(task); got.Status.State != v1alpha1.TaskFailed {
			n.T.Errorf("task %s is %s", got.Name, describe(got))
		}
	}
	word("stderr")
	return canaries
}

// sendCanaries sends requests that are refused: with credentials, in headers and in paths of several
// kinds, and with bodies that cannot be read.
func (s *server) sendCanaries(t *testing.T) (canaries []string) {
	t.Helper()
	anonymous := rest.AnonymousClientConfig(s.config)
	stranger, err := rest.HTTPClientFor(anonymous)
	if err != nil {
		t.Fatal(err)
	}
	user, err := rest.HTTPClientFor(s.config)
	if err != nil {
		t.Fatal(err)
	}
	word := func(place string) string {
		canaries = append(canaries, "canary-in-"+place)
		return canaries[len(canaries)-1]
	}
	const tasks = "/apis/arl.io/v1alpha1/namespaces/default/tasks"
	basic := base64.StdEncoding.EncodeToString([]byte("user:" + word("a-password")))
	canaries = append(canaries, basic)
	socket := base64.RawURLEncoding.EncodeToString([]byte(word("a-websocket-token")))
	canaries = append(canaries, socket)
	for _, request := range []struct {
		client       *http.Client
		method, path string
		header       http.Header
		body         string
	}{
		{stranger, "GET", tasks, http.Header{"Authorization": {"Bearer " + word("a-bearer-token")}}, ""},
		{user, "GET", tasks, http.Header{"Authorization": {"Bearer " + word("another-bearer-token")}}, ""},
		{stranger, "GET", tasks, http.Header{"Authorization": {"Basic " + basic}}, ""},
		{stranger, "GET", tasks, http.Header{"Sec-Websocket-Protocol": {"base64url.bearer.authorization.k8s.io." + socket}, "Connection": {"upgrade"}, "Upgrade": {"websocket"}}, ""},
		{user, "GET", tasks, http.Header{"Cookie": {"session=" + word("a-cookie")}, "X-Remote-Extra-Secret": {word("an-extra")}}, ""},
		{user, "POST", tasks, http.Header{"Content-Type": {"application/json"}}, `{"kind":"Task","spec":{"` + word("broken-json") + `"`},
		{user, "POST", tasks, http.Header{"Content-Type": {"application/json"}}, `{"apiVersion":"arl.io/v1alpha1","kind":"Task","metadata":{"name":"x"},"spec":{"steps":"` + word("a-wrong-type") + `"}}`},
		{user, "POST", tasks + "?fieldValidation=Strict", http.Header{"Content-Type": {"application/yaml"}}, "apiVersion: arl.io/v1alpha1\nkind: Task\nspec:\n  unknown: " + word("an-unknown-field") + "\n"},
		{user, "POST", tasks, http.Header{"Content-Type": {"application/json"}}, `{"apiVersion":"arl.io/v1alpha1","kind":"Task","metadata":{"name":"x"},"spec":{"sandboxRef":"box","timeout":"` + word("an-invalid-value") + `","steps":[]}}`},
		{user, "PATCH", tasks + "/task", http.Header{"Content-Type": {"application/json-patch+json"}}, `[{"op":"add","path":"/spec/x","value":"` + word("a-json-patch") + `"}]`},
	} {
		r, err := http.NewRequestWithContext(t.Context(), request.method, s.config.Host+request.path, strings.NewReader(request.body))
		if err != nil {
			t.Fatal(err)
		}
		r.Header = request.header
		response, err := request.client.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.Copy(io.Discard, response.Body)
		response.Body.Close()
	}
	return canaries
}

// ownSecrets are the keys that the server made for itself and for its user.
func (s *server) ownSecrets(t *testing.T) (secrets []string) {
	t.Helper()
	config, err := clientcmd.LoadFromFile(s.Kubeconfig())
	if err != nil {
		t.Fatal(err)
	}
	for _, user := range config.AuthInfos {
		for _, secret := range []string{user.Token, user.Password, base64.StdEncoding.EncodeToString(user.ClientKeyData)} {
			if secret != "" {
				secrets = append(secrets, secret)
			}
		}
	}
	for _, path := range search(t, s.data, []byte("PRIVATE KEY-----")) {
		for _, line := range strings.Split(string(mustRead(t, path)), "\n") {
			if line = strings.TrimSpace(line); len(line) > 32 && !strings.Contains(line, "-----") && !strings.Contains(line, ":") {
				secrets = append(secrets, line)
			}
		}
	}
	if len(secrets) == 0 {
		t.Error("the server has no keys: the test looks for nothing")
	}
	return secrets
}
