package ledger

import (
	"container/list"
	"time"
)

// slotTime is how long a pod that starts may hold a slot. What costs the machine or the cluster is the
// beginning of a start. A pod that takes longer waits for something, such as an image, and must not
// keep the pods of other pools from starting.
const slotTime = 10 * time.Second

// slots share the limit of pods that start at the same time among all pools. A pod holds a slot until
// it is ready, has failed, says what it waits for, or slotTime has passed. Pools that want more than
// there are take turns, one slot at a time. So a pool whose pods hang holds the slots once, for
// slotTime, and no pool waits for another that starts many pods.
//
// A pod that the ledger did not order itself holds none: it was started by an earlier server.
type slots struct {
	limit int
	// held says since when a pod holds a slot.
	held map[*pod]time.Time
	// turns are the pools that want more slots, the next one in front. A book's turn is its element.
	turns *list.List
}

func newSlots(limit int) slots {
	return slots{limit: limit, held: map[*pod]time.Time{}, turns: list.New()}
}

// expire takes back the slots that were held for too long.
func (s *slots) expire(now time.Time) {
	for p, since := range s.held {
		if now.Sub(since) >= slotTime {
			delete(s.held, p)
		}
	}
}

// nextExpiry returns when the next slot is taken back. Some must be held.
func (s *slots) nextExpiry() time.Time {
	var next time.Time
	for _, since := range s.held {
		if end := since.Add(slotTime); next.IsZero() || end.Before(next) {
			next = end
		}
	}
	return next
}

// next returns the pool whose turn it is, or nil.
func (s *slots) next() *book {
	if front := s.turns.Front(); front != nil {
		return front.Value.(*book)
	}
	return nil
}

// leave takes a pool out of the turns.
func (s *slots) leave(b *book) {
	if b.turn != nil {
		s.turns.Remove(b.turn)
		b.turn = nil
	}
}

// grantLocked returns how many of the wanted pods a pool may start now. If that is fewer, the pool is
// filled again when it is its turn, and at the latest at the time returned, if that is not zero.
func (l *Ledger) grantLocked(b *book, wanted int, now time.Time) (granted int, again time.Time) {
	s := &l.slots
	s.expire(now)
	if wanted > 0 && b.turn == nil {
		b.turn = s.turns.PushBack(b)
	}
	free := s.limit - len(s.held)
	for free > 0 && granted < wanted && s.next() == b {
		granted++
		free--
		s.turns.MoveToBack(b.turn)
	}
	if granted == wanted {
		s.leave(b)
	}
	if next := s.next(); next != nil {
		if free > 0 {
			l.config.Listener.PoolChanged(next.key)
		} else if len(s.held) > 0 {
			again = s.nextExpiry()
		} else {
			again = now.Add(slotTime)
		}
	}
	return granted, again
}

// releaseLocked takes the slot of a pod back, if it holds one.
func (l *Ledger) releaseLocked(p *pod) {
	if _, holds := l.slots.held[p]; !holds {
		return
	}
	delete(l.slots.held, p)
	l.callNextLocked()
}

// callNextLocked has the pool filled whose turn it is.
func (l *Ledger) callNextLocked() {
	if next := l.slots.next(); next != nil {
		l.config.Listener.PoolChanged(next.key)
	}
}
