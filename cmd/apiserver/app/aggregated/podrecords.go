package aggregated

import (
	"context"
	"encoding/json"
	"fmt"

	"k8s.io/apimachinery/pkg/types"

	"arl.io/arl/cmd/apiserver/app/modes"
	"arl.io/arl/pkg/podruntime/kube"
)

// Keys of notes: one of each pod, and one that says that all pods have one.
const (
	podRecordsPrefix   = "podrecords/"
	podRecordsComplete = "podrecords-complete/since"
)

// podRecords keep in the server's notes which pods the server created. A backup of the database has
// them: a restored server knows its pods as of then.
type podRecords struct{ notes modes.Notes }

var _ kube.Records = podRecords{}

// Load implements kube.Records.
func (p podRecords) Load(context.Context) (records []kube.Record, complete bool, err error) {
	stored, err := p.notes.List(podRecordsPrefix)
	if err != nil {
		return nil, false, err
	}
	for uid, value := range stored {
		var record kube.Record
		if err := json.Unmarshal(value, &record); err != nil {
			return nil, false, fmt.Errorf("the record of pod %s: %w", uid, err)
		}
		records = append(records, record)
	}
	marks, err := p.notes.List(podRecordsComplete)
	return records, len(marks) > 0, err
}

// Add implements kube.Records.
func (p podRecords) Add(ctx context.Context, record kube.Record) error {
	value, err := json.Marshal(record)
	if err != nil {
		return fmt.Errorf("encode the record of pod %s/%s: %w", record.Namespace, record.Name, err)
	}
	return p.notes.Put(ctx, podRecordsPrefix+string(record.UID), value)
}

// Remove implements kube.Records.
func (p podRecords) Remove(ctx context.Context, pod types.UID) error {
	return p.notes.Delete(ctx, podRecordsPrefix+string(pod))
}

// Complete implements kube.Records.
func (p podRecords) Complete(ctx context.Context) error {
	return p.notes.Put(ctx, podRecordsComplete, []byte("{}"))
}
