package plan

import (
	"iter"
	"testing"

	"github.com/google/go-cmp/cmp"

	"arl.io/arl/pkg/apis/arl/v1alpha1"
)

func TestFill(t *testing.T) {
	const many = 100
	tests := map[string]struct {
		want Want
		have Stock
		then Order
	}{
		"an empty pool starts all":            {Want{Replicas: 3, StartLimit: many}, Stock{}, Order{Start: 3}},
		"starting pods count":                 {Want{Replicas: 3, StartLimit: many}, Stock{Current: Shelf{Starting: 2}}, Order{Start: 1}},
		"a full pool does nothing":            {Want{Replicas: 3, StartLimit: many}, Stock{Current: Shelf{1, 2}}, Order{}},
		"pods in use do not count":            {Want{Replicas: 2, StartLimit: many}, Stock{Current: Shelf{0, 1}, InUse: 7}, Order{Start: 1}},
		"no more at once than the limit":      {Want{Replicas: 50, StartLimit: 16}, Stock{Current: Shelf{10, 0}}, Order{Start: 6}},
		"none at the limit":                   {Want{Replicas: 50, StartLimit: 16}, Stock{Current: Shelf{20, 0}}, Order{}},
		"the cap counts all":                  {Want{Replicas: 5, MaxPods: 6, StartLimit: many}, Stock{Current: Shelf{1, 1}, InUse: 3}, Order{Start: 1, Capped: true}},
		"none above the cap":                  {Want{Replicas: 5, MaxPods: 3, StartLimit: many}, Stock{InUse: 5}, Order{Capped: true}},
		"too many: starting ones go first":    {Want{Replicas: 1, StartLimit: many}, Stock{Current: Shelf{2, 3}}, Order{StopCurrent: Shelf{2, 2}}},
		"too many: only starting ones go":     {Want{Replicas: 4, StartLimit: many}, Stock{Current: Shelf{2, 3}}, Order{StopCurrent: Shelf{1, 0}}},
		"a lower cap takes unused pods":       {Want{Replicas: 5, MaxPods: 4, StartLimit: many}, Stock{Current: Shelf{0, 5}, InUse: 2}, Order{StopCurrent: Shelf{0, 3}, Capped: true}},
		"a cap below those in use":            {Want{Replicas: 5, MaxPods: 1, StartLimit: many}, Stock{Current: Shelf{0, 2}, InUse: 2}, Order{StopCurrent: Shelf{0, 2}, Capped: true}},
		"scaled to zero":                      {Want{StartLimit: many}, Stock{Current: Shelf{1, 4}}, Order{StopCurrent: Shelf{1, 4}}},
		"on replenish: old idle pods stay":    {Want{Replicas: 3, StartLimit: many}, Stock{Old: Shelf{0, 3}}, Order{Start: 3}},
		"on replenish: one for one":           {Want{Replicas: 3, StartLimit: many}, Stock{Current: Shelf{2, 1}, Old: Shelf{0, 3}}, Order{StopOld: Shelf{0, 1}}},
		"on replenish: all replaced":          {Want{Replicas: 3, StartLimit: many}, Stock{Current: Shelf{0, 3}, Old: Shelf{0, 1}}, Order{StopOld: Shelf{0, 1}}},
		"on replenish: unready old ones go":   {Want{Replicas: 2, StartLimit: many}, Stock{Old: Shelf{2, 0}}, Order{Start: 2, StopOld: Shelf{2, 0}}},
		"on replenish: one gives way at cap":  {Want{Replicas: 2, MaxPods: 2, StartLimit: many}, Stock{Old: Shelf{0, 2}}, Order{Start: 1, StopOld: Shelf{0, 1}, Capped: true}},
		"on replenish: the next only then":    {Want{Replicas: 2, MaxPods: 2, StartLimit: many}, Stock{Current: Shelf{1, 0}, Old: Shelf{0, 1}}, Order{Capped: true}},
		"recreate: old pods go at once":       {Want{Replicas: 2, StartLimit: many, Strategy: v1alpha1.UpdateRecreate}, Stock{Old: Shelf{1, 2}}, Order{Start: 2, StopOld: Shelf{1, 2}}},
		"recreate: at the cap":                {Want{Replicas: 2, MaxPods: 2, StartLimit: many, Strategy: v1alpha1.UpdateRecreate}, Stock{Old: Shelf{0, 2}}, Order{Start: 2, StopOld: Shelf{0, 2}}},
		"one pod for each that waits":         {Want{Waiting: 20, StartLimit: many}, Stock{}, Order{Start: 20}},
		"the larger of both needs":            {Want{Replicas: 3, Waiting: 2, StartLimit: many}, Stock{}, Order{Start: 3}},
		"waiting beyond the replicas":         {Want{Replicas: 1, Waiting: 20, StartLimit: many}, Stock{Current: Shelf{5, 0}, InUse: 4}, Order{Start: 15}},
		"waiting within the cap":              {Want{Replicas: 1, Waiting: 20, MaxPods: 8, StartLimit: many}, Stock{Current: Shelf{2, 0}, InUse: 4}, Order{Start: 2, Capped: true}},
		"waiting within the start limit":      {Want{Waiting: 20, StartLimit: 16}, Stock{Current: Shelf{10, 0}}, Order{Start: 6}},
		"nobody waits any more":               {Want{Replicas: 1, StartLimit: many}, Stock{Current: Shelf{5, 0}}, Order{StopCurrent: Shelf{4, 0}}},
		"spare pods stay":                     {Want{Replicas: 1, Spare: 3, StartLimit: many}, Stock{Current: Shelf{5, 0}}, Order{StopCurrent: Shelf{1, 0}}},
		"spare pods are not started":          {Want{Replicas: 1, Spare: 3, StartLimit: many}, Stock{Current: Shelf{0, 1}}, Order{}},
		"spare pods are within the cap":       {Want{Spare: 3, MaxPods: 2, StartLimit: many}, Stock{Current: Shelf{0, 2}, InUse: 1}, Order{StopCurrent: Shelf{0, 1}}},
		"a cap that is not in the way":        {Want{Replicas: 2, MaxPods: 2, StartLimit: many}, Stock{}, Order{Start: 2}},
		"old starting pods free their places": {Want{Replicas: 4, StartLimit: 4}, Stock{Old: Shelf{4, 0}}, Order{Start: 4, StopOld: Shelf{4, 0}}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(test.then, Fill(test.want, test.have)); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

// TestFillConverges starts from every small stock and follows the orders, each
// pod getting ready at once and being given to who waits: every pool ends as wanted, and never above its cap.
func TestFillConverges(t *testing.T) {
	for _, strategy := range []v1alpha1.UpdateStrategyType{v1alpha1.UpdateOnReplenish, v1alpha1.UpdateRecreate} {
		for n := range 3 * 3 * 3 * 3 * 3 * 4 * 4 * 4 {
			digit := func(base int) int { d := n % base; n /= base; return d }
			have := Stock{Current: Shelf{digit(3), digit(3)}, Old: Shelf{digit(3), digit(3)}, InUse: digit(3)}
			want := Want{Replicas: digit(4), MaxPods: 2 * digit(4), Waiting: digit(4), StartLimit: 2, Strategy: strategy}
			converge(t, want, have)
		}
	}
}

func converge(t *testing.T, want Want, have Stock) {
	t.Helper()
	first := have
	for range 50 {
		// Old pods are given out only where they may be.
		for from := range serve(want.Strategy, &have) {
			if want.Waiting == 0 {
				break
			}
			*from--
			have.InUse++
			want.Waiting--
		}
		order := Fill(want, have)
		if order == (Order{}) && have.Current.Starting == 0 {
			break
		}
		started := have.Current.Starting - order.StopCurrent.Starting
		have.Current.Idle += started - order.StopCurrent.Idle
		have.Current.Starting = order.Start
		have.Old.Starting -= order.StopOld.Starting
		have.Old.Idle -= order.StopOld.Idle
		all := have.Current.total() + have.Old.total() + have.InUse
		if order.Start > 0 && want.MaxPods > 0 && all > want.MaxPods {
			t.Fatalf("%+v from %+v: started pods above the cap: %+v", want, first, have)
		}
	}
	if want.Waiting > 0 && (want.MaxPods == 0 || have.InUse < want.MaxPods) {
		t.Errorf("%+v from %+v: ended with %+v while sandboxes wait", want, first, have)
	}
	goal := want.Replicas
	if want.MaxPods > 0 {
		goal = min(goal, max(want.MaxPods-have.InUse, 0))
	}
	if (have.Current != Shelf{Idle: goal}) || (have.Old != Shelf{}) {
		t.Errorf("%+v from %+v: ended with %+v", want, first, have)
	}
}

// serve yields the counts of idle pods that may be given out, once for each such pod.
func serve(strategy v1alpha1.UpdateStrategyType, have *Stock) iter.Seq[*int] {
	return func(yield func(*int) bool) {
		for have.Current.Idle > 0 || have.Old.Idle > 0 && MayGive(strategy, have.Current.Idle) {
			from := &have.Current.Idle
			if have.Current.Idle == 0 {
				from = &have.Old.Idle
			}
			if !yield(from) {
				return
			}
		}
	}
}

func TestMayGive(t *testing.T) {
	if !MayGive(v1alpha1.UpdateOnReplenish, 0) || MayGive(v1alpha1.UpdateOnReplenish, 1) || MayGive(v1alpha1.UpdateRecreate, 0) {
		t.Error("old pods are given out just when the strategy is OnReplenish and no new one is idle")
	}
}

func TestPoolPhase(t *testing.T) {
	tests := map[string]struct {
		replicas, idle, waiting int
		failing, terminating    bool
		want                    v1alpha1.WarmPoolPhase
	}{
		"filling":                   {2, 1, 0, false, false, v1alpha1.WarmPoolPending},
		"full":                      {2, 2, 0, false, false, v1alpha1.WarmPoolReady},
		"nothing wanted":            {0, 0, 0, true, false, v1alpha1.WarmPoolReady},
		"cold, and a sandbox waits": {0, 0, 1, false, false, v1alpha1.WarmPoolPending},
		"cold, and failing":         {0, 0, 1, true, false, v1alpha1.WarmPoolDegraded},
		"failing":                   {2, 1, 0, true, false, v1alpha1.WarmPoolDegraded},
		"full once and more":        {2, 2, 0, true, false, v1alpha1.WarmPoolReady},
		"terminating":               {2, 2, 0, false, true, v1alpha1.WarmPoolTerminating},
	}
	for name, test := range tests {
		want := Want{Replicas: test.replicas, Waiting: test.waiting}
		if got := PoolPhase(want, test.idle, test.failing, test.terminating); got != test.want {
			t.Errorf("%s: %s, want %s", name, got, test.want)
		}
	}
}
