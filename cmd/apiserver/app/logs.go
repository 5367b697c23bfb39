package app

import (
	"fmt"
	"log/slog"

	"github.com/go-logr/logr"
	logsapi "k8s.io/component-base/logs/api/v1"
	"k8s.io/klog/v2"
	"k8s.io/klog/v2/textlogger"
)

// bodyKey is the key under which client-go logs bodies of requests and responses, from level 8 on.
const bodyKey = "body"

// setUpLogs applies the flags, and makes logs leave out the bodies of requests and responses at every
// level: they hold what users give to sandboxes and tasks, and what these print. The level can be
// raised while the server runs, so a bound on the flags would not do.
func setUpLogs(config *logsapi.LoggingConfiguration) error {
	if config.Options.Text.InfoBufferSize.Value() > 0 {
		return fmt.Errorf("--log-text-info-buffer-size: this server does not buffer logs; leave the flag out")
	}
	if err := logsapi.ValidateAndApply(config, nil); err != nil {
		return err
	}
	sink := klog.Background().GetSink()
	options := []klog.LoggerOption{klog.ContextualLogger(true)}
	if writer, ok := sink.(textlogger.KlogBufferWriter); ok {
		options = append(options, klog.WriteKlogBuffer(writer.WriteKlogBuffer))
	}
	klog.SetLoggerWithOptions(logr.New(newBodySink(sink)), options...)
	slog.SetDefault(slog.New(logr.ToSlogHandler(klog.Background())))
	return nil
}

// bodySink is a sink of logs that replaces bodies by their length.
type bodySink struct{ next logr.LogSink }

var _ logr.CallDepthLogSink = bodySink{}

// newBodySink returns a sink that writes to next. The given one stays as it is.
func newBodySink(next logr.LogSink) logr.LogSink { return bodySink{deeper(next, 0)} }

// deeper has the sink skip more frames in its search for the line that logs, if it can.
func deeper(sink logr.LogSink, frames int) logr.LogSink {
	if s, ok := sink.(logr.CallDepthLogSink); ok {
		return s.WithCallDepth(frames)
	}
	return sink
}

func (s bodySink) Init(info logr.RuntimeInfo) {
	info.CallDepth++
	s.next.Init(info)
}

func (s bodySink) Enabled(level int) bool { return s.next.Enabled(level) }

func (s bodySink) Info(level int, message string, keysAndValues ...any) {
	s.next.Info(level, message, withoutBodies(keysAndValues)...)
}

func (s bodySink) Error(err error, message string, keysAndValues ...any) {
	s.next.Error(err, message, withoutBodies(keysAndValues)...)
}

func (s bodySink) WithValues(keysAndValues ...any) logr.LogSink {
	return bodySink{s.next.WithValues(withoutBodies(keysAndValues)...)}
}

func (s bodySink) WithName(name string) logr.LogSink { return bodySink{s.next.WithName(name)} }

func (s bodySink) WithCallDepth(depth int) logr.LogSink { return bodySink{deeper(s.next, depth)} }

// withoutBodies returns a changed copy, or the given slice if there is nothing to change.
func withoutBodies(keysAndValues []any) []any {
	for i := 0; i+1 < len(keysAndValues); i += 2 {
		if keysAndValues[i] == bodyKey {
			changed := append([]any(nil), keysAndValues...)
			changed[i+1] = fmt.Sprintf("(%d characters, never logged)", len(fmt.Sprint(keysAndValues[i+1])))
			rest := withoutBodies(changed[i+2:])
			return append(changed[:i+2:i+2], rest...)
		}
	}
	return keysAndValues
}
