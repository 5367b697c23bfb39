package storagecmd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
)

// maxMessage bounds what is shown of a server's refusal.
const maxMessage = 4 << 10

// source is where a command gets its data: a running server or a stopped one's files.
type source struct {
	place
	kubeconfig string
	offline    bool
}

func (s *source) addFlags(cmd *cobra.Command) {
	s.addFlag(cmd, "The server's data directory: the running server is found by the kubeconfig in it.")
	cmd.Flags().StringVar(&s.kubeconfig, "kubeconfig", "", "Kubeconfig of the running server. Default: the one in --data-dir.")
	cmd.Flags().BoolVar(&s.offline, "offline", false, "Read the files of a stopped server in --data-dir instead of asking a running one.")
}

func (s *source) validate() error {
	switch {
	case s.offline && s.kubeconfig != "":
		return errors.New("--offline and --kubeconfig: a server is either stopped or asked; give one of the two")
	case s.dir == "" && s.kubeconfig == "":
		return errors.New("--data-dir or --kubeconfig: one of them must be given, for instance --data-dir ./arl-data")
	}
	return nil
}

// get asks the running server for a path. The caller closes the body.
func (s *source) get(ctx context.Context, path string) (io.ReadCloser, error) {
	kubeconfig := s.kubeconfig
	if kubeconfig == "" {
		kubeconfig = filepath.Join(s.dir, s.layout.Kubeconfig)
	}
	if _, err := os.Stat(kubeconfig); err != nil {
		return nil, fmt.Errorf("find the server: %w: is %s the data directory of a server that has been started? Else name a --kubeconfig", err, s.dir)
	}
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		return nil, fmt.Errorf("read kubeconfig: %w", err)
	}
	client, err := rest.HTTPClientFor(config)
	if err != nil {
		return nil, fmt.Errorf("read kubeconfig %s: %w", kubeconfig, err)
	}
	client.Timeout = 0 // a backup takes as long as it takes
	url := strings.TrimSuffix(config.Host, "/") + path
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, fmt.Errorf("read kubeconfig %s: %w", kubeconfig, err)
	}
	response, err := client.Do(request)
	if err != nil {
		return nil, fmt.Errorf("ask the server: %w\nIs it running? With a stopped server, give --data-dir and --offline", err)
	}
	if response.StatusCode == http.StatusOK {
		return response.Body, nil
	}
	message, readErr := io.ReadAll(io.LimitReader(response.Body, maxMessage))
	err = fmt.Errorf("the server refused %s: %s: %s", path, response.Status, strings.TrimSpace(string(message)))
	return nil, errors.Join(err, readErr, response.Body.Close())
}
