package warmpool

import (
	"k8s.io/apiserver/pkg/storage"
	"k8s.io/utils/clock"

	"arl.io/arl/pkg/registry/kind"
)

// Storage serves WarmPools and their subresources.
type Storage struct {
	WarmPool *REST
	Status   *kind.StatusREST
	Scale    *ScaleREST
}

// NewStorage makes the storage of WarmPools. Without a keeper nobody would remove the finalizer of
// pools, so they have none. It returns an error if the storage below cannot be had.
func NewStorage(cfg kind.Config, keeper Keeper) (*Storage, error) {
	def := definition
	if keeper == nil {
		def.Finalizer = ""
	}
	cfg.RESTOptions = kind.WrapStorage(cfg.RESTOptions, func(below storage.Interface) storage.Interface {
		return deletingStorage{below}
	})
	main, status, err := kind.New(def, cfg)
	if err != nil {
		return nil, err
	}
	clk := cfg.Clock
	if clk == nil {
		clk = clock.RealClock{}
	}
	return &Storage{
		WarmPool: &REST{REST: main, keeper: keeper},
		Status:   status,
		Scale:    &ScaleREST{store: main.Store, table: newScaleTable(clk)},
	}, nil
}
