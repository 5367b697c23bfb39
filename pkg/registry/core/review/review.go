// Package review answers, on a standalone server, what a user may do and who the
// user is: what "kubectl auth can-i" and "kubectl auth whoami" ask. Reviews are
// answered and not stored. Nothing here has state.
package review

import (
	"context"
	"fmt"

	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizer"
	"k8s.io/apiserver/pkg/endpoints/request"
	"k8s.io/apiserver/pkg/registry/rest"
)

// creater serves a kind that can be created and nothing else.
type creater struct {
	singular string
	empty    func() runtime.Object
	answer   func(ctx context.Context, who user.Info, obj runtime.Object) error
}

var (
	_ rest.Creater              = (*creater)(nil)
	_ rest.Scoper               = (*creater)(nil)
	_ rest.SingularNameProvider = (*creater)(nil)
)

// New returns an empty review.
func (c *creater) New() runtime.Object { return c.empty() }

// Destroy does nothing.
func (c *creater) Destroy() {}

// NamespaceScoped is false.
func (c *creater) NamespaceScoped() bool { return false }

// GetSingularName is the name of one on command lines.
func (c *creater) GetSingularName() string { return c.singular }

// Create answers a review.
func (c *creater) Create(ctx context.Context, obj runtime.Object, validate rest.ValidateObjectFunc, _ *metav1.CreateOptions) (runtime.Object, error) {
	who, ok := request.UserFrom(ctx)
	if !ok {
		return nil, apierrors.NewBadRequest("no user is known of the request")
	}
	if validate != nil {
		if err := validate(ctx, obj.DeepCopyObject()); err != nil {
			return nil, err
		}
	}
	if err := c.answer(ctx, who, obj); err != nil {
		return nil, err
	}
	return obj, nil
}

// NewAccess serves SelfSubjectAccessReviews: may I do this?
func NewAccess(decide authorizer.UnconditionalAuthorizer) rest.Storage {
	return &creater{
		singular: "selfsubjectaccessreview",
		empty:    func() runtime.Object { return &authorizationv1.SelfSubjectAccessReview{} },
		answer: func(ctx context.Context, who user.Info, obj runtime.Object) error {
			review, ok := obj.(*authorizationv1.SelfSubjectAccessReview)
			if !ok {
				return apierrors.NewBadRequest(fmt.Sprintf("%T is no SelfSubjectAccessReview", obj))
			}
			attributes, err := attributesOf(who, review.Spec)
			if err != nil {
				return err
			}
			decision, reason, err := decide.Authorize(ctx, attributes)
			review.Status = authorizationv1.SubjectAccessReviewStatus{
				Allowed: decision == authorizer.DecisionAllow, Denied: decision == authorizer.DecisionDeny, Reason: reason,
			}
			if err != nil {
				review.Status.EvaluationError = err.Error()
			}
			return nil
		},
	}
}

func attributesOf(who user.Info, spec authorizationv1.SelfSubjectAccessReviewSpec) (authorizer.Attributes, error) {
	resource, path := spec.ResourceAttributes, spec.NonResourceAttributes
	switch {
	case resource != nil && path == nil:
		return authorizer.AttributesRecord{
			User: who, ResourceRequest: true, Verb: resource.Verb, Namespace: resource.Namespace, APIGroup: resource.Group,
			APIVersion: resource.Version, Resource: resource.Resource, Subresource: resource.Subresource, Name: resource.Name,
		}, nil
	case resource == nil && path != nil:
		return authorizer.AttributesRecord{User: who, Verb: path.Verb, Path: path.Path}, nil
	}
	return nil, apierrors.NewBadRequest("spec.resourceAttributes, spec.nonResourceAttributes: exactly one of them must be given")
}

// NewRules serves SelfSubjectRulesReviews: what may I do?
func NewRules(decide authorizer.UnconditionalAuthorizer) rest.Storage {
	return &creater{
		singular: "selfsubjectrulesreview",
		empty:    func() runtime.Object { return &authorizationv1.SelfSubjectRulesReview{} },
		answer: func(ctx context.Context, who user.Info, obj runtime.Object) error {
			review, ok := obj.(*authorizationv1.SelfSubjectRulesReview)
			if !ok {
				return apierrors.NewBadRequest(fmt.Sprintf("%T is no SelfSubjectRulesReview", obj))
			}
			review.Status = authorizationv1.SubjectRulesReviewStatus{
				ResourceRules: []authorizationv1.ResourceRule{}, NonResourceRules: []authorizationv1.NonResourceRule{},
			}
			// There is one rule: who may do anything may do everything.
			every := authorizer.AttributesRecord{User: who, ResourceRequest: true, Verb: "*", APIGroup: "*", Resource: "*", Namespace: review.Spec.Namespace}
			decision, _, err := decide.Authorize(ctx, every)
			if err != nil {
				review.Status.EvaluationError = err.Error()
			}
			if decision == authorizer.DecisionAllow {
				all := []string{"*"}
				review.Status.ResourceRules = append(review.Status.ResourceRules, authorizationv1.ResourceRule{Verbs: all, APIGroups: all, Resources: all})
				review.Status.NonResourceRules = append(review.Status.NonResourceRules, authorizationv1.NonResourceRule{Verbs: all, NonResourceURLs: all})
			}
			return nil
		},
	}
}

// NewSubject serves SelfSubjectReviews: who am I?
func NewSubject() rest.Storage {
	return &creater{
		singular: "selfsubjectreview",
		empty:    func() runtime.Object { return &authenticationv1.SelfSubjectReview{} },
		answer: func(_ context.Context, who user.Info, obj runtime.Object) error {
			review, ok := obj.(*authenticationv1.SelfSubjectReview)
			if !ok {
				return apierrors.NewBadRequest(fmt.Sprintf("%T is no SelfSubjectReview", obj))
			}
			extra := map[string]authenticationv1.ExtraValue{}
			for key, value := range who.GetExtra() {
				extra[key] = value
			}
			review.Status.UserInfo = authenticationv1.UserInfo{Username: who.GetName(), UID: who.GetUID(), Groups: who.GetGroups(), Extra: extra}
			return nil
		},
	}
}
