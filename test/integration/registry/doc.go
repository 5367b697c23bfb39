// Package registry tests the registry of a whole API server, with a database and without pods.
package registry
