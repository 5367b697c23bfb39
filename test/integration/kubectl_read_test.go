package integration

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestKubectlDiscovers(t *testing.T) {
	t.Parallel()
	k := newKubectl(t)

	var list metav1.APIResourceList
	if err := json.Unmarshal([]byte(k.Run(words("get", "--raw", "/apis/arl.io/v1alpha1"))), &list); err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, resource := range list.APIResources {
		names = append(names, resource.Name)
		if !resource.Namespaced {
			t.Errorf("%s is not namespaced", resource.Name)
		}
	}
	slices.Sort(names)
	want := []string{"sandboxes", "sandboxes/status", "tasks", "tasks/status", "warmpools", "warmpools/scale", "warmpools/status"}
	if !slices.Equal(names, want) {
		t.Errorf("resources are %q, want %q", names, want)
	}

	resources := k.Run(words("api-resources", "--api-group=arl.io", "-o", "wide"))
	for _, line := range [][]string{
		{"warmpools", "wp", "arl.io/v1alpha1", "true", "WarmPool", "arl"},
		{"sandboxes", "sbx", "arl.io/v1alpha1", "true", "Sandbox", "arl"},
		{"tasks", "tk", "arl.io/v1alpha1", "true", "Task", "arl"},
	} {
		if !slices.ContainsFunc(strings.Split(resources, "\n"), func(have string) bool {
			return len(missingWords(have, append(line, "create,delete,deletecollection,get,list,patch,update,watch"))) == 0
		}) {
			t.Errorf("no line with %q in:\n%s", line, resources)
		}
	}
}

func TestKubectlExplains(t *testing.T) {
	t.Parallel()
	k := newKubectl(t)
	k.Run(words("explain", "task.spec.steps", "--recursive"),
		"GROUP:      arl.io", "KIND:       Task", "command\t<[]string>", "content\t<string>", "patch\t<string>",
		"env\t<map[string]string>", "workDir\t<string>", "stdin\t<string>", "onFailure\t<string>", "mode\t<integer>", "-required-")
	k.Run(words("explain", "warmpool.spec.replicas"), "<integer>", "idle, ready pods to keep", "Default 1")
	k.Run(words("explain", "sandbox"), "Sandbox claims one pod")
	k.Run(words("explain", "warmpool.spec.template.spec.containers", "--recursive"), "image\t<string>")
}

func TestKubectlPrints(t *testing.T) {
	t.Parallel()
	k := newKubectl(t)
	k.With(emptyPool+"---"+fmt.Sprintf(waitingSandbox, "one", "nowhere")+"---"+fmt.Sprintf(waitingTask, "hello", "nowhere"),
		words("create", "-f", "-"))

	k.Run(words("get", "wp"), "NAME", "DESIRED", "READY", "ALLOCATED", "PENDING", "PHASE", "AGE", "empty")
	k.Run(words("get", "sbx"), "NAME", "POOL", "PHASE", "POD", "AGE", "one", "nowhere", "Pending", "<none>")
	k.Run(words("get", "tk"), "NAME", "SANDBOX", "STATE", "REASON", "EXIT", "DURATION", "hello", "Pending")
	if narrow := k.Run(words("get", "wp,sbx,tk")); strings.Contains(narrow, "WORKDIR") || strings.Contains(narrow, "QUEUE") {
		t.Errorf("wide columns without -o wide:\n%s", narrow)
	}
	k.Run(words("get", "arl", "-o", "wide"), "IMAGES", "WORKDIR", "host", "/workspace",
		"QUEUE", "IDLE-TIMEOUT", "never", "ATTEMPTS", "STEPS", "0/1")
	k.Run(words("get", "warmpool", "empty", "-o", "yaml"),
		"apiVersion: arl.io/v1alpha1", "kind: WarmPool", "carried: along", "reclaimPolicy: Delete", "type: OnReplenish")
	k.Run(words("get", "tasks", "-o", "name"), "task.arl.io/hello")
	k.Want("warmpool/empty", "{.spec.template.spec.containers[0].image} {.spec.workDir}", "host /workspace")
	k.Want("task/hello", "{.spec.timeout} {.spec.retryPolicy}", "5m Infrastructure")
	k.Run(words("get", "sandboxes", "--show-labels"), "team=red")
	k.Run(words("get", "sandboxes", "--all-namespaces"), k.Namespace)
	k.Fail("", words("get", "sandbox", "two"), `sandboxes.arl.io "two" not found`)
}

func TestKubectlDescribes(t *testing.T) {
	t.Parallel()
	k := newKubectl(t)
	k.With(emptyPool+"---"+fmt.Sprintf(waitingSandbox, "one", "nowhere")+"---"+fmt.Sprintf(waitingTask, "hello", "nowhere"),
		words("create", "-f", "-"))
	k.Run(words("describe", "warmpool", "empty"), "Name:", "empty", "Labels:", "team=red", "Kind:", "WarmPool", "Max Pods:", "10")
	k.Run(words("describe", "sandboxes"), "Pool Ref:", "nowhere", "Keep Alive:", "Phase:", "Pending")
	k.Run(words("describe", "tk/hello"), "Steps:", "echo", "State:", "Timeout:", "5m")
}

