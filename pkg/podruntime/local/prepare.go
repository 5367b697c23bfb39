package local

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"

	corev1 "k8s.io/api/core/v1"

	"arl.io/arl/pkg/agent/wire"
	"arl.io/arl/pkg/podruntime/local/image"
	"arl.io/arl/pkg/podruntime/local/launch"
)

// prepare makes all files of a pod and says how to start it.
func (r *Runtime) prepare(p *pod, source image.Image) (launch.Spec, error) {
	plan, uid := p.plan, p.pod.UID
	ids := r.machine.idsOf(p.users)
	as, err := plan.accountOf(source.Rootfs, source.Config, ids.Size)
	if err != nil {
		return launch.Spec{}, err
	}
	spec := launch.Spec{
		ID: string(uid), StatePath: r.podPath(uid, processName), LogPath: r.podPath(uid, logName),
		IDs: ids, Owner: p.users.Owner, Rootless: r.machine.rootless,
		Hostname: plan.hostname, Dir: plan.dirOf(source.Config),
		UID: as.uid, GID: as.gid, Groups: as.groups, Capabilities: plan.capabilities, Env: plan.environment(source.Config, as), Cgroup: plan.cgroup,
		Args: []string{agentTarget, "serve", "--listen-fd", strconv.Itoa(launch.ListenFD),
			"--pod-uid", string(uid), "--work-dir", plan.workDir, "--log-limit", strconv.Itoa(logLimit)},
		Mounts: []launch.Mount{{Source: r.config.AgentPath, Target: agentTarget, ReadOnly: true, Shared: true}},
	}
	if !slices.ContainsFunc(plan.env, func(v corev1.EnvVar) bool { return v.Name == "HOME" }) {
		spec.Args = append(spec.Args, "--home", homeTarget)
	}
	if launch.CountsOOM(plan.cgroup) {
		spec.Args = append(spec.Args, "--"+wire.MemoryEventsFlag, strconv.Itoa(launch.MemoryEventsFD),
			"--"+wire.MemoryLimitFlag, strconv.FormatInt(plan.cgroup.MemoryBytes, 10))
	}
	if plan.probes != "" {
		spec.Args = append(spec.Args, "--"+wire.ProbesFlag, plan.probes)
	}
	spec.Args = append(append(spec.Args, "--"), plan.commandOf(source.Config)...)
	files := &podFiles{dir: r.podDir(uid), ids: ids, keepOwners: !r.machine.rootless}
	if spec.Filter, err = r.filters.of(plan.capabilities); err != nil {
		return launch.Spec{}, err
	}
	if plan.host {
		err = files.addHost(r.config.Dir)
	} else {
		err = files.addImage(source.Rootfs, r.machine.shifts)
	}
	if err != nil {
		return launch.Spec{}, fmt.Errorf("preparing the pod's files: %w", err)
	}
	if err := files.furnish(plan, as); err != nil {
		return launch.Spec{}, fmt.Errorf("preparing the pod's files: %w", err)
	}
	volumes, err := files.volumes(plan.volumes)
	if err != nil {
		return launch.Spec{}, fmt.Errorf("preparing the pod's volumes: %w", err)
	}
	spec.Rootfs, spec.Hidden = files.rootfs, files.hidden
	spec.Mounts = append(append(spec.Mounts, files.mounts...), volumes...)
	return spec, nil
}

// addImage makes the root an overlay on an unpacked image.
func (f *podFiles) addImage(rootfs string, shifted bool) error {
	upper, work := filepath.Join(f.dir, upperName), filepath.Join(f.dir, workName)
	l := layer{target: ".", lower: rootfs, upper: upper}
	if shifted {
		l.shift = f.ids.Base
	}
	f.layers = append(f.layers, l)
	f.rootfs = launch.Rootfs{IDMapped: shifted, Overlays: []launch.Overlay{{Target: ".", Lower: rootfs, Upper: upper, Work: work}}}
	if err := f.copyDir(l, ".", "."); err != nil {
		return err
	}
	return f.mkdir(work, 0o700, 0, 0)
}

// volumes makes the folders of emptyDir volumes, each once however often it is mounted.
func (f *podFiles) volumes(volumes []volume) ([]launch.Mount, error) {
	var mounts []launch.Mount
	for _, v := range volumes {
		mount := launch.Mount{Target: v.target, ReadOnly: v.readOnly, SizeBytes: v.sizeBytes}
		if !v.memory {
			mount.Source = filepath.Join(f.dir, volumesName, v.name)
			if err := os.MkdirAll(filepath.Dir(mount.Source), 0o700); err != nil {
				return nil, err
			}
			if _, err := os.Lstat(mount.Source); err != nil {
				if err := f.mkdir(mount.Source, 0o777, f.ids.Base, f.ids.Base); err != nil {
					return nil, err
				}
			}
		}
		mounts = append(mounts, mount)
	}
	return mounts, nil
}
