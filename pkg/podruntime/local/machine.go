package local

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/opencontainers/cgroups"
	"github.com/opencontainers/cgroups/manager"
	"k8s.io/klog/v2"

	"arl.io/arl/pkg/podruntime/local/idrange"
	"arl.io/arl/pkg/podruntime/local/launch"
)

// machine is what this machine lets the runtime do, found out once.
type machine struct {
	rootless bool
	// cgroups: pods get one each, with their limits.
	cgroups bool
	// memoryDir holds a directory for the cgroup of memory of each pod; empty if there are none.
	memoryDir string
	// shifts: mounts can shift the owners of images' files to the users of a pod. Otherwise the users of
	// every pod are those of the machine, root included, so that the owners need no shift.
	shifts bool
}

// examine finds out what this machine can do. What is missing and can be done
// without is logged; doctor says how to mend it.
func examine(ctx context.Context, config *Config) (machine, error) {
	logger := klog.FromContext(ctx)
	m := machine{rootless: os.Geteuid() != 0}
	if m.rootless {
		return m, nil
	}
	if err := launch.MakeCgroup(config.CgroupParent, launch.AllPodsProcesses()); err != nil {
		logger.Error(err, "Pods run without limits of CPU, memory and processes")
	} else {
		m.cgroups = true
		if parent, err := manager.New(launch.CgroupConfig("pod", launch.Cgroup{Parent: config.CgroupParent})); err == nil && parent.Path("memory") != "" {
			m.memoryDir = filepath.Dir(parent.Path("memory"))
		}
	}
	ids := config.UserIDs
	ns, err := launch.NewUserNS(launch.IDRange{Base: ids.First, Size: min(ids.Size, idrange.PerPod)})
	if err != nil {
		return machine{}, fmt.Errorf("this machine does not allow user namespaces with the user IDs %v (run arl-apiserver doctor): %w", ids, err)
	}
	defer ns.Close()
	if err := launch.CheckIDMap(filepath.Join(config.Dir, imagesName), ns); err != nil {
		logger.Info("Images cannot be mounted with shifted owners: root of a container is root in its own user namespace only, but owns files of root",
			"reason", err.Error())
		return m, nil
	}
	m.shifts = true
	return m, nil
}

func (m *machine) removeCgroupParent(name string) error {
	if !m.cgroups {
		return nil
	}
	return launch.RemoveCgroup(name)
}

// podCgroup returns the manager of a pod's cgroup, or nil if pods have none.
func (m *machine) podCgroup(uid string, config launch.Cgroup) (cgroups.Manager, error) {
	if !m.cgroups {
		return nil, nil
	}
	cgroup, err := manager.New(launch.CgroupConfig(uid, config))
	if err != nil {
		return nil, fmt.Errorf("cgroup of the pod: %w", err)
	}
	return cgroup, nil
}
