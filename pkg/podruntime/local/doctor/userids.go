package doctor

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"strconv"
	"strings"

	"arl.io/arl/pkg/podruntime/local/idrange"
	"arl.io/arl/pkg/podruntime/local/launch"
)

// sharedCounts are what pods take from each other if they have the same users. The rest is charged to
// the owner of a pod's user namespace, which is another for each pod.
const sharedCounts = "buffers of pipes, watches of epoll and files sent through sockets"

// userIDs says whether each pod can have users of its own.
func (d *patient) userIDs(context.Context) Check {
	c := Check{Level: OK, Name: "user IDs"}
	warn := func(detail, fix string) Check { return Check{Level: Warn, Name: c.Name, Detail: detail, Fix: fix} }
	if d.rootless {
		return warn("every pod is this user to the kernel, so a pod can use up what the kernel allows this user: "+
			"inotify, signals, message queues, "+sharedCounts, "run the server as root")
	}
	if ns, err := launch.NewUserNS(mapping(d.UserIDs)); err != nil {
		return Check{Level: Fail, Name: c.Name, Detail: fmt.Sprintf("%v cannot be given to pods: %v", d.UserIDs, err),
			Fix: "name some that this machine has with --pod-user-ids FIRST-LAST: see /proc/self/uid_map and /proc/self/gid_map"}
	} else if err := ns.Close(); err != nil {
		return warn(err.Error(), "run doctor again")
	}
	const another = "name others with --pod-user-ids FIRST-LAST"
	if owner := ownerOf(d.UserIDs); owner != "" {
		return warn(fmt.Sprintf("%v belong to %s as well", d.UserIDs, owner), another)
	}
	pods := d.UserIDs.Pods()
	if pods == 0 {
		return warn(fmt.Sprintf("%v are too few for two pods, so all share them, and with them %s", d.UserIDs, sharedCounts),
			fmt.Sprintf("name %d for each pod with --pod-user-ids FIRST-LAST", idrange.PerPod))
	}
	if err := d.checkIDMap(); err != nil {
		return warn("pods share the machine's own, and with them "+sharedCounts+": mounts cannot shift owners", "name a --data-dir on ext4, xfs or btrfs")
	}
	c.Detail = fmt.Sprintf("%v: %d for each of up to %d pods", d.UserIDs, idrange.PerPod, pods)
	return c
}

// mapping is what the first pod would get.
func mapping(ids idrange.Range) launch.IDRange {
	return launch.IDRange{Base: ids.First, Size: min(ids.Size, idrange.PerPod)}
}

// checkIDMap returns nil if mounts can shift owners to those of pods.
func (d *patient) checkIDMap() error {
	ns, err := launch.NewUserNS(mapping(d.UserIDs))
	if err != nil {
		return err
	}
	defer ns.Close()
	return launch.CheckIDMap(d.existing, ns)
}

// Files that give users and groups, or ranges of them, to somebody. The number is in the field named by
// its index, and the size of a range in the one after it.
var idFiles = []struct {
	path   string
	field  int
	ranges bool
}{
	{"/etc/passwd", 2, false}, {"/etc/group", 2, false}, {"/etc/subuid", 1, true}, {"/etc/subgid", 1, true},
}

// ownerOf returns who has some of the IDs by the machine's own files, or nothing.
func ownerOf(ids idrange.Range) string {
	for _, f := range idFiles {
		if name := ownerIn(f.path, f.field, f.ranges, ids); name != "" {
			return fmt.Sprintf("%s in %s", name, f.path)
		}
	}
	return ""
}

func ownerIn(path string, field int, ranges bool, ids idrange.Range) string {
	file, err := os.Open(path)
	if err != nil {
		return "" // A machine without the file gives nothing away by it.
	}
	defer file.Close()
	for lines := bufio.NewScanner(file); lines.Scan(); {
		fields := strings.Split(lines.Text(), ":")
		given := idrange.Range{Size: 1}
		if len(fields) <= field {
			continue
		}
		if given.First, err = strconv.Atoi(fields[field]); err != nil {
			continue
		}
		if ranges && len(fields) > field+1 {
			if given.Size, err = strconv.Atoi(fields[field+1]); err != nil {
				continue
			}
		}
		if given.Overlaps(ids) {
			return fields[0]
		}
	}
	return ""
}
