package ledger

import (
	"testing"

	"arl.io/arl/pkg/apis/arl/v1alpha1"
	"arl.io/arl/pkg/podruntime"
)

// unready returns a pod whose agent answers and whose probes do not let it take work.
func unready(name string, pool *v1alpha1.WarmPool, reason string) podruntime.Event {
	p := podOf(name, pool, podruntime.Ready)
	p.Unready, p.Reason, p.Message = true, reason, "the probe fails"
	return podruntime.Event{Pod: p}
}

// TestAPodIsNotGivenOutWhileUnready follows a pod whose probes succeed late, fail later and succeed again.
func TestAPodIsNotGivenOutWhileUnready(t *testing.T) {
	d := newDesk(t)
	pool := poolOf("p", 1)
	d.SetPool(pool)
	d.Open()
	name := d.Fill(poolKey).Start[0].Name
	ready := podruntime.Event{Pod: podOf(name, pool, podruntime.Ready)}
	d.Observe(unready(name, pool, ""))
	d.want("ready pods before the first success", 0, d.Counts(poolKey).Ready)
	d.want("failing before the first success", false, d.Counts(poolKey).Failing)
	d.want("pods started beside it", 0, len(d.Fill(poolKey).Start))
	d.want("the pod of a sandbox before the first success", "", d.reserve(boxOf("early")))

	d.Observe(ready)
	d.want("ready pods", 1, d.Counts(poolKey).Ready)
	d.Observe(unready(name, pool, podruntime.ReasonNotReady))
	d.want("ready pods after a failure", 0, d.Counts(poolKey).Ready)
	d.want("reason", podruntime.ReasonNotReady, d.Counts(poolKey).Reason)
	d.want("the pod of a sandbox after a failure", "", d.reserve(boxOf("late")))

	d.Observe(ready)
	d.want("failing", false, d.Counts(poolKey).Failing)
	d.want("the pod of a sandbox", name, d.reserve(boxOf("served")))
	d.Observe(unready(name, pool, podruntime.ReasonNotReady))
	d.want("the sandbox keeps its pod", Reserved, d.stage("served"))
	// The create fails.
	d.Settle(boxOf("served").UID, false)
	d.want("ready pods after it was given back", 0, d.Counts(poolKey).Ready)
	d.Observe(ready)
	d.want("ready pods in the end", 1, d.Counts(poolKey).Ready)
}

// TestAnUnprovenPodThatIsUnready is asked whether it was used as soon as it is ready.
func TestAnUnprovenPodThatIsUnready(t *testing.T) {
	d := newDesk(t)
	pool := poolOf("p", 1)
	d.SetPool(pool)
	d.Observe(unready("old", pool, ""))
	d.Open()
	d.Prove(podOf("old", pool, podruntime.Ready).Key, "uid-old", false)
	d.want("ready pods", 0, d.Counts(poolKey).Ready)
	d.Observe(podruntime.Event{Pod: podOf("old", pool, podruntime.Ready)})
	d.Prove(podOf("old", pool, podruntime.Ready).Key, "uid-old", false)
	d.want("ready pods once it is ready", 1, d.Counts(poolKey).Ready)
}
