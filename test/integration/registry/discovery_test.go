package registry

import (
	"encoding/json"
	"errors"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/version"
	"k8s.io/apiserver/pkg/server/healthz"

	"arl.io/arl/pkg/apiserver"
)

// get returns the answer to a GET of an absolute path.
func (s *server) get(t *testing.T, path, accept string) ([]byte, error) {
	t.Helper()
	request := s.RESTClient().Get().AbsPath(path)
	if accept != "" {
		request = request.SetHeader("Accept", accept)
	}
	return request.DoRaw(t.Context())
}

func TestDiscovery(t *testing.T) {
	s := start(t, apiserver.Extra{})
	raw, err := s.get(t, "/apis/arl.io/v1alpha1", "")
	if err != nil {
		t.Fatal(err)
	}
	var list metav1.APIResourceList
	if err := json.Unmarshal(raw, &list); err != nil {
		t.Fatal(err)
	}
	main := []string{"create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"}
	sub := []string{"get", "patch", "update"}
	arl := []string{"arl"}
	want := map[string]metav1.APIResource{
		"warmpools":        {Kind: "WarmPool", SingularName: "warmpool", ShortNames: []string{"wp"}, Categories: arl, Verbs: main},
		"warmpools/status": {Kind: "WarmPool", Verbs: sub},
		"warmpools/scale":  {Kind: "Scale", Group: "autoscaling", Version: "v1", Verbs: sub},
		"sandboxes":        {Kind: "Sandbox", SingularName: "sandbox", ShortNames: []string{"sbx"}, Categories: arl, Verbs: main},
		"sandboxes/status": {Kind: "Sandbox", Verbs: sub},
		"tasks":            {Kind: "Task", SingularName: "task", ShortNames: []string{"tk"}, Categories: arl, Verbs: main},
		"tasks/status":     {Kind: "Task", Verbs: sub},
	}
	got := map[string]metav1.APIResource{}
	for _, r := range list.APIResources {
		if !r.Namespaced {
			t.Errorf("%s has no namespace", r.Name)
		}
		slices.Sort(r.Verbs)
		got[r.Name] = metav1.APIResource{
			Kind: r.Kind, Group: r.Group, Version: r.Version, SingularName: r.SingularName,
			ShortNames: r.ShortNames, Categories: r.Categories, Verbs: r.Verbs,
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("unexpected resources (-want +got):\n%s", diff)
	}
}

func TestTables(t *testing.T) {
	s := start(t, apiserver.Extra{})
	if _, err := s.WarmPools(namespace).Create(t.Context(), pool("p"), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	tests := map[string]string{
		"warmpools":          "NAME DESIRED READY ALLOCATED PENDING PHASE AGE | IMAGES WORKDIR UPDATED REASON",
		"sandboxes":          "NAME POOL PHASE POD AGE | NODE IP REASON QUEUE IDLE-TIMEOUT",
		"tasks":              "NAME SANDBOX STATE REASON EXIT DURATION AGE | POOL POD ATTEMPTS STEPS",
		"warmpools/p":        "NAME DESIRED READY ALLOCATED PENDING PHASE AGE | IMAGES WORKDIR UPDATED REASON",
		"warmpools/p/status": "NAME DESIRED READY ALLOCATED PENDING PHASE AGE | IMAGES WORKDIR UPDATED REASON",
		"warmpools/p/scale":  "NAME DESIRED CURRENT AGE |",
	}
	for path, want := range tests {
		t.Run(path, func(t *testing.T) {
			raw, err := s.get(t, "/apis/arl.io/v1alpha1/namespaces/default/"+path, "application/json;as=Table;v=v1;g=meta.k8s.io")
			if err != nil {
				t.Fatal(err)
			}
			var table metav1.Table
			if err := json.Unmarshal(raw, &table); err != nil {
				t.Fatal(err)
			}
			narrow, wide := []string{}, []string{"|"}
			for _, c := range table.ColumnDefinitions {
				if c.Priority == 0 {
					narrow = append(narrow, strings.ToUpper(c.Name))
				} else {
					wide = append(wide, strings.ToUpper(c.Name))
				}
			}
			if diff := cmp.Diff(want, strings.Join(append(narrow, wide...), " ")); diff != "" {
				t.Errorf("unexpected columns (-want +got):\n%s", diff)
			}
		})
	}
}

func TestOpenAPI(t *testing.T) {
	s := start(t, apiserver.Extra{})
	tests := map[string][]string{
		"/openapi/v2": {
			`"io.arl.v1alpha1.Task"`, `"io.k8s.api.autoscaling.v1.Scale"`, `"x-kubernetes-group-version-kind"`, `"title":"ARL"`,
		},
		"/openapi/v3/apis/arl.io/v1alpha1": {
			`"io.arl.v1alpha1.Sandbox"`, `"io.k8s.api.autoscaling.v1.Scale"`, `poolRef is the name of the WarmPool`, `"version":"v0.0.0-test"`,
		},
	}
	for path, wants := range tests {
		t.Run(path, func(t *testing.T) {
			raw, err := s.get(t, path, "application/json")
			if err != nil {
				t.Fatal(err)
			}
			for _, want := range wants {
				if !strings.Contains(string(raw), want) {
					t.Errorf("%s is missing", want)
				}
			}
		})
	}
}

func TestVersion(t *testing.T) {
	s := start(t, apiserver.Extra{})
	raw, err := s.get(t, "/version", "")
	if err != nil {
		t.Fatal(err)
	}
	var got version.Info
	if err := json.Unmarshal(raw, &got); err != nil {
		t.Fatal(err)
	}
	if got.Major != "1" || got.Minor == "" || !strings.HasSuffix(got.GitVersion, "+arl-v0.0.0-test") {
		t.Errorf("version %s.%s, %s", got.Major, got.Minor, got.GitVersion)
	}
}

func TestHealthChecks(t *testing.T) {
	check := func(name string, err error) healthz.HealthChecker {
		return healthz.NamedCheck(name, func(*http.Request) error { return err })
	}
	s := start(t, apiserver.Extra{
		HealthChecks: []healthz.HealthChecker{check("storage", nil)},
		ReadyChecks:  []healthz.HealthChecker{check("scheduler", errors.New("not synced"))},
	})
	tests := map[string]bool{
		"/healthz/storage": true, "/livez/storage": true, "/readyz/storage": true,
		"/readyz/scheduler": false, "/livez": true, "/readyz": false,
	}
	for path, want := range tests {
		if raw, err := s.get(t, path, ""); (err == nil) != want {
			t.Errorf("%s: %v: %s", path, err, raw)
		}
	}
	if _, err := s.get(t, "/livez/scheduler", ""); !apierrors.IsNotFound(err) {
		t.Errorf("a readiness check is a liveness check, too: %v", err)
	}
}

func TestUnknownFields(t *testing.T) {
	s := start(t, apiserver.Extra{})
	body := []byte(`{"apiVersion":"arl.io/v1alpha1","kind":"Sandbox","metadata":{"name":"a"},"spec":{"poolRef":"p","poolref":"p","color":1}}`)
	post := func(validation string) error {
		return s.RESTClient().Post().Namespace(namespace).Resource("sandboxes").
			Param("fieldValidation", validation).Body(body).Do(t.Context()).Error()
	}
	err := post("Strict")
	if !apierrors.IsBadRequest(err) || !strings.Contains(err.Error(), `unknown field "spec.color"`) {
		t.Errorf("strict validation: %v", err)
	}
	if err := post("Warn"); err != nil {
		t.Errorf("warning validation: %v", err)
	}
}
