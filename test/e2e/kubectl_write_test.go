package e2e

import (
	"fmt"
	"strings"
	"testing"
)

// TestKubectlWrites has an ordinary user change objects in all the ways of kubectl.
func TestKubectlWrites(t *testing.T) {
	n := newTenant(t)
	for _, test := range []struct {
		name string
		run  func(*kubectl)
	}{
		{"apply", testApply},
		{"server-side apply", testServerSideApply},
		{"change", testChange},
		{"dry run", testDryRun},
		{"refusal", testRefusal},
		{"delete", testDelete},
		{"scale and wait", testScale},
	} {
		t.Run(test.name, func(t *testing.T) { test.run(n.kubectl().in(t)) })
	}
}

// emptyPool is a pool of a name that starts no pod.
func emptyPool(name string) string {
	return strings.NewReplacer("replicas: 1", "replicas: 0", "name: pool", "name: "+name).Replace(poolManifest)
}

func testApply(k *kubectl) {
	manifest := emptyPool("applied")
	file := k.file("pool.yaml", manifest)
	k.run(words("apply", "-f", file), "warmpool.arl.io/applied created")
	k.run(words("apply", "-f", file), "warmpool.arl.io/applied unchanged")
	k.run(words("diff", "-f", file))
	k.want("warmpool/applied", "{.metadata.generation}", "1")

	changed := k.file("changed.yaml", strings.NewReplacer("maxPods: 3", "maxPods: 4", "team: red", "team: blue").Replace(manifest))
	got := k.try("", "diff", "-f", changed)
	if got.code != 1 {
		k.t.Errorf("diff of a changed manifest exits with %d, want 1: %s", got.code, got.stderr)
	}
	wantWords(k.t, got.stdout, "-  maxPods: 3", "+  maxPods: 4", "-    team: red", "+    team: blue")
	k.run(words("apply", "-f", changed), "warmpool.arl.io/applied configured")
	k.want("warmpool/applied", "{.spec.maxPods} {.metadata.labels.team} {.metadata.generation}", "4 blue 2")
	k.with(strings.Replace(manifest, "  maxPods: 3\n", "", 1), words("apply", "-f", "-"), "configured")
	k.want("warmpool/applied", "{.spec.maxPods} {.metadata.generation}", " 3")
}

func testServerSideApply(k *kubectl) {
	manifest := emptyPool("shared")
	apply := func(manager, manifest string, further ...string) outcome {
		return k.try(manifest, append(words("apply", "--server-side", "--field-manager", manager, "-f", "-"), further...)...)
	}
	if got := apply("first", manifest); got.code != 0 {
		k.t.Fatalf("server-side apply: %s", got.stderr)
	}
	k.want("warmpool/shared", `{.metadata.managedFields[?(@.manager=="first")].operation}`, "Apply")
	changed := strings.Replace(manifest, "maxPods: 3", "maxPods: 5", 1)
	if got := apply("second", changed); got.code != 1 {
		k.t.Errorf("an apply that conflicts exits with %d, want 1", got.code)
	} else {
		wantWords(k.t, got.stderr, "conflict", `"first"`, ".spec.maxPods")
	}
	if got := apply("second", changed, "--force-conflicts"); got.code != 0 {
		k.t.Errorf("a forced apply: %s", got.stderr)
	}
	k.want("warmpool/shared", "{.spec.maxPods}", "5")
	if got := apply("second", strings.Replace(changed, "  maxPods: 5\n", "", 1)); got.code != 0 {
		k.t.Errorf("apply without a field: %s", got.stderr)
	}
	k.want("warmpool/shared", "{.spec.maxPods} {.spec.replicas}", " 0")
}

func testChange(k *kubectl) {
	manifest := emptyPool("changing")
	k.with(manifest, words("create", "-f", "-"), "warmpool.arl.io/changing created")
	k.fail(manifest, words("create", "-f", "-"), `warmpools.arl.io "changing" already exists`)

	edit := k.in(k.t)
	edit.command.Env = words("KUBE_EDITOR=sh " + k.file("editor.sh", `sed -i 's/maxPods: 3/maxPods: 20/' "$1"`))
	edit.run(words("edit", "warmpool", "changing"), "edited")
	k.want("warmpool/changing", "{.spec.maxPods}", "20")

	k.run(words("patch", "wp", "changing", "--type=merge", "-p", `{"spec":{"idleTimeoutSeconds":30,"maxPods":null}}`), "patched")
	k.run(words("patch", "wp/changing", "--type=json", "-p",
		`[{"op":"test","path":"/spec/idleTimeoutSeconds","value":30},{"op":"replace","path":"/spec/idleTimeoutSeconds","value":40}]`), "patched")
	k.want("warmpool/changing", "{.spec.idleTimeoutSeconds} {.spec.maxPods}", "40 ")
	k.fail("", words("patch", "wp/changing", "--type=json", "-p", `[{"op":"test","path":"/spec/idleTimeoutSeconds","value":30}]`), "rejected")

	k.run(words("label", "warmpool", "changing", "tier=gold"), "labeled")
	k.run(words("annotate", "warmpool", "changing", "note=hello"), "annotated")
	k.want("warmpool/changing", "{.metadata.labels.tier} {.metadata.annotations.note}", "gold hello")
	k.fail("", words("label", "warmpool", "changing", "tier=lead"), "--overwrite is false")
	// Edit and two patches changed the spec; labels and annotations do not.
	k.want("warmpool/changing", "{.metadata.generation}", "4")

	printed := k.run(words("get", "warmpool", "changing", "-o", "json"))
	k.with(printed, words("replace", "-f", "-"), "warmpool.arl.io/changing replaced")
}

