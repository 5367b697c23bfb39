package cluster

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// cniDir is where Debian keeps the CNI plugins.
const cniDir = "/usr/lib/cni"

// packages are Debian's names of what this machine must have, by a file or a
// program that shows that it is there.
var packages = []struct{ shows, name string }{
	{"containerd", "containerd"},
	{"runc", "runc"},
	{cniDir + "/bridge", "containernetworking-plugins"},
	{"iptables", "iptables"},
	{"ipset", "ipset"},
	{"ip", "iproute2"},
}

// checkMachine returns an error that says what to install or to be, if a
// cluster cannot be run here.
func checkMachine() error {
	if os.Geteuid() != 0 {
		return errors.New("a cluster can be run by root only")
	}
	var missing []string
	for _, p := range packages {
		if _, err := exec.LookPath(p.shows); err != nil {
			missing = append(missing, p.name)
		}
	}
	if len(missing) > 0 {
		return fmt.Errorf("this machine lacks programs: make e2e-packages, or install %s", strings.Join(missing, " "))
	}
	return nil
}

// checkout is the top folder of the project, found from the module of the
// working folder.
func checkout(ctx context.Context) (string, error) {
	out, err := output(ctx, "", "go", "list", "-m", "-f", "{{.Dir}}", "arl.io/arl")
	if err != nil {
		return "", fmt.Errorf("find the checkout: %w", err)
	}
	return filepath.Clean(strings.TrimSpace(out)), nil
}

// output runs a program of the machine, in a folder, and returns what it
// printed. The error carries what it complained of.
func output(ctx context.Context, dir, program string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Dir = dir
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("%s: %w\n%s", cmd, err, stderr.String())
	}
	return stdout.String(), nil
}
