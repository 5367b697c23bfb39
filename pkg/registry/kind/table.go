package kind

import (
	"context"
	"fmt"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metatable "k8s.io/apimachinery/pkg/api/meta/table"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/duration"
	"k8s.io/utils/clock"
)

// None is shown where there is no value.
const None = "<none>"

// Column is one column of a table.
type Column[T Object] struct {
	// Name is the heading.
	Name string
	// Type is one of OpenAPI: string if empty.
	Type string
	// Description explains the column.
	Description string
	// Wide columns are shown only if asked for.
	Wide bool
	// Cell is a string or an integer.
	Cell func(obj T, now time.Time) any
}

// Table prints objects of one kind.
type Table[T Object] struct {
	clock   clock.PassiveClock
	headers []metav1.TableColumnDefinition
	cells   []func(obj T, now time.Time) any
}

// NewTable returns a table of the name, the narrow columns, the age, and the
// wide columns.
func NewTable[T Object](clk clock.PassiveClock, columns ...Column[T]) *Table[T] {
	t := &Table[T]{clock: clk}
	doc := metav1.ObjectMeta{}.SwaggerDoc()
	t.add(Column[T]{Name: "Name", Description: doc["name"], Cell: func(obj T, _ time.Time) any { return obj.GetName() }})
	t.headers[0].Format = "name"
	for _, c := range columns {
		if !c.Wide {
			t.add(c)
		}
	}
	t.add(Column[T]{Name: "Age", Description: doc["creationTimestamp"], Cell: func(obj T, now time.Time) any {
		return since(obj.GetCreationTimestamp().Time, now)
	}})
	for _, c := range columns {
		if c.Wide {
			t.add(c)
		}
	}
	return t
}

func (t *Table[T]) add(c Column[T]) {
	header := metav1.TableColumnDefinition{Name: c.Name, Type: c.Type, Description: c.Description}
	if header.Type == "" {
		header.Type = "string"
	}
	if c.Wide {
		header.Priority = 1
	}
	t.headers = append(t.headers, header)
	t.cells = append(t.cells, c.Cell)
}

// ConvertToTable prints one object or a list of them.
func (t *Table[T]) ConvertToTable(_ context.Context, object, tableOptions runtime.Object) (*metav1.Table, error) {
	now := t.clock.Now()
	rows, err := metatable.MetaToTableRow(object, func(obj runtime.Object, _ metav1.Object, _, _ string) ([]any, error) {
		o, ok := obj.(T)
		if !ok {
			return nil, fmt.Errorf("no table is known for %T", obj)
		}
		cells := make([]any, len(t.cells))
		for i, cell := range t.cells {
			cells[i] = cell(o, now)
		}
		return cells, nil
	})
	if err != nil {
		return nil, err
	}
	table := &metav1.Table{Rows: rows}
	if list, err := meta.ListAccessor(object); err == nil {
		table.ResourceVersion = list.GetResourceVersion()
		table.Continue = list.GetContinue()
		table.RemainingItemCount = list.GetRemainingItemCount()
	} else if one, err := meta.CommonAccessor(object); err == nil {
		table.ResourceVersion = one.GetResourceVersion()
	}
	if opts, ok := tableOptions.(*metav1.TableOptions); !ok || !opts.NoHeaders {
		table.ColumnDefinitions = t.headers
	}
	return table, nil
}

// OrNone returns s, or None if s is empty.
func OrNone[S ~string](s S) string {
	if s == "" {
		return None
	}
	return string(s)
}

// Elapsed is d for humans: milliseconds below a second, tenths below ten.
func Elapsed(d time.Duration) string {
	switch {
	case d < time.Second:
		return d.Round(time.Millisecond).String()
	case d < 10*time.Second:
		return d.Round(100 * time.Millisecond).String()
	default:
		return duration.HumanDuration(d)
	}
}

func since(t, now time.Time) string {
	if t.IsZero() {
		return "<unknown>"
	}
	return duration.HumanDuration(now.Sub(t))
}
