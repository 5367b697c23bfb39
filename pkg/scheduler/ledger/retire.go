package ledger

import "k8s.io/apimachinery/pkg/types"

// Retire has a pool that is about to be deleted give out no more pods, and returns its UID. If one of
// its pods is in use, or the ledger does not know the pool, it does nothing and returns false.
func (l *Ledger) Retire(pool types.NamespacedName) (uid types.UID, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	b := l.books[pool]
	if b == nil || b.pool == nil || !l.open || b.inUse > 0 {
		return "", false
	}
	b.retired++
	return b.pool.UID, true
}

// Restore undoes one Retire of a pool that was not deleted after all.
func (l *Ledger) Restore(pool types.NamespacedName, uid types.UID) {
	l.mu.Lock()
	defer l.mu.Unlock()
	b := l.books[pool]
	if b == nil || b.pool == nil || b.pool.UID != uid || b.retired == 0 {
		return
	}
	b.retired--
	l.matchLocked(b)
	l.config.Listener.PoolChanged(b.key)
	l.config.Listener.QueueChanged(b.key)
}
