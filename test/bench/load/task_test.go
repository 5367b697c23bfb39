package load

import (
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/runtime"

	"arl.io/arl/pkg/apis/arl"
	"arl.io/arl/pkg/apis/arl/v1alpha1"
	"arl.io/arl/pkg/apis/arl/validation"
	"arl.io/arl/pkg/apiserver"
)

func TestTasksAreValidAndOfTheirSize(t *testing.T) {
	codec, err := apiserver.StorageCodec(v1alpha1.SchemeGroupVersion)
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	task := New("one", now)
	if errs := validation.ValidateTask(task); len(errs) > 0 {
		t.Errorf("not valid: %v", errs)
	}
	Start(task, now)
	Finish(task, now)
	if task.Status.State != arl.TaskSucceeded {
		t.Errorf("ended as %q", task.Status.State)
	}
	data, err := runtime.Encode(codec, task)
	if err != nil {
		t.Fatal(err)
	}
	if n := len(data); n < 1500 || n > 3000 {
		t.Errorf("a finished task has %d bytes", n)
	}
}

func TestPercentile(t *testing.T) {
	var hundred []time.Duration
	for i := 100; i >= 1; i-- {
		hundred = append(hundred, time.Duration(i))
	}
	tests := []struct {
		name      string
		durations []time.Duration
		p         int
		want      time.Duration
	}{
		{"median", hundred, 50, 50},
		{"p99", hundred, 99, 99},
		{"maximum", hundred, 100, 100},
		{"a single one", []time.Duration{7}, 50, 7},
		{"none", nil, 99, 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := Percentile(tt.durations, tt.p); got != tt.want {
				t.Errorf("got %d, want %d", got, tt.want)
			}
		})
	}
}
