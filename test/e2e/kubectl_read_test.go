package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Manifests as a user writes them.
const (
	poolManifest = `
apiVersion: arl.io/v1alpha1
kind: WarmPool
metadata:
  name: pool
  labels: {team: red}
spec:
  replicas: 1
  maxPods: 3
  template:
    spec:
      containers:
        - {name: executor, image: "` + testImage + `", imagePullPolicy: Never}
`
	// sandboxManifest takes a name and a pool.
	sandboxManifest = `---
apiVersion: arl.io/v1alpha1
kind: Sandbox
metadata:
  name: %s
  labels: {team: red}
spec:
  poolRef: %s
  keepAlive: true
`
	// taskManifest takes a name, a sandbox and a script.
	taskManifest = `---
apiVersion: arl.io/v1alpha1
kind: Task
metadata:
  name: %s
spec:
  sandboxRef: %s
  steps:
    - {name: script, type: Command, command: [sh, -c, %q]}
`
)

func sandboxYAML(name, pool string) string { return fmt.Sprintf(sandboxManifest, name, pool) }
func taskYAML(name, sandbox, script string) string {
	return fmt.Sprintf(taskManifest, name, sandbox, script)
}

// TestKubectlReads has an ordinary user look at objects with all that kubectl
// has for it. One pool of one pod, a sandbox in it, one that waits, and two tasks.
func TestKubectlReads(t *testing.T) {
	n := newTenant(t)
	k := n.kubectl()
	k.With(poolManifest+sandboxYAML("waiting", "nowhere"), words("apply", "-f", "-"),
		"warmpool.arl.io/pool created", "sandbox.arl.io/waiting created")
	k.Run(words("wait", "--for=condition=Ready", "warmpool/pool", "--timeout=240s"), "condition met")
	k.With(sandboxYAML("ready", "pool"), words("create", "-f", "-", "-o", "jsonpath={.status.phase}"), "Ready")
	k.With(taskYAML("fine", "ready", "cat "+markFile)+taskYAML("broken", "ready", "exit 42"), words("apply", "-f", "-"))
	k.Run(words("wait", "--for=jsonpath={.status.state}=Succeeded", "task/fine", "--timeout=240s"), "condition met")
	k.Run(words("wait", "--for=condition=Succeeded=false", "task/broken", "--timeout=240s"), "condition met")
	// Nothing more is to change while it is read.
	n.AwaitPool("pool", 1)

	t.Run("discovery", func(t *testing.T) { testDiscovery(k.in(t)) })
	t.Run("explain", func(t *testing.T) { testExplain(k.in(t)) })
	t.Run("get", func(t *testing.T) { testGet(k.in(t)) })
	t.Run("describe", func(t *testing.T) {
		k := k.in(t)
		k.Run(words("describe", "warmpool", "pool"), "Name:", "pool", "Labels:", "team=red", "Kind:", "WarmPool", "Max Pods:", "3")
		k.Run(words("describe", "sandboxes"), "Pool Ref:", "nowhere", "Phase:", "Pending", "Ready")
		k.Run(words("describe", "tk/broken"), "Steps:", "Exit Code:", "42", "StepFailed")
	})
	t.Run("selectors", func(t *testing.T) { testSelectors(k.in(t)) })
	t.Run("error texts", func(t *testing.T) {
		k := k.in(t)
		k.Fail("", words("get", "sandbox", "nobody"), `sandboxes.arl.io "nobody" not found`)
		k.Fail("", words("get", "tasks", "--field-selector", "spec.traceID=x"), `field selector "spec.traceID" is not supported for Task`)
		k.Fail("", words("get", "sandboxes", "-n", "default"),
			fmt.Sprintf(`sandboxes.arl.io is forbidden: User %q cannot list resource "sandboxes" in API group "arl.io" in the namespace "default"`, n.user))
	})
}

func testDiscovery(k *kubectl) {
	var list metav1.APIResourceList
	if err := json.Unmarshal([]byte(k.Run(words("get", "--raw", "/apis/arl.io/v1alpha1"))), &list); err != nil {
		k.T.Fatal(err)
	}
	var names []string
	for _, resource := range list.APIResources {
		names = append(names, resource.Name)
	}
	for _, name := range []string{"sandboxes", "sandboxes/status", "tasks", "tasks/status", "warmpools", "warmpools/scale", "warmpools/status"} {
		if !slices.Contains(names, name) {
			k.T.Errorf("no resource %s in %q", name, names)
		}
	}
	lines := strings.Split(k.Run(words("api-resources", "--api-group=arl.io", "-o", "wide")), "\n")
	for _, want := range [][]string{
		{"warmpools", "wp", "WarmPool"}, {"sandboxes", "sbx", "Sandbox"}, {"tasks", "tk", "Task"},
	} {
		want = append(want, "arl.io/v1alpha1", "true", "arl", "create,delete,deletecollection,get,list,patch,update,watch")
		if !slices.ContainsFunc(lines, func(line string) bool { return len(missingWords(line, want)) == 0 }) {
			k.T.Errorf("no line with %q in:\n%s", want, strings.Join(lines, "\n"))
		}
	}
	k.Run(words("api-versions"), "arl.io/v1alpha1")
}

