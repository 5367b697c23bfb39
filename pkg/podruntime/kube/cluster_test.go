package kube

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/uuid"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"

	"arl.io/arl/pkg/podruntime/kube/podspec"
)

// cluster is client-go's fake of an API server, and a node on which run starts
// the agents of pods as processes: real ones, each with an address of its own on loopback.
type cluster struct {
	t      testing.TB
	client *fake.Clientset
	ours   *authority
	// records are those of every runtime on this cluster.
	records Records
	port    int32
	// space is the namespace of the pods that get and set are about.
	space string

	mu      sync.Mutex
	agents  map[types.UID]*agentProcess
	watches []*awaited
	// shown are the server's certificates, if not one of ours.
	shown []tls.Certificate
}

// awaited is a number of watches that are to begin, and what is closed then.
type awaited struct {
	left  int
	begun chan struct{}
}

type agentProcess struct {
	dir, ip string
	cmd     *exec.Cmd
	log     *bytes.Buffer
}

func newCluster(t testing.TB) *cluster {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	c := &cluster{
		t: t, space: space, records: &memoryRecords{complete: true}, client: fake.NewClientset(), ours: newAuthority(t), agents: map[types.UID]*agentProcess{},
		port: int32(listener.Addr().(*net.TCPAddr).Port),
	}
	c.client.PrependReactor("create", "pods", func(action clienttesting.Action) (bool, runtime.Object, error) {
		action.(clienttesting.CreateAction).GetObject().(*corev1.Pod).UID = types.UID(uuid.NewString())
		return false, nil, nil
	})
	c.client.PrependReactor("delete", "pods", c.checkPreconditions)
	c.client.PrependWatchReactor("pods", func(action clienttesting.Action) (bool, watch.Interface, error) {
		w, err := c.client.Tracker().Watch(action.GetResource(), action.GetNamespace())
		c.watchBegins()
		return true, w, err
	})
	t.Cleanup(c.close)
	return c
}

// checkPreconditions refuses a deletion as an API server does; the fake does not.
func (c *cluster) checkPreconditions(action clienttesting.Action) (bool, runtime.Object, error) {
	deletion := action.(clienttesting.DeleteActionImpl)
	wanted := deletion.DeleteOptions.Preconditions
	if wanted == nil || wanted.UID == nil {
		c.t.Error("a pod is to be deleted whatever its UID")
		return false, nil, nil
	}
	found, err := c.client.Tracker().Get(deletion.GetResource(), deletion.GetNamespace(), deletion.GetName())
	if err == nil && found.(*corev1.Pod).UID != *wanted.UID {
		return true, nil, apierrors.NewConflict(corev1.Resource("pods"), deletion.GetName(), fmt.Errorf("another UID"))
	}
	return false, nil, nil
}

// awaitWatch returns a channel that is closed when so many watches more have
// begun: what happens between a list and a watch, the fake does not tell.
func (c *cluster) awaitWatch(watches int) <-chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	next := &awaited{left: watches, begun: make(chan struct{})}
	c.watches = append(c.watches, next)
	return next.begun
}

func (c *cluster) watchBegins() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, next := range c.watches {
		if next.left--; next.left == 0 {
			close(next.begun)
		}
	}
}

// credentials are the runtime's.
func (c *cluster) credentials() (Credentials, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	shown := c.shown
	if shown == nil {
		shown = []tls.Certificate{c.ours.client()}
	}
	return Credentials{Authorities: c.ours.pem(), Certificates: shown}, nil
}

// show changes the server's certificates.
func (c *cluster) show(certificates ...tls.Certificate) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.shown = certificates
}

// get returns a pod.
func (c *cluster) get(name string) *corev1.Pod {
	c.t.Helper()
	pod, err := c.client.Tracker().Get(corev1.SchemeGroupVersion.WithResource("pods"), c.space, name)
	if err != nil {
		c.t.Fatal(err)
	}
	return pod.(*corev1.Pod).DeepCopy()
}

// set changes a pod.
func (c *cluster) set(name string, change func(*corev1.Pod)) {
	c.t.Helper()
	pod := c.get(name)
	change(pod)
	if err := c.client.Tracker().Update(corev1.SchemeGroupVersion.WithResource("pods"), pod, c.space); err != nil {
		c.t.Fatal(err)
	}
}

// drop removes a pod, as if it had been deleted and ended.
func (c *cluster) drop(name string) {
	c.t.Helper()
	if err := c.client.Tracker().Delete(corev1.SchemeGroupVersion.WithResource("pods"), c.space, name); err != nil {
		c.t.Fatal(err)
	}
}

// run does what a node does for a new pod. The arguments replace words of the
// agent's command line.
func (c *cluster) run(name string, replacements ...string) *agentProcess {
	c.t.Helper()
	agent := c.prepare(name)
	c.launch(name, agent, replacements...)
	c.set(name, running)
	return agent
}

