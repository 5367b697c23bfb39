package hostile

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"

	"arl.io/arl/pkg/apis/arl/v1alpha1"
	"arl.io/arl/test/space"
)

// group is where the API's objects are.
const group = "/apis/arl.io/v1alpha1"

// tenantMemory is what the server's memory may grow by for all requests of TestHostileRequests together.
const tenantMemory = 600 << 20

// request is one that a hostile tenant sends as it is: no client tidies it up.
type request struct {
	name, method, path, contentType string
	body                            func() []byte
}

// taskOf is a task's JSON with something more in its metadata and its spec.
func taskOf(metadata, spec string) []byte {
	return fmt.Appendf(nil, `{"apiVersion":"arl.io/v1alpha1","kind":"Task","metadata":{"generateName":"bad-"%s},`+
		`"spec":{"sandboxRef":"box","steps":[{"name":"a","type":"Command","command":["true"]}]%s}}`, metadata, spec)
}

// pairs is the inside of a JSON object of so many pairs.
func pairs(count int) string {
	var text strings.Builder
	for i := range count {
		fmt.Fprintf(&text, `,"l%d":"v"`, i)
	}
	return strings.TrimPrefix(text.String(), ",")
}

func text(s string) func() []byte { return func() []byte { return []byte(s) } }

// hostileRequests must be refused as the client's mistake, those that write, or answered, those that read.
func hostileRequests() []request {
	const json, tasks = "application/json", group + "/namespaces/hostile/tasks"
	post := func(name, contentType string, body func() []byte) request {
		return request{name: name, method: http.MethodPost, path: tasks, contentType: contentType, body: body}
	}
	patch := func(name, contentType string, body func() []byte) request {
		return request{name: name, method: http.MethodPatch, path: tasks + "/box", contentType: contentType, body: body}
	}
	get := func(path string) request { return request{name: "get " + path, method: http.MethodGet, path: path} }
	return []request{
		post("150,000 labels", json, func() []byte { return taskOf(`,"labels":{`+pairs(150_000)+`}`, "") }),
		post("150,000 annotations", json, func() []byte { return taskOf(`,"annotations":{`+pairs(150_000)+`}`, "") }),
		post("50,000 owners", json, func() []byte {
			return taskOf(`,"ownerReferences":[{}`+strings.Repeat(`,{"apiVersion":"v1","kind":"Pod","name":"x","uid":"x"}`, 50_000)+`]`, "")
		}),
		post("100,000 finalizers", json, func() []byte {
			return taskOf(`,"finalizers":["a/b"`+strings.Repeat(`,"a/b"`, 100_000)+`]`, "")
		}),
		post("a sandbox of another namespace", json, text(`{"apiVersion":"arl.io/v1alpha1","kind":"Task","metadata":{"name":"x"},`+
			`"spec":{"sandboxRef":"../honest/box","steps":[{"name":"a","type":"Command","command":["true"]}]}}`)),
		post("another namespace in the object", json, func() []byte { return taskOf(`,"namespace":"honest"`, "") }),
		post("100,000 nested objects", json, func() []byte {
			return []byte(strings.Repeat(`{"spec":`, 100_000) + "1" + strings.Repeat("}", 100_000))
		}),
		post("100,000 nested lists", json, func() []byte { return []byte(strings.Repeat("[", 100_000)) }),
		post("nested YAML", "application/yaml", func() []byte { return []byte(strings.Repeat("{a: ", 20_000)) }),
		post("YAML that repeats itself", "application/yaml", billionLaughs),
		post("noise as protobuf", "application/vnd.kubernetes.protobuf", text("k8s\x00\xff\xff\xff\xff\x0f\xff\xff")),
		post("16 MiB", json, func() []byte { return taskOf("", `,"env":[`+strings.Repeat(" ", 16<<20)+`]`) }),
		post("a large number", json, func() []byte { return taskOf("", `,"retries":`+strings.Repeat("9", 1<<20)) }),
		patch("a JSON patch of 50,000 operations", "application/json-patch+json", func() []byte {
			return []byte(`[{"op":"test","path":"/a"}` + strings.Repeat(`,{"op":"add","path":"/metadata/labels","value":{}}`, 50_000) + "]")
		}),
		patch("a JSON patch that doubles itself", "application/json-patch+json", doublingPatch),
		patch("a nested apply patch", "application/apply-patch+yaml", func() []byte { return []byte(strings.Repeat("{a: ", 20_000)) }),
		get(group + "/namespaces/../tasks"),
		get(group + "/namespaces/./tasks"),
		get(group + "/namespaces/%2e%2e/tasks"),
		get(group + "/namespaces/a%2fb/tasks"),
		get(group + "/namespaces/%00/tasks"),
		get(group + "/namespaces/" + strings.Repeat("n", 10_000) + "/tasks"),
		get(tasks + "/.."),
		get(tasks + "/%2e%2e"),
		get(tasks + "?continue=eyJ2IjoibWV0YS5rOHMuaW8vdjEiLCJydiI6OTk5LCJzdGFydCI6Ii4uLy4uL3dhcm1wb29scyJ9"),
		get(tasks + "?resourceVersion=18446744073709551616&resourceVersionMatch=Exact"),
		get(tasks + "?labelSelector=" + url.QueryEscape("a in ("+strings.Repeat("b,", 400_000)+"b)")),
		get(tasks + "?fieldSelector=" + strings.Repeat("status.state%3Dx,", 50_000) + "status.state%3Dx"),
		get("/" + strings.Repeat("a/", 500_000)),
	}
}

