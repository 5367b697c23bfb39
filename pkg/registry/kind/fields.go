package kind

import (
	"fmt"

	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apiserver/pkg/storage"
	"k8s.io/client-go/tools/cache"
)

// Field is one that lists and watches can be narrowed down by. The same paths
// have to be allowed by the scheme's field label conversion.
type Field[T Object] struct {
	// Path is what clients write, for example "status.phase".
	Path string
	// Value is compared with what they wrote after it.
	Value func(T) string
}

// attributes returns the labels and fields that selectors are matched with.
func (d *Definition[T, S, U]) attributes(obj runtime.Object) (labels.Set, fields.Set, error) {
	o, ok := obj.(T)
	if !ok {
		return nil, nil, fmt.Errorf("%T is no object of the resource %s", obj, d.Resource)
	}
	set := make(fields.Set, len(d.Fields)+2)
	set["metadata.name"] = o.GetName()
	set["metadata.namespace"] = o.GetNamespace()
	for _, f := range d.Fields {
		set[f.Path] = f.Value(o)
	}
	return o.GetLabels(), set, nil
}

// predicate names the indexes that may answer the selectors.
func (d *Definition[T, S, U]) predicate(label labels.Selector, field fields.Selector) storage.SelectionPredicate {
	return storage.SelectionPredicate{
		Label:       label,
		Field:       field,
		GetAttrs:    d.attributes,
		IndexFields: d.indexFields(),
	}
}

func (d *Definition[T, S, U]) indexFields() []string {
	paths := make([]string, 0, len(d.Fields))
	for _, f := range d.Fields {
		paths = append(paths, f.Path)
	}
	return paths
}

// indexers tells a storage that can keep indexes which ones pay.
func (d *Definition[T, S, U]) indexers() *cache.Indexers {
	indexers := make(cache.Indexers, len(d.Fields))
	for _, f := range d.Fields {
		indexers[storage.FieldIndex(f.Path)] = func(obj any) ([]string, error) {
			o, ok := obj.(T)
			if !ok {
				return nil, fmt.Errorf("%T is no object of the resource %s", obj, d.Resource)
			}
			return []string{f.Value(o)}, nil
		}
	}
	return &indexers
}
