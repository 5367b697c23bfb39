"""Sandboxes: create one and wait until tasks can run in it, delete it."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from typing import Any

from arl._core import api
from arl._core.api import Document
from arl._core.context import Context
from arl._core.effects import Op
from arl._core.pool import failure_of, names
from arl._core.watch import Change, DeadlineReached, Watch
from arl.errors import (
    APIError,
    ARLError,
    NotFoundError,
    PoolFailed,
    PoolNotFound,
    SandboxFailed,
    ServerUnavailable,
    WaitTimeout,
)
from arl.models import Sandbox, WarmPool

# The most that a name may have is 63 characters, and a pool's name 52.
NAME_PREFIX = 40
# How long to go on trying to delete a sandbox that could not be had.
CLEANUP_SECONDS = 10.0


@dataclass(frozen=True)
class Wanted:
    """What sandbox is asked for."""

    pool: str
    namespace: str
    keep_alive: bool
    idle_timeout: int | None
    """After how many seconds without a task the server deletes it; never if None."""
    timeout: float
    """How many seconds to wait for a pod."""
    max_concurrent_tasks: int = 1
    env: dict[str, str] | None = None

    def spec(self) -> dict[str, Any]:
        """Returns the spec of the sandbox."""
        spec: dict[str, Any] = {
            "poolRef": self.pool,
            "keepAlive": self.keep_alive,
            "allocationTimeoutSeconds": max(1, min(86400, round(self.timeout) + 1)),
            "maxConcurrentTasks": self.max_concurrent_tasks,
        }
        if self.idle_timeout is not None:
            # The server deletes what this process leaves behind if it dies.
            spec["idleTimeoutSeconds"] = self.idle_timeout
        if self.env:
            spec["env"] = self.env
        return spec


def unique(prefix: str) -> str:
    """Returns a name that nobody else has."""
    return f"{prefix[:NAME_PREFIX].rstrip('-.')}-{uuid.uuid4().hex[:20]}"


def create_sandbox(context: Context, wanted: Wanted) -> Op[Sandbox]:
    """Creates a sandbox and returns it when it is Ready.

    If it cannot be had, it is deleted, and this raises PoolNotFound, PoolFailed,
    SandboxFailed or WaitTimeout.
    """
    deadline = context.clock() + wanted.timeout
    collection = api.sandboxes(wanted.namespace)
    name = unique(wanted.pool)
    # The request's ID is the name's, so that whoever sees one can find the other.
    created = False
    try:
        document = yield from api.create(context, collection, name, name, wanted.spec(), deadline)
        created = True
        if document["status"].get("phase") != "Ready":
            document = yield from _wait(context, wanted, document, deadline)
    except BaseException as error:
        # A refused create made nothing. A server that is away, and one that this
        # process has no time left for, clean up by their own timeouts.
        refused = isinstance(error, APIError) and not created
        if not refused and not isinstance(error, (ServerUnavailable, GeneratorExit)):
            yield from _discard(context, collection, name)
        raise
    return Sandbox.model_validate(document)


def delete_sandbox(context: Context, sandbox: Sandbox, timeout: float) -> Op[bool]:
    """Deletes a sandbox. Returns whether it was still there."""
    metadata = sandbox.metadata
    return (
        yield from api.delete(
            context,
            api.sandboxes(metadata.namespace or ""),
            metadata.name or "",
            context.clock() + timeout,
            uid=metadata.uid or "",
        )
    )


def _discard(context: Context, collection: api.Collection, name: str) -> Op[None]:
    try:
        yield from api.delete(context, collection, name, context.clock() + CLEANUP_SECONDS)
    except ARLError:
        # The error that led here says more; the server's timeouts clean up.
        return


def _wait(context: Context, wanted: Wanted, document: Document, deadline: float) -> Op[Document]:
    """Returns the sandbox when it is Ready."""
    name = document["metadata"]["name"]
    watch = Watch(
        context,
        api.sandboxes(wanted.namespace),
        {"fieldSelector": f"metadata.name={name}"},
        document["metadata"]["resourceVersion"],
    )
    said = None
    try:
        while True:
            phase = document["status"].get("phase")
            if phase == "Ready":
                return document
            if phase == "Failed":
                raise _failed(wanted, document)
            # What keeps the sandbox waiting is looked into each time it changes.
            if document["status"].get("message", "") != said:
                said = document["status"].get("message", "")
                yield from _check_pool(context, wanted, deadline)
            change = yield from watch.next(deadline)
            document = _pick(change, document, wanted)
    except DeadlineReached:
        raise _late(wanted, document) from None
    finally:
        watch.close()


def _pick(change: Change, document: Document, wanted: Wanted) -> Document:
    name = document["metadata"]["name"]
    if name in change.gone or (change.complete and name not in change.objects):
        raise SandboxFailed(
            f'sandbox "{name}" of pool "{wanted.pool}" was deleted by somebody else while it waited for a pod; '
            "call create_sandbox() again",
            reason="Deleted",
            sandbox=Sandbox.model_validate(document),
        )
    return change.objects.get(name, document)


def _check_pool(context: Context, wanted: Wanted, deadline: float) -> Op[None]:
    """Raises if the pool is not there, or cannot start pods for a reason that does not pass."""
    try:
        pool = yield from api.get(context, api.pools(wanted.namespace), wanted.pool, deadline)
    except NotFoundError:
        available = yield from names(context, wanted.namespace, deadline)
        raise PoolNotFound(wanted.pool, wanted.namespace, available) from None
    failure = failure_of(pool)
    if failure is not None and failure.lasting:
        raise PoolFailed(
            f'pool "{wanted.pool}" cannot start pods: {failure.text}. Fix the pool, or use another one; '
            f"`kubectl describe warmpool {wanted.pool} --namespace {wanted.namespace}` says more",
            pool=WarmPool.model_validate(pool),
            reason=failure.reason,
        )


def _failed(wanted: Wanted, document: Document) -> ARLError:
    status = document["status"]
    if status.get("reason") == "AllocationTimeout":
        return _late(wanted, document)
    return SandboxFailed(
        f'sandbox "{document["metadata"]["name"]}" of pool "{wanted.pool}" failed: {status.get("reason")}: '
        f"{status.get('message')}. Call create_sandbox() again; "
        f"`kubectl describe warmpool {wanted.pool} --namespace {wanted.namespace}` shows how the pool is",
        reason=str(status.get("reason") or ""),
        sandbox=Sandbox.model_validate(document),
    )


def _late(wanted: Wanted, document: Document) -> WaitTimeout:
    status = document["status"]
    return WaitTimeout(
        f'no pod of pool "{wanted.pool}" came free within {wanted.timeout:g} s: '
        f"{status.get('message') or status.get('reason') or 'the server has not said why'}. Give the pool more "
        f"replicas (`kubectl scale warmpool {wanted.pool} --namespace {wanted.namespace} --replicas=N`) or the "
        "session a longer timeout"
    )
