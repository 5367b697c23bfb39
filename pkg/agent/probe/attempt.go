package probe

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"

	"arl.io/arl/pkg/agent/process"
	"arl.io/arl/pkg/agent/wire"
)

const (
	// ID is the execution ID of exec probes. No execution has it, because it has a slash.
	ID = "arl/probe"
	// maxOutput bounds what of a command's output goes into a message.
	maxOutput = 256
	// maxBody bounds what is read of an answer, as the kubelet does.
	maxBody = 10 << 10
	// maxRedirects is that of Go's own client and of the kubelet.
	maxRedirects = 10
)

// try makes one attempt at a probe. It returns nil if it succeeds.
func (p *Prober) try(ctx context.Context, probe *wire.Probe) error {
	var err error
	switch {
	case probe.Exec != nil:
		err = p.exec(ctx, probe.Exec)
	case probe.HTTPGet != nil:
		err = httpGet(ctx, probe.HTTPGet)
	case probe.TCPSocket != nil:
		err = tcpSocket(ctx, probe.TCPSocket)
	default:
		err = grpcCheck(ctx, probe.GRPC)
	}
	if err != nil && errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return fmt.Errorf("no success within timeoutSeconds (%d): %w", probe.TimeoutSeconds, err)
	}
	return err
}

// exec runs a command, which succeeds with exit code 0.
func (p *Prober) exec(ctx context.Context, probe *wire.ExecProbe) error {
	var said clipped
	result, err := p.config.Supervisor.Run(ctx, process.Command{
		ID: ID, Args: probe.Command, Env: p.config.Env, Dir: p.config.Dir, Stdout: said.write, Stderr: said.write,
	})
	switch {
	case err != nil:
		return err
	case result.Stopped:
		return fmt.Errorf("%s was stopped", probe.Command[0])
	case result.ExitCode != 0:
		return fmt.Errorf("%s exited with code %d%s", probe.Command[0], result.ExitCode, said.suffix())
	}
	return nil
}

// clipped keeps the beginning of what a command writes. It is safe for concurrent use.
type clipped struct {
	mu   sync.Mutex
	text []byte
}

func (c *clipped) write(data []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.text = append(c.text, data[:min(len(data), maxOutput-len(c.text))]...)
}

// suffix returns the text as the end of a message.
func (c *clipped) suffix() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	text := bytes.TrimSpace(bytes.ToValidUTF8(c.text, nil))
	if len(text) == 0 {
		return ""
	}
	return ": " + string(text)
}

// errOtherHost ends the following of redirects with success.
var errOtherHost = errors.New("redirected to another host")

// httpGet sends a request, which succeeds with a status of 200 to 399. A
// redirect to another host is a success that is not followed.
func httpGet(ctx context.Context, probe *wire.HTTPProbe) error {
	address := addressOf(probe)
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, address.String(), nil)
	if err != nil {
		return err
	}
	request.Header.Set("User-Agent", "arl-agent-probe")
	request.Header.Set("Accept", "*/*")
	for _, header := range probe.Headers {
		if strings.EqualFold(header.Name, "Host") {
			request.Host = header.Value
			continue
		}
		// Of several of a name all are sent, and the defaults above are replaced.
		if name := http.CanonicalHeaderKey(header.Name); name == "User-Agent" || name == "Accept" {
			request.Header.Set(name, header.Value)
		} else {
			request.Header.Add(name, header.Value)
		}
	}
	transport := &http.Transport{
		DisableKeepAlives: true,
		// The kubelet verifies none either: it is about whether the server answers.
		TLSClientConfig: &tls.Config{InsecureSkipVerify: true},
		DialContext:     func(ctx context.Context, _, to string) (net.Conn, error) { return dial(ctx, to) },
	}
	defer transport.CloseIdleConnections()
	client := &http.Client{Transport: transport, CheckRedirect: func(next *http.Request, via []*http.Request) error {
		if next.URL.Hostname() != via[0].URL.Hostname() {
			return errOtherHost
		}
		if len(via) >= maxRedirects {
			return fmt.Errorf("more than %d redirects", maxRedirects)
		}
		return nil
	}}
	response, err := client.Do(request)
	if errors.Is(err, errOtherHost) {
		return nil
	}
	if err != nil {
		return err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(io.LimitReader(response.Body, maxBody))
	if err != nil {
		return fmt.Errorf("GET %s: %w", address, err)
	}
	if response.StatusCode < 200 || response.StatusCode >= 400 {
		said := clipped{text: body[:min(len(body), maxOutput)]}
		return fmt.Errorf("GET %s: status %d%s", address, response.StatusCode, said.suffix())
	}
	return nil
}

func addressOf(probe *wire.HTTPProbe) *url.URL {
	address, err := url.Parse(probe.Path)
	if err != nil {
		// The kubelet takes what cannot be parsed as the path itself.
		address = &url.URL{Path: probe.Path}
	}
	address.Scheme = strings.ToLower(probe.Scheme)
	if address.Scheme == "" {
		address.Scheme = "http"
	}
	address.Host = hostPort(probe.Host, probe.Port)
	if !strings.HasPrefix(address.Path, "/") {
		address.Path = "/" + address.Path
	}
	return address
}

// tcpSocket succeeds if a connection can be made.
func tcpSocket(ctx context.Context, probe *wire.TCPProbe) error {
	conn, err := dial(ctx, hostPort(probe.Host, probe.Port))
	if err != nil {
		return err
	}
	return conn.Close()
}

// localhost is the host of probes that name none.
const localhost = "localhost"

func hostPort(host string, port int32) string {
	if host == "" {
		host = localhost
	}
	return net.JoinHostPort(host, strconv.Itoa(int(port)))
}

// dial connects to host:port. It knows localhost also where the image has no /etc/hosts.
func dial(ctx context.Context, address string) (net.Conn, error) {
	var dialer net.Dialer
	host, port, err := net.SplitHostPort(address)
	if err != nil || host != localhost {
		return dialer.DialContext(ctx, "tcp", address)
	}
	conn, err := dialer.DialContext(ctx, "tcp", net.JoinHostPort("127.0.0.1", port))
	if err == nil {
		return conn, nil
	}
	if conn, err6 := dialer.DialContext(ctx, "tcp", net.JoinHostPort("::1", port)); err6 == nil {
		return conn, nil
	}
	return nil, err
}
