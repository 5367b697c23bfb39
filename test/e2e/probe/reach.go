package main

import (
	"fmt"
	"net"
	"strings"
	"sync"
	"time"
)

// reachTimeout is how long nobody may answer at a place that can be reached.
const reachTimeout = 3 * time.Second

// parse takes a place apart: a network and an address, such as udp/10.0.0.1:53.
func parse(place string) (network, address string, err error) {
	network, address, _ = strings.Cut(place, "/")
	if network != "tcp" && network != "udp" {
		return "", "", fmt.Errorf("%q is no place such as tcp/10.0.0.1:80 or udp/:53", place)
	}
	return network, address, nil
}

// serve listens at places until the process is killed, and answers who comes.
func serve(places []string) error {
	failed := make(chan error)
	for _, place := range places {
		network, address, err := parse(place)
		if err != nil {
			return err
		}
		if network == "udp" {
			conn, err := net.ListenPacket(network, address)
			if err != nil {
				return err
			}
			go func() { failed <- echo(conn) }()
			continue
		}
		listener, err := net.Listen(network, address)
		if err != nil {
			return err
		}
		go func() { failed <- accept(listener) }()
	}
	return <-failed
}

func echo(conn net.PacketConn) error {
	buffer := make([]byte, 64)
	for {
		n, from, err := conn.ReadFrom(buffer)
		if err != nil {
			return err
		}
		if _, err := conn.WriteTo(buffer[:n], from); err != nil {
			return err
		}
	}
}

func accept(listener net.Listener) error {
	for {
		conn, err := listener.Accept()
		if err != nil {
			return err
		}
		if err := conn.Close(); err != nil {
			return err
		}
	}
}

// reach tries places, all at once, and says of each whether it is open.
func reach(places []string) error {
	found := make([]string, len(places))
	var group sync.WaitGroup
	for i, place := range places {
		group.Go(func() {
			found[i] = "open"
			if err := try(place); err != nil {
				found[i] = "closed: " + err.Error()
			}
		})
	}
	group.Wait()
	for i, place := range places {
		fmt.Println(place, found[i])
	}
	return nil
}

// try returns nil if a connection to a place was made, or a packet that was
// sent there came back.
func try(place string) error {
	network, address, err := parse(place)
	if err != nil {
		return err
	}
	conn, err := net.DialTimeout(network, address, reachTimeout)
	if err != nil || network == "tcp" {
		if err == nil {
			err = conn.Close()
		}
		return err
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(reachTimeout)); err != nil {
		return err
	}
	if _, err := conn.Write([]byte("hello")); err != nil {
		return err
	}
	_, err = conn.Read(make([]byte, 64))
	return err
}
