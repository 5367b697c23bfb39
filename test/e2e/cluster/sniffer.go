package cluster

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"

	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc"
)

// Sniffer counts the writes that reach etcd, by the prefix of their keys. Its
// methods may be called at once. Who makes it closes it.
type Sniffer struct {
	client *clientv3.Client
	cancel context.CancelFunc
	done   chan struct{}

	mu       sync.Mutex    // guards what is below
	moved    chan struct{} // closed and renewed when anything below changes
	counts   map[string]Writes
	revision int64 // all writes up to it are counted
	err      error // why the watch ended
}

// Writes are what etcd was told about the keys of one prefix.
type Writes struct{ Puts, Deletes int }

// Sniff starts to count every write of the whole keyspace from now on.
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
		counts: map[string]Writes{}, revision: now.Header.Revision,
	}
	events := client.Watch(watching, "", clientv3.WithPrefix(), clientv3.WithRev(now.Header.Revision+1))
	go s.count(events)
	return s, nil
}

// count is the goroutine that Close joins.
func (s *Sniffer) count(events clientv3.WatchChan) {
	defer close(s.done)
	for response := range events {
		s.mu.Lock()
		for _, event := range response.Events {
			prefix := prefixOf(string(event.Kv.Key))
			writes := s.counts[prefix]
			if event.Type == clientv3.EventTypeDelete {
				writes.Deletes++
			} else {
				writes.Puts++
			}
			s.counts[prefix] = writes
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

// Counts returns the writes since the start or the last Reset, all of those
// included that etcd had acknowledged when it was called.
func (s *Sniffer) Counts(ctx context.Context) (map[string]Writes, error) {
	if err := s.catchUp(ctx); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	counts := map[string]Writes{}
	for prefix, writes := range s.counts {
		counts[prefix] = writes
	}
	return counts, nil
}

// Reset forgets every write that etcd had acknowledged when it was called.
func (s *Sniffer) Reset(ctx context.Context) error {
	if err := s.catchUp(ctx); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	clear(s.counts)
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
