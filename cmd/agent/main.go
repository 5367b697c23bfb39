// Command agent, installed as arl-agent, is the one process of ARL inside every
// pod. It is the container's first process and runs what the server asks for.
//
//	arl-agent serve [flags] [-- COMMAND ARGS...]
//	arl-agent copy DEST
//	arl-agent prepare [flags] DIR
//	arl-agent workdir [flags] WORKDIR VOLUME
//	arl-agent --version
package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
)

// version is set by the linker: -X main.version=v1.2.3.
var version = "dev"

const usage = `arl-agent runs the steps of tasks in a pod.

Usage:
  arl-agent serve [flags] [-- COMMAND ARGS...]   serve, and run COMMAND beneath it
  arl-agent copy DEST                            copy this program to DEST, a file or a directory
  arl-agent prepare [flags] DIR                  copy this program to DIR, with a new key and certificate
  arl-agent workdir [flags] WORKDIR VOLUME       make directories in VOLUME that stand in for WORKDIR and HOME
  arl-agent --version                            print the version

Run "arl-agent serve --help", "arl-agent prepare --help" or "arl-agent workdir --help" for the flags.
`

// errUsage says that the command line is wrong; what is wrong was printed.
var errUsage = errors.New("wrong usage")

func main() {
	err := run(os.Args[1:], os.Stdout, os.Stderr)
	switch {
	case err == nil:
	case errors.Is(err, flag.ErrHelp):
	case errors.Is(err, errUsage):
		os.Exit(2)
	default:
		fmt.Fprintln(os.Stderr, "arl-agent:", err)
		os.Exit(1)
	}
}

// run runs one subcommand.
func run(args []string, stdout, stderr io.Writer) error {
	if len(args) == 0 {
		fmt.Fprint(stderr, usage)
		return errUsage
	}
	switch args[0] {
	case "serve":
		return serve(args[1:], stderr)
	case "copy":
		if len(args) != 2 {
			fmt.Fprint(stderr, usage)
			return errUsage
		}
		return copySelf(args[1])
	case "prepare":
		return prepare(args[1:], stderr)
	case "workdir":
		return workdir(args[1:], stderr)
	case "version", "--version", "-version":
		_, err := fmt.Fprintln(stdout, version)
		return err
	case "help", "--help", "-help", "-h":
		_, err := fmt.Fprint(stdout, usage)
		return err
	default:
		fmt.Fprintf(stderr, "arl-agent: no such subcommand: %s\n%s", args[0], usage)
		return errUsage
	}
}
