package hostile

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"

	"arl.io/arl/pkg/apis/arl/v1alpha1"
	"arl.io/arl/test/hostile/falseagent"
	"arl.io/arl/test/space"
)

const (
	// attackers is how many of the sandboxes are hostile, and honestPods how many pods the honest
	// tenant's pool keeps.
	attackers, honestPods = 16, 4
	// memoryUnderAttack is what the server's memory may grow by while attackers work.
	memoryUnderAttack = 400 << 20
	// spareDescriptors is how many more descriptors than before a server may have after the attackers
	// have gone: connections of clients come and go.
	spareDescriptors = 32
)

// floods are the lies of half the attackers: those that cost the server the most. The other half wear
// out all that a step can.
var floods = []string{"pings", "output-flood", "steps-huge", "step-results", "h2-pings", "h2-settings", "no-newline", "health-flaps"}

// TestSixteenOfTwentyAttack has an honest tenant claim sandboxes and run tasks, first alone and then
// beside sixteen sandboxes that attack all at once and again and again. All that the honest tenant
// does succeeds. Latencies and memory of both times are printed and not judged, but for a bound of
// the memory. Afterwards nothing of the attackers is left.
func TestSixteenOfTwentyAttack(t *testing.T) {
	length := duration(t)
	s := startServer(t)
	honest := s.tenant(t, "honest")
	ours := pool("pool", honestPods)
	ours.Spec.MaxPods = nil
	ours.Spec.Template.Spec.Containers[0].Resources.Requests[corev1.ResourceCPU] = resource.MustParse("500m")
	honest.FillPool(ours)

	calm := s.watchMemory(t)
	alone := s.work(honest, "alone", length)
	calm.stop()
	before, err := s.descriptors()
	if err != nil {
		t.Fatal(err)
	}

	ctx, end := context.WithTimeout(t.Context(), length)
	defer end()
	growth := s.watchMemory(t)
	var attacking sync.WaitGroup
	for i := range attackers {
		attacking.Go(func() { s.attackAgain(ctx, t, i) })
	}
	waits.Eventually(t, "the attackers have pods", func(ctx context.Context) error { return s.wantAttackers(ctx) })
	s.note(t)
	beside := s.work(honest, "beside", length)
	end()
	attacking.Wait()

	t.Logf("alone:              %s; memory %d MiB at most", alone, calm.highest>>20)
	t.Logf("beside %d attackers: %s; %d sandboxes of attackers", attackers, beside, s.sandboxesOf(t))
	growth.want(t, memoryUnderAttack)
	s.removeAttackers(t)
	s.wantTrashGone(t, honestPods)
	waits.Eventually(t, "the server's descriptors are as before", func(context.Context) error {
		now, err := s.descriptors()
		if err == nil && now > before+spareDescriptors {
			err = fmt.Errorf("%d are open, and were %d", now, before)
		}
		return err
	})
	wantEcho(honest, s.claim(honest, "after"), "after")
}

// latencies are how long claims and echoes took.
type latencies struct{ claims, echoes []time.Duration }

// String prints medians and 99th percentiles.
func (l latencies) String() string {
	at := func(all []time.Duration, percent int) time.Duration {
		slices.Sort(all)
		return all[(len(all)-1)*percent/100].Round(100 * time.Microsecond)
	}
	return fmt.Sprintf("%d claims p50 %s p99 %s, %d echoes p50 %s p99 %s", len(l.claims), at(l.claims, 50), at(l.claims, 99),
		len(l.echoes), at(l.echoes, 50), at(l.echoes, 99))
}

