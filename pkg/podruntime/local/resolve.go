package local

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"path"
	"strconv"
	"strings"

	securejoin "github.com/cyphar/filepath-securejoin"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/moby/sys/user"
	"golang.org/x/sys/unix"
)

// defaultPath is that of images which set none.
const defaultPath = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// maxAccountsBytes bounds the user and group files of an image.
const maxAccountsBytes = 4 << 20

// account is whom the container runs as, in the container's own numbers.
type account struct {
	uid, gid int
	groups   []int
	home     string
}

// commandOf returns the command that runs beside the agent; empty for none.
// The image's own command is not run: a pod is there for its steps.
func (p *plan) commandOf(config v1.Config) []string {
	command := p.command
	if len(command) == 0 && len(p.args) > 0 {
		command = config.Entrypoint
	}
	full := append(append([]string(nil), command...), p.args...)
	values := map[string]string{}
	for _, variable := range p.environment(config, account{}) {
		name, value, _ := strings.Cut(variable, "=")
		values[name] = value
	}
	for i := range full {
		full[i] = expand(full[i], values)
	}
	return full
}

// environment is the image's with the template's on top.
func (p *plan) environment(config v1.Config, as account) []string {
	values := map[string]string{}
	var order []string
	set := func(name, value string) {
		if _, ok := values[name]; !ok {
			order = append(order, name)
		}
		values[name] = value
	}
	base := append([]string{defaultPath, "HOSTNAME=" + p.hostname}, config.Env...)
	if as.home != "" {
		base = append([]string{"HOME=" + as.home}, base...)
	}
	for _, variable := range base {
		name, value, _ := strings.Cut(variable, "=")
		set(name, value)
	}
	for _, variable := range p.env {
		set(variable.Name, expand(variable.Value, values))
	}
	env := make([]string, 0, len(order))
	for _, name := range order {
		env = append(env, name+"="+values[name])
	}
	return env
}

// expand replaces $(NAME) by the value of a known variable; $$ stands for $.
func expand(text string, values map[string]string) string {
	var out strings.Builder
	for i := 0; i < len(text); i++ {
		if text[i] != '$' || i+1 == len(text) {
			out.WriteByte(text[i])
			continue
		}
		switch end := strings.IndexByte(text[i:], ')'); {
		case text[i+1] == '$':
			out.WriteByte('$')
			i++
		case text[i+1] == '(' && end > 0:
			reference := text[i : i+end+1]
			if value, ok := values[reference[2:len(reference)-1]]; ok {
				reference = value
			}
			out.WriteString(reference)
			i += end
		default:
			out.WriteByte('$')
		}
	}
	return out.String()
}

// accountOf finds whom the container runs as: the template's user, or else the
// image's, by number or by name in the image's own files.
func (p *plan) accountOf(rootfs string, config v1.Config, maxID int) (account, error) {
	wanted := config.User
	if p.user != nil {
		wanted = strconv.FormatInt(*p.user, 10)
	}
	passwd, err := readAccounts(rootfs, "/etc/passwd")
	if err != nil {
		return account{}, err
	}
	group, err := readAccounts(rootfs, "/etc/group")
	if err != nil {
		return account{}, err
	}
	found, err := user.GetExecUser(wanted, &user.ExecUser{Home: "/"}, strings.NewReader(passwd), strings.NewReader(group))
	if err != nil {
		return account{}, fmt.Errorf("user %q of the image: %w", wanted, err)
	}
	as := account{uid: found.Uid, gid: found.Gid, groups: found.Sgids, home: found.Home}
	if maxID == 1 {
		// An ordinary user cannot take on groups, such as Alpine gives its root.
		as.groups = nil
	}
	if p.group != nil {
		as.gid = int(*p.group)
	}
	for _, id := range p.groups {
		as.groups = append(as.groups, int(id))
	}
	return as, p.checkAccount(as, maxID)
}

func (p *plan) checkAccount(as account, maxID int) error {
	if p.nonRoot && as.uid == 0 {
		return errors.New("runAsNonRoot is set, and the container would run as root: set runAsUser")
	}
	for _, id := range append([]int{as.uid, as.gid}, as.groups...) {
		if id < 0 || id > math.MaxInt32 || id >= maxID {
			if maxID == 1 {
				return fmt.Errorf("a server that is not root can give a container user and group 0 only, not %d: set securityContext.runAsUser: 0", id)
			}
			return fmt.Errorf("user or group %d is beyond %d, the last that a container has", id, maxID-1)
		}
	}
	return nil
}

// readAccounts returns a file of the image, or nothing if there is none.
func readAccounts(rootfs, name string) (string, error) {
	resolved, err := securejoin.SecureJoin(rootfs, name)
	if err != nil {
		return "", fmt.Errorf("reading the image's users: %w", err)
	}
	// Without blocking: an image may have a pipe there.
	file, err := os.OpenFile(resolved, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("reading the image's users: %w", err)
	}
	defer file.Close()
	if info, err := file.Stat(); err != nil || !info.Mode().IsRegular() {
		return "", errors.Join(fmt.Errorf("reading the image's users: %s is no file", name), err)
	}
	data, err := io.ReadAll(io.LimitReader(file, maxAccountsBytes))
	if err != nil {
		return "", fmt.Errorf("reading the image's users: %w", err)
	}
	return string(data), nil
}

// dirOf is where the template's command starts.
func (p *plan) dirOf(config v1.Config) string {
	switch {
	case p.dir != "":
		return path.Clean(p.dir)
	case path.IsAbs(config.WorkingDir):
		return path.Clean(config.WorkingDir)
	}
	return p.workDir
}
