package execution

import "crypto/sha256"

// digest stands for an ID in a fraction of its size.
type digest [16]byte

// forgotten is a bounded set of IDs, of which the oldest go first. It takes
// memory as it grows.
type forgotten struct {
	limit int
	set   map[digest]struct{}
	// order is a ring once it is full; oldest is then where its oldest entry is.
	order  []digest
	oldest int
}

func newForgotten(limit int) forgotten {
	return forgotten{limit: limit, set: map[digest]struct{}{}}
}

func digestOf(id string) digest {
	sum := sha256.Sum256([]byte(id))
	return digest(sum[:16])
}

func (f *forgotten) has(id string) bool {
	_, ok := f.set[digestOf(id)]
	return ok
}

// add adds an ID that is not in the set.
func (f *forgotten) add(id string) {
	added := digestOf(id)
	f.set[added] = struct{}{}
	if len(f.order) < f.limit {
		f.order = append(f.order, added)
		return
	}
	delete(f.set, f.order[f.oldest])
	f.order[f.oldest] = added
	f.oldest = (f.oldest + 1) % f.limit
}
