package kube

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation/field"
	clienttesting "k8s.io/client-go/testing"
	"k8s.io/utils/clock"

	"arl.io/arl/pkg/apis/arl/v1alpha1"
	"arl.io/arl/pkg/podruntime"
	"arl.io/arl/pkg/scheduler/schedulertest"
)

var pods = corev1.Resource("pods")

func forbidden(words string) error { return apierrors.NewForbidden(pods, "a", errors.New(words)) }

// terminating is what the namespace lifecycle plugin says, with the given code.
func terminating(code int32) error {
	err := apierrors.NewForbidden(pods, "a", errors.New("unable to create new content in namespace space because it is being terminated"))
	err.ErrStatus.Code = code
	if code == http.StatusConflict {
		err.ErrStatus.Reason = metav1.StatusReasonConflict
	}
	err.ErrStatus.Details.Causes = append(err.ErrStatus.Details.Causes, metav1.StatusCause{Type: corev1.NamespaceTerminatingCause, Field: "metadata.namespace"})
	return err
}

// refusals are answers of a cluster to the creation of a pod.
var refusals = []struct {
	name   string
	answer error
	// is is the sentinel that is expected, or nil, and reason what a Refusal
	// says, or empty. The pool's condition has the reason that follows from them.
	is        error
	reason    string
	wait      time.Duration
	says      string
	condition string
}{
	{name: "quota", answer: forbidden("exceeded quota: team, requested: pods=1, used: pods=10, limited: pods=10"),
		reason: podruntime.ReasonQuota, says: "exceeded quota: team", condition: "QuotaExceeded"},
	{name: "quota that wants limits", answer: forbidden("failed quota: team: must specify limits.cpu for: main"),
		reason: podruntime.ReasonForbidden, says: "must specify limits.cpu", condition: "Forbidden"},
	{name: "pod security", answer: forbidden(`violates PodSecurity "restricted:latest": runAsNonRoot != true`),
		reason: podruntime.ReasonPodSecurity, says: "runAsNonRoot", condition: "PodSecurityViolation"},
	{name: "no permission", answer: forbidden(`User "system:serviceaccount:arl-system:arl-apiserver" cannot create resource "pods"`),
		reason: podruntime.ReasonForbidden, says: "cannot create resource", condition: "Forbidden"},
	{name: "not known to the cluster", answer: apierrors.NewUnauthorized("the token has expired"),
		reason: podruntime.ReasonForbidden, says: "the token has expired", condition: "Forbidden"},
	{name: "invalid", answer: apierrors.NewInvalid(corev1.SchemeGroupVersion.WithKind("Pod").GroupKind(), "a",
		field.ErrorList{field.Required(field.NewPath("spec", "x"), "")}),
		is: podruntime.ErrInvalid, says: "spec.x", condition: "InvalidTemplate"},
	{name: "bad request", answer: apierrors.NewBadRequest("unknown field"),
		is: podruntime.ErrInvalid, says: "unknown field", condition: "InvalidTemplate"},
	{name: "too large", answer: apierrors.NewRequestEntityTooLargeError("3 MB is more than the limit"),
		is: podruntime.ErrInvalid, says: "3 MB", condition: "InvalidTemplate"},
	{name: "timeout", answer: apierrors.NewTimeoutError("the request did not complete", 0),
		reason: podruntime.ReasonUnavailable, says: "did not complete", condition: "ClusterUnavailable"},
	{name: "server timeout", answer: apierrors.NewServerTimeout(pods, "create", 3),
		reason: podruntime.ReasonUnavailable, wait: 3 * time.Second, says: "could not be completed", condition: "ClusterUnavailable"},
	{name: "too many requests", answer: apierrors.NewTooManyRequests("too many requests", 2),
		reason: podruntime.ReasonUnavailable, wait: 2 * time.Second, says: "too many requests", condition: "ClusterUnavailable"},
	{name: "unavailable", answer: apierrors.NewServiceUnavailable("etcd is on holiday"),
		reason: podruntime.ReasonUnavailable, says: "etcd is on holiday", condition: "ClusterUnavailable"},
	{name: "no answer", answer: &net.OpError{Op: "dial", Err: errors.New("connection refused")},
		reason: podruntime.ReasonUnavailable, says: "connection refused", condition: "ClusterUnavailable"},
	{name: "no answer in time", answer: context.DeadlineExceeded,
		reason: podruntime.ReasonUnavailable, says: "deadline exceeded", condition: "ClusterUnavailable"},
	{name: "webhook down", answer: apierrors.NewInternalError(errors.New("failed calling webhook")),
		says: "failed calling webhook", condition: "CreateFailed"},
	{name: "namespace terminating", answer: terminating(http.StatusForbidden),
		reason: podruntime.ReasonNamespaceTerminating, wait: time.Minute, says: "being terminated", condition: "NamespaceTerminating"},
	{name: "namespace terminating, as a conflict", answer: terminating(http.StatusConflict),
		reason: podruntime.ReasonNamespaceTerminating, wait: time.Minute, says: "being terminated", condition: "NamespaceTerminating"},
	{name: "no namespace", answer: apierrors.NewNotFound(corev1.Resource("namespaces"), "space"),
		reason: podruntime.ReasonNamespaceNotFound, says: `namespaces "space" not found`, condition: "NamespaceNotFound"},
	{name: "a foreign pod of the name", answer: apierrors.NewAlreadyExists(pods, "a"),
		is: podruntime.ErrExists, says: "already exists", condition: "CreateFailed"},
}

