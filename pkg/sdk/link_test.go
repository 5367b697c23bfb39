package sdk_test

import (
	"context"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/client-go/tools/clientcmd"

	"arl.io/arl/pkg/sdk"
)

func TestRequestsAreMadeAgain(t *testing.T) {
	t.Parallel()
	tests := map[string]fault{
		"refused connection":                   refused,
		"answer lost after the write":          lost,
		"429 Too Many Requests":                status(http.StatusTooManyRequests),
		"500 Internal Server Error":            status(http.StatusInternalServerError),
		"502 Bad Gateway":                      status(http.StatusBadGateway),
		"503 Service Unavailable":              status(http.StatusServiceUnavailable),
		"504 Gateway Timeout, after the write": written,
	}
	client, _ := newClient(t)
	poolOf(t, client, "again", int32(len(tests)))
	for name, happens := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			client, network := newClient(t)
			network.plan("POST sandboxes", happens, happens)
			network.plan("POST tasks", happens, happens)
			network.plan("DELETE sandboxes", happens)
			session := newSession(t, client, "again")
			mustWrite(t, session, "echo ran >>runs; cat runs", "ran\n")
			if tasks := tasksOf(t, client, session); len(tasks) != 1 {
				t.Errorf("there are tasks %v, want one", tasks)
			}
			if got := network.count("POST tasks"); got != 3 {
				t.Errorf("the create was sent %d times, want 3", got)
			}
			if err := session.Close(); err != nil {
				t.Error(err)
			}
			isGone(t, client, session)
		})
	}
}

func TestServerThatStaysAway(t *testing.T) {
	t.Parallel()
	client, network := newClient(t)
	poolOf(t, client, "away", 1)
	session := newSession(t, client, "away", sdk.WithReconnectTimeout(300*time.Millisecond))
	network.setDown(true)
	_, err := session.Run(waiting(t), "true")
	if !errors.Is(err, sdk.ErrUnavailable) {
		t.Fatalf("error %v, want %v", err, sdk.ErrUnavailable)
	}
	wantWords(t, err, "create task", session.Name(), "no answer for 300ms", "connection refused", "kubectl get --raw /readyz")
	if err := session.Close(); !errors.Is(err, sdk.ErrUnavailable) {
		t.Errorf("closing: error %v, want %v", err, sdk.ErrUnavailable)
	}
	network.setDown(false)
	if err := session.Close(); err != nil {
		t.Errorf("closing again, with the server back: %v", err)
	}
	isGone(t, client, session)
}

func TestContextEndsTheTrying(t *testing.T) {
	t.Parallel()
	client, network := newClient(t)
	poolOf(t, client, "hopeless", 1)
	session := newSession(t, client, "hopeless")
	network.setDown(true)
	ctx, cancel := context.WithCancelCause(waiting(t))
	ended := start(ctx, session, "true")
	network.await(t, "POST tasks", 2)
	because := errors.New("the user has gone home")
	cancel(because)
	if got := <-ended; !errors.Is(got.err, context.Canceled) || !errors.Is(got.err, because) {
		t.Errorf("error %v, want %v and %v", got.err, context.Canceled, because)
	}
	network.setDown(false)
	mustWrite(t, session, "echo fine", "fine\n")
}

func TestAnswersAreTakenForAnAnswer(t *testing.T) {
	t.Parallel()
	client, network := newClient(t)
	poolOf(t, client, "answers", 1)
	session := newSession(t, client, "answers")
	_, err := session.Execute(waiting(t), sdk.Step{Name: "wrong", Type: "Dance"})
	if !apierrors.IsInvalid(err) {
		t.Fatalf("error %v, want the server's", err)
	}
	wantWords(t, err, "spec.steps[0].type", "Dance", session.Name())
	if got := network.count("POST tasks"); got != 1 {
		t.Errorf("the create was sent %d times, want once", got)
	}
	network.plan("POST tasks", status(http.StatusForbidden))
	if _, err := session.Run(waiting(t), "true"); !apierrors.IsForbidden(err) {
		t.Errorf("error %v, want the server's", err)
	}
}

func TestStrangerIsNotTriedAgain(t *testing.T) {
	t.Parallel()
	config, err := clientcmd.BuildConfigFromFlags("", os.Getenv("KUBECONFIG"))
	if err != nil {
		t.Fatal(err)
	}
	other := filepath.Join(t.TempDir(), "ca.crt")
	if err := os.WriteFile(other, anotherAuthority(t), 0o600); err != nil {
		t.Fatal(err)
	}
	config.TLSClientConfig.CAData, config.TLSClientConfig.CAFile = nil, other
	client, err := sdk.NewClient(config)
	if err != nil {
		t.Fatal(err)
	}
	_, err = sdk.NewSession(waiting(t), client, "python")
	if err == nil || errors.Is(err, sdk.ErrUnavailable) || errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("error %v, want one of the certificate at once", err)
	}
	wantWords(t, err, "certificate")
}

// TestWatchGoesOn breaks watches in every way while a step runs.
func TestWatchGoesOn(t *testing.T) {
	t.Parallel()
	const gone = `{"kind":"Status","apiVersion":"v1","status":"Failure","reason":"Expired","message":"too old resource version","code":410}`
	tests := map[string]fault{
		"refused connection":      refused,
		"lost answer":             lost,
		"410 in answer":           answered(http.StatusGone, "application/json", gone),
		"410 as event":            answered(http.StatusOK, "application/json", `{"type":"ERROR","object":`+gone+"}\n"),
		"ends at once":            answered(http.StatusOK, "application/json", ""),
		"429 Too Many Requests":   status(http.StatusTooManyRequests),
		"503 Service Unavailable": status(http.StatusServiceUnavailable),
	}
	client, _ := newClient(t)
	poolOf(t, client, "watches", int32(len(tests)))
	for name, happens := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			client, network := newClient(t)
			session := newSession(t, client, "watches", sdk.WithTimeout(patience))
			network.plan("WATCH tasks", happens, happens, happens)
			dir := session.Sandbox().Status.PodName
			ended := start(waiting(t), session, "until [ -e go ]; do sleep 0.05; done; echo ran >>runs; cat runs")
			network.await(t, "WATCH tasks", 4)
			touch(t, dir, "go")
			if got := <-ended; got.err != nil || got.result.Stdout != "ran\n" {
				t.Errorf("result %+v, error %v", got.result, got.err)
			}
		})
	}
}

// TestServerComesBack takes the server away while a step runs, which ends meanwhile.
func TestServerComesBack(t *testing.T) {
	t.Parallel()
	client, network := newClient(t)
	poolOf(t, client, "back", 1)
	session := newSession(t, client, "back", sdk.WithTimeout(patience))
	ended := start(waiting(t), session, "touch began; until [ -e go ]; do sleep 0.05; done; echo ran >>runs; cat runs; touch done")
	dir := session.Sandbox().Status.PodName
	network.await(t, "WATCH tasks", 1)
	isThere(t, dir, "began")
	network.setDown(true)
	network.await(t, "GET tasks", 2)
	touch(t, dir, "go")
	isThere(t, dir, "done")
	network.setDown(false)
	if got := <-ended; got.err != nil || got.result.Stdout != "ran\n" {
		t.Errorf("result %+v, error %v", got.result, got.err)
	}
	if tasks := tasksOf(t, client, session); len(tasks) != 1 {
		t.Errorf("there are tasks %v, want one", tasks)
	}
}
