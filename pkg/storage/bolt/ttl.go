package bolt

import (
	"errors"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/runtime"

	"arl.io/arl/pkg/storage/kv"
)

// maxExpiry is the last second of the year 9999, beyond which times are of no
// use to anybody.
const maxExpiry = 253402300799

// errNoExpirer answers a TTL in a server that would never act upon it.
var errNoExpirer = errors.New("objects with a TTL are not supported: the storage has no expirer")

// expiry returns the second in which an object with this time to live, in
// seconds, has lived at least so long; 0 for one that lives forever.
func (s *Store) expiry(ttl uint64) (int64, error) {
	if ttl == 0 {
		return 0, nil
	}
	if s.expirer == nil {
		return 0, errNoExpirer
	}
	now := s.clock.Now()
	end := now.Unix()
	if now.Nanosecond() > 0 {
		end++
	}
	if ttl > uint64(maxExpiry-end) {
		return maxExpiry, nil
	}
	return end + int64(ttl), nil
}

// expires is the tag of every key that has an expiry, by which Expirer finds
// them after a restart.
var expires = tag("expires")

// tags returns those of an object with this expiry.
func (s *Store) tags(obj runtime.Object, expiry int64) ([]uint64, error) {
	tags, err := s.index.tags(obj)
	if err != nil || expiry == 0 {
		return tags, err
	}
	tags = append(tags, expires)
	slices.Sort(tags)
	return slices.Compact(tags), nil
}

// track has an entry deleted at its expiry, if it has one.
func (s *Store) track(entry kv.Entry) {
	if entry.Expiry != 0 && s.expirer != nil {
		s.expirer.Track(entry)
	}
}

// remaining returns the seconds an entry has to live: 0 for one that lives
// forever, less than 0 for one that is to be deleted any moment.
func remaining(entry kv.Entry, now time.Time) int64 {
	if entry.Expiry == 0 {
		return 0
	}
	left := entry.Expiry - now.Unix()
	if left == 0 {
		return -1
	}
	return left
}
