"""Warm pools: create or change one, wait until it is ready, and say why it is not."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from arl._core import api
from arl._core.api import Document
from arl._core.context import Context
from arl._core.effects import Op
from arl._core.watch import DeadlineReached, Watch
from arl.errors import ConflictError, NotFoundError, PoolFailed, PoolNotFound, WaitTimeout
from arl.models import WarmPool

# The label of the pools that create_warmpool() made, and may change.
MANAGED_BY = "app.kubernetes.io/managed-by"
MANAGER = "arl-sandbox"
# Those of the first release have another one.
MANAGERS = frozenset({MANAGER, "arl-env"})

# Reasons for which a pool starts no pods until somebody changes something.
# Others, such as a start that took too long on a busy machine, may pass.
LASTING = frozenset({"ImagePullFailed", "InvalidTemplate"})
# The conditions that a pool has all of when it is as its spec wants it.
WAITED_FOR = ("Filled", "Updated")
# How often a pool is changed anew after others changed it in between.
CHANGES = 5

Progress = Callable[[int, int], None]
"""Is told how many pods are ready, and how many are wanted."""


@dataclass(frozen=True)
class Failure:
    """Why a pool cannot start pods."""

    reason: str
    text: str
    lasting: bool


def failure_of(pool: Document) -> Failure | None:
    """Is why the pool cannot start pods at present, or None if nothing is known."""
    generation = pool["metadata"].get("generation", 0)
    for condition in pool["status"].get("conditions") or []:
        bad = (condition["type"], condition["status"]) in (("ReplicaFailure", "True"), ("TemplateAccepted", "False"))
        # What is said of an older template may not hold any more.
        if bad and condition.get("observedGeneration", generation) >= generation:
            reason, message = condition.get("reason", ""), condition.get("message", "")
            return Failure(reason, f"{reason}: {message}", reason in LASTING)
    return None


def names(context: Context, namespace: str, deadline: float) -> Op[list[str]]:
    """Returns the names of the pools of a namespace."""
    items, _ = yield from api.list_all(context, api.pools(namespace), deadline)
    return sorted(item["metadata"]["name"] for item in items)


def create_pool(context: Context, namespace: str, name: str, spec: dict[str, Any], timeout: float) -> Op[WarmPool]:
    """Creates a pool, or gives the one of that name this spec if create_pool made it.

    Raises ConflictError if the pool was made by anything else.
    """
    deadline = context.clock() + timeout
    collection = api.pools(namespace)
    for left in reversed(range(CHANGES)):
        try:
            document = yield from api.create(
                context, collection, name, uuid.uuid4().hex, spec, deadline, labels={MANAGED_BY: MANAGER}
            )
            return WarmPool.model_validate(document)
        except ConflictError as error:
            conflict = error
        try:
            there = yield from api.get(context, collection, name, deadline)
            if (there["metadata"].get("labels") or {}).get(MANAGED_BY) not in MANAGERS:
                raise ConflictError(
                    f'there is a pool "{name}" in namespace "{namespace}" that was not made by create_warmpool(), '
                    f"so it is left as it is. Use it, choose another name, or delete it first: "
                    f'delete_warmpool("{name}")',
                    status=409,
                    reason="AlreadyExists",
                ) from conflict
            version = there["metadata"]["resourceVersion"]
            change = {"metadata": {"resourceVersion": version}, "spec": spec}
            document = yield from api.patch(context, collection, name, change, deadline)
            return WarmPool.model_validate(document)
        except NotFoundError:
            # It was deleted in between: create it.
            if not left:
                raise
        except ConflictError as error:
            if error.reason != "Conflict" or not left:
                raise
    raise AssertionError("the last round returns or raises")


def get_pool(context: Context, namespace: str, name: str, timeout: float) -> Op[WarmPool]:
    """Returns a pool, or raises PoolNotFound."""
    document = yield from _get(context, namespace, name, context.clock() + timeout)
    return WarmPool.model_validate(document)


def list_pools(context: Context, namespace: str, timeout: float) -> Op[list[WarmPool]]:
    """Returns the pools of a namespace."""
    items, _ = yield from api.list_all(context, api.pools(namespace), context.clock() + timeout)
    return [WarmPool.model_validate(item) for item in items]


def delete_pool(context: Context, namespace: str, name: str, timeout: float) -> Op[bool]:
    """Deletes a pool. Returns whether it was there."""
    return (yield from api.delete(context, api.pools(namespace), name, context.clock() + timeout))


def wait_ready(
    context: Context, namespace: str, name: str, timeout: float, progress: Progress | None = None
) -> Op[WarmPool]:
    """Returns the pool when as many pods as it wants are idle, all of its present template.

    Raises PoolFailed as soon as the pool says that it cannot start pods for a
    reason that does not pass, and WaitTimeout at the end of the timeout.
    """
    deadline = context.clock() + timeout
    document = yield from _get(context, namespace, name, deadline)
    watch = Watch(
        context,
        api.pools(namespace),
        {"fieldSelector": f"metadata.name={name}"},
        document["metadata"]["resourceVersion"],
    )
    try:
        while True:
            wanted, ready = document["spec"].get("replicas", 1), document["status"].get("readyReplicas", 0)
            if progress is not None:
                progress(ready, wanted)
            if _is_ready(document):
                return WarmPool.model_validate(document)
            failure = failure_of(document)
            if failure is not None and failure.lasting:
                raise PoolFailed(
                    f'pool "{name}" cannot start pods: {failure.text}. Mend that, then call create_warmpool() again '
                    "with the same name",
                    pool=WarmPool.model_validate(document),
                    reason=failure.reason,
                )
            change = yield from watch.next(deadline)
            if name in change.gone or (change.complete and name not in change.objects):
                available = yield from names(context, namespace, deadline)
                raise PoolNotFound(name, namespace, available)
            document = change.objects.get(name, document)
    except DeadlineReached:
        raise _late(document, namespace, timeout) from None
    finally:
        watch.close()


def _get(context: Context, namespace: str, name: str, deadline: float) -> Op[Document]:
    try:
        return (yield from api.get(context, api.pools(namespace), name, deadline))
    except NotFoundError:
        available = yield from names(context, namespace, deadline)
        raise PoolNotFound(name, namespace, available) from None


def _is_ready(document: Document) -> bool:
    """Returns whether all pods are there that are wanted, and all of the present template."""
    states = [_condition(document, kind) for kind in WAITED_FOR]
    return all(state.get("status") == "True" and _is_current(document, state) for state in states)


def _condition(document: Document, kind: str) -> Document:
    conditions = document["status"].get("conditions") or []
    return next((condition for condition in conditions if condition["type"] == kind), {})


def _is_current(document: Document, condition: Document) -> bool:
    """Returns whether a condition was written for the pool's present spec."""
    generation = document["metadata"].get("generation", 0)
    return bool(condition.get("observedGeneration", 0) >= generation)


def _missing(document: Document) -> str:
    """Returns what a pool still waits for."""
    for kind in WAITED_FOR:
        state = _condition(document, kind)
        if state.get("status") == "False" and _is_current(document, state):
            return f"{state.get('reason')}: {state.get('message')}"
    return "its pods are still starting"


def _late(document: Document, namespace: str, timeout: float) -> WaitTimeout:
    name, status = document["metadata"]["name"], document["status"]
    failure = failure_of(document)
    why = failure.text if failure else _missing(document)
    return WaitTimeout(
        f'pool "{name}" has {status.get("readyReplicas", 0)} of {document["spec"].get("replicas", 1)} pods ready '
        f"after {timeout:g} s: {why}. Wait longer (timeout=...), or see "
        f"`kubectl describe warmpool {name} --namespace {namespace}`"
    )
