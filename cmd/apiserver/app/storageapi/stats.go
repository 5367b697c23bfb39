package storageapi

import (
	"strings"

	"arl.io/arl/pkg/storage/kv"
)

// resourceSegments are those of a key that say of which resource it is:
// /registry/GROUP/RESOURCE/.
const resourceSegments = 3

// Stats is what a database holds and takes. Its fields may grow in number.
type Stats struct {
	// DatabaseID is the random ID that all files and backups of a database have in common.
	DatabaseID string `json:"databaseID"`
	// Revision is the newest resource version, CompactedRevision the one up to
	// which history is gone.
	Revision          int64 `json:"revision"`
	CompactedRevision int64 `json:"compactedRevision"`
	// Objects is how many objects there are.
	Objects int `json:"objects"`
	// LogEntries is how many writes are kept as history, LogMemoryBytes the
	// memory they take, LogRecordBytes their room on disk.
	LogEntries     int64 `json:"logEntries"`
	LogMemoryBytes int64 `json:"logMemoryBytes"`
	LogRecordBytes int64 `json:"logRecordBytes"`
	// LogFileBytes and StateFileBytes are the sizes of the files.
	LogFileBytes   int64 `json:"logFileBytes"`
	StateFileBytes int64 `json:"stateFileBytes"`
	// LogFreeBytes and StateFreeBytes are the parts of the files that hold
	// nothing. They are known of a stopped server only.
	LogFreeBytes   *int64 `json:"logFreeBytes,omitempty"`
	StateFreeBytes *int64 `json:"stateFreeBytes,omitempty"`
	// Watchers is how many watches are waiting for a write right now.
	Watchers int `json:"watchers"`
	// Resources are the objects by resource.
	Resources []ResourceStats `json:"resources"`
}

// ResourceStats is what the objects of a resource take.
type ResourceStats struct {
	// Resource is the resource and its group, as in tasks.arl.io.
	Resource string `json:"resource"`
	Objects  int64  `json:"objects"`
	// Bytes is the size of the objects and their keys as they are stored.
	Bytes int64 `json:"bytes"`
}

// StatsOf returns the statistics of an open database. It walks all keys.
func StatsOf(db *kv.DB) Stats {
	snapshot := db.Snapshot()
	return newStats(db.ID(), db.Stats(), snapshot.Usage(resourceSegments))
}

// OfflineStats returns the statistics of a database that no server has open.
func OfflineStats(o kv.Offline) Stats {
	s := newStats(o.DatabaseID, o.Stats, o.Snapshot.Usage(resourceSegments))
	s.LogFreeBytes, s.StateFreeBytes = &o.LogFreeBytes, &o.StateFreeBytes
	return s
}

func newStats(id string, s kv.Stats, usage []kv.Usage) Stats {
	out := Stats{
		DatabaseID:        id,
		Revision:          s.Revision,
		CompactedRevision: s.CompactedRevision,
		Objects:           s.Keys,
		LogEntries:        s.LogEntries,
		LogMemoryBytes:    s.LogBytes,
		LogRecordBytes:    s.LogRecordBytes,
		LogFileBytes:      s.LogFileBytes,
		StateFileBytes:    s.StateFileBytes,
		Watchers:          s.Watchers,
		Resources:         []ResourceStats{},
	}
	for _, u := range usage {
		out.Resources = append(out.Resources, ResourceStats{
			Resource: resourceOf(u.Prefix), Objects: u.Keys, Bytes: u.KeyBytes + u.ValueBytes,
		})
	}
	return out
}

// resourceOf turns /registry/GROUP/RESOURCE/ into RESOURCE.GROUP; what does not
// look like that stays as it is.
func resourceOf(prefix string) string {
	parts := strings.Split(strings.Trim(prefix, "/"), "/")
	if len(parts) != resourceSegments || !strings.HasSuffix(prefix, "/") {
		return prefix
	}
	return parts[2] + "." + parts[1]
}
