// Package app puts the server together: it is the one place where API, storage,
// scheduler and pod runtime meet. NewCommand is the way in; server.go says in
// which order things are built, run and stopped.
package app

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"
	cliflag "k8s.io/component-base/cli/flag"
	"k8s.io/component-base/cli/globalflag"
	"k8s.io/component-base/logs"

	"arl.io/arl/cmd/apiserver/app/options"
	"arl.io/arl/cmd/apiserver/app/pki"
	"arl.io/arl/cmd/apiserver/app/storagecmd"
)

// NewCommand returns the arl-apiserver command. The server and its subcommands
// stop when ctx ends.
func NewCommand(ctx context.Context, version string) *cobra.Command {
	o := options.New()
	var showAll func() bool
	cmd := &cobra.Command{
		Use:   "arl-apiserver",
		Short: "Serve warm pools, sandboxes and tasks as a Kubernetes API",
		Long: `arl-apiserver gives AI agents a place to run code within milliseconds.

A WarmPool keeps pods started and idle, a Sandbox claims one of them, and a
Task runs steps in a sandbox. All three are Kubernetes resources of the group
arl.io, so kubectl and every Kubernetes client work with them.

With --standalone it needs no cluster and no Docker: pods are containers on
this machine, and kubectl uses the kubeconfig written to the data directory.

In a cluster it runs behind kube-apiserver and is registered with an APIService.
It creates ordinary pods, and it uses the cluster's authentication and RBAC.`,
		Example: `  # What can this machine do for pods, and what is missing?
  arl-apiserver doctor

  # Serve on this machine, and use it.
  arl-apiserver --standalone --data-dir ./arl-data
  kubectl --kubeconfig ./arl-data/kubeconfig get warmpools

  # Back up while the server runs.
  arl-apiserver storage backup --data-dir ./arl-data --output arl.backup`,
		Version:       version,
		Args:          cobra.NoArgs,
		SilenceUsage:  true,
		SilenceErrors: true,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if showAll() {
				return cmd.Help()
			}
			if err := prepare(o); err != nil {
				return err
			}
			limitLibraryLog()
			return Run(cmd.Context(), o, version)
		},
	}
	cmd.SetContext(ctx)
	sets := flagsOf(o, cmd.Name())
	for _, set := range sets.FlagSets {
		cmd.Flags().AddFlagSet(set)
	}
	plain := &cobra.Command{}
	subcommands := []*cobra.Command{
		newDoctorCommand(), newPurgeCommand(),
		storagecmd.New(storagecmd.Layout{Storage: storageDir, PKI: pkiDir, Kubeconfig: pki.KubeconfigName}),
	}
	for _, sub := range subcommands {
		// Theirs would be the server's flags otherwise.
		sub.SetUsageFunc(plain.UsageFunc())
		sub.SetHelpFunc(plain.HelpFunc())
	}
	texts := setHelp(cmd, sets)
	showAll = func() bool { return texts.all }
	cmd.AddCommand(subcommands...)
	return cmd
}

// flagsOf returns the flags of the options and those that libraries add to every program. Each flag is
// in one set: of two of the same name, one would have no effect, and which is left to chance.
func flagsOf(o *options.Options, name string) cliflag.NamedFlagSets {
	sets := o.Flags()
	globalflag.AddGlobalFlags(sets.FlagSet("global"), name, logs.SkipLoggingConfigurationFlags())
	sets.FlagSet("global").VisitAll(options.MarkLibrary)
	return sets
}

// prepare turns parsed flags into options that can be run.
func prepare(o *options.Options) error {
	if err := o.Complete(); err != nil {
		return err
	}
	if err := o.Validate(); err != nil {
		return err
	}
	if err := setUpLogs(o.Logs); err != nil {
		return fmt.Errorf("set up logging: %w", err)
	}
	return nil
}
