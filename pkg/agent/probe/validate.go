package probe

import (
	"errors"
	"fmt"
	"strings"

	"arl.io/arl/pkg/agent/wire"
)

// validate says what is wrong with the probes.
func validate(probes wire.Probes) error {
	if probes.Startup == nil && probes.Readiness == nil {
		return errors.New("needs startup or readiness")
	}
	if probe := probes.Startup; probe != nil {
		if err := validateProbe(probe); err != nil {
			return fmt.Errorf("startup: %w", err)
		}
		if probe.SuccessThreshold > 1 {
			return errors.New("startup: successThreshold: must be 1")
		}
	}
	if probe := probes.Readiness; probe != nil {
		if err := validateProbe(probe); err != nil {
			return fmt.Errorf("readiness: %w", err)
		}
	}
	return nil
}

func validateProbe(probe *wire.Probe) error {
	for name, value := range map[string]int32{
		"initialDelaySeconds": probe.InitialDelaySeconds, "timeoutSeconds": probe.TimeoutSeconds, "periodSeconds": probe.PeriodSeconds,
		"successThreshold": probe.SuccessThreshold, "failureThreshold": probe.FailureThreshold,
	} {
		if value < 0 {
			return fmt.Errorf("%s: must not be negative", name)
		}
	}
	given := 0
	var wrong error
	port := func(field string, port int32) error {
		if port < 1 || port > 65535 {
			return fmt.Errorf("%s.port: must be 1 to 65535", field)
		}
		return nil
	}
	if probe.Exec != nil {
		given++
		if len(probe.Exec.Command) == 0 || probe.Exec.Command[0] == "" {
			wrong = errors.New("exec.command: must name a program")
		}
	}
	if probe.HTTPGet != nil {
		given++
		wrong = port("httpGet", probe.HTTPGet.Port)
		if scheme := strings.ToUpper(probe.HTTPGet.Scheme); scheme != "" && scheme != "HTTP" && scheme != "HTTPS" {
			wrong = errors.New("httpGet.scheme: must be HTTP or HTTPS")
		}
	}
	if probe.TCPSocket != nil {
		given++
		wrong = port("tcpSocket", probe.TCPSocket.Port)
	}
	if probe.GRPC != nil {
		given++
		wrong = port("grpc", probe.GRPC.Port)
	}
	if given != 1 {
		return errors.New("needs exactly one of exec, httpGet, tcpSocket and grpc")
	}
	return wrong
}
