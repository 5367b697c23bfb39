package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"arl.io/arl/pkg/agent"
	"arl.io/arl/pkg/agent/memory"
	"arl.io/arl/pkg/agent/wire"
)

// serveOptions are the flags of serve.
type serveOptions struct {
	listenFD   int
	listenUnix string
	tls        tlsOptions
	podUID     string
	workDir    string
	home       string
	root       string
	stopGrace  time.Duration
	probes     *wire.Probes
	logLevel   slog.Level
	logLimit   int64
	// memoryFD is a descriptor of the cgroup's counters, or -1, and memoryLimit the limit that goes with it.
	memoryFD    int
	memoryLimit int64
	// main is the template's own command.
	main []string
}

// parseServe reads the flags of serve.
func parseServe(args []string, stderr io.Writer) (serveOptions, error) {
	var options serveOptions
	flags := flag.NewFlagSet("arl-agent serve", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.IntVar(&options.listenFD, "listen-fd", -1, "`number` of an inherited descriptor of a listening unix socket")
	flags.StringVar(&options.listenUnix, "listen-unix", "", "`path` of a unix socket to make and listen on")
	flags.StringVar(&options.tls.address, "listen-tls", "", "`host:port` to listen on with TLS; needs the three files below")
	flags.StringVar(&options.tls.cert, "tls-cert", "", "`file` with the serving certificate, PEM")
	flags.StringVar(&options.tls.key, "tls-key", "", "`file` with its key, PEM")
	flags.StringVar(&options.tls.clientCA, "client-ca", "", "`file` with the certificate authorities of clients, PEM; others are refused")
	flags.StringVar(&options.podUID, "pod-uid", "", "`UID` of the pod, told to clients")
	flags.StringVar(&options.workDir, "work-dir", "", "`directory` to make at start, absolute")
	flags.StringVar(&options.home, "home", "", "`directory` for HOME where the user cannot write in that of the image; HOME is left alone without it")
	flags.StringVar(&options.root, "root", "/", "`directory` outside of which no file step writes")
	flags.DurationVar(&options.stopGrace, "stop-grace", 5*time.Second, "`time` between TERM and KILL for COMMAND at shutdown")
	flags.Func(wire.ProbesFlag, "the template's startup and readiness probes, as `JSON` of the agent's protocol", options.readProbes)
	flags.TextVar(&options.logLevel, "log-level", slog.LevelInfo, "least `level` of messages: debug, info, warn or error")
	flags.Int64Var(&options.logLimit, "log-limit", 0,
		"`bytes` that the file on standard output may take: output is written to it line by line with the time, and the oldest lines go; 0 leaves output as it is")
	flags.IntVar(&options.memoryFD, wire.MemoryEventsFlag, -1,
		"`number` of an inherited descriptor of the cgroup's memory.oom_control or memory.events; without it they are looked for beneath /sys/fs/cgroup")
	flags.Int64Var(&options.memoryLimit, wire.MemoryLimitFlag, 0, "the container's limit of memory in `bytes`, for messages; 0 is none")
	if err := flags.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return options, err
		}
		return options, errUsage
	}
	options.main = flags.Args()
	return options, options.validate()
}

// readProbes reads the value of the flag.
func (o *serveOptions) readProbes(text string) error {
	decoder := json.NewDecoder(strings.NewReader(text))
	decoder.DisallowUnknownFields()
	o.probes = new(wire.Probes)
	return decoder.Decode(o.probes)
}

func (o serveOptions) validate() error {
	if o.listenFD < 0 && o.listenUnix == "" && o.tls.address == "" {
		return errors.New("nowhere to listen: give --listen-fd, --listen-unix or --listen-tls")
	}
	if o.workDir != "" && o.workDir[0] != '/' {
		return fmt.Errorf("--work-dir %s: must be absolute", o.workDir)
	}
	return o.tls.validate()
}

// memory returns the container's cgroup, or nil if it cannot be read.
func (o serveOptions) memory() *memory.Events {
	if o.memoryFD < 0 {
		return memory.Open()
	}
	unix.CloseOnExec(o.memoryFD)
	return memory.Of(os.NewFile(uintptr(o.memoryFD), "memory events"), o.memoryLimit)
}

// serve serves until SIGTERM or SIGINT.
func serve(args []string, stderr io.Writer) error {
	if err := fenceOff(); err != nil {
		return err
	}
	options, err := parseServe(args, stderr)
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), unix.SIGTERM, unix.SIGINT)
	defer stop()
	listeners, err := options.listen()
	if err != nil {
		return err
	}
	if options.home != "" {
		if err := settleHome(options.home, options.workDir); err != nil {
			return err
		}
	}
	// Whatever else was inherited is not for the commands that are run here.
	if err := closeOnExec(); err != nil {
		return err
	}
	if options.logLimit > 0 {
		closeLog, err := keepLog(options.logLimit)
		if err != nil {
			return err
		}
		defer closeLog()
	}
	events := options.memory()
	defer events.Close()
	server, err := agent.New(agent.Config{
		Version:   version,
		PodUID:    options.podUID,
		Root:      options.root,
		WorkDir:   options.workDir,
		Main:      options.main,
		Probes:    options.probes,
		StopGrace: options.stopGrace,
		Memory:    events,
		Logger:    slog.New(slog.NewJSONHandler(os.Stderr, &slog.HandlerOptions{Level: options.logLevel})),
	})
	if err != nil {
		return err
	}
	return server.Serve(ctx, listeners...)
}
