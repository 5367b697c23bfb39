package registry

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/yaml"

	"arl.io/arl/pkg/apis/arl/v1alpha1"
	"arl.io/arl/pkg/apis/arl/validation"
	"arl.io/arl/pkg/apiserver"
)

func keys(count int) map[string]string {
	out := map[string]string{}
	for i := range count {
		out[fmt.Sprintf("k%d", i)] = ""
	}
	return out
}

func finalizers(count int) (out []string) {
	for i := range count {
		out = append(out, fmt.Sprintf("example.org/n%d", i))
	}
	return out
}

func boundTask() *v1alpha1.Task {
	return &v1alpha1.Task{
		TypeMeta:   metav1.TypeMeta{APIVersion: v1alpha1.SchemeGroupVersion.String(), Kind: "Task"},
		ObjectMeta: metav1.ObjectMeta{Name: "t", Namespace: namespace},
		Spec: v1alpha1.TaskSpec{SandboxRef: "s", Steps: []v1alpha1.TaskStep{
			{Name: "s", Type: v1alpha1.StepCommand, Command: []string{"true"}}}},
	}
}

// wantTooMany fails unless a request was refused for the number of items of a field.
func wantTooMany(t *testing.T, err error, field string) {
	t.Helper()
	if !apierrors.IsBadRequest(err) || !strings.Contains(err.Error(), field+": Too many") {
		t.Errorf("error %.300v, want one of 400 that says %s: Too many", err, field)
	}
}

// The managed fields of an object with 150,000 labels took 27 s to work out, and went on when the request
// had timed out. Objects with maps or lists of very many items are refused before that, in every
// encoding, and whatever the field is.
func TestManyItemsAreRefused(t *testing.T) {
	s := start(t, apiserver.Extra{})
	const many = 5_000
	tests := map[string]func(*v1alpha1.Task){
		"metadata.labels":        func(o *v1alpha1.Task) { o.Labels = keys(many) },
		"metadata.annotations":   func(o *v1alpha1.Task) { o.Annotations = keys(many) },
		"metadata.finalizers":    func(o *v1alpha1.Task) { o.Finalizers = finalizers(many) },
		"metadata.managedFields": func(o *v1alpha1.Task) { o.ManagedFields = make([]metav1.ManagedFieldsEntry, many) },
		"metadata.ownerReferences": func(o *v1alpha1.Task) {
			for _, name := range finalizers(many) {
				o.OwnerReferences = append(o.OwnerReferences, metav1.OwnerReference{APIVersion: "v1", Kind: "Pod", Name: name, UID: types.UID(name)})
			}
		},
		"spec.steps":            func(o *v1alpha1.Task) { o.Spec.Steps = make([]v1alpha1.TaskStep, many) },
		"spec.steps[0].env":     func(o *v1alpha1.Task) { o.Spec.Steps[0].Env = keys(many) },
		"spec.steps[0].command": func(o *v1alpha1.Task) { o.Spec.Steps[0].Command = finalizers(many) },
		"metadata.managedFields[0].fieldsV1.f:metadata.f:labels": func(o *v1alpha1.Task) {
			fields, _ := json.Marshal(map[string]any{"f:metadata": map[string]any{"f:labels": keys(many)}})
			o.ManagedFields = []metav1.ManagedFieldsEntry{{Manager: "m", Operation: "Update", APIVersion: "arl.io/v1alpha1", FieldsType: "FieldsV1"}}
			o.ManagedFields[0].FieldsV1 = metav1.NewFieldsV1(string(fields))
		},
		"metadata.annotations[kubectl.kubernetes.io/last-applied-configuration].metadata.labels": func(o *v1alpha1.Task) {
			applied, _ := json.Marshal(map[string]any{"metadata": map[string]any{"labels": keys(many)}})
			o.Annotations = map[string]string{"kubectl.kubernetes.io/last-applied-configuration": string(applied)}
		},
	}
	for field, change := range tests {
		t.Run(field, func(t *testing.T) {
			task := boundTask()
			change(task)
			for _, contentType := range []string{"application/json", "application/yaml", "application/vnd.kubernetes.protobuf"} {
				var request *rest.Request
				client := s.sending(t, contentType)
				if contentType == "application/yaml" {
					body, err := yaml.Marshal(task)
					if err != nil {
						t.Fatal(err)
					}
					request = s.RESTClient().Post().SetHeader("Content-Type", contentType).Body(body)
				} else {
					request = client.Post().Body(task)
				}
				err := request.Namespace(namespace).Resource("tasks").Do(t.Context()).Error()
				// The path of JSON that is not decoded yet has dots for indexes.
				plain := strings.NewReplacer("[0]", ".0").Replace(field)
				if contentType != "application/json" || strings.Contains(field, "last-applied") {
					plain = field
				}
				if contentType != "application/json" && strings.Contains(field, "fieldsV1") {
					plain = strings.Replace(field, ".fieldsV1.", ".fieldsV1.", 1)
				}
				wantTooMany(t, err, plain)
			}
		})
	}
	if list, err := s.Tasks("").List(t.Context(), metav1.ListOptions{}); err != nil || len(list.Items) > 0 {
		t.Errorf("%d tasks are stored, %v", len(list.Items), err)
	}
	task := boundTask()
	task.Labels, task.Annotations = keys(validation.MaxItems), keys(validation.MaxItems)
	if _, err := s.Tasks(namespace).Create(t.Context(), task, metav1.CreateOptions{}); err != nil {
		t.Errorf("as many as are allowed: %v", err)
	}
}

