"""wait_for_warmpool_ready is not deceived by the pods of before a change."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from arl import AsyncClient, AsyncWarmPoolManager, Client, PoolFailed, WaitTimeout, WarmPoolManager
from arl._core.pool import _is_ready
from tests.support.server import PATIENCE
from tests.support.stub import Answer, Asked, Stub, event

NOW = "2026-01-01T00:00:00Z"


def condition(kind: str, status: str, generation: int = 2, reason: str = "R", message: str = "m") -> dict[str, Any]:
    return {
        "type": kind,
        "status": status,
        "observedGeneration": generation,
        "reason": reason,
        "message": message,
        "lastTransitionTime": NOW,
    }


def pool(*conditions: dict[str, Any], **status: Any) -> dict[str, Any]:
    """A pool of generation 2, whose old pods are idle."""
    return {
        "kind": "WarmPool",
        "metadata": {"name": "p", "generation": 2, "resourceVersion": "7"},
        "spec": {"replicas": 3, "template": {}},
        "status": {"readyReplicas": 3, "observedGeneration": 2, "conditions": list(conditions), **status},
    }


READY, FILLED, UPDATED = condition("Ready", "True"), condition("Filled", "True"), condition("Updated", "True")
STATES = {
    "filled and updated": (pool(READY, FILLED, UPDATED), True),
    "a claim since": (pool(READY, condition("Filled", "False"), UPDATED), False),
    "old pods": (pool(READY, FILLED, condition("Updated", "False")), False),
    "not observed": (pool(READY, condition("Filled", "True", 1), condition("Updated", "True", 1)), False),
    "half observed": (pool(READY, FILLED, condition("Updated", "True", 1)), False),
    "half written": (pool(READY, FILLED), False),
    "new object": (pool(), False),
}


@pytest.mark.parametrize(("document", "ready"), STATES.values(), ids=STATES)
def test_ready(document: dict[str, Any], ready: bool) -> None:
    assert _is_ready(document) is ready


OLD_PODS = pool(
    READY,
    FILLED,
    condition("Updated", "False", reason="PodsStarting", message="3 of 3 pods are old"),
)


@pytest.fixture
def stub() -> Iterator[Stub]:
    def answer(asked: Asked) -> Answer:
        if asked.watches:
            return Answer(lines=[event("MODIFIED", pool(READY, FILLED, UPDATED))])
        return Answer(body=OLD_PODS)

    stub = Stub(answer)
    yield stub
    stub.close()


def test_waits_for_the_new_pods(stub: Stub) -> None:
    with Client(stub.config) as client:
        got = WarmPoolManager(client=client).wait_for_warmpool_ready("p")
    assert [c.type for c in got.status.conditions or []] == ["Ready", "Filled", "Updated"]
    assert [asked.watches for asked in stub.asked] == [False, True]


def test_says_what_is_missing() -> None:
    stub = Stub(lambda asked: Answer(lines=[]) if asked.watches else Answer(body=OLD_PODS))
    try:
        with (
            Client(stub.config) as client,
            pytest.raises(WaitTimeout, match="PodsStarting: 3 of 3 pods are old"),
        ):
            WarmPoolManager(client=client).wait_for_warmpool_ready("p", timeout=0.5)
    finally:
        stub.close()


def test_change_to_an_image_that_does_not_exist(client: Client, namespace: str) -> None:
    """The idle pods of the old image do not count."""
    pools = WarmPoolManager(namespace, timeout=PATIENCE, client=client)
    pools.create_warmpool("p", "host", replicas=2)
    pools.wait_for_warmpool_ready("p")
    pools.create_warmpool("p", "oci-archive:/nowhere/image.tar", replicas=2)
    with pytest.raises(PoolFailed, match=r"ImagePullFailed.*/nowhere/image\.tar"):
        pools.wait_for_warmpool_ready("p")
    pools.create_warmpool("p", "host", replicas=1, workspace_path="/other")
    ready = pools.wait_for_warmpool_ready("p")
    assert ready.status.updated_replicas == ready.status.ready_replicas
    pools.delete_warmpool("p")


def test_asyncio_waits_the_same(stub: Stub) -> None:
    import asyncio

    async def scenario() -> None:
        async with AsyncClient(stub.config) as client:
            await AsyncWarmPoolManager(client=client).wait_for_warmpool_ready("p")

    asyncio.run(scenario())
    assert [asked.watches for asked in stub.asked] == [False, True]
