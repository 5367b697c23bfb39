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
	Key   string
	Value []byte
	// CreateRev is the revision that created the key, ModRev the one that wrote it last.
	CreateRev, ModRev int64
	// Expiry is in seconds of the Unix epoch; 0: none. It is kept, and nothing is done with it.
	Expiry int64
	// Tags are what AscendTag finds the key by, ascending; see Searchable. They are shared, too.
	Tags []uint64
}

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
	// Value is the new value; nil for a delete.
	Value []byte
	// PrevValue is the value before; nil if the key was created.
	PrevValue []byte
	// CreateRev is the revision that created the key; PrevRev the revision of
	// PrevValue, 0 if the key was created.
	CreateRev, PrevRev int64
}
