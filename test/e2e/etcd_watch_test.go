package e2e

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/diff"
	"k8s.io/client-go/kubernetes/scheme"

	"arl.io/arl/test/e2e/cluster"
)

// class says whose doing a write to etcd is.
type class string

const (
	// ofNobody is what an idle cluster writes all by itself: leases, heartbeats, and what
	// kube-apiserver keeps for its own upkeep.
	ofNobody class = "of the idle cluster"
	// ofServer is what the cluster notes of our server's own health, which
	// a busy machine may have it doubt for a moment.
	ofServer class = "of the server's pod"
	// ofReports are pods of which nothing was changed but what the node reports, which
	// may be late.
	ofReports class = "reports on pods"
	// ofPods are all other writes of pods: they come and go, or somebody changes them.
	ofPods class = "pods"
	// ofEvents are the events that the cluster's own programs write of pods and nodes.
	ofEvents class = "events of pods"
	// ofOthers is anything else.
	ofOthers class = "others"
)

// background are the keys of ofNobody.
var background = []string{
	"/registry/leases/", "/registry/masterleases/", "/registry/peerserverleases/",
	"/registry/minions/", "/registry/csinodes/", "/registry/ranges/", "compact_rev_key",
}

// classify says whose doing a write is.
func classify(write cluster.Write) class {
	switch key := write.Key; {
	case slices.ContainsFunc(background, func(prefix string) bool { return strings.HasPrefix(key, prefix) }):
		return ofNobody
	case strings.Contains(key, "/"+systemNamespace+"/"), strings.HasSuffix(key, "/apiservices/"+apiServiceName):
		return ofServer
	case strings.HasPrefix(key, "/registry/events/") && ofNode(write):
		return ofEvents
	case strings.HasPrefix(key, "/registry/pods/") && onlyStatus(write):
		return ofReports
	case strings.HasPrefix(key, "/registry/pods/"):
		return ofPods
	default:
		return ofOthers
	}
}

// ofNode says that an event is of a pod or a node, and by a program of the cluster.
func ofNode(write cluster.Write) bool {
	event, ok := stored(write.After).(*corev1.Event)
	return ok && slices.Contains([]string{"Pod", "Node"}, event.InvolvedObject.Kind) &&
		!strings.Contains(event.Source.Component+event.ReportingController, "arl")
}

// onlyStatus says that a write of a pod left all but its status as it was.
func onlyStatus(write cluster.Write) bool {
	before, there := stored(write.Before).(*corev1.Pod)
	after, stays := stored(write.After).(*corev1.Pod)
	if !there || !stays {
		return false
	}
	for _, pod := range []*corev1.Pod{before, after} {
		pod.Status, pod.ManagedFields = corev1.PodStatus{}, nil
	}
	return equality.Semantic.DeepEqual(before, after)
}

// stored is the object of a value in etcd, or nil.
func stored(value []byte) runtime.Object {
	object, _, err := scheme.Codecs.UniversalDeserializer().Decode(value, nil, nil)
	if err != nil {
		return nil
	}
	return object
}

// etcdWatch sees what is written to etcd, the whole of it.
type etcdWatch struct{ sniffer *cluster.Sniffer }

func newEtcdWatch(t *testing.T) *etcdWatch {
	t.Helper()
	sniffer, err := shared.Sniff(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := sniffer.Close(); err != nil {
			t.Errorf("close the watch of etcd: %v", err)
		}
	})
	return &etcdWatch{sniffer}
}

// writes are those since settle.
type writes map[class][]cluster.Write

func (w *etcdWatch) seen(t *testing.T) writes {
	t.Helper()
	all, err := w.sniffer.Writes(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	seen := writes{}
	for _, write := range all {
		of := classify(write)
		seen[of] = append(seen[of], write)
	}
	return seen
}

// String prints counts, class by class, without that of the idle cluster in the sum.
func (w writes) String() string {
	sum := 0
	var text []string
	for _, of := range []class{ofPods, ofEvents, ofOthers, ofReports, ofServer, ofNobody} {
		if of != ofNobody {
			sum += len(w[of])
		}
		if len(w[of]) > 0 {
			text = append(text, fmt.Sprintf("%s: %s", of, table(w[of])))
		}
	}
	return fmt.Sprintf("%d (%s)", sum, strings.Join(text, "; "))
}

// table prints counts in order.
func table(writes []cluster.Write) string {
	counts := cluster.Count(writes)
	var text []string
	for _, prefix := range slices.Sorted(maps.Keys(counts)) {
		text = append(text, fmt.Sprintf("%s %d puts %d deletes", prefix, counts[prefix].Puts, counts[prefix].Deletes))
	}
	return strings.Join(text, ", ")
}

// settle waits until etcd is calm, and begins to count anew.
func (w *etcdWatch) settle(t *testing.T) {
	t.Helper()
	w.calmDown(t)
	if err := w.sniffer.Reset(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// calmDown waits until nothing but the background has been written for a while:
// pods come and go, and events are told, some time after what caused them.
func (w *etcdWatch) calmDown(t *testing.T) {
	t.Helper()
	const calm = 3 * time.Second
	count := func() (count int) {
		for of, writes := range w.seen(t) {
			if of != ofNobody && of != ofServer {
				count += len(writes)
			}
		}
		return count
	}
	before, last := count(), time.Now()
	eventually(t, "etcd is calm", func(context.Context) error {
		if now := count(); now != before {
			before, last = now, time.Now()
		}
		if time.Since(last) < calm {
			return fmt.Errorf("something was written a moment ago: %s", w.seen(t))
		}
		return nil
	})
}

// wantNone fails the test if anything was written that is not the cluster's own doing.
func (w *etcdWatch) wantNone(t *testing.T, what string) {
	t.Helper()
	seen := w.seen(t)
	t.Logf("ETCD WRITES FOR %s: %s", what, seen)
	if reports := seen[ofReports]; len(reports) > 0 {
		t.Logf("the first report of a node on its pods, %s, changed this: %s", reports[0].Key,
			diff.Diff(stored(reports[0].Before).(*corev1.Pod).Status, stored(reports[0].After).(*corev1.Pod).Status))
	}
	for _, of := range []class{ofPods, ofOthers} {
		if len(seen[of]) > 0 {
			t.Errorf("%s made the cluster write %s to etcd, want nothing", what, table(seen[of]))
		}
	}
}
