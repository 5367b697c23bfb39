package integration

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"
	"golang.org/x/sync/errgroup"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"

	"arl.io/arl/pkg/apis/arl/v1alpha1"
	"arl.io/arl/pkg/apiserver"
	"arl.io/arl/pkg/storage/kv"
	"arl.io/arl/test/cli"
)

// storageCommand runs "arl-apiserver storage" to its end.
func storageCommand(t *testing.T, args ...string) cli.Outcome {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	got, err := runToEnd(ctx, exec.CommandContext(ctx, binary(), append([]string{"storage"}, args...)...))
	if err != nil {
		t.Fatal(err)
	}
	return got
}

// mustStorage runs a storage command that must succeed, and returns what it printed.
func mustStorage(t *testing.T, args ...string) string {
	t.Helper()
	got := storageCommand(t, args...)
	if got.Code != 0 {
		t.Fatalf("storage %v: exit code %d: %s%s", args, got.Code, got.Stdout, got.Stderr)
	}
	return got.Stdout
}

// storageFails runs a storage command that must exit with 1 and say the words.
func storageFails(t *testing.T, args []string, words ...string) {
	t.Helper()
	got := storageCommand(t, args...)
	if got.Code != 1 {
		t.Errorf("storage %v: exit code %d, want 1: %s%s", args, got.Code, got.Stdout, got.Stderr)
	}
	wantWords(t, got.Stdout+got.Stderr, words...)
}

// TestInformersSurviveBackupWipeRestore takes a backup while many write, lets
// them go on, loses the database, and restores it. Informers that ran all the
// while, and were never restarted, end with exactly what was restored.
func TestInformersSurviveBackupWipeRestore(t *testing.T) {
	t.Parallel()
	n := newTenant(t, startServer(t))
	s := n.server
	kept := map[string]types.UID{} // what no scribbler touches
	for i := range 20 {
		pool := n.CreatePool(hostPool(fmt.Sprintf("kept-%d", i), 0))
		kept[pool.Name] = pool.UID
	}
	held := watchTenant(t, n)
	n.awaitInSync(held)

	backup := filepath.Join(s.dir, "backup")
	group, _ := errgroup.WithContext(t.Context())
	group.Go(func() error {
		got, err := runToEnd(t.Context(), exec.CommandContext(t.Context(), binary(), "storage", "backup", "--data-dir", s.data, "--output", backup))
		if err == nil && got.Code != 0 {
			err = errors.New(got.Stderr)
		}
		return err
	})
	n.scribble(1000)
	if err := group.Wait(); err != nil {
		t.Fatal(err)
	}
	n.scribble(500)
	n.CreatePool(hostPool("after-the-backup", 0))
	n.awaitInSync(held)
	for _, what := range []string{"restore", "second restore of the same backup"} {
		n.loseAndRestore(held, backup)
		if _, err := n.Pools().Get(t.Context(), "after-the-backup", getNow); !apierrors.IsNotFound(err) {
			t.Errorf("%s: a pool that was made after the backup is there: %v", what, err)
		}
		n.scribble(200)
	}
	for name, want := range kept {
		pool, err := n.Pools().Get(t.Context(), name, getNow)
		if err != nil || pool.UID != want {
			t.Errorf("%s has UID %s, want %s: %v", name, pool.UID, want, err)
		}
	}
}

// loseAndRestore kills the server, removes its database and restores a backup.
// Then the server has exactly what is in it, and so have the informers, and
// resource versions are above all that were given out before.
func (n *tenant) loseAndRestore(held *informers, backup string) {
	n.T.Helper()
	s := n.server
	lost, err := n.Pools().List(n.T.Context(), everything)
	if err != nil {
		n.T.Fatal(err)
	}
	s.mustKill(n.T)
	if err := os.RemoveAll(s.storage()); err != nil {
		n.T.Fatal(err)
	}
	wantWords(n.T, mustStorage(n.T, "restore", "--input", backup, "--data-dir", s.data), "restored", "all kubeconfigs go on working")
	restored := storedNames(n.T, s)
	s.mustStart(n.T)
	if diff := gocmp.Diff(restored, n.stayingNames()); diff != "" {
		n.T.Errorf("objects (-restored +listed):\n%s", diff)
	}
	// A new write tells when informers have caught up with the restored server.
	created := n.CreatePool(hostPool("after-the-restore", 0))
	wantNewer(n.T, created.ResourceVersion, lost.ResourceVersion)
	n.awaitInSync(held)
}

