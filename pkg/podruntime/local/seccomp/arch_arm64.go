package seccomp

import "golang.org/x/sys/unix"

const (
	auditArch = unix.AUDIT_ARCH_AARCH64
	// foreignABIBit is 0: there is no second ABI under this architecture.
	foreignABIBit = 0
)

var deniedByArch = []uint32{unix.SYS_KEXEC_FILE_LOAD}
