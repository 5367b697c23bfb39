package integration

import (
	"fmt"
	"strings"
	"testing"

	"arl.io/arl/pkg/apis/arl/v1alpha1"
	"arl.io/arl/test/cli"
)

func TestKubectlApplies(t *testing.T) {
	t.Parallel()
	k := newKubectl(t)
	file := k.File("pool.yaml", emptyPool)
	k.Run(words("apply", "-f", file), "warmpool.arl.io/empty created")
	k.Run(words("apply", "-f", file), "warmpool.arl.io/empty unchanged")
	k.Run(words("diff", "-f", file))
	k.Want("warmpool/empty", "{.metadata.generation}", "1")

	changed := k.File("changed.yaml", strings.NewReplacer("maxPods: 10", "maxPods: 11", "team: red", "team: blue").Replace(emptyPool))
	got := k.Try("", "diff", "-f", changed)
	if got.Code != 1 {
		t.Errorf("diff of a changed manifest exits with %d, want 1: %s", got.Code, got.Stderr)
	}
	wantWords(t, got.Stdout, "-  maxPods: 10", "+  maxPods: 11", "-    team: red", "+    team: blue")
	k.Want("warmpool/empty", "{.spec.maxPods}", "10")

	k.Run(words("apply", "-f", changed), "warmpool.arl.io/empty configured")
	k.Want("warmpool/empty", "{.spec.maxPods} {.metadata.labels.team} {.metadata.generation}", "11 blue 2")
	k.With(strings.Replace(emptyPool, "  maxPods: 10\n", "", 1), words("apply", "-f", "-"), "configured")
	k.Want("warmpool/empty", "{.spec.maxPods} {.metadata.generation}", " 3")
}

func TestKubectlAppliesOnTheServer(t *testing.T) {
	t.Parallel()
	k := newKubectl(t)
	apply := func(manager, manifest string, further ...string) cli.Outcome {
		return k.Try(manifest, append(words("apply", "--server-side", "--field-manager", manager, "-f", "-"), further...)...)
	}
	if got := apply("first", emptyPool); got.Code != 0 {
		t.Fatalf("server-side apply: %s", got.Stderr)
	}
	k.Want("warmpool/empty", `{.metadata.managedFields[?(@.manager=="first")].operation}`, "Apply")

	// A second manager may not take a field from the first, unless told to.
	changed := strings.Replace(emptyPool, "maxPods: 10", "maxPods: 12", 1)
	if got := apply("second", changed); got.Code != 1 {
		t.Errorf("a conflicting apply exits with %d, want 1", got.Code)
	} else {
		wantWords(t, got.Stderr, "conflict", `"first"`, ".spec.maxPods")
	}
	if got := apply("second", changed, "--force-conflicts"); got.Code != 0 {
		t.Errorf("a forced apply: %s", got.Stderr)
	}
	k.Want("warmpool/empty", "{.spec.maxPods}", "12")

	// What a manager no longer names goes, and nothing else.
	if got := apply("second", strings.Replace(changed, "  maxPods: 12\n", "", 1)); got.Code != 0 {
		t.Errorf("apply without a field: %s", got.Stderr)
	}
	k.Want("warmpool/empty", "{.spec.maxPods} {.spec.replicas}", " 0")

	// The status is the scheduler's: who applies it owns nothing of it.
	if got := apply("first", emptyPool+"status: {phase: Degraded}\n", "--force-conflicts"); got.Code != 0 {
		t.Errorf("apply with a status: %s", got.Stderr)
	}
	if owned := k.JSONPath("warmpool/empty", `{.metadata.managedFields[?(@.manager=="first")].fieldsV1}`); strings.Contains(owned, "f:status") {
		t.Errorf("the manager of the spec owns a status: %s", owned)
	}
}

// TestKubectlAppliesASandbox creates by apply, which must take a pod as create does.
func TestKubectlAppliesASandbox(t *testing.T) {
	t.Parallel()
	k := newKubectl(t)
	k.FillPool(hostPool("pool", 2))
	for _, test := range []struct{ name, how string }{{"plain", "--server-side=false"}, {"server", "--server-side=true"}} {
		k.With(fmt.Sprintf(waitingSandbox, test.name, "pool"), words("apply", test.how, "-f", "-", "-o", "jsonpath={.status.phase}"), "Ready")
	}
}

