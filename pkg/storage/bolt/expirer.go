package bolt

import (
	"container/heap"
	"context"
	"errors"
	"sync"
	"time"

	"k8s.io/klog/v2"
	"k8s.io/utils/clock"

	"arl.io/arl/pkg/storage/kv"
)

// expirerRetry is when a deletion that failed is tried again.
const expirerRetry = 5 * time.Second

// Expirer deletes keys at their expiry. What it has to do is in the database,
// where Store tags the keys that have an expiry: a start looks at no others. So
// it forgets nothing in a restart, and costs nothing where no kind has a TTL. One
// is enough for all stores of a database.
type Expirer struct {
	db    *kv.DB
	clock clock.WithTicker
	// changed has room for one: that the earliest expiry may have changed.
	changed chan struct{}

	mu    sync.Mutex
	queue expiryQueue
	index map[string]*expiring
}

// NewExpirer returns an Expirer that does nothing until Run is called. Nil for
// clk is the real clock.
func NewExpirer(db *kv.DB, clk clock.WithTicker) *Expirer {
	if clk == nil {
		clk = clock.RealClock{}
	}
	return &Expirer{db: db, clock: clk, changed: make(chan struct{}, 1), index: map[string]*expiring{}}
}

// Track has the key of an entry deleted when the entry expires. It may be
// called at any time; what stands in the database when the time comes decides.
func (x *Expirer) Track(entry kv.Entry) {
	x.schedule(entry.Key, entry.Expiry)
	select {
	case x.changed <- struct{}{}:
	default:
	}
}

// Run deletes what expires until ctx ends, which it answers with nil, or until
// the database can no longer be used. It must be called once.
func (x *Expirer) Run(ctx context.Context) error {
	x.db.Snapshot().AscendTag(expires, "", "", func(entry kv.Entry) bool {
		x.schedule(entry.Key, entry.Expiry)
		return true
	})
	for {
		if err := x.deleteDue(ctx); err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return err
		}
		wait, stop := x.untilNext()
		select {
		case <-ctx.Done():
			stop()
			return nil
		case <-x.changed:
		case <-wait:
		}
		stop()
	}
}

// untilNext returns a channel that gets a value when the next key expires.
func (x *Expirer) untilNext() (wait <-chan time.Time, stop func()) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if len(x.queue) == 0 {
		return nil, func() {}
	}
	t := x.clock.NewTimer(time.Unix(x.queue[0].expiry, 0).Sub(x.clock.Now()))
	return t.C(), func() { t.Stop() }
}

// deleteDue deletes what has expired. A deletion that fails is put off, unless
// the database has failed.
func (x *Expirer) deleteDue(ctx context.Context) error {
	for {
		now := x.clock.Now()
		key, due := x.popDue(now.Unix())
		if !due {
			return nil
		}
		err := x.deleteExpired(ctx, key, now.Unix())
		if ctx.Err() != nil || errors.Is(err, kv.ErrClosed) || errors.Is(err, kv.ErrFailed) {
			return err
		}
		if err != nil {
			klog.FromContext(ctx).Error(err, "Deleting an expired object failed, will try again", "key", key)
			x.schedule(key, now.Add(expirerRetry).Unix())
		}
	}
}

// deleteExpired deletes key if it has expired by now; if it was written again
// meanwhile with another expiry, it waits for that.
func (x *Expirer) deleteExpired(ctx context.Context, key string, now int64) error {
	entry, found := x.db.Snapshot().Get(key)
	for found && entry.Expiry != 0 && entry.Expiry <= now {
		_, err := x.db.Apply(ctx, kv.Op{Key: key, Delete: true, Expect: entry.ModRev})
		var conflict *kv.ConflictError
		if !errors.As(err, &conflict) {
			return err
		}
		entry, found = conflict.Current, conflict.Exists
	}
	if found && entry.Expiry != 0 {
		x.schedule(key, entry.Expiry)
	}
	return nil
}

// schedule sets when key is looked at next.
func (x *Expirer) schedule(key string, expiry int64) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if e := x.index[key]; e != nil {
		e.expiry = expiry
		heap.Fix(&x.queue, e.place)
		return
	}
	e := &expiring{key: key, expiry: expiry}
	x.index[key] = e
	heap.Push(&x.queue, e)
}

// popDue takes the earliest key off the queue if its time has come.
func (x *Expirer) popDue(now int64) (key string, due bool) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if len(x.queue) == 0 || x.queue[0].expiry > now {
		return "", false
	}
	e := heap.Pop(&x.queue).(*expiring)
	delete(x.index, e.key)
	return e.key, true
}

// expiring is a key in the queue: one entry a key, so the queue is bounded by
// the number of objects.
type expiring struct {
	key    string
	expiry int64
	place  int
}

// expiryQueue is a heap, the earliest expiry first.
type expiryQueue []*expiring

var _ heap.Interface = (*expiryQueue)(nil)

func (q expiryQueue) Len() int           { return len(q) }
func (q expiryQueue) Less(i, j int) bool { return q[i].expiry < q[j].expiry }

func (q expiryQueue) Swap(i, j int) {
	q[i], q[j] = q[j], q[i]
	q[i].place, q[j].place = i, j
}

// Push implements heap.Interface.
func (q *expiryQueue) Push(e any) {
	x := e.(*expiring)
	x.place = len(*q)
	*q = append(*q, x)
}

// Pop implements heap.Interface.
func (q *expiryQueue) Pop() any {
	last := len(*q) - 1
	e := (*q)[last]
	(*q)[last] = nil
	*q = (*q)[:last]
	return e
}
