package client

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"golang.org/x/sync/semaphore"

	"arl.io/arl/pkg/agent/wire"
)

const (
	// readerBytes is the buffer of a stream. Frames that fit cost no copy.
	readerBytes = 4 << 10
	// smallFrame is the size up to which a frame is read without a reservation: that of nearly all.
	smallFrame = 16 << 10
	// frameCost is how many bytes of memory a byte of a frame takes at most while it is read and
	// decoded: its buffer may be twice as large, and what is decoded is not larger than its text.
	frameCost = 3
)

// DefaultDecodeBytes bounds the memory for large frames that are read at the same time: about 140
// with all the output that a task may have, or 10 of tasks with 256 steps.
const DefaultDecodeBytes = 64 << 20

// Decodes bounds the memory that large frames of all agents of a server take while they are read. It
// is safe for concurrent use. Who waits gets it in turn, so an agent that sends large frames without
// end waits behind the others each time; how long one frame may take is bounded, too.
type Decodes struct {
	most int64
	sem  *semaphore.Weighted
}

// NewDecodes returns a bound of so many bytes.
func NewDecodes(bytes int64) *Decodes {
	return &Decodes{most: bytes, sem: semaphore.NewWeighted(bytes)}
}

// frameReader reads the frames of one stream, each a line. It is for one goroutine.
type frameReader struct {
	input   *bufio.Reader
	limits  limits
	decodes *Decodes
	// line is the buffer of a frame that does not fit into the reader's.
	line []byte
	// reserved is what the frame that is read holds of decodes.
	reserved int64
	// waits is called before a large frame waits for decodes, which is not the agent's fault, and
	// goesOn after it.
	waits, goesOn func()
}

// read reads and decodes the next frame. An agent that breaks the protocol gets ErrProtocol; any
// other error is of the connection, or of ctx.
func (r *frameReader) read(ctx context.Context) (wire.Event, error) {
	defer r.release()
	line, err := r.readLine(ctx)
	if err != nil {
		return wire.Event{}, err
	}
	return decodeEvent(line, r.limits)
}

func (r *frameReader) readLine(ctx context.Context) ([]byte, error) {
	most := r.limits.frameBytes()
	r.line = r.line[:0]
	for {
		part, err := r.input.ReadSlice('\n')
		if err == nil && len(r.line) == 0 {
			return part, nil
		}
		if len(r.line)+len(part) > most {
			return nil, violation("a frame of more than the %d bytes that it can have", most)
		}
		r.line = append(r.line, part...)
		if err == nil {
			return r.line, nil
		}
		if !errors.Is(err, bufio.ErrBufferFull) {
			if errors.Is(err, io.EOF) {
				err = io.ErrUnexpectedEOF
			}
			return nil, err
		}
		if len(r.line) > smallFrame && r.reserved == 0 {
			if err := r.reserve(ctx, int64(most)*frameCost); err != nil {
				return nil, err
			}
		}
	}
}

// reserve waits until a large frame may be read.
func (r *frameReader) reserve(ctx context.Context, bytes int64) error {
	bytes = min(bytes, r.decodes.most)
	r.waits()
	defer r.goesOn()
	if err := r.decodes.sem.Acquire(ctx, bytes); err != nil {
		return err
	}
	r.reserved = bytes
	return nil
}

// release gives back what a large frame has taken.
func (r *frameReader) release() {
	if r.reserved > 0 {
		r.line = nil
		r.decodes.sem.Release(r.reserved)
		r.reserved = 0
	}
}

// decodeEvent decodes a frame. What it allocates is bounded by the size of the frame.
func decodeEvent(line []byte, l limits) (wire.Event, error) {
	var event wire.Event
	if fewElements(line, l) {
		if err := json.Unmarshal(line, &event); err != nil {
			return event, notUnderstood(err)
		}
		return event, nil
	}
	// An element of two bytes decodes to one of two hundred, so each is counted.
	bounded := struct {
		*wire.Event
		Done *boundedResult `json:"done"`
	}{Event: &event, Done: &boundedResult{Steps: boundedSteps{most: l.steps}}}
	err := json.Unmarshal(line, &bounded)
	if err != nil {
		return event, notUnderstood(err)
	}
	if done := bounded.Done; done != nil && event.Type == wire.EventFinished {
		done.ExecutionResult.Steps = done.Steps.steps
		event.Done = &done.ExecutionResult
	}
	return event, nil
}

func notUnderstood(err error) error {
	if errors.Is(err, ErrProtocol) {
		return err
	}
	return violation("a frame that is not understood: %s", clipped(err.Error(), maxName))
}

// fewElements says that no list in a frame has many more elements than there are steps. It counts
// what separates them, also where that is text, and so never says so wrongly.
func fewElements(line []byte, l limits) bool {
	const fields = 16
	return bytes.Count(line, []byte{','}) <= fields*(l.steps+2)
}

// boundedResult is an ExecutionResult whose steps are counted while they are decoded.
type boundedResult struct {
	wire.ExecutionResult
	Steps boundedSteps `json:"steps"`
}

// boundedSteps decodes a list of at most so many steps.
type boundedSteps struct {
	most  int
	steps []wire.StepResult
}

// UnmarshalJSON decodes the steps one by one.
func (b *boundedSteps) UnmarshalJSON(data []byte) error {
	b.steps = nil
	decoder := json.NewDecoder(bytes.NewReader(data))
	switch first, err := decoder.Token(); {
	case err != nil:
		return fmt.Errorf("steps: %w", err)
	case first == nil:
		return nil
	case first != json.Delim('['):
		return errors.New("steps: not a list")
	}
	for decoder.More() {
		if len(b.steps) == b.most {
			return violation("an outcome of more than the %d steps there are", b.most)
		}
		var step wire.StepResult
		if err := decoder.Decode(&step); err != nil {
			return fmt.Errorf("steps: %w", err)
		}
		b.steps = append(b.steps, step)
	}
	return nil
}
