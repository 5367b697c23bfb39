package step

import (
	"fmt"
	"os"
)

// Subcommand is the word that makes arl-agent a hostile step.
const Subcommand = "attack"

// Program is where pods of a standalone server have the agent, and so this program.
const Program = "/.arl/agent"

// Words that an attempt's line of outcome begins with, before its name.
const (
	Held  = "held"
	Broke = "BROKE"
)

// Variables that tell an escape where things of the machine are that it should not reach.
const (
	// PortVariable is a port of the machine's loopback on which somebody listens.
	PortVariable = "ARL_HOSTILE_PORT"
	// SocketVariable is the name of an abstract unix socket of the machine.
	SocketVariable = "ARL_HOSTILE_SOCKET"
)

// Main runs one attack and returns the exit code: 0 if all attempts failed, or the resource is held.
func Main(args []string) int {
	switch {
	case args[0] == "escape" && len(args) == 1:
		return report(escapes())
	case args[0] == "need" && len(args) == 1:
		return report(needs())
	case args[0] == "exhaust" && len(args) == 2:
		return done(exhaust(args[1]))
	case args[0] == holdCommand && len(args) == 2:
		return done(hold(args[1]))
	case args[0] == "wear" && len(args) == 2:
		return done(wear(args[1]))
	}
	fmt.Fprintf(os.Stderr, "no such attack: %q\n", args)
	return 2
}

func done(err error) int {
	if err != nil {
		fmt.Println(err)
		return 1
	}
	return 0
}

// attempt is something that must not succeed, or, of the needs, that must.
type attempt struct {
	name string
	// try returns nil if the attack succeeded, or the need was met.
	try func() error
	// wanted says that success is right.
	wanted bool
}

// report makes all attempts and prints a line for each.
func report(attempts []attempt) (code int) {
	for _, each := range attempts {
		err := each.try()
		outcome := Held
		if (err == nil) != each.wanted {
			outcome, code = Broke, 1
		}
		fmt.Printf("%s %s: %v\n", outcome, each.name, err)
	}
	return code
}
