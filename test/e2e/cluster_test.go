package e2e

import (
	"context"
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"arl.io/arl/test/e2e/cluster"
)

const (
	// patience is for what a cluster does by itself, on a busy machine.
	patience = 4 * time.Minute
	// removal is for a namespace with all that is in it, and its pods.
	removal = 5 * time.Minute
	poll    = 100 * time.Millisecond
	// homeText is what the pods of these tests serve.
	homeText = "hello from a pod"
)

// TestCluster shows that the cluster is one: what the other tests build upon.
func TestCluster(t *testing.T) {
	admin := clientOf(t, cluster.Admin)
	namespace := newNamespace(t, admin, "cluster")
	pod := startWebPod(t, admin, namespace, "web")

	t.Run("a pod runs the image it names", func(t *testing.T) {
		out, err := shared.Kubectl(t.Context(), cluster.Admin, "exec", "-n", namespace, pod.Name, "--", "cat", markFile)
		if err != nil || out != markText {
			t.Errorf("the pod read %q (%v), want %q", out, err, markText)
		}
	})
	t.Run("a pod is reached by its address", func(t *testing.T) {
		if got := get(t, "http://"+pod.Status.PodIP+":8080/"); got != homeText {
			t.Errorf("the pod answered %q, want %q", got, homeText)
		}
	})
	t.Run("a pod reaches the API server through its Service", func(t *testing.T) {
		// Without credentials, what comes back is a refusal; that it comes is the point.
		out, err := shared.Kubectl(t.Context(), cluster.Admin, "exec", "-n", namespace, pod.Name, "--",
			"sh", "-c", "nc -w 10 $KUBERNETES_SERVICE_HOST $KUBERNETES_SERVICE_PORT </dev/null && echo connected")
		if err != nil || strings.TrimSpace(out) != "connected" {
			t.Errorf("the pod said %q (%v), want that it is connected", out, err)
		}
	})
	t.Run("a Service leads to its pods", func(t *testing.T) { testService(t, admin, namespace) })
	t.Run("a user may do what a Role grants", func(t *testing.T) { testRole(t, admin, namespace) })
	t.Run("a missing API server harms nobody else", func(t *testing.T) { testMissingServer(t, admin, namespace) })
	t.Run("the machine keeps its settings", testSettings)
}

// testService makes a Service of the pod and calls it at the Service's own address.
func testService(t *testing.T, admin kubernetes.Interface, namespace string) {
	service := &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Name: "web"},
		Spec:       corev1.ServiceSpec{Selector: map[string]string{"app": "web"}, Ports: []corev1.ServicePort{{Port: 8080}}},
	}
	service, err := admin.CoreV1().Services(namespace).Create(t.Context(), service, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "the Service leads to the pod", func(context.Context) error {
		return check("http://"+service.Spec.ClusterIP+":8080/", homeText)
	})
}

func testRole(t *testing.T, admin kubernetes.Interface, namespace string) {
	const user = "alice"
	alice := clientOf(t, user)
	if _, err := alice.CoreV1().Pods(namespace).List(t.Context(), metav1.ListOptions{}); !apierrors.IsForbidden(err) {
		t.Fatalf("a user without a role got %v, want a refusal", err)
	}
	role := &rbacv1.Role{
		ObjectMeta: metav1.ObjectMeta{Name: "reader"},
		Rules:      []rbacv1.PolicyRule{{APIGroups: []string{""}, Resources: []string{"pods"}, Verbs: []string{"list"}}},
	}
	if _, err := admin.RbacV1().Roles(namespace).Create(t.Context(), role, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	binding := &rbacv1.RoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: "reader"},
		Subjects:   []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: rbacv1.UserKind, Name: user}},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: "reader"},
	}
	if _, err := admin.RbacV1().RoleBindings(namespace).Create(t.Context(), binding, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the role is granted", func(ctx context.Context) error {
		_, err := alice.CoreV1().Pods(namespace).List(ctx, metav1.ListOptions{})
		return err
	})
	if _, err := alice.CoreV1().Secrets(namespace).List(t.Context(), metav1.ListOptions{}); !apierrors.IsForbidden(err) {
		t.Errorf("a role for pods got %v for secrets, want a refusal", err)
	}
	if out, err := shared.Kubectl(t.Context(), user, "get", "pods", "-n", namespace, "-o", "name"); err != nil || out != "pod/web\n" {
		t.Errorf("kubectl printed %q (%v) to the user", out, err)
	}
}