// work is what an honest tenant does for some time: it claims a sandbox, runs tasks in it, deletes it.
func (s *server) work(n *space.Space, name string, length time.Duration) (l latencies) {
	n.T.Helper()
	const echoesPerClaim = 5
	n.Waiter.Pause = 2 * time.Millisecond
	for begin, i := time.Now(), 0; time.Since(begin) < length || i == 0; i++ {
		claimed := time.Now()
		box := s.claim(n, fmt.Sprintf("%s-%d", name, i))
		l.claims = append(l.claims, time.Since(claimed))
		for j := range echoesPerClaim {
			asked := time.Now()
			wantEcho(n, box, fmt.Sprintf("%s-%d-%d", name, i, j))
			l.echoes = append(l.echoes, time.Since(asked))
		}
		if err := n.Sandboxes().Delete(n.T.Context(), box, deleteNow); err != nil {
			n.T.Fatal(err)
		}
	}
	return l
}

// claim makes a sandbox and waits until it is ready.
func (s *server) claim(n *space.Space, name string) string {
	n.T.Helper()
	n.CreateSandbox(space.SandboxOf(name, "pool"))
	n.AwaitSandbox(name, v1alpha1.SandboxReady)
	return name
}

// attackAgain attacks until ctx ends. Whatever comes of it, errors included, is the attacker's own.
func (s *server) attackAgain(ctx context.Context, t *testing.T, number int) {
	n := s.tenant(t, fmt.Sprintf("attacker-%d", number))
	var env []corev1.EnvVar
	if number%2 == 0 {
		env = append(env, corev1.EnvVar{Name: falseagent.LieVariable, Value: floods[number/2%len(floods)]})
	}
	_, _ = n.Pools().Create(ctx, pool("pool", 1, env...), createNow)
	for i := 0; ctx.Err() == nil; i++ {
		box := fmt.Sprintf("box-%d", i)
		_, err := n.Sandboxes().Create(ctx, space.SandboxOf(box, "pool"), createNow)
		if err != nil {
			time.Sleep(pollInterval)
			continue
		}
		task := space.TaskIn(box, box, attack("wear", "1h"))
		task.Spec.Timeout = "1h"
		_, _ = n.Tasks().Create(ctx, task, createNow)
		_ = waits.Until(ctx, func(ctx context.Context) error {
			got, err := n.Tasks().Get(ctx, box, getNow)
			if err == nil && !space.Ended(got) {
				err = fmt.Errorf("it runs")
			}
			return err
		})
		if ctx.Err() == nil {
			_ = n.Sandboxes().Delete(ctx, box, deleteNow)
		}
	}
}

// wantAttackers returns an error unless every attacker has had a pod.
func (s *server) wantAttackers(ctx context.Context) error {
	for i := range attackers {
		tasks, err := s.client.ArlV1alpha1().Tasks(fmt.Sprintf("attacker-%d", i)).List(ctx, everything)
		if err != nil {
			return err
		}
		begun := func(task v1alpha1.Task) bool { return task.Status.State == v1alpha1.TaskRunning || space.Ended(&task) }
		if !slices.ContainsFunc(tasks.Items, begun) {
			return fmt.Errorf("attacker %d has not begun", i)
		}
	}
	return nil
}

// sandboxesOf counts the tasks that attackers have begun so far.
func (s *server) sandboxesOf(t *testing.T) (count int) {
	t.Helper()
	tasks, err := s.client.ArlV1alpha1().Tasks("").List(t.Context(), everything)
	if err != nil {
		t.Fatal(err)
	}
	for _, task := range tasks.Items {
		if task.Namespace != "honest" {
			count++
		}
	}
	return count
}

// removeAttackers deletes all that attackers have made.
func (s *server) removeAttackers(t *testing.T) {
	t.Helper()
	client := s.client.ArlV1alpha1()
	for i := range attackers {
		namespace := fmt.Sprintf("attacker-%d", i)
		for _, err := range []error{
			client.WarmPools(namespace).Delete(t.Context(), "pool", deleteNow),
			client.Tasks(namespace).DeleteCollection(t.Context(), deleteNow, everything),
			client.Sandboxes(namespace).DeleteCollection(t.Context(), deleteNow, everything),
		} {
			if err != nil {
				t.Error(err)
			}
		}
	}
}
