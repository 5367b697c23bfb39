package options

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/pflag"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apiserver/pkg/admission/plugin/resourcequota"
	genericoptions "k8s.io/apiserver/pkg/server/options"
	cliflag "k8s.io/component-base/cli/flag"

	"arl.io/arl/pkg/podruntime/kube"
	"arl.io/arl/pkg/podruntime/kube/podspec"
)

// Environment variables by which a pod learns who it is, and defaults of the
// Service in front of the server.
const (
	PodNameVariable         = "POD_NAME"
	PodNamespaceVariable    = "POD_NAMESPACE"
	defaultServiceNamespace = "arl-system"
	defaultServiceName      = "arl-apiserver"
)

// ClusterOptions are the flags of a server that stands behind the API server of
// a cluster, which it asks who may do what and has pods made by.
type ClusterOptions struct {
	CoreAPI        *genericoptions.CoreAPIOptions
	Authentication *genericoptions.DelegatingAuthenticationOptions
	Authorization  *genericoptions.DelegatingAuthorizationOptions
	Features       *genericoptions.FeatureOptions
	Admission      *genericoptions.AdmissionOptions

	// ServiceNamespace and ServiceName name the Service in front of this server:
	// the serving certificate is for it.
	ServiceNamespace, ServiceName string
	// PublishCA says to keep the APIService's caBundle up to date.
	PublishCA bool
	// PodName and PodNamespace are this server's own pod, empty outside of one.
	PodName, PodNamespace string
	// QPS and Burst limit the requests about pods.
	QPS   float32
	Burst int

	Pods PodOptions
}

// PodOptions are the flags of the runtime that makes pods in a cluster.
type PodOptions struct {
	// AgentImage holds the agent; empty means the image of this server's own pod.
	AgentImage string
	// AgentImagePullPolicy is how nodes get it; empty means as for this
	// server's own pod, or the cluster's default.
	AgentImagePullPolicy string
	// AgentPort is where agents listen.
	AgentPort int32
	// AgentReach is how agents are reached, a kube.Reach.
	AgentReach string
	// Namespaces are those whose pods are looked at; empty means all.
	Namespaces []string
	// NonRoot has pods run as another user than root unless their template says otherwise.
	NonRoot bool
	// StartTimeout bounds the wait for an agent's answer.
	StartTimeout time.Duration
	// DeleteTimeout is how long a node gets to end a pod.
	DeleteTimeout time.Duration
}

func newClusterOptions() ClusterOptions {
	o := ClusterOptions{
		CoreAPI:        genericoptions.NewCoreAPIOptions(),
		Authentication: genericoptions.NewDelegatingAuthenticationOptions(),
		Authorization:  genericoptions.NewDelegatingAuthorizationOptions(),
		Features:       genericoptions.NewFeatureOptions(),
		Admission:      genericoptions.NewAdmissionOptions(),
		ServiceName:    defaultServiceName,
		PublishCA:      true,
		QPS:            200,
		Burst:          400,
		Pods: PodOptions{
			AgentPort:     podspec.DefaultPort,
			AgentReach:    string(kube.Auto),
			StartTimeout:  kube.DefaultStartTimeout,
			DeleteTimeout: kube.DefaultDeleteTimeout,
		},
	}
	// Quotas count objects of ours as well as others.
	resourcequota.Register(o.Admission.Plugins)
	o.Admission.RecommendedPluginOrder = append(o.Admission.RecommendedPluginOrder, resourcequota.PluginName)
	return o
}

// addFlags adds the flags to sets of their own, and returns their names.
func (o *ClusterOptions) addFlags(sets *cliflag.NamedFlagSets) []string {
	own := &cliflag.NamedFlagSets{}
	fs := own.FlagSet("cluster")
	fromLibrary(fs, o.CoreAPI.AddFlags)
	fs.Lookup("kubeconfig").Usage = "Kubeconfig of the cluster. Default: the service account of this server's pod."
	fs.StringVar(&o.ServiceNamespace, "service-namespace", o.ServiceNamespace,
		"Namespace of the Service in front of this server. Default: that of this server's pod, else "+defaultServiceNamespace+".")
	fs.StringVar(&o.ServiceName, "service-name", o.ServiceName,
		"Name of the Service in front of this server. The serving certificate is for it.")
	fs.BoolVar(&o.PublishCA, "publish-ca", o.PublishCA,
		"Keep the caBundle of the APIService up to date with this server's own certificate authority. Not with --tls-cert-file.")
	fs.Float32Var(&o.QPS, "kube-api-qps", o.QPS, "Requests about pods per second, in the long run.")
	fs.IntVar(&o.Burst, "kube-api-burst", o.Burst, "Requests about pods that may be made at once.")
	fromLibrary(fs, o.Features.AddFlags)

	fromLibrary(own.FlagSet("authentication"), o.Authentication.AddFlags)
	fromLibrary(own.FlagSet("authorization"), o.Authorization.AddFlags)
	fromLibrary(own.FlagSet("admission"), o.Admission.AddFlags)
	o.Pods.addFlags(own.FlagSet("pods in a cluster"))

	var names []string
	for _, name := range own.Order {
		set := sets.FlagSet(name)
		own.FlagSets[name].VisitAll(func(f *pflag.Flag) {
			names = append(names, f.Name)
			set.AddFlag(f)
		})
	}
	return names
}