// answers has creations of pods answered with an error until it is nil, and
// returns how many were.
func (c *cluster) answers(answer func() error) *atomic.Int32 {
	var asked atomic.Int32
	c.client.PrependReactor("create", "pods", func(clienttesting.Action) (bool, runtime.Object, error) {
		err := answer()
		if err != nil {
			asked.Add(1)
		}
		return err != nil, nil, err
	})
	return &asked
}

func TestCreateRefused(t *testing.T) {
	h := start(t)
	var answer error
	h.cluster.answers(func() error { return answer })
	for _, tt := range refusals {
		t.Run(tt.name, func(t *testing.T) {
			answer = tt.answer
			_, err := h.runtime.Create(t.Context(), spec("a"))
			if err == nil || !strings.Contains(err.Error(), tt.says) {
				t.Fatalf("got %v, want %q in it", err, tt.says)
			}
			for _, sentinel := range []error{podruntime.ErrInvalid, podruntime.ErrExists} {
				if is := errors.Is(err, sentinel); is != (tt.is == sentinel) {
					t.Errorf("%v is %v: %v", err, sentinel, is)
				}
			}
			var refusal *podruntime.Refusal
			if errors.As(err, &refusal); refusal == nil {
				refusal = &podruntime.Refusal{}
			}
			if refusal.Reason != tt.reason || refusal.RetryAfter != tt.wait {
				t.Errorf("reason %q, again after %v; want %q, %v", refusal.Reason, refusal.RetryAfter, tt.reason, tt.wait)
			}
		})
	}
	answer = nil
	broken := spec("a")
	broken.Template = nil
	if _, err := h.runtime.Create(t.Context(), broken); !errors.Is(err, podruntime.ErrInvalid) {
		t.Errorf("without a template: %v", err)
	}
	// None of the failures has kept the key.
	h.create("a")
}

// TestPodsThatGetInEachOthersWay has a quota counted by several at the same time.
func TestPodsThatGetInEachOthersWay(t *testing.T) {
	h := start(t)
	conflict := apierrors.NewConflict(corev1.Resource("resourcequotas"), "team", errors.New("the object has been modified"))
	left := 2
	asked := h.cluster.answers(func() error {
		if left--; left < 0 {
			return nil
		}
		return conflict
	})
	h.create("a")
	if n := asked.Load(); n != 2 {
		t.Errorf("%d conflicts, want 2", n)
	}
	left = 1000
	if _, err := h.runtime.Create(t.Context(), spec("b")); !apierrors.IsConflict(err) {
		t.Errorf("conflicts without end: %v", err)
	}
	if n := asked.Load(); n > 20 {
		t.Errorf("%d attempts at once", n)
	}
}

