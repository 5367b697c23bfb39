package seccomp

import (
	"slices"

	assembler "github.com/elastic/go-seccomp-bpf"
	"github.com/elastic/go-seccomp-bpf/arch"
	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// narrowed are the calls that narrow decides alone, because it allows less than the profile.
var narrowed = []string{"socket", "socketpair", "ioctl", "io_setup"}

// families are the families of sockets that a container can make. The profile allows some thirty, most
// of them rarely used kernel code that the kernel loads on the first use. Containers of this runtime
// have a loopback interface and nothing else to reach.
var families = []uint32{unix.AF_UNIX, unix.AF_INET, unix.AF_INET6, unix.AF_NETLINK, unix.AF_PACKET}

// deniedIoctls put characters into a terminal's input as if they were typed.
var deniedIoctls = []uint32{unix.TIOCSTI, unix.TIOCLINUX}

// Offsets into the kernel's struct seccomp_data. Those of arguments are of the low half of their 64
// bits, on a little-endian machine; every architecture that the assembler knows is one. The kernel
// reads no more than that half of the arguments that are compared here.
const (
	offsetNumber = 0
	offsetArch   = 4
	offsetArg0   = 16
	offsetArg1   = 24
	wordBytes    = 4
)

// narrow returns instructions that decide about foreign ABIs, calls newer than newest and the calls
// in narrowed, and let all others pass to the instructions after them with the number loaded.
func narrow(native *arch.Info, newest uint32) []bpf.Instruction {
	var p []bpf.Instruction
	// The 32-bit ABIs have numbers of their own, so that the list would allow other calls than it
	// names. The numbers of x32 are far above newest.
	p = append(p, load(offsetArch))
	p = append(p, unless(bpf.JumpEqual, uint32(native.ID), action(unix.ENOSYS))...)
	p = append(p, load(offsetNumber))
	p = append(p, when(bpf.JumpGreaterThan, newest, action(unix.ENOSYS))...)
	// The requests of io_setup count for the whole machine (fs.aio-max-nr), so that one container could
	// take them all. Without the call, programs use threads.
	p = append(p, when(bpf.JumpEqual, uint32(native.SyscallNames["io_setup"]), action(unix.ENOSYS))...)
	for _, name := range []string{"socket", "socketpair"} {
		p = append(p, argument(native.SyscallNames[name], offsetArg0, families,
			assembler.ActionAllow, action(unix.EAFNOSUPPORT))...)
	}
	return append(p, argument(native.SyscallNames["ioctl"], offsetArg1, deniedIoctls,
		action(unix.EPERM), assembler.ActionAllow)...)
}

func load(offset uint32) bpf.Instruction { return bpf.LoadAbsolute{Off: offset, Size: wordBytes} }

// when ends the filter with result if the comparison with value holds.
func when(comparison bpf.JumpTest, value uint32, result assembler.Action) []bpf.Instruction {
	return []bpf.Instruction{
		bpf.JumpIf{Cond: comparison, Val: value, SkipFalse: 1}, bpf.RetConstant{Val: uint32(result)},
	}
}

// unless ends the filter with result if the comparison with value does not hold.
func unless(comparison bpf.JumpTest, value uint32, result assembler.Action) []bpf.Instruction {
	return []bpf.Instruction{
		bpf.JumpIf{Cond: comparison, Val: value, SkipTrue: 1}, bpf.RetConstant{Val: uint32(result)},
	}
}

// argument ends the filter for the call of the given number: with hit if the argument at offset is one
// of values, else with miss.
func argument(number int, offset uint32, values []uint32, hit, miss assembler.Action) []bpf.Instruction {
	body := []bpf.Instruction{load(offset)}
	for _, value := range values {
		body = append(body, when(bpf.JumpEqual, value, hit)...)
	}
	body = append(body, bpf.RetConstant{Val: uint32(miss)})
	check := bpf.JumpIf{Cond: bpf.JumpEqual, Val: uint32(number), SkipFalse: uint8(len(body))}
	return slices.Insert(body, 0, bpf.Instruction(check))
}
