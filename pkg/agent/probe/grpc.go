package probe

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"

	"arl.io/arl/pkg/agent/wire"
)

// One unary call of one method with one field each way: what the health protocol
// of gRPC needs fits here, and keeps the gRPC library, as large as the rest of the
// agent, out of every pod.
const (
	grpcMethod = "/grpc.health.v1.Health/Check"
	// grpcPrefix is what stands before a message: whether it is compressed, and its size.
	grpcPrefix = 5
	// serviceTag is field 1 of HealthCheckRequest, a string; statusTag is field 1 of
	// HealthCheckResponse, an enum.
	serviceTag = 1<<3 | 2
	statusTag  = 1 << 3
	serving    = 1
)

// servingNames are the other values of the enum.
var servingNames = map[uint64]string{0: "UNKNOWN", 2: "NOT_SERVING", 3: "SERVICE_UNKNOWN"}

// grpcCheck succeeds if the server says that the service is serving.
func grpcCheck(ctx context.Context, probe *wire.GRPCProbe) error {
	address := hostPort("", probe.Port)
	status, err := grpcStatus(ctx, address, probe.Service)
	if err != nil {
		return fmt.Errorf("gRPC health check of service %q at %s: %w", probe.Service, address, err)
	}
	if status != serving {
		return fmt.Errorf("gRPC health check of service %q at %s: %s", probe.Service, address, servingNames[status])
	}
	return nil
}

// grpcStatus asks for the status of a service.
func grpcStatus(ctx context.Context, address, service string) (uint64, error) {
	message := binary.AppendUvarint([]byte{serviceTag}, uint64(len(service)))
	message = append(message, service...)
	body := append(binary.BigEndian.AppendUint32([]byte{0}, uint32(len(message))), message...)
	target := url.URL{Scheme: "http", Host: address, Path: grpcMethod}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, target.String(), bytes.NewReader(body))
	if err != nil {
		return 0, err
	}
	request.Header.Set("Content-Type", "application/grpc")
	request.Header.Set("TE", "trailers")
	request.Header.Set("User-Agent", "arl-agent-probe")
	transport := &http.Transport{
		Protocols:   new(http.Protocols),
		DialContext: func(ctx context.Context, _, to string) (net.Conn, error) { return dial(ctx, to) },
	}
	transport.Protocols.SetUnencryptedHTTP2(true)
	defer transport.CloseIdleConnections()
	response, err := transport.RoundTrip(request)
	if err != nil {
		return 0, err
	}
	defer response.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(response.Body, maxBody))
	if err != nil {
		return 0, err
	}
	if response.StatusCode != http.StatusOK {
		return 0, fmt.Errorf("status %d", response.StatusCode)
	}
	for _, header := range []http.Header{response.Trailer, response.Header} {
		if code := header.Get("Grpc-Status"); code != "" && code != "0" {
			return 0, fmt.Errorf("gRPC status %s: %s", code, header.Get("Grpc-Message"))
		}
	}
	return decodeStatus(answer)
}

// decodeStatus reads a HealthCheckResponse. An enum of 0 is left out of the message.
func decodeStatus(answer []byte) (uint64, error) {
	if len(answer) < grpcPrefix || answer[0] != 0 || int(binary.BigEndian.Uint32(answer[1:])) != len(answer)-grpcPrefix {
		return 0, errors.New("not a gRPC answer")
	}
	message := answer[grpcPrefix:]
	if len(message) == 0 {
		return 0, nil
	}
	if message[0] != statusTag {
		return 0, errors.New("not the answer of a health check")
	}
	status, n := binary.Uvarint(message[1:])
	if n <= 0 {
		return 0, errors.New("not the answer of a health check")
	}
	return status, nil
}