func TestKubectlWatches(t *testing.T) {
	t.Parallel()
	k := newKubectl(t)
	k.With(fmt.Sprintf(waitingSandbox, "one", "nowhere"), words("create", "-f", "-"))
	k.Watch(words("get", "sandboxes", "-w", "--output-watch-events"), func() {
		k.With(fmt.Sprintf(waitingSandbox, "two", "nowhere"), words("create", "-f", "-"))
		k.Run(words("delete", "sandbox", "one"))
	}, "ADDED      one", "ADDED      two", "DELETED    one")
	k.Watch(words("get", "sandboxes", "-w", "-o", "jsonpath={.metadata.name} {.metadata.labels.step}{\"\\n\"}"), func() {
		k.Run(words("label", "sandbox", "two", "step=next"))
	}, "two next")
}

func TestKubectlSelectsByField(t *testing.T) {
	t.Parallel()
	k := newKubectl(t)
	k.readySandboxes("ready")
	pod := k.JSONPath("sandbox/ready", "{.status.podName}")
	k.With(fmt.Sprintf(waitingSandbox, "waiting", "nowhere"), words("create", "-f", "-"))
	k.Succeed(taskIn("ready", "fine", shell("step", "true")))
	k.Perform(taskIn("ready", "broken", shell("step", "false")))
	k.With(fmt.Sprintf(waitingTask, "one-shot", "nowhere"), words("create", "-f", "-"))

	for _, test := range []struct {
		resource, selector string
		want               []string
	}{
		{"sandboxes", "spec.poolRef=pool", []string{"ready"}},
		{"sandboxes", "spec.poolRef!=pool,metadata.name=waiting", []string{"waiting"}},
		{"sandboxes", "status.phase=Ready", []string{"ready"}},
		{"sandboxes", "status.phase=Pending,spec.poolRef=nowhere,metadata.name=waiting", []string{"waiting"}},
		{"sandboxes", "status.podName=" + pod, []string{"ready"}},
		{"sandboxes", "metadata.name=waiting", []string{"waiting"}},
		{"sandboxes", "metadata.namespace=elsewhere", nil},
		{"tasks", "spec.sandboxRef=ready", []string{"broken", "fine"}},
		{"tasks", "spec.poolRef=nowhere", []string{"one-shot"}},
		{"tasks", "status.state=Succeeded", []string{"fine"}},
		{"tasks", "status.state=Failed,spec.sandboxRef=ready", []string{"broken"}},
		{"warmpools", "metadata.name=pool", []string{"pool"}},
		{"warmpools", "metadata.name!=pool", nil},
	} {
		out := k.Run(words("get", test.resource, "--field-selector", test.selector, "-o", `jsonpath={.items[*].metadata.name}`))
		if got := strings.Fields(out); !slices.Equal(got, test.want) {
			t.Errorf("%s with %s: got %q, want %q", test.resource, test.selector, got, test.want)
		}
	}
	k.Fail("", words("get", "tasks", "--field-selector", "spec.traceID=x"), `field selector "spec.traceID" is not supported for Task`)
	k.Watch(words("get", "sandboxes", "-w", "--output-watch-events", "--field-selector", "status.phase=Ready"), func() {
		k.Run(words("delete", "sandbox", "ready"))
	}, "ADDED      ready", "DELETED    ready")
}

func TestKubectlPages(t *testing.T) {
	t.Parallel()
	k := newKubectl(t)
	var manifest strings.Builder
	var want []string
	for i := range 7 {
		name := fmt.Sprintf("page-%d", i)
		want = append(want, name)
		manifest.WriteString("---" + fmt.Sprintf(waitingSandbox, name, "nowhere"))
	}
	k.With(manifest.String(), words("create", "-f", "-"))
	got := k.Try("", "get", "sandboxes", "--chunk-size=2", "-o", "jsonpath={.items[*].metadata.name}", "-v=6")
	if names := strings.Fields(got.Stdout); !slices.Equal(names, want) {
		t.Errorf("got %q in pages, want %q", names, want)
	}
	if pages := strings.Count(got.Stderr, "continue="); pages != 3 {
		t.Errorf("%d requests for further pages, want 3:\n%s", pages, got.Stderr)
	}
}

// TestKubectlWaitsForTruncatedOutput waits for a field of the output, as a script does that reads large
// output elsewhere.
func TestKubectlWaitsForTruncatedOutput(t *testing.T) {
	t.Parallel()
	k := newKubectl(t)
	k.FillPool(hostPool("pool", 1))
	k.With(strings.Replace(fmt.Sprintf(waitingTask, "x", "pool"), "[echo, hello]", `[sh, -c, "head -c 200000 /dev/zero | tr '\\0' x"]`, 1),
		words("apply", "-f", "-"))
	k.Run(words("wait", "--for=jsonpath={.status.output.stdout.truncated}=true", "task/x", "--timeout=180s"), "task.arl.io/x condition met")
	k.Want("task/x", "{.status.output.stdout.bytes}", "200000")
}