// missingService points at a Service that nobody serves.
const missingService = `{
  "apiVersion": "apiregistration.k8s.io/v1", "kind": "APIService",
  "metadata": {"name": "v1.nobody.example.com"},
  "spec": {
    "group": "nobody.example.com", "version": "v1", "groupPriorityMinimum": 1000, "versionPriority": 10,
    "insecureSkipTLSVerify": true, "service": {"namespace": "NAMESPACE", "name": "nobody", "port": 443}
  }
}`

func testMissingServer(t *testing.T, admin kubernetes.Interface, namespace string) {
	service := &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Name: "nobody"},
		Spec:       corev1.ServiceSpec{Selector: map[string]string{"app": "nobody"}, Ports: []corev1.ServicePort{{Port: 443}}},
	}
	if _, err := admin.CoreV1().Services(namespace).Create(t.Context(), service, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	const services = "/apis/apiregistration.k8s.io/v1/apiservices"
	body := strings.ReplaceAll(missingService, "NAMESPACE", namespace)
	rest := admin.CoreV1().RESTClient()
	if err := rest.Post().AbsPath(services).Body([]byte(body)).SetHeader("Content-Type", "application/json").Do(t.Context()).Error(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		err := rest.Delete().AbsPath(services + "/v1.nobody.example.com").Do(context.Background()).Error()
		if err != nil {
			t.Errorf("remove the APIService: %v", err)
		}
	}()
	// Until the server has taken up the APIService, it knows no such group.
	eventually(t, "the API server answers that it cannot reach the group", func(ctx context.Context) error {
		begin := time.Now()
		err := rest.Get().AbsPath("/apis/nobody.example.com/v1/things").Do(ctx).Error()
		if !apierrors.IsServiceUnavailable(err) {
			return errors.Join(errors.New("the answer is not that the service is unavailable"), err)
		}
		t.Logf("a request for the missing server was refused after %s: %v", since(begin), err)
		return nil
	})
	begin := time.Now()
	out, err := shared.Kubectl(t.Context(), cluster.Admin, "get", "pods", "-n", namespace, "-o", "name")
	if err != nil || out != "pod/web\n" {
		t.Errorf("kubectl get pods printed %q (%v) while a group is missing", out, err)
	}
	t.Logf("kubectl get pods took %s meanwhile", since(begin))
}

// testSettings shows that the kubelet did not change what belongs to the machine.
func testSettings(t *testing.T) {
	for name, before := range settingsBefore {
		now, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if string(now) != before {
			t.Errorf("%s was %q before the cluster and is %q now", name, before, now)
		}
	}
	out, err := shared.Exec(t.Context(), "cat", "/proc/sys/kernel/panic")
	if err != nil || out != "10\n" {
		t.Errorf("the kubelet is shown %q (%v), want 10: the comparison proves nothing", out, err)
	}
}

// settingsBefore are those that a kubelet would change, before it was started.
var settingsBefore = readSettings(
	"/proc/sys/vm/overcommit_memory", "/proc/sys/kernel/panic", "/proc/sys/kernel/panic_on_oops")

func readSettings(names ...string) map[string]string {
	values := map[string]string{}
	for _, name := range names {
		if content, err := os.ReadFile(name); err == nil {
			values[name] = string(content)
		}
	}
	return values
}

