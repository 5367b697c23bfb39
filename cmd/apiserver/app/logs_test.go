package app

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"github.com/go-logr/logr"
	"k8s.io/klog/v2/textlogger"
)

// TestBodiesAreNotLogged uses every way in which a logger takes values.
func TestBodiesAreNotLogged(t *testing.T) {
	var out bytes.Buffer
	logger := logr.New(newBodySink(textlogger.NewLogger(textlogger.NewConfig(textlogger.Output(&out), textlogger.Verbosity(10))).GetSink()))
	values := []any{"verb", "POST", "body", "secret", "status", 200, "body", "secret"}
	logger.V(8).Info("Request Body", values...)
	logger.Error(errors.New("broken"), "Request Body", values...)
	logger.WithValues(values...).WithName("name").V(10).Info("Request Body")
	logger.WithCallDepth(0).WithName("name").Info("Request Body", values...)
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	if len(lines) != 4 {
		t.Fatalf("%d lines: %q", len(lines), lines)
	}
	for _, line := range lines {
		if strings.Contains(line, "secret") || !strings.Contains(line, "(6 characters, never logged)") {
			t.Errorf("logged %s", line)
		}
		for _, want := range []string{"logs_test.go:", `verb="POST"`, "status=200"} {
			if !strings.Contains(line, want) {
				t.Errorf("%s has no %s", line, want)
			}
		}
	}
	if values[3] != "secret" {
		t.Error("the caller's values were changed")
	}
	if logger.V(11).Enabled() {
		t.Error("a level above the configured one is enabled")
	}
}
