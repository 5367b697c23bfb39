package local

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/types"

	"arl.io/arl/pkg/podruntime"
	"arl.io/arl/pkg/podruntime/local/idrange"
	"arl.io/arl/pkg/podruntime/local/launch"
)

// TestUsersAreGivenBackWithTheFiles: two ranges are enough for any number of pods, two at a time.
func TestUsersAreGivenBackWithTheFiles(t *testing.T) {
	needContainers(t)
	two := idrange.Range{First: idrange.Default.First, Size: 2 * idrange.PerPod}
	f := start(t, Config{Dir: t.TempDir(), UserIDs: two})
	if f.machine.rootless {
		t.Skip("a rootless server has one user")
	}
	defer f.removeAll()
	one := f.create(hostSpec("one"))
	f.create(hostSpec("two"))
	_, err := f.Create(t.Context(), hostSpec("three"))
	if !errors.Is(err, idrange.ErrUsedUp) || !strings.Contains(err.Error(), "--pod-user-ids") {
		t.Errorf("a third pod: %v, want %v, and the flag to change", err, idrange.ErrUsedUp)
	}
	if err := f.Delete(t.Context(), one.Key, one.UID); err != nil {
		t.Fatal(err)
	}
	f.gone(t, "one")
	f.create(hostSpec("four"))
}

// writeRecord writes a pod's folder as a server leaves it.
func writeRecord(t *testing.T, dir string, rec record) {
	t.Helper()
	data, err := json.Marshal(rec)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Join(dir, upperName), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, recordName), data, 0o600); err != nil {
		t.Fatal(err)
	}
}

// TestUsersOfLeftFilesAreNotGivenAway: as long as there are files of a pod, its users are no other's,
// whatever ended before.
func TestUsersOfLeftFilesAreNotGivenAway(t *testing.T) {
	of := func(part int) idrange.Lease {
		first := idrange.Default.First + part*idrange.PerPod
		return idrange.Lease{Range: idrange.Range{First: first, Size: idrange.PerPod}, Owner: first}
	}
	for _, test := range []struct {
		name string
		// make leaves files of a pod with the users of part 0 in dir/pods/uid or dir/trash/uid.
		make func(t *testing.T, pods, trash string)
		// freed: emptying the trash gives the users back.
		freed bool
	}{
		{"a pod", func(t *testing.T, pods, _ string) {
			users := of(0)
			writeRecord(t, pods, record{Version: recordVersion, Pod: podruntime.Pod{UID: "uid", Key: podruntime.Key{Name: "p"}}, Users: &users})
		}, false},
		{"a pod of a version without users", func(t *testing.T, pods, _ string) {
			writeRecord(t, pods, record{Version: recordVersion, Pod: podruntime.Pod{UID: "uid", Key: podruntime.Key{Name: "p"}}})
		}, false},
		{"trash", func(t *testing.T, _, trash string) {
			users := of(0)
			writeRecord(t, trash, record{Version: recordVersion, Pod: podruntime.Pod{UID: "uid", Key: podruntime.Key{Name: "p"}}, Users: &users})
		}, true},
		{"trash without a record", func(t *testing.T, _, trash string) {
			upper := filepath.Join(trash, upperName)
			if err := os.MkdirAll(upper, 0o700); err != nil {
				t.Fatal(err)
			}
			if err := os.Chown(upper, of(0).First, of(0).First); err != nil {
				t.Skipf("giving files to others takes root: %v", err)
			}
		}, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			dir := t.TempDir()
			for _, name := range []string{podsName, trashName} {
				if err := os.Mkdir(filepath.Join(dir, name), 0o700); err != nil {
					t.Fatal(err)
				}
			}
			test.make(t, filepath.Join(dir, podsName, "uid"), filepath.Join(dir, trashName, "uid"))
			u := newUserPool(&Config{Dir: dir, UserIDs: idrange.Range{First: of(0).First, Size: 2 * idrange.PerPod}})
			if err := u.open(); err != nil {
				t.Fatal(err)
			}
			if got, err := u.take(); err != nil || got != of(1) {
				t.Errorf("a new pod gets %v, %v, want %v", got, err, of(1))
			}
			if got, err := u.take(); !errors.Is(err, idrange.ErrUsedUp) {
				t.Errorf("the next gets %v, %v, want %v", got, err, idrange.ErrUsedUp)
			}
			if err := os.RemoveAll(filepath.Join(dir, trashName, "uid")); err != nil {
				t.Fatal(err)
			}
			if got, err := u.take(); (err == nil) != test.freed || err == nil && got != of(0) {
				t.Errorf("with the trash empty: %v, %v, want users: %v", got, err, test.freed)
			}
		})
	}
}

// TestUsersOfADeletedPodInTheTrash: they are free only when the trash is.
func TestUsersOfADeletedPodInTheTrash(t *testing.T) {
	dir := t.TempDir()
	left := filepath.Join(dir, trashName, "uid")
	u := newUserPool(&Config{Dir: dir, UserIDs: idrange.Range{First: 5, Size: 2 * idrange.PerPod}})
	for range 2 {
		users, err := u.take()
		if err != nil {
			t.Fatal(err)
		}
		if err := os.MkdirAll(left, 0o700); err != nil {
			t.Fatal(err)
		}
		other, err := u.take()
		if err != nil {
			t.Fatal(err)
		}
		u.giveBack("uid", users)
		if got, err := u.take(); !errors.Is(err, idrange.ErrUsedUp) {
			t.Errorf("got %v, %v, want %v", got, err, idrange.ErrUsedUp)
		}
		if err := os.Remove(left); err != nil {
			t.Fatal(err)
		}
		u.giveBack("other", other)
	}
}

// TestUsersAreRecorded: the record has the users before anything belongs to them.
func TestUsersAreRecorded(t *testing.T) {
	dir := t.TempDir()
	const uid = types.UID("uid")
	if err := os.MkdirAll(filepath.Join(dir, podsName, string(uid)), 0o700); err != nil {
		t.Fatal(err)
	}
	r := &Runtime{config: Config{Dir: dir}}
	p := newPod(podruntime.Pod{UID: uid, Key: podruntime.Key{Name: "p"}}, launch.Cgroup{}, nil)
	p.users = idrange.Lease{Range: idrange.Range{First: 5, Size: 6}, Owner: 7}
	if err := r.save(p, p.pod); err != nil {
		t.Fatal(err)
	}
	if got := usersOf(r.podDir(uid), uid); got != p.users {
		t.Errorf("recorded %+v, want %+v", got, p.users)
	}
}
