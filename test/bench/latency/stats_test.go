package main

import (
	"testing"
	"time"
)

func TestPercentile(t *testing.T) {
	var hundred distribution
	for i := 100; i >= 1; i-- {
		hundred.samples = append(hundred.samples, time.Duration(i))
	}
	one := distribution{samples: []time.Duration{7}}
	tests := []struct {
		name string
		d    distribution
		p    int
		want time.Duration
	}{
		{"median", hundred, 50, 50},
		{"p99", hundred, 99, 99},
		{"maximum", hundred, 100, 100},
		{"a single sample", one, 50, 7},
		{"a single sample, maximum", one, 100, 7},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := tt.d.percentile(tt.p); got != tt.want {
				t.Errorf("got %d, want %d", got, tt.want)
			}
		})
	}
}