func (o *PodOptions) addFlags(fs *pflag.FlagSet) {
	fs.StringVar(&o.AgentImage, "agent-image", o.AgentImage,
		"Image that brings the agent into pods. Default: the image of this server's own pod.")
	fs.StringVar(&o.AgentImagePullPolicy, "agent-image-pull-policy", o.AgentImagePullPolicy,
		"Always, IfNotPresent or Never. Default: as for this server's own pod.")
	fs.Int32Var(&o.AgentPort, "agent-port", o.AgentPort, "The port at which agents listen in their pods.")
	fs.StringVar(&o.AgentReach, "agent-reach", o.AgentReach,
		"How agents are reached: direct, by the pod's address; tunnel, through the cluster's API server; auto, directly if that works.")
	fs.StringSliceVar(&o.Namespaces, "pod-namespaces", o.Namespaces,
		"Namespaces in which pools may have pods. Default: all.")
	fs.BoolVar(&o.NonRoot, "pods-run-as-non-root", o.NonRoot,
		"Have pods refused to run as root, unless their template says runAsNonRoot: false.")
	fs.DurationVar(&o.StartTimeout, "pod-start-timeout", o.StartTimeout,
		"How long an agent may take to answer once its container runs.")
	fs.DurationVar(&o.DeleteTimeout, "pod-delete-timeout", o.DeleteTimeout,
		"How long a node gets to end a pod before it is removed by force.")
}

// complete fills in what the environment says.
func (o *ClusterOptions) complete() {
	o.PodName, o.PodNamespace = os.Getenv(PodNameVariable), os.Getenv(PodNamespaceVariable)
	if o.ServiceNamespace == "" {
		o.ServiceNamespace = o.PodNamespace
	}
	if o.ServiceNamespace == "" {
		o.ServiceNamespace = defaultServiceNamespace
	}
	// One kubeconfig is enough for all that is asked of the cluster.
	if o.Authentication.RemoteKubeConfigFile == "" {
		o.Authentication.RemoteKubeConfigFile = o.CoreAPI.CoreAPIKubeconfigPath
	}
	if o.Authorization.RemoteKubeConfigFile == "" {
		o.Authorization.RemoteKubeConfigFile = o.CoreAPI.CoreAPIKubeconfigPath
	}
}

// ServiceHosts are the names by which the cluster reaches the Service.
func (o *ClusterOptions) ServiceHosts() []string {
	host := o.ServiceName + "." + o.ServiceNamespace + ".svc"
	return []string{host, host + ".cluster.local"}
}

func (o *ClusterOptions) validate() error {
	var errs []error
	wrong := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	for _, name := range []struct{ flag, value string }{{"service-name", o.ServiceName}, {"service-namespace", o.ServiceNamespace}} {
		if msgs := validation.IsDNS1123Label(name.value); len(msgs) > 0 {
			wrong("--%s: %q: %s", name.flag, name.value, strings.Join(msgs, ", "))
		}
	}
	if o.QPS <= 0 {
		wrong("--kube-api-qps: must be more than 0, is %v", o.QPS)
	}
	if o.Burst < 1 {
		wrong("--kube-api-burst: must be at least 1, is %d", o.Burst)
	}
	if o.CoreAPI.CoreAPIKubeconfigPath == "" && os.Getenv("KUBERNETES_SERVICE_HOST") == "" {
		wrong("--standalone: must be given for a server without a cluster; this is no pod of a cluster, and no --kubeconfig leads to one")
	}
	if o.Pods.AgentImage == "" && (o.PodName == "" || o.PodNamespace == "") {
		wrong("--agent-image: must be given, unless the environment variables %s and %s name this server's own pod",
			PodNameVariable, PodNamespaceVariable)
	}
	errs = append(errs, o.Pods.validate()...)
	for _, part := range []interface{ Validate() []error }{o.Authentication, o.Authorization, o.Features, o.Admission} {
		errs = append(errs, part.Validate()...)
	}
	return errors.Join(errs...)
}

func (o *PodOptions) validate() (errs []error) {
	wrong := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if reaches := []string{string(kube.Auto), string(kube.Direct), string(kube.Tunnel)}; !slices.Contains(reaches, o.AgentReach) {
		wrong("--agent-reach: must be one of %s, is %q", strings.Join(reaches, ", "), o.AgentReach)
	}
	policies := []string{"", string(corev1.PullAlways), string(corev1.PullIfNotPresent), string(corev1.PullNever)}
	if !slices.Contains(policies, o.AgentImagePullPolicy) {
		wrong("--agent-image-pull-policy: must be one of %s, is %q", strings.Join(policies[1:], ", "), o.AgentImagePullPolicy)
	}
	if o.AgentPort < 1 || o.AgentPort > 65535 {
		wrong("--agent-port: must be 1 to 65535, is %d", o.AgentPort)
	}
	for _, namespace := range o.Namespaces {
		if msgs := validation.IsDNS1123Label(namespace); len(msgs) > 0 {
			wrong("--pod-namespaces: %q: %s", namespace, strings.Join(msgs, ", "))
		}
	}
	for flag, value := range map[string]time.Duration{"pod-start-timeout": o.StartTimeout, "pod-delete-timeout": o.DeleteTimeout} {
		if value <= 0 {
			wrong("--%s: must be more than 0, is %s", flag, value)
		}
	}
	return errs
}
