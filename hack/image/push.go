package main

import (
	"context"
	"fmt"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
)

// push puts the image under each of its tags into the registry that the tag
// names, with the credentials of ~/.docker/config.json.
func push(ctx context.Context, image v1.Image, tags []string) error {
	for _, tag := range tags {
		parsed, err := name.NewTag(tag, name.StrictValidation)
		if err != nil {
			return fmt.Errorf("read the tag: %w", err)
		}
		err = remote.Write(parsed, image, remote.WithContext(ctx), remote.WithAuthFromKeychain(authn.DefaultKeychain))
		if err != nil {
			return fmt.Errorf("push %s: %w", tag, err)
		}
	}
	return nil
}
