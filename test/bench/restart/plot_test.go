package main

import (
	"encoding/xml"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestPlotDrawsEveryMeasuredCurve(t *testing.T) {
	name := filepath.Join(t.TempDir(), "plot.svg")
	err := writePlot(name, []result{
		{objects: 1000, where: inLog, open: 4 * time.Millisecond},
		{objects: 100_000, where: inLog, open: 400 * time.Millisecond},
	})
	if err != nil {
		t.Fatal(err)
	}
	svg, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	decoder := xml.NewDecoder(strings.NewReader(string(svg)))
	for {
		if _, err := decoder.Token(); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatalf("no XML: %v\n%s", err, svg)
		}
	}
	if n := strings.Count(string(svg), "<polyline"); n != 1 {
		t.Errorf("%d curves, want the one that was measured:\n%s", n, svg)
	}
	// From 1 to 1000 ms: both ends lie as far above the lower end of a decade.
	if want := `points="70.0,283.8 450.0,63.8"`; !strings.Contains(string(svg), want) {
		t.Errorf("want %s in\n%s", want, svg)
	}
	if want := "database open, from log"; !strings.Contains(string(svg), want) {
		t.Errorf("want %q in\n%s", want, svg)
	}
}
