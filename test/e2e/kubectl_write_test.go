package e2e

import (
	"fmt"
	"strings"
	"testing"

	"arl.io/arl/test/cli"
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
	file := k.File("pool.yaml", manifest)
	k.Run(words("apply", "-f", file), "warmpool.arl.io/applied created")
	k.Run(words("apply", "-f", file), "warmpool.arl.io/applied unchanged")
	k.Run(words("diff", "-f", file))
	k.Want("warmpool/applied", "{.metadata.generation}", "1")

	changed := k.File("changed.yaml", strings.NewReplacer("maxPods: 3", "maxPods: 4", "team: red", "team: blue").Replace(manifest))
	got := k.Try("", "diff", "-f", changed)
	if got.Code != 1 {
		k.T.Errorf("diff of a changed manifest exits with %d, want 1: %s", got.Code, got.Stderr)
	}
	wantWords(k.T, got.Stdout, "-  maxPods: 3", "+  maxPods: 4", "-    team: red", "+    team: blue")
	k.Run(words("apply", "-f", changed), "warmpool.arl.io/applied configured")
	k.Want("warmpool/applied", "{.spec.maxPods} {.metadata.labels.team} {.metadata.generation}", "4 blue 2")
	k.With(strings.Replace(manifest, "  maxPods: 3\n", "", 1), words("apply", "-f", "-"), "configured")
	k.Want("warmpool/applied", "{.spec.maxPods} {.metadata.generation}", " 3")
}

func testServerSideApply(k *kubectl) {
	manifest := emptyPool("shared")
	apply := func(manager, manifest string, further ...string) cli.Outcome {
		return k.Try(manifest, append(words("apply", "--server-side", "--field-manager", manager, "-f", "-"), further...)...)
	}
	if got := apply("first", manifest); got.Code != 0 {
		k.T.Fatalf("server-side apply: %s", got.Stderr)
	}
	k.Want("warmpool/shared", `{.metadata.managedFields[?(@.manager=="first")].operation}`, "Apply")
	changed := strings.Replace(manifest, "maxPods: 3", "maxPods: 5", 1)
	if got := apply("second", changed); got.Code != 1 {
		k.T.Errorf("an apply that conflicts exits with %d, want 1", got.Code)
	} else {
		wantWords(k.T, got.Stderr, "conflict", `"first"`, ".spec.maxPods")
	}
	if got := apply("second", changed, "--force-conflicts"); got.Code != 0 {
		k.T.Errorf("a forced apply: %s", got.Stderr)
	}
	k.Want("warmpool/shared", "{.spec.maxPods}", "5")
	if got := apply("second", strings.Replace(changed, "  maxPods: 5\n", "", 1)); got.Code != 0 {
		k.T.Errorf("apply without a field: %s", got.Stderr)
	}
	k.Want("warmpool/shared", "{.spec.maxPods} {.spec.replicas}", " 0")
}

func testChange(k *kubectl) {
	manifest := emptyPool("changing")
	k.With(manifest, words("create", "-f", "-"), "warmpool.arl.io/changing created")
	k.Fail(manifest, words("create", "-f", "-"), `warmpools.arl.io "changing" already exists`)

	edit := k.in(k.T)
	edit.Env = words("KUBE_EDITOR=sh " + k.File("editor.sh", `sed -i 's/maxPods: 3/maxPods: 20/' "$1"`))
	edit.Run(words("edit", "warmpool", "changing"), "edited")
	k.Want("warmpool/changing", "{.spec.maxPods}", "20")

	k.Run(words("patch", "wp", "changing", "--type=merge", "-p", `{"spec":{"idleTimeoutSeconds":30,"maxPods":null}}`), "patched")
	k.Run(words("patch", "wp/changing", "--type=json", "-p",
		`[{"op":"test","path":"/spec/idleTimeoutSeconds","value":30},{"op":"replace","path":"/spec/idleTimeoutSeconds","value":40}]`), "patched")
	k.Want("warmpool/changing", "{.spec.idleTimeoutSeconds} {.spec.maxPods}", "40 ")
	k.Fail("", words("patch", "wp/changing", "--type=json", "-p", `[{"op":"test","path":"/spec/idleTimeoutSeconds","value":30}]`), "rejected")

	k.Run(words("label", "warmpool", "changing", "tier=gold"), "labeled")
	k.Run(words("annotate", "warmpool", "changing", "note=hello"), "annotated")
	k.Want("warmpool/changing", "{.metadata.labels.tier} {.metadata.annotations.note}", "gold hello")
	k.Fail("", words("label", "warmpool", "changing", "tier=lead"), "--overwrite is false")
	// Edit and two patches changed the spec; labels and annotations do not.
	k.Want("warmpool/changing", "{.metadata.generation}", "4")

	printed := k.Run(words("get", "warmpool", "changing", "-o", "json"))
	k.With(printed, words("replace", "-f", "-"), "warmpool.arl.io/changing replaced")
}

