"""Tasks: create one in a sandbox and wait for its end."""

from __future__ import annotations

import os
import threading
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

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


@dataclass
class Follower:
    """A watch of the tasks that bear its label."""

    label: str
    watch: Watch | None = None
    tasks: int = 0


class Followers:
    """Watches of tasks that sessions hand on to each other.

    Opening a stream costs more than a task does. So a watch follows the tasks
    that bear its own label, whatever sandbox they run in, and the next session
    goes on with it. Belongs to one client, whose threads may all use it.
    """

    def __init__(self) -> None:
        self._idle: dict[str, list[Follower]] = {}
        self._lock = threading.Lock()
        self._pid = os.getpid()

    def take(self, namespace: str) -> Follower:
        """Is one that nobody else uses."""
        with self._lock:
            if self._pid != os.getpid():
                # The streams belong to the process that this one was forked from.
                self._idle, self._pid = {}, os.getpid()
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


class TaskRunner:
    """Runs tasks in one sandbox, one at a time."""

    def __init__(self, context: Context, followers: Followers, sandbox: Sandbox) -> None:
        self._context = context
        self._followers = followers
        self._sandbox = sandbox
        self._collection = api.tasks(sandbox.metadata.namespace or "")
        self._follower: Follower | None = None

    def close(self) -> None:
        """Hands the watch on. The runner stays usable."""
        follower, self._follower = self._follower, None
        if follower is not None:
            self._followers.give(self._collection.namespace, follower)

    def run(self, steps: Sequence[dict[str, Any]], timeout: float, trace_id: str | None) -> Op[Task]:
        """Runs steps and returns the task when it has ended, whether it succeeded or not.

        Raises TaskTimeout and SandboxFailed for ends that say nothing about the
        steps, see outcome().
        """
        deadline = self._context.clock() + timeout + GRACE_SECONDS
        name = unique(self._sandbox.spec.pool_ref)
        spec: dict[str, Any] = {
            "sandboxRef": self._sandbox.metadata.name,
            "steps": list(steps),
            "timeout": duration(timeout),
        }
        if trace_id is not None:
            spec["traceID"] = trace_id
        document: Document | None = None
        try:
            if self._follower is None:
                self._follower = self._followers.take(self._collection.namespace)
            self._follower.tasks += 1
            labels = {FOLLOWER: self._follower.label}
            document = yield from api.create(self._context, self._collection, name, name, spec, deadline, labels)
            document = yield from self._wait(self._follower, document, deadline)
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
                f'task "{name}" was not seen to end within {timeout:g} s and {GRACE_SECONDS:g} s of grace; it was '
                "told to stop. Give the session a longer timeout",
                task=Task.model_validate(document),
            ) from None
        except (ARLError, GeneratorExit):
            raise
        except BaseException:
            # The next task of this sandbox would wait for this one.
            yield from self._cancel(name)
            raise
        return Task.model_validate(document)

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
                    sandbox=self._sandbox,
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


def outcome(task: Task, sandbox: Sandbox, idle_timeout: int) -> ARLError | None:
    """Is the exception for a task whose end is not its steps' own doing, or None."""
    name, status = task.metadata.name, task.status
    if status.state != "Failed":
        return None
    if status.reason == "Timeout":
        return TaskTimeout(
            f'task "{name}" ran out of time: {status.message}. What it wrote until then is in this exception\'s '
            "task.status.stdout; give the session or the step a longer timeout",
            task=task,
        )
    if status.reason == "SandboxNotFound":
        return SandboxFailed(
            f'sandbox "{sandbox.metadata.name}" is gone: the server deletes it after {idle_timeout} s without a '
            "task. Call create_sandbox() again, with a longer idle_timeout if the work needs it",
            reason="SandboxNotFound",
            sandbox=sandbox,
            task=task,
        )
    if status.failure_class == "Infrastructure" or status.reason in ("SandboxDeleted", "SandboxExpired"):
        return SandboxFailed(
            f'task "{name}" was lost together with its sandbox: {status.reason}: {status.message}. Steps may have run '
            "in part. Call delete_sandbox() and create_sandbox() to go on in a fresh one",
            reason=status.reason or "",
            sandbox=sandbox,
            task=task,
        )
    return None


def duration(seconds: float) -> str:
    """Is a number of seconds as the API has it, at most a day."""
    milliseconds = min(max(1, round(seconds * 1000)), 86_400_000)
    return f"{milliseconds // 1000}s" if milliseconds % 1000 == 0 else f"{milliseconds}ms"
