package execute

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apimachinery/pkg/runtime/serializer/cbor"
	testingclock "k8s.io/utils/clock/testing"

	"arl.io/arl/pkg/agent/client"
	"arl.io/arl/pkg/agent/wire"
	"arl.io/arl/pkg/apis/arl"
	"arl.io/arl/pkg/apis/arl/install"
	"arl.io/arl/pkg/apis/arl/v1alpha1"
	"arl.io/arl/pkg/apis/arl/validation"
	"arl.io/arl/pkg/podruntime"
)

// answering is a transport that answers each request with the same status and bytes.
type answering struct {
	status int
	body   []byte
}

func (a answering) RoundTrip(*http.Request) (*http.Response, error) {
	return &http.Response{StatusCode: a.status, Header: http.Header{}, Body: io.NopCloser(bytes.NewReader(a.body))}, nil
}

// codecs are the serializers of a server and of its clients.
var codecs = func() serializer.CodecFactory {
	scheme := runtime.NewScheme()
	install.Install(scheme)
	return serializer.NewCodecFactory(scheme, serializer.WithSerializer(cbor.NewSerializerInfo))
}()

// FuzzFramesToClients has an agent answer the request for a task's steps with any status and bytes.
// Whatever comes of it can be stored beside the task, and read by clients of every encoding, which
// all get the same.
func FuzzFramesToClients(f *testing.F) {
	const finished = `{"seq":9,"type":"finished","done":{"state":"Failed","reason":"StepFailed","message":"m","exitCode":2,"stdout":"/2E=","stdoutBytes":2,"durationMicros":7,"steps":[`
	for _, seed := range []string{
		`{"seq":1,"type":"started"}` + "\n" + `{"seq":2,"type":"stepStarted","time":"2026-01-02T12:00:01Z"}` + "\n" +
			`{"seq":3,"type":"stepFinished","stepDone":{"name":"x","state":"Succeeded","startTime":"2026-01-02T12:00:01.5Z","durationMicros":9,"exitCode":0}}` + "\n" + finished + `{"state":"Succeeded"}]}}` + "\n",
		`{"seq":2,"type":"stepStarted","time":"9999-12-31T23:59:59-12:00"}` + "\n" + finished + `{"state":"Failed","startTime":"0000-01-01T00:00:00+12:00","durationMicros":9223372036854775807,"stdoutBytes":-1}]}}` + "\n",
		finished + `{"state":"Failed","message":"\ud800\u0000\u001b","exitCode":-2147483648,"reason":"Because"},{"state":"Skipped"}]}}` + "\n",
		finished + `{},{},{}]}}` + "\n", `{"type":"ping"}` + "\n", strings.Repeat("\xff", 100) + "\n", `{"code":"Invalid","message":"\u009b\udfff no"}`,
		`{"seq":9223372036854775807,"type":"finished","done":{"state":"Succeeded"}}` + "\n",
	} {
		f.Add(http.StatusOK, []byte(seed))
		f.Add(http.StatusBadRequest, []byte(seed))
	}
	f.Add(http.StatusFound, []byte("x"))
	f.Fuzz(func(t *testing.T, status int, body []byte) {
		e, x := fuzzed()
		c := client.New(client.Config{Transport: answering{status, body}, BaseURL: "http://agent", ReconnectWindow: -1})
		onEvent := func(event wire.Event) { x.progress.observe(event, len(x.task.Spec.Steps), e.spanOf(x)) }
		result, err := c.Run(context.Background(), requestOf(x, x.task, testOutputLimit), onEvent, client.WithoutOutput)
		var v verdict
		switch {
		case err == nil:
			v = resultVerdict(e.plausible(x, result))
		case errors.Is(err, client.ErrProtocol):
			v = brokenVerdict(x, err)
		default:
			v = refusedVerdict(err)
		}
		running := v1alpha1.TaskStatus{State: v1alpha1.TaskRunning, Reason: v1alpha1.TaskReasonRunning, Steps: x.progress.steps(x.task)}
		e.place(&running, x)
		setConditions(&running, metav1.ConditionUnknown, noon)
		checkStored(t, x.task, &running)
		for _, d := range []detail{full, slim, least} {
			var ended v1alpha1.TaskStatus
			e.report(&ended, x.task, x, v, d)
			checkStored(t, x.task, &ended)
			if ended.State == v1alpha1.TaskFailed {
				retrying(&ended, x.attempt, time.Second, noon)
				checkStored(t, x.task, &ended)
			}
		}
	})
}

