package manifests

import (
	"math"
	"strings"
	"testing"

	"github.com/spf13/pflag"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/intstr"
	apiregistrationv1 "k8s.io/kube-aggregator/pkg/apis/apiregistration/v1"

	"arl.io/arl/cmd/apiserver/app/options"
	"arl.io/arl/pkg/apis/arl/v1alpha1"
	"arl.io/arl/pkg/podruntime"
	"arl.io/arl/pkg/podruntime/kube/podspec"
)

// server is the StatefulSet, whose one container is the server's.
func server(t *testing.T, all objects) (*appsv1.StatefulSet, corev1.Container) {
	t.Helper()
	set := decoded[*appsv1.StatefulSet](t, all, "StatefulSet/arl-apiserver")
	containers := set.Spec.Template.Spec.Containers
	if len(containers) != 1 || containers[0].Name != "apiserver" {
		t.Fatalf("the containers are %+v", containers)
	}
	return set, containers[0]
}

// TestArgsAreFlags parses what the container is started with, for every value
// of the chart.
func TestArgsAreFlags(t *testing.T) {
	parse := func(t *testing.T, all objects) *options.Options {
		t.Helper()
		_, container := server(t, all)
		o, flags := options.New(), pflag.NewFlagSet("arl-apiserver", pflag.ContinueOnError)
		for _, set := range o.Flags().FlagSets {
			flags.AddFlagSet(set)
		}
		if err := flags.Parse(container.Args); err != nil {
			t.Fatalf("%v: %v", container.Args, err)
		}
		if flags.NArg() > 0 {
			t.Errorf("%v are no flags", flags.Args())
		}
		return o
	}
	for name, tt := range effects {
		t.Run(name, func(t *testing.T) { parse(t, mustRender(t, tt.values)) })
	}
	t.Run("kustomization", func(t *testing.T) {
		o := parse(t, kustomize(t, kustomizeDir))
		_, container := server(t, kustomize(t, kustomizeDir))
		if len(container.VolumeMounts) != 1 || container.VolumeMounts[0].MountPath != o.DataDir {
			t.Errorf("--data-dir is %s, mounted are %+v", o.DataDir, container.VolumeMounts)
		}
		if o.Standalone {
			t.Error("runs as a whole installation")
		}
	})
}

// TestPodFitsTheProgram compares numbers and names with the program's own.
func TestPodFitsTheProgram(t *testing.T) {
	all := kustomize(t, kustomizeDir)
	set, container := server(t, all)
	defaults := options.New()

	grace := *set.Spec.Template.Spec.TerminationGracePeriodSeconds
	if wanted := 2 * defaults.ShutdownTimeout.Seconds(); float64(grace) <= wanted {
		t.Errorf("terminationGracePeriodSeconds is %d, a server may take more than %v", grace, wanted)
	}
	if port := container.Ports[0].ContainerPort; int(port) != options.DefaultPort {
		t.Errorf("the container's port is %d, the server's %d", port, options.DefaultPort)
	}
	for i, want := range []struct{ name, path string }{
		{options.PodNameVariable, "metadata.name"}, {options.PodNamespaceVariable, "metadata.namespace"},
	} {
		variable := container.Env[i]
		if variable.Name != want.name || variable.ValueFrom.FieldRef.FieldPath != want.path {
			t.Errorf("the environment has %+v, want %+v", variable, want)
		}
	}
	for name, probe := range map[string]*corev1.Probe{
		"startup": container.StartupProbe, "readiness": container.ReadinessProbe, "liveness": container.LivenessProbe,
	} {
		if get := probe.HTTPGet; get.Scheme != corev1.URISchemeHTTPS || get.Port.String() != container.Ports[0].Name {
			t.Errorf("the %s probe asks %+v", name, get)
		}
	}
}

