package integration

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/rand"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"arl.io/arl/pkg/apis/arl/v1alpha1"
	"arl.io/arl/pkg/storage/kv"
)

// strictServer is a server on which namespaces have to be created.
func strictServer(t *testing.T) *server {
	t.Helper()
	return startServer(t, "--create-namespaces=false")
}

// TestCoreKubectlVerbs types what a person types first.
func TestCoreKubectlVerbs(t *testing.T) {
	t.Parallel()
	k := newKubectl(t)
	k.FillPool(hostPool("pool", 1))
	k.CreateSandbox(sandboxOf("x", "pool"))
	k.AwaitSandbox("x", v1alpha1.SandboxReady)
	for _, tt := range []struct {
		args, want []string
	}{
		{words("get", "ns"), words("NAME", "STATUS", "default", k.Namespace, "Active")},
		{words("get", "all"), words("pod/pool-", "sandbox.arl.io/x", "warmpool.arl.io/pool", "Running")},
		{words("get", "pods", "-o", "wide"), words("READY", "1/1", "Running", "NODE", "IMAGE", "host")},
		{words("get", "events"), nil},
		{words("api-resources", "--api-group="), words("namespaces", "ns", "pods", "po", "events", "ev")},
		{words("api-resources", "--categories=all"), words("pods", "warmpools", "sandboxes", "tasks")},
		{words("auth", "can-i", "create", "tasks"), words("yes")},
		{words("auth", "can-i", "--list"), words("*.*")},
		{words("auth", "whoami"), words("arl-admin", "system:masters")},
		{words("describe", "sandbox", "x"), words("Name:", "Events:", "<none>")},
		{words("explain", "pod.spec"), words("KIND:", "Pod")},
		{words("get", "--raw", "/api/"), words(`"kind":"APIVersions"`, `"v1"`)},
		{words("get", "--raw", "/api"), words(`"kind":"APIVersions"`, `"v1"`)},
	} {
		k.Run(tt.args, tt.want...)
	}
	for _, tt := range []struct {
		args, want []string
	}{
		{words("delete", "ns", "default"), words("Forbidden", "may not be deleted", "kubectl delete tasks,sandboxes,warmpools --all")},
		{words("delete", "pods", "--all"), words("MethodNotAllowed", "delete the Sandbox", "kubectl scale warmpool")},
		{words("exec", "-n", k.Namespace, k.podName("pool"), "--", "ls"), words("Task", "status.podName=")},
		{words("get", "pod", "none"), words(`pods "none" not found`)},
		{words("get", "ns", "none"), words(`namespaces "none" not found`)},
	} {
		k.Fail("", tt.args, tt.want...)
	}
}

// podName is the name of a pod of a pool.
func (k *kubectl) podName(pool string) string {
	k.T.Helper()
	return k.Run(words("get", "pods", "-l", "arl.io/pool="+pool, "-o", "jsonpath={.items[0].metadata.name}"))
}

// TestCorePodsAreTheContainers has the pods of a pool shown, watched, described
// and gone, and their logs read and followed.
func TestCorePodsAreTheContainers(t *testing.T) {
	t.Parallel()
	k := newKubectl(t)
	pool := hostPool("chatty", 1)
	pool.Spec.Template.Labels = map[string]string{"team": "red"}
	pool.Spec.Template.Spec.Containers[0].Command = words("sh", "-c",
		"echo first; echo second >&2; until [ -e /tmp/go ]; do sleep 0.1; done; echo third; exec sleep 1000")
	k.FillPool(pool)
	name := k.podName("chatty")
	node, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{
		"{.status.phase}":                                   "Running",
		"{.spec.nodeName}":                                  node,
		"{.spec.containers[0].image}":                       "host",
		"{.status.containerStatuses[0].ready}":              "true",
		"{.metadata.labels.team}":                           "red",
		"{.metadata.labels.arl\\.io/pool}":                  "chatty",
		"{.metadata.ownerReferences[0].kind}":               "WarmPool",
		"{.metadata.ownerReferences[0].name}":               "chatty",
		"{.status.conditions[?(@.type==\"Ready\")].status}": "True",
	} {
		k.Want("pod/"+name, path, want)
	}
	if k.JSONPath("pod/"+name, "{.status.startTime}") == "" {
		t.Error("the pod has no start time")
	}
	k.Run(words("describe", "pod", name), "Controlled By:  WarmPool/chatty", "team=red", "Running")
	k.Run(words("wait", "--for=condition=Ready", "pod/"+name, "--timeout=60s"), "condition met")
	eventually(t, "the command's output in the log", func(context.Context) error {
		if missing := missingWords(k.Run(words("logs", name)), words("first\n", "second\n")); len(missing) > 0 {
			return fmt.Errorf("no %q", missing)
		}
		return nil
	})
	if got := k.Run(words("logs", name, "--tail=1")); got != "first\n" && got != "second\n" {
		t.Errorf("the last line of the log is %q", got)
	}
	k.Run(words("logs", name, "--timestamps"), "Z first\n")
	k.Run(words("logs", "-l", "team=red"), "first")
	k.Fail("", words("logs", name, "-c", "sidecar"), "sidecar")

	k.CreateSandbox(sandboxOf("x", "chatty"))
	k.AwaitSandbox("x", v1alpha1.SandboxReady)
	k.Watch(words("logs", "-f", name), func() { k.Succeed(taskIn("x", "go", shell("go", "touch /tmp/go"))) }, "third\n")
	k.Watch(words("get", "pods", "-w", "-o", "name"), func() {
		k.Run(words("delete", "sandbox", "x"))
		k.Run(words("delete", "warmpool", "chatty"))
	}, "pod/"+name)
	eventually(t, "the pods to be gone", func(context.Context) error {
		if left := k.Run(words("get", "pods", "-o", "name")); left != "" {
			return fmt.Errorf("there are %s", left)
		}
		return nil
	})
}

