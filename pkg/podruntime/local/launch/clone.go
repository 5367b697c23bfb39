//go:build cgo

package launch

/*
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

// apply writes settings: path, zero byte, value, zero byte, and so on; an empty path ends them. It
// returns 0 or an error number. A kernel that does not have a setting does not have what it bounds.
static int apply(const char *settings) {
	while (*settings) {
		const char *path = settings, *value = path + strlen(path) + 1;
		settings = value + strlen(value) + 1;
		int fd = open(path, O_WRONLY | O_CLOEXEC);
		if (fd < 0 && errno == ENOENT)
			continue;
		if (fd < 0 || write(fd, value, strlen(value)) < 0)
			return errno;
		close(fd);
	}
	return 0;
}

// clone_user_ns starts a process in a user namespace of its own, which has all capabilities in it. The
// process applies the settings, answers with the error number, and waits until the other side closes
// control. It is a copy of one thread of a Go process, so it calls nothing but the kernel.
static int clone_user_ns(int peer, int control, const char *settings) {
	int pid = syscall(SYS_clone, CLONE_NEWUSER | SIGCHLD, 0, 0, 0, 0);
	if (pid != 0)
		return pid;
	close(control);
	int failed = apply(settings);
	char rest;
	if (write(peer, &failed, sizeof failed) == sizeof failed)
		while (read(peer, &rest, 1) < 0 && errno == EINTR)
			;
	_exit(0);
}
*/
import "C"

import (
	"os"
	"runtime"
	"unsafe"
)

// cloneUserNS starts the first process of a new user namespace. It has two ends of a connection: peer
// for itself, and control, which it closes.
//
// It is in C because a process that has threads cannot enter a new user namespace, and executing this
// binary again only to make one takes longer than the rest of what is done for it.
func cloneUserNS(peer, control int, settings []byte) (pid int, err error) {
	n, err := C.clone_user_ns(C.int(peer), C.int(control), (*C.char)(unsafe.Pointer(&settings[0])))
	runtime.KeepAlive(settings)
	if n < 0 {
		return 0, os.NewSyscallError("clone", err)
	}
	return int(n), nil
}
