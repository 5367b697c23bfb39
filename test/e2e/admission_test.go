package e2e

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	admissionv1 "k8s.io/api/admission/v1"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/util/cert"
	"k8s.io/utils/ptr"

	"arl.io/arl/test/e2e/cluster"
)

// TestAdmissionPolicy bounds what sandboxes may ask for by a policy of the cluster.
func TestAdmissionPolicy(t *testing.T) {
	n := newTenant(t)
	registry := clientOf(t, cluster.Admin).AdmissionregistrationV1()
	name := "modest-" + n.Namespace
	policy := &admissionregistrationv1.ValidatingAdmissionPolicy{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: admissionregistrationv1.ValidatingAdmissionPolicySpec{
			MatchConstraints: &admissionregistrationv1.MatchResources{
				ResourceRules: []admissionregistrationv1.NamedRuleWithOperations{{RuleWithOperations: ourRule("sandboxes")}},
			},
			Validations: []admissionregistrationv1.Validation{{
				Expression: "!has(object.spec.priority) || object.spec.priority <= 10", Message: "only the chosen few may be so important",
			}, {
				Expression: "object.spec.poolRef != 'closed' || request.userInfo.username == 'system:apiserver'", Message: "no user may have this pool",
			}},
		},
	}
	if _, err := registry.ValidatingAdmissionPolicies().Create(t.Context(), policy, createNow); err != nil {
		t.Fatal(err)
	}
	cleanUp(t, func(ctx context.Context) error {
		return registry.ValidatingAdmissionPolicies().Delete(ctx, name, deleteNow)
	})
	binding := &admissionregistrationv1.ValidatingAdmissionPolicyBinding{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: admissionregistrationv1.ValidatingAdmissionPolicyBindingSpec{
			PolicyName:        name,
			ValidationActions: []admissionregistrationv1.ValidationAction{admissionregistrationv1.Deny},
			MatchResources:    &admissionregistrationv1.MatchResources{NamespaceSelector: onlyNamespace(n.Namespace)},
		},
	}
	if _, err := registry.ValidatingAdmissionPolicyBindings().Create(t.Context(), binding, createNow); err != nil {
		t.Fatal(err)
	}
	cleanUp(t, func(ctx context.Context) error {
		return registry.ValidatingAdmissionPolicyBindings().Delete(ctx, name, deleteNow)
	})
	important := sandboxOf("important", "nowhere")
	important.Spec.Priority = 11
	eventually(t, "the policy is enforced", func(ctx context.Context) error {
		_, err := n.Sandboxes().Create(ctx, important, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
		if apierrors.IsInvalid(err) && strings.Contains(err.Error(), "only the chosen few may be so important") {
			return nil
		}
		return fmt.Errorf("a create got: %v", err)
	})
	n.CreateSandbox(sandboxOf("modest", "nowhere"))
	// The policy holds for the sandbox of a task, too, and sees the task's author.
	alone := taskIn("", "alone", command("true", "true"))
	alone.Spec.PoolRef = "closed"
	_, err := n.Tasks().Create(t.Context(), alone, createNow)
	if !apierrors.IsInvalid(err) || !strings.Contains(err.Error(), "spec.poolRef: the sandbox of the task: ") || !strings.Contains(err.Error(), "no user may have this pool") {
		t.Errorf("a task whose sandbox the policy refuses got %v", err)
	}
	manifest := strings.Replace(sandboxYAML("important", "nowhere"), "keepAlive: true", "priority: 11", 1)
	n.kubectl().Fail(manifest, words("create", "-f", "-"),
		"ValidatingAdmissionPolicy '"+name+"'", "only the chosen few may be so important")
}

// TestAdmissionWebhooks has a program outside decide about our objects.
func TestAdmissionWebhooks(t *testing.T) {
	n := newTenant(t)
	url, authority := serveWebhook(t)
	registry := clientOf(t, cluster.Admin).AdmissionregistrationV1()
	name := "hook-" + n.Namespace
	config := func(path string) admissionregistrationv1.WebhookClientConfig {
		return admissionregistrationv1.WebhookClientConfig{URL: ptr.To(url + path), CABundle: authority}
	}
	_, err := registry.MutatingWebhookConfigurations().Create(t.Context(), &admissionregistrationv1.MutatingWebhookConfiguration{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Webhooks: []admissionregistrationv1.MutatingWebhook{{
			Name: "mutate.e2e.arl.io", ClientConfig: config("/mutate"), AdmissionReviewVersions: []string{"v1"},
			SideEffects: ptr.To(admissionregistrationv1.SideEffectClassNone), NamespaceSelector: onlyNamespace(n.Namespace),
			Rules: []admissionregistrationv1.RuleWithOperations{ourRule("tasks")},
		}},
	}, createNow)
	if err != nil {
		t.Fatal(err)
	}
	cleanUp(t, func(ctx context.Context) error {
		return registry.MutatingWebhookConfigurations().Delete(ctx, name, deleteNow)
	})
	_, err = registry.ValidatingWebhookConfigurations().Create(t.Context(), &admissionregistrationv1.ValidatingWebhookConfiguration{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Webhooks: []admissionregistrationv1.ValidatingWebhook{{
			Name: "validate.e2e.arl.io", ClientConfig: config("/validate"), AdmissionReviewVersions: []string{"v1"},
			SideEffects: ptr.To(admissionregistrationv1.SideEffectClassNone), NamespaceSelector: onlyNamespace(n.Namespace),
			Rules: []admissionregistrationv1.RuleWithOperations{ourRule("tasks")},
		}},
	}, createNow)
	if err != nil {
		t.Fatal(err)
	}
	cleanUp(t, func(ctx context.Context) error {
		return registry.ValidatingWebhookConfigurations().Delete(ctx, name, deleteNow)
	})
	bad, good := taskIn("x", "bad", command("true", "true")), taskIn("x", "good", command("true", "true"))
	eventually(t, "both webhooks are asked", func(ctx context.Context) error {
		dry := metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}}
		_, err := n.Tasks().Create(ctx, bad, dry)
		if err == nil || !strings.Contains(err.Error(), `admission webhook "validate.e2e.arl.io" denied the request: no task may be named bad`) {
			return fmt.Errorf("a create got: %v", err)
		}
		changed, err := n.Tasks().Create(ctx, good, dry)
		if err == nil && changed.Labels["seen-by"] != "webhook" {
			err = fmt.Errorf("the task has the labels %v", changed.Labels)
		}
		return err
	})
}

