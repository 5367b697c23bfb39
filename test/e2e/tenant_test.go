package e2e

import (
	"context"
	"fmt"
	"testing"

	authorizationv1 "k8s.io/api/authorization/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"arl.io/arl/pkg/generated/clientset/versioned"
	"arl.io/arl/test/e2e/cluster"
	"arl.io/arl/test/space"
)

// Options of requests that ask for nothing special.
var (
	createNow  = metav1.CreateOptions{}
	patchNow   = metav1.PatchOptions{}
	deleteNow  = metav1.DeleteOptions{}
	getNow     = metav1.GetOptions{}
	everything = metav1.ListOptions{}
)

// tenant is a namespace of its own for one test, and a user who has the built-in role
// "edit" there and no right anywhere else. Everything a tenant does is done as
// that user, through kube-apiserver.
//
//	newTenant(t)                             installs the product if need be, and makes a tenant
//	n.Pools() n.Sandboxes() n.Tasks()        the generated typed clients
//	n.core                                   Kubernetes' own kinds
//	n.FillPool(busyPool(name, n))            a pool, and waits until its pods are ready
//	n.CreateSandbox(sandboxOf(name, pool))   returns what the server answered
//	n.AwaitSandbox(name, phase) n.AwaitEnd(task) n.AwaitPool(name, ready)
//	n.Perform(taskIn(sandbox, name, shell(step, script)))   runs a task to its end
//	n.Output(sandbox, script)                the same for one that must succeed
//	n.kubectl().Run(args, words...) .With(stdin, args, words...) .Fail(...) .Watch(...)
//
// For a cluster's admin there are clientOf(t, cluster.Admin) and
// shared.Kubectl, for the server awaitServed(t), serverPod(t) and the names in
// deploy_test.go.
type tenant struct {
	*space.Space
	user string
	core kubernetes.Interface
}

// newTenant makes a tenant on the shared installation. Its namespace goes with
// the test.
func newTenant(t *testing.T) *tenant {
	t.Helper()
	if err := deployed(); err != nil {
		t.Fatal(err)
	}
	awaitServed(t)
	t.Cleanup(func() {
		if t.Failed() {
			t.Log(serverState(context.Background()))
		}
	})
	admin := clientOf(t, cluster.Admin)
	namespace := newNamespace(t, admin, "tenant")
	user := "user-of-" + namespace
	grant(t, admin, namespace, user, "edit")
	n := &tenant{user: user, core: clientOf(t, user), Space: &space.Space{T: t, Namespace: namespace, Waiter: waits}}
	n = n.through(arlClientOf(t, user))
	n.awaitRights()
	return n
}

// arlClientOf returns a client of our kinds for a user of some groups.
func arlClientOf(t *testing.T, user string, groups ...string) *versioned.Clientset {
	t.Helper()
	config, err := shared.RESTConfig(user, groups...)
	if err != nil {
		t.Fatal(err)
	}
	arl, err := versioned.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	return arl
}

// grant gives a user a ClusterRole in a namespace.
func grant(t *testing.T, admin kubernetes.Interface, namespace, user, role string) {
	t.Helper()
	binding := &rbacv1.RoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: user + "-" + role},
		Subjects:   []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: rbacv1.UserKind, Name: user}},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: role},
	}
	if _, err := admin.RbacV1().RoleBindings(namespace).Create(t.Context(), binding, createNow); err != nil {
		t.Fatalf("grant %s to %s: %v", role, user, err)
	}
}

// awaitRights waits until kube-apiserver has taken up what the user may do. It asks
// kube-apiserver and not our server, which would keep a refusal for some seconds.
func (n *tenant) awaitRights() {
	n.T.Helper()
	eventually(n.T, n.user+" may make sandboxes", func(ctx context.Context) error {
		review, err := n.core.AuthorizationV1().SelfSubjectAccessReviews().Create(ctx, &authorizationv1.SelfSubjectAccessReview{
			Spec: authorizationv1.SelfSubjectAccessReviewSpec{ResourceAttributes: &authorizationv1.ResourceAttributes{
				Namespace: n.Namespace, Verb: "create", Group: "arl.io", Resource: "sandboxes",
			}},
		}, createNow)
		if err == nil && !review.Status.Allowed {
			err = fmt.Errorf("refused: %s", review.Status.Reason)
		}
		return err
	})
}

// in is the same tenant in a subtest.
func (n *tenant) in(t *testing.T) *tenant {
	inner := *n
	inner.Space = n.In(t)
	return &inner
}

// through is the same tenant with another client of our kinds.
func (n *tenant) through(arl versioned.Interface) *tenant {
	inner := *n
	inner.Space = n.In(n.T)
	inner.Client = func() versioned.Interface { return arl }
	return &inner
}