// TestAForeignPodOfTheName leaves it alone, and does not take it for its own.
func TestAForeignPodOfTheName(t *testing.T) {
	h := start(t)
	theirs := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: space, Name: "a"}}
	if _, err := h.cluster.client.CoreV1().Pods(space).Create(t.Context(), theirs, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := h.runtime.Create(t.Context(), spec("a")); !errors.Is(err, podruntime.ErrExists) {
		t.Errorf("Create: %v", err)
	}
	if err := h.runtime.Delete(t.Context(), key("a"), ""); !errors.Is(err, podruntime.ErrNotFound) {
		t.Errorf("Delete: %v", err)
	}
	h.ready("b")
	if told := h.told("a"); told != nil {
		t.Errorf("told: %+v", told)
	}
	h.cluster.get("a")
	h.cluster.drop("a")
	h.create("a")
}

// TestConditions has a pool tell its user what the cluster refuses, and get well
// when it refuses no more.
func TestConditions(t *testing.T) {
	shown := map[string]bool{}
	for _, tt := range refusals {
		kind := fmt.Sprint(tt.condition, tt.is, tt.wait)
		if shown[kind] {
			continue
		}
		shown[kind] = true
		t.Run(tt.name, func(t *testing.T) {
			c := newCluster(t)
			api := schedulertest.NewAPI(clock.RealClock{})
			c.runAll(t, schedulertest.Namespace)
			var well atomic.Bool
			asked := c.answers(func() error {
				if well.Load() {
					return nil
				}
				return tt.answer
			})
			schedule(t, c, api)
			pools, begin := api.ArlV1alpha1().WarmPools(schedulertest.Namespace), time.Now()
			if _, err := pools.Create(t.Context(), schedulertest.Pool("pool", 2), metav1.CreateOptions{}); err != nil {
				t.Fatal(err)
			}
			eventually(t, "the pool says what is wrong", func() error {
				pool, err := pools.Get(t.Context(), "pool", metav1.GetOptions{})
				if err != nil {
					return err
				}
				failure := meta.FindStatusCondition(pool.Status.Conditions, v1alpha1.WarmPoolConditionReplicaFailure)
				if failure == nil || failure.Status != metav1.ConditionTrue || failure.Reason != tt.condition ||
					!strings.Contains(failure.Message, tt.says) || !strings.Contains(failure.Message, "not tried again before") {
					return fmt.Errorf("%+v", failure)
				}
				accepted := meta.FindStatusCondition(pool.Status.Conditions, v1alpha1.WarmPoolConditionTemplateAccepted)
				if refused := tt.condition == "InvalidTemplate"; refused != (accepted.Status == metav1.ConditionFalse) {
					return fmt.Errorf("%+v", accepted)
				}
				return nil
			})
			// Two at once, and one for each second that has passed.
			if n, most := asked.Load(), 2+int32(time.Since(begin)/time.Second)+1; n > most {
				t.Errorf("%d attempts, want at most %d", n, most)
			}
			if tt.wait > 5*time.Second {
				return
			}
			well.Store(true)
			eventually(t, "the pool is well", func() error {
				pool, err := pools.Get(t.Context(), "pool", metav1.GetOptions{})
				if err != nil || pool.Status.Phase != v1alpha1.WarmPoolReady ||
					!meta.IsStatusConditionFalse(pool.Status.Conditions, v1alpha1.WarmPoolConditionReplicaFailure) {
					return fmt.Errorf("%+v, %v", pool, err)
				}
				return nil
			})
		})
	}
}