// TestRegistration: the APIService leads through the Service to the pod.
func TestRegistration(t *testing.T) {
	all := kustomize(t, kustomizeDir)
	set, container := server(t, all)
	registered := decoded[*apiregistrationv1.APIService](t, all, "APIService/v1alpha1.arl.io")
	if got := registered.Spec.Group + "/" + registered.Spec.Version; got != v1alpha1.SchemeGroupVersion.String() {
		t.Errorf("registered is %s, served %s", got, v1alpha1.SchemeGroupVersion)
	}
	if registered.Spec.InsecureSkipTLSVerify {
		t.Error("kube-apiserver would trust anybody")
	}
	service := decoded[*corev1.Service](t, all, "Service/"+registered.Spec.Service.Name)
	port := service.Spec.Ports[0]
	if registered.Spec.Service.Namespace != service.Namespace || *registered.Spec.Service.Port != port.Port {
		t.Errorf("the APIService leads to %+v, the Service is %+v", registered.Spec.Service, service.Spec.Ports)
	}
	if port.TargetPort.String() != container.Ports[0].Name {
		t.Errorf("the Service leads to the port %s, the container has %s", port.TargetPort.String(), container.Ports[0].Name)
	}
	if !labels.SelectorFromSet(service.Spec.Selector).Matches(labels.Set(set.Spec.Template.Labels)) {
		t.Errorf("the Service selects %v, the pod has %v", service.Spec.Selector, set.Spec.Template.Labels)
	}
	if set.Spec.ServiceName != service.Name {
		t.Errorf("the StatefulSet's Service is %s", set.Spec.ServiceName)
	}
	// The server makes its certificate for this name.
	var o options.Options
	o.Cluster.ServiceName, o.Cluster.ServiceNamespace = options.New().Cluster.ServiceName, set.Namespace
	if want := service.Name + "." + service.Namespace + ".svc"; o.Cluster.ServiceHosts()[0] != want {
		t.Errorf("the server's name is %s, its Service's %s", o.Cluster.ServiceHosts()[0], want)
	}
}

// poolPod is a pod of the example's pool, as the server would make it.
func poolPod(t *testing.T) *corev1.Pod {
	t.Helper()
	for _, object := range examples(t, "kubernetes.yaml") {
		pool, ok := decode(t, object, codecs().UniversalDeserializer()).(*v1alpha1.WarmPool)
		if !ok {
			continue
		}
		built, err := podspec.Build(podruntime.Spec{
			Key:  podruntime.Key{Namespace: "default", Name: "pod"},
			Pool: pool.Name, PoolUID: "uid", TemplateHash: "hash", WorkDir: "/workspace", Template: &pool.Spec.Template,
		}, podspec.Agent{Image: "arl", Port: podspec.DefaultPort, ClientCA: []byte("authority")})
		if err != nil {
			t.Fatal(err)
		}
		return built
	}
	t.Fatal("there is no pool")
	return nil
}

// TestBudgetSelectsPodsInUse: idle pods may be taken. A budget that reckons with the pool's scale would
// take the number of idle pods for that of pods in use.
func TestBudgetSelectsPodsInUse(t *testing.T) {
	budget := decoded[*policyv1.PodDisruptionBudget](t, kustomize(t, poolBudgetDir), "PodDisruptionBudget/arl-sandboxes-in-use").Spec
	selector, err := metav1.LabelSelectorAsSelector(budget.Selector)
	if err != nil {
		t.Fatal(err)
	}
	idle := poolPod(t).Labels
	used := labels.Merge(idle, labels.Set{podruntime.LabelSandbox: "box"})
	if selector.Matches(labels.Set(idle)) || !selector.Matches(used) {
		t.Errorf("it selects idle pods: %v, pods in use: %v", selector.Matches(labels.Set(idle)), selector.Matches(used))
	}
	if budget.MaxUnavailable != nil || budget.MinAvailable == nil || budget.MinAvailable.Type != intstr.Int || budget.MinAvailable.IntVal != math.MaxInt32 {
		t.Errorf("it allows %v to be unavailable and wants %v", budget.MaxUnavailable, budget.MinAvailable)
	}
}

