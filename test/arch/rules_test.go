package arch

// rule says what the packages under a folder may import. Everything else is denied. Test files are
// free: they may build whatever they test with.
type rule struct {
	folder string
	// ours are the folders of this module that may be imported, with all below them; "=" before one
	// leaves out what is below.
	ours []string
	// others are the foreign modules or packages that may be imported, with all below them.
	others []string
	// std are the packages of the standard library that may be imported, with all below them. Nil
	// permits any but those in notStd.
	std, notStd []string
}

// pure is what code may import that only computes: nothing with which it could reach a file, a network,
// another process or a clock other than by the values it is given.
var pure = []string{
	"bytes", "cmp", "encoding", "errors", "fmt", "hash", "iter", "maps", "math", "path", "regexp", "slices", "sort",
	"strconv", "strings", "time", "unicode",
}

// network is what code must not import that works on one machine's files or memory alone.
var network = []string{"net"}

// machine is what code must not import that leaves files and processes to others.
var machine = []string{"os", "syscall", "net"}

const (
	machineryLib = "k8s.io/apimachinery"
	coreLib      = "k8s.io/api"
	serverLib    = "k8s.io/apiserver"
	clientLib    = "k8s.io/client-go"
	componentLib = "k8s.io/component-base"
	openapiLib   = "k8s.io/kube-openapi"
	utilsLib     = "k8s.io/utils"
	klogLib      = "k8s.io/klog/v2"
	syncLib      = "golang.org/x/sync"
	sysLib       = "golang.org/x/sys"
	imagesLib    = "github.com/google/go-containerregistry"
	cobraLib     = "github.com/spf13/cobra"
)

