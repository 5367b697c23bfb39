package manifests

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/registry/generic"
	"k8s.io/apiserver/pkg/storage"
	"k8s.io/apiserver/pkg/storage/storagebackend"
	"k8s.io/apiserver/pkg/storage/storagebackend/factory"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"

	"arl.io/arl/pkg/apis/arl/v1alpha1"
	"arl.io/arl/pkg/apiserver"
)

// reading are the verbs that change nothing.
var reading = []string{"get", "list", "watch"}

// each calls do for every right that a role gives.
func each(role *rbacv1.ClusterRole, do func(resource, verb string, names []string)) {
	for _, rule := range role.Rules {
		for _, group := range rule.APIGroups {
			for _, resource := range rule.Resources {
				for _, verb := range rule.Verbs {
					do(strings.TrimPrefix(group+"/", "/")+resource, verb, rule.ResourceNames)
				}
			}
		}
	}
}

// TestServerWritesNothingElse lists all that the server may write, and refuses
// rights that are not spelt out.
func TestServerWritesNothingElse(t *testing.T) {
	all := kustomize(t, kustomizeDir)
	var writes []string
	for _, name := range []string{"arl-apiserver", "arl-apiserver-pods"} {
		each(decoded[*rbacv1.ClusterRole](t, all, "ClusterRole/"+name), func(resource, verb string, names []string) {
			if strings.Contains(resource+verb, "*") {
				t.Errorf("%s may %s %s", name, verb, resource)
			}
			if strings.HasPrefix(resource, "secrets") || strings.HasPrefix(resource, "configmaps") {
				t.Errorf("%s may %s %s", name, verb, resource)
			}
			if !slices.Contains(reading, verb) {
				writes = append(writes, strings.TrimSpace(verb+" "+resource+" "+strings.Join(names, " ")))
			}
		})
	}
	slices.Sort(writes)
	want := []string{
		"create pods",
		"create pods/portforward",
		"delete pods",
		"patch apiregistration.k8s.io/apiservices v1alpha1.arl.io",
		"patch flowcontrol.apiserver.k8s.io/flowschemas/status",
		"patch pods",
		"update resourcequotas/status",
	}
	if diff := cmp.Diff(want, writes); diff != "" {
		t.Errorf("what the server may write (-want +got):\n%s", diff)
	}
}

// TestRolesCoverWhatIsServed: a subresource that no role names would be there
// for nobody but the cluster's administrators.
func TestRolesCoverWhatIsServed(t *testing.T) {
	all := kustomize(t, kustomizeDir)
	rights := map[string]map[string]bool{}
	for _, name := range []string{"view", "user", "edit", "admin"} {
		role := decoded[*rbacv1.ClusterRole](t, all, "ClusterRole/arl-"+name)
		var want []string // arl-user is part of no role of the cluster: edit and admin may do all that it may
		if name != "user" {
			want = []string{"rbac.authorization.k8s.io/aggregate-to-" + name}
		}
		if diff := cmp.Diff(want, aggregates(role)); diff != "" {
			t.Errorf("%s is part of the cluster's roles (-want +got):\n%s", role.Name, diff)
		}
		rights[name] = map[string]bool{}
		each(role, func(resource, verb string, _ []string) { rights[name][verb+" "+resource] = true })
	}
	for _, resource := range served(t) {
		for _, verb := range resource.Verbs {
			right := verb + " " + v1alpha1.GroupName + "/" + resource.Name
			reads := slices.Contains(reading, verb)
			// Whoever may only look may not go into a sandbox, which begins with a get.
			looks := reads && !slices.Contains(resource.Verbs, "create") || !strings.Contains(resource.Name, "/") && reads
			works := reads || !strings.HasSuffix(resource.Name, "/status")
			// arl-user changes everything but pools.
			uses := works && (reads || !strings.HasPrefix(resource.Name, "warmpools"))
			for name, want := range map[string]bool{"view": looks, "user": uses, "edit": works, "admin": works} {
				if rights[name][right] != want {
					t.Errorf("arl-%s: %q is %t, want %t", name, right, !want, want)
				}
				delete(rights[name], right)
			}
		}
	}
	for name, left := range rights {
		// The one verb that no request has: see package tenancy.
		if use, want := "use arl.io/warmpools", name == "edit" || name == "admin"; left[use] != want {
			t.Errorf("arl-%s: %q is %t, want %t", name, use, left[use], want)
		} else {
			delete(left, use)
		}
		for right := range left {
			t.Errorf("arl-%s: %q is about nothing that is served", name, right)
		}
	}
}

// aggregates returns the labels by which a role is part of others.
func aggregates(role *rbacv1.ClusterRole) []string {
	var found []string
	for label := range role.Labels {
		if strings.Contains(label, "aggregate-to") {
			found = append(found, label)
		}
	}
	return found
}

// served are the resources of arl.io, as the server tells clients.
func served(t *testing.T) []metav1.APIResource {
	t.Helper()
	config := apiserver.NewConfig("v0.0.0-test")
	config.GenericConfig.ExternalAddress = "127.0.0.1:443"
	config.GenericConfig.LoopbackClientConfig = &rest.Config{}
	config.GenericConfig.RESTOptionsGetter = noStorage{}
	server, err := config.Complete().New()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Destroy)
	answer := httptest.NewRecorder()
	server.Handler.Director.ServeHTTP(answer, httptest.NewRequest(http.MethodGet, "/apis/"+v1alpha1.SchemeGroupVersion.String(), nil))
	var list metav1.APIResourceList
	if err := json.Unmarshal(answer.Body.Bytes(), &list); err != nil || len(list.APIResources) == 0 {
		t.Fatalf("discovery answers %q: %v", answer.Body, err)
	}
	return list.APIResources
}

// noStorage is enough for a server that is asked what it serves only.
type noStorage struct{}

func (noStorage) GetRESTOptions(resource schema.GroupResource, _ runtime.Object) (generic.RESTOptions, error) {
	decorator := func(
		*storagebackend.ConfigForResource, string, func(runtime.Object) (string, error), func() runtime.Object,
		func() runtime.Object, storage.AttrFunc, storage.IndexerFuncs, *cache.Indexers,
	) (storage.Interface, factory.DestroyFunc, error) {
		return struct{ storage.Interface }{}, func() {}, nil
	}
	config := storagebackend.NewDefaultConfig("/", nil).ForResource(resource)
	return generic.RESTOptions{StorageConfig: config, Decorator: decorator, ResourcePrefix: resource.Resource}, nil
}
