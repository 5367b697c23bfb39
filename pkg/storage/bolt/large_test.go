package bolt

import (
	"errors"
	"flag"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	k8sruntime "k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/apiserver/pkg/apis/example"
	"k8s.io/apiserver/pkg/storage"
	"k8s.io/utils/ptr"

	"arl.io/arl/pkg/storage/kv"
)

// largeAbove is kv.Options.LargeValueBytes of the fixtures.
var largeAbove = flag.Int("large-above", 0, "size of values above which they are kept in the files only; 0: as in a server")

// TestLargeEverything runs the tests of this package, the suite of the API
// server included, with every value in the files only.
func TestLargeEverything(t *testing.T) {
	if *largeAbove != 0 {
		t.Skip("this is that run")
	}
	if testing.CoverMode() != "" {
		t.Skip("two runs would write the same profile")
	}
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-large-above=1", "-test.timeout=10m")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v:\n%s", err, out)
	}
}

// needsBuffer skips a test that fills the buffer of a watch if all objects are large.
func needsBuffer(t *testing.T) {
	t.Helper()
	if *largeAbove != 0 {
		t.Skip("only one large object waits for the client of a watch")
	}
}

// bigPod returns a pod that is stored in so many bytes and some.
func bigPod(name string, size int) *example.Pod {
	return &example.Pod{ObjectMeta: metav1.ObjectMeta{
		Namespace: "ns", Name: name, Annotations: map[string]string{"content": strings.Repeat(name+" ", size/(len(name)+1)+1)},
	}}
}

func (f *fixture) mustCreateBig(tb testing.TB, name string, size int) *example.Pod {
	tb.Helper()
	out := &example.Pod{}
	in := bigPod(name, size)
	if err := f.Create(tb.Context(), podKey(in), in, out, 0); err != nil {
		tb.Fatal(err)
	}
	return out
}

// wantWhole fails the test if a pod has lost its content.
func wantWhole(tb testing.TB, obj k8sruntime.Object) *example.Pod {
	tb.Helper()
	pod := obj.(*example.Pod)
	content := pod.Annotations["content"]
	if content == "" || strings.Trim(content, pod.Name+" ") != "" {
		tb.Errorf("%s has content %.50q", pod.Name, content)
	}
	return pod
}

// TestLargeMemoryFollowsTheNumber writes, updates, watches and lists large
// objects: what stays in memory must be a small part of them, also after a
// restart.
func TestLargeMemoryFollowsTheNumber(t *testing.T) {
	const (
		objects  = 100
		size     = 400 << 10
		sum      = objects * size
		maxInUse = sum / 8
	)
	dir := t.TempDir()
	before := heapInUse()
	wantSmall := func(when string) {
		t.Helper()
		if grown := heapInUse() - before; grown > maxInUse {
			t.Errorf("%s: the heap has grown by %d bytes, want at most %d of objects of %d", when, grown, maxInUse, sum)
		}
	}
	db, s := openStore(t, dir)
	f := &fixture{Store: s, db: db}
	w, stalled := f.mustWatch(t, watchAll("1", false)), f.mustWatch(t, watchAll("1", false))
	for i := range objects {
		pod := f.mustCreateBig(t, fmt.Sprintf("pod-%d", i), size)
		wantWhole(t, nextEvent(t, w).Object)
		f.mustLabel(t, pod, "state", "ended")
		wantWhole(t, nextEvent(t, w).Object)
	}
	wantSmall("after the writes, with a stalled watch")
	stalled.Stop()
	w.Stop()
	if err := db.Compact(t.Context(), db.Snapshot().Revision()); err != nil {
		t.Fatal(err)
	}
	wantSmall("after compaction")
	s.Close()
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	db, s = openStore(t, dir)
	f = &fixture{Store: s, db: db}
	wantSmall("after a restart")
	opts := storage.ListOptions{Recursive: true, Predicate: storage.Everything}
	opts.Predicate.Limit = objects
	for listed := 0; listed < objects; {
		page := &example.PodList{}
		if err := f.GetList(t.Context(), "/pods/", opts, page); err != nil {
			t.Fatal(err)
		}
		if len(page.Items) == 0 || len(page.Items)*size > maxPageBytes+size {
			t.Fatalf("a page has %d items of %d bytes, want at most %d bytes and one object", len(page.Items), size, maxPageBytes)
		}
		for i := range page.Items {
			wantWhole(t, &page.Items[i])
		}
		listed += len(page.Items)
		if opts.Predicate.Continue = page.Continue; (page.Continue == "") != (listed == objects) {
			t.Fatalf("%d of %d objects listed, continue token %q", listed, objects, page.Continue)
		}
		if page.RemainingItemCount != nil && int(*page.RemainingItemCount) != objects-listed {
			t.Errorf("%d objects are said to remain, of %d", *page.RemainingItemCount, objects-listed)
		}
	}
	wantSmall("after lists")
	s.Close()
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
}

