// Command probe is all that an image without a shell holds. It says what it is
// told to, speaks to the agents of pods with whatever credentials it finds, and
// tries what can be reached over the network.
package main

import (
	"crypto/tls"
	"fmt"
	"os"
	"strings"

	"arl.io/arl/test/harness/intruder"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "probe:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	switch {
	case len(args) > 1 && args[0] == "say":
		fmt.Println(strings.Join(args[1:], " "))
		return nil
	case len(args) == 2 && args[0] == "call":
		return call(args[1])
	case len(args) == 4 && args[0] == "call":
		certificate, err := tls.LoadX509KeyPair(args[2], args[3])
		if err != nil {
			return err
		}
		return call(args[1], certificate)
	case len(args) == 1 && args[0] == "intrude":
		return intrude()
	case len(args) > 1 && args[0] == "serve":
		return serve(args[1:])
	case len(args) > 1 && args[0] == "reach":
		return reach(args[1:])
	default:
		return fmt.Errorf("say WORDS, call ADDRESS [CERTIFICATE KEY], serve PLACES, reach PLACES, or intrude, not %q", args)
	}
}

// call makes a connection to an agent as the server does, and waits for the
// first words of the agent, which come before any request. It returns the
// agent's reason if that will not speak to who has these certificates.
func call(address string, certificates ...tls.Certificate) error {
	conn, err := tls.Dial("tcp", address, &tls.Config{
		InsecureSkipVerify: true, // who answers does not matter: nobody is to answer
		NextProtos:         []string{"h2"},
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			// Whatever the agent says that it accepts.
			if len(certificates) == 0 {
				return &tls.Certificate{}, nil
			}
			return &certificates[0], nil
		},
	})
	if err != nil {
		return err
	}
	defer conn.Close()
	if _, err := conn.Read(make([]byte, 1)); err != nil {
		return err
	}
	fmt.Println("the agent serves")
	return nil
}

// intrude prints the ways by which this process could take over its parent, the agent, and whether it
// could stop it.
func intrude() error {
	agent := os.Getppid()
	stops, err := intruder.Stop(agent)
	fmt.Printf("open: [%s], stops: %t\n", strings.Join(intruder.TakeOver(agent), ", "), stops)
	return err
}