// fuzzed returns an execution of two steps that began a minute ago.
func fuzzed() (*Executor, *execution) {
	task := &v1alpha1.Task{
		TypeMeta:   metav1.TypeMeta{APIVersion: v1alpha1.SchemeGroupVersion.String(), Kind: "Task"},
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "task", UID: "uid", ResourceVersion: "1"},
		Spec: v1alpha1.TaskSpec{SandboxRef: "box", Steps: []v1alpha1.TaskStep{
			{Name: "one", Type: v1alpha1.StepCommand, Command: []string{"true"}}, {Name: "two", Type: v1alpha1.StepCommand, Command: []string{"true"}},
		}},
	}
	v1alpha1.SetDefaults_TaskSpec(&task.Spec)
	x := &execution{
		task: task, attempt: 1, startedAt: noon, earliest: noon, id: execID{id: "uid-1", pod: podruntime.Key{Namespace: "default", Name: "pod"}},
		sandbox: &v1alpha1.Sandbox{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "box"}},
	}
	return &Executor{config: Config{Clock: testingclock.NewFakeClock(noon.Add(time.Minute)), OutputLimit: testOutputLimit}}, x
}

// checkStored says what keeps a status from being stored beside a task, or from being read.
func checkStored(t *testing.T, task *v1alpha1.Task, status *v1alpha1.TaskStatus) {
	t.Helper()
	whole := *task
	whole.Status = *status
	var stored arl.Task
	if err := v1alpha1.Convert_v1alpha1_Task_To_arl_Task(&whole, &stored, nil); err != nil {
		t.Fatal(err)
	}
	if errs := validation.ValidateTaskStatusUpdate(&stored, stored.DeepCopy()); len(errs) > 0 {
		t.Errorf("the server refuses %+v: %v", status, errs)
	}
	if size := status.Size(); size > validation.TaskStatusReserve {
		t.Errorf("the status takes %d bytes", size)
	}
	var first *v1alpha1.Task
	for _, info := range codecs.SupportedMediaTypes() {
		encoded, err := runtime.Encode(codecs.EncoderForVersion(info.Serializer, v1alpha1.SchemeGroupVersion), &stored)
		if err != nil {
			t.Fatalf("encoding as %s: %v", info.MediaType, err)
		}
		got := &v1alpha1.Task{}
		if err := runtime.DecodeInto(codecs.DecoderToVersion(info.Serializer, v1alpha1.SchemeGroupVersion), encoded, got); err != nil {
			t.Fatalf("decoding %s: %v", info.MediaType, err)
		}
		got.TypeMeta = metav1.TypeMeta{}
		if first == nil {
			first = got
			checkUntyped(t, encoded)
		} else if !apiequality.Semantic.DeepEqual(first, got) {
			t.Errorf("as %s it is another object: %s", info.MediaType, cmp.Diff(first, got))
		}
	}
}

// checkUntyped reads an object as clients do that know no types, and as Go's own package does.
func checkUntyped(t *testing.T, encoded []byte) {
	t.Helper()
	untyped, task := &unstructured.Unstructured{}, &v1alpha1.Task{}
	if err := untyped.UnmarshalJSON(encoded); err != nil {
		t.Errorf("decoding without types: %v", err)
	}
	if err := json.Unmarshal(encoded, task); err != nil {
		t.Errorf("decoding as JSON: %v", err)
	}
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(untyped.Object, task); err != nil {
		t.Errorf("converting to a type: %v", err)
	}
}