// rules has one rule for each folder with packages; the longest folder that matches counts.
var rules = []rule{
	// The API.
	{folder: "pkg/apis", ours: []string{"pkg/apis"}, std: pure,
		others: []string{machineryLib, coreLib, utilsLib, "sigs.k8s.io/randfill"}},

	// Storage.
	{folder: "pkg/storage/internal/mutation", std: pure},
	{folder: "pkg/storage/kv", ours: []string{"pkg/storage/kv", "pkg/storage/internal/mutation"}, notStd: network,
		others: []string{"go.etcd.io/bbolt", "github.com/google/btree", sysLib}},
	{folder: "pkg/storage/bolt", ours: []string{"pkg/storage/bolt", "pkg/storage/kv", "pkg/storage/internal/mutation"},
		notStd: []string{"os"},
		others: []string{
			machineryLib, serverLib + "/pkg/storage", serverLib + "/pkg/registry/generic", serverLib + "/pkg/features",
			serverLib + "/pkg/util", serverLib + "/pkg/audit", serverLib + "/pkg/endpoints/request",
			clientLib + "/tools/cache", klogLib, utilsLib,
		}},
	{folder: "pkg/storage/metrics", ours: []string{"pkg/storage/kv", "pkg/storage/bolt"}, notStd: machine,
		others: []string{componentLib + "/metrics"}},

	// Serving the API.
	{folder: "pkg/registry", ours: []string{"pkg/apis", "pkg/registry"}, notStd: []string{"os"},
		others: []string{
			machineryLib, coreLib, serverLib, clientLib + "/tools/cache", utilsLib, klogLib, "sigs.k8s.io/structured-merge-diff/v6",
		}},
	// Kubernetes' own kinds, of a standalone server. They know nothing of ours but how tables are printed.
	{folder: "pkg/registry/core", ours: []string{"pkg/registry/core", "pkg/registry/kind"}, notStd: []string{"os"},
		others: []string{machineryLib, coreLib, serverLib, utilsLib}},
	{folder: "pkg/apiserver", ours: []string{"pkg/apis", "pkg/apiserver", "pkg/registry", "pkg/generated/openapi", "pkg/oneshot"}, notStd: []string{"os"},
		others: []string{machineryLib, coreLib, serverLib, componentLib, openapiLib, utilsLib}},

	// The sandbox of a task, for the scheduler and for admission.
	{folder: "pkg/oneshot", ours: []string{"pkg/apis/arl/v1alpha1"}, std: append([]string{"crypto/sha256"}, pure...),
		others: []string{machineryLib, utilsLib}},

	// The scheduler.
	{folder: "pkg/scheduler/plan", ours: []string{"pkg/apis/arl/v1alpha1"}, std: pure},
	{folder: "pkg/scheduler/schedulertest", notStd: []string{"os"},
		ours: []string{
			"pkg/scheduler", "pkg/apis/arl/v1alpha1", "pkg/generated", "=pkg/podruntime", "pkg/agent/client", "pkg/agent/wire",
		},
		others: []string{machineryLib, coreLib, clientLib + "/testing", utilsLib, "github.com/google/uuid"}},
	{folder: "pkg/scheduler", notStd: []string{"os", "syscall"},
		ours: []string{
			"pkg/scheduler", "pkg/apis/arl/v1alpha1", "pkg/generated", "=pkg/podruntime", "pkg/agent/client", "pkg/agent/wire", "pkg/oneshot",
		},
		others: []string{
			machineryLib, clientLib + "/tools/cache", clientLib + "/util/workqueue", klogLib, utilsLib, syncLib, "github.com/google/btree",
		}},

	// Pods.
	{folder: "pkg/podruntime/kube", ours: []string{"=pkg/podruntime", "pkg/podruntime/kube", "pkg/agent/client", "pkg/agent/wire"},
		others: []string{machineryLib, coreLib, clientLib, klogLib, utilsLib, "k8s.io/streaming"}},
	{folder: "pkg/podruntime/local", ours: []string{"=pkg/podruntime", "pkg/podruntime/local", "pkg/agent/client", "pkg/agent/memory", "pkg/agent/tree", "pkg/agent/wire"},
		others: []string{
			machineryLib, coreLib, klogLib, utilsLib, imagesLib, sysLib, "github.com/cyphar/filepath-securejoin", "github.com/google/uuid", "github.com/klauspost/compress",
			"github.com/moby/sys", "github.com/opencontainers/cgroups", "github.com/opencontainers/runc",
		}},
	// The launcher starts fast because it links little: the server computes, the launcher installs.
	{folder: "pkg/podruntime/local/launch", ours: []string{"=pkg/podruntime/local/launch"},
		others: []string{sysLib, "github.com/opencontainers/cgroups", "github.com/opencontainers/runc"}},
	{folder: "pkg/podruntime/local/seccomp", std: pure,
		others: []string{
			sysLib, "golang.org/x/net/bpf", "github.com/elastic/go-seccomp-bpf", "github.com/moby/profiles/seccomp",
			"github.com/opencontainers/runtime-spec",
		}},
	{folder: "pkg/podruntime", ours: []string{"pkg/agent/client", "pkg/agent/wire"}, notStd: machine,
		others: []string{machineryLib, coreLib}},

	// The agent.
	{folder: "pkg/agent/wire", std: pure},
	{folder: "pkg/agent/client", ours: []string{"pkg/agent/wire"}, notStd: []string{"os"}, others: []string{syncLib}},
	{folder: "pkg/agent", ours: []string{"pkg/agent"}, others: []string{sysLib, "github.com/bluekeyes/go-gitdiff", "github.com/creack/pty"}},

	// Clients.
	{folder: "pkg/generated", ours: []string{"pkg/apis/arl/v1alpha1", "pkg/generated"},
		others: []string{machineryLib, coreLib, clientLib, openapiLib, "sigs.k8s.io/structured-merge-diff"}},
	{folder: "pkg/sdk", ours: []string{"pkg/apis/arl/v1alpha1", "pkg/generated/clientset"},
		others: []string{coreLib, machineryLib, clientLib, utilsLib}},

	// Commands. cmd/apiserver/app alone joins storage, scheduler and runtimes.
	{folder: "cmd/apiserver/app/options", ours: []string{"pkg/podruntime"},
		others: []string{coreLib, machineryLib, serverLib, componentLib, "github.com/spf13/pflag"}},
	{folder: "cmd/apiserver/app/pki", others: []string{clientLib, klogLib, utilsLib}},
	{folder: "cmd/apiserver/app/modes", others: []string{machineryLib, serverLib, clientLib + "/rest"}},
	{folder: "cmd/apiserver/app/listener", others: []string{serverLib, sysLib}},
	{folder: "cmd/apiserver/app/storageapi", ours: []string{"pkg/storage/kv"}, others: []string{serverLib, klogLib}},
	{folder: "cmd/apiserver/app/storagecmd", ours: []string{"cmd/apiserver/app/storageapi", "pkg/storage/kv"},
		others: []string{clientLib, utilsLib, cobraLib, "golang.org/x/term"}},
	{folder: "cmd/apiserver/app/standalone",
		ours: []string{
			"cmd/apiserver/app/listener", "cmd/apiserver/app/modes", "cmd/apiserver/app/options", "cmd/apiserver/app/pki", "pkg/apis",
			"pkg/apiserver", "pkg/generated/clientset", "pkg/podruntime", "pkg/registry/core",
		},
		others: []string{coreLib, machineryLib, serverLib, clientLib + "/rest", klogLib, utilsLib}},
	{folder: "cmd/apiserver/app/aggregated",
		ours: []string{
			"cmd/apiserver/app/listener", "cmd/apiserver/app/modes", "cmd/apiserver/app/options", "cmd/apiserver/app/pki", "pkg/apis",
			"=pkg/apiserver", "pkg/apiserver/tenancy", "pkg/podruntime",
		},
		others: []string{coreLib, machineryLib, serverLib, clientLib, componentLib, klogLib, utilsLib, "k8s.io/pod-security-admission"}},
	{folder: "cmd/apiserver/app",
		ours: []string{
			"cmd/apiserver/app", "pkg/apis", "pkg/apiserver", "pkg/generated", "pkg/podruntime", "pkg/registry", "pkg/scheduler", "pkg/storage",
		},
		others: []string{
			machineryLib, coreLib, serverLib, clientLib, componentLib, klogLib, utilsLib, syncLib, cobraLib, "github.com/spf13/pflag",
			"github.com/go-logr/logr",
		}},
	{folder: "cmd/apiserver", ours: []string{"cmd/apiserver/app", "pkg/podruntime/local"}, std: []string{"fmt", "os"},
		others: []string{serverLib, componentLib}},
	{folder: "cmd/launcher", ours: []string{"pkg/podruntime/local/launch"}, std: []string{"fmt", "os"}},
	{folder: "cmd/agent", ours: []string{"pkg/agent"}, others: []string{sysLib}},

	// Tools and what tests share.
	{folder: "hack/image", ours: []string{"hack/image"}, others: []string{imagesLib, cobraLib}},
	{folder: "hack/openapi-schema", ours: []string{"pkg/generated/openapi"}, others: []string{openapiLib}},
	{folder: "test/arch"},
	{folder: "test/bench",
		ours: []string{
			"pkg/apis", "pkg/apiserver", "pkg/generated", "pkg/storage", "test/bench", "test/harness",
		},
		others: []string{machineryLib, coreLib, serverLib, clientLib, klogLib, syncLib, "github.com/go-logr/logr"}},
	{folder: "test/cli"},
	{folder: "test/consistency"},
	{folder: "test/harness/intruder", others: []string{sysLib}},
	{folder: "test/harness", ours: []string{"pkg/generated"}, others: []string{machineryLib, clientLib}},
	{folder: "test/hostile"},
	// What runs in pods, built into the agent.
	{folder: "test/hostile/falseagent", ours: []string{"pkg/agent/wire"}, others: []string{utilsLib}},
	{folder: "test/hostile/step", others: []string{sysLib}},
	{folder: "test/integration"},
	{folder: "test/robustness", ours: []string{"test/robustness"}, others: []string{sysLib}},
	{folder: "test/space", ours: []string{"pkg/apis", "pkg/generated"}, others: []string{machineryLib, utilsLib}},
}
