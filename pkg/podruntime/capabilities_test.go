package podruntime

import (
	"slices"
	"testing"

	corev1 "k8s.io/api/core/v1"
)

func TestCapabilities(t *testing.T) {
	without := func(names ...corev1.Capability) []corev1.Capability {
		return slices.DeleteFunc(slices.Clone(DefaultCapabilities), func(c corev1.Capability) bool { return slices.Contains(names, c) })
	}
	list := func(names ...corev1.Capability) []corev1.Capability { return names }
	for _, tt := range []struct {
		name   string
		wanted *corev1.Capabilities
		want   []corev1.Capability
	}{
		{"nothing said", nil, DefaultCapabilities},
		{"empty", &corev1.Capabilities{}, DefaultCapabilities},
		{"empty lists", &corev1.Capabilities{Add: list(), Drop: list()}, DefaultCapabilities},
		{"one dropped", &corev1.Capabilities{Drop: list("NET_RAW")}, without("NET_RAW")},
		{"the kernel's names", &corev1.Capabilities{Drop: list("CAP_NET_RAW", "cap_kill")}, without("NET_RAW", "KILL")},
		{"all dropped", &corev1.Capabilities{Drop: list("ALL")}, nil},
		{"all dropped but one", &corev1.Capabilities{Drop: list("ALL"), Add: list("CHOWN")}, list("CHOWN")},
		{"added and dropped", &corev1.Capabilities{Drop: list("all", "SYS_PTRACE"), Add: list("SYS_PTRACE")}, nil},
		{"one added twice", &corev1.Capabilities{Drop: list("ALL"), Add: list("SYS_PTRACE", "CAP_SYS_PTRACE")}, list("SYS_PTRACE")},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := Capabilities(tt.wanted); !slices.Equal(got, tt.want) {
				t.Errorf("got %v, want %v", got, tt.want)
			}
		})
	}
	if !slices.IsSorted(DefaultCapabilities) {
		t.Error("the default set is not sorted")
	}
}
