package storagecmd

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"arl.io/arl/pkg/storage/kv"
)

type verify struct {
	place
	backup string
	max    int
	format string
}

func newVerify(layout Layout) *cobra.Command {
	v := &verify{place: place{layout: layout}}
	cmd := &cobra.Command{
		Use:   "verify (--data-dir DIR | --backup FILE)",
		Short: "Check every page and record of a stopped server's database, or a backup",
		Long: `Check every page and record of a stopped server's database, or a backup.

Of a database it reads every page in use of both files, the checksum of every
record, whether the log is complete and in order, and whether each write follows
from the ones before. It says all that is wrong, not only the first: file, page,
revision or key, and what that means. It writes nothing and opens nothing for
writing, so it works on a read-only copy or snapshot, too.

The server must be stopped: it checks all this itself when it starts. While the
command runs no server can start on the directory.

Of a backup it checks everything, to the last byte.

It ends with 0 if all is in order, and with 1 if not, or if it could not look.`,
		Example: `  arl-apiserver storage verify --data-dir ./arl-data
  arl-apiserver storage verify --backup arl.backup`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return v.run(cmd) },
	}
	v.addFlag(cmd, "The stopped server's data directory.")
	cmd.Flags().StringVar(&v.backup, "backup", "", "A backup to check instead; - is standard input.")
	cmd.Flags().IntVar(&v.max, "max-problems", kv.DefaultMaxProblems, "How many problems are reported at most.")
	cmd.Flags().StringVarP(&v.format, "output", "o", "", "Output format: empty for people, json for programs.")
	return cmd
}

func (v *verify) run(cmd *cobra.Command) error {
	switch {
	case (v.dir == "") == (v.backup == ""):
		return errors.New("--data-dir or --backup: exactly one of them must be given")
	case v.format != "" && v.format != "json":
		return fmt.Errorf("--output: %q is not known, only json is", v.format)
	case v.max < 1:
		return fmt.Errorf("--max-problems: must be at least 1, is %d", v.max)
	}
	if v.backup != "" {
		return v.checkBackup(cmd)
	}
	dir, err := v.storage()
	if err != nil {
		return err
	}
	report, err := kv.Verify(cmd.Context(), dir, kv.VerifyOptions{MaxProblems: v.max})
	if err != nil {
		return v.explain(err)
	}
	if err := v.print(cmd.OutOrStdout(), report); err != nil {
		return err
	}
	if n := len(report.Problems); n > 0 {
		return fmt.Errorf("%s: problems found: %d%s", dir, n, map[bool]string{true: " and more"}[report.More])
	}
	return nil
}

func (v *verify) print(out io.Writer, r kv.VerifyReport) error {
	if v.format == "json" {
		encoder := json.NewEncoder(out)
		encoder.SetIndent("", "  ")
		return encoder.Encode(r)
	}
	for _, p := range r.Problems {
		fmt.Fprintf(out, "%s\n    %s\n", p, p.Meaning)
	}
	if r.Partial {
		fmt.Fprintln(out, "After this damage it was not checked whether records fit each other, only whether each is whole.")
	}
	fmt.Fprintf(out, "checked log.db (%d pages, %d records) and state.db (%d pages, %d records)\n",
		r.LogPages, r.LogRecords, r.StatePages, r.StateRecords)
	if len(r.Problems) == 0 {
		fmt.Fprintf(out, "everything is in order: %d objects at revision %d, history from revision %d on\n",
			r.Keys, r.Revision, r.CompactedRevision+1)
	}
	return nil
}

func (v *verify) checkBackup(cmd *cobra.Command) (err error) {
	in := cmd.InOrStdin()
	if v.backup != "-" {
		file, err := os.Open(v.backup)
		if err != nil {
			return fmt.Errorf("--backup: %w", err)
		}
		defer file.Close()
		in = file
	}
	info, err := kv.CheckBackup(cmd.Context(), in, nil)
	if err != nil {
		return fmt.Errorf("%s: %w", inputName(v.backup), err)
	}
	if v.format == "json" {
		return json.NewEncoder(cmd.OutOrStdout()).Encode(info)
	}
	fmt.Fprintf(cmd.OutOrStdout(), "the backup is whole: revision %d, %d objects, %s, sha256 %s\n",
		info.Revision, info.Keys, humanBytes(info.Size), info.SHA256)
	return nil
}
