// Package options holds the flags of arl-apiserver: what they default to, how
// they are completed and what makes them invalid. It builds nothing; package
// app does that from completed options.
package options

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"time"

	"github.com/spf13/pflag"
	"k8s.io/apimachinery/pkg/api/resource"
	genericoptions "k8s.io/apiserver/pkg/server/options"
	cliflag "k8s.io/component-base/cli/flag"
	"k8s.io/component-base/logs"
	logsapi "k8s.io/component-base/logs/api/v1"

	"arl.io/arl/pkg/podruntime/local"
	"arl.io/arl/pkg/podruntime/local/idrange"
	"arl.io/arl/pkg/podruntime/local/image"
)

// DefaultPort is the port a server listens on unless told otherwise.
const DefaultPort = 7443

// DefaultStorageLimit is what builds and data sets of most tasks fit into.
const DefaultStorageLimit = "10Gi"

// clusterParallelism is how many pods are started at the same time in a
// cluster, where this machine's processors do not bound it.
const clusterParallelism = 32

// minTaskRetentionBytes holds several of the largest tasks.
const minTaskRetentionBytes = 16 << 20

// Options are the flags of the server. New fills in the defaults.
type Options struct {
	// Standalone says that this process is a whole installation on one machine.
	// Otherwise it stands behind the API server of a cluster.
	Standalone bool
	// CreateNamespaces says that a standalone server creates a missing namespace
	// with the first object in it.
	CreateNamespaces bool
	// DataDir holds all state: database, certificates, kubeconfig, containers.
	DataDir string

	Serving    *genericoptions.SecureServingOptions
	Audit      *genericoptions.AuditOptions
	Logs       *logs.Options
	Storage    StorageOptions
	Encryption EncryptionOptions
	Runtime    RuntimeOptions
	Scheduler  SchedulerOptions
	Cluster    ClusterOptions

	// MaxRequestsInFlight and MaxMutatingRequestsInFlight bound the requests
	// that are answered at the same time; more get 429.
	MaxRequestsInFlight         int
	MaxMutatingRequestsInFlight int
	// ShutdownTimeout bounds how long a stopping server waits for open requests.
	ShutdownTimeout time.Duration

	flags cliflag.NamedFlagSets
	// clusterFlags and localFlags are those of one mode alone.
	clusterFlags, localFlags []string
}

// StorageOptions are the flags of the storage engine.
type StorageOptions struct {
	// Retention is how long old revisions are kept for watches and paginated lists.
	Retention time.Duration
	// RetentionBytes bounds the memory that old revisions take.
	RetentionBytes ByteSize
	// MinFree is the free space below which creates and updates are refused.
	MinFree ByteSize
}

// RuntimeOptions are the flags of the local container runtime.
type RuntimeOptions struct {
	// AgentPath is the arl-agent binary that is started in every pod.
	AgentPath string
	// AllowHostImage permits the image "host".
	AllowHostImage bool
	// RegistryMirrors are registries that are asked in place of others, as REGISTRY=URL.
	RegistryMirrors []string
	// PodMemory bounds the memory of pods whose template has no limit; 0 means not at all.
	PodMemory ByteSize
	// PodUserIDs are the machine's user IDs that pods get.
	PodUserIDs idrange.Range
	// StorageLimit is the limit of ephemeral-storage of pods whose template has none; 0 means none.
	StorageLimit ByteSize
	// Parallelism is how many pods are started at the same time.
	Parallelism int
	// Images say when images that no pod uses are removed.
	Images image.Watermarks
}

// SchedulerOptions are the flags of the scheduler.
type SchedulerOptions struct {
	// TaskRetention is how long finished tasks without a TTL are kept.
	TaskRetention time.Duration
	// TaskRetentionBytes bounds the size of all finished tasks that are not to be retained.
	TaskRetentionBytes ByteSize
	// MaxExecutions bounds the tasks that run at the same time, in all sandboxes together.
	MaxExecutions int
}

