package manifests

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// effect is what values have to change. A key of want is the name of an object,
// or that and the path of a field; nil means that it is not there.
type effect struct {
	values string
	want   map[string]any
}

// pod is the path of the server's pod.
const (
	pod       = "StatefulSet/arl-apiserver spec.template.spec."
	container = pod + "containers.0."
	allArgs   = container + "args"
)

// effects has an entry for every value of the chart.
var effects = map[string]effect{
	"image.repository": {`image: {repository: "r.example:5000/arl"}`, map[string]any{container + "image": "r.example:5000/arl:v0.1.0"}},
	"image.tag":        {`image: {tag: v9}`, map[string]any{container + "image": "arl.io/arl:v9"}},
	"image.digest": {
		`image: {digest: "sha256:` + strings.Repeat("0", 64) + `"}`,
		map[string]any{container + "image": "arl.io/arl@sha256:" + strings.Repeat("0", 64)},
	},
	"image.pullPolicy":  {`image: {pullPolicy: Never}`, map[string]any{container + "imagePullPolicy": "Never"}},
	"image.pullSecrets": {`image: {pullSecrets: [s]}`, map[string]any{pod + "imagePullSecrets.0.name": "s"}},

	"persistence.size": {
		`persistence: {size: 1Ti}`,
		map[string]any{"StatefulSet/arl-apiserver spec.volumeClaimTemplates.0.spec.resources.requests.storage": "1Ti"},
	},
	"persistence.storageClass": {
		`persistence: {storageClass: fast}`,
		map[string]any{"StatefulSet/arl-apiserver spec.volumeClaimTemplates.0.spec.storageClassName": "fast"},
	},
	"persistence.existingClaim": {`persistence: {existingClaim: mine}`, map[string]any{
		pod + "volumes.0.name": "data", pod + "volumes.0.persistentVolumeClaim.claimName": "mine",
		"StatefulSet/arl-apiserver spec.volumeClaimTemplates": nil,
	}},
	"resources.requests.cpu":    {`resources: {requests: {cpu: "4"}}`, map[string]any{container + "resources.requests.cpu": "4"}},
	"resources.requests.memory": {`resources: {requests: {memory: 4Gi}}`, map[string]any{container + "resources.requests.memory": "4Gi"}},
	"resources.limits.memory":   {`resources: {limits: {memory: 4Gi}}`, map[string]any{container + "resources.limits.memory": "4Gi"}},

	"podNamespaces": {`podNamespaces: [a, b]`, map[string]any{
		container + "args.1":                                  "--pod-namespaces=a,b",
		"ClusterRoleBinding/arl-apiserver-pods":               nil,
		"RoleBinding/a/arl-apiserver-pods subjects.0.name":    "arl-apiserver",
		"RoleBinding/b/arl-apiserver-pods roleRef.name":       "arl-apiserver-pods",
		"Role/arl-apiserver-self rules.0.resourceNames.0":     "arl-apiserver-0",
		"RoleBinding/arl-apiserver-self subjects.0.namespace": systemNamespace,
	}},
	"poolNamespaces": {`poolNamespaces: [a]`, map[string]any{
		"NetworkPolicy/a/arl-pools-ingress spec.ingress.0.ports.0.port": "arl-agent",
		"NetworkPolicy/a/arl-pools-egress spec.policyTypes.0":           "Egress",
		"PodDisruptionBudget/a/arl-sandboxes-in-use spec.minAvailable":  float64(2147483647),
	}},
	"poolDisruptionBudget.enabled": {`{poolNamespaces: [a], poolDisruptionBudget: {enabled: false}}`, map[string]any{
		"PodDisruptionBudget/a/arl-sandboxes-in-use": nil, "NetworkPolicy/a/arl-pools-egress spec.policyTypes.0": "Egress",
	}},
	"poolEgress.enabled": {`{poolNamespaces: [a], poolEgress: {enabled: false}}`, map[string]any{
		"NetworkPolicy/a/arl-pools-ingress spec.policyTypes.0": "Ingress", "NetworkPolicy/a/arl-pools-egress": nil,
	}},
	"poolEgress.except": {`{poolNamespaces: [a], poolEgress: {except: [192.0.2.0/24]}}`, map[string]any{
		"NetworkPolicy/a/arl-pools-egress spec.egress.1.to.0.ipBlock.except": []any{"192.0.2.0/24"},
	}},
	"poolEgress.exceptIPv6": {`{poolNamespaces: [a], poolEgress: {exceptIPv6: []}}`, map[string]any{
		"NetworkPolicy/a/arl-pools-egress spec.egress.1.to.1.ipBlock": map[string]any{"cidr": "::/0"},
	}},
	"poolEgress.extra": {`{poolNamespaces: [a], poolEgress: {extra: [{to: [{podSelector: {}}]}]}}`, map[string]any{
		"NetworkPolicy/a/arl-pools-egress spec.egress.2.to.0.podSelector": map[string]any{},
	}},
	"podPolicy.enabled": {`podPolicy: {enabled: false}`, map[string]any{
		"ValidatingAdmissionPolicy/arl-pool-pods": nil, "ValidatingAdmissionPolicyBinding/arl-pool-pods": nil,
	}},
	"networkPolicy.enabled": {`networkPolicy: {enabled: false}`, map[string]any{"NetworkPolicy/arl-apiserver": nil}},

	"agent.reach": {`agent: {reach: direct}`, map[string]any{
		container + "args.1":                     "--agent-reach=direct",
		"ClusterRole/arl-apiserver-pods rules.2": nil,
	}},
	"agent.port": {`agent: {port: 9000}`, map[string]any{container + "args.1": "--agent-port=9000"}},

	"tls.secretName": {`{tls: {secretName: s}, apiService: {annotations: {a: b}}}`, map[string]any{
		allArgs: []any{
			"--data-dir=/data", "--tls-cert-file=/tls/tls.crt", "--tls-private-key-file=/tls/tls.key", "--publish-ca=false",
		},
		pod + "volumes.0.secret.secretName": "s", container + "volumeMounts.1.mountPath": "/tls",
		"ClusterRole/arl-apiserver rules.6": nil,
	}},
	"tls.caBundle": {
		"tls: {secretName: s, caBundle: \"-----BEGIN CERTIFICATE-----\\nx\\n-----END CERTIFICATE-----\"}",
		map[string]any{"APIService/v1alpha1.arl.io spec.caBundle": "LS0tLS1CRUdJTiBDRVJUSUZJQ0FURS0tLS0tCngKLS0tLS1FTkQgQ0VSVElGSUNBVEUtLS0tLQ=="},
	},
	"tls.certManager.enabled": {`tls: {certManager: {enabled: true, issuerRef: {name: i}}}`, map[string]any{
		"APIService/v1alpha1.arl.io metadata.annotations.cert-manager'io/inject-ca-from": "arl-system/arl-apiserver",
		"Certificate/arl-apiserver spec.dnsNames.0":                                      "arl-apiserver.arl-system.svc",
		pod + "volumes.0.secret.secretName":                                              "arl-apiserver-tls",
		container + "args.3":                                                             "--publish-ca=false",
	}},
	"tls.certManager.issuerRef.name": {`tls: {certManager: {enabled: true, issuerRef: {name: i}}}`, map[string]any{
		"Certificate/arl-apiserver spec.issuerRef": map[string]any{"name": "i", "kind": "Issuer", "group": "cert-manager.io"},
	}},
	"tls.certManager.issuerRef.kind": {`tls: {certManager: {enabled: true, issuerRef: {name: i, kind: ClusterIssuer}}}`, map[string]any{
		"Certificate/arl-apiserver spec.issuerRef.kind": "ClusterIssuer",
	}},
	"tls.certManager.issuerRef.group": {`tls: {certManager: {enabled: true, issuerRef: {name: i, group: g.example}}}`, map[string]any{
		"Certificate/arl-apiserver spec.issuerRef.group": "g.example",
	}},

	"apiService.annotations":     {`apiService: {annotations: {a: b}}`, map[string]any{"APIService/v1alpha1.arl.io metadata.annotations": map[string]any{"a": "b"}}},
	"service.annotations":        {`service: {annotations: {a: b}}`, map[string]any{"Service/arl-apiserver metadata.annotations": map[string]any{"a": "b"}}},
	"serviceAccount.annotations": {`serviceAccount: {annotations: {a: b}}`, map[string]any{"ServiceAccount/arl-apiserver metadata.annotations": map[string]any{"a": "b"}}},

	"metrics.enabled": {`metrics: {enabled: true}`, map[string]any{
		"Service/arl-apiserver-metrics spec.clusterIP": "None", "ClusterRole/arl-metrics-reader rules.0.nonResourceURLs.0": "/metrics",
		"ServiceMonitor/arl-apiserver": nil,
	}},
	"metrics.annotations": {`metrics: {enabled: true, annotations: {a: b}}`, map[string]any{
		"Service/arl-apiserver-metrics metadata.annotations": map[string]any{"a": "b"},
	}},
	"metrics.serviceMonitor.enabled": {`metrics: {enabled: true, serviceMonitor: {enabled: true}}`, map[string]any{
		"ServiceMonitor/arl-apiserver spec.endpoints.0.interval": "30s",
	}},
	"metrics.serviceMonitor.labels": {`metrics: {enabled: true, serviceMonitor: {enabled: true, labels: {a: b}}}`, map[string]any{
		"ServiceMonitor/arl-apiserver metadata.labels.a": "b",
	}},
	"metrics.serviceMonitor.interval": {`metrics: {enabled: true, serviceMonitor: {enabled: true, interval: 5s}}`, map[string]any{
		"ServiceMonitor/arl-apiserver spec.endpoints.0.interval": "5s",
	}},

	"podDisruptionBudget.maxUnavailable": {`podDisruptionBudget: {maxUnavailable: 0}`, map[string]any{"PodDisruptionBudget/arl-apiserver spec.maxUnavailable": float64(0)}},
	"priorityClassName":                  {`priorityClassName: ""`, map[string]any{pod + "priorityClassName": nil, "ResourceQuota/arl-critical-pods": nil}},
	"nodeSelector":                       {`nodeSelector: {a: b}`, map[string]any{pod + "nodeSelector.a": "b"}},
	"tolerations":                        {`tolerations: [{operator: Exists}]`, map[string]any{pod + "tolerations.0.operator": "Exists"}},
	"affinity":                           {`affinity: {podAffinity: {}}`, map[string]any{pod + "affinity.podAffinity": map[string]any{}}},
	"podAnnotations":                     {`podAnnotations: {a: b}`, map[string]any{"StatefulSet/arl-apiserver spec.template.metadata.annotations.a": "b"}},
	"podLabels":                          {`podLabels: {a: b}`, map[string]any{"StatefulSet/arl-apiserver spec.template.metadata.labels.a": "b"}},
	"extraArgs":                          {`extraArgs: ["--v=2"]`, map[string]any{container + "args.1": "--v=2"}},
	"extraEnv":                           {`extraEnv: [{name: A, value: b}]`, map[string]any{container + "env.2.name": "A"}},
	"extraVolumes":                       {`extraVolumes: [{name: v, emptyDir: {}}]`, map[string]any{pod + "volumes.0.name": "v"}},
	"extraVolumeMounts":                  {`extraVolumeMounts: [{name: data, mountPath: /x}]`, map[string]any{container + "volumeMounts.1.mountPath": "/x"}},
	"namespace.create":                   {`namespace: {create: true}`, map[string]any{"Namespace/arl-system metadata.name": systemNamespace}},
}

