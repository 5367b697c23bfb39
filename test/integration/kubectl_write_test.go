package integration

import (
	"fmt"
	"strings"
	"testing"

	"arl.io/arl/pkg/apis/arl/v1alpha1"
)

func TestKubectlApplies(t *testing.T) {
	t.Parallel()
	k := newKubectl(t)
	file := k.file("pool.yaml", emptyPool)
	k.run(words("apply", "-f", file), "warmpool.arl.io/empty created")
	k.run(words("apply", "-f", file), "warmpool.arl.io/empty unchanged")
	k.run(words("diff", "-f", file))
	k.want("warmpool/empty", "{.metadata.generation}", "1")

	changed := k.file("changed.yaml", strings.NewReplacer("maxPods: 10", "maxPods: 11", "team: red", "team: blue").Replace(emptyPool))
	got := k.try("", "diff", "-f", changed)
	if got.code != 1 {
		t.Errorf("diff of a changed manifest exits with %d, want 1: %s", got.code, got.stderr)
	}
	wantWords(t, got.stdout, "-  maxPods: 10", "+  maxPods: 11", "-    team: red", "+    team: blue")
	k.want("warmpool/empty", "{.spec.maxPods}", "10")

	k.run(words("apply", "-f", changed), "warmpool.arl.io/empty configured")
	k.want("warmpool/empty", "{.spec.maxPods} {.metadata.labels.team} {.metadata.generation}", "11 blue 2")
	k.with(strings.Replace(emptyPool, "  maxPods: 10\n", "", 1), words("apply", "-f", "-"), "configured")
	k.want("warmpool/empty", "{.spec.maxPods} {.metadata.generation}", " 3")
}

func TestKubectlAppliesOnTheServer(t *testing.T) {
	t.Parallel()
	k := newKubectl(t)
	apply := func(manager, manifest string, further ...string) outcome {
		return k.try(manifest, append(words("apply", "--server-side", "--field-manager", manager, "-f", "-"), further...)...)
	}
	if got := apply("first", emptyPool); got.code != 0 {
		t.Fatalf("server-side apply: %s", got.stderr)
	}
	k.want("warmpool/empty", `{.metadata.managedFields[?(@.manager=="first")].operation}`, "Apply")

	// A second manager may not take a field from the first, unless told to.
	changed := strings.Replace(emptyPool, "maxPods: 10", "maxPods: 12", 1)
	if got := apply("second", changed); got.code != 1 {
		t.Errorf("a conflicting apply exits with %d, want 1", got.code)
	} else {
		wantWords(t, got.stderr, "conflict", `"first"`, ".spec.maxPods")
	}
	if got := apply("second", changed, "--force-conflicts"); got.code != 0 {
		t.Errorf("a forced apply: %s", got.stderr)
	}
	k.want("warmpool/empty", "{.spec.maxPods}", "12")

	// What a manager no longer names goes, and nothing else.
	if got := apply("second", strings.Replace(changed, "  maxPods: 12\n", "", 1)); got.code != 0 {
		t.Errorf("apply without a field: %s", got.stderr)
	}
	k.want("warmpool/empty", "{.spec.maxPods} {.spec.replicas}", " 0")

	// The status is the scheduler's: who applies it owns nothing of it.
	if got := apply("first", emptyPool+"status: {phase: Degraded}\n", "--force-conflicts"); got.code != 0 {
		t.Errorf("apply with a status: %s", got.stderr)
	}
	if owned := k.jsonpath("warmpool/empty", `{.metadata.managedFields[?(@.manager=="first")].fieldsV1}`); strings.Contains(owned, "f:status") {
		t.Errorf("the manager of the spec owns a status: %s", owned)
	}
}

// TestKubectlAppliesASandbox creates by apply, which must take a pod as create does.
func TestKubectlAppliesASandbox(t *testing.T) {
	t.Parallel()
	k := newKubectl(t)
	k.fillPool(hostPool("pool", 2))
	for _, test := range []struct{ name, how string }{{"plain", "--server-side=false"}, {"server", "--server-side=true"}} {
		k.with(fmt.Sprintf(waitingSandbox, test.name, "pool"), words("apply", test.how, "-f", "-", "-o", "jsonpath={.status.phase}"), "Ready")
	}
}

