// Command arl-launcher starts the containers of the local runtime. It is an
// optional companion of arl-apiserver, which otherwise starts them by executing
// itself again: two executions a container, and each of a program several times
// as large. A server that finds it beside the agent uses it.
//
// It must be built from the same source as the server. People do not run it.
package main

import (
	"fmt"
	"os"

	"arl.io/arl/pkg/podruntime/local/launch"
)

func main() {
	launch.InitProcess()
	fmt.Fprintln(os.Stderr, "arl-launcher is run by arl-apiserver, and not by people")
	os.Exit(2)
}
