// Command image packs the static server and agent into a container image and
// writes it as an archive. It needs neither Docker nor a registry, and two runs
// over the same binaries write the same bytes. "make image" calls it.
package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"arl.io/arl/hack/image/archive"
)

// options are the command's flags.
type options struct {
	bin, out, version, revision, arch string
	tags                              []string
	push                              bool
}

func main() {
	if err := command().Execute(); err != nil {
		os.Exit(1)
	}
}

func command() *cobra.Command {
	var o options
	cmd := &cobra.Command{
		Use:   "image --out FILE --tag NAME:TAG [--tag NAME:TAG]...",
		Short: "Pack arl-apiserver and arl-agent into an image",
		Long: "Packs arl-apiserver and arl-agent into an image and writes it as an OCI archive.\n" +
			"With --push, the image goes into a registry, too, with the credentials of ~/.docker/config.json.\n" +
			"Its time is that of SOURCE_DATE_EPOCH, in seconds since 1970, or 1970 itself.",
		Args:         cobra.NoArgs,
		SilenceUsage: true,
		RunE:         func(cmd *cobra.Command, _ []string) error { return run(cmd, o) },
	}
	flags := cmd.Flags()
	flags.StringVar(&o.bin, "bin", "bin", "folder with arl-apiserver and arl-agent, both linked statically")
	flags.StringVar(&o.out, "out", "", "archive to write")
	flags.StringVar(&o.version, "version", "unknown", "version that the image's labels state")
	flags.StringVar(&o.revision, "revision", "", "commit that the image's labels state")
	flags.StringVar(&o.arch, "arch", runtime.GOARCH, "architecture of the binaries, by Go's name")
	flags.StringArrayVar(&o.tags, "tag", nil, "name and tag of the image, such as registry.example.com/arl:v1; may be repeated")
	flags.BoolVar(&o.push, "push", false, "put the image into the registries that the tags name, too")
	return cmd
}

func run(cmd *cobra.Command, o options) error {
	if o.out == "" {
		return errors.New("--out must name the archive to write")
	}
	created, err := sourceDate(os.Getenv("SOURCE_DATE_EPOCH"))
	if err != nil {
		return err
	}
	for _, binary := range []string{"arl-apiserver", "arl-agent"} {
		if err := mustBeStatic(filepath.Join(o.bin, binary), o.arch); err != nil {
			return err
		}
	}
	image, err := archive.Build(server(o, created))
	if err != nil {
		return fmt.Errorf("build the image: %w", err)
	}
	if err := archive.WriteFile(o.out, image, o.tags); err != nil {
		return fmt.Errorf("write %s: %w", o.out, err)
	}
	if o.push {
		if err := push(cmd.Context(), image, o.tags); err != nil {
			return err
		}
	}
	digest, err := image.Digest()
	if err != nil {
		return fmt.Errorf("digest the image: %w", err)
	}
	_, err = fmt.Fprintf(cmd.OutOrStdout(), "%s %s\n", o.out, digest)
	return err
}

// sourceDate reads SOURCE_DATE_EPOCH.
func sourceDate(value string) (time.Time, error) {
	if value == "" {
		return time.Unix(0, 0).UTC(), nil
	}
	seconds, err := strconv.ParseInt(value, 10, 64)
	if err != nil || seconds < 0 {
		return time.Time{}, fmt.Errorf("SOURCE_DATE_EPOCH is %q: it must be whole seconds since 1970", value)
	}
	return time.Unix(seconds, 0).UTC(), nil
}