func testExplain(k *kubectl) {
	// kube-apiserver fetches what there is to explain a while after the API is served.
	eventually(k.T, "kubectl explains", func(context.Context) error {
		if got := k.Try("", "explain", "sandbox"); !strings.Contains(got.Stdout, "GROUP:      arl.io") {
			return errors.New(got.Stdout + got.Stderr)
		}
		return nil
	})
	k.Run(words("explain", "task.spec.steps", "--recursive"), "KIND:       Task", "command\t<[]string>", "onFailure\t<string>", "-required-")
	k.Run(words("explain", "warmpool.spec.replicas"), "<integer>", "Default 1")
	k.Run(words("explain", "warmpool.spec.template.spec.containers", "--recursive"), "image\t<string>")
}

func testGet(k *kubectl) {
	k.Run(words("get", "wp"), "NAME", "DESIRED", "READY", "ALLOCATED", "PENDING", "PHASE", "AGE", "pool")
	k.Run(words("get", "sbx"), "POOL", "PHASE", "POD", "ready", "pool-", "waiting", "nowhere", "Pending")
	k.Run(words("get", "tk"), "SANDBOX", "STATE", "REASON", "EXIT", "fine", "Succeeded", "broken", "StepFailed", "42")
	if narrow := k.Run(words("get", "arl")); strings.Contains(narrow, "WORKDIR") || strings.Contains(narrow, "QUEUE") {
		k.T.Errorf("wide columns without -o wide:\n%s", narrow)
	}
	k.Run(words("get", "arl", "-o", "wide"), "IMAGES", "WORKDIR", testImage, "QUEUE", "ATTEMPTS", "STEPS", "1/1")
	k.Run(words("get", "warmpool", "pool", "-o", "yaml"), "apiVersion: arl.io/v1alpha1", "kind: WarmPool", "reclaimPolicy: Delete", "type: OnReplenish")
	k.Run(words("get", "tasks", "-o", "name"), "task.arl.io/fine\n", "task.arl.io/broken\n")
	k.Run(words("get", "sandboxes", "--show-labels"), "team=red")
	k.Want("task/fine", "{.status.stdout}", markText)
	k.Want("task/fine", "{.spec.timeout} {.status.exitCode}", "5m 0")

	k.Watch(words("get", "sandboxes", "-w", "--output-watch-events"), func() {
		k.With(sandboxYAML("later", "nowhere"), words("create", "-f", "-"))
		k.Run(words("delete", "sandbox", "later"))
	}, "ADDED      ready", "ADDED      later", "DELETED    later")
}

func testSelectors(k *kubectl) {
	pod := k.Run(words("get", "sandbox", "ready", "-o", "jsonpath={.status.podName}"))
	k.Run(words("label", "sandbox", "waiting", "tier=low"))
	for _, test := range []struct {
		resource, by string
		want         []string
	}{
		{"sandboxes", "--field-selector=spec.poolRef=pool", words("ready")},
		{"sandboxes", "--field-selector=spec.poolRef!=pool", words("waiting")},
		{"sandboxes", "--field-selector=status.phase=Ready", words("ready")},
		{"sandboxes", "--field-selector=status.podName=" + pod, words("ready")},
		{"sandboxes", "--field-selector=metadata.name=waiting,status.phase=Pending", words("waiting")},
		{"tasks", "--field-selector=spec.sandboxRef=ready", words("broken", "fine")},
		{"tasks", "--field-selector=status.state=Failed", words("broken")},
		{"warmpools", "--field-selector=metadata.name!=pool", nil},
		{"sandboxes", "--selector=team=red", words("ready", "waiting")},
		{"sandboxes", "--selector=team in (red),!tier", words("ready")},
		{"sandboxes", "--selector=tier", words("waiting")},
	} {
		out := k.Run(words("get", test.resource, test.by, "-o", "jsonpath={.items[*].metadata.name}"))
		if got := strings.Fields(out); !slices.Equal(got, test.want) {
			k.T.Errorf("%s %s: got %q, want %q", test.resource, test.by, got, test.want)
		}
	}
	got := k.Try("", "get", "sandboxes", "--chunk-size=1", "-o", "jsonpath={.items[*].metadata.name}", "-v=6")
	if got.Stdout != "ready waiting" || strings.Count(got.Stderr, "continue=") != 1 {
		k.T.Errorf("in pages of one there are %q:\n%s", got.Stdout, got.Stderr)
	}
}
