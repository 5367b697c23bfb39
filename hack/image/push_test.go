package main

import (
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

// TestPush: what is in the registry is what is in the archive.
func TestPush(t *testing.T) {
	server := httptest.NewServer(registry.New(registry.Logger(log.New(io.Discard, "", 0))))
	defer server.Close()
	tag := strings.TrimPrefix(server.URL, "http://") + "/team/arl:v1"
	out := filepath.Join(t.TempDir(), "image.tar")
	parsed, err := name.NewTag(tag)
	if err != nil {
		t.Fatal(err)
	}

	if err := execute(t, "--bin", programs(t), "--out", out, "--tag", tag); err != nil {
		t.Fatal(err)
	}
	if _, err := remote.Image(parsed); err == nil {
		t.Fatal("it was pushed without being asked for")
	}
	if err := execute(t, "--bin", programs(t), "--out", out, "--tag", tag, "--push"); err != nil {
		t.Fatal(err)
	}
	pushed, err := remote.Image(parsed)
	if err != nil {
		t.Fatal(err)
	}
	written, err := tarball.ImageFromPath(out, &parsed)
	if err != nil {
		t.Fatal(err)
	}
	// The archive's reader makes a manifest of its own; the programs are the same.
	want, err := written.ConfigName()
	if err != nil {
		t.Fatal(err)
	}
	if config, err := pushed.ConfigName(); err != nil || config != want {
		t.Errorf("pushed an image of the configuration %s, want %s (%v)", config, want, err)
	}
}

func TestPushThatFailsSaysWhere(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusForbidden) }))
	defer server.Close()
	tag := strings.TrimPrefix(server.URL, "http://") + "/arl:v1"
	err := execute(t, "--bin", programs(t), "--out", filepath.Join(t.TempDir(), "image.tar"), "--tag", tag, "--push")
	if err == nil || !strings.Contains(err.Error(), "push "+tag) {
		t.Errorf("got %v", err)
	}
}
