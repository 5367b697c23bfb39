package listener

import (
	"net"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	genericapiserver "k8s.io/apiserver/pkg/server"
	genericoptions "k8s.io/apiserver/pkg/server/options"
)

// TestListenErrorNamesThePort has a port that is in use: the error names it, not
// the 0 that the generic options leave behind.
func TestListenErrorNamesThePort(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	port := taken.Addr().(*net.TCPAddr).Port
	for _, tt := range []struct {
		name    string
		address net.IP
		port    int
		want    string
	}{
		{"port in use", net.IPv4(127, 0, 0, 1), port, "--secure-port " + strconv.Itoa(port) + ": " + taken.Addr().String() + " is in use: stop"},
		// An address for documentation, which no machine has.
		{"foreign address", net.IPv4(192, 0, 2, 1), 0, "--bind-address 192.0.2.1: is not an address of this machine"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			serving := genericoptions.NewSecureServingOptions()
			serving.BindAddress, serving.BindPort = tt.address, tt.port
			config := genericapiserver.NewConfig(serializer.NewCodecFactory(runtime.NewScheme()))
			err := Apply(t.Context(), config, serving)
			if err == nil || !strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), "port 0") {
				t.Errorf("got %v, want an error with %q", err, tt.want)
			}
		})
	}
}

func TestAnyPortIsNamed(t *testing.T) {
	serving := genericoptions.NewSecureServingOptions()
	serving.BindAddress, serving.BindPort = net.IPv4(127, 0, 0, 1), 0
	if err := open(t.Context(), serving); err != nil {
		t.Fatal(err)
	}
	defer serving.Listener.Close()
	if serving.BindPort == 0 || serving.BindPort != serving.Listener.Addr().(*net.TCPAddr).Port {
		t.Errorf("the port is %d, the listener's address %s", serving.BindPort, serving.Listener.Addr())
	}
}

// Port 0 is no port that can be in use: if none is free, the address is what is full.
func TestNoFreePortNamesTheAddress(t *testing.T) {
	serving := genericoptions.NewSecureServingOptions()
	serving.BindAddress, serving.BindPort = net.IPv4(127, 0, 0, 1), 0
	err := explain("127.0.0.1:0", serving, &net.OpError{Op: "listen", Err: syscall.EADDRINUSE})
	if !strings.Contains(err.Error(), "every port of 127.0.0.1 is in use") || strings.Contains(err.Error(), "127.0.0.1:0") {
		t.Errorf("error %v, want one that names the address", err)
	}
}
