package consistency

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"sync/atomic"
	"time"

	"github.com/anishathalye/porcupine"
)

// caller sends calls to a service, which may be in another process. An error
// means that nobody knows whether the call took effect.
type caller interface {
	call(ctx context.Context, c call) (reply, error)
}

// call implements caller.
func (s *service) call(ctx context.Context, c call) (reply, error) { return s.serve(ctx, c), nil }

// history is what the clients of one run share.
type history struct {
	service caller
	began   time.Time
	ids     atomic.Int64
	// compacted is the highest revision that anybody asked to compact.
	compacted atomic.Int64
}

func newHistory(s caller) *history { return &history{service: s, began: time.Now()} }

func (h *history) now() int64 { return int64(time.Since(h.began)) }

// client does one request at a time and writes down what came of it.
type client struct {
	*history
	id     int
	random *rand.Rand
	// seen are the objects as last seen, and newest the highest revision.
	seen   [keys]object
	newest int64

	operations []porcupine.Operation
	// unknown counts the requests without an answer.
	unknown int
}

// run does so many requests.
func (c *client) run(ctx context.Context, requests int) error {
	for range requests {
		if err := c.do(ctx, c.next()); err != nil {
			return err
		}
	}
	return nil
}

// do does one request and records it.
func (c *client) do(ctx context.Context, r request) error {
	op := porcupine.Operation{ClientId: c.id, Input: r, Call: c.now()}
	got, err := c.service.call(ctx, call{request: r})
	op.Return = c.now()
	if err == nil && got.Continue != "" {
		// The moment at which a list is true is that of its first page.
		err = c.more(ctx, r, &got)
	}
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case errors.Is(err, errListExpired):
		return nil
	case err != nil && !r.writes():
		return nil
	case err != nil:
		op.Return = math.MaxInt64
		c.unknown++
	case got.Problem != "":
		return fmt.Errorf("%+v: %s", r, got.Problem)
	default:
		op.Output = got.response
		c.learn(r, got.response)
	}
	c.operations = append(c.operations, op)
	return nil
}

// errListExpired says that compaction overtook a list between two pages.
var errListExpired = errors.New("list expired")

// more reads the other pages of a list into the first.
func (c *client) more(ctx context.Context, r request, first *reply) error {
	for token := first.Continue; token != ""; {
		page, err := c.service.call(ctx, call{request: r, Continue: token})
		switch {
		case err != nil:
			return err
		case page.Failure == expired && c.compacted.Load() > first.Rev:
			return errListExpired
		case page.Failure != "" || page.Problem != "" || page.Rev != first.Rev:
			first.Problem = fmt.Sprintf("the next page of a list at %d: %+v", first.Rev, page)
			return nil
		}
		for key, obj := range page.Objects {
			if obj != (object{}) && first.Objects[key] != (object{}) {
				first.Problem = fmt.Sprintf("%s is on two pages of a list", keyName(key))
			}
			if obj != (object{}) {
				first.Objects[key] = obj
			}
		}
		token = page.Continue
	}
	return nil
}

// learn remembers what makes later requests meet others.
func (c *client) learn(r request, got response) {
	switch r.Verb {
	case list:
		c.seen = got.Objects
	case remove:
		// The UID of what is gone makes a good precondition.
		c.newest = max(c.newest, got.Object.Rev)
	case create, get, update, upsert:
		if got.Failure == "" {
			c.seen[r.Key] = got.Object
		}
		c.newest = max(c.newest, got.Object.Rev)
	}
	c.newest = max(c.newest, got.Rev)
}

// verbs is what clients ask for, as often as it stands here.
var verbs = []verb{
	create, create, create, create, get, get, get, get, update, update, update, update, update, update,
	upsert, upsert, remove, remove, remove, list, list, list, listAt, listAt, current, compact, compactedRev,
}

// next returns a request at random.
func (c *client) next() request {
	r := request{
		Verb:   verbs[c.random.IntN(len(verbs))],
		ID:     int(c.ids.Add(1)),
		Key:    c.random.IntN(keys),
		Change: []change{increment, increment, incrementEven, reset}[c.random.IntN(4)],
		Limit:  c.random.Int64N(keys),
	}
	switch r.Verb {
	case update, upsert, remove:
		if c.random.IntN(2) == 0 {
			r.Rev = c.seen[r.Key].Rev
		}
		if c.random.IntN(4) == 0 {
			r.UID = c.seen[r.Key].UID
		}
	case get, list:
		if c.random.IntN(3) == 0 {
			r.AtLeast = max(0, c.newest+c.random.Int64N(8)-4)
		}
	case listAt:
		r.AtLeast = max(1, c.newest+4-c.random.Int64N(24))
	case compact:
		r.AtLeast = max(1, c.newest-c.random.Int64N(24))
		for was := c.compacted.Load(); was < r.AtLeast && !c.compacted.CompareAndSwap(was, r.AtLeast); {
			was = c.compacted.Load()
		}
	}
	return r
}
