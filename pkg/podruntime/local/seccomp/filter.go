package seccomp

import (
	"encoding/binary"
	"errors"
	"fmt"

	assembler "github.com/elastic/go-seccomp-bpf"
	"github.com/elastic/go-seccomp-bpf/arch"
	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// InstructionBytes is the size of one instruction of a filter, the kernel's struct sock_filter.
const InstructionBytes = 8

// Filter returns the filter for a container with the given bounding set of capabilities, named as the
// kernel names them ("CAP_CHOWN"). The result is an array of struct sock_filter in the machine's byte
// order, for this machine's architecture and kernel.
func Filter(capabilities []string) ([]byte, error) {
	program, err := assemble(capabilities)
	if err != nil {
		return nil, fmt.Errorf("seccomp filter: %w", err)
	}
	raw, err := bpf.Assemble(program)
	if err != nil {
		return nil, fmt.Errorf("seccomp filter: %w", err)
	}
	filter := make([]byte, 0, len(raw)*InstructionBytes)
	for _, in := range raw {
		filter = binary.NativeEndian.AppendUint16(filter, in.Op)
		filter = append(filter, in.Jt, in.Jf)
		filter = binary.NativeEndian.AppendUint32(filter, in.K)
	}
	return filter, nil
}

// assemble puts narrow's checks before the profile: what they decide is final.
func assemble(capabilities []string) ([]bpf.Instruction, error) {
	native, err := arch.GetInfo("")
	if err != nil {
		return nil, err
	}
	rules, err := profileFor(capabilities, native.SyscallNames)
	if err != nil {
		return nil, err
	}
	if len(rules.allowed) == 0 {
		return nil, errors.New("the profile allows nothing on this architecture")
	}
	policy := assembler.Policy{
		DefaultAction: assembler.ActionErrno,
		Syscalls: []assembler.SyscallGroup{
			{Names: rules.absent, Action: action(unix.ENOSYS)},
			{Names: rules.allowed, NamesWithCondtions: rules.conditional, Action: assembler.ActionAllow},
		},
	}
	listed, err := policy.Assemble()
	if err != nil {
		return nil, err
	}
	return append(narrow(native, rules.newest), listed...), nil
}

// action is the result of a filter that makes a call fail with e.
func action(e unix.Errno) assembler.Action {
	return assembler.ActionErrno | assembler.Action(e)
}
