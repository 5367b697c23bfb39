package hostile

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// checkout is the root of the work tree, seen from this package.
const checkout = "../.."

// defaultDuration is short enough for every change; the full run takes two minutes.
const defaultDuration = 20 * time.Second

func TestMain(m *testing.M) {
	flag.Parse()
	os.Exit(run(m))
}

func run(m *testing.M) int {
	for _, program := range []string{binary(), agent()} {
		if _, err := os.Stat(program); err != nil {
			fmt.Fprintf(os.Stderr, "%v: run make hostile, or name arl-apiserver in ARL_BIN\n", err)
			return 1
		}
	}
	if err := raiseParallelism(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return m.Run()
}

// raiseParallelism sets -parallel, unless whoever started the tests has. Most lies are waited for.
func raiseParallelism() error {
	given := false
	flag.Visit(func(f *flag.Flag) { given = given || f.Name == "test.parallel" })
	if given {
		return nil
	}
	return flag.Set("test.parallel", "24")
}

// binary is the path of arl-apiserver; the agent that can be hostile is beside it.
func binary() string {
	if path := os.Getenv("ARL_BIN"); path != "" {
		return path
	}
	path, err := filepath.Abs(filepath.Join(checkout, "bin", "arl-apiserver"))
	if err != nil {
		panic(err) // no working directory
	}
	return path
}

func agent() string { return filepath.Join(filepath.Dir(binary()), "arl-agent-hostile") }

// duration is how long a test under load attacks.
func duration(t *testing.T) time.Duration {
	t.Helper()
	text := os.Getenv("HOSTILE_DURATION")
	if text == "" {
		return defaultDuration
	}
	length, err := time.ParseDuration(text)
	if err != nil {
		t.Fatalf("HOSTILE_DURATION: %v", err)
	}
	return length
}

// needRoot skips a test where pods have no limits: an attack could take the machine.
func needRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root: without it pods have no limits, and attacks would reach the machine")
	}
}