// serveWebhook serves webhooks in the test's own process, for whoever trusts the authority.
func serveWebhook(t *testing.T) (url string, authority []byte) {
	t.Helper()
	listener, err := shared.Listen()
	if err != nil {
		t.Fatal(err)
	}
	certificate, key, err := cert.GenerateSelfSignedCertKey(cluster.NodeIP, []net.IP{net.ParseIP(cluster.NodeIP)}, nil)
	if err != nil {
		t.Fatal(err)
	}
	pair, err := tls.X509KeyPair(certificate, key)
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewUnstartedServer(http.HandlerFunc(answerReview))
	if err := server.Listener.Close(); err != nil {
		t.Fatal(err)
	}
	server.Listener = listener
	server.TLS = &tls.Config{Certificates: []tls.Certificate{pair}}
	server.StartTLS()
	t.Cleanup(server.Close)
	return "https://" + listener.Addr().String(), certificate
}

// answerReview labels objects, and objects to those that are named bad.
func answerReview(w http.ResponseWriter, r *http.Request) {
	var review admissionv1.AdmissionReview
	if err := json.NewDecoder(r.Body).Decode(&review); err != nil || review.Request == nil {
		http.Error(w, fmt.Sprint("decode the review: ", err), http.StatusBadRequest)
		return
	}
	response := &admissionv1.AdmissionResponse{UID: review.Request.UID, Allowed: true}
	switch {
	case r.URL.Path == "/mutate":
		response.PatchType = ptr.To(admissionv1.PatchTypeJSONPatch)
		response.Patch = []byte(`[{"op":"add","path":"/metadata/labels","value":{"seen-by":"webhook"}}]`)
	case review.Request.Name == "bad":
		response.Allowed = false
		response.Result = &metav1.Status{Message: "no task may be named bad"}
	}
	review.Request, review.Response = nil, response
	w.Header().Set("Content-Type", "application/json")
	if err := json.NewEncoder(w).Encode(review); err != nil {
		panic(http.ErrAbortHandler) // the caller has gone
	}
}

// ourRule matches creates and updates of a kind of ours.
func ourRule(resource string) admissionregistrationv1.RuleWithOperations {
	return admissionregistrationv1.RuleWithOperations{
		Operations: []admissionregistrationv1.OperationType{admissionregistrationv1.Create, admissionregistrationv1.Update},
		Rule: admissionregistrationv1.Rule{
			APIGroups: []string{"arl.io"}, APIVersions: []string{"v1alpha1"}, Resources: []string{resource},
		},
	}
}

func onlyNamespace(name string) *metav1.LabelSelector {
	return &metav1.LabelSelector{MatchLabels: map[string]string{"kubernetes.io/metadata.name": name}}
}

// cleanUp has something done at the test's end.
func cleanUp(t *testing.T, do func(context.Context) error) {
	t.Helper()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if err := do(ctx); err != nil {
			t.Errorf("clean up: %v", err)
		}
	})
}
