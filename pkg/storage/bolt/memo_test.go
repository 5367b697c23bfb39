package bolt

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apiserver/pkg/apis/example"
)

// countingDecoder makes pods whose name is the data.
type countingDecoder struct{ calls atomic.Int64 }

func (d *countingDecoder) decode(data []byte) (runtime.Object, error) {
	d.calls.Add(1)
	if len(data) == 0 {
		return nil, errors.New("no data")
	}
	return &example.Pod{ObjectMeta: metav1.ObjectMeta{Name: string(data)}}, nil
}

func TestMemoDecodesOnce(t *testing.T) {
	m, d := newMemo(10, 1000), &countingDecoder{}
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			obj, err := m.decode(memoKey{"a", 1}, []byte("one"), d.decode)
			if err != nil || obj.(*example.Pod).Name != "one" {
				t.Errorf("got %v, %v", obj, err)
			}
		})
	}
	wg.Wait()
	if got := d.calls.Load(); got != 1 {
		t.Errorf("decoded %d times, want once", got)
	}
}

func TestMemoAnswersForTheBytesOnly(t *testing.T) {
	m, d := newMemo(10, 1000), &countingDecoder{}
	for _, data := range []string{"one", "two", "one"} {
		obj, err := m.decode(memoKey{"a", 1}, []byte(data), d.decode)
		if err != nil || obj.(*example.Pod).Name != data {
			t.Errorf("for %q: got %v, %v", data, obj, err)
		}
	}
	if _, err := m.decode(memoKey{"b", 1}, nil, d.decode); err == nil {
		t.Error("the decoder's error is lost")
	}
}

func TestMemoIsBounded(t *testing.T) {
	tests := []struct {
		name         string
		dataBytes    int
		entries, sum int
		wantEntries  int
	}{
		{name: "by entries", dataBytes: 2, entries: 5, sum: 1000, wantEntries: 5},
		{name: "by bytes", dataBytes: 30, entries: 50, sum: 100, wantEntries: 3},
		{name: "larger than all", dataBytes: 200, entries: 5, sum: 100, wantEntries: 0},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			m, d := newMemo(tc.entries, tc.sum), &countingDecoder{}
			for i := range 100 {
				data := fmt.Appendf(nil, "%0*d", tc.dataBytes, i)
				k := memoKey{"a", int64(i)}
				for range 2 {
					if _, err := m.decode(k, data, d.decode); err != nil {
						t.Fatal(err)
					}
				}
				if _, kept := m.entries[k]; kept != (tc.wantEntries > 0) {
					t.Fatalf("entry %d kept: %t", i, kept)
				}
			}
			if len(m.entries) != tc.wantEntries || m.bytes != tc.wantEntries*tc.dataBytes {
				t.Errorf("holds %d entries of %d bytes, want %d of %d",
					len(m.entries), m.bytes, tc.wantEntries, tc.wantEntries*tc.dataBytes)
			}
		})
	}
}
