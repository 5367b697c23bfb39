"""Several calls of one session at the same time."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor

import pytest

from arl import AsyncSandboxSession, Client, SandboxSession, SessionError
from tests.conftest import Look
from tests.support.server import PATIENCE, Server, eventually

# Each waits for the other: neither ends unless both run.
MEET = "touch {0}; while [ ! -e {1} ]; do sleep 0.02; done; echo {0}"
# Says so if another one runs.
ALONE = "mkdir alone || echo not alone; sleep 0.05; rmdir alone"


def session_of(client: Client, pool: str, **arguments: int) -> SandboxSession:
    return SandboxSession(pool, "tests", timeout=PATIENCE, client=client, **arguments)  # type: ignore[arg-type]


def test_threads(client: Client, pool: str) -> None:
    with session_of(client, pool) as session, ThreadPoolExecutor(16) as threads:
        results = list(threads.map(lambda n: session.run(MEET.format(n, (n + 1) % 16)).stdout, range(16)))
        assert results == [f"{n}\n" for n in range(16)]


def test_order_within_a_thread(client: Client, pool: str) -> None:
    def append(thread: int) -> None:
        for number in range(5):
            session.run(f"echo {number} >> {thread}", check=True)

    with session_of(client, pool) as session, ThreadPoolExecutor(3) as threads:
        list(threads.map(append, range(3)))
        assert session.run("cat 0 1 2").stdout.split() == ["0", "1", "2", "3", "4"] * 3


def test_at_most_so_many(client: Client, pool: str) -> None:
    with session_of(client, pool, max_concurrent_tasks=1) as session, ThreadPoolExecutor(4) as threads:
        assert {done.stdout for done in threads.map(lambda _: session.run(ALONE), range(8))} == {""}


def test_asyncio(server: Server, pool: str) -> None:
    async def scenario() -> None:
        async with AsyncSandboxSession(pool, "tests", timeout=PATIENCE, config=server.config) as session:
            results = await asyncio.gather(*(session.run(MEET.format(n, (n + 1) % 16)) for n in range(16)))
            assert [done.stdout for done in results] == [f"{n}\n" for n in range(16)]
        alone = AsyncSandboxSession(pool, "tests", timeout=PATIENCE, max_concurrent_tasks=1, config=server.config)
        async with alone as session:
            results = await asyncio.gather(*(session.run(ALONE) for _ in range(8)))
            assert {done.stdout for done in results} == {""}

    asyncio.run(asyncio.wait_for(scenario(), 3 * PATIENCE))


def test_deleted_while_a_call_runs(client: Client, pool: str, look: Look) -> None:
    with ThreadPoolExecutor(1) as threads:
        session = session_of(client, pool)
        session.create_sandbox()
        before = look.tasks("tests")
        running = threads.submit(session.run, "sleep 100000")
        eventually(lambda: look.tasks("tests") != before, "the task to be there")
        session.delete_sandbox()
        with pytest.raises(SessionError, match="deleted by this session while a task ran"):
            running.result(PATIENCE)


def test_deleted_while_a_call_runs_asyncio(server: Server, pool: str, look: Look) -> None:
    async def scenario() -> None:
        session = AsyncSandboxSession(pool, "tests", timeout=PATIENCE, config=server.config)
        await session.create_sandbox()
        before = look.tasks("tests")
        running = asyncio.ensure_future(session.run("sleep 100000"))
        await asyncio.to_thread(eventually, lambda: look.tasks("tests") != before, "the task to be there")
        await session.delete_sandbox()
        with pytest.raises(SessionError, match="deleted by this session while a task ran"):
            await running

    asyncio.run(asyncio.wait_for(scenario(), 3 * PATIENCE))


def test_number_is_checked() -> None:
    for number in (0, 65):
        with pytest.raises(ValueError, match="max_concurrent_tasks must be 1 to 64"):
            SandboxSession("p", max_concurrent_tasks=number)
    assert SandboxSession("p").max_concurrent_tasks == 16