// New returns the options of a server started without flags.
func New() *Options {
	serving := genericoptions.NewSecureServingOptions()
	serving.BindAddress = net.IPv4(127, 0, 0, 1)
	serving.BindPort = DefaultPort
	serving.HTTP2MaxStreamsPerConnection = 1000
	return &Options{
		Serving: serving,
		Audit:   genericoptions.NewAuditOptions(),
		Logs:    logs.NewOptions(),
		Storage: StorageOptions{
			Retention:      5 * time.Minute,
			RetentionBytes: ByteSize{resource.MustParse("256Mi")},
			MinFree:        ByteSize{resource.MustParse("64Mi")},
		},
		Runtime: RuntimeOptions{
			Parallelism:  2 * runtime.NumCPU(),
			PodUserIDs:   idrange.Default,
			PodMemory:    ByteSize{*resource.NewQuantity(local.DefaultMemory(), resource.BinarySI)},
			StorageLimit: ByteSize{resource.MustParse(DefaultStorageLimit)},
			Images: image.Watermarks{
				HighPercent: image.DefaultHighPercent, LowPercent: image.DefaultLowPercent, MinAge: image.DefaultMinAge,
			},
		},
		Scheduler: SchedulerOptions{
			TaskRetention: time.Hour, TaskRetentionBytes: ByteSize{resource.MustParse("1Gi")}, MaxExecutions: 1024,
		},
		Cluster:                     newClusterOptions(),
		MaxRequestsInFlight:         4000,
		MaxMutatingRequestsInFlight: 2000,
		ShutdownTimeout:             15 * time.Second,
	}
}

// Flags returns the flags, grouped for help. To be called once.
func (o *Options) Flags() cliflag.NamedFlagSets {
	sets := &o.flags
	fs := sets.FlagSet("mode")
	fs.BoolVar(&o.Standalone, "standalone", o.Standalone,
		"Run as a whole installation on this machine: own certificates, own kubeconfig, pods as local containers. "+
			"Otherwise this server is part of a cluster, behind the cluster's API server.")
	fs.BoolVar(&o.CreateNamespaces, "create-namespaces", o.CreateNamespaces,
		"With --standalone: an object that is created in a namespace that does not exist creates the namespace, too. "+
			"Otherwise that is an error, as in Kubernetes. The namespace \"default\" always exists.")
	fs.StringVar(&o.DataDir, "data-dir", o.DataDir,
		"Directory of all state: database, certificates, kubeconfig and containers. Made if missing. One server at a time may use it. Required.")

	o.addStorageFlags(sets.FlagSet("storage"))
	o.addServingFlags(sets.FlagSet("serving"))
	o.clusterFlags = o.Cluster.addFlags(sets)
	o.addRuntimeFlags(sets.FlagSet("runtime"))
	o.localFlags = []string{"create-namespaces", "agent-path", "allow-host-image", "registry-mirror", "pod-user-ids", "pod-default-memory",
		"image-gc-high-threshold", "image-gc-low-threshold", "minimum-image-ttl-duration"}

	fs = sets.FlagSet("scheduler")
	fs.DurationVar(&o.Scheduler.TaskRetention, "task-retention", o.Scheduler.TaskRetention,
		"How long a finished task without ttlSecondsAfterFinished is kept. One with retentionPolicy Retain is kept until it is deleted.")
	fs.Var(&o.Scheduler.TaskRetentionBytes, "task-retention-size",
		"Size of all finished tasks above which the oldest are deleted before their time. "+
			"Tasks with retentionPolicy Retain do not count. 0: no bound.")
	fs.IntVar(&o.Scheduler.MaxExecutions, "max-executions", o.Scheduler.MaxExecutions,
		"How many tasks run at the same time. A namespace may have 7/8 of what others leave.")

	fromLibrary(sets.FlagSet("audit"), o.Audit.AddFlags)
	fromLibrary(sets.FlagSet("logs"), func(fs *pflag.FlagSet) { logsapi.AddFlags(o.Logs, fs) })
	return *sets
}

