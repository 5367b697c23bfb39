package storagecmd

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"arl.io/arl/cmd/apiserver/app/storageapi"
	"arl.io/arl/pkg/storage/kv"
)

type stats struct {
	source
	format string
}

func newStats(layout Layout) *cobra.Command {
	s := &stats{source: source{place: place{layout: layout}}}
	cmd := &cobra.Command{
		Use:   "stats (--data-dir DIR | --kubeconfig FILE)",
		Short: "Say how much there is of what",
		Long: `Say how much there is of what: objects by resource, history, and files.

A running server is asked, at ` + storageapi.StatsPath + `. With a stopped one,
--offline reads the files in --data-dir, and also says how much of them is free.

HISTORY are the writes that watches can still resume from. The server forgets
them after --storage-retention. OBJECTS are counted as they are stored, with
what encoding and encryption add to them.`,
		Example: `  arl-apiserver storage stats --data-dir ./arl-data
  arl-apiserver storage stats --data-dir ./arl-data -o json | jq .revision
  arl-apiserver storage stats --data-dir ./arl-data --offline`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return s.run(cmd) },
	}
	s.addFlags(cmd)
	cmd.Flags().StringVarP(&s.format, "output", "o", "", "Output format: empty for people, json for programs.")
	return cmd
}

func (s *stats) run(cmd *cobra.Command) error {
	if err := s.validate(); err != nil {
		return err
	}
	if s.format != "" && s.format != "json" {
		return fmt.Errorf("--output: %q is not known, only json is", s.format)
	}
	read := s.fromServer
	if s.offline {
		read = s.fromFiles
	}
	got, err := read(cmd.Context())
	if err != nil {
		return err
	}
	if s.format == "json" {
		encoder := json.NewEncoder(cmd.OutOrStdout())
		encoder.SetIndent("", "  ")
		return encoder.Encode(got)
	}
	return printStats(cmd.OutOrStdout(), got)
}

func (s *stats) fromServer(ctx context.Context) (got storageapi.Stats, err error) {
	body, err := s.get(ctx, storageapi.StatsPath)
	if err != nil {
		return got, err
	}
	defer func() { err = errors.Join(err, body.Close()) }()
	if err := json.NewDecoder(body).Decode(&got); err != nil {
		return got, fmt.Errorf("read the server's answer: %w", err)
	}
	return got, nil
}

func (s *stats) fromFiles(context.Context) (storageapi.Stats, error) {
	dir, err := s.storage()
	if err != nil {
		return storageapi.Stats{}, err
	}
	database, err := kv.ReadOffline(dir)
	if errors.Is(err, kv.ErrLocked) {
		return storageapi.Stats{}, fmt.Errorf("a server runs on %s: leave --offline out, so that it is asked: %w", s.dir, err)
	}
	if err != nil {
		return storageapi.Stats{}, s.explain(err)
	}
	return storageapi.OfflineStats(database), database.Close()
}

func printStats(out io.Writer, s storageapi.Stats) error {
	w := tabwriter.NewWriter(out, 0, 0, 3, ' ', 0)
	fmt.Fprintf(w, "DATABASE\tREVISION\tHISTORY FROM\tOBJECTS\tWATCHES\n")
	fmt.Fprintf(w, "%s\t%d\t%d\t%d\t%d\n\n", s.DatabaseID[:min(8, len(s.DatabaseID))], s.Revision, s.CompactedRevision+1, s.Objects, s.Watchers)
	fmt.Fprintf(w, "RESOURCE\tOBJECTS\tSIZE\tAVERAGE\n")
	for _, r := range s.Resources {
		fmt.Fprintf(w, "%s\t%d\t%s\t%s\n", r.Resource, r.Objects, humanBytes(r.Bytes), humanBytes(r.Bytes/max(1, r.Objects)))
	}
	fmt.Fprintf(w, "\nHISTORY\tENTRIES\tMEMORY\tON DISK\n")
	fmt.Fprintf(w, "\t%d\t%s\t%s\n", s.LogEntries, humanBytes(s.LogMemoryBytes), humanBytes(s.LogRecordBytes))
	fmt.Fprintf(w, "\nFILE\tSIZE\tFREE\n")
	fmt.Fprintf(w, "log.db\t%s\t%s\n", humanBytes(s.LogFileBytes), orUnknown(s.LogFreeBytes))
	fmt.Fprintf(w, "state.db\t%s\t%s\n", humanBytes(s.StateFileBytes), orUnknown(s.StateFreeBytes))
	return w.Flush()
}

// orUnknown is a size that only a stopped server's files tell.
func orUnknown(n *int64) string {
	if n == nil {
		return "-"
	}
	return humanBytes(*n)
}
