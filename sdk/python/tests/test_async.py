from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

import pytest
from pydantic import ValidationError

from arl import (
    AsyncClient,
    AsyncSandboxSession,
    AsyncWarmPoolManager,
    CallbackError,
    Client,
    PoolFailed,
    PoolNotFound,
    SessionError,
    Task,
    TaskFailed,
    WarmPoolManager,
)
from tests.conftest import Look
from tests.support.server import PATIENCE, Server

T = TypeVar("T")

ECHO = [{"name": "hello", "type": "Command", "command": ["echo", "Hello, World!"]}]


def run(scenario: Coroutine[Any, Any, T]) -> T:
    return asyncio.run(asyncio.wait_for(scenario, 3 * PATIENCE))


def test_same_surface(server: Server, pool: str, look: Look) -> None:
    seen: list[str | None] = []

    async def note(task: Task) -> None:
        await asyncio.sleep(0)
        seen.append(task.status.state)

    def bad(task: Task) -> None:
        raise RuntimeError("no luck")

    async def scenario() -> None:
        session = AsyncSandboxSession(pool, "tests", timeout=PATIENCE, config=server.config)
        with pytest.raises(SessionError, match="no sandbox yet"):
            await session.execute(ECHO)
        async with session:
            assert session.sandbox_name in look.sandboxes("tests")
            session.register_callback("on_task_complete", note)
            result = await session.execute(ECHO, trace_id="t")
            assert result["status"]["stdout"] == result.status.stdout == "Hello, World!\n"
            await session.write_file("a/b", "text", mode=0o600)
            done = await session.run("cat a/b; exit 3")
            assert (done.stdout, done.exit_code) == ("text", 3)
            with pytest.raises(TaskFailed, match="code 4"):
                await session.run("exit 4", check=True)
            await session.execute_with_callback(ECHO, callback_script='echo "$ARL_TASK_STATE" > said')
            assert (await session.run("cat said")).stdout == "Succeeded\n"
            with pytest.raises(ValidationError, match="the type 'Nope' is unknown"):
                await session.execute([{"name": "a", "type": "Nope"}])
            session.register_callback("on_task_success", bad)
            with pytest.raises(CallbackError, match="no luck"):
                await session.execute(ECHO)
            name = session.sandbox_name
        assert name not in look.sandboxes("tests")
        await session.delete_sandbox()
        with pytest.raises(SessionError, match="was deleted"):
            await session.run("true")

    run(scenario())
    assert seen == ["Succeeded", "Failed", "Failed", "Succeeded", "Succeeded", "Succeeded"]


def test_pools(server: Server, namespace: str) -> None:
    async def scenario() -> None:
        async with AsyncClient(server.config) as client:
            pools = AsyncWarmPoolManager(namespace, timeout=PATIENCE, client=client)
            await pools.create_warmpool("a", "host", replicas=1)
            assert (await pools.wait_for_warmpool_ready("a")).status.ready_replicas == 1
            assert [p["metadata"]["name"] for p in await pools.list_warmpools()] == ["a"]
            with pytest.raises(PoolNotFound, match="there are: a"):
                await pools.get_warmpool("b")
            await pools.create_warmpool("bad", "127.0.0.1:1/no/such:image")
            with pytest.raises(PoolFailed, match="ImagePullFailed"):
                await pools.wait_for_warmpool_ready("bad")
            assert await pools.delete_warmpool("a")
            assert not await pools.delete_warmpool("a")

    run(scenario())


def test_fifty_sessions_at_once(server: Server, client: Client, namespace: str, look: Look) -> None:
    manager = WarmPoolManager(namespace, timeout=3 * PATIENCE, client=client)
    manager.create_warmpool("fifty", "host", replicas=50)
    manager.wait_for_warmpool_ready("fifty")

    async def one(number: int) -> str:
        async with AsyncSandboxSession("fifty", namespace, timeout=PATIENCE, config=server.config) as session:
            task = await session.execute([{"name": "n", "type": "Command", "command": ["echo", str(number)]}])
            return task.status.stdout

    async def scenario() -> list[str]:
        return await asyncio.gather(*(one(number) for number in range(50)))

    assert run(scenario()) == [f"{number}\n" for number in range(50)]
    assert look.sandboxes(namespace) == []
    assert manager.delete_warmpool("fifty")


def test_cancelled_session_leaves_nothing(server: Server, pool: str, look: Look) -> None:
    async def work(started: asyncio.Event, names: list[str | None]) -> None:
        async with AsyncSandboxSession(pool, "tests", timeout=PATIENCE, config=server.config) as session:
            names.append(session.sandbox_name)
            started.set()
            await session.run("sleep 1000")

    async def scenario() -> list[str | None]:
        started, names = asyncio.Event(), list[str | None]()
        task = asyncio.ensure_future(work(started, names))
        await started.wait()
        while not task.done():
            # More than once: also while the sandbox is being deleted.
            task.cancel()
            await asyncio.sleep(0.001)
        assert task.cancelled()
        return names

    (name,) = run(scenario())
    assert name is not None
    assert name not in look.sandboxes("tests")


def test_one_session_after_another_in_two_loops(server: Server, pool: str) -> None:
    """What a client holds of one event loop is of no use in the next."""
    client = AsyncClient(server.config)

    async def scenario() -> str:
        async with AsyncSandboxSession(pool, "tests", timeout=PATIENCE, client=client) as session:
            return (await session.run("echo loop")).stdout

    assert [run(scenario()), run(scenario())] == ["loop\n", "loop\n"]