// TestNetworkPoliciesSelectThePods: of pools, and of the server.
func TestNetworkPoliciesSelectThePods(t *testing.T) {
	all := kustomize(t, poolNetworkDir)
	set, container := server(t, kustomize(t, kustomizeDir))
	built := poolPod(t)
	matches := func(selector *metav1.LabelSelector, of map[string]string) bool {
		parsed, err := metav1.LabelSelectorAsSelector(selector)
		if err != nil {
			t.Fatal(err)
		}
		return parsed.Matches(labels.Set(of))
	}
	for key := range all {
		if selector := decoded[*networkingv1.NetworkPolicy](t, all, key).Spec.PodSelector; !matches(&selector, built.Labels) {
			t.Errorf("%s does not select a pod of a pool", key)
		} else if matches(&selector, set.Spec.Template.Labels) {
			t.Errorf("%s selects the server", key)
		}
	}
	rules := decoded[*networkingv1.NetworkPolicy](t, all, "NetworkPolicy/arl-pools-ingress").Spec.Ingress
	if len(rules) != 1 || len(rules[0].From) != 1 || len(rules[0].Ports) != 1 {
		t.Fatalf("rules for ingress: %+v", rules)
	}
	from := rules[0].From[0]
	if !matches(from.PodSelector, set.Spec.Template.Labels) || !matches(from.NamespaceSelector, map[string]string{corev1.LabelMetadataName: systemNamespace}) {
		t.Error("the server is not let in")
	}
	open := rules[0].Ports[0].Port.String()
	ports := built.Spec.Containers[0].Ports
	if len(ports) != 1 || ports[0].Name != open || ports[0].ContainerPort != podspec.DefaultPort {
		t.Errorf("the port %s is open, agents have %+v", open, ports)
	}
	own := decoded[*networkingv1.NetworkPolicy](t, kustomize(t, kustomizeDir), "NetworkPolicy/arl-apiserver").Spec
	if !matches(&own.PodSelector, set.Spec.Template.Labels) || own.Ingress[0].Ports[0].Port.String() != container.Ports[0].Name {
		t.Errorf("the server's own: %+v", own)
	}
}

// TestPolicyReservesWhatPodsAreKnownBy: each label and annotation that the server puts on a pod is
// reserved for it, under the name that its ServiceAccount has.
func TestPolicyReservesWhatPodsAreKnownBy(t *testing.T) {
	all := kustomize(t, kustomizeDir)
	policy := decoded[*admissionregistrationv1.ValidatingAdmissionPolicy](t, all, "ValidatingAdmissionPolicy/arl-pool-pods").Spec
	set, _ := server(t, all)
	user := "'system:serviceaccount:" + set.Namespace + ":" + set.Spec.Template.Spec.ServiceAccountName + "'"
	if got := policy.MatchConditions[0].Expression; !strings.HasSuffix(got, "!= "+user) {
		t.Errorf("the policy holds where %s, the server is %s", got, user)
	}
	built := poolPod(t)
	labels := []string{podruntime.LabelSandbox} // of pods in use
	for key := range built.Labels {
		labels = append(labels, key)
	}
	for _, label := range labels {
		if strings.HasPrefix(label, v1alpha1.GroupName+"/") && !strings.Contains(policy.Validations[0].Expression, "'"+label+"'") {
			t.Errorf("the label %s is not reserved", label)
		}
	}
	for annotation := range built.Annotations {
		if strings.HasPrefix(annotation, v1alpha1.GroupName+"/") && !strings.Contains(policy.Validations[1].Expression, "'"+annotation+"'") {
			t.Errorf("the annotation %s is not reserved", annotation)
		}
	}
	binding := decoded[*admissionregistrationv1.ValidatingAdmissionPolicyBinding](t, all, "ValidatingAdmissionPolicyBinding/arl-pool-pods").Spec
	if binding.PolicyName != "arl-pool-pods" || binding.MatchResources != nil {
		t.Errorf("the binding is %+v", binding)
	}
}
