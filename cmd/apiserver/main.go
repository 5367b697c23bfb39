// Command arl-apiserver serves the arl.io API: warm pools, sandboxes and
// tasks. With --standalone it is a whole installation on one machine.
package main

import (
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

	ctx := genericapiserver.SetupSignalContext()
	os.Exit(cli.Run(app.NewCommand(ctx, version)))
}
