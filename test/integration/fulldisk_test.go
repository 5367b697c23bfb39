package integration

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
)

// TestFullDiskRefusesWritesOnly fills the file system of the data directory.
// With a watermark the server stops in time; without one it finds out when the
// database has to grow. The rest is the same.
func TestFullDiskRefusesWritesOnly(t *testing.T) {
	needRoot(t, "it mounts a file system of its own")
	t.Parallel()
	for _, minFree := range []string{"8Mi", "0"} {
		t.Run("min-free "+minFree, func(t *testing.T) {
			t.Parallel()
			s := ownServer(t, "--storage-min-free", minFree)
			mountSmall(t, s, 96<<20)
			s.mustStart(t)
			n := tenantIn(t, s, "default")
			before := n.CreatePool(hostPool("before", 0))

			filler := fillDisk(t, s.data)
			untilRefused(t, "create", func(i int) error {
				pool := hostPool(fmt.Sprintf("bulky-%d", i), 0)
				pool.Annotations = map[string]string{"bulk": bulky(i)}
				_, err := n.Pools().Create(t.Context(), pool, createNow)
				return err
			})
			untilRefused(t, "update", func(i int) error {
				patch := fmt.Appendf(nil, `{"metadata":{"annotations":{"bulk":%q}}}`, bulky(i))
				_, err := n.Pools().Patch(t.Context(), "before", types.MergePatchType, patch, patchNow)
				return err
			})
			if _, err := n.Pools().Get(t.Context(), "before", getNow); err != nil {
				t.Error(err)
			}
			list, err := n.Pools().List(t.Context(), everything)
			if err != nil {
				t.Fatal(err)
			}
			for _, pool := range list.Items {
				if pool.UID == before.UID {
					continue
				}
				if err := n.Pools().Delete(t.Context(), pool.Name, deleteNow); err != nil {
					t.Errorf("delete on a full disk: %v", err)
				}
			}
			if err := s.get(t.Context(), s.config, "/livez"); err != nil {
				t.Errorf("a full disk ends the server: %v", err)
			}

			// A start needs no space either.
			s.mustStop(t)
			s.mustStart(t)
			if got, err := n.Pools().List(t.Context(), everything); err != nil || len(got.Items) != 1 {
				t.Errorf("after a restart on a full disk: %v, %v", got, err)
			}
			if err := os.Remove(filler); err != nil {
				t.Fatal(err)
			}
			n.CreatePool(hostPool("after", 0))
		})
	}
}

// mountSmall makes the data directory a file system of so many bytes, until
// the test's end.
func mountSmall(t *testing.T, s *server, size int) {
	t.Helper()
	if err := os.Mkdir(s.data, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mount("arl-test", s.data, "tmpfs", 0, fmt.Sprintf("size=%d,mode=700", size)); err != nil {
		t.Skipf("no file system can be mounted here: %v", err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		var errs []error
		if s.running {
			s.running = false
			errs = append(errs, s.Stop())
		}
		errs = append(errs, s.Purge(ctx), syscall.Unmount(s.data, 0))
		if err := errors.Join(errs...); err != nil {
			t.Error(err)
		}
	})
}

// fillDisk writes a file that takes all there is, and returns its path.
func fillDisk(t *testing.T, dir string) (path string) {
	t.Helper()
	path = filepath.Join(dir, "filler")
	file, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	for chunk := make([]byte, 1<<20); err == nil; {
		_, err = file.Write(chunk)
	}
	if !errors.Is(err, syscall.ENOSPC) {
		t.Fatalf("filling the disk: %v", err)
	}
	return path
}

// bulky is a large text, another one for every number.
func bulky(i int) string { return strings.Repeat(fmt.Sprintf("%08d", i), 25_000) }

// untilRefused writes until there is no room for one write more. What the
// database has allocated ahead is some room.
func untilRefused(t *testing.T, what string, write func(i int) error) {
	t.Helper()
	const most = 500
	for i := range most {
		if err := write(i); err != nil {
			wantNoSpace(t, what, err)
			return
		}
	}
	t.Fatalf("%s: %d times %d bytes have found room on a full disk", what, most, len(bulky(0)))
}

// awaitRefusals waits until the server refuses updates for want of space. It goes on for a while with
// what it has allocated ahead.
func (n *tenant) awaitRefusals(pool string) {
	n.T.Helper()
	i := 0
	eventually(n.T, "updates to be refused", func(ctx context.Context) error {
		i++
		patch := fmt.Appendf(nil, `{"metadata":{"annotations":{"probe":"%d"}}}`, i)
		_, err := n.Pools().Patch(ctx, pool, types.MergePatchType, patch, patchNow)
		var status apierrors.APIStatus
		if errors.As(err, &status) && status.Status().Code == http.StatusInsufficientStorage {
			return nil
		}
		return fmt.Errorf("the answer is: %w", err)
	})
}

// wantNoSpace fails unless an error says that the server's disk is full.
func wantNoSpace(t *testing.T, what string, err error) {
	t.Helper()
	var status apierrors.APIStatus
	if !errors.As(err, &status) {
		t.Errorf("%s on a full disk: %v, want an answer with code 507", what, err)
		return
	}
	if code := status.Status().Code; code != http.StatusInsufficientStorage {
		t.Errorf("%s on a full disk: code %d, want 507: %v", what, code, err)
	}
	wantWords(t, err.Error(), "the server's disk is almost full", "delete objects that are not needed")
}