// TestEveryValueHasAnEffect renders the chart with each value changed.
func TestEveryValueHasAnEffect(t *testing.T) {
	var names []string
	leaves(loadChart(t).Values, "", &names)
	slices.Sort(names)
	if diff := cmp.Diff(names, slices.Sorted(maps.Keys(effects))); diff != "" {
		t.Errorf("values of the chart (-) and of the table (+):\n%s", diff)
	}
	unchanged := mustRender(t, "")
	for name, tt := range effects {
		t.Run(name, func(t *testing.T) {
			all := mustRender(t, tt.values)
			changed := false
			for at, want := range tt.want {
				got, _ := lookup(all, at)
				if diff := cmp.Diff(want, got); diff != "" {
					t.Errorf("%s (-want +got):\n%s", at, diff)
				}
				before, _ := lookup(unchanged, at)
				changed = changed || !cmp.Equal(before, got)
			}
			if !changed {
				t.Error("all of this is so without the value, too")
			}
		})
	}
}

// leaves appends the dotted names of all values that hold no other.
func leaves(values map[string]any, prefix string, names *[]string) {
	for name, value := range values {
		if group, ok := value.(map[string]any); ok && len(group) > 0 {
			leaves(group, prefix+name+".", names)
			continue
		}
		*names = append(*names, prefix+name)
	}
}

