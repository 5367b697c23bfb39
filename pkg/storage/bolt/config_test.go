package bolt

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apiserver/pkg/apis/example"
	"k8s.io/apiserver/pkg/storage"

	"arl.io/arl/pkg/storage/kv"
)

func TestNewRefuses(t *testing.T) {
	tests := []struct {
		name   string
		change func(*Config)
	}{
		{"no database", func(c *Config) { c.DB = nil }},
		{"no codec", func(c *Config) { c.Codec = nil }},
		{"no constructor", func(c *Config) { c.NewFunc = nil }},
		{"no resource prefix", func(c *Config) { c.ResourcePrefix = "" }},
		{"root as resource prefix", func(c *Config) { c.ResourcePrefix = "//" }},
		{"relative resource prefix", func(c *Config) { c.ResourcePrefix = "pods" }},
	}
	db := openDB(t, kv.Options{})
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			c := podConfig(db)
			tc.change(&c)
			if _, err := New(c); err == nil {
				t.Error("accepted")
			}
		})
	}
}

func TestKeys(t *testing.T) {
	tests := []struct {
		name, prefix, resourcePrefix, key, want string
		recursive                               bool
	}{
		{name: "object", prefix: "/registry", resourcePrefix: "/arl.io/tasks", key: "/arl.io/tasks/ns/a", want: "/registry/arl.io/tasks/ns/a"},
		{name: "namespace", prefix: "/registry/", resourcePrefix: "/arl.io/tasks/", key: "/arl.io/tasks/ns", recursive: true, want: "/registry/arl.io/tasks/ns/"},
		{name: "all", prefix: "registry", resourcePrefix: "/arl.io/tasks", key: "/arl.io/tasks", recursive: true, want: "/registry/arl.io/tasks/"},
		{name: "no prefix", resourcePrefix: "/pods/", key: "/pods/ns/a", want: "/pods/ns/a"},
		{name: "doubled slashes", prefix: "/a//b/", resourcePrefix: "/pods/", key: "/pods/ns/a", want: "/a/b/pods/ns/a"},
		{name: "a neighbour", resourcePrefix: "/pods", key: "/podsets/ns/a"},
		{name: "the way out", resourcePrefix: "/pods", key: "/pods/../secrets/a"},
	}
	db := openDB(t, kv.Options{})
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			c := podConfig(db)
			c.Prefix, c.ResourcePrefix = tc.prefix, tc.resourcePrefix
			s, err := New(c)
			if err != nil {
				t.Fatal(err)
			}
			got, err := s.prepareKey(tc.key, tc.recursive)
			if got != tc.want || (err == nil) != (tc.want != "") {
				t.Errorf("got %q, %v, want %q", got, err, tc.want)
			}
		})
	}
}

func TestStatsCountTheResourceOnly(t *testing.T) {
	f := newFixture(t, func(c *Config) { c.Prefix = "/registry" })
	f.mustCreate(t, "ns", "a")
	for _, key := range []string{"/registry/podsets/a", "/other/pods/a", "/registry/pod"} {
		if _, err := f.db.Apply(t.Context(), kv.Op{Key: key, Value: []byte("x")}); err != nil {
			t.Fatal(err)
		}
	}
	got, err := f.Stats(t.Context())
	if diff := cmp.Diff(storage.Stats{ObjectCount: 1}, got); diff != "" || err != nil {
		t.Errorf("%v, stats (-want +got):\n%s", err, diff)
	}
	if err := f.EnableResourceSizeEstimation(nil); err == nil {
		t.Error("accepted no function")
	}
	if err := errors.Join(f.EnableResourceSizeEstimation(noKeys)); err != nil {
		t.Error(err)
	}
	if err := f.EnableResourceSizeEstimation(noKeys); err == nil {
		t.Error("enabled twice")
	}
}

func TestReadiness(t *testing.T) {
	f := newFixture(t)
	if err := f.ReadinessCheck(); err != nil {
		t.Errorf("a new store is not ready: %v", err)
	}
}

func TestTTLNeedsAnExpirer(t *testing.T) {
	f := newFixture(t, func(c *Config) { c.Expirer = nil })
	pod := &example.Pod{}
	if err := f.Create(t.Context(), "/pods/ns/a", pod, nil, 1); !errors.Is(err, errNoExpirer) {
		t.Errorf("Create: %v", err)
	}
}

func TestOutputMustBeAPointer(t *testing.T) {
	f := newFixture(t)
	f.mustCreate(t, "ns", "a")
	err := f.Delete(t.Context(), "/pods/ns/a", nil, nil, storage.ValidateAllObjectFunc, nil, storage.DeleteOptions{})
	if err == nil || !strings.Contains(err.Error(), "output object") {
		t.Errorf("Delete: %v", err)
	}
	err = f.GuaranteedUpdate(t.Context(), "/pods/ns/a", nil, false, nil, nil, nil)
	if err == nil || !strings.Contains(err.Error(), "output object") {
		t.Errorf("GuaranteedUpdate: %v", err)
	}
	if err := f.GetList(t.Context(), "/pods/", storage.ListOptions{Recursive: true}, &example.Pod{}); err == nil {
		t.Error("GetList took an object that is no list")
	}
}

func TestRemaining(t *testing.T) {
	now := time.Unix(1000, 500)
	for expiry, want := range map[int64]int64{0: 0, 1010: 10, 1000: -1, 990: -10} {
		if got := remaining(kv.Entry{Expiry: expiry}, now); got != want {
			t.Errorf("expiry %d: %d seconds left, want %d", expiry, got, want)
		}
	}
}
