package cluster

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// component is a program that is built for the cluster.
type component struct {
	name string
	// pkg is the package of the command; dir is the folder of its module, below test/e2e.
	pkg, dir string
	// module is whose version it is built at; empty for our own.
	module string
}

var components = []component{
	{name: "holder", pkg: "./holder"},
	{name: "pause", pkg: "./pause"},
	{name: "etcd", pkg: "go.etcd.io/etcd/server/v3", dir: "components", module: "go.etcd.io/etcd/server/v3"},
	ofKubernetes("kube-apiserver"),
	ofKubernetes("kube-controller-manager"),
	ofKubernetes("kube-scheduler"),
	ofKubernetes("kube-proxy"),
	ofKubernetes("kubelet"),
	ofKubernetes("kubectl"),
	{
		name: enforcerName, pkg: "github.com/cloudnativelabs/kube-router/v2/cmd/kube-router",
		dir: "enforcer", module: "github.com/cloudnativelabs/kube-router/v2",
	},
}

func ofKubernetes(name string) component {
	return component{name: name, pkg: "k8s.io/kubernetes/cmd/" + name, dir: "components", module: "k8s.io/kubernetes"}
}

// build builds the programs that are not there yet, of the versions that
// the go.mod of their folder asks for. The programs of other versions are kept.
func (c *Cluster) build(ctx context.Context) error {
	root, err := output(ctx, "", "go", "list", "-m", "-f", "{{.Dir}}", "arl.io/arl/test/e2e")
	if err != nil {
		return fmt.Errorf("find the module of the tests: %w", err)
	}
	root = strings.TrimSpace(root)
	versions := map[string]map[string]string{}
	for _, dir := range []string{"components", "enforcer"} {
		if versions[dir], err = versionsOf(ctx, filepath.Join(root, dir)); err != nil {
			return err
		}
	}
	c.programs = map[string]string{}
	for _, item := range components {
		target := filepath.Join(c.config.Dir, "bin", item.name)
		version := versions[item.dir][item.module]
		if item.module != "" {
			target += "-" + version
		}
		c.programs[item.name] = target
		if item.module != "" { // what is ours is built each time, for it may have changed
			if _, err := os.Stat(target); err == nil {
				continue
			}
		}
		begin := time.Now()
		if err := compile(ctx, filepath.Join(root, item.dir), item.pkg, target, version); err != nil {
			return fmt.Errorf("build %s: %w", item.name, err)
		}
		c.config.Logf("built %s %s: %s", item.name, version, time.Since(begin).Round(time.Second))
	}
	return nil
}

// versionsOf returns the version of each module that a go.mod requires.
func versionsOf(ctx context.Context, dir string) (map[string]string, error) {
	out, err := output(ctx, dir, "go", "mod", "edit", "-json")
	if err != nil {
		return nil, fmt.Errorf("read the versions of the components: %w", err)
	}
	var mod struct {
		Require []struct{ Path, Version string }
	}
	if err := json.Unmarshal([]byte(out), &mod); err != nil {
		return nil, fmt.Errorf("read the versions of the components: %w", err)
	}
	versions := map[string]string{}
	for _, required := range mod.Require {
		versions[required.Path] = required.Version
	}
	return versions, nil
}

// compile builds a program, which is there whole or not at all.
func compile(ctx context.Context, dir, pkg, target, version string) error {
	flags := "-s -w"
	if numbers := strings.Split(strings.TrimPrefix(version, "v"), "."); len(numbers) == 3 {
		const variable = " -X k8s.io/component-base/version."
		flags += variable + "gitVersion=" + version + variable + "gitMajor=" + numbers[0] + variable + "gitMinor=" + numbers[1]
	}
	cmd := exec.CommandContext(ctx, "go", "build", "-ldflags", flags, "-o", target+".new", pkg)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%w\n%s", err, out)
	}
	return os.Rename(target+".new", target)
}