// billionLaughs is a document of which each line is ten times the one before.
func billionLaughs() []byte {
	var document strings.Builder
	document.WriteString("a0: &a0 lol\n")
	for i := 1; i < 12; i++ {
		fmt.Fprintf(&document, "a%d: &a%d [%s*a%d]\n", i, i, strings.Repeat(fmt.Sprintf("*a%d,", i-1), 9), i-1)
	}
	return []byte(document.String())
}

// doublingPatch copies labels into themselves, again and again.
func doublingPatch() []byte {
	patch := `[{"op":"add","path":"/metadata/labels","value":{"a":"` + strings.Repeat("x", 1000) + `"}}`
	for i := range 40 {
		patch += fmt.Sprintf(`,{"op":"copy","from":"/metadata","path":"/metadata/labels/c%d"}`, i)
	}
	return []byte(patch + "]")
}

// TestHostileRequests sends what no client does. Each request is refused as the client's mistake, the
// server's memory stays within bounds, and an honest tenant's sandbox works all the while.
func TestHostileRequests(t *testing.T) {
	s := startServer(t)
	honest := s.tenant(t, "honest")
	honest.FillPool(pool("pool", 1))
	honest.ReadySandbox("box", "pool")
	hostile := s.tenant(t, "hostile")
	hostile.CreateTask(space.TaskIn("none", "box", space.Command("a", "true")))
	s.note(t)
	growth := s.watchMemory(t)
	client := s.rawClient(t)
	for i, each := range hostileRequests() {
		t.Run(fmt.Sprintf("%.60s", each.name), func(t *testing.T) {
			status, answer, err := s.sendRaw(t.Context(), client, each)
			if err != nil {
				t.Fatalf("no answer: %v", err)
			}
			if status >= 500 || status < 400 && each.method != http.MethodGet {
				t.Errorf("answered %d: %.300s", status, answer)
			}
			wantEcho(honest.In(t), "box", fmt.Sprintf("after-%d", i))
		})
	}
	growth.want(t, tenantMemory)
}

