package ledger

import (
	"k8s.io/apimachinery/pkg/types"
)

// Abandon ends a sandbox that has a pod, with the given reason, and lets the pod go. It is for a
// pod in which something may run that nobody can account for. It does nothing if the sandbox is
// not known or has ended.
func (l *Ledger) Abandon(uid types.UID, reason, message string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	c, ok := l.claims[uid]
	if !ok || c.stage != Bound {
		return
	}
	if l.stored[c.podKey] == c {
		delete(l.stored, c.podKey)
	}
	p := c.pod
	c.stage, c.pod, c.reason, c.message = Ended, nil, reason, message
	l.config.Listener.SandboxChanged(c.key)
	if p != nil {
		p.claim = nil
		l.leaveLocked(p)
	}
}
