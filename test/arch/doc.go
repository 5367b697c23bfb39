// Package arch holds the rules of the house as tests: which package may import
// which, how long a file and a function may be, and that every package says
// what it is for. It has no code of its own.
package arch