func (o *Options) addStorageFlags(fs *pflag.FlagSet) {
	fs.DurationVar(&o.Storage.Retention, "storage-retention", o.Storage.Retention,
		"How long old revisions are kept, for watches that resume and paginated lists.")
	fs.Var(&o.Storage.RetentionBytes, "storage-retention-size",
		"Memory, and disk for objects above 16 KiB, that old revisions may take; more are dropped before their time.")
	fs.Var(&o.Storage.MinFree, "storage-min-free",
		"Free disk space below which creates and updates are refused. Deletes go on. 0 turns the check off.")

	o.Encryption.addFlags(fs)
}

func (o *Options) addRuntimeFlags(fs *pflag.FlagSet) {
	fs.StringVar(&o.Runtime.AgentPath, "agent-path", o.Runtime.AgentPath,
		"With --standalone: the arl-agent binary that is started in every pod. Default: arl-agent beside this binary.")
	fs.BoolVar(&o.Runtime.AllowHostImage, "allow-host-image", o.Runtime.AllowHostImage,
		"With --standalone: permit pods of the image \"host\": this machine's own files, read-only beneath an overlay. For trying things out.")
	fs.StringArrayVar(&o.Runtime.RegistryMirrors, "registry-mirror", o.Runtime.RegistryMirrors,
		"With --standalone: REGISTRY=URL, such as docker.io=https://mirror.example.org: where to ask for the images of a registry first. "+
			"Can be repeated.")
	o.Runtime.AddPodUserIDs(fs)
	o.Runtime.AddPodMemory(fs)
	fs.IntVar(&o.Runtime.Images.HighPercent, "image-gc-high-threshold", o.Runtime.Images.HighPercent,
		"With --standalone: use of the disk, in percent, at which unused images are removed. 100: never.")
	fs.IntVar(&o.Runtime.Images.LowPercent, "image-gc-low-threshold", o.Runtime.Images.LowPercent,
		"With --standalone: use of the disk, in percent, down to which they are removed.")
	fs.DurationVar(&o.Runtime.Images.MinAge, "minimum-image-ttl-duration", o.Runtime.Images.MinAge,
		"With --standalone: how long an image is kept after its last use.")
	o.Runtime.AddStorageLimit(fs)
	fs.IntVar(&o.Runtime.Parallelism, "pod-start-parallelism", o.Runtime.Parallelism,
		"How many pods of all pools together start at the same time, each counted for 10 s at most. Default in a cluster: "+strconv.Itoa(clusterParallelism)+".")
}

// AddPodUserIDs adds the flag of commands that start pods or look at what they need.
func (o *RuntimeOptions) AddPodUserIDs(fs *pflag.FlagSet) {
	fs.Var(&o.PodUserIDs, "pod-user-ids", "With --standalone, as root: FIRST-LAST, user and group IDs for pods, "+
		strconv.Itoa(idrange.PerPod)+" each, that nobody else uses.")
}

// AddStorageLimit adds the flag of StorageLimit.
func (o *RuntimeOptions) AddStorageLimit(fs *pflag.FlagSet) {
	fs.Var(&o.StorageLimit, "pod-ephemeral-storage-limit",
		"Disk space above which a pod fails, unless its template limits ephemeral-storage. 0 means no limit.")
}

