package seccomp

import (
	"fmt"
	"slices"

	assembler "github.com/elastic/go-seccomp-bpf"
	profile "github.com/moby/profiles/seccomp"
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// rules is what the profile says about the calls of one architecture.
type rules struct {
	// allowed are allowed whatever their arguments, and conditional are allowed with some.
	allowed     []string
	conditional []assembler.NameWithConditions
	// absent are calls that the container sees as missing in the kernel.
	absent []string
	// newest is the highest number of a call that the profile knows, for any capabilities.
	newest uint32
}

// profileFor returns the rules of Docker's default profile for a container with the given
// capabilities. Calls that numbers does not have do not exist on the architecture.
func profileFor(capabilities []string, numbers map[string]int) (rules, error) {
	r := rules{newest: newest(numbers)}
	chosen, err := profile.GetDefaultProfile(&specs.Spec{
		Process: &specs.Process{Capabilities: &specs.LinuxCapabilities{Bounding: capabilities}},
	})
	if err != nil {
		return rules{}, err
	}
	for _, call := range chosen.Syscalls {
		for _, name := range call.Names {
			if _, exists := numbers[name]; !exists || slices.Contains(narrowed, name) {
				continue
			}
			if err := r.add(name, call); err != nil {
				return rules{}, err
			}
		}
	}
	// A call that one rule allows with any arguments needs no conditions from another.
	r.conditional = slices.DeleteFunc(r.conditional, func(c assembler.NameWithConditions) bool {
		return slices.Contains(r.allowed, c.Name)
	})
	slices.Sort(r.allowed)
	r.allowed = slices.Compact(r.allowed)
	return r, nil
}

// add takes over one call of a rule of the profile. A rule that it cannot express is an error: to
// leave it out would change what the profile means.
func (r *rules) add(name string, call specs.LinuxSyscall) error {
	switch {
	case call.Action == specs.ActErrno && call.ErrnoRet != nil && unix.Errno(*call.ErrnoRet) == unix.ENOSYS && len(call.Args) == 0:
		r.absent = append(r.absent, name)
	case call.Action != specs.ActAllow:
		return fmt.Errorf("the profile has a rule of an unknown kind for %s: %s", name, call.Action)
	case len(call.Args) == 0:
		r.allowed = append(r.allowed, name)
	default:
		conditions, err := conditionsOf(call.Args)
		if err != nil {
			return fmt.Errorf("the profile's rule for %s: %w", name, err)
		}
		r.conditional = append(r.conditional, assembler.NameWithConditions{Name: name, Conditions: conditions})
	}
	return nil
}

// conditionsOf returns conditions that all must hold.
func conditionsOf(args []specs.LinuxSeccompArg) (assembler.ArgumentConditions, error) {
	var conditions assembler.ArgumentConditions
	for _, arg := range args {
		c := assembler.Condition{Argument: uint32(arg.Index), Value: arg.Value}
		switch {
		case arg.Op == specs.OpEqualTo:
			c.Operation = assembler.Equal
		case arg.Op == specs.OpMaskedEqual && arg.ValueTwo == 0:
			c.Operation = assembler.BitsNotSet
		default:
			return nil, fmt.Errorf("unknown comparison %s", arg.Op)
		}
		conditions = append(conditions, c)
	}
	return conditions, nil
}

// newest returns the highest number that any rule of the profile names.
func newest(numbers map[string]int) uint32 {
	highest := 0
	for _, call := range profile.DefaultProfile().Syscalls {
		for _, name := range call.Names {
			highest = max(highest, numbers[name])
		}
	}
	return uint32(highest)
}