// Patches are refused for the same reason before they are applied.
func TestPatchesOfManyItemsAreRefused(t *testing.T) {
	s := start(t, apiserver.Extra{})
	if _, err := s.Tasks(namespace).Create(t.Context(), boundTask(), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	task := boundTask()
	task.Labels = keys(20_000)
	object, err := json.Marshal(task)
	if err != nil {
		t.Fatal(err)
	}
	text, err := yaml.JSONToYAML(object)
	if err != nil {
		t.Fatal(err)
	}
	operation, err := json.Marshal([]map[string]any{{"op": "add", "path": "/metadata/labels", "value": task.Labels}})
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name   string
		patch  types.PatchType
		body   []byte
		field  string
		option metav1.PatchOptions
	}{
		{"merge", types.MergePatchType, object, "metadata.labels", metav1.PatchOptions{}},
		{"strategic", types.StrategicMergePatchType, object, "metadata.labels", metav1.PatchOptions{}},
		{"JSON", types.JSONPatchType, operation, "0.value", metav1.PatchOptions{}},
		{"apply", types.ApplyYAMLPatchType, text, "metadata.labels", metav1.PatchOptions{FieldManager: "m"}},
		{"apply of JSON", types.ApplyYAMLPatchType, object, "metadata.labels", metav1.PatchOptions{FieldManager: "m"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := s.Tasks(namespace).Patch(t.Context(), "t", tt.patch, tt.body, tt.option)
			wantTooMany(t, err, tt.field)
			small := []byte(`{"metadata":{"labels":{"a":"b"}}}`)
			switch tt.patch {
			case types.JSONPatchType:
				small = []byte(`[{"op":"add","path":"/metadata/labels","value":{"a":"b"}}]`)
			case types.ApplyYAMLPatchType:
				small = []byte("{apiVersion: arl.io/v1alpha1, kind: Task, metadata: {labels: {a: b}}}")
				tt.option.Force = new(bool)
				*tt.option.Force = true
			}
			if got, err := s.Tasks(namespace).Patch(t.Context(), "t", tt.patch, small, tt.option); err != nil || got.Labels["a"] != "b" {
				t.Errorf("a small patch: %v", err)
			}
		})
	}
	tooLarge := []byte(`{"metadata":{"annotations":{"a":"` + strings.Repeat("x", validation.RequestLimit) + `"}}}`)
	if _, err := s.Tasks(namespace).Patch(t.Context(), "t", types.MergePatchType, tooLarge, metav1.PatchOptions{}); !apierrors.IsRequestEntityTooLargeError(err) {
		t.Errorf("a patch above what is read: %.200v, want 413", err)
	}
}

