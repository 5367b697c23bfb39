// Package kstatus holds tests that ask kstatus, the library by which Flux, kpt
// and others judge objects they know nothing about, how objects of a real
// server stand. It runs the binaries that "make build" made.
package kstatus