// stayingNames lists what is there and is not being deleted, as versions names it.
func (n *tenant) stayingNames() (names []string) {
	n.T.Helper()
	pools, err := n.Pools().List(n.T.Context(), everything)
	if err != nil {
		n.T.Fatal(err)
	}
	sandboxes, err := n.Sandboxes().List(n.T.Context(), everything)
	if err != nil {
		n.T.Fatal(err)
	}
	for _, pool := range pools.Items {
		if pool.DeletionTimestamp == nil {
			names = append(names, "pool/"+pool.Name)
		}
	}
	for _, sandbox := range sandboxes.Items {
		if sandbox.DeletionTimestamp == nil {
			names = append(names, "sandbox/"+sandbox.Name)
		}
	}
	slices.Sort(names)
	return names
}

// storedNames is what the files of a stopped server hold, as versions names it. It leaves out
// objects that are being deleted: a started server removes them, before or after a list.
func storedNames(t *testing.T, s *server) (names []string) {
	t.Helper()
	codec, err := apiserver.StorageCodec(v1alpha1.SchemeGroupVersion)
	if err != nil {
		t.Fatal(err)
	}
	database, err := kv.ReadOffline(s.storage())
	if err != nil {
		t.Fatal(err)
	}
	for resource, kind := range map[string]string{"warmpools": "pool", "sandboxes": "sandbox"} {
		database.Snapshot.Ascend("/registry/arl.io/"+resource+"/", "", func(e kv.Entry) bool {
			object, err := runtime.Decode(codec, e.Value)
			if err != nil {
				t.Errorf("%s: %v", e.Key, err)
				return true
			}
			if object.(metav1.Object).GetDeletionTimestamp() == nil {
				names = append(names, kind+"/"+path.Base(e.Key))
			}
			return true
		})
	}
	if err := database.Close(); err != nil {
		t.Error(err)
	}
	slices.Sort(names)
	return names
}

func wantNewer(t *testing.T, version, than string) {
	t.Helper()
	newer, err := strconv.ParseInt(version, 10, 64)
	older, olderErr := strconv.ParseInt(than, 10, 64)
	if err := errors.Join(err, olderErr); err != nil || newer <= older {
		t.Errorf("resource version %s is not above %s: %v", version, than, err)
	}
}

// TestRestoreIntoANewDirectory restores where nothing is: the server makes new
// certificates, and has the objects.
func TestRestoreIntoANewDirectory(t *testing.T) {
	t.Parallel()
	n := newTenant(t, startServer(t))
	want := n.CreatePool(hostPool("carried-over", 0))
	backup := filepath.Join(n.server.dir, "backup")
	wantWords(t, mustStorage(t, "backup", "--data-dir", n.server.data, "--output", backup), "backed up revision", "3 objects")

	other := ownServer(t)
	wantWords(t, mustStorage(t, "restore", "--input", backup, "--data-dir", other.data), "3 objects", "new certificates", "--standalone --data-dir "+other.data)
	other.mustStart(t)
	got, err := tenantIn(t, other, n.Namespace).Pools().Get(t.Context(), want.Name, getNow)
	if err != nil || got.UID != want.UID {
		t.Errorf("restored %s, want %s: %v", got.UID, want.UID, err)
	}
}

// TestBackupOfAStoppedServer is the same from the files, through a pipe.
func TestBackupOfAStoppedServer(t *testing.T) {
	t.Parallel()
	s := ownServer(t)
	makeDatabase(t, s)
	before := checksums(t, s.data)
	taken := storageCommand(t, "backup", "--data-dir", s.data, "--offline", "--output", "-")
	if taken.Code != 0 {
		t.Fatal(taken.Stderr)
	}
	wantWords(t, taken.Stderr, "backed up revision")
	wantWords(t, mustStorage(t, "stats", "--data-dir", s.data, "--offline"), "warmpools.arl.io", "state.db")
	if after := checksums(t, s.data); fmt.Sprint(after) != fmt.Sprint(before) {
		t.Errorf("reading changed files:\n%v\n%v", before, after)
	}

	restored := ownServer(t)
	input := filepath.Join(s.dir, "input")
	mustWrite(t, input, []byte(taken.Stdout))
	wantWords(t, mustStorage(t, "verify", "--backup", input), "the backup is whole")
	mustStorage(t, "restore", "--input", input, "--data-dir", restored.data)
	restored.mustStart(t)
	n := tenantIn(t, restored, "default")
	for _, name := range []string{foldedName, loggedName} {
		if _, err := n.Pools().Get(t.Context(), name, getNow); err != nil {
			t.Error(err)
		}
	}
	storageFails(t, []string{"backup", "--data-dir", s.data, "--output", input}, "Is it running?", "--offline")
}

