// Package sdk gives programs a place to run commands: a Session is a sandbox of
// a warm pool for as long as it is open, and Pools looks after the pools. It is
// a thin layer over the generated clientset, whose objects it takes and returns
// wherever a type of its own would say nothing more.
//
//	client, err := sdk.Connect()
//	session, err := sdk.NewSession(ctx, client, "python")
//	defer session.Close()
//	result, err := session.Run(ctx, "echo hello")
//
// What it adds to the clientset:
//
//   - It waits by watching, never by asking again and again. A watch that ends,
//     or is too old to go on (410), is taken up from the object as it stands.
//   - It survives the server's absence. Requests that fail for want of an answer,
//     or with 429 or 5xx, are made again with growing pauses. Objects are named
//     and marked here, so that making one again never makes a second one, and
//     nothing that was asked for once runs twice.
//   - It leaves nothing behind. What a program that was killed has not closed, the
//     server deletes when it has been idle for a while.
//   - Its errors say what is wrong and what to do, and have types to tell them apart.
//
// What it does not do: it schedules nothing and keeps no state but names, so a
// Session may be used again after any error but ErrClosed and *SandboxFailedError.
// A command that exits with another code than 0 is no error but a Result.
//
// The rooms:
//
//	session.go  Session: making one, closing it      acquire.go  waiting for its pod
//	execute.go  running steps, from task to Result   step.go, result.go  what goes in and comes out
//	pool.go     Pools                                client.go   connecting
//	link.go     which requests are made again        create.go, await.go  creating once, waiting
//	errors.go   what goes wrong                      options.go
//
// Goroutines: a Session has none between calls. Functions that start some, to
// watch two things at the same time, join them before they return. All of this
// package is safe for concurrent use. The one lock guards whether a Session is
// closed, and is held over no request.
//
// Read session.go first.
package sdk
