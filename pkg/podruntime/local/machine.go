package local

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/opencontainers/cgroups"
	"github.com/opencontainers/cgroups/manager"
	"k8s.io/klog/v2"

	"arl.io/arl/pkg/podruntime/local/launch"
)

// machine is what this machine lets the runtime do, found out once.
type machine struct {
	rootless bool
	// cgroups: pods get one each, with their limits.
	cgroups bool
	// ids is the range of users of containers.
	ids launch.IDRange
	// userNS shifts the owners of images' files to ids; nil if the file system
	// does not take such a mount. Then ids begins at 0, so that they need no shift.
	userNS *os.File
}

// examine finds out what this machine can do. What is missing and can be done
// without is logged; doctor says how to mend it.
func examine(ctx context.Context, config *Config) (machine, error) {
	logger := klog.FromContext(ctx)
	m := machine{rootless: os.Geteuid() != 0, ids: podIDs}
	if m.rootless {
		m.ids = launch.IDRange{Base: os.Geteuid(), Size: 1}
		return m, nil
	}
	if err := launch.MakeCgroup(config.CgroupParent); err != nil {
		logger.Error(err, "Pods run without limits of CPU, memory and processes")
	} else {
		m.cgroups = true
	}
	ns, err := launch.NewUserNS(podIDs)
	if err != nil {
		return machine{}, fmt.Errorf("this machine does not allow user namespaces (see user.max_user_namespaces): %w", err)
	}
	if err := launch.CheckIDMap(filepath.Join(config.Dir, imagesName), ns); err != nil {
		logger.Info("Images cannot be mounted with shifted owners: root of a container is root in its own user namespace only, but owns files of root",
			"reason", err.Error())
		m.ids = launch.IDRange{Base: 0, Size: podIDs.Size}
		return m, ns.Close()
	}
	m.userNS = ns
	return m, nil
}

func (m *machine) close() error {
	if m.userNS == nil {
		return nil
	}
	return m.userNS.Close()
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
