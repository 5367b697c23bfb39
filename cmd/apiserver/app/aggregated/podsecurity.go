package aggregated

import (
	"fmt"
	"sync"

	"k8s.io/pod-security-admission/api"
	"k8s.io/pod-security-admission/policy"

	"arl.io/arl/pkg/apis/arl/v1alpha1"
	"arl.io/arl/pkg/podruntime"
	"arl.io/arl/pkg/podruntime/kube/podspec"
)

// podSecurity are the checks of the pod security standards, as kube-apiserver has them.
var podSecurity = sync.OnceValues(func() (policy.Evaluator, error) { return policy.NewEvaluator(policy.DefaultChecks(), nil) })

// podWarnings says what the pod security standard that a namespace enforces by its labels has against
// the pods of a pool. The cluster may know better: its administrator can exempt namespaces and users,
// and enforce a standard where no label does.
func (m *Mode) podWarnings(namespace map[string]string, pool *v1alpha1.WarmPool) []string {
	standard, _ := api.PolicyToEvaluate(namespace, api.Policy{Enforce: api.LevelVersion{Level: api.LevelPrivileged, Version: api.LatestVersion()}})
	if standard.Enforce.Level == api.LevelPrivileged {
		return nil
	}
	evaluator, err := podSecurity()
	if err != nil {
		return []string{fmt.Sprintf("spec.template: what PodSecurity %q has against it is not known: %v", standard.Enforce, err)}
	}
	pod, err := podspec.Build(podruntime.Spec{
		Key:  podruntime.Key{Namespace: pool.Namespace, Name: pool.Name},
		Pool: pool.Name, PoolUID: pool.UID, Template: &pool.Spec.Template, WorkDir: pool.Spec.WorkDir,
	}, podspec.Agent{Image: "agent", Port: m.options.Cluster.Pods.AgentPort, ClientCA: []byte("authority"), NonRoot: m.options.Cluster.Pods.NonRoot})
	if err != nil {
		return nil // the pool's conditions will say so
	}
	result := policy.AggregateCheckResults(evaluator.EvaluatePod(standard.Enforce, &pod.ObjectMeta, &pod.Spec))
	if result.Allowed {
		return nil
	}
	return []string{fmt.Sprintf("spec.template: the pods will be refused: namespace %q enforces PodSecurity %q, which they violate: %s",
		pool.Namespace, standard.Enforce, result.ForbiddenDetail())}
}
