package cluster

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"

	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc"
)

// Sniffer sees all writes that reach etcd, and keeps them until Reset. Its
// methods may be called at once. Who makes it closes it.
type Sniffer struct {
	client *clientv3.Client
	cancel context.CancelFunc
	done   chan struct{}

	mu       sync.Mutex    // guards what is below
	moved    chan struct{} // closed and renewed when anything below changes
	writes   []Write
	revision int64 // all writes up to it are seen
	err      error // why the watch ended
}

// Write is what etcd was told about a key. Values are as kube-apiserver encodes
// objects.
type Write struct {
	Key string
	// Before is nil if there was no such key, and After if it was deleted.
	Before, After []byte
}

// Writes are how often etcd was told something about the keys of one prefix.
type Writes struct{ Puts, Deletes int }

// Sniff starts to see every write of the whole keyspace from now on.
func (c *Cluster) Sniff(ctx context.Context) (*Sniffer, error) {
	client, err := clientv3.New(clientv3.Config{
		Endpoints: []string{etcdURL},
		DialOptions: []grpc.DialOption{grpc.WithContextDialer(func(ctx context.Context, address string) (net.Conn, error) {
			return c.DialContext(ctx, "tcp", address)
		})},
	})
	if err != nil {
		return nil, fmt.Errorf("make a client of etcd: %w", err)
	}
	now, err := client.Get(ctx, "none", clientv3.WithCountOnly())
	if err != nil {
		return nil, errors.Join(fmt.Errorf("ask etcd for its revision: %w", err), client.Close())
	}
	watching, cancel := context.WithCancel(context.Background())
	s := &Sniffer{
		client: client, cancel: cancel, done: make(chan struct{}), moved: make(chan struct{}),
		revision: now.Header.Revision,
	}
	events := client.Watch(watching, "", clientv3.WithPrefix(), clientv3.WithPrevKV(), clientv3.WithRev(now.Header.Revision+1))
	go s.collect(events)
	return s, nil
}

// collect is the goroutine that Close joins.
func (s *Sniffer) collect(events clientv3.WatchChan) {
	defer close(s.done)
	for response := range events {
		s.mu.Lock()
		for _, event := range response.Events {
			write := Write{Key: string(event.Kv.Key)}
			if event.PrevKv != nil {
				write.Before = event.PrevKv.Value
			}
			if event.Type != clientv3.EventTypeDelete {
				write.After = event.Kv.Value
			}
			s.writes = append(s.writes, write)
			s.revision = event.Kv.ModRevision // each revision is the write of a key
		}
		s.err = response.Err()
		close(s.moved)
		s.moved = make(chan struct{})
		s.mu.Unlock()
	}
}

// prefixOf is the part of a key that names the kind: "/registry/pods", and
// "/registry/arl.io/tasks" for kinds that stand below their group.
func prefixOf(key string) string {
	parts := strings.Split(strings.TrimPrefix(key, "/"), "/")
	keep := 2
	if len(parts) > 1 && strings.Contains(parts[1], ".") {
		keep = 3
	}
	return "/" + strings.Join(parts[:min(keep, len(parts))], "/")
}

// Writes returns the writes since the start or the last Reset, all of those
// included that etcd had acknowledged when it was called.
func (s *Sniffer) Writes(ctx context.Context) ([]Write, error) {
	if err := s.catchUp(ctx); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.writes), nil
}

// Counts returns how many writes there were, as Writes does, by the prefix of
// their keys.
func (s *Sniffer) Counts(ctx context.Context) (map[string]Writes, error) {
	writes, err := s.Writes(ctx)
	return Count(writes), err
}

// Count counts writes by the prefix of their keys, which names the kind of object.
func Count(writes []Write) map[string]Writes {
	counts := map[string]Writes{}
	for _, write := range writes {
		prefix := prefixOf(write.Key)
		count := counts[prefix]
		if write.After == nil {
			count.Deletes++
		} else {
			count.Puts++
		}
		counts[prefix] = count
	}
	return counts
}

// Reset forgets every write that etcd had acknowledged when it was called.
func (s *Sniffer) Reset(ctx context.Context) error {
	if err := s.catchUp(ctx); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.writes = nil
	return nil
}

// catchUp waits until the watch has seen what etcd holds now.
func (s *Sniffer) catchUp(ctx context.Context) error {
	now, err := s.client.Get(ctx, "none", clientv3.WithCountOnly())
	if err != nil {
		return fmt.Errorf("ask etcd for its revision: %w", err)
	}
	for {
		s.mu.Lock()
		revision, moved, err := s.revision, s.moved, s.err
		s.mu.Unlock()
		if err != nil {
			return fmt.Errorf("watch etcd: %w", err)
		}
		if revision >= now.Header.Revision {
			return nil
		}
		select {
		case <-moved:
		case <-s.done:
			return errors.New("watch etcd: the watch has ended")
		case <-ctx.Done():
			return fmt.Errorf("wait for revision %d of etcd, at %d: %w", now.Header.Revision, revision, ctx.Err())
		}
	}
}

// Close ends the watch.
func (s *Sniffer) Close() error {
	s.cancel()
	<-s.done
	return s.client.Close()
}