// A request whose fields are wrong a thousand times over gets an answer of bounded size.
func TestManyErrorsAreCut(t *testing.T) {
	s := start(t, apiserver.Extra{})
	task := boundTask()
	task.Spec.Steps = nil
	for range 200 {
		task.Spec.Steps = append(task.Spec.Steps, v1alpha1.TaskStep{Name: "!", Type: v1alpha1.StepCommand,
			Command: slices.Repeat([]string{"\x00"}, 1000)})
	}
	_, err := s.Tasks(namespace).Create(t.Context(), task, metav1.CreateOptions{})
	if !apierrors.IsInvalid(err) || !strings.Contains(err.Error(), "more errors are left out") {
		t.Fatalf("error %.300v, want one that leaves some out", err)
	}
	if len(err.Error()) > 64<<10 {
		t.Errorf("the error has %d bytes", len(err.Error()))
	}
}

// sending returns a client that sends a content type.
func (s *server) sending(t *testing.T, contentType string) rest.Interface {
	t.Helper()
	config := rest.CopyConfig(s.config)
	config.ContentType = contentType
	return connect(t, config).RESTClient()
}

// Paths that name nothing that can be are answered by a Status of 4xx: a namespace ".." gave 500.
func TestOddPathsAreRefused(t *testing.T) {
	s := start(t, apiserver.Extra{})
	if _, err := s.Tasks(namespace).Create(t.Context(), boundTask(), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	client, err := rest.HTTPClientFor(s.config)
	if err != nil {
		t.Fatal(err)
	}
	const group = "/apis/arl.io/v1alpha1"
	var paths []string
	for _, resource := range []string{"tasks", "sandboxes", "warmpools"} {
		for _, odd := range []string{"..", ".", "%2e%2e", "%2E", "a%2Fb", "%2F", "%00", "a%00b", "%ff%fe", "%0a", "%20", "*", "A", "a%25b",
			"", "default%2F..", strings.Repeat("a", 5000)} {
			paths = append(paths, group+"/namespaces/"+odd+"/"+resource)
			if odd != "" {
				paths = append(paths, group+"/namespaces/default/"+resource+"/"+odd, group+"/namespaces/default/"+resource+"/"+odd+"/status",
					group+"/watch/namespaces/"+odd+"/"+resource)
			}
		}
	}
	paths = append(paths, group+"/namespaces/default//tasks", "/"+group+"/tasks", group+"//tasks", group+"/../v1alpha1/tasks/x", "/apis/../..", "/..", "/%00", "/%ff")
	for _, path := range paths {
		for _, method := range []string{"GET", "POST", "PUT", "PATCH", "DELETE"} {
			request, err := http.NewRequestWithContext(t.Context(), method, s.config.Host+path, strings.NewReader("{}"))
			if err != nil {
				t.Fatal(err)
			}
			request.Header.Set("Content-Type", "application/json")
			if method == "PATCH" {
				request.Header.Set("Content-Type", string(types.MergePatchType))
			}
			response, err := client.Do(request)
			if err != nil {
				t.Fatal(err)
			}
			body, err := io.ReadAll(response.Body)
			response.Body.Close()
			var status metav1.Status
			if err != nil || json.Unmarshal(body, &status) != nil || status.Kind != "Status" || response.StatusCode < 400 || response.StatusCode > 499 {
				t.Errorf("%s %.80s: %s, %.200s, %v; want a Status of 4xx", method, path, response.Status, body, err)
			}
		}
	}
	if _, err := s.Tasks(namespace).Get(t.Context(), "t", metav1.GetOptions{}); err != nil {
		t.Errorf("the task that no path names: %v", err)
	}
}
