package bolt

import (
	"testing"
	"time"

	storagetesting "k8s.io/apiserver/pkg/storage/testing"
)

// withBookmarks shortens the time between bookmarks to what a test can wait for.
func withBookmarks(c *Config) { c.BookmarkPeriod = 100 * time.Millisecond }

func TestWatch(t *testing.T) {
	storagetesting.RunTestWatch(t.Context(), t, newFixture(t))
}

func TestClusterScopedWatch(t *testing.T) {
	storagetesting.RunTestClusterScopedWatch(t.Context(), t, newFixture(t))
}

func TestNamespaceScopedWatch(t *testing.T) {
	storagetesting.RunTestNamespaceScopedWatch(t.Context(), t, newFixture(t))
}

func TestDeleteTriggerWatch(t *testing.T) {
	storagetesting.RunTestDeleteTriggerWatch(t.Context(), t, newFixture(t))
}

func TestWatchFromZero(t *testing.T) {
	f := newFixture(t)
	storagetesting.RunTestWatchFromZero(t.Context(), t, f, f.compact)
}

func TestWatchFromNonZero(t *testing.T) {
	storagetesting.RunTestWatchFromNonZero(t.Context(), t, newFixture(t))
}

func TestDelayedWatchDelivery(t *testing.T) {
	needsBuffer(t)
	storagetesting.RunTestDelayedWatchDelivery(t.Context(), t, newFixture(t))
}

func TestWatchError(t *testing.T) {
	storagetesting.RunTestWatchError(t.Context(), t, newFixture(t))
}

func TestWatchWithUnsafeDelete(t *testing.T) {
	allowUnsafeDeletion(t, true)
	storagetesting.RunTestWatchWithUnsafeDelete(t.Context(), t, newFixture(t), errFlippedBits)
}

func TestWatchContextCancel(t *testing.T) {
	storagetesting.RunTestWatchContextCancel(t.Context(), t, newFixture(t))
}

func TestWatcherTimeout(t *testing.T) {
	storagetesting.RunTestWatcherTimeout(t.Context(), t, newFixture(t))
}

func TestWatchDeleteEventObjectHaveLatestRV(t *testing.T) {
	storagetesting.RunTestWatchDeleteEventObjectHaveLatestRV(t.Context(), t, newFixture(t))
}

func TestWatchInitializationSignal(t *testing.T) {
	storagetesting.RunTestWatchInitializationSignal(t.Context(), t, newFixture(t))
}

func TestProgressNotify(t *testing.T) {
	f := newFixture(t, withBookmarks)
	storagetesting.RunOptionalTestProgressNotify(t.Context(), t, f, f.increaseRV)
}

func TestWatchDispatchBookmarkEvents(t *testing.T) {
	storagetesting.RunTestWatchDispatchBookmarkEvents(t.Context(), t, newFixture(t), true)
}

func TestWatchBookmarksWithCorrectResourceVersion(t *testing.T) {
	storagetesting.RunTestOptionalWatchBookmarksWithCorrectResourceVersion(t.Context(), t, newFixture(t, withBookmarks))
}

func TestSendInitialEventsBackwardCompatibility(t *testing.T) {
	storagetesting.RunSendInitialEventsBackwardCompatibility(t.Context(), t, newFixture(t))
}

func TestWatchSemantics(t *testing.T) {
	storagetesting.RunWatchSemantics(t.Context(), t, newFixture(t))
}

func TestWatchSemanticInitialEventsExtended(t *testing.T) {
	storagetesting.RunWatchSemanticInitialEventsExtended(t.Context(), t, newFixture(t))
}

func TestWatchListMatchSingle(t *testing.T) {
	storagetesting.RunWatchListMatchSingle(t.Context(), t, newFixture(t))
}

func TestWatchErrorIsBlockingFurtherEvents(t *testing.T) {
	storagetesting.RunWatchErrorIsBlockingFurtherEvents(t.Context(), t, newFixture(t))
}
