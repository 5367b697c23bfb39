package seccomp

import (
	"encoding/binary"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/elastic/go-seccomp-bpf/arch"
	profile "github.com/moby/profiles/seccomp"
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

const allow = uint32(unix.SECCOMP_RET_ALLOW)

func fails(e unix.Errno) uint32 { return uint32(action(e)) }

// defaults are the capabilities of root in an ordinary container.
var defaults = []string{
	"CAP_AUDIT_WRITE", "CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FOWNER", "CAP_FSETID", "CAP_KILL", "CAP_MKNOD", "CAP_NET_BIND_SERVICE",
	"CAP_NET_RAW", "CAP_SETFCAP", "CAP_SETGID", "CAP_SETPCAP", "CAP_SETUID", "CAP_SYS_CHROOT",
}

// call is one system call as a filter sees it.
type call struct {
	arch   uint32
	number uint32
	args   [6]uint64
}

// simulator runs a filter as the kernel would.
type simulator struct {
	t      *testing.T
	vm     *bpf.VM
	native *arch.Info
}

func newSimulator(t *testing.T, capabilities ...string) simulator {
	t.Helper()
	program, err := assemble(capabilities)
	if err != nil {
		t.Fatal(err)
	}
	vm, err := bpf.NewVM(program)
	if err != nil {
		t.Fatal(err)
	}
	native, err := arch.GetInfo("")
	if err != nil {
		t.Fatal(err)
	}
	return simulator{t: t, vm: vm, native: native}
}

func (s simulator) result(c call) uint32 {
	s.t.Helper()
	if c.arch == 0 {
		c.arch = uint32(s.native.ID)
	}
	// The words of struct seccomp_data are the machine's, and those of the simulator's input the
	// network's.
	var data [64]byte
	binary.BigEndian.PutUint32(data[offsetNumber:], c.number)
	binary.BigEndian.PutUint32(data[offsetArch:], c.arch)
	for i, arg := range c.args {
		binary.BigEndian.PutUint32(data[offsetArg0+8*i:], uint32(arg))
		binary.BigEndian.PutUint32(data[offsetArg0+8*i+4:], uint32(arg>>32))
	}
	result, err := s.vm.Run(data[:])
	if err != nil {
		s.t.Fatalf("call %+v: %v", c, err)
	}
	return uint32(result)
}

func (s simulator) named(name string, args ...uint64) uint32 {
	s.t.Helper()
	number, ok := s.native.SyscallNames[name]
	if !ok {
		s.t.Fatalf("%s does not exist on %s", name, s.native.Name)
	}
	c := call{number: uint32(number)}
	copy(c.args[:], args)
	return s.result(c)
}

// profiled is what the profile says about a call, read directly from its rules.
func profiled(t *testing.T, rules *specs.LinuxSeccomp, name string, args [6]uint64) uint32 {
	t.Helper()
	result := fails(unix.Errno(*rules.DefaultErrnoRet))
	for _, rule := range rules.Syscalls {
		if !slices.Contains(rule.Names, name) || !matches(t, rule.Args, args) {
			continue
		}
		if rule.Action == specs.ActAllow {
			return allow
		}
		result = fails(unix.Errno(*rule.ErrnoRet))
	}
	return result
}

func matches(t *testing.T, conditions []specs.LinuxSeccompArg, args [6]uint64) bool {
	t.Helper()
	for _, c := range conditions {
		switch c.Op {
		case specs.OpEqualTo:
			if args[c.Index] != c.Value {
				return false
			}
		case specs.OpMaskedEqual:
			if args[c.Index]&c.Value != c.ValueTwo {
				return false
			}
		default:
			t.Fatalf("unknown comparison %s", c.Op)
		}
	}
	return true
}

// interestingArgs are values at which the profile's conditions change.
func interestingArgs() []uint64 {
	values := []uint64{0, 8, 0x20000, 0x20008, 0xffffffff, 1 << 32, 1<<32 | 8, 0x40000}
	for bit := range 64 {
		values = append(values, 1<<bit)
	}
	return values
}

// TestFilterAgreesWithTheProfile compares the assembled filter with the rules of Docker's profile, for
// every number of a call and for several sets of capabilities.
func TestFilterAgreesWithTheProfile(t *testing.T) {
	for name, capabilities := range map[string][]string{
		"none": nil, "default": defaults, "ptrace": {"CAP_SYS_PTRACE"}, "nice": {"CAP_SYS_NICE"},
		"all addable": append(slices.Clone(defaults), "CAP_NET_ADMIN", "CAP_SYS_NICE", "CAP_SYS_PTRACE"),
	} {
		t.Run(name, func(t *testing.T) {
			s := newSimulator(t, capabilities...)
			rules, err := profile.GetDefaultProfile(&specs.Spec{
				Process: &specs.Process{Capabilities: &specs.LinuxCapabilities{Bounding: capabilities}},
			})
			if err != nil {
				t.Fatal(err)
			}
			newest := newest(s.native.SyscallNames)
			allowed := 0
			for number := range uint32(4096) {
				name := s.native.SyscallNumbers[int(number)]
				if slices.Contains(narrowed, name) {
					continue
				}
				values := interestingArgs()
				if number > newest {
					values = values[:1]
				}
				for _, value := range values {
					args := [6]uint64{value}
					want := profiled(t, rules, name, args)
					if number > newest {
						want = fails(unix.ENOSYS)
					}
					if got := s.result(call{number: number, args: args}); got != want {
						t.Fatalf("call %d (%s) with argument %#x: result %#x, want %#x", number, name, value, got, want)
					}
				}
				if s.result(call{number: number}) == allow {
					allowed++
				}
			}
			if allowed < 250 {
				t.Errorf("the filter allows %d calls: the profile was not read", allowed)
			}
		})
	}
}

// TestProfileIsKnown fails when an update of the profile names calls that the assembler has no number
// for: they would be refused without notice.
func TestProfileIsKnown(t *testing.T) {
	known := map[string]int{}
	for _, table := range []*arch.Info{arch.X86_64, arch.AARCH64, arch.ARM, arch.I386} {
		maps.Copy(known, table.SyscallNames)
	}
	// They exist on other architectures alone.
	elsewhere := []string{
		"riscv_flush_icache", "riscv_hwprobe", "s390_pci_mmio_read", "s390_pci_mmio_write", "s390_runtime_instr",
		"swapcontext", "sync_file_range2",
	}
	for _, call := range profile.DefaultProfile().Syscalls {
		for _, name := range call.Names {
			if _, ok := known[name]; !ok && !slices.Contains(elsewhere, name) {
				t.Errorf("the profile names %s, which the assembler's tables do not have", name)
			}
		}
	}
}

func TestForeignCallsDoNotExist(t *testing.T) {
	s := newSimulator(t, defaults...)
	read := uint32(s.native.SyscallNames["read"])
	for _, foreign := range []uint32{unix.AUDIT_ARCH_I386, unix.AUDIT_ARCH_ARM, unix.AUDIT_ARCH_RISCV64, unix.AUDIT_ARCH_S390X, 1} {
		for number := range uint32(1024) {
			if got := s.result(call{arch: foreign, number: number}); got != fails(unix.ENOSYS) {
				t.Fatalf("call %d of architecture %#x: result %#x", number, foreign, got)
			}
		}
	}
	const x32 = 0x40000000
	for number := range uint32(1024) {
		if got := s.result(call{number: x32 | number}); got != fails(unix.ENOSYS) {
			t.Fatalf("call %d of the x32 ABI: result %#x", number, got)
		}
	}
	// Numbers anywhere in the range of 32 bits.
	random := rand.New(rand.NewPCG(1, 2))
	for range 100_000 {
		number := random.Uint32() | 0x1000
		if got := s.result(call{number: number}); got != fails(unix.ENOSYS) {
			t.Fatalf("call %#x: result %#x", number, got)
		}
	}
	if got := s.result(call{number: read}); got != allow {
		t.Errorf("read: result %#x", got)
	}
}
