// Package cluster runs a real Kubernetes cluster of one node on a Linux
// machine, for tests: etcd, kube-apiserver, kube-controller-manager,
// kube-scheduler, kube-proxy, kubelet, containerd and runc, without Docker and
// without a registry. It needs root.
//
// Kubernetes and etcd are built from their Go modules (../components) and kept
// under .cache/e2e; containerd, runc, the CNI plugins, iptables and ipset are Debian's.
//
// NetworkPolicies take effect only while StartEnforcer says so.
//
// # How it leaves nothing behind
//
// All processes live in a process, a mount and a network namespace of their
// own, whose first process (../holder) ends when the test does, be it by kill -9. The
// kernel then ends every other one, drops the mounts and the network. The lock
// on the cluster's folder is held by that process too, so a next run starts
// only once the former is gone; it then removes what is left on disk, which is
// the folder "run" and empty cgroups.
//
// The kubelet insists on some settings of the whole machine (such as
// vm.overcommit_memory). It is shown files with the values it wants in their
// place, so the machine keeps its own. Likewise the cluster has a /run, a
// /var/lib and a /var/log of its own.
//
// # Reaching it
//
// Nothing outside the namespaces reaches the cluster by address. Processes are
// started inside by Run, Exec and Kubectl; connections of the test itself are opened
// inside by DialContext, which RESTConfig and HTTPClient use.
//
// # Concurrency
//
// A Cluster's methods that read (kubeconfigs, connections, commands) may be
// called at once. Those that stop, kill and start parts of it, and Close, are
// for one goroutine. Who waits for a process is its goroutine in process.go,
// which Close joins.
//
// Read cluster.go first, then controlplane.go and node.go.
package cluster