// TestForgedStatus creates objects that bring a status of their own: it is dropped.
func TestForgedStatus(t *testing.T) {
	s := startServer(t)
	honest := s.tenant(t, "honest")
	honest.FillPool(pool("pool", 1))
	victim := honest.ReadySandbox("box", "pool")
	s.note(t)
	n := s.tenant(t, "hostile")
	forged := space.SandboxOf("forged", "none")
	forged.Status = victim.Status
	if got := n.CreateSandbox(forged).Status; got.Phase != v1alpha1.SandboxPending || got.PodName != "" || got.PodUID != "" {
		t.Errorf("the sandbox was created with the status %+v", got)
	}
	n.CreateTask(space.TaskIn("forged", "task", space.Command("a", "true")))
	stored, err := n.Sandboxes().Get(t.Context(), "forged", getNow)
	if err != nil {
		t.Fatal(err)
	}
	stored.Status = victim.Status
	updated, err := n.Sandboxes().Update(t.Context(), stored, metav1.UpdateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if updated.Status.PodName != "" {
		t.Errorf("an update changed the status to %+v", updated.Status)
	}
	wantEcho(honest, "box", "after")
}

// rawClient has the admin's credentials and as many connections as it likes.
func (s *server) rawClient(t *testing.T) *http.Client {
	t.Helper()
	config, err := rest.TLSConfigFor(s.config)
	if err != nil {
		t.Fatal(err)
	}
	transport := &http.Transport{TLSClientConfig: config}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport, Timeout: patience}
}

// sendRaw sends a request with its path as it is written.
func (s *server) sendRaw(ctx context.Context, client *http.Client, each request) (status int, answer []byte, err error) {
	var body io.Reader
	if each.body != nil {
		body = bytes.NewReader(each.body())
	}
	r, err := http.NewRequestWithContext(ctx, each.method, s.config.Host, body)
	if err != nil {
		return 0, nil, err
	}
	path, query, _ := strings.Cut(each.path, "?")
	r.URL.Opaque, r.URL.RawQuery = "//"+r.URL.Host+path, query
	r.Header.Set("Content-Type", each.contentType)
	response, err := client.Do(r)
	if err != nil {
		return 0, nil, err
	}
	defer response.Body.Close()
	answer, err = io.ReadAll(io.LimitReader(response.Body, 1<<20))
	return response.StatusCode, answer, err
}

// TestManyWatchesAndConnections has a tenant open watches that it never reads and connections that
// never ask for anything. The honest tenant's work goes on, and the server lets all of it go.
func TestManyWatchesAndConnections(t *testing.T) {
	const watches, connections, writes = 500, 200, 50
	s := startServer(t)
	honest := s.tenant(t, "honest")
	honest.FillPool(pool("pool", 1))
	honest.ReadySandbox("box", "pool")
	s.note(t)
	before, err := s.descriptors()
	if err != nil {
		t.Fatal(err)
	}
	growth := s.watchMemory(t)
	ctx, end := context.WithCancel(t.Context())
	defer end()
	client := s.rawClient(t)
	var opening sync.WaitGroup
	for range watches {
		opening.Go(func() { s.openWatch(ctx, client) })
	}
	address := strings.TrimPrefix(s.config.Host, "https://")
	for i := range connections {
		opening.Go(func() { openSilent(ctx, address, i%2 == 0) })
	}
	for i := range writes {
		wantEcho(honest, "box", fmt.Sprintf("beside-%d", i))
	}
	end()
	opening.Wait()
	growth.want(t, tenantMemory)
	client.CloseIdleConnections()
	waits.Eventually(t, "the server's descriptors are as before", func(context.Context) error {
		now, err := s.descriptors()
		if err == nil && now > before+spareDescriptors {
			err = fmt.Errorf("%d are open, and were %d", now, before)
		}
		return err
	})
	wantEcho(honest, "box", "after")
}

// openWatch watches everything and does not read.
func (s *server) openWatch(ctx context.Context, client *http.Client) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, s.config.Host+group+"/tasks?watch=true", nil)
	if err != nil {
		return
	}
	response, err := client.Do(r)
	if err != nil {
		return // refused, which is right if there are too many
	}
	defer response.Body.Close()
	<-ctx.Done()
}

// openSilent makes a connection on which nothing is asked, with the handshake of TLS or without.
func openSilent(ctx context.Context, address string, handshake bool) {
	var dialer net.Dialer
	conn, err := dialer.DialContext(ctx, "tcp", address)
	if err != nil {
		return
	}
	defer conn.Close()
	if handshake {
		secure := tls.Client(conn, &tls.Config{InsecureSkipVerify: true}) // who answers does not matter
		if err := secure.HandshakeContext(ctx); err != nil && !errors.Is(err, context.Canceled) {
			return
		}
	}
	select {
	case <-ctx.Done():
	case <-time.After(patience):
	}
}
