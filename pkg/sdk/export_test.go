package sdk

import "time"

// SetGrace changes how long a failure may last that may pass.
func (p *Pools) SetGrace(grace time.Duration) { p.grace = grace }

// ResultOf reads a task that has ended.
var ResultOf = resultOf
