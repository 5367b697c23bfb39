package local

import (
	"os/exec"
	"strings"
	"testing"
)

// TestForeignABIsAreClosed makes system calls by the 32-bit and the x32 entry of an x86 kernel, whose
// numbers a list of 64-bit numbers does not cover.
func TestForeignABIsAreClosed(t *testing.T) {
	needContainers(t)
	if _, err := exec.LookPath("python3"); err != nil {
		t.Skip("needs python3")
	}
	f := start(t, Config{Dir: t.TempDir()})
	defer f.removeAll()
	pod := f.create(hostSpec("foreign"))
	const script = `
import ctypes, mmap, platform
if platform.machine() != "x86_64":
    print(-38, -38)
    raise SystemExit
page = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
page.write(bytes([0xb8, 20, 0, 0, 0, 0xcd, 0x80, 0xc3]))  # mov eax, 20 (getpid); int 0x80; ret
legacy = ctypes.CFUNCTYPE(ctypes.c_int)(ctypes.addressof(ctypes.c_char.from_buffer(page)))()
libc = ctypes.CDLL(None, use_errno=True)
libc.syscall(ctypes.c_long(0x40000000 | 39))  # getpid of x32
print(legacy, -ctypes.get_errno())
`
	if out, code := f.exec(pod, "python3", "-c", script); code != 0 || out != "-38 -38\n" {
		t.Errorf("exit code %d, output %q, want ENOSYS twice", code, out)
	}
}

// TestProgramsRunUnderTheFilter runs what steps commonly run. A program that the machine does not have
// is left out.
func TestProgramsRunUnderTheFilter(t *testing.T) {
	needContainers(t)
	f := start(t, Config{Dir: t.TempDir()})
	defer f.removeAll()
	pod := f.create(hostSpec("programs"))
	for _, test := range []struct{ name, needs, script, want string }{
		{"python", "python3", `python3 -c '
import subprocess, threading, multiprocessing.pool, asyncio, tempfile, os, socket
with multiprocessing.pool.ThreadPool(4) as pool: assert sum(pool.map(lambda x: x, range(10))) == 45
with multiprocessing.Pool(2) as pool: assert pool.map(abs, [-1, 2]) == [1, 2]
async def main():
    p = await asyncio.create_subprocess_exec("echo", "ok", stdout=asyncio.subprocess.PIPE)
    print((await p.communicate())[0].decode().strip())
asyncio.run(main())
os.memfd_create("x"); socket.create_server(("127.0.0.1", 0))'`, "ok\n"},
		{"node", "node", `node -e '
const fs = require("fs"), { Worker } = require("worker_threads"), { execFileSync } = require("child_process");
fs.promises.readFile("/etc/hostname").then(() => {
  new Worker("require(\"worker_threads\").parentPort.postMessage(1)", { eval: true }).on("message", () => {
    process.stdout.write(execFileSync("echo", ["ok"]).toString());
  });
});'`, "ok\n"},
		{"git", "git", `cd "$(mktemp -d)" && git init -q . && git -c user.name=a -c user.email=a@b commit -q --allow-empty -m first && git gc -q && git log --format=%s`, "first\n"},
		{"strace of its own child", "strace", `strace -f -e trace=execve -o /tmp/trace /bin/true && grep -c execve /tmp/trace`, "1\n"},
		{"gdb of its own child", "gdb", `gdb -nx -batch -ex run -ex 'print 6*7' --args /bin/true 2>/dev/null | tail -1`, "$1 = 42\n"},
		{"tmux", "tmux", `tmux -L t -f /dev/null new-session -d 'echo in > /tmp/in; sleep 60' && while ! [ -s /tmp/in ]; do sleep 0.1; done; cat /tmp/in; tmux -L t kill-server`, "in\n"},
		{"dpkg", "dpkg", `dpkg -s dpkg | grep -c '^Package: dpkg$'`, "1\n"},
		{"apt", "apt-get", `apt-get --version | head -1 | cut -d' ' -f1`, "apt\n"},
		{"tar with owners", "tar", `mkdir /tmp/t && cd /tmp/t && echo x > a && ln a b && ln -s a c && mkfifo d && tar cf - . | (mkdir ../u && tar xpf - -C ../u) && ls ../u | tr '\n' ' '`, "a b c d "},
		{"perl", "perl", `perl -e 'my $pid = fork; if (!$pid) { exit 3 } waitpid($pid, 0); print $? >> 8, "\n"'`, "3\n"},
		{"flock", "flock", `flock /tmp/lock echo ok`, "ok\n"},
		{"shared memory and timers", "python3", `python3 -c '
from multiprocessing import shared_memory
import signal, time
s = shared_memory.SharedMemory(create=True, size=4096); s.close(); s.unlink()
signal.signal(signal.SIGALRM, lambda *a: print("ok")); signal.setitimer(signal.ITIMER_REAL, 0.01); signal.pause()'`, "ok\n"},
	} {
		t.Run(strings.ReplaceAll(test.name, " ", "-"), func(t *testing.T) {
			if _, code := f.run(pod, "command -v "+test.needs+" >/dev/null"); code != 0 {
				t.Skip("pods here have no " + test.needs)
			}
			if out, code := f.run(pod, test.script); code != 0 || out != test.want {
				t.Errorf("exit code %d, output %q, want %q", code, out, test.want)
			}
		})
	}
}