func testDryRun(k *kubectl) {
	manifest := sandboxYAML("dry", "nowhere")
	for _, verb := range [][]string{{"create"}, {"apply"}, {"apply", "--server-side"}} {
		k.with(manifest, append(verb, "--dry-run=server", "-f", "-"), "(server dry run)")
		k.fail("", words("get", "sandbox", "dry"), `sandboxes.arl.io "dry" not found`)
	}
	k.with(manifest, words("create", "-f", "-"))
	k.run(words("patch", "sandbox", "dry", "--dry-run=server", "--type=merge", "-p", `{"spec":{"idleTimeoutSeconds":9}}`), "patched")
	k.want("sandbox/dry", "{.spec.idleTimeoutSeconds}", "")
	k.run(words("delete", "sandbox", "dry", "--dry-run=server"))
	k.want("sandbox/dry", "{.spec.poolRef}", "nowhere")
}

func testRefusal(k *kubectl) {
	bogus := strings.Replace(emptyPool("bogus"), "  maxPods: 3", "  bogus: 10", 1)
	k.fail(bogus, words("create", "-f", "-"), `unknown field "spec.bogus"`)
	got := k.try(bogus, "create", "--validate=warn", "-f", "-")
	if got.code != 0 {
		k.t.Errorf("create --validate=warn exits with %d: %s", got.code, got.stderr)
	}
	wantWords(k.t, got.stderr, `Warning: unknown field "spec.bogus"`)
	k.fail("", words("patch", "warmpool", "bogus", "--type=merge", "-p", `{"spec":{"replicas":10001}}`),
		"is invalid: spec.replicas: Invalid value: 10001")
	k.fail(taskYAML("both", "box", "true")+"  poolRef: pool\n", words("create", "-f", "-"),
		`Task "both" is invalid: spec.poolRef: Forbidden: exactly one of sandboxRef and poolRef must be set`)
	k.with(sandboxYAML("fixed", "nowhere"), words("create", "-f", "-"))
	k.fail("", words("patch", "sandbox", "fixed", "--type=merge", "-p", `{"spec":{"poolRef":"other"}}`), "spec.poolRef", "immutable")
}

func testDelete(k *kubectl) {
	k.run(words("delete", "sandboxes", "--all"))
	var manifest strings.Builder
	for i := range 6 {
		manifest.WriteString(sandboxYAML(fmt.Sprintf("d%d", i), "nowhere"))
	}
	k.with(manifest.String(), words("create", "-f", "-"))
	left := func(want string) {
		k.t.Helper()
		if got := k.run(words("get", "sandboxes", "-o", "jsonpath={.items[*].metadata.name}")); got != want {
			k.t.Errorf("there are %q, want %q", got, want)
		}
	}
	k.run(words("delete", "sandbox", "d0"), `"d0" deleted`)
	k.run(words("label", "sandbox", "d1", "d2", "colour=green"))
	k.run(words("delete", "sandboxes", "-l", "colour=green"), `"d1" deleted`, `"d2" deleted`)
	left("d3 d4 d5")
	// The verb deletecollection is that of a DELETE of the collection's path.
	k.run(words("delete", "--raw", "/apis/arl.io/v1alpha1/namespaces/"+k.namespace+"/sandboxes?fieldSelector=metadata.name%3Dd3"))
	left("d4 d5")
	k.run(words("delete", "sandboxes", "--all"), `"d4" deleted`, `"d5" deleted`)
	left("")
	k.fail("", words("delete", "sandbox", "d5"), `sandboxes.arl.io "d5" not found`)
	k.run(words("delete", "sandbox", "d5", "--ignore-not-found"))
}

// testScale needs pods: all other changes do not.
func testScale(k *kubectl) {
	k.with(poolManifest, words("apply", "-f", "-"), "created")
	k.run(words("wait", "--for=condition=Ready", "warmpool/pool", "--timeout=240s"), "condition met")
	k.run(words("scale", "warmpool/pool", "--replicas=2"), "scaled")
	k.run(words("wait", "--for=jsonpath={.status.readyReplicas}=2", "warmpool/pool", "--timeout=240s"), "condition met")
	k.fail("", words("scale", "warmpool/pool", "--current-replicas=1", "--replicas=3"), "Expected replicas to be 1")
	k.run(words("get", "--raw", "/apis/arl.io/v1alpha1/namespaces/"+k.namespace+"/warmpools/pool/scale"),
		`"kind":"Scale"`, `"apiVersion":"autoscaling/v1"`, `"replicas":2`)
	k.with(sandboxYAML("one", "pool"), words("create", "-f", "-"))
	k.with(taskYAML("fails", "one", "exit 3"), words("create", "-f", "-"))
	k.fail("", words("wait", "--for=condition=Succeeded", "task/fails", "--timeout=1s"))
	k.run(words("delete", "sandbox", "one", "--wait=false"))
	k.run(words("wait", "--for=delete", "sandbox/one", "--timeout=240s"))
	k.run(words("scale", "warmpool", "pool", "--replicas=0"), "scaled")
	k.run(words("wait", "--for=jsonpath={.status.replicas}=0", "warmpool/pool", "--timeout=240s"), "condition met")
}
