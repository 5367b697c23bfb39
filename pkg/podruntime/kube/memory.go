package kube

import (
	"context"
	"maps"
	"slices"
	"sync"

	"k8s.io/apimachinery/pkg/types"
)

// memoryRecords are Records that end with the process.
type memoryRecords struct {
	mu       sync.Mutex
	records  map[types.UID]Record
	complete bool
}

var _ Records = (*memoryRecords)(nil)

func (m *memoryRecords) Load(context.Context) ([]Record, bool, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Collect(maps.Values(m.records)), m.complete, nil
}

func (m *memoryRecords) Add(_ context.Context, record Record) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.records == nil {
		m.records = map[types.UID]Record{}
	}
	m.records[record.UID] = record
	return nil
}

func (m *memoryRecords) Remove(_ context.Context, pod types.UID) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.records, pod)
	return nil
}

func (m *memoryRecords) Complete(context.Context) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.complete = true
	return nil
}