// lookup finds what a key of effect.want names.
func lookup(all objects, at string) (any, bool) {
	name, field, hasField := strings.Cut(at, " ")
	object := all[name]
	if object == nil {
		return nil, false
	}
	if !hasField {
		return object.Object, true
	}
	return valueAt(object.Object, field)
}

// valueAt follows a dotted path through maps and lists. In a name, ' stands for
// a dot.
func valueAt(value any, dotted string) (any, bool) {
	for _, step := range strings.Split(dotted, ".") {
		switch node := value.(type) {
		case map[string]any:
			next, found := node[strings.ReplaceAll(step, "'", ".")]
			if !found {
				return nil, false
			}
			value = next
		case []any:
			index, err := strconv.Atoi(step)
			if err != nil || index >= len(node) {
				return nil, false
			}
			value = node[index]
		default:
			return nil, false
		}
	}
	return value, true
}

// TestWrongValuesAreRefused: each error names the value.
func TestWrongValuesAreRefused(t *testing.T) {
	for _, tt := range []struct{ values, want string }{
		{`image: {tags: v1}`, "tags"},
		{`replicas: 2`, "replicas"},
		{`image: {pullPolicy: Sometimes}`, "pullPolicy"},
		{`image: {repository: "arl.io/arl:v1"}`, "repository"},
		{`image: {digest: abc}`, "digest"},
		{`persistence: {size: lots}`, "size"},
		{`podNamespaces: all`, "podNamespaces"},
		{`podNamespaces: [Team]`, "podNamespaces"},
		{`poolNamespaces: [a, a]`, "poolNamespaces"},
		{`poolEgress: {except: [10.0.0.1]}`, "except"},
		{`agent: {reach: somehow}`, "reach"},
		{`agent: {port: 70000}`, "port"},
		{`podDisruptionBudget: {maxUnavailable: 2}`, "maxUnavailable"},
		{`extraArgs: [v=2]`, "extraArgs"},
		{`tls: {secretName: s}`, "tls.caBundle"},
		{`tls: {caBundle: "-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----"}`, "tls.secretName"},
		{`tls: {caBundle: none}`, "caBundle"},
		{`tls: {certManager: {enabled: true}}`, "tls.certManager.issuerRef.name"},
		{`metrics: {serviceMonitor: {enabled: true}}`, "metrics.enabled"},
		{`networkPolicy: {enabled: "yes"}`, "networkPolicy"},
	} {
		t.Run(tt.values, func(t *testing.T) {
			_, _, err := render(t, tt.values)
			if err == nil {
				t.Fatal("was taken")
			}
			if !strings.Contains(err.Error(), tt.want) {
				t.Errorf("the error does not name %s: %v", tt.want, err)
			}
		})
	}
}