func testDryRun(k *kubectl) {
	manifest := sandboxYAML("dry", "nowhere")
	for _, verb := range [][]string{{"create"}, {"apply"}, {"apply", "--server-side"}} {
		k.With(manifest, append(verb, "--dry-run=server", "-f", "-"), "(server dry run)")
		k.Fail("", words("get", "sandbox", "dry"), `sandboxes.arl.io "dry" not found`)
	}
	k.With(manifest, words("create", "-f", "-"))
	k.Run(words("patch", "sandbox", "dry", "--dry-run=server", "--type=merge", "-p", `{"spec":{"idleTimeoutSeconds":9}}`), "patched")
	k.Want("sandbox/dry", "{.spec.idleTimeoutSeconds}", "")
	k.Run(words("delete", "sandbox", "dry", "--dry-run=server"))
	k.Want("sandbox/dry", "{.spec.poolRef}", "nowhere")
}

func testRefusal(k *kubectl) {
	bogus := strings.Replace(emptyPool("bogus"), "  maxPods: 3", "  bogus: 10", 1)
	k.Fail(bogus, words("create", "-f", "-"), `unknown field "spec.bogus"`)
	got := k.Try(bogus, "create", "--validate=warn", "-f", "-")
	if got.Code != 0 {
		k.T.Errorf("create --validate=warn exits with %d: %s", got.Code, got.Stderr)
	}
	wantWords(k.T, got.Stderr, `Warning: unknown field "spec.bogus"`)
	k.Fail("", words("patch", "warmpool", "bogus", "--type=merge", "-p", `{"spec":{"replicas":10001}}`),
		"is invalid: spec.replicas: Invalid value: 10001")
	k.Fail(taskYAML("both", "box", "true")+"  poolRef: pool\n", words("create", "-f", "-"),
		`Task "both" is invalid: spec.poolRef: Forbidden: exactly one of sandboxRef and poolRef must be set`)
	k.With(sandboxYAML("fixed", "nowhere"), words("create", "-f", "-"))
	k.Fail("", words("patch", "sandbox", "fixed", "--type=merge", "-p", `{"spec":{"poolRef":"other"}}`), "spec.poolRef", "immutable")
}

func testDelete(k *kubectl) {
	k.Run(words("delete", "sandboxes", "--all"))
	var manifest strings.Builder
	for i := range 6 {
		manifest.WriteString(sandboxYAML(fmt.Sprintf("d%d", i), "nowhere"))
	}
	k.With(manifest.String(), words("create", "-f", "-"))
	left := func(want string) {
		k.T.Helper()
		if got := k.Run(words("get", "sandboxes", "-o", "jsonpath={.items[*].metadata.name}")); got != want {
			k.T.Errorf("there are %q, want %q", got, want)
		}
	}
	k.Run(words("delete", "sandbox", "d0"), `"d0" deleted`)
	k.Run(words("label", "sandbox", "d1", "d2", "colour=green"))
	k.Run(words("delete", "sandboxes", "-l", "colour=green"), `"d1" deleted`, `"d2" deleted`)
	left("d3 d4 d5")
	// The verb deletecollection is that of a DELETE of the collection's path.
	k.Run(words("delete", "--raw", "/apis/arl.io/v1alpha1/namespaces/"+k.namespace+"/sandboxes?fieldSelector=metadata.name%3Dd3"))
	left("d4 d5")
	k.Run(words("delete", "sandboxes", "--all"), `"d4" deleted`, `"d5" deleted`)
	left("")
	k.Fail("", words("delete", "sandbox", "d5"), `sandboxes.arl.io "d5" not found`)
	k.Run(words("delete", "sandbox", "d5", "--ignore-not-found"))
}

// testScale needs pods: all other changes do not.
func testScale(k *kubectl) {
	k.With(poolManifest, words("apply", "-f", "-"), "created")
	k.Run(words("wait", "--for=condition=Ready", "warmpool/pool", "--timeout=240s"), "condition met")
	k.Run(words("scale", "warmpool/pool", "--replicas=2"), "scaled")
	k.Run(words("wait", "--for=jsonpath={.status.readyReplicas}=2", "warmpool/pool", "--timeout=240s"), "condition met")
	k.Fail("", words("scale", "warmpool/pool", "--current-replicas=1", "--replicas=3"), "Expected replicas to be 1")
	k.Run(words("get", "--raw", "/apis/arl.io/v1alpha1/namespaces/"+k.namespace+"/warmpools/pool/scale"),
		`"kind":"Scale"`, `"apiVersion":"autoscaling/v1"`, `"replicas":2`)
	k.With(sandboxYAML("one", "pool"), words("create", "-f", "-"))
	k.With(taskYAML("fails", "one", "exit 3"), words("create", "-f", "-"))
	k.Fail("", words("wait", "--for=condition=Succeeded", "task/fails", "--timeout=1s"))
	k.Run(words("delete", "sandbox", "one", "--wait=false"))
	k.Run(words("wait", "--for=delete", "sandbox/one", "--timeout=240s"))
	k.Run(words("scale", "warmpool", "pool", "--replicas=0"), "scaled")
	k.Run(words("wait", "--for=jsonpath={.status.replicas}=0", "warmpool/pool", "--timeout=240s"), "condition met")
}
