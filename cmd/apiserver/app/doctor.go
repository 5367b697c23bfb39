package app

import (
	"errors"
	"fmt"
	"path/filepath"

	"github.com/spf13/cobra"

	"arl.io/arl/cmd/apiserver/app/options"
	"arl.io/arl/cmd/apiserver/app/standalone"
	"arl.io/arl/pkg/podruntime/local"
	"arl.io/arl/pkg/podruntime/local/doctor"
)

// newDoctorCommand returns the command that looks at the machine before a server does.
func newDoctorCommand() *cobra.Command {
	o := options.New()
	cmd := &cobra.Command{
		Use:   "doctor",
		Short: "Check what this machine can do for pods, and say how to fix what is missing",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := o.Complete(); err != nil {
				return err
			}
			report := doctor.Run(cmd.Context(), doctor.Config{
				Dir:          filepath.Join(o.DataDir, standalone.RuntimeDir),
				ImagesDir:    local.ImagesDir(filepath.Join(o.DataDir, standalone.RuntimeDir)),
				StorageLimit: o.Runtime.StorageLimit.Value(), MinFree: uint64(o.Storage.MinFree.Value()),
				TrashDir:  local.TrashDir(filepath.Join(o.DataDir, standalone.RuntimeDir)),
				AgentPath: o.Runtime.AgentPath,
				UserIDs:   o.Runtime.PodUserIDs,
				Memory:    o.Runtime.PodMemory.Value(),
				Pids:      local.DefaultPids,
			})
			if _, err := report.WriteTo(cmd.OutOrStdout()); err != nil {
				return fmt.Errorf("print the report: %w", err)
			}
			if report.Failed() {
				return errors.New("pods cannot run on this machine as it is")
			}
			return nil
		},
	}
	cmd.Flags().StringVar(&o.DataDir, "data-dir", ".", "Where a server's data would be.")
	o.Runtime.AddStorageLimit(cmd.Flags())
	cmd.Flags().StringVar(&o.Runtime.AgentPath, "agent-path", "", "The arl-agent binary. Default: arl-agent beside this binary.")
	o.Runtime.AddPodUserIDs(cmd.Flags())
	o.Runtime.AddPodMemory(cmd.Flags())
	return cmd
}
