package kind

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apiserver/pkg/storage"

	"arl.io/arl/pkg/apis/arl"
)

func TestSelection(t *testing.T) {
	box := &arl.Sandbox{
		ObjectMeta: metav1.ObjectMeta{Name: "a", Namespace: "ns", Labels: map[string]string{"team": "x"}},
		Spec:       arl.SandboxSpec{PoolRef: "p"},
	}
	tests := []struct {
		name, labels, fields string
		want                 bool
	}{
		{name: "everything", want: true},
		{name: "name", fields: "metadata.name=a", want: true},
		{name: "namespace", fields: "metadata.namespace=other", want: false},
		{name: "field", fields: "spec.poolRef=p", want: true},
		{name: "other field value", fields: "spec.poolRef=q", want: false},
		{name: "negated", fields: "spec.poolRef!=p", want: false},
		{name: "label", labels: "team=x", want: true},
		{name: "label and field", labels: "team=y", fields: "spec.poolRef=p", want: false},
	}
	def := sandboxDefinition()
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			l, err := labels.Parse(tc.labels)
			if err != nil {
				t.Fatal(err)
			}
			f, err := fields.ParseSelector(tc.fields)
			if err != nil {
				t.Fatal(err)
			}
			p := def.predicate(l, f)
			got, err := p.Matches(box)
			if err != nil || got != tc.want {
				t.Errorf("matches: %v, %v; want %v", got, err, tc.want)
			}
		})
	}
}

func TestSelectionNamesItsIndex(t *testing.T) {
	def := sandboxDefinition()
	p := def.predicate(labels.Everything(), fields.OneTermEqualSelector("spec.poolRef", "p"))
	match := p.MatcherIndex(t.Context())
	if diff := cmp.Diff([]storage.MatchValue{{IndexName: "f:spec.poolRef", Value: "p"}}, match); diff != "" {
		t.Fatalf("unexpected index (-want +got):\n%s", diff)
	}
	index, ok := (*def.indexers())[match[0].IndexName]
	if !ok {
		t.Fatalf("there is no index %s", match[0].IndexName)
	}
	values, err := index(&arl.Sandbox{Spec: arl.SandboxSpec{PoolRef: "p"}})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"p"}, values); diff != "" {
		t.Errorf("unexpected index values (-want +got):\n%s", diff)
	}
}

func TestSelectionRefusesOtherKinds(t *testing.T) {
	def := sandboxDefinition()
	if _, _, err := def.attributes(&arl.Task{}); err == nil {
		t.Error("the attributes of a task were taken for those of a sandbox")
	}
	if _, err := (*def.indexers())["f:spec.poolRef"](&arl.Task{}); err == nil {
		t.Error("a task was indexed as a sandbox")
	}
}
