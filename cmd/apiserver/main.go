// Command arl-apiserver serves the arl.io API: warm pools, sandboxes and
// tasks. With --standalone it is a whole installation on one machine.
package main

import (
	"fmt"
	"os"

	genericapiserver "k8s.io/apiserver/pkg/server"
	"k8s.io/component-base/cli"

	"arl.io/arl/cmd/apiserver/app"
	"arl.io/arl/pkg/podruntime/local"
)

// version is set by the build.
var version = "unknown"

func main() {
	// A container's first process is this binary, started again: that has to
	// be found out before anything else happens.
	local.InitProcess()

	cmd := app.NewCommand(genericapiserver.SetupSignalContext(), version)
	if sub, _, err := cmd.Find(os.Args[1:]); err != nil || sub == cmd {
		os.Exit(cli.Run(cmd)) // what a server says is a log
	}
	if err := cli.RunNoErrOutput(cmd); err != nil {
		fmt.Fprintf(os.Stderr, "Error: %v\n", err)
		os.Exit(1)
	}
}
