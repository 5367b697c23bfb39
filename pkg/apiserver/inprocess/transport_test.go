package inprocess

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func serve(handler http.HandlerFunc) *http.Client {
	transport := New()
	transport.Serve(handler)
	return &http.Client{Transport: transport}
}

func TestRequestReachesTheHandlerWhole(t *testing.T) {
	client := serve(func(w http.ResponseWriter, r *http.Request) {
		content, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		w.Header().Set("X-Seen", r.RemoteAddr)
		w.WriteHeader(http.StatusCreated)
		fmt.Fprintf(w, "%s %s %s %s", r.Method, r.RequestURI, r.Header.Get("Authorization"), content)
	})
	request, err := http.NewRequest(http.MethodPost, "https://server/path?a=b", strings.NewReader("content"))
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Authorization", "Bearer token")
	response, err := client.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	content, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	if want := "POST /path?a=b Bearer token content"; string(content) != want {
		t.Errorf("got %q, want %q", content, want)
	}
	if response.StatusCode != http.StatusCreated || response.Header.Get("X-Seen") != remoteAddr {
		t.Errorf("got status %d and header %v", response.StatusCode, response.Header)
	}
}

func TestBodyStreamsAndCloseEndsTheHandler(t *testing.T) {
	ended := make(chan struct{})
	next := make(chan struct{})
	client := serve(func(w http.ResponseWriter, r *http.Request) {
		defer close(ended)
		for i := 0; ; i++ {
			fmt.Fprintf(w, "line %d\n", i)
			w.(http.Flusher).Flush()
			select {
			case <-next:
			case <-r.Context().Done():
				return
			}
		}
	})
	response, err := client.Get("https://server/watch")
	if err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewReader(response.Body)
	for i := range 3 {
		line, err := lines.ReadString('\n')
		if want := fmt.Sprintf("line %d\n", i); err != nil || line != want {
			t.Fatalf("got %q and %v, want %q", line, err, want)
		}
		if i < 2 {
			next <- struct{}{}
		}
	}
	if err := response.Body.Close(); err != nil {
		t.Fatal(err)
	}
	<-ended
	if _, err := response.Body.Read(make([]byte, 1)); !errors.Is(err, http.ErrBodyReadAfterClose) {
		t.Errorf("read after close: %v", err)
	}
}

func TestSlowClientHoldsBackAStreamNotTheServer(t *testing.T) {
	written := make(chan int, 1)
	client := serve(func(w http.ResponseWriter, _ *http.Request) {
		chunk, total := make([]byte, 64<<10), 0
		for range 4 * limit / len(chunk) {
			n, err := w.Write(chunk)
			if total += n; err != nil {
				break
			}
		}
		written <- total
	})
	response, err := client.Get("https://server/")
	if err != nil {
		t.Fatal(err)
	}
	if err := response.Body.Close(); err != nil {
		t.Fatal(err)
	}
	if total := <-written; total > 2*limit {
		t.Errorf("%d bytes were buffered for a client that read none", total)
	}
}

// TestEndOfContextEndsBothSides: a handler whose client neither reads nor closes, and a client whose
// handler does not watch its context, wait no longer than the request's context.
func TestEndOfContextEndsBothSides(t *testing.T) {
	cause := errors.New("the caller gave up")
	do := func(t *testing.T, handler http.HandlerFunc) (*http.Response, context.CancelCauseFunc) {
		t.Helper()
		ctx, cancel := context.WithCancelCause(t.Context())
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://server/", nil)
		if err != nil {
			t.Fatal(err)
		}
		transport := New()
		transport.Serve(handler)
		response, err := transport.RoundTrip(request)
		if err != nil {
			t.Fatal(err)
		}
		return response, cancel
	}
	t.Run("write", func(t *testing.T) {
		ended := make(chan error, 1)
		full := make(chan struct{})
		response, cancel := do(t, func(w http.ResponseWriter, _ *http.Request) {
			chunk := make([]byte, limit+1)
			_, err := w.Write(chunk)
			close(full)
			for err == nil {
				_, err = w.Write(chunk)
			}
			ended <- err
		})
		<-full
		cancel(cause)
		if err := <-ended; !errors.Is(err, cause) {
			t.Errorf("the handler's write ended with %v, want %v", err, cause)
		}
		if err := response.Body.Close(); err != nil {
			t.Error(err)
		}
	})
	t.Run("read", func(t *testing.T) {
		release := make(chan struct{})
		defer close(release)
		response, cancel := do(t, func(w http.ResponseWriter, _ *http.Request) {
			w.(http.Flusher).Flush()
			<-release
		})
		defer response.Body.Close()
		cancel(cause)
		if _, err := io.ReadAll(response.Body); !errors.Is(err, cause) {
			t.Errorf("the client's read ended with %v, want %v", err, cause)
		}
	})
}

func TestRequestsWaitForTheHandler(t *testing.T) {
	transport := New()
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://server/", nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := transport.RoundTrip(request); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want the context's error", err)
	}
	answered := make(chan error, 1)
	go func() {
		response, err := (&http.Client{Transport: transport}).Get("https://server/")
		if err == nil {
			err = response.Body.Close()
		}
		answered <- err
	}()
	transport.Serve(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	if err := <-answered; err != nil {
		t.Error(err)
	}
}

func TestPanicIsAnErrorOfTheRequest(t *testing.T) {
	client := serve(func(http.ResponseWriter, *http.Request) { panic("broken") })
	response, err := client.Get("https://server/")
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if _, err := io.ReadAll(response.Body); err == nil || response.StatusCode != http.StatusInternalServerError {
		t.Errorf("got status %d and %v", response.StatusCode, err)
	}
}
