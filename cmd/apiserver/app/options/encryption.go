package options

import (
	"fmt"
	"path/filepath"
	"strings"

	"github.com/spf13/pflag"
)

// Flags of encryption at rest. Names and meaning are kube-apiserver's.
const (
	// EncryptionConfigFlag names the file that holds the keys or where they are.
	EncryptionConfigFlag = "encryption-provider-config"
	encryptionReloadFlag = "encryption-provider-config-automatic-reload"
)

// EncryptionOptions are the flags of encryption at rest.
type EncryptionOptions struct {
	// ConfigFile holds an EncryptionConfiguration of apiserver.config.k8s.io/v1.
	// Empty: objects are stored in clear.
	ConfigFile string
	// AutomaticReload has changes of the file take effect without a restart.
	AutomaticReload bool
}

func (o *EncryptionOptions) addFlags(fs *pflag.FlagSet) {
	fs.StringVar(&o.ConfigFile, EncryptionConfigFlag, o.ConfigFile,
		"File with a Kubernetes EncryptionConfiguration, by which objects are encrypted on disk. Keep it outside the data directory. "+
			"Default: objects are stored in clear.")
	fs.BoolVar(&o.AutomaticReload, encryptionReloadFlag, o.AutomaticReload,
		"Look at the file of --"+EncryptionConfigFlag+" every minute, and use it without a restart once it has changed. "+
			"All KMS plugins then share one health check, kms-providers.")
}

func (o *EncryptionOptions) complete() error {
	if o.ConfigFile == "" {
		return nil
	}
	file, err := filepath.Abs(o.ConfigFile)
	if err != nil {
		return fmt.Errorf("--%s: %w", EncryptionConfigFlag, err)
	}
	o.ConfigFile = file
	return nil
}

// validate returns what is wrong. What the file says is checked when it is loaded.
func (o *EncryptionOptions) validate(dataDir string) error {
	switch {
	case o.ConfigFile == "" && o.AutomaticReload:
		return fmt.Errorf("--%s: needs --%s, the file to look at", encryptionReloadFlag, EncryptionConfigFlag)
	case o.ConfigFile != "" && dataDir != "" && liesWithin(resolved(o.ConfigFile), resolved(dataDir)):
		return fmt.Errorf("--%s: %s is in the data directory, so that whoever gets a copy of that has the keys too: keep it elsewhere",
			EncryptionConfigFlag, o.ConfigFile)
	}
	return nil
}

// resolved follows symbolic links as far as there is something to follow.
func resolved(path string) string {
	if real, err := filepath.EvalSymlinks(path); err == nil {
		return real
	}
	return path
}

func liesWithin(path, dir string) bool {
	relative, err := filepath.Rel(dir, path)
	return err == nil && relative != ".." && !strings.HasPrefix(relative, ".."+string(filepath.Separator))
}
