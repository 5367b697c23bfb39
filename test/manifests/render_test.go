package manifests

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"path"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"helm.sh/helm/v3/pkg/chart"
	"helm.sh/helm/v3/pkg/chart/loader"
	"helm.sh/helm/v3/pkg/chartutil"
	"helm.sh/helm/v3/pkg/engine"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/kyaml/filesys"
	"sigs.k8s.io/yaml"
)

// Where things are, seen from this folder.
const (
	kustomizeDir   = "../../artifacts/kubernetes"
	poolNetworkDir = kustomizeDir + "/pool-network"
	poolBudgetDir  = kustomizeDir + "/pool-budget"
	chartDir       = "../../artifacts/helm/arl"
	examplesDir    = "../../artifacts/examples"
)

// systemNamespace is where the server lives.
const systemNamespace = "arl-system"

// kubeVersion is of the clusters that charts are rendered for.
const kubeVersion = "v1.37.2"

// objects is what was rendered, by kind, namespace and name.
type objects map[string]*unstructured.Unstructured

// keyOf names an object as tests do: Kind/name, or Kind/namespace/name outside arl-system.
func keyOf(object *unstructured.Unstructured) string {
	if ns := object.GetNamespace(); ns != "" && ns != systemNamespace {
		return path.Join(object.GetKind(), ns, object.GetName())
	}
	return path.Join(object.GetKind(), object.GetName())
}

// parse reads the objects of a stream of YAML documents into all. A key that is
// there twice is an error, as it is to Helm.
func parse(all objects, stream []byte) error {
	for reader := utilyaml.NewYAMLReader(bufio.NewReader(bytes.NewReader(stream))); ; {
		document, err := reader.Read()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("split into documents: %w", err)
		}
		var content map[string]any
		if err := yaml.UnmarshalStrict(document, &content); err != nil {
			return fmt.Errorf("parse: %w\n%s", err, document)
		}
		if len(content) == 0 {
			continue
		}
		object := &unstructured.Unstructured{Object: content}
		key := keyOf(object)
		if all[key] != nil {
			return fmt.Errorf("%s is there twice", key)
		}
		all[key] = object
	}
}

// kustomize renders a kustomization, as kubectl apply -k does.
func kustomize(t *testing.T, dir string) objects {
	t.Helper()
	rendered, err := krusty.MakeKustomizer(krusty.MakeDefaultOptions()).Run(filesys.MakeFsOnDisk(), dir)
	if err != nil {
		t.Fatal(err)
	}
	stream, err := rendered.AsYaml()
	if err != nil {
		t.Fatal(err)
	}
	all := objects{}
	if err := parse(all, stream); err != nil {
		t.Fatal(err)
	}
	return all
}

// readChart reads the chart once: no test changes it.
var readChart = sync.OnceValues(func() (*chart.Chart, error) { return loader.Load(chartDir) })

func loadChart(t *testing.T) *chart.Chart {
	t.Helper()
	loaded, err := readChart()
	if err != nil {
		t.Fatal(err)
	}
	return loaded
}

// render makes what the chart does as helm install does, with values in YAML. It
// returns the notes, too, and the error that a user would see.
func render(t *testing.T, values string) (all objects, notes string, err error) {
	t.Helper()
	return renderFor(t, kubeVersion, values)
}

// renderFor renders for a cluster of some version.
func renderFor(t *testing.T, kubeVersion, values string) (all objects, notes string, err error) {
	t.Helper()
	parsed, err := chartutil.ReadValues([]byte(values))
	if err != nil {
		t.Fatalf("the test's own values: %v", err)
	}
	version, err := chartutil.ParseKubeVersion(kubeVersion)
	if err != nil {
		t.Fatal(err)
	}
	loaded := loadChart(t)
	if !chartutil.IsCompatibleRange(loaded.Metadata.KubeVersion, version.Version) {
		return nil, "", fmt.Errorf("the chart is for kubeVersion %s, not %s", loaded.Metadata.KubeVersion, kubeVersion)
	}
	release := chartutil.ReleaseOptions{Name: "arl", Namespace: systemNamespace, Revision: 1, IsInstall: true}
	capabilities := chartutil.DefaultCapabilities.Copy()
	capabilities.KubeVersion = *version
	toRender, err := chartutil.ToRenderValues(loaded, parsed, release, capabilities)
	if err != nil {
		return nil, "", err
	}
	files, err := engine.Engine{Strict: true}.Render(loaded, toRender)
	if err != nil {
		return nil, "", err
	}
	all = objects{}
	for name, content := range files {
		switch {
		case path.Base(name) == "NOTES.txt":
			notes = content
		case strings.TrimSpace(content) == "":
		default:
			if err := parse(all, []byte(content)); err != nil {
				return nil, "", fmt.Errorf("%s: %w", name, err)
			}
		}
	}
	return all, notes, nil
}

// mustRender is render for values that are right.
func mustRender(t *testing.T, values string) objects {
	t.Helper()
	all, _, err := render(t, values)
	if err != nil {
		t.Fatalf("%v\nwith the values\n%s", err, values)
	}
	return all
}

// examples are the objects of a file of examples.
func examples(t *testing.T, file string) []*unstructured.Unstructured {
	t.Helper()
	rendered, err := filesys.MakeFsOnDisk().ReadFile(filepath.Join(examplesDir, file))
	if err != nil {
		t.Fatal(err)
	}
	all := objects{}
	if err := parse(all, rendered); err != nil {
		t.Fatal(err)
	}
	var list []*unstructured.Unstructured
	for _, object := range all {
		list = append(list, object)
	}
	return list
}