func TestKubectlChanges(t *testing.T) {
	t.Parallel()
	k := newKubectl(t)
	k.with(emptyPool, words("create", "-f", "-"), "warmpool.arl.io/empty created")
	k.fail(emptyPool, words("create", "-f", "-"), `warmpools.arl.io "empty" already exists`)

	edit := k.command(t.Context(), "edit", "warmpool", "empty")
	editor := k.file("editor.sh", `sed -i 's/maxPods: 10/maxPods: 20/' "$1"`)
	edit.Env = append(edit.Env, "KUBE_EDITOR=sh "+editor)
	if got, err := runToEnd(t.Context(), edit); err != nil || got.code != 0 {
		t.Fatalf("edit: %v %s", err, got.stderr)
	}
	k.want("warmpool/empty", "{.spec.maxPods}", "20")

	k.run(words("patch", "warmpool", "empty", "--type=merge", "-p", `{"spec":{"idleTimeoutSeconds":30,"maxPods":null}}`), "patched")
	k.want("warmpool/empty", "{.spec.idleTimeoutSeconds} {.spec.maxPods}", "30 ")
	k.run(words("patch", "wp/empty", "--type=json", "-p",
		`[{"op":"test","path":"/spec/idleTimeoutSeconds","value":30},{"op":"replace","path":"/spec/idleTimeoutSeconds","value":40}]`), "patched")
	k.want("warmpool/empty", "{.spec.idleTimeoutSeconds}", "40")
	k.fail("", words("patch", "wp/empty", "--type=json", "-p", `[{"op":"test","path":"/spec/idleTimeoutSeconds","value":30}]`), "rejected")

	k.run(words("label", "warmpool", "empty", "tier=gold"), "labeled")
	k.run(words("annotate", "warmpool", "empty", "note=hello"), "annotated")
	k.want("warmpool/empty", "{.metadata.labels.tier} {.metadata.annotations.note}", "gold hello")
	k.fail("", words("label", "warmpool", "empty", "tier=lead"), "--overwrite is false")
	k.run(words("label", "warmpool", "empty", "tier-"))
	k.want("warmpool/empty", "{.metadata.labels.tier}", "")
	// Edit and two patches changed the spec; labels and annotations do not.
	k.want("warmpool/empty", "{.metadata.generation}", "4")
}

// TestKubectlReadsWhatItPrints takes several objects out and puts them back, as
// people do to copy, or to rewrite, what is stored.
func TestKubectlReadsWhatItPrints(t *testing.T) {
	t.Parallel()
	k := newKubectl(t)
	k.with(emptyPool, words("create", "-f", "-"))
	k.with(strings.ReplaceAll(emptyPool, "name: empty", "name: second"), words("create", "-f", "-"))
	for _, format := range []string{"json", "yaml"} {
		printed := k.run(words("get", "warmpools", "-o", format))
		k.with(printed, words("replace", "-f", "-"), "warmpool.arl.io/empty replaced", "warmpool.arl.io/second replaced")
		k.with(printed, words("delete", "--dry-run=server", "-f", "-"), "warmpool.arl.io \"empty\" deleted")
	}
}

func TestKubectlScales(t *testing.T) {
	t.Parallel()
	k := newKubectl(t)
	k.fillPool(hostPool("pool", 1))
	k.run(words("scale", "warmpool/pool", "--replicas=3"), "scaled")
	k.run(words("wait", "--for=jsonpath={.status.readyReplicas}=3", "warmpool/pool", "--timeout=60s"))
	k.fail("", words("scale", "warmpool/pool", "--current-replicas=1", "--replicas=2"), "Expected replicas to be 1")
	k.run(words("scale", "warmpool", "pool", "--replicas=0"), "scaled")
	k.run(words("wait", "--for=jsonpath={.status.replicas}=0", "warmpool/pool", "--timeout=60s"))
	k.run(words("get", "--raw", fmt.Sprintf("/apis/arl.io/v1alpha1/namespaces/%s/warmpools/pool/scale", k.namespace)),
		`"kind":"Scale"`, `"apiVersion":"autoscaling/v1"`, `"replicas":0`)
}