func (o *Options) addServingFlags(fs *pflag.FlagSet) {
	fromLibrary(fs, o.Serving.AddFlags)
	fs.Lookup("secure-port").Usage = "The port to serve HTTPS on. With --standalone, 0 picks a free one; the kubeconfig names it."
	fs.Lookup("bind-address").Usage = "The IP address to listen on. Default in a cluster: all addresses."
	fs.Lookup("tls-cert-file").Usage = "The certificate to serve with in a cluster, PEM, followed by those that signed it. " +
		"Default: one that the server's own authority signs."
	// Certificates have their place in the data directory.
	fs.Lookup("cert-dir").Hidden = true
	fs.IntVar(&o.MaxRequestsInFlight, "max-requests-inflight", o.MaxRequestsInFlight,
		"How many reading requests are answered at the same time; more get 429.")
	fs.IntVar(&o.MaxMutatingRequestsInFlight, "max-mutating-requests-inflight", o.MaxMutatingRequestsInFlight,
		"How many writing requests are answered at the same time; more get 429.")
	fs.DurationVar(&o.ShutdownTimeout, "shutdown-timeout", o.ShutdownTimeout,
		"How long a stopping server waits for open requests.")
}

// Complete fills in what other options or the environment decide.
func (o *Options) Complete() error {
	if o.DataDir != "" {
		dir, err := filepath.Abs(o.DataDir)
		if err != nil {
			return fmt.Errorf("--data-dir: %w", err)
		}
		o.DataDir = dir
	}
	if err := o.Encryption.complete(); err != nil {
		return err
	}
	if !o.Standalone {
		o.Cluster.complete()
		if !o.given("bind-address") {
			o.Serving.BindAddress = net.IPv4zero
		}
		if !o.given("pod-start-parallelism") {
			o.Runtime.Parallelism = clusterParallelism
		}
	}
	if o.Runtime.AgentPath == "" {
		self, err := os.Executable()
		if err != nil {
			return fmt.Errorf("find this binary's folder: %w", err)
		}
		o.Runtime.AgentPath = filepath.Join(filepath.Dir(self), "arl-agent")
	}
	agent, err := filepath.Abs(o.Runtime.AgentPath)
	if err != nil {
		return fmt.Errorf("--agent-path: %w", err)
	}
	o.Runtime.AgentPath = agent
	return nil
}

// given says whether a flag was given.
func (o *Options) given(name string) bool {
	for _, set := range o.flags.FlagSets {
		if f := set.Lookup(name); f != nil {
			return f.Changed
		}
	}
	return false
}

// validateMode returns what is wrong in the mode that was chosen.
func (o *Options) validateMode() (errs []error) {
	wrong := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	strangers, why := o.clusterFlags, "is for a server in a cluster, not with --standalone"
	if !o.Standalone {
		strangers, why = o.localFlags, "is for a server with --standalone, not in a cluster"
	}
	for _, name := range strangers {
		if o.given(name) {
			wrong("--%s: %s", name, why)
		}
	}
	if o.Standalone {
		if o.Serving.ServerCert.CertKey.CertFile != "" {
			wrong("--tls-cert-file: not with --standalone, which has a certificate of its own")
		}
		if _, err := image.ParseMirrors(o.Runtime.RegistryMirrors); err != nil {
			wrong("--registry-mirror: %w", err)
		}
		errs = append(errs, o.Runtime.validateImages()...)
		if err := o.validateAgentPath(); err != nil {
			errs = append(errs, err)
		}
		return errs
	}
	if o.Serving.BindPort == 0 {
		wrong("--secure-port: must not be 0 in a cluster: the Service has to know it")
	}
	if o.Serving.ServerCert.CertKey.CertFile != "" && o.Cluster.PublishCA && o.given("publish-ca") {
		wrong("--publish-ca: not with --tls-cert-file, whose authority this server does not know")
	}
	if err := o.Cluster.validate(); err != nil {
		errs = append(errs, err)
	}
	return errs
}

// AddPodMemory adds the flag of the memory of pods.
func (o *RuntimeOptions) AddPodMemory(fs *pflag.FlagSet) {
	fs.Var(&o.PodMemory, "pod-default-memory", "With --standalone: memory of pods whose template does not limit it. 0 means no limit. "+
		"Default: a quarter of the machine's.")
}

