package bolt

import (
	"testing"

	storagetesting "k8s.io/apiserver/pkg/storage/testing"
)

// The suite's own benchmarks, on data of a size that a laptop fills quickly.

func benchmarkData() storagetesting.BenchmarkData {
	return storagetesting.PrepareBenchmarkData(10, 100, 50)
}

func BenchmarkStoreWriteThroughput(b *testing.B) {
	storagetesting.RunBenchmarkWriteThroughput(b.Context(), b, newFixture(b), benchmarkData(), false, nil)
}

func BenchmarkStoreList(b *testing.B) {
	f, data := newFixture(b), benchmarkData()
	if err := storagetesting.PrecreateBenchmarkPods(b.Context(), f, data); err != nil {
		b.Fatal(err)
	}
	storagetesting.RunBenchmarkStoreList(b.Context(), b, f, data, false)
}

func BenchmarkStoreStats(b *testing.B) {
	f := newFixture(b)
	if err := storagetesting.PrecreateBenchmarkPods(b.Context(), f, benchmarkData()); err != nil {
		b.Fatal(err)
	}
	storagetesting.RunBenchmarkStoreStats(b.Context(), b, f)
}