func TestKubectlWaits(t *testing.T) {
	t.Parallel()
	k := newKubectl(t)
	k.createPool(hostPool("pool", 1))
	k.run(words("wait", "--for=condition=Ready", "warmpool/pool", "--timeout=60s"), "condition met")
	k.createSandbox(sandboxOf("x", "pool"))
	k.run(words("wait", "--for=condition=Ready", "sandbox/x", "--timeout=60s"), "condition met")
	k.createTask(taskIn("x", "x", shell("step", "echo hello")))
	k.run(words("wait", "--for=jsonpath={.status.state}=Succeeded", "task/x", "--timeout=60s"), "condition met")
	k.run(words("wait", "--for=condition=Succeeded", "task/x", "--timeout=60s"), "condition met")
	k.createTask(taskIn("x", "y", shell("step", "exit 3")))
	k.run(words("wait", "--for=condition=Succeeded=false", "task/y", "--timeout=60s"), "condition met")
	k.fail("", words("wait", "--for=jsonpath={.status.state}=Succeeded", "task/y", "--timeout=1s"), "timed out")
	k.run(words("delete", "sandbox", "x", "--wait=false"))
	k.run(words("wait", "--for=delete", "sandbox/x", "--timeout=60s"))
}

func TestKubectlDeletes(t *testing.T) {
	t.Parallel()
	k := newKubectl(t)
	create := func(name string) {
		k.with(fmt.Sprintf(waitingSandbox, name, "nowhere"), words("create", "-f", "-"))
	}
	for _, name := range []string{"one", "two", "three", "four"} {
		create(name)
	}
	k.run(words("label", "sandbox", "one", "two", "colour=green"))
	k.run(words("delete", "sandboxes", "-l", "colour=green"), `"one" deleted`, `"two" deleted`)
	if got := k.run(words("get", "sandboxes", "-o", "jsonpath={.items[*].metadata.name}")); got != "four three" {
		t.Errorf("after a delete by label there are %q, want four and three", got)
	}
	k.run(words("delete", "sandboxes", "--all"), `"three" deleted`, `"four" deleted`)
	if got := k.run(words("get", "sandboxes", "-o", "name")); got != "" {
		t.Errorf("after delete --all there are %q", got)
	}
	create("five")
	file := k.file("five.yaml", fmt.Sprintf(waitingSandbox, "five", "nowhere"))
	k.run(words("delete", "-f", file), `"five" deleted`)
	k.fail("", words("delete", "-f", file), "not found")
	k.run(words("delete", "-f", file, "--ignore-not-found"))
}

func TestKubectlDryRunsStoreNothing(t *testing.T) {
	t.Parallel()
	k := newKubectl(t)
	k.fillPool(hostPool("pool", 1))
	manifest := fmt.Sprintf(waitingSandbox, "dry", "pool")
	for _, verb := range [][]string{{"create"}, {"apply"}, {"apply", "--server-side"}} {
		k.with(manifest, append(verb, "--dry-run=server", "-f", "-"), "(server dry run)")
		k.fail("", words("get", "sandbox", "dry"), "not found")
	}
	k.want("warmpool/pool", "{.status.readyReplicas} {.status.allocatedReplicas}", "1 0")

	// The one pod is still free: nothing but a create takes it, at once.
	k.with(manifest, words("create", "-f", "-", "-o", "jsonpath={.status.phase}"), string(v1alpha1.SandboxReady))
	k.run(words("patch", "sandbox", "dry", "--dry-run=server", "--type=merge", "-p", `{"spec":{"idleTimeoutSeconds":9}}`))
	k.want("sandbox/dry", "{.spec.idleTimeoutSeconds}", "")
	k.run(words("delete", "sandbox", "dry", "--dry-run=server"))
	k.want("sandbox/dry", "{.status.phase}", "Ready")
	k.run(words("scale", "warmpool/pool", "--replicas=5", "--dry-run=server"))
	k.want("warmpool/pool", "{.spec.replicas}", "1")
}

func TestKubectlRefusesUnknownFields(t *testing.T) {
	t.Parallel()
	k := newKubectl(t)
	bogus := strings.Replace(emptyPool, "  maxPods: 10", "  bogus: 10", 1)
	k.fail(bogus, words("create", "-f", "-"), `unknown field "spec.bogus"`)
	got := k.try(bogus, "create", "--validate=warn", "-f", "-")
	if got.code != 0 {
		t.Errorf("create --validate=warn exits with %d: %s", got.code, got.stderr)
	}
	wantWords(t, got.stderr, `Warning: unknown field "spec.bogus"`)
	k.want("warmpool/empty", "{.spec.bogus}", "")
	got = k.try(strings.Replace(bogus, "name: empty", "name: quiet", 1), "create", "--validate=ignore", "-f", "-")
	if got.code != 0 || strings.Contains(got.stderr, "bogus") {
		t.Errorf("create --validate=ignore exits with %d: %s", got.code, got.stderr)
	}
}