func running(pod *corev1.Pod) {
	pod.Status.Phase = corev1.PodRunning
	pod.Status.ContainerStatuses = []corev1.ContainerStatus{{
		Name: podspec.Executor(pod), Ready: true, State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{}},
	}}
}

// prepare runs the setup container of a pod, and gives the pod an address.
func (c *cluster) prepare(name string) *agentProcess {
	c.t.Helper()
	binary, err := agentBinary()
	if err != nil {
		c.t.Fatal(err)
	}
	pod := c.get(name)
	c.mu.Lock()
	agent := &agentProcess{dir: c.t.TempDir(), ip: fmt.Sprintf("127.0.%d.%d", 1+len(c.agents)/200, 1+len(c.agents)%200), log: &bytes.Buffer{}}
	c.agents[pod.UID] = agent
	c.mu.Unlock()
	setup := pod.Spec.InitContainers[0]
	report := filepath.Join(agent.dir, "termination-log")
	cmd := exec.CommandContext(c.t.Context(), binary, "prepare", "--report", report, agent.dir)
	for _, variable := range setup.Env {
		cmd.Env = append(cmd.Env, variable.Name+"="+variable.Value)
	}
	if out, err := cmd.CombinedOutput(); err != nil {
		c.t.Fatalf("%v: %s", err, out)
	}
	message, err := os.ReadFile(report)
	if err != nil {
		c.t.Fatal(err)
	}
	c.set(name, func(pod *corev1.Pod) {
		pod.Spec.NodeName = "node"
		pod.Status.PodIP = agent.ip
		pod.Status.InitContainerStatuses = []corev1.ContainerStatus{{
			Name:  setup.Name,
			State: corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{Message: string(message)}},
		}}
	})
	return agent
}

// launch starts the agent of a pod by the pod's own command line.
func (c *cluster) launch(name string, agent *agentProcess, replacements ...string) {
	c.t.Helper()
	pod := c.get(name)
	i := slices.IndexFunc(pod.Spec.Containers, func(c corev1.Container) bool { return c.Name == podspec.Executor(pod) })
	executor := pod.Spec.Containers[i]
	line := slices.Concat(executor.Command, executor.Args)
	replace := strings.NewReplacer(append(replacements,
		fmt.Sprintf(":%d", c.port), fmt.Sprintf("%s:%d", agent.ip, c.port),
		"$(ARL_POD_UID)", string(pod.UID),
		podspec.AgentDir, agent.dir,
		"/workspace", filepath.Join(agent.dir, "work"),
	)...)
	for i := range line {
		line[i] = replace.Replace(line[i])
	}
	agent.cmd = exec.Command(line[0], line[1:]...)
	agent.cmd.Env = append(os.Environ(), "ARL_POD_UID="+string(pod.UID))
	agent.cmd.Stderr = agent.log
	if err := agent.cmd.Start(); err != nil {
		c.t.Fatal(err)
	}
}

// agent returns the agent of a pod.
func (c *cluster) agent(uid types.UID) *agentProcess {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.agents[uid]
}

// kill ends an agent.
func (a *agentProcess) kill() {
	if a.cmd == nil || a.cmd.ProcessState != nil {
		return
	}
	_ = a.cmd.Process.Signal(syscall.SIGKILL)
	_ = a.cmd.Wait()
}

// close ends all agents.
func (c *cluster) close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, agent := range c.agents {
		agent.kill()
		if c.t.Failed() {
			c.t.Logf("agent at %s: %s", agent.ip, agent.log)
		}
	}
}

// authority signs certificates.
type authority struct {
	t    testing.TB
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority(t testing.TB) *authority {
	t.Helper()
	a := &authority{t: t}
	issued := a.issue(&x509.Certificate{
		Subject: pkix.Name{CommonName: "authority " + uuid.NewString()}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	})
	a.cert, a.key = issued.Leaf, issued.PrivateKey.(*ecdsa.PrivateKey)
	return a
}

// issue signs a certificate; an authority without a certificate signs its own.
func (a *authority) issue(template *x509.Certificate) tls.Certificate {
	a.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		a.t.Fatal(err)
	}
	template.SerialNumber = big.NewInt(time.Now().UnixNano())
	template.NotBefore, template.NotAfter = time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
	parent, signer := a.cert, a.key
	if parent == nil {
		parent, signer = template, key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, signer)
	if err != nil {
		a.t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		a.t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}
}

// client returns a certificate for a client.
func (a *authority) client() tls.Certificate {
	return a.issue(&x509.Certificate{ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}})
}

// pem returns the authority's certificate.
func (a *authority) pem() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: a.cert.Raw})
}
