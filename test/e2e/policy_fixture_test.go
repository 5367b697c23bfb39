package e2e

import (
	"context"
	"net"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/utils/ptr"

	"arl.io/arl/test/e2e/cluster"
)

// newWays makes who is to reach others and who is to be reached:
//
//	box, victim  sandboxes of the tenant; a task of the victim's listens
//	neighbour    a pod of the tenant's namespace
//	stranger     a pod of another namespace, with the labels of our server
//	roommate     a pod of our server's namespace, without them
//	names        a pod that is labelled as the cluster's DNS, and its Service
//
// What is outside of the cluster are further addresses of the node.
func newWays(n *tenant) *ways {
	n.T.Helper()
	t, admin := n.T, clientOf(n.T, cluster.Admin)
	n.FillPool(probePool(t, "pool", 2))
	n.ReadySandbox("box", "pool")
	victim := n.ReadySandbox("victim", "pool").Status.PodIP
	n.CreateTask(taskIn("victim", "listens", command("listens", probeProgram, "serve", "tcp/:"+otherPort)))

	elsewhere, server := newNamespace(t, admin, "elsewhere"), serverPod(t)
	createProbePod(t, admin, n.Namespace, "neighbour", nil)
	createProbePod(t, admin, elsewhere, "stranger", map[string]string{
		"app.kubernetes.io/name":      server.Labels["app.kubernetes.io/name"],
		"app.kubernetes.io/component": server.Labels["app.kubernetes.io/component"],
	})
	createProbePod(t, admin, systemNamespace, "roommate", nil)
	createProbePod(t, admin, metav1.NamespaceSystem, "names", map[string]string{"k8s-app": "kube-dns"}, "tcp/:53", "udp/:53")
	listenAt(t, net.JoinHostPort(server.Status.PodIP, otherPort))
	for _, ip := range append(metadataIPs, internetIP) {
		addAddress(t, ip)
		listenAt(t, net.JoinHostPort(ip, "80"))
	}
	neighbour, stranger := probePodIP(t, admin, n.Namespace, "neighbour"), probePodIP(t, admin, elsewhere, "stranger")
	roommate, names := probePodIP(t, admin, systemNamespace, "roommate"), probePodIP(t, admin, metav1.NamespaceSystem, "names")
	ofNames := createNamesService(t, admin)
	ofAPI, ofServer := serviceIP(t, admin, metav1.NamespaceDefault, "kubernetes"), serviceIP(t, admin, systemNamespace, serverName)

	w := &ways{t: t, from: map[string]prober{
		"box":       n.probeIn("box"),
		"neighbour": probeInPod(n.Namespace, "neighbour"),
		"stranger":  probeInPod(elsewhere, "stranger"),
		"roommate":  probeInPod(systemNamespace, "roommate"),
	}}
	w.add("box", "the agent of another sandbox", "tcp", victim, agentPort, poolPolicies)
	w.add("box", "another sandbox", "tcp", victim, otherPort, poolPolicies)
	w.add("box", "a pod of its namespace", "tcp", neighbour, otherPort, poolPolicies)
	w.add("box", "a pod of another namespace", "tcp", stranger, otherPort, poolPolicies)
	w.add("box", "a pod of the server's namespace", "tcp", roommate, otherPort, poolPolicies)
	w.add("box", "the server", "tcp", server.Status.PodIP, "7443", poolPolicies)
	w.add("box", "the server's Service", "tcp", ofServer, "443", poolPolicies)
	w.add("box", "the cluster's API", "tcp", ofAPI, "443", poolPolicies)
	w.add("box", "kube-apiserver", "tcp", cluster.NodeIP, "6443", poolPolicies)
	w.add("box", "the kubelet", "tcp", cluster.NodeIP, "10250", poolPolicies)
	for _, ip := range metadataIPs {
		w.add("box", "a cloud's metadata", "tcp", ip, "80", poolPolicies)
	}
	w.add("box", "the internet", "tcp", internetIP, "80", nothing)
	for _, network := range []string{"udp", "tcp"} {
		w.add("box", "DNS", network, names, "53", nothing)
		w.add("box", "DNS by its Service", network, ofNames, "53", nothing)
	}
	w.add("box", "another port of the DNS", "tcp", names, otherPort, poolPolicies)
	for _, start := range []string{"neighbour", "stranger", "roommate"} {
		w.add(start, "the agent of a sandbox", "tcp", victim, agentPort, poolPolicies)
		w.add(start, "a sandbox", "tcp", victim, otherPort, poolPolicies)
		w.add(start, "the server", "tcp", server.Status.PodIP, "7443", nothing)
		w.add(start, "the server's Service", "tcp", ofServer, "443", nothing)
		w.add(start, "another port of the server", "tcp", server.Status.PodIP, otherPort, serverPolicy)
		w.add(start, "the cluster's API", "tcp", ofAPI, "443", nothing)
	}
	return w
}