// TestCorePodsAreAdopted has a restarted server show the same pods as before,
// with what it cannot have in memory.
func TestCorePodsAreAdopted(t *testing.T) {
	t.Parallel()
	k := kubectlIn(newTenant(t, startServer(t)))
	pool := hostPool("pool", 1)
	pool.Spec.Template.Labels = map[string]string{"team": "red"}
	pool.Spec.Template.Spec.Containers[0].Command = words("sh", "-c", "echo before; exec sleep 1000")
	k.FillPool(pool)
	name := k.podName("pool")
	eventually(t, "output in the log", func(context.Context) error {
		if !strings.Contains(k.Run(words("logs", name)), "before") {
			return fmt.Errorf("not yet")
		}
		return nil
	})
	k.server.mustKill(t)
	k.server.mustStart(t)
	k.Want("pod/"+name, "{.metadata.labels.team}", "red")
	k.Want("pod/"+name, "{.spec.containers[0].command[2]}", "echo before; exec sleep 1000")
	k.Want("pod/"+name, "{.status.phase}", "Running")
	k.Run(words("logs", name), "before")
}

// TestCoreNamespaceIsEmptied deletes a namespace with a pool, a sandbox in use and
// a task that runs: all of it goes, and nothing can be created in it meanwhile.
func TestCoreNamespaceIsEmptied(t *testing.T) {
	t.Parallel()
	s := strictServer(t)
	k := kubectlIn(tenantIn(t, s, "team-"+rand.String(5)))
	k.Run(words("create", "namespace", k.Namespace), "created")
	k.FillPool(hostPool("pool", 2))
	k.CreateSandbox(sandboxOf("x", "pool"))
	k.AwaitSandbox("x", v1alpha1.SandboxReady)
	k.CreateTask(taskIn("x", "long", shell("long", "sleep 1000")))
	k.Run(words("delete", "namespace", k.Namespace, "--timeout=80s"), "deleted")
	k.Fail("", words("get", "namespace", k.Namespace), "not found")
	for _, kind := range words("tasks", "sandboxes", "warmpools", "pods") {
		if left := k.Run(words("get", kind, "-A", "-o", "name")); left != "" {
			t.Errorf("%s are left: %s", kind, left)
		}
	}
	_, err := k.Pools().Create(t.Context(), hostPool("late", 1), createNow)
	if !apierrors.IsNotFound(err) || !strings.Contains(err.Error(), "kubectl create namespace "+k.Namespace) {
		t.Errorf("a pool in a namespace that is gone: %v", err)
	}
}

// TestCoreNamespaceTerminating has a finalizer keep a namespace: it says so, takes
// nothing new, and goes with the finalizer.
func TestCoreNamespaceTerminating(t *testing.T) {
	t.Parallel()
	s := strictServer(t)
	k := kubectlIn(tenantIn(t, s, "held"))
	k.Run(words("create", "namespace", "held"))
	pool := hostPool("pool", 0)
	pool.Finalizers = []string{"example.com/keep"}
	if _, err := k.Pools().Create(t.Context(), pool, createNow); err != nil {
		t.Fatal(err)
	}
	k.Run(words("delete", "namespace", "held", "--wait=false"))
	_, err := k.Pools().Create(t.Context(), hostPool("late", 1), createNow)
	if !apierrors.IsForbidden(err) || !apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause) {
		t.Errorf("a pool in a namespace that is being deleted: %v", err)
	}
	eventually(t, "what keeps the namespace", func(context.Context) error {
		if got := k.JSONPath("ns/held", "{.status.conditions[0].message}"); !strings.Contains(got, "warmpools.arl.io") {
			return fmt.Errorf("the condition says %q", got)
		}
		return nil
	})
	k.Want("ns/held", "{.status.phase}", "Terminating")
	k.Run(words("patch", "warmpool", "pool", "--type=merge", "-p", `{"metadata":{"finalizers":null}}`))
	k.Run(words("wait", "--for=delete", "ns/held", "--timeout=80s"))
}

