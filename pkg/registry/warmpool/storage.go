package warmpool

import (
	"k8s.io/utils/clock"

	"arl.io/arl/pkg/registry/kind"
)

// Storage serves WarmPools and their subresources.
type Storage struct {
	WarmPool *kind.REST
	Status   *kind.StatusREST
	Scale    *ScaleREST
}

// NewStorage makes the storage of WarmPools. It returns an error if the storage
// below cannot be had.
func NewStorage(cfg kind.Config) (*Storage, error) {
	main, status, err := kind.New(definition, cfg)
	if err != nil {
		return nil, err
	}
	clk := cfg.Clock
	if clk == nil {
		clk = clock.RealClock{}
	}
	return &Storage{
		WarmPool: main,
		Status:   status,
		Scale:    &ScaleREST{store: main.Store, table: newScaleTable(clk)},
	}, nil
}
