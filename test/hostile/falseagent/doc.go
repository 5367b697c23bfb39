// Package falseagent plays an agent that was taken over: it speaks the agent's protocol in place of
// arl-agent and lies.
//
// It gets into pods as a part of arl-agent: testdata/hook.go is added to the package cmd/agent by
// "go build -overlay" (make arl-agent-hostile), so that the program is the real agent unless
// LieVariable is in its environment. A template of a pool sets it.
//
// A lie is one way to answer. Until the first execution is posted, a false agent answers as an honest
// one, so that its pod becomes ready and is claimed. Read agent.go first; the lies are in lies_*.go,
// one group each.
package falseagent