func (o *RuntimeOptions) validateImages() (errs []error) {
	if o.PodMemory.Sign() < 0 {
		errs = append(errs, fmt.Errorf("--pod-default-memory: must not be negative, is %s", &o.PodMemory))
	}
	high, low := o.Images.HighPercent, o.Images.LowPercent
	if high < 1 || high > 100 {
		errs = append(errs, fmt.Errorf("--image-gc-high-threshold: must be 1 to 100, is %d", high))
	}
	if low < 0 || low >= high {
		errs = append(errs, fmt.Errorf("--image-gc-low-threshold: must be below --image-gc-high-threshold, which is %d, is %d", high, low))
	}
	if o.Images.MinAge < 0 {
		errs = append(errs, fmt.Errorf("--minimum-image-ttl-duration: must not be negative, is %s", o.Images.MinAge))
	}
	return errs
}

func (o *Options) validateAgentPath() error {
	info, err := os.Stat(o.Runtime.AgentPath)
	if err != nil {
		return fmt.Errorf("--agent-path: %w; build it with 'make build' or name it", err)
	}
	if !info.Mode().IsRegular() || info.Mode().Perm()&0o111 == 0 {
		return fmt.Errorf("--agent-path: %s is not an executable file", o.Runtime.AgentPath)
	}
	return nil
}

// Validate returns everything that is wrong with completed options.
func (o *Options) Validate() error {
	var errs []error
	wrong := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	errs = append(errs, o.validateMode()...)
	if o.DataDir == "" {
		wrong("--data-dir: must be given, for instance --data-dir ./arl-data")
	}
	if o.Storage.Retention <= 0 {
		wrong("--storage-retention: must be more than 0, is %s", o.Storage.Retention)
	}
	if o.Storage.RetentionBytes.Value() < 1<<20 {
		wrong("--storage-retention-size: must be at least 1Mi, is %s", &o.Storage.RetentionBytes)
	}
	if o.Runtime.StorageLimit.Sign() < 0 {
		wrong("--pod-ephemeral-storage-limit: must not be negative, is %s", &o.Runtime.StorageLimit)
	}
	if o.Storage.MinFree.Value() < 0 {
		wrong("--storage-min-free: must not be negative, is %s", &o.Storage.MinFree)
	}
	if err := o.Encryption.validate(o.DataDir); err != nil {
		errs = append(errs, err)
	}
	for name, value := range map[string]int{
		"pod-start-parallelism":          o.Runtime.Parallelism,
		"max-executions":                 o.Scheduler.MaxExecutions,
		"max-requests-inflight":          o.MaxRequestsInFlight,
		"max-mutating-requests-inflight": o.MaxMutatingRequestsInFlight,
	} {
		if value < 1 {
			wrong("--%s: must be at least 1, is %d", name, value)
		}
	}
	if o.Scheduler.TaskRetention < 0 {
		wrong("--task-retention: must not be negative, is %s", o.Scheduler.TaskRetention)
	}
	if size := o.Scheduler.TaskRetentionBytes.Value(); size != 0 && size < minTaskRetentionBytes {
		wrong("--task-retention-size: must be at least 16Mi, or 0 for no bound, is %s", &o.Scheduler.TaskRetentionBytes)
	}
	if o.ShutdownTimeout <= 0 {
		wrong("--shutdown-timeout: must be more than 0, is %s", o.ShutdownTimeout)
	}
	errs = append(errs, o.Serving.Validate()...)
	errs = append(errs, o.Audit.Validate()...)
	return errors.Join(errs...)
}

// ByteSize is a flag that takes a quantity of bytes, such as 64Mi.
type ByteSize struct{ resource.Quantity }

// Set parses a quantity of bytes.
func (b *ByteSize) Set(text string) error {
	quantity, err := resource.ParseQuantity(text)
	if err != nil {
		return fmt.Errorf("%q is not a size such as 64Mi or 1G", text)
	}
	b.Quantity = quantity
	return nil
}

// Type names the kind of value in help texts.
func (b *ByteSize) Type() string { return "size" }
