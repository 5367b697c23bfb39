package agent_test

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// helperVariable makes the test binary stand in for a program of a step: its
// value names what it does.
const helperVariable = "AGENT_TEST_HELPER"

func TestMain(m *testing.M) {
	if name := os.Getenv(helperVariable); name != "" {
		helpers[name](os.Args[1:])
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// helpers are the programs, by name. Their arguments follow the program's name.
var helpers = map[string]func(args []string){
	// spew SIZE STREAM writes SIZE bytes without a line break.
	"spew": func(args []string) {
		size, _ := strconv.Atoi(args[0])
		to := os.Stdout
		if args[1] == "stderr" {
			to = os.Stderr
		}
		chunk := make([]byte, 64<<10)
		for i := range chunk {
			chunk[i] = 'a' + byte(i%26)
		}
		for size > 0 {
			n, err := to.Write(chunk[:min(size, len(chunk))])
			if err != nil {
				os.Exit(9)
			}
			size -= n
		}
	},
	// echoUntil FILE writes "ready" without a line break and waits for FILE.
	"echoUntil": func(args []string) {
		fmt.Print("ready")
		for {
			if _, err := os.Stat(args[0]); err == nil {
				return
			}
			time.Sleep(time.Millisecond)
		}
	},
	// count reads standard input and tells its size.
	"count": func([]string) {
		n, err := io.Copy(io.Discard, os.Stdin)
		if err != nil {
			os.Exit(9)
		}
		fmt.Print(n)
	},
	// logAndAnswer writes a lot to both its outputs, reads a question from
	// "in", writes the answer to "out", and so on.
	"logAndAnswer": func([]string) {
		line := []byte(strings.Repeat("x", 1023) + "\n")
		for {
			for range 512 {
				_, err1 := os.Stdout.Write(line)
				_, err2 := os.Stderr.Write(line)
				if err1 != nil || err2 != nil {
					os.Exit(9)
				}
			}
			question, err := os.ReadFile("in")
			if err != nil || os.WriteFile("out", append([]byte("answer to "), question...), 0) != nil {
				os.Exit(9)
			}
		}
	},
	// stubborn does not hear TERM. It tells its process ID and stays.
	"stubborn": func([]string) {
		signal.Ignore(syscall.SIGTERM)
		fmt.Println(os.Getpid())
		time.Sleep(time.Hour)
	},
	// family starts a child in its group, one in a session of its own, and one
	// that lost its parent there; it tells their process IDs and stays.
	"family": func([]string) {
		fmt.Println(os.Getpid())
		start("stubborn", false)
		start("stubborn", true)
		start("orphan", true)
		time.Sleep(time.Hour)
	},
	// orphan starts a child in a session of its own and ends.
	"orphan": func([]string) { start("stubborn", true) },
}

// start starts a helper as a child, on the same standard output.
func start(name string, session bool) {
	child := exec.Command("/proc/self/exe")
	child.Env = append(os.Environ(), helperVariable+"="+name)
	child.Stdout = os.Stdout
	child.SysProcAttr = &syscall.SysProcAttr{Setsid: session}
	if err := child.Start(); err != nil {
		os.Exit(9)
	}
}