// TestAPIServerRestart kills kube-apiserver; what it knew is still there.
func TestAPIServerRestart(t *testing.T) {
	admin := clientOf(t, cluster.Admin)
	namespace := newNamespace(t, admin, "restart")
	begin := time.Now()
	if err := shared.RestartAPIServer(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Logf("kube-apiserver was ready again after %s", since(begin))
	eventually(t, "the namespace is there", func(ctx context.Context) error {
		_, err := admin.CoreV1().Namespaces().Get(ctx, namespace, metav1.GetOptions{})
		return err
	})
}

// TestNodeLoss takes the node away and brings it back: its pod is started again.
func TestNodeLoss(t *testing.T) {
	admin := clientOf(t, cluster.Admin)
	namespace := newNamespace(t, admin, "node")
	pod := startWebPod(t, admin, namespace, "web")
	if err := shared.StopNode(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := check("http://"+pod.Status.PodIP+":8080/", homeText); err == nil {
		t.Error("the pod answers although its node is down")
	}
	begin := time.Now()
	if err := shared.StartNode(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Logf("the node was up again after %s", since(begin))
	eventually(t, "the pod answers again", func(ctx context.Context) error {
		current, err := admin.CoreV1().Pods(namespace).Get(ctx, pod.Name, metav1.GetOptions{})
		if err != nil {
			return err
		}
		return check("http://"+current.Status.PodIP+":8080/", homeText)
	})
}

// TestKubeletKill shows that pods go on without their kubelet, and that it takes them over again.
func TestKubeletKill(t *testing.T) {
	admin := clientOf(t, cluster.Admin)
	namespace := newNamespace(t, admin, "kubelet")
	pod := startWebPod(t, admin, namespace, "web")
	if err := shared.KillKubelet(); err != nil {
		t.Fatal(err)
	}
	if got := get(t, "http://"+pod.Status.PodIP+":8080/"); got != homeText {
		t.Errorf("without a kubelet the pod answered %q", got)
	}
	if err := shared.StartKubelet(t.Context()); err != nil {
		t.Fatal(err)
	}
	eventually(t, "kubectl exec works again", func(ctx context.Context) error {
		_, err := shared.Kubectl(ctx, cluster.Admin, "exec", "-n", namespace, pod.Name, "--", "true")
		return err
	})
}

// TestBusy shows that a second cluster of the same folder is refused at once.
func TestBusy(t *testing.T) {
	second, err := cluster.Start(t.Context(), cluster.Config{})
	if second != nil {
		t.Error("a second cluster was started", second.Close())
	}
	if !errors.Is(err, cluster.ErrBusy) {
		t.Errorf("a second start got %v, want %v", err, cluster.ErrBusy)
	}
}

// TestSniffer shows that every write is counted, and that of the right kind.
func TestSniffer(t *testing.T) {
	admin := clientOf(t, cluster.Admin)
	namespace := newNamespace(t, admin, "sniffer")
	sniffer, err := shared.Sniff(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := sniffer.Close(); err != nil {
			t.Errorf("close the sniffer: %v", err)
		}
	}()
	secrets := admin.CoreV1().Secrets(namespace)
	const rounds = 20
	for range rounds {
		secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "watched"}}
		if secret, err = secrets.Create(t.Context(), secret, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
		secret.Labels = map[string]string{"changed": "yes"}
		if _, err := secrets.Update(t.Context(), secret, metav1.UpdateOptions{}); err != nil {
			t.Fatal(err)
		}
		if err := secrets.Delete(t.Context(), "watched", metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	counts, err := sniffer.Counts(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("writes to etcd: %v", counts)
	if want := (cluster.Writes{Puts: 2 * rounds, Deletes: rounds}); counts["/registry/secrets"] != want {
		t.Errorf("%+v writes of secrets were seen, want %+v", counts["/registry/secrets"], want)
	}
	if err := sniffer.Reset(t.Context()); err != nil {
		t.Fatal(err)
	}
	if counts, err = sniffer.Counts(t.Context()); err != nil || counts["/registry/secrets"] != (cluster.Writes{}) {
		t.Errorf("%+v writes of secrets (%v) after a reset, want none", counts["/registry/secrets"], err)
	}
}