// TestBackupsAreBounded keeps two backups waiting: a third is refused, and one
// more is taken when they have gone. Writers notice nothing.
func TestBackupsAreBounded(t *testing.T) {
	t.Parallel()
	n := newTenant(t, startServer(t))
	n.createBulky(60) // more than sockets take
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	for range 2 {
		response := openBackup(ctx, t, n.server)
		defer response.Body.Close()
		if _, err := io.ReadFull(response.Body, make([]byte, 8)); err != nil || response.StatusCode != http.StatusOK {
			t.Fatalf("backup: %s, %v", response.Status, err)
		}
	}
	output := filepath.Join(n.server.dir, "third")
	storageFails(t, []string{"backup", "--data-dir", n.server.data, "--output", output}, "429", "2 backups are under way")
	for _, path := range []string{output, output + ".partial"} {
		if _, err := os.Lstat(path); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s is left behind: %v", path, err)
		}
	}
	n.CreatePool(hostPool("meanwhile", 0))
	cancel()
	eventually(t, "the two backups ended with their clients", func(context.Context) error {
		if got := storageCommand(t, "backup", "--data-dir", n.server.data, "--output", output); got.Code != 0 {
			return errors.New(got.Stderr)
		}
		return nil
	})
}

// createBulky creates so many pools of 200 KB.
func (n *tenant) createBulky(count int) {
	n.T.Helper()
	for i := range count {
		pool := hostPool(fmt.Sprintf("bulky-%d", i), 0)
		pool.Annotations = map[string]string{"bulk": bulky(i)}
		n.CreatePool(pool)
	}
}

// openBackup asks for a backup and leaves reading it to the caller.
func openBackup(ctx context.Context, t *testing.T, s *server) *http.Response {
	t.Helper()
	client, err := rest.HTTPClientFor(s.config)
	if err != nil {
		t.Fatal(err)
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, s.config.Host+"/storage/backup", nil)
	if err != nil {
		t.Fatal(err)
	}
	response, err := client.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	return response
}

// TestServerDiesDuringBackup kills the server while a client is reading: the
// client sees that what it has is no backup.
func TestServerDiesDuringBackup(t *testing.T) {
	t.Parallel()
	n := newTenant(t, startServer(t))
	n.createBulky(60)
	response := openBackup(t.Context(), t, n.server)
	defer response.Body.Close()
	killed := false
	_, err := kv.CheckBackup(t.Context(), response.Body, func(kv.BackupProgress) {
		if !killed {
			killed = true
			n.server.mustKill(t)
		}
	})
	if err == nil {
		t.Error("a backup whose server died in the middle passed as whole")
	}
}

// TestBackupNeedsTheAdmin asks for the storage paths without a certificate.
func TestBackupNeedsTheAdmin(t *testing.T) {
	t.Parallel()
	s := shared(t)
	anonymous := rest.AnonymousClientConfig(s.config)
	for _, path := range []string{"/storage/backup", "/storage/stats"} {
		if err := s.get(t.Context(), anonymous, path); !apierrors.IsUnauthorized(err) && !apierrors.IsForbidden(err) {
			t.Errorf("%s without a certificate: %v, want a refusal", path, err)
		}
	}
	wantWords(t, mustStorage(t, "stats", "--data-dir", s.data), "REVISION", "OBJECTS")
	wantWords(t, mustStorage(t, "stats", "--kubeconfig", s.Kubeconfig(), "-o", "json"), `"revision"`, `"logFileBytes"`)
}

// TestBackupIsAudited takes a backup of a server that writes an audit log. Then
// the server is stopped while a client holds another one open.
func TestBackupIsAudited(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	policy, log := filepath.Join(dir, "policy"), filepath.Join(dir, "log")
	mustWrite(t, policy, []byte("apiVersion: audit.k8s.io/v1\nkind: Policy\nrules: [{level: Metadata}]\n"))
	n := newTenant(t, startServer(t, "--audit-policy-file", policy, "--audit-log-path", log, "--shutdown-timeout=1s"))
	n.createBulky(60)
	mustStorage(t, "backup", "--data-dir", n.server.data, "--output", filepath.Join(dir, "backup"))
	eventually(t, "the backup is in the audit log", func(context.Context) error {
		for line := range strings.Lines(string(mustRead(t, log))) {
			if strings.Contains(line, `"requestURI":"/storage/backup"`) && strings.Contains(line, `"username":"arl-admin"`) && strings.Contains(line, `"stage":"ResponseComplete"`) {
				return nil
			}
		}
		return errors.New("no such line")
	})
	open := openBackup(t.Context(), t, n.server)
	defer open.Body.Close()
	n.server.mustStop(t)
	if _, err := kv.CheckBackup(t.Context(), open.Body, nil); err == nil {
		t.Error("a backup that the server's end cut short passed as whole")
	}
}
