// Command kubectl is the stock kubectl, built from its Go module for machines
// that have none. It lives in a module of its own to keep its dependencies out
// of the product's.
package main

import (
	"k8s.io/component-base/cli"
	"k8s.io/kubectl/pkg/cmd"
	cmdutil "k8s.io/kubectl/pkg/cmd/util"
)

func main() {
	// CheckErr prints the error as users of kubectl know it, and exits.
	cmdutil.CheckErr(cli.RunNoErrOutput(cmd.NewDefaultKubectlCommand()))
}
