package launch

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"

	"github.com/opencontainers/runc/libcontainer"
	"golang.org/x/sys/unix"
)

// launcherListenFD is where the launcher finds Means.Listener.
const launcherListenFD = 3

// launcherMain is the launcher: it answers on its standard output with an
// outcome, and its exit code says nothing more.
func launcherMain() (exitCode int) {
	out := outcome{}
	process, err := launch()
	if err != nil {
		out.Error = err.Error()
	}
	out.Process = process
	if err := json.NewEncoder(os.Stdout).Encode(out); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

func launch() (Process, error) {
	// A descriptor meant for this process alone must not reach the container.
	unix.CloseOnExec(launcherListenFD)
	var spec Spec
	request := json.NewDecoder(os.Stdin)
	// A field that this program does not know is of a server of another build.
	request.DisallowUnknownFields()
	if err := request.Decode(&spec); err != nil {
		return Process{}, fmt.Errorf("reading the launcher's request: %w", err)
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return Process{}, fmt.Errorf("making mounts private: %w", err)
	}
	log, err := openLog(&spec)
	if err != nil {
		return Process{}, err
	}
	users, err := boundUsers(&spec)
	if err != nil {
		return Process{}, err
	}
	stage, err := newStage(&spec, users)
	if err != nil {
		return Process{}, err
	}
	if err := stage.assemble(&spec); err != nil {
		return Process{}, fmt.Errorf("root file system: %w", err)
	}
	if err := stage.isolate(&spec); err != nil {
		return Process{}, fmt.Errorf("files shared with the machine: %w", err)
	}
	config := containerConfig(&spec, stage.rootfs(), users)
	container, err := libcontainer.Create(stage.path("state"), "pod", config)
	if err != nil {
		return Process{}, fmt.Errorf("creating the container: %w", err)
	}
	process, err := run(container, &spec, log)
	if err != nil {
		return Process{}, errors.Join(err, discard(container))
	}
	return process, nil
}

// boundUsers bounds what the container can have of what the kernel counts by user, and returns its user
// namespace. That of a rootless container is this process's own, and nil is returned.
func boundUsers(spec *Spec) (*os.File, error) {
	if err := applyResourceLimits(spec.Cgroup.Pids); err != nil {
		return nil, err
	}
	if spec.Rootless {
		if err := applySettings(nsSettings(true)); err != nil {
			return nil, fmt.Errorf("limits of the user namespace: %w", err)
		}
		return nil, nil
	}
	return userNS{ids: spec.IDs, owner: spec.Owner, settings: nsSettings(false)}.make()
}

// openLog opens the file that the command prints to, if it is to have one: for
// appending, so that it can be truncated, and for reading, so that the command
// can keep its end.
func openLog(spec *Spec) (*os.File, error) {
	if spec.LogPath == "" {
		return nil, nil
	}
	log, err := os.OpenFile(spec.LogPath, os.O_CREATE|os.O_APPEND|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("opening the container's log: %w", err)
	}
	return log, nil
}

// run starts the container's init, writes down its process, and lets it become
// the command.
func run(container *libcontainer.Container, spec *Spec, log *os.File) (Process, error) {
	socket, initEnd, err := filterSocket()
	if err != nil {
		return Process{}, err
	}
	defer socket.Close()
	defer initEnd.Close()
	init := &libcontainer.Process{
		Args: spec.Args, Env: spec.Env, Cwd: spec.Dir,
		UID: spec.UID, GID: spec.GID, AdditionalGroups: spec.Groups,
		ExtraFiles: []*os.File{os.NewFile(launcherListenFD, "listener"), initEnd},
		Init:       true,
	}
	if CountsOOM(spec.Cgroup) {
		counters, err := openCounters(spec)
		if err != nil {
			return Process{}, err
		}
		defer counters.Close()
		init.ExtraFiles = append(init.ExtraFiles, counters)
	}
	if log != nil {
		init.Stdout, init.Stderr = log, log
	}
	if err := container.Start(init); err != nil {
		return Process{}, fmt.Errorf("starting the container: %w", err)
	}
	initEnd.Close()
	pid, err := init.Pid()
	if err != nil {
		return Process{}, fmt.Errorf("container's process: %w", err)
	}
	process, err := Identify(pid)
	if err != nil {
		return Process{}, fmt.Errorf("container's process: %w", err)
	}
	if err := writeProcess(spec.StatePath, process); err != nil {
		return Process{}, err
	}
	if err := applyFilter(socket, spec.Filter); err != nil {
		return Process{}, err
	}
	if err := container.Exec(); err != nil {
		return Process{}, fmt.Errorf("starting the agent: %w", err)
	}
	return process, nil
}

// discard ends what was begun of a container that did not start.
func discard(container *libcontainer.Container) error {
	err := container.Signal(unix.SIGKILL)
	if err != nil && !errors.Is(err, libcontainer.ErrNotRunning) {
		return fmt.Errorf("ending the container: %w", err)
	}
	if err := container.Destroy(); err != nil {
		return fmt.Errorf("removing the container: %w", err)
	}
	return nil
}
