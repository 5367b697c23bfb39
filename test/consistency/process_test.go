package consistency

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
)

// dirEnv names the directory whose store a copy of the test binary serves.
const dirEnv = "ARL_CONSISTENCY_DIR"

// errLost says that the service died before it answered.
var errLost = errors.New("the service was killed before it answered")

// message is what goes to the service and back: one line of JSON. Seq tells
// which answer belongs to which call.
type message struct {
	Seq   int
	Call  call
	Reply reply
}

// TestServiceProcess is the process that other tests kill; alone it does
// nothing. It ends by itself only if the test that started it is gone.
func TestServiceProcess(t *testing.T) {
	dir := os.Getenv(dirEnv)
	if dir == "" {
		t.Skip("it is started by tests of crashes")
	}
	s := &service{store: mustOpen(t, dir, 0)}
	var mu sync.Mutex
	out := json.NewEncoder(os.Stdout)
	var calls sync.WaitGroup
	defer calls.Wait()
	for in := json.NewDecoder(os.Stdin); ; {
		var m message
		if err := in.Decode(&m); err != nil {
			t.Logf("no more calls: %v", err)
			return
		}
		calls.Go(func() {
			m.Reply = s.serve(t.Context(), m.Call)
			mu.Lock()
			defer mu.Unlock()
			if err := out.Encode(m); err != nil {
				t.Errorf("answering: %v", err)
			}
		})
	}
}

// process is a running service in a process of its own.
type process struct {
	cmd *exec.Cmd
	in  io.WriteCloser
	// gone is closed when no more answers come.
	gone chan struct{}
	// noise is what the process said that is no answer; complete once it is gone.
	noise strings.Builder

	mu      sync.Mutex
	seq     int
	waiting map[int]chan reply
}

func startProcess(dir string) (*process, error) {
	p := &process{
		cmd:     exec.Command(os.Args[0], "-test.run=^TestServiceProcess$"),
		gone:    make(chan struct{}),
		waiting: map[int]chan reply{},
	}
	p.cmd.Env = append(os.Environ(), dirEnv+"="+dir)
	p.cmd.Stderr = os.Stderr
	var err error
	if p.in, err = p.cmd.StdinPipe(); err != nil {
		return nil, fmt.Errorf("start a service: %w", err)
	}
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		return nil, fmt.Errorf("start a service: %w", err)
	}
	if err := p.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start a service: %w", err)
	}
	go p.receive(out)
	return p, nil
}

// receive hands out answers until the process is gone.
func (p *process) receive(out io.Reader) {
	defer close(p.gone)
	for in := bufio.NewScanner(out); in.Scan(); {
		var m message
		if err := json.Unmarshal(in.Bytes(), &m); err != nil {
			// The last line may be cut short; others tell why the process ended.
			fmt.Fprintln(&p.noise, in.Text())
			continue
		}
		p.mu.Lock()
		answer := p.waiting[m.Seq]
		delete(p.waiting, m.Seq)
		p.mu.Unlock()
		answer <- m.Reply
	}
}

// call implements caller. If there is no answer, the error is errLost.
func (p *process) call(ctx context.Context, c call) (reply, error) {
	answer := make(chan reply, 1)
	if err := p.send(c, answer); err != nil {
		return reply{}, fmt.Errorf("%w: %w", errLost, err)
	}
	select {
	case r := <-answer:
		return r, nil
	case <-ctx.Done():
		return reply{}, ctx.Err()
	case <-p.gone:
	}
	select {
	case r := <-answer:
		return r, nil
	default:
		return reply{}, errLost
	}
}

func (p *process) send(c call, answer chan reply) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.seq++
	line, err := json.Marshal(message{Seq: p.seq, Call: c})
	if err != nil {
		return err
	}
	p.waiting[p.seq] = answer
	_, err = p.in.Write(append(line, '\n'))
	return err
}

// kill ends the process at once, whatever it does. An error says that it had
// ended before.
func (p *process) kill() error {
	killErr := p.cmd.Process.Kill()
	<-p.gone
	err := p.cmd.Wait()
	if killErr != nil || err == nil || !strings.Contains(err.Error(), "killed") {
		return fmt.Errorf("the service ended before it was killed: %w\n%s", errors.Join(killErr, err), p.noise.String())
	}
	return nil
}
