// Package space is a namespace of a server in which one test works: the objects
// the test makes there, and the waits for what becomes of them. It goes through the
// generated typed clients and knows nothing of where the server runs, which is
// the business of the tests in integration and e2e.
//
// A Space belongs to one test, whose goroutine alone may call it: what goes wrong
// ends the test. Read space.go first; object.go has objects to begin with.
package space
