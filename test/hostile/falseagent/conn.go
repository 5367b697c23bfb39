package falseagent

import (
	"crypto/tls"
	"encoding/binary"
	"errors"
	"net"
	"os"
	"sync"
)

// listen opens the listener that the real agent would.
func (o options) listen() (net.Listener, error) {
	if o.listenFD >= 0 {
		inherited := os.NewFile(uintptr(o.listenFD), "listener")
		defer inherited.Close()
		return net.FileListener(inherited)
	}
	if o.listenUnix != "" {
		return net.Listen("unix", o.listenUnix)
	}
	if o.listenTLS == "" {
		return nil, errors.New("nowhere to listen")
	}
	certificate, err := tls.LoadX509KeyPair(o.cert, o.key)
	if err != nil {
		return nil, err
	}
	return tls.Listen("tcp", o.listenTLS, &tls.Config{
		MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{certificate},
		ClientAuth: tls.RequestClientCert, NextProtos: []string{"h2"},
	})
}

// connKey is the key of a request's connection in its context.
type connKey struct{}

// sharedListener makes its connections sharedConns.
type sharedListener struct{ net.Listener }

// Accept returns the next connection.
func (l sharedListener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &sharedConn{Conn: conn}, nil
}

// sharedConn takes frames beside those of the HTTP server that has it.
type sharedConn struct {
	net.Conn
	mu sync.Mutex
}

// Write writes what the HTTP server has, whole frames as a rule.
func (c *sharedConn) Write(data []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.Conn.Write(data)
}

// Types of HTTP/2 frames.
const (
	frameData         = 0x0
	frameHeaders      = 0x1
	frameReset        = 0x3
	frameSettings     = 0x4
	framePing         = 0x6
	frameGoAway       = 0x7
	frameWindowUpdate = 0x8
	frameContinuation = 0x9
)

// frame is one HTTP/2 frame.
func frame(kind, flags byte, streamID uint32, payload ...byte) []byte {
	head := make([]byte, 9, 9+len(payload))
	head[0], head[1], head[2] = byte(len(payload)>>16), byte(len(payload)>>8), byte(len(payload))
	head[3], head[4] = kind, flags
	binary.BigEndian.PutUint32(head[5:], streamID)
	return append(head, payload...)
}

func number(value uint32) []byte { return binary.BigEndian.AppendUint32(nil, value) }
