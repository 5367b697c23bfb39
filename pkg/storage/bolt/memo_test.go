package bolt

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apiserver/pkg/apis/example"
)

// countingReader makes pods whose name is what is stored.
type countingReader struct{ calls atomic.Int64 }

func (r *countingReader) read(raw []byte) func() (*sharedObject, error) {
	return func() (*sharedObject, error) {
		r.calls.Add(1)
		if len(raw) == 0 {
			return nil, errors.New("nothing is stored")
		}
		return newSharedObject(&example.Pod{ObjectMeta: metav1.ObjectMeta{Name: string(raw)}}), nil
	}
}

func nameOf(o *sharedObject) string { return o.obj.(*example.Pod).Name }

func TestMemoReadsOnce(t *testing.T) {
	m, r := newMemo(10, 1000), &countingReader{}
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			raw := []byte("one")
			obj, err := m.object(memoKey{key: "a", rev: 1}, raw, r.read(raw))
			if err != nil || nameOf(obj) != "one" {
				t.Errorf("got %v, %v", obj, err)
			}
		})
	}
	wg.Wait()
	if got := r.calls.Load(); got != 1 {
		t.Errorf("read %d times, want once", got)
	}
}

func TestMemoAnswersForTheBytesOnly(t *testing.T) {
	m, r := newMemo(10, 1000), &countingReader{}
	for _, raw := range []string{"one", "two", "one"} {
		obj, err := m.object(memoKey{key: "a", rev: 1}, []byte(raw), r.read([]byte(raw)))
		if err != nil || nameOf(obj) != raw {
			t.Errorf("for %q: got %v, %v", raw, obj, err)
		}
	}
}

func TestMemoForgetsFailures(t *testing.T) {
	m, r := newMemo(10, 1000), &countingReader{}
	k := memoKey{key: "a", rev: 1}
	fails := errors.New("the plugin is down")
	if _, err := m.object(k, []byte("one"), func() (*sharedObject, error) { return nil, fails }); !errors.Is(err, fails) {
		t.Errorf("got %v, want the reader's error", err)
	}
	if obj, err := m.object(k, []byte("one"), r.read([]byte("one"))); err != nil || nameOf(obj) != "one" {
		t.Errorf("after a failure: got %v, %v", obj, err)
	}
}

func TestMemoIsBounded(t *testing.T) {
	tests := []struct {
		name         string
		rawBytes     int
		entries, sum int
		wantEntries  int
	}{
		{name: "by entries", rawBytes: 2, entries: 5, sum: 1000, wantEntries: 5},
		{name: "by bytes", rawBytes: 30, entries: 50, sum: 100, wantEntries: 3},
		{name: "larger than all", rawBytes: 200, entries: 5, sum: 100, wantEntries: 0},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			m, r := newMemo(tc.entries, tc.sum), &countingReader{}
			for i := range 100 {
				raw := fmt.Appendf(nil, "%0*d", tc.rawBytes, i)
				k := memoKey{key: "a", rev: int64(i)}
				for range 2 {
					if _, err := m.object(k, raw, r.read(raw)); err != nil {
						t.Fatal(err)
					}
				}
				if _, kept := m.entries[k]; kept != (tc.wantEntries > 0) {
					t.Fatalf("entry %d kept: %t", i, kept)
				}
			}
			if len(m.entries) != tc.wantEntries || m.bytes != tc.wantEntries*tc.rawBytes {
				t.Errorf("holds %d entries of %d bytes, want %d of %d",
					len(m.entries), m.bytes, tc.wantEntries, tc.wantEntries*tc.rawBytes)
			}
		})
	}
}
