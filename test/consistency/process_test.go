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
	Seq  int
	Call call
	// Last has the service kill itself when it has answered. Nobody else could
	// do it so soon: a commit takes less time than a word between processes.
	Last  bool
	Reply reply
}

// padding makes objects large enough for a commit to take as long as the reads
// that see it too soon if it shows before its end.
var padding = strings.Repeat("x", 16<<10)

// TestServiceProcess is the process that other tests kill; alone it does
// nothing. It ends by itself only if the test that started it is gone.
func TestServiceProcess(t *testing.T) {
	dir := os.Getenv(dirEnv)
	if dir == "" {
		t.Skip("it is started by tests of crashes")
	}
	s := &service{store: mustOpen(t, dir, 0), padding: padding}
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
			if m.Last {
				killMyself()
			}
		})
	}
}

// killMyself sends the process SIGKILL and does not return.
func killMyself() {
	self, err := os.FindProcess(os.Getpid())
	if err == nil {
		err = self.Kill()
	}
	if err != nil {
		panic(err)
	}
	select {}
}

// process is a running service in a process of its own.
type process struct {
	cmd *exec.Cmd
	in  io.WriteCloser
	// gone is closed when no more answers come.
	gone chan struct{}
	// replaced is closed when there is another process to call.
	replaced chan struct{}
	// noise is what the process said that is no answer; complete once it is gone.
	noise strings.Builder

	mu      sync.Mutex
	seq     int
	waiting map[int]chan reply
}

// startProcess starts a service that is killed when ctx ends.
func startProcess(ctx context.Context, dir string) (*process, error) {
	p := &process{
		cmd:     exec.CommandContext(ctx, os.Args[0], "-test.run=^TestServiceProcess$"),
		gone:    make(chan struct{}),
		waiting: map[int]chan reply{},

		replaced: make(chan struct{}),
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

// do does a call, the last of the process if last is set. If there is no
// answer, the error is errLost.
func (p *process) do(ctx context.Context, c call, last bool) (reply, error) {
	answer := make(chan reply, 1)
	if err := p.send(message{Call: c, Last: last}, answer); err != nil {
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

func (p *process) send(m message, answer chan reply) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.seq++
	m.Seq = p.seq
	line, err := json.Marshal(m)
	if err != nil {
		return err
	}
	p.waiting[m.Seq] = answer
	_, err = p.in.Write(append(line, '\n'))
	return err
}

// wait waits for the end of the process. An error says that it was not killed.
func (p *process) wait() error {
	<-p.gone
	err := p.cmd.Wait()
	if err == nil || !strings.Contains(err.Error(), "killed") {
		return fmt.Errorf("the service ended without being killed: %w\n%s", err, p.noise.String())
	}
	return nil
}
