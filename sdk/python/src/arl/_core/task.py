"""Tasks: create one in a sandbox and wait for its end."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from math import ceil
from typing import Any, Literal

from arl import _fork
from arl._core import api
from arl._core.api import Document
from arl._core.context import Context
from arl._core.effects import Op
from arl._core.sandbox import unique
from arl._core.watch import DeadlineReached, Watch
from arl.errors import ARLError, SandboxFailed, ServerUnavailable, TaskTimeout
from arl.models import Sandbox, Task

# The label of the tasks that one watch follows.
FOLLOWER = "sdk.arl.io/follower"
# How many followers without a user are kept in a namespace.
KEPT_FOLLOWERS = 8
# How many tasks one may follow: a list of its tasks, after a 410, has them all.
MAX_FOLLOWED = 256

ENDED = frozenset({"Succeeded", "Failed"})
# The server ends a task at its timeout, and says what it wrote until then. Only
# if that news does not come for this much longer, the wait ends without it.
GRACE_SECONDS = 30.0
# How long to try to stop a task that nobody waits for any more.
CANCEL_SECONDS = 5.0
# The times of objects have whole seconds.
CLOCK_SECONDS = 1.0
SANDBOX_NOT_FOUND = "SandboxNotFound"
# Reasons of tasks that were not done when their sandbox ended as its user wanted.
SANDBOX_ENDED = frozenset({"SandboxDeleted", "SandboxExpired", "SandboxFailed"})


@dataclass
class Follower:
    """A watch of the tasks that bear its label."""

    label: str
    watch: Watch | None = None
    tasks: int = 0


class Followers:
    """Watches of tasks, for one task at a time each, and used again for the next.

    Opening a stream costs more than a task does. So a watch follows the tasks
    that have its own label, whatever sandbox they run in, and the next task goes
    on with it. Belongs to one client, whose threads may all use it.
    """

    def __init__(self) -> None:
        self._idle: dict[str, list[Follower]] = {}
        self._lock = threading.Lock()
        _fork.watch(self)

    def _after_fork(self) -> None:
        # The streams are the parent's.
        self._idle, self._lock = {}, threading.Lock()

    def take(self, namespace: str) -> Follower:
        """Returns one that nobody else uses."""
        with self._lock:
            idle = self._idle.get(namespace)
            return idle.pop() if idle else Follower(uuid.uuid4().hex)

    def give(self, namespace: str, follower: Follower) -> None:
        """Takes one back."""
        with self._lock:
            idle = self._idle.setdefault(namespace, [])
            if len(idle) < KEPT_FOLLOWERS and follower.tasks < MAX_FOLLOWED:
                idle.append(follower)
                return
        if follower.watch is not None:
            follower.watch.close()

    def close(self) -> None:
        """Drops the connections of those that nobody uses."""
        with self._lock:
            idle, self._idle = self._idle, {}
        for followers in idle.values():
            for follower in followers:
                if follower.watch is not None:
                    follower.watch.close()


RetentionPolicy = Literal["Delete", "Retain"]
"""What becomes of a task after it ended: it is deleted after its time to live, or kept until it is deleted."""


@dataclass(frozen=True)
class Job:
    """What a task is to run, and how."""

    steps: Sequence[dict[str, Any]]
    timeout: float
    """How long the steps may run, in seconds."""
    trace_id: str | None = None
    termination_grace: float | None = None
    """How long the steps have between TERM and KILL when they are stopped, in seconds."""
    retention_policy: RetentionPolicy | None = None

    def spec(self, sandbox: str) -> dict[str, Any]:
        """Returns the spec of the task."""
        spec = {
            "sandboxRef": sandbox,
            "steps": list(self.steps),
            "timeout": duration(self.timeout),
            "traceID": self.trace_id,
            "terminationGracePeriodSeconds": None if self.termination_grace is None else ceil(self.termination_grace),
            "retentionPolicy": self.retention_policy,
        }
        return {name: value for name, value in spec.items() if value is not None}


class TaskRunner:
    """Runs tasks in one sandbox, any number at the same time."""

    def __init__(self, context: Context, followers: Followers, sandbox: Sandbox) -> None:
        self.sandbox = sandbox
        self._context = context
        self._followers = followers
        self._collection = api.tasks(sandbox.metadata.namespace or "")
        # When the sandbox was last known to be in use, by the server's clock.
        self._used = sandbox.status.allocated_time

    def run(self, job: Job) -> Op[Task]:
        """Runs steps and returns the task when it has ended, whether it succeeded or not.

        Raises TaskTimeout and SandboxFailed for ends that say nothing about the
        steps, see outcome().
        """
        follower = self._followers.take(self._collection.namespace)
        try:
            task = yield from self._run(follower, job)
        finally:
            self._followers.give(self._collection.namespace, follower)
        if task.status.reason != SANDBOX_NOT_FOUND and task.status.completion_time is not None:
            self._used = max(self._used or task.status.completion_time, task.status.completion_time)
        return task

    def _run(self, follower: Follower, job: Job) -> Op[Task]:
        deadline = self._context.clock() + job.timeout + GRACE_SECONDS
        name = unique(self.sandbox.spec.pool_ref)
        spec = job.spec(self.sandbox.metadata.name or "")
        document: Document | None = None
        try:
            follower.tasks += 1
            labels = {FOLLOWER: follower.label}
            document = yield from api.create(self._context, self._collection, name, name, spec, deadline, labels)
            document = yield from self._wait(follower, document, deadline)
        except ServerUnavailable as error:
            if document is None:
                raise
            raise ServerUnavailable(
                f'{error}. Task "{name}" goes on without this process; '
                f"`kubectl get task {name} --namespace {self._collection.namespace} -o yaml` has its result"
            ) from error
        except DeadlineReached:
            yield from self._cancel(name)
            raise TaskTimeout(
                f'task "{name}" was not seen to end within {job.timeout:g} s and {GRACE_SECONDS:g} s of grace, and was '
                "cancelled. Give the session a longer timeout",
                task=Task.model_validate(document),
            ) from None
        except (ARLError, GeneratorExit):
            raise
        except BaseException:
            # Nobody waits for it any more.
            yield from self._cancel(name)
            raise
        return Task.model_validate(document)

    def outcome(self, task: Task) -> ARLError | None:
        """Returns the exception for a task whose end is not its steps' own doing, or None."""
        name, status, sandbox = task.metadata.name, task.status, self.sandbox.metadata.name
        if status.state != "Failed":
            return None
        if status.reason == "Timeout":
            return TaskTimeout(
                f'task "{name}" ran out of time: {status.message}. What it wrote until then is in this exception\'s '
                "task.status.stdout; give the session or the step a longer timeout",
                task=task,
            )
        if status.reason == SANDBOX_NOT_FOUND:
            return SandboxFailed(
                f'sandbox "{sandbox}" is gone: {self._why_gone(task)}',
                reason=SANDBOX_NOT_FOUND,
                sandbox=self.sandbox,
                task=task,
            )
        if status.failure_class == "Infrastructure" or status.reason in SANDBOX_ENDED:
            return SandboxFailed(
                f'task "{name}" was lost together with its sandbox: {status.reason}: {status.message}. Steps may have '
                "run in part. Call delete_sandbox() and create_sandbox() to go on in a fresh one",
                reason=status.reason or "",
                sandbox=self.sandbox,
                task=task,
            )
        return None

    def _why_gone(self, task: Task) -> str:
        """Returns what ended a sandbox that is not there any more, as far as the server's clock tells."""
        again = "Call create_sandbox() again"
        asked = task.metadata.creation_timestamp
        spec, status = self.sandbox.spec, self.sandbox.status
        if asked is None or self._used is None:
            return f"it was deleted. {again}"
        if status.expiration_time is not None and asked >= status.expiration_time - timedelta(seconds=CLOCK_SECONDS):
            return f"it had reached the end of its lifetime, {status.expiration_time}. {again}"
        idle = status.idle_timeout_seconds or spec.idle_timeout_seconds
        unused = (asked - self._used).total_seconds()
        if idle is not None and unused >= idle - CLOCK_SECONDS:
            return (
                f"the server deletes it after {idle} s without a task. {again}, with a longer idle_timeout if the work "
                "needs it"
            )
        return f"it was deleted by somebody else, {max(0.0, unused):.0f} s after its last task. {again}"

    def _wait(self, follower: Follower, document: Document, deadline: float) -> Op[Document]:
        metadata = document["metadata"]
        name = metadata["name"]
        if follower.watch is None:
            selector = {"labelSelector": f"{FOLLOWER}={follower.label}"}
            follower.watch = Watch(self._context, self._collection, selector, metadata["resourceVersion"])
        while document["status"].get("state") not in ENDED:
            change = yield from follower.watch.next(deadline)
            if name in change.gone or (change.complete and name not in change.objects):
                raise SandboxFailed(
                    f'task "{name}" was deleted by somebody else before its end, so what its steps did is unknown. '
                    "Run it again if that does no harm",
                    reason="TaskDeleted",
                    sandbox=self.sandbox,
                    task=Task.model_validate(document),
                )
            document = change.objects.get(name, document)
        return document

    def _cancel(self, name: str) -> Op[None]:
        try:
            yield from api.patch(
                self._context,
                self._collection,
                name,
                {"spec": {"cancel": True}},
                self._context.clock() + CANCEL_SECONDS,
            )
        except ARLError:
            # It ends at its timeout.
            return


def duration(seconds: float) -> str:
    """Returns a number of seconds as the API has it, at most a day."""
    milliseconds = min(max(1, round(seconds * 1000)), 86_400_000)
    return f"{milliseconds // 1000}s" if milliseconds % 1000 == 0 else f"{milliseconds}ms"