// TestNotes: what is shown after an installation goes by the values.
func TestNotes(t *testing.T) {
	for _, tt := range []struct{ values, want string }{
		{``, "kubectl apply -f artifacts/examples/kubernetes.yaml"},
		{``, "kubectl label namespace arl-system pod-security.kubernetes.io/enforce=restricted"},
		{``, "poolNamespaces"},
		{`{tls: {secretName: mine}, apiService: {annotations: {a: b}}}`, "needs the Secret mine in arl-system"},
	} {
		t.Run(fmt.Sprintf("%s: %s", tt.values, tt.want), func(t *testing.T) {
			_, notes, err := render(t, tt.values)
			if err != nil {
				t.Fatal(err)
			}
			if !strings.Contains(notes, tt.want) {
				t.Errorf("not in\n%s", notes)
			}
		})
	}
}

// TestOlderClusters wants the chart refused where the API of policies is not there.
func TestOlderClusters(t *testing.T) {
	if _, _, err := renderFor(t, "v1.30.0", ""); err != nil {
		t.Errorf("the oldest cluster that will do: %v", err)
	}
	if _, _, err := renderFor(t, "v1.29.9", ""); err == nil || !strings.Contains(err.Error(), "kubeVersion") {
		t.Errorf("a cluster without v1 of policies: %v", err)
	}
}