func TestKubectlChanges(t *testing.T) {
	t.Parallel()
	k := newKubectl(t)
	k.With(emptyPool, words("create", "-f", "-"), "warmpool.arl.io/empty created")
	k.Fail(emptyPool, words("create", "-f", "-"), `warmpools.arl.io "empty" already exists`)

	edit := *k.Kubectl
	edit.Env = words("KUBE_EDITOR=sh " + k.File("editor.sh", `sed -i 's/maxPods: 10/maxPods: 20/' "$1"`))
	edit.Run(words("edit", "warmpool", "empty"), "edited")
	k.Want("warmpool/empty", "{.spec.maxPods}", "20")

	k.Run(words("patch", "warmpool", "empty", "--type=merge", "-p", `{"spec":{"idleTimeoutSeconds":30,"maxPods":null}}`), "patched")
	k.Want("warmpool/empty", "{.spec.idleTimeoutSeconds} {.spec.maxPods}", "30 ")
	k.Run(words("patch", "wp/empty", "--type=json", "-p",
		`[{"op":"test","path":"/spec/idleTimeoutSeconds","value":30},{"op":"replace","path":"/spec/idleTimeoutSeconds","value":40}]`), "patched")
	k.Want("warmpool/empty", "{.spec.idleTimeoutSeconds}", "40")
	k.Fail("", words("patch", "wp/empty", "--type=json", "-p", `[{"op":"test","path":"/spec/idleTimeoutSeconds","value":30}]`), "rejected")

	k.Run(words("label", "warmpool", "empty", "tier=gold"), "labeled")
	k.Run(words("annotate", "warmpool", "empty", "note=hello"), "annotated")
	k.Want("warmpool/empty", "{.metadata.labels.tier} {.metadata.annotations.note}", "gold hello")
	k.Fail("", words("label", "warmpool", "empty", "tier=lead"), "--overwrite is false")
	k.Run(words("label", "warmpool", "empty", "tier-"))
	k.Want("warmpool/empty", "{.metadata.labels.tier}", "")
	// Edit and two patches changed the spec; labels and annotations do not.
	k.Want("warmpool/empty", "{.metadata.generation}", "4")
}

// TestKubectlReadsWhatItPrints takes several objects out and puts them back, as
// people do to copy, or to rewrite, what is stored.
func TestKubectlReadsWhatItPrints(t *testing.T) {
	t.Parallel()
	k := newKubectl(t)
	k.With(emptyPool, words("create", "-f", "-"))
	k.With(strings.ReplaceAll(emptyPool, "name: empty", "name: second"), words("create", "-f", "-"))
	for _, format := range []string{"json", "yaml"} {
		printed := k.Run(words("get", "warmpools", "-o", format))
		k.With(printed, words("replace", "-f", "-"), "warmpool.arl.io/empty replaced", "warmpool.arl.io/second replaced")
		k.With(printed, words("delete", "--dry-run=server", "-f", "-"), "warmpool.arl.io \"empty\" deleted")
	}
}

func TestKubectlScales(t *testing.T) {
	t.Parallel()
	k := newKubectl(t)
	k.FillPool(hostPool("pool", 1))
	k.Run(words("scale", "warmpool/pool", "--replicas=3"), "scaled")
	k.Run(words("wait", "--for=jsonpath={.status.readyReplicas}=3", "warmpool/pool", "--timeout=60s"))
	k.Fail("", words("scale", "warmpool/pool", "--current-replicas=1", "--replicas=2"), "Expected replicas to be 1")
	k.Run(words("scale", "warmpool", "pool", "--replicas=0"), "scaled")
	k.Run(words("wait", "--for=jsonpath={.status.replicas}=0", "warmpool/pool", "--timeout=60s"))
	k.Run(words("get", "--raw", fmt.Sprintf("/apis/arl.io/v1alpha1/namespaces/%s/warmpools/pool/scale", k.Namespace)),
		`"kind":"Scale"`, `"apiVersion":"autoscaling/v1"`, `"replicas":0`)
}

func TestKubectlWaits(t *testing.T) {
	t.Parallel()
	k := newKubectl(t)
	k.CreatePool(hostPool("pool", 1))
	k.Run(words("wait", "--for=condition=Ready", "warmpool/pool", "--timeout=60s"), "condition met")
	k.CreateSandbox(sandboxOf("x", "pool"))
	k.Run(words("wait", "--for=condition=Ready", "sandbox/x", "--timeout=60s"), "condition met")
	k.CreateTask(taskIn("x", "x", shell("step", "echo hello")))
	k.Run(words("wait", "--for=jsonpath={.status.state}=Succeeded", "task/x", "--timeout=60s"), "condition met")
	k.Run(words("wait", "--for=condition=Succeeded", "task/x", "--timeout=60s"), "condition met")
	k.CreateTask(taskIn("x", "y", shell("step", "exit 3")))
	k.Run(words("wait", "--for=condition=Succeeded=false", "task/y", "--timeout=60s"), "condition met")
	k.Fail("", words("wait", "--for=jsonpath={.status.state}=Succeeded", "task/y", "--timeout=1s"), "timed out")
	k.Run(words("delete", "sandbox", "x", "--wait=false"))
	k.Run(words("wait", "--for=delete", "sandbox/x", "--timeout=60s"))
}