// TestCoreNamespacePolicy has both ways to treat a namespace that does not exist,
// by POST, server-side apply and dry run.
func TestCoreNamespacePolicy(t *testing.T) {
	t.Parallel()
	manifest := strings.Replace(emptyPool, "{executor, image: host}", "{name: executor, image: host}", 1)
	strict := kubectlIn(tenantIn(t, strictServer(t), "nowhere"))
	for _, args := range [][]string{
		words("create", "-f", "-"), words("apply", "-f", "-"), words("apply", "--server-side", "-f", "-"), words("create", "--dry-run=server", "-f", "-"),
	} {
		strict.Fail(manifest, args, `namespaces "nowhere" not found`, "kubectl create namespace nowhere", "--create-namespaces")
	}
	loose := newKubectl(t)
	loose.With(manifest, words("create", "--dry-run=server", "-f", "-"))
	loose.Fail("", words("get", "ns", loose.Namespace), "not found")
	loose.With(manifest, words("apply", "--server-side", "-f", "-"))
	loose.Run(words("get", "ns", loose.Namespace), "Active")
}

// TestCoreEveryErrorIsAStatus asks for what is not there, in every way in which
// the server answers 404 or 405.
func TestCoreEveryErrorIsAStatus(t *testing.T) {
	t.Parallel()
	s := shared(t)
	client, err := rest.HTTPClientFor(s.config)
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		method, path string
		code         int
	}{
		{"GET", "/nope", 404},
		{"GET", "/api/v2", 404},
		{"GET", "/api/v1/nope", 404},
		{"GET", "/api/v1/namespaces/default/services", 404},
		{"GET", "/apis/nope", 404},
		{"GET", "/apis/arl.io/v9", 404},
		{"GET", "/apis/arl.io/v1alpha1/nope", 404},
		{"GET", "/apis/arl.io/v1alpha1/namespaces/default/tasks/none", 404},
		{"GET", "/apis/arl.io/v1alpha1/namespaces/default/tasks/none/log", 404},
		{"GET", "/apis/arl.io/v1alpha1/namespaces/default/tasks/none/nope", 404},
		{"GET", "/healthz/nope", 404},
		{"GET", "/storage/nope", 404},
		{"POST", "/storage/stats", 405},
		{"POST", "/version", 405},
		{"POST", "/apis", 405},
		{"PUT", "/apis/arl.io/v1alpha1/namespaces/default/tasks", 405},
		{"DELETE", "/api/v1/namespaces/default/pods/none", 405},
		{"POST", "/api/v1/namespaces/default/pods", 405},
		{"DELETE", "/api/v1/namespaces", 405},
		{"GET", "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", 405},
	} {
		request, err := http.NewRequestWithContext(t.Context(), tt.method, s.config.Host+tt.path, strings.NewReader("{}"))
		if err != nil {
			t.Fatal(err)
		}
		request.Header.Set("Content-Type", "application/json")
		response, err := client.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		var status metav1.Status
		err = json.NewDecoder(response.Body).Decode(&status)
		response.Body.Close()
		if err != nil || status.Kind != "Status" || response.StatusCode != tt.code || int(status.Code) != tt.code || status.Message == "" {
			t.Errorf("%s %s: %s, %+v, %v; want a Status of %d", tt.method, tt.path, response.Status, status, err, tt.code)
		}
	}
}

// TestCoreNamespacesOfOldDatabases restarts a server whose database has objects in
// a namespace that is not stored, as those of the first release have.
func TestCoreNamespacesOfOldDatabases(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	k := kubectlIn(tenantIn(t, s, "old"))
	if _, err := k.Pools().Create(t.Context(), hostPool("pool", 0), createNow); err != nil {
		t.Fatal(err)
	}
	s.mustStop(t)
	dropNamespaces(t, s)
	s.reconfigure(t, "--create-namespaces=false")
	s.mustStart(t)
	client, err := kubernetes.NewForConfig(s.config)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := client.CoreV1().Namespaces().Get(t.Context(), "old", getNow); err != nil {
		t.Error(err)
	}
	if _, err := k.Pools().Create(t.Context(), hostPool("another", 0), createNow); err != nil {
		t.Error(err)
	}
}

// dropNamespaces removes the stored namespaces from a stopped server's database.
func dropNamespaces(t *testing.T, s *server) {
	t.Helper()
	db, err := kv.Open(s.storage(), kv.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	}()
	var ops []kv.Op
	db.Snapshot().Ascend("/registry/core/namespaces/", "", func(e kv.Entry) bool {
		ops = append(ops, kv.Op{Key: e.Key, Delete: true, Expect: e.ModRev})
		return true
	})
	if len(ops) == 0 {
		t.Fatal("no namespace is stored")
	}
	for _, op := range ops {
		if _, err := db.Apply(t.Context(), op); err != nil {
			t.Fatal(err)
		}
	}
}
