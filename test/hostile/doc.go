// Package hostile attacks a real server as those would that it must not trust: an agent that was taken
// over (falseagent), a step that wants out of its pod or takes all there is (step), and a tenant. It
// checks that each harms itself only: an honest tenant's sandboxes and tasks go on, the server lives
// within its memory, and nothing is left of the attackers. docs/security.md names these tests.
//
// The server is the one of "make build", started with the agent of "make arl-agent-hostile", which is
// the real one in each pod whose template does not ask for a lie. "make hostile" runs everything;
// HOSTILE_DURATION is how long the tests under load attack. All pods have limits, so that an attack
// that succeeds does not take the machine with it.
//
// Read server_test.go first; the other files are one kind of attacker each.
package hostile