func openStore(t *testing.T, dir string) (*kv.DB, *Store) {
	t.Helper()
	db, err := kv.Open(dir, kv.Options{LargeValueBytes: *largeAbove})
	if err != nil {
		t.Fatal(err)
	}
	s, err := New(podConfig(db))
	if err != nil {
		t.Fatal(err)
	}
	return db, s
}

// heapInUse returns the bytes of live objects. Garbage that finalizers hold
// takes a second collection.
func heapInUse() int64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// TestLargeWaitsForItsClient: a watch reads a large object only when its client
// has taken what was sent before.
func TestLargeWaitsForItsClient(t *testing.T) {
	f := newFixture(t)
	const objects = 10
	slow := f.mustWatch(t, watchAll("1", false))
	for i := range objects {
		f.mustCreateBig(t, fmt.Sprintf("pod-%d", i), 100<<10)
	}
	for i := range objects {
		eventually(t, "the next event is there", func() bool { return len(slow.ResultChan()) > 0 })
		if n := len(slow.ResultChan()); n != 1 {
			t.Fatalf("%d large objects wait for the client, want one", n)
		}
		if pod := wantWhole(t, nextEvent(t, slow).Object); pod.Name != fmt.Sprintf("pod-%d", i) {
			t.Fatalf("event %d is of %s", i, pod.Name)
		}
	}
	initial := watchAll("", true)
	initial.SendInitialEvents = ptr.To(true)
	w := f.mustWatch(t, initial)
	for i := range objects {
		eventually(t, "the next initial event is there", func() bool { return len(w.ResultChan()) > 0 })
		if n := len(w.ResultChan()); n != 1 && i < objects-1 { // the last may have a bookmark behind it
			t.Fatalf("%d large initial objects wait for the client, want one", n)
		}
		wantWhole(t, nextEvent(t, w).Object)
	}
}

// TestLargeStalledWatchExpires: what a stalled watch has not read yet goes with
// its history, and the client is told so.
func TestLargeStalledWatchExpires(t *testing.T) {
	f := newFixture(t)
	slow := f.mustWatch(t, watchAll("1", false))
	f.mustCreateBig(t, "first", 100<<10)
	pod := f.mustCreateBig(t, "second", 100<<10)
	eventually(t, "the first event is there", func() bool { return len(slow.ResultChan()) == 1 })
	f.mustLabel(t, pod, "a", "b")
	f.compactAndTrim(t)
	if got := nextEvent(t, slow).Object.(*example.Pod).Name; got != "first" {
		t.Errorf("got %s", got)
	}
	for e := range slow.ResultChan() {
		if e.Type == watch.Error {
			wantStatus(t, e, http.StatusGone, metav1.StatusReasonExpired)
			return
		}
		wantWhole(t, unwrap(e).Object) // it may have taken more before the compaction
	}
	t.Error("the watch has ended without an error")
}

// compactAndTrim compacts everything, and waits until it has left the log file.
func (f *fixture) compactAndTrim(t *testing.T) {
	t.Helper()
	if err := f.db.Compact(t.Context(), f.db.Snapshot().Revision()); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the log is trimmed", func() bool { return f.trimmed.Load() == f.CompactRevision() })
}

