// Package execute runs tasks: it starts them in their sandboxes in the order of
// their creation, follows them through the agents, and writes how they went.
//
// # Who does what
//
// Informer events are told to the Executor, which keeps an index of the tasks
// that have not ended, by sandbox; nothing is ever searched for. A task is
// pending (in the queue of its sandbox), settling (it ends without being
// started), running, or ended. Each stage but the first has one goroutine that
// owns the task's status: a settle worker, or the execution's own. So status
// writes of one task never race with each other, only with the edits of users,
// which a conflict shows and a fresh read mends. The note that says for what a pending task
// waits is the exception: it gives way to any conflict.
//
// Run owns all goroutines and joins them. Executor.mu guards the index; the
// timer queue's lock is taken inside it, nothing else is. Nothing blocks under it.
//
// # Never twice, never lost
//
// The ID of an execution is the task's UID with the number of the attempt, and
// the number follows from the stored status alone (plan.Attempt): an attempt is
// numbered one more than status.attempts, until the status says Running, when it is
// status.attempts. The agent runs an ID once and, asked again, tells how it goes or
// went. What this means if the server is killed at any instant:
//
//   - Before the agent was asked: the task is Pending, and is begun after the restart.
//   - While it runs, or after it ended, but before the status says Running: the
//     task is Pending; the restarted server posts the same ID and the agent
//     re-attaches it.
//   - The same, but after the status says Running: the restarted server only attaches. If the
//     agent does not know the ID, it is another process than the one that ran
//     it, and the task ends as AgentLost: its steps may have run.
//   - The pod is gone: the sandbox has failed with reason PodLost. A task that
//     was Running, or that may have been begun before the restart, ends as failed with a
//     message that says that its steps may have run.
//   - After an attempt failed and before that is stored: the agent still has the outcome,
//     and the decision to try again is made again. The next attempt is made
//     only once status.attempts counts the last one, so its ID is another one.
//   - After the end is stored: the agent is told to forget the outcome. It is
//     never told so before. An outcome that cannot be stored (a full disk) stays with
//     the agent while the write is tried again, and holds the sandbox's place
//     until then.
//
// One gap is left, of milliseconds: a one-shot sandbox that somebody deletes while
// its task runs and before the status says Running, and a server that is killed
// before it has stored that this ended the task. After the restart nothing tells that the
// sandbox was there, and the task gets another one.
//
// Within one life of the server the same holds if the connection breaks: once a
// post may have reached the agent, the execution is only attached to. If the agent's process that
// was asked says that it does not know the ID, it is asked again: a request that is still on its way
// joins that one.
//
// # Nothing beside steps that may run
//
// A sandbox in which steps may run that no task accounts for gets no other task:
//
//   - An agent that does not end the steps in time (follow): the sandbox is failed, and its pod
//     is deleted.
//   - A task that went while the server was down (audit): its steps are stopped first.
//
// When a sandbox ends, its running steps get their grace (given, settled). Its pod is held for
// that long: the pool's reaper asks Hold before it deletes one.
//
// # What is kept
//
// Of a task whose steps are large the index has the outline (trim); whoever needs the rest reads it.
// Of a finished one it has the end and the size (finishedTasks).
//
// # Order
//
// The tasks of a sandbox start in the order of creation: by creationTimestamp,
// then, as that counts in whole seconds, by the resource version at which they were first
// seen, which is that of their creation. After a restart the resource version of a
// pending task may be that of an edit: tasks of the same second that are labelled or
// the like while they wait may then change places with each other. The
// scheduler's own notes keep the order.
//
// Read executor.go first, then observe.go, dispatch.go, follow.go, conclude.go and verdict.go.
package execute
