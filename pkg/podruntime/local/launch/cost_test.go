package launch

import (
	"os"
	"testing"

	"golang.org/x/sys/unix"
)

// BenchmarkCalls measures system calls; with ARL_TEST_SECCOMP_INSTALL=1, under the filter. The kernel
// answers calls that are allowed whatever their arguments without running the filter; socket and ioctl
// are not among them.
func BenchmarkCalls(b *testing.B) {
	if os.Getenv(installedEnv) != "" {
		if err := install(testFilter(b)); err != nil {
			b.Fatal(err)
		}
	}
	zero, err := os.Open("/dev/zero")
	if err != nil {
		b.Fatal(err)
	}
	defer zero.Close()
	fd := int(zero.Fd())
	buf := make([]byte, 1)
	for _, call := range []struct {
		name string
		make func() error
	}{
		{"getppid", func() error { unix.Getppid(); return nil }},
		{"read", func() error { _, err := unix.Read(fd, buf); return err }},
		{"socket", func() error {
			fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM, 0)
			if err != nil {
				return err
			}
			return unix.Close(fd)
		}},
		{"ioctl", func() error { _, _ = unix.IoctlGetTermios(fd, unix.TCGETS); return nil }},
		{"refused", func() error { _, _ = unix.KeyctlInt(-1, 0, 0, 0, 0); return nil }},
	} {
		b.Run(call.name, func(b *testing.B) {
			for b.Loop() {
				if err := call.make(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