// createProbePod creates a pod that may be run in any namespace. It listens at
// otherPort, and at further places.
func createProbePod(t *testing.T, admin kubernetes.Interface, namespace, name string, labels map[string]string, places ...string) {
	t.Helper()
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: name, Labels: labels},
		Spec: corev1.PodSpec{
			SecurityContext: &corev1.PodSecurityContext{
				RunAsNonRoot: ptr.To(true), RunAsUser: ptr.To[int64](65532),
				SeccompProfile: &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault},
				Sysctls:        []corev1.Sysctl{{Name: "net.ipv4.ip_unprivileged_port_start", Value: "0"}},
			},
			Containers: []corev1.Container{{
				Name: "probe", Image: probeImage, ImagePullPolicy: corev1.PullNever,
				Command: append([]string{probeProgram, "serve", "tcp/:" + otherPort}, places...),
				SecurityContext: &corev1.SecurityContext{
					AllowPrivilegeEscalation: ptr.To(false), Capabilities: &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}},
				},
			}},
		},
	}
	if _, err := admin.CoreV1().Pods(namespace).Create(t.Context(), pod, createNow); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		at := metav1.DeleteOptions{GracePeriodSeconds: ptr.To[int64](0)}
		if err := admin.CoreV1().Pods(namespace).Delete(context.Background(), name, at); err != nil {
			t.Errorf("delete pod %s: %v", name, err)
		}
	})
}

// probePodIP waits until a pod runs, and returns its address.
func probePodIP(t *testing.T, admin kubernetes.Interface, namespace, name string) string {
	t.Helper()
	return awaitReadyPod(t, admin, namespace, name).Status.PodIP
}

// createNamesService makes a Service of the pods that are labelled as the
// cluster's DNS, and returns its address.
func createNamesService(t *testing.T, admin kubernetes.Interface) string {
	t.Helper()
	services := admin.CoreV1().Services(metav1.NamespaceSystem)
	service, err := services.Create(t.Context(), &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Name: "names"},
		Spec: corev1.ServiceSpec{
			Selector: map[string]string{"k8s-app": "kube-dns"},
			Ports: []corev1.ServicePort{
				{Name: "udp", Port: 53, Protocol: corev1.ProtocolUDP}, {Name: "tcp", Port: 53, Protocol: corev1.ProtocolTCP},
			},
		},
	}, createNow)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := services.Delete(context.Background(), service.Name, deleteNow); err != nil {
			t.Errorf("delete Service %s: %v", service.Name, err)
		}
	})
	return service.Spec.ClusterIP
}

func serviceIP(t *testing.T, admin kubernetes.Interface, namespace, name string) string {
	t.Helper()
	service, err := admin.CoreV1().Services(namespace).Get(t.Context(), name, getNow)
	if err != nil {
		t.Fatal(err)
	}
	return service.Spec.ClusterIP
}

// addAddress gives the node a further address until the end of the test.
func addAddress(t *testing.T, ip string) {
	t.Helper()
	if err := shared.AddAddress(t.Context(), ip); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := shared.RemoveAddress(context.Background(), ip); err != nil {
			t.Error(err)
		}
	})
}

// listenAt listens at an address of the node or of a pod, until the end of the
// test. The kernel makes the connections, and nobody takes them.
func listenAt(t *testing.T, address string) {
	t.Helper()
	listener, err := shared.ListenAt(address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := listener.Close(); err != nil {
			t.Error(err)
		}
	})
}
