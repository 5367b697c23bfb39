package e2e

import (
	"context"
	"fmt"
	"net"
	"strings"
	"testing"

	authorizationv1 "k8s.io/api/authorization/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"arl.io/arl/pkg/apis/arl/v1alpha1"
	"arl.io/arl/pkg/generated/clientset/versioned"
	"arl.io/arl/test/e2e/cluster"
)

// Verbs by what they do.
var (
	reading = []string{"get", "list", "watch"}
	writing = []string{"create", "update", "patch", "delete", "deletecollection"}
	kinds   = []string{"warmpools", "sandboxes", "tasks"}
)

// TestRoles asks what our roles allow, each alone and as a part of the
// built-in role that it joins.
func TestRoles(t *testing.T) {
	if err := deployed(); err != nil {
		t.Fatal(err)
	}
	awaitServed(t)
	admin := clientOf(t, cluster.Admin)
	namespace := newNamespace(t, admin, "roles")
	elsewhere := newNamespace(t, admin, "elsewhere")
	for _, test := range []struct {
		role string
		// write says whether the role changes objects, pools whether pools are among them.
		write, pools bool
	}{
		{"arl-view", false, false}, {"view", false, false}, {"arl-user", true, false},
		{"arl-edit", true, true}, {"edit", true, true}, {"arl-admin", true, true}, {"admin", true, true},
	} {
		t.Run(test.role, func(t *testing.T) {
			user := "has-" + test.role
			client := clientOf(t, user)
			grant(t, admin, namespace, user, test.role)
			eventually(t, "the role is granted", func(ctx context.Context) error {
				return wantAllowed(ctx, client, namespace, "list", "warmpools", true)
			})
			for _, kind := range kinds {
				for _, verb := range reading {
					wantReview(t, client, namespace, verb, kind, true)
					wantReview(t, client, elsewhere, verb, kind, false)
				}
				for _, verb := range writing {
					wantReview(t, client, namespace, verb, kind, test.write && (test.pools || kind != "warmpools"))
					wantReview(t, client, elsewhere, verb, kind, false)
				}
			}
			wantReview(t, client, namespace, "get", "warmpools/scale", true)
			wantReview(t, client, namespace, "update", "warmpools/scale", test.pools)
			wantReview(t, client, namespace, "use", "warmpools", test.pools)
			// The status is the server's to write.
			wantReview(t, client, namespace, "update", "sandboxes/status", false)

			k := kubectlAs(t, user, namespace)
			k.Run(words("auth", "can-i", "list", "sandboxes.arl.io"), "yes")
			answer, code := "no", 1
			if test.write {
				answer, code = "yes", 0
			}
			got := k.Try("", "auth", "can-i", "create", "tasks.arl.io")
			if got.Code != code {
				t.Errorf("kubectl auth can-i create tasks exits with %d, want %d", got.Code, code)
			}
			wantWords(t, got.Stdout, answer)
		})
	}
}

func wantReview(t *testing.T, client kubernetes.Interface, namespace, verb, resource string, want bool) {
	t.Helper()
	if err := wantAllowed(t.Context(), client, namespace, verb, resource, want); err != nil {
		t.Error(err)
	}
}

// wantAllowed returns an error unless a client's user may do a thing, or may not.
func wantAllowed(ctx context.Context, client kubernetes.Interface, namespace, verb, resource string, want bool) error {
	attributes := authorizationv1.ResourceAttributes{Namespace: namespace, Verb: verb, Group: v1alpha1.GroupName}
	attributes.Resource, attributes.Subresource, _ = strings.Cut(resource, "/")
	review, err := client.AuthorizationV1().SelfSubjectAccessReviews().Create(ctx, &authorizationv1.SelfSubjectAccessReview{
		Spec: authorizationv1.SelfSubjectAccessReviewSpec{ResourceAttributes: &attributes},
	}, createNow)
	if err == nil && review.Status.Allowed != want {
		err = fmt.Errorf("%s %s in %s is allowed: %v, want %v (%s)", verb, resource, namespace, review.Status.Allowed, want, review.Status.Reason)
	}
	return err
}

// TestForbidden has a user without rights refused, by kube-apiserver and, when
// he comes through the Service that clients with much to do use, by our server.
func TestForbidden(t *testing.T) {
	n := newTenant(t)
	direct := directly(t, n.user)
	created, err := direct.ArlV1alpha1().Sandboxes(n.Namespace).Create(t.Context(), sandboxOf("direct", "nowhere"), createNow)
	if err != nil {
		t.Fatalf("create a sandbox at our server itself: %v", err)
	}
	if got, err := n.Sandboxes().Get(t.Context(), "direct", getNow); err != nil || got.UID != created.UID {
		t.Errorf("through kube-apiserver there is %v (%v), and %v was made directly", got.UID, err, created.UID)
	}
	const stranger = "stranger"
	for name, client := range map[string]*versioned.Clientset{
		"through kube-apiserver": arlClientOf(t, stranger), "directly": directly(t, stranger),
	} {
		t.Run(name, func(t *testing.T) {
			_, err := client.ArlV1alpha1().Sandboxes(n.Namespace).Create(t.Context(), sandboxOf("x", "nowhere"), createNow)
			wantRefusal(t, err, "create", "sandboxes", n.Namespace)
			_, err = client.ArlV1alpha1().Tasks(n.Namespace).List(t.Context(), everything)
			wantRefusal(t, err, "list", "tasks", n.Namespace)
		})
	}
	t.Run("without credentials", func(t *testing.T) {
		config := directConfig(t, stranger)
		config.CertData, config.KeyData = nil, nil
		nobody, err := versioned.NewForConfig(config)
		if err != nil {
			t.Fatal(err)
		}
		_, err = nobody.ArlV1alpha1().Tasks(n.Namespace).List(t.Context(), everything)
		if !apierrors.IsForbidden(err) && !apierrors.IsUnauthorized(err) {
			t.Errorf("a request without credentials got %v, want a refusal", err)
		}
	})
}

func wantRefusal(t *testing.T, err error, verb, resource, namespace string) {
	t.Helper()
	want := fmt.Sprintf(`%s.arl.io is forbidden: User "stranger" cannot %s resource %q in API group "arl.io" in the namespace %q`,
		resource, verb, resource, namespace)
	if !apierrors.IsForbidden(err) || !strings.Contains(err.Error(), want) {
		t.Errorf("to %s %s got %v, want %s", verb, resource, err, want)
	}
}

// directly returns a client of our server's own Service.
func directly(t *testing.T, user string) *versioned.Clientset {
	t.Helper()
	client, err := versioned.NewForConfig(directConfig(t, user))
	if err != nil {
		t.Fatal(err)
	}
	return client
}

// directConfig is for our server's own Service. Whom to trust there, the APIService says.
func directConfig(t *testing.T, user string) *rest.Config {
	t.Helper()
	config, err := shared.RESTConfig(user)
	if err != nil {
		t.Fatal(err)
	}
	admin := clientOf(t, cluster.Admin)
	service, err := admin.CoreV1().Services(systemNamespace).Get(t.Context(), serverName, getNow)
	if err != nil {
		t.Fatal(err)
	}
	registered, err := registration(t.Context(), admin)
	if err != nil {
		t.Fatal(err)
	}
	config.Host = "https://" + net.JoinHostPort(service.Spec.ClusterIP, "443")
	config.ServerName = serverName + "." + systemNamespace + ".svc"
	config.CAData = registered.Spec.CABundle
	return config
}
