//go:build linux

package robustness

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"go.uber.org/goleak"
	"k8s.io/klog/v2"
)

var (
	rounds = flag.Int("rounds", 8, "how many rounds each random test goes")
	seed   = flag.Uint64("seed", 1, "seed of the random choices; 0: another one each time")
	stride = flag.Int("stride", 19, "every how many calls the tests of single calls inject a fault; 1: all")
)

func TestMain(m *testing.M) {
	if order := os.Getenv(childEnv); order != "" {
		os.Exit(runChild(order))
	}
	flag.Parse()
	klog.SetLogger(logr.Discard()) // clients of a server that is killed have much to say
	if *seed == 0 {
		*seed = uint64(time.Now().UnixNano())
	}
	fmt.Printf("robustness: -rounds=%d -stride=%d -seed=%d\n", *rounds, *stride, *seed)
	goleak.VerifyTestMain(m,
		// Started by the import of klog, for the life of the process.
		goleak.IgnoreTopFunction("k8s.io/klog/v2.(*flushDaemon).run.func1"),
	)
}

// random returns the random choices of a round.
func random(t *testing.T, round int) *rand.Rand {
	var name uint64
	for _, c := range t.Name() {
		name = name*31 + uint64(c)
	}
	return rand.New(rand.NewPCG(*seed^name, uint64(round)))
}
