package kind

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	testingclock "k8s.io/utils/clock/testing"
	"k8s.io/utils/ptr"

	"arl.io/arl/pkg/apis/arl"
)

func testTable(now time.Time) *Table[*arl.Sandbox] {
	return NewTable(testingclock.NewFakePassiveClock(now),
		Column[*arl.Sandbox]{Name: "Detail", Wide: true, Cell: func(*arl.Sandbox, time.Time) any { return "d" }},
		Column[*arl.Sandbox]{Name: "Pool", Cell: func(s *arl.Sandbox, _ time.Time) any { return OrNone(s.Spec.PoolRef) }},
		Column[*arl.Sandbox]{Name: "Count", Type: "integer", Cell: func(*arl.Sandbox, time.Time) any { return int64(2) }},
	)
}

func TestTable(t *testing.T) {
	box := func(name, pool string) arl.Sandbox {
		return arl.Sandbox{
			ObjectMeta: metav1.ObjectMeta{Name: name, CreationTimestamp: epoch, ResourceVersion: "9"},
			Spec:       arl.SandboxSpec{PoolRef: pool},
		}
	}
	one := box("a", "p")
	unborn := arl.Sandbox{ObjectMeta: metav1.ObjectMeta{Name: "c"}}
	tests := []struct {
		name      string
		obj       runtime.Object
		wantCells [][]any
		wantMeta  metav1.ListMeta
	}{
		{
			name: "one", obj: &one,
			wantCells: [][]any{{"a", "p", int64(2), "90s", "d"}},
			wantMeta:  metav1.ListMeta{ResourceVersion: "9"},
		},
		{
			name: "list",
			obj: &arl.SandboxList{
				ListMeta: metav1.ListMeta{ResourceVersion: "12", Continue: "more", RemainingItemCount: ptr.To[int64](3)},
				Items:    []arl.Sandbox{box("a", "p"), box("b", "")},
			},
			wantCells: [][]any{{"a", "p", int64(2), "90s", "d"}, {"b", "<none>", int64(2), "90s", "d"}},
			wantMeta:  metav1.ListMeta{ResourceVersion: "12", Continue: "more", RemainingItemCount: ptr.To[int64](3)},
		},
		{name: "no creation time", obj: &unborn, wantCells: [][]any{{"c", "<none>", int64(2), "<unknown>", "d"}}},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			got, err := testTable(epoch.Add(90*time.Second)).ConvertToTable(t.Context(), tc.obj, nil)
			if err != nil {
				t.Fatal(err)
			}
			var cells [][]any
			for _, row := range got.Rows {
				cells = append(cells, row.Cells)
			}
			if diff := cmp.Diff(tc.wantCells, cells); diff != "" {
				t.Errorf("unexpected cells (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(tc.wantMeta, got.ListMeta); diff != "" {
				t.Errorf("unexpected list metadata (-want +got):\n%s", diff)
			}
		})
	}
}

func TestTableHeaders(t *testing.T) {
	type header struct {
		Name, Type, Format string
		Priority           int32
	}
	got, err := testTable(epoch.Time).ConvertToTable(t.Context(), &arl.SandboxList{}, &metav1.TableOptions{})
	if err != nil {
		t.Fatal(err)
	}
	var headers []header
	for _, h := range got.ColumnDefinitions {
		headers = append(headers, header{Name: h.Name, Type: h.Type, Format: h.Format, Priority: h.Priority})
	}
	want := []header{
		{Name: "Name", Type: "string", Format: "name"},
		{Name: "Pool", Type: "string"},
		{Name: "Count", Type: "integer"},
		{Name: "Age", Type: "string"},
		{Name: "Detail", Type: "string", Priority: 1},
	}
	if diff := cmp.Diff(want, headers); diff != "" {
		t.Errorf("unexpected headers (-want +got):\n%s", diff)
	}

	bare, err := testTable(epoch.Time).ConvertToTable(t.Context(), &arl.SandboxList{}, &metav1.TableOptions{NoHeaders: true})
	if err != nil {
		t.Fatal(err)
	}
	if bare.ColumnDefinitions != nil {
		t.Errorf("headers although none were wanted: %v", bare.ColumnDefinitions)
	}
}

func TestTableOfAnotherKind(t *testing.T) {
	if _, err := testTable(epoch.Time).ConvertToTable(t.Context(), &arl.Task{}, nil); err == nil {
		t.Error("a task was printed as a sandbox")
	}
}

func TestElapsed(t *testing.T) {
	tests := map[time.Duration]string{
		0:                             "0s",
		1234 * time.Microsecond:       "1ms",
		999400 * time.Microsecond:     "999ms",
		1234 * time.Millisecond:       "1.2s",
		9 * time.Second:               "9s",
		61 * time.Second:              "61s",
		26*time.Hour + 30*time.Minute: "26h",
	}
	for d, want := range tests {
		if got := Elapsed(d); got != want {
			t.Errorf("Elapsed(%v) = %q, want %q", d, got, want)
		}
	}
}
