package app

import (
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	cliflag "k8s.io/component-base/cli/flag"

	"arl.io/arl/cmd/apiserver/app/options"
)

// helpColumns is the width that help texts are wrapped to.
const helpColumns = 100

// helpAllFlag shows every flag.
const helpAllFlag = "help-all"

// help prints the help of the server's command: what it is, its subcommands, an
// example, and the flags that are this program's own. --help-all adds those of
// the Kubernetes libraries.
type help struct {
	sets cliflag.NamedFlagSets
	all  bool
}

// setHelp gives the command its help, and the flag --help-all.
func setHelp(cmd *cobra.Command, sets cliflag.NamedFlagSets) *help {
	h := &help{sets: sets}
	cmd.Flags().BoolVar(&h.all, helpAllFlag, false, "Show all flags, with those of the Kubernetes libraries.")
	cmd.SetHelpFunc(func(cmd *cobra.Command, _ []string) { h.print(cmd, cmd.OutOrStdout()) })
	cmd.SetUsageFunc(func(cmd *cobra.Command) error {
		h.print(cmd, cmd.OutOrStderr())
		return nil
	})
	return h
}

func (h *help) print(cmd *cobra.Command, w io.Writer) {
	fmt.Fprintf(w, "%s\n\nUsage:\n  %s [flags]\n  %s COMMAND\n\nCommands:\n", cmd.Long, cmd.Name(), cmd.Name())
	width := 0
	for _, sub := range cmd.Commands() {
		width = max(width, len(sub.Name()))
	}
	for _, sub := range cmd.Commands() {
		if sub.IsAvailableCommand() {
			fmt.Fprintf(w, "  %-*s   %s\n", width, sub.Name(), sub.Short)
		}
	}
	fmt.Fprintf(w, "\nExamples:\n%s\n", cmd.Example)
	shown, hidden := h.sets, 0
	if !h.all {
		shown, hidden = own(h.sets)
	}
	cliflag.PrintSections(w, shown, helpColumns)
	if hidden > 0 {
		fmt.Fprintf(w, "\nRun '%s --%s' for %d more flags, of the Kubernetes libraries, and\n'%s COMMAND --help' for a command.\n",
			cmd.Name(), helpAllFlag, hidden, cmd.Name())
	}
}

// own returns the flags that are this program's own, in their groups, and how
// many others there are.
func own(sets cliflag.NamedFlagSets) (shown cliflag.NamedFlagSets, hidden int) {
	for _, name := range sets.Order {
		sets.FlagSets[name].VisitAll(func(f *pflag.Flag) {
			switch {
			case f.Hidden || strings.HasPrefix(f.Usage, "DEPRECATED"):
			case options.FromLibrary(f):
				hidden++
			default:
				shown.FlagSet(name).AddFlag(f)
			}
		})
	}
	return shown, hidden
}
