package storagecmd

import (
	"errors"
	"fmt"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"arl.io/arl/pkg/storage/kv"
)

func newCompact(layout Layout) *cobra.Command {
	p := &place{layout: layout}
	cmd := &cobra.Command{
		Use:   "compact --data-dir DIR",
		Short: "Give back the disk space that a stopped server's database does not need any more",
		Long: `Give back the disk space that a stopped server's database does not need any more.

A running server reuses the space of deleted objects but never gives it back.
This command writes both files anew with nothing in them but the objects there
are. History goes: watches get 410 Expired after the next start, and list again.
Objects and resource versions stay as they are.

It is worth while after there were far more objects than there will be; 'storage
stats --offline' says how much is free within the files. A started server
reserves at least 16 MiB for each file, whatever is in it.

The server must be stopped. There must be room for the new files beside the old
ones. They are read back and compared before they take the place of the old
ones; when the command is killed, at whatever moment, the server starts with
everything, and the command can be run again.`,
		Example: `  arl-apiserver storage compact --data-dir ./arl-data`,
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			dir, err := p.storage()
			if err != nil {
				return err
			}
			r, err := kv.Shrink(cmd.Context(), dir)
			if errors.Is(err, kv.ErrNoSpace) {
				return fmt.Errorf("%w\nNothing has changed. Free some space, or move a backup to a larger disk and restore it there", err)
			}
			if err != nil {
				return p.explain(err)
			}
			w := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 0, 3, ' ', 0)
			fmt.Fprintf(w, "FILE\tBEFORE\tAFTER\n")
			fmt.Fprintf(w, "log.db\t%s\t%s\n", humanBytes(r.Before.Log), humanBytes(r.After.Log))
			fmt.Fprintf(w, "state.db\t%s\t%s\n", humanBytes(r.Before.State), humanBytes(r.After.State))
			if err := w.Flush(); err != nil {
				return err
			}
			fmt.Fprintf(cmd.OutOrStdout(), "%d objects at revision %d, %d revisions of history dropped\n", r.Keys, r.Revision, r.Dropped)
			return nil
		},
	}
	p.addFlag(cmd, "The stopped server's data directory. Required.")
	return cmd
}
