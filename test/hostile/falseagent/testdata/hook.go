package main

import (
	"fmt"
	"os"

	"arl.io/arl/test/hostile/falseagent"
	"arl.io/arl/test/hostile/step"
)

// A build of cmd/agent with this file is an agent that can be hostile.
func init() {
	var err error
	switch {
	case len(os.Args) > 1 && os.Args[1] == "serve" && os.Getenv(falseagent.LieVariable) != "":
		err = falseagent.Serve(os.Args[2:])
	case len(os.Args) > 2 && os.Args[1] == step.Subcommand:
		os.Exit(step.Main(os.Args[2:]))
	default:
		return
	}
	fmt.Fprintln(os.Stderr, "false agent:", err)
	os.Exit(1)
}
