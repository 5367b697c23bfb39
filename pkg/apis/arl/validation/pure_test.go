package validation

import (
	"math/rand"
	"testing"

	"github.com/google/go-cmp/cmp"
	apifuzzer "k8s.io/apimachinery/pkg/api/apitesting/fuzzer"
	metafuzzer "k8s.io/apimachinery/pkg/apis/meta/fuzzer"
	"k8s.io/apimachinery/pkg/runtime"
	runtimeserializer "k8s.io/apimachinery/pkg/runtime/serializer"

	"arl.io/arl/pkg/apis/arl"
	"arl.io/arl/pkg/apis/arl/fuzzer"
)

// TestPure gives validation any object there may be: it must not panic, not
// change its arguments, and say the same twice in the same order.
func TestPure(t *testing.T) {
	codecs := runtimeserializer.NewCodecFactory(runtime.NewScheme())
	filler := apifuzzer.FuzzerFor(apifuzzer.MergeFuzzerFuncs(metafuzzer.Funcs, fuzzer.Funcs), rand.NewSource(1), codecs)

	check := func(name string, now, old runtime.Object, validate func() []string) {
		t.Helper()
		wantNow, wantOld := now.DeepCopyObject(), old.DeepCopyObject()
		first, second := validate(), validate()
		if diff := cmp.Diff(first, second); diff != "" {
			t.Fatalf("%s: another answer the second time (-first +second):\n%s", name, diff)
		}
		if diff := cmp.Diff([]runtime.Object{wantNow, wantOld}, []runtime.Object{now, old}); diff != "" {
			t.Fatalf("%s: validation changed its arguments (-before +after):\n%s", name, diff)
		}
	}
	for range 200 {
		var pools [2]arl.WarmPool
		var sandboxes [2]arl.Sandbox
		var tasks [2]arl.Task
		filler.Fill(&pools)
		filler.Fill(&sandboxes)
		filler.Fill(&tasks)
		check("WarmPool", &pools[0], &pools[1], func() []string {
			return details(ValidateWarmPool(&pools[0]),
				ValidateWarmPoolUpdate(&pools[0], &pools[1]), ValidateWarmPoolStatusUpdate(&pools[0], &pools[1]))
		})
		check("Sandbox", &sandboxes[0], &sandboxes[1], func() []string {
			return details(ValidateSandbox(&sandboxes[0]),
				ValidateSandboxUpdate(&sandboxes[0], &sandboxes[1]), ValidateSandboxStatusUpdate(&sandboxes[0], &sandboxes[1]))
		})
		check("Task", &tasks[0], &tasks[1], func() []string {
			return details(ValidateTask(&tasks[0]),
				ValidateTaskUpdate(&tasks[0], &tasks[1]), ValidateTaskStatusUpdate(&tasks[0], &tasks[1]))
		})
	}
}
