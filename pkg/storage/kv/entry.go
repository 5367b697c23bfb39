package kv

const (
	// MaxTags is how many tags a key may have.
	MaxTags = 64
	// Searchable is set in the tags that AscendTag finds keys by. The others are
	// only kept with the key, which costs no place in the index.
	Searchable uint64 = 1 << 63
)

// Entry is a live key. It is shared: Value must not be modified.
type Entry struct {
	Key string
	// Value is nil if the value is large and hence kept in the files only. Load
	// returns it in either case.
	Value []byte
	// CreateRev is the revision that created the key, ModRev the one that wrote it last.
	CreateRev, ModRev int64
	// Expiry is in seconds of the Unix epoch; 0: none. It is kept, and nothing is done with it.
	Expiry int64
	// Tags are what AscendTag finds the key by, ascending; see Searchable. They are shared, too.
	Tags []uint64

	// large says where the value is if it is not in Value.
	large *large
}

// Load returns the value, which must not be modified. A large one is read from
// the files, checked, and belongs to the caller; it is found for as long as a
// revision at which the key had it is not compacted, and often longer. After
// that the error is ErrCompacted: the key has been written again, or is gone. A
// damaged value is ErrCorrupt. After Close large values are ErrClosed.
func (e Entry) Load() ([]byte, error) {
	if e.large == nil {
		return e.Value, nil
	}
	return e.large.load()
}

// Size returns the length of the value without reading it.
func (e Entry) Size() int {
	if e.large == nil {
		return len(e.Value)
	}
	return e.large.size
}

// IsLarge reports whether Load reads the value from the files.
func (e Entry) IsLarge() bool { return e.large != nil }

// Op is one conditional write. There is no unconditional write.
type Op struct {
	Key string
	// Delete removes the key; Value, Expiry and Tags are ignored.
	Delete bool
	// Value is kept as it is passed: it must not be modified afterwards.
	Value []byte
	// Expiry is stored with the value. See Entry.
	Expiry int64
	// Tags are numbers to find the key by, strictly ascending, at most MaxTags.
	// What a number stands for is the caller's affair. They are kept as passed.
	Tags []uint64
	// Expect is the ModRev the key must have; 0: the key must not exist (so a
	// delete with 0 is always a conflict).
	Expect int64
}

// Event is one write as watchers see it. It is shared: values must not be modified.
type Event struct {
	Rev    int64
	Key    string
	Delete bool
	// Value is the new value; nil for a delete, and for a large value.
	Value []byte
	// PrevValue is the value before; nil if the key was created, and for a large value.
	PrevValue []byte
	// CreateRev is the revision that created the key; PrevRev the revision of
	// PrevValue, 0 if the key was created.
	CreateRev, PrevRev int64

	// large and prevLarge say where the values are if they are not in Value and PrevValue.
	large, prevLarge *large
}

// Current returns the key as the write left it; the zero Entry for a delete.
// Only Key, the value and the revisions are set.
func (e Event) Current() Entry {
	if e.Delete {
		return Entry{}
	}
	return Entry{Key: e.Key, Value: e.Value, CreateRev: e.CreateRev, ModRev: e.Rev, large: e.large}
}

// Previous returns the key as it was before the write; the zero Entry if the
// write created it. Only Key, the value and the revisions are set.
func (e Event) Previous() Entry {
	if e.PrevRev == 0 {
		return Entry{}
	}
	return Entry{Key: e.Key, Value: e.PrevValue, CreateRev: e.CreateRev, ModRev: e.PrevRev, large: e.prevLarge}
}
