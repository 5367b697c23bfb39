// Package bolt stores Kubernetes objects in package kv: it implements
// k8s.io/apiserver/pkg/storage.Interface, so that the generic registry works on
// a file instead of etcd. It behaves as the etcd3 store does, and passes the
// same suite of tests; what it does better is stated below.
//
// # What it is for
//
// A Store serves one resource. Between the log and the registry stand three
// steps: the codec (object to bytes), the transformer (encryption at rest, with
// the key as authenticated data) and the precondition on the revision. Reads
// and lists come from an immutable snapshot and never wait for writers; pages of
// a list are read at the revision of the first. Large objects are not in memory:
// see large.go for what follows from that.
//
// It watches by itself: no watch cache is put in front of it, because the log
// of package kv is one. That is why bookmarks, WatchList and progress requests,
// which the etcd3 store leaves to the cache, are served here.
// ListOptions.RecordTimestamps exists for that cache only and is ignored.
//
// It knows nothing of any kind, of scheduling, or of how bytes get on disk.
//
// # Keys
//
//	<prefix>/<resource prefix>/<namespace>/<name>
//	/registry/arl.io/sandboxes/default/sbx-1
//
// The resource prefix is the group and the resource. See RESTOptionsGetter.
//
// # Indexes
//
// The registry's indexers become tags of the keys in package kv, so a list with
// a field selector that has an index looks only at what it returns. See index.go.
//
// # Goroutines, locks and order
//
// Each watch has one goroutine, which is joined by Stop of the watch, by the
// end of its context, and by Store.Close. It pulls from the log and blocks on a
// bounded channel, so a slow client delays nobody; one that is overtaken by
// compaction gets 410 Expired, never a hole. Compactor.Run and Expirer.Run are
// loops that the caller starts and joins. Nothing else is started here.
//
// Store.mu (the set of watches) comes before alarm.mu; memo.mu and Expirer.mu
// are held alone. None is held over a call into package kv or a codec.
//
// # Differences from the etcd3 store
//
// A suggestion (cachedExistingObject) is checked against the current revision
// before it is used, at no cost, so nothing is ever tried on a stale one. A nil
// TTL from an UpdateFunc keeps the expiry, as the interface says. Expired
// objects are deleted by Expirer to the second.
//
// Read store.go first, then update.go, watch.go and watcher.go.
package bolt