func TestKubectlDeletes(t *testing.T) {
	t.Parallel()
	k := newKubectl(t)
	create := func(name string) {
		k.With(fmt.Sprintf(waitingSandbox, name, "nowhere"), words("create", "-f", "-"))
	}
	for _, name := range []string{"one", "two", "three", "four"} {
		create(name)
	}
	k.Run(words("label", "sandbox", "one", "two", "colour=green"))
	k.Run(words("delete", "sandboxes", "-l", "colour=green"), `"one" deleted`, `"two" deleted`)
	if got := k.Run(words("get", "sandboxes", "-o", "jsonpath={.items[*].metadata.name}")); got != "four three" {
		t.Errorf("after a delete by label there are %q, want four and three", got)
	}
	k.Run(words("delete", "sandboxes", "--all"), `"three" deleted`, `"four" deleted`)
	if got := k.Run(words("get", "sandboxes", "-o", "name")); got != "" {
		t.Errorf("after delete --all there are %q", got)
	}
	create("five")
	file := k.File("five.yaml", fmt.Sprintf(waitingSandbox, "five", "nowhere"))
	k.Run(words("delete", "-f", file), `"five" deleted`)
	k.Fail("", words("delete", "-f", file), "not found")
	k.Run(words("delete", "-f", file, "--ignore-not-found"))
}

func TestKubectlDryRunsStoreNothing(t *testing.T) {
	t.Parallel()
	k := newKubectl(t)
	k.FillPool(hostPool("pool", 1))
	manifest := fmt.Sprintf(waitingSandbox, "dry", "pool")
	for _, verb := range [][]string{{"create"}, {"apply"}, {"apply", "--server-side"}} {
		k.With(manifest, append(verb, "--dry-run=server", "-f", "-"), "(server dry run)")
		k.Fail("", words("get", "sandbox", "dry"), "not found")
	}
	k.Want("warmpool/pool", "{.status.readyReplicas} {.status.allocatedReplicas}", "1 0")

	// The one pod is still free: nothing but a create takes it, at once.
	k.With(manifest, words("create", "-f", "-", "-o", "jsonpath={.status.phase}"), string(v1alpha1.SandboxReady))
	k.Run(words("patch", "sandbox", "dry", "--dry-run=server", "--type=merge", "-p", `{"spec":{"idleTimeoutSeconds":9}}`))
	k.Want("sandbox/dry", "{.spec.idleTimeoutSeconds}", "")
	k.Run(words("delete", "sandbox", "dry", "--dry-run=server"))
	k.Want("sandbox/dry", "{.status.phase}", "Ready")
	k.Run(words("scale", "warmpool/pool", "--replicas=5", "--dry-run=server"))
	k.Want("warmpool/pool", "{.spec.replicas}", "1")
}

func TestKubectlRefusesUnknownFields(t *testing.T) {
	t.Parallel()
	k := newKubectl(t)
	bogus := strings.Replace(emptyPool, "  maxPods: 10", "  bogus: 10", 1)
	k.Fail(bogus, words("create", "-f", "-"), `unknown field "spec.bogus"`)
	got := k.Try(bogus, "create", "--validate=warn", "-f", "-")
	if got.Code != 0 {
		t.Errorf("create --validate=warn exits with %d: %s", got.Code, got.Stderr)
	}
	wantWords(t, got.Stderr, `Warning: unknown field "spec.bogus"`)
	k.Want("warmpool/empty", "{.spec.bogus}", "")
	got = k.Try(strings.Replace(bogus, "name: empty", "name: quiet", 1), "create", "--validate=ignore", "-f", "-")
	if got.Code != 0 || strings.Contains(got.Stderr, "bogus") {
		t.Errorf("create --validate=ignore exits with %d: %s", got.Code, got.Stderr)
	}
}

// TestKubectlWarnsOfOwners sets an owner: a standalone server has no garbage collector, and says so.
func TestKubectlWarnsOfOwners(t *testing.T) {
	t.Parallel()
	k := newKubectl(t)
	k.With(emptyPool, words("apply", "-f", "-"))
	uid := k.Run(words("get", "warmpool", "empty", "-o", "jsonpath={.metadata.uid}"))
	owned := strings.Replace(fmt.Sprintf(waitingSandbox, "owned", "empty"), "metadata:\n", fmt.Sprintf(
		"metadata:\n  ownerReferences: [{apiVersion: arl.io/v1alpha1, kind: WarmPool, name: empty, uid: %s}]\n", uid), 1)
	got := k.Try(owned, "create", "-f", "-")
	if got.Code != 0 {
		t.Errorf("kubectl exits with %d, want 0", got.Code)
	}
	wantWords(t, got.Stderr, "Warning:", "metadata.ownerReferences", "no garbage collector")
}