// TestLargeOvertaken: a read that finds the value of its snapshot gone, because
// it was overwritten and compacted meanwhile, reads what there is now.
func TestLargeOvertaken(t *testing.T) {
	f := newFixture(t)
	pod := f.mustCreateBig(t, "a", 100<<10)
	old, _ := f.db.Snapshot().Get(podKey(pod))
	past := f.currentRV()
	f.mustLabel(t, pod, "a", "b")
	f.compactAndTrim(t)
	if _, err := old.Load(); !errors.Is(err, kv.ErrCompacted) {
		t.Fatalf("the old value: %v", err)
	}
	entry, raw, found, err := f.load(t.Context(), old)
	if err != nil || !found || len(raw) != entry.Size() || entry.ModRev <= old.ModRev {
		t.Errorf("load: %v bytes of revision %d, %t, %v", len(raw), entry.ModRev, found, err)
	}
	list := storage.ListOptions{Recursive: true, Predicate: storage.Everything, ResourceVersion: past,
		ResourceVersionMatch: metav1.ResourceVersionMatchExact}
	if err := f.GetList(t.Context(), "/pods/", list, &example.PodList{}); !isExpired(err) {
		t.Errorf("list of a compacted revision: %v", err)
	}
	out := &example.Pod{}
	if err := f.Delete(t.Context(), podKey(pod), out, nil, storage.ValidateAllObjectFunc, nil, storage.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	wantWhole(t, out)
	f.compactAndTrim(t)
	if _, _, found, err := f.load(t.Context(), old); err != nil || found {
		t.Errorf("load of a key that is gone: %t, %v", found, err)
	}
}

func isExpired(err error) bool {
	var status interface{ Status() metav1.Status }
	return errors.As(err, &status) && status.Status().Reason == metav1.StatusReasonExpired
}

// TestLargeListBeginsAnew: a list of the newest state that compaction overtakes
// is made again; one that is overtaken each time is told to begin anew.
func TestLargeListBeginsAnew(t *testing.T) {
	for _, tc := range []struct {
		name      string
		overtaken int64
		expired   bool
	}{{"once", 1, false}, {"always", 1 << 60, true}} {
		t.Run(tc.name, func(t *testing.T) {
			f := newFixture(t)
			first, last := f.mustCreateBig(t, "a", 50<<10), f.mustCreateBig(t, "b", 50<<10)
			var times atomic.Int64
			f.Store.codec.codec = &hookCodec{Codec: f.Store.codec.codec, hook: func(name string) {
				// The list has read the first object and is about to read the last.
				if name == first.Name && times.Add(1) <= tc.overtaken {
					f.overwrite(t, last)
					f.compactAndTrim(t)
				}
			}}
			list := &example.PodList{}
			err := f.GetList(t.Context(), "/pods/", storage.ListOptions{Recursive: true, Predicate: storage.Everything}, list)
			if tc.expired {
				if !isExpired(err) {
					t.Errorf("got %v, want Expired", err)
				}
				return
			}
			if err != nil || len(list.Items) != 2 || times.Load() != 2 {
				t.Errorf("%d items after %d attempts, %v", len(list.Items), times.Load(), err)
			}
		})
	}
}

// overwrite stores what a pod has once more, past the store.
func (f *fixture) overwrite(t *testing.T, pod *example.Pod) {
	t.Helper()
	entry, _ := f.db.Snapshot().Get(podKey(pod))
	raw, err := entry.Load()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.db.Apply(t.Context(), kv.Op{Key: entry.Key, Value: raw, Expect: entry.ModRev}); err != nil {
		t.Fatal(err)
	}
}

// hookCodec calls hook with the name of each pod that it has decoded.
type hookCodec struct {
	k8sruntime.Codec
	hook func(name string)
}

func (c *hookCodec) Decode(data []byte, gvk *schema.GroupVersionKind, into k8sruntime.Object) (k8sruntime.Object, *schema.GroupVersionKind, error) {
	obj, kind, err := c.Codec.Decode(data, gvk, into)
	if pod, ok := obj.(*example.Pod); ok && err == nil {
		c.hook(pod.Name)
	}
	return obj, kind, err
}

// TestLargeMemoKeepsNothing: watches that send a large object at the same time
// share it, and it is gone with the last of them.
func TestLargeMemoKeepsNothing(t *testing.T) {
	m, r := newMemo(10, 1000), &countingReader{}
	k := memoKey{key: "a", rev: 1}
	raw := []byte("one")
	first, err := m.large(k, r.read(raw))
	if err != nil {
		t.Fatal(err)
	}
	runtime.GC()
	second, err := m.large(k, r.read(raw))
	if err != nil || first != second || r.calls.Load() != 1 {
		t.Errorf("while it is in use: %d reads, %v", r.calls.Load(), err)
	}
	runtime.KeepAlive(first)
	first, second = nil, nil
	eventually(t, "it is forgotten", func() bool {
		runtime.GC()
		m.mu.Lock()
		defer m.mu.Unlock()
		return m.entries[k].large.Value() == nil
	})
	if _, err := m.large(k, r.read(raw)); err != nil || r.calls.Load() != 2 {
		t.Errorf("after that: %d reads, %v", r.calls.Load(), err)
	}
	fails := errors.New("the plugin is down")
	k.rev++
	if _, err := m.large(k, func() (*sharedObject, error) { return nil, fails }); !errors.Is(err, fails) {
		t.Errorf("got %v, want the reader's error", err)
	}
	if obj, err := m.large(k, r.read(raw)); err != nil || nameOf(obj) != "one" {
		t.Errorf("after a failure: got %v, %v", obj, err)
	}
}
