package local

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"syscall"

	"k8s.io/apimachinery/pkg/types"

	"arl.io/arl/pkg/podruntime/local/idrange"
	"arl.io/arl/pkg/podruntime/local/launch"
)

// formerUsers are what all pods had of an earlier version, which recorded no users.
var formerUsers = idrange.Lease{Range: idrange.Range{First: idrange.Default.First, Size: idrange.PerPod}}

// idsOf returns the users of the machine that those of a container are.
func (m *machine) idsOf(users idrange.Lease) launch.IDRange {
	switch {
	case m.rootless:
		return launch.IDRange{Base: os.Geteuid(), Size: 1}
	case !m.shifts:
		return launch.IDRange{Base: 0, Size: users.Size}
	}
	return launch.IDRange{Base: users.First, Size: users.Size}
}

// userPool gives pods users of their own, and takes these back when no file of the pod is left.
type userPool struct {
	pool *idrange.Pool
	// podsDir and trashDir hold the pods' folders.
	podsDir, trashDir string

	mu sync.Mutex
	// left are the users of pods that are gone but for their folder in the trash.
	left map[types.UID]idrange.Lease
}

func newUserPool(config *Config) *userPool {
	return &userPool{
		pool:    idrange.NewPool(config.UserIDs, config.seed()),
		podsDir: filepath.Join(config.Dir, podsName), trashDir: filepath.Join(config.Dir, trashName),
		left: map[types.UID]idrange.Lease{},
	}
}

// open keeps the users of all pods there are files of. It is called once, before take.
func (u *userPool) open() error {
	pods, err := os.ReadDir(u.podsDir)
	if err != nil {
		return fmt.Errorf("reading whose users are in use: %w", err)
	}
	for _, entry := range pods {
		u.pool.Hold(usersOf(filepath.Join(u.podsDir, entry.Name()), types.UID(entry.Name())))
	}
	trash, err := os.ReadDir(u.trashDir)
	if err != nil {
		return fmt.Errorf("reading whose users are in use: %w", err)
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	for _, entry := range trash {
		uid := types.UID(entry.Name())
		u.left[uid] = usersOf(filepath.Join(u.trashDir, entry.Name()), uid)
		u.pool.Hold(u.left[uid])
	}
	return nil
}

// take returns users for a new pod.
func (u *userPool) take() (idrange.Lease, error) {
	u.sweep()
	users, err := u.pool.Take()
	if err != nil {
		return users, fmt.Errorf("%w: widen --pod-user-ids, or delete pods", err)
	}
	return users, nil
}

// giveBack says that a pod has ended and that its folder is no longer among those of pods. If it is in
// the trash, the users stay the pod's until it has gone from there.
func (u *userPool) giveBack(uid types.UID, users idrange.Lease) {
	u.mu.Lock()
	u.left[uid] = users
	u.mu.Unlock()
	u.sweep()
}

// sweep gives free the users whose files are gone.
func (u *userPool) sweep() {
	u.mu.Lock()
	defer u.mu.Unlock()
	for uid, users := range u.left {
		if _, err := os.Lstat(filepath.Join(u.trashDir, string(uid))); errors.Is(err, fs.ErrNotExist) {
			delete(u.left, uid)
			u.pool.Release(users)
		}
	}
}

// usersOf returns the users of a pod by its folder: those of the record, or without a record those whose
// files are there.
func usersOf(dir string, uid types.UID) idrange.Lease {
	rec, err := loadRecord(dir, uid)
	if err == nil {
		return rec.users()
	}
	info, err := os.Lstat(filepath.Join(dir, upperName))
	if err != nil {
		return idrange.Lease{}
	}
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return idrange.Lease{}
	}
	return idrange.Lease{Range: idrange.Range{First: int(stat.Uid), Size: 1}, Owner: int(stat.Uid)}
}

// users returns the users of the pod.
func (rec *record) users() idrange.Lease {
	if rec.Users == nil {
		return formerUsers
	}
	return *rec.Users
}
