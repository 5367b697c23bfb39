"""kill -9 of the server at the worst moments: nothing is lost, and nothing runs twice."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from arl import (
    AsyncSandboxSession,
    Client,
    Config,
    SandboxSession,
    ServerUnavailable,
    Task,
    WarmPoolManager,
)
from arl._core import api
from tests.support.server import PATIENCE, Server, eventually

# Waits for a file, so that the test and not the clock decides when it ends. It
# counts how often it was started.
PATIENT = "echo started >> count; echo begun; while [ ! -e go ]; do sleep 0.05; done; echo done; cat count"


def make_pool(server: Server, replicas: int = 2) -> None:
    with Client(server.config) as client:
        manager = WarmPoolManager(timeout=PATIENCE, client=client)
        manager.create_warmpool("host", "host", replicas=replicas)
        manager.wait_for_warmpool_ready("host")


def task_states(server: Server) -> list[str | None]:
    with Client(server.config) as client:
        items, _ = client.run(api.list_all(client.context, api.tasks("default"), client.context.clock() + PATIENCE))
    return [item["status"].get("state") for item in items]


def release(server: Server, sandbox: str) -> None:
    """Creates the file that PATIENT waits for, by a task that may run beside it."""
    with Client(server.config) as client:
        context = client.context
        steps = [{"name": "go", "type": "Command", "command": ["touch", "go"]}]
        client.run(
            api.create(
                context,
                api.tasks("default"),
                "go",
                "go",
                {"sandboxRef": sandbox, "steps": steps},
                context.clock() + PATIENCE,
            )
        )


def widen(client: Client, session: SandboxSession | AsyncSandboxSession) -> None:
    """Lets two tasks run in a session's sandbox at the same time."""
    assert session.sandbox_name is not None
    context = client.context
    client.run(
        api.patch(
            context,
            api.sandboxes("default"),
            session.sandbox_name,
            {"spec": {"maxConcurrentTasks": 2}},
            context.clock() + PATIENCE,
        )
    )


def test_killed_during_execute(own_server: Server) -> None:
    make_pool(own_server)
    with (
        Client(own_server.config) as client,
        SandboxSession("host", timeout=PATIENCE, client=client) as session,
        ThreadPoolExecutor() as threads,
    ):
        widen(client, session)
        running = threads.submit(session.run, PATIENT)
        eventually(lambda: "Running" in task_states(own_server), "the task to run")
        own_server.kill()
        own_server.start()
        assert session.sandbox_name is not None
        release(own_server, session.sandbox_name)
        assert running.result(PATIENCE).stdout == "begun\ndone\nstarted\n"


def test_killed_during_execute_of_asyncio(own_server: Server) -> None:
    make_pool(own_server)

    async def scenario() -> str:
        async with AsyncSandboxSession("host", timeout=PATIENCE, config=own_server.config) as session:
            with Client(own_server.config) as client:
                widen(client, session)
            running = asyncio.ensure_future(session.run(PATIENT))
            await asyncio.to_thread(eventually, lambda: "Running" in task_states(own_server), "the task to run")
            own_server.kill()
            await asyncio.to_thread(own_server.start)
            assert session.sandbox_name is not None
            await asyncio.to_thread(release, own_server, session.sandbox_name)
            return (await running).stdout

    assert asyncio.run(scenario()) == "begun\ndone\nstarted\n"


def test_away_when_a_task_is_to_be_created(own_server: Server) -> None:
    make_pool(own_server)
    with (
        Client(own_server.config) as client,
        SandboxSession("host", timeout=PATIENCE, client=client) as session,
        ThreadPoolExecutor() as threads,
    ):
        own_server.kill()
        running = threads.submit(session.run, "echo late")
        own_server.start()
        assert running.result(PATIENCE).stdout == "late\n"


def test_away_while_a_pool_is_waited_for(own_server: Server) -> None:
    with Client(own_server.config) as client, ThreadPoolExecutor() as threads:
        manager = WarmPoolManager(timeout=PATIENCE, client=client)
        manager.create_warmpool("p", "host", replicas=2)
        waiting = threads.submit(manager.wait_for_warmpool_ready, "p")
        own_server.kill()
        own_server.start()
        assert waiting.result(PATIENCE).status.ready_replicas == 2


def test_away_while_a_sandbox_is_waited_for(own_server: Server) -> None:
    with Client(own_server.config) as client, ThreadPoolExecutor() as threads:
        manager = WarmPoolManager(timeout=PATIENCE, client=client)
        manager.create_warmpool("p", "oci-archive:/nowhere", replicas=0)
        session = SandboxSession("p", timeout=PATIENCE, client=client)
        waiting = threads.submit(session.create_sandbox)
        collection, context = api.sandboxes("default"), client.context
        eventually(
            lambda: client.run(api.list_all(context, collection, context.clock() + PATIENCE))[0],
            "the sandbox to be there",
        )
        own_server.kill()
        own_server.start()
        manager.create_warmpool("p", "host", replicas=1)
        assert waiting.result(PATIENCE).status.phase == "Ready"
        session.delete_sandbox()


def test_away_for_too_long(own_server: Server) -> None:
    make_pool(own_server, replicas=1)
    config = Config(kubeconfig=str(own_server.kubeconfig), retry_seconds=0.5)
    ended: list[Task] = []
    with Client(config) as client:
        session = SandboxSession("host", timeout=PATIENCE, client=client)
        session.register_callback("on_task_complete", ended.append)
        session.create_sandbox()
        with ThreadPoolExecutor() as threads:
            running = threads.submit(session.run, "sleep 1000")
            eventually(lambda: "Running" in task_states(own_server), "the task to run")
            own_server.kill()
            with pytest.raises(ServerUnavailable, match=r"no answer from https.*kubectl get task host-"):
                running.result(PATIENCE)
        with pytest.raises(ServerUnavailable, match="Check that the server runs"):
            session.delete_sandbox()
        own_server.start()
        session.delete_sandbox()
        assert ended == []
    assert threading.active_count() < 50
