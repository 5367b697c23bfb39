"""Long scripts, output that is no text or too much, and what a task can be given."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator

import pytest

from arl import AsyncSandboxSession, Client, SandboxSession, Task, TaskTimeout
from arl._session import shell
from arl.models import stderr_of, stdout_of
from tests.support.server import PATIENCE, Server

LONG = 200_000
TEXT = "grüße 'n' \"quotes\" $not \\n `not` \\\n" * (LONG // 34)
SCRIPTS = {
    "here-document": (f"wc -c <<'END'\n{TEXT}END\n", None, f"{len(TEXT.encode())}\n"),
    "parameters": (f": '{'x' * LONG}'\necho $# $0\n", None, "0 /bin/sh\n"),
    "standard input": (f"cat # {'x' * LONG}", "input\n", "input\n"),
    "without input": (f"cat; echo end # {'x' * LONG}", None, "end\n"),
    "nearly a megabyte": (f"# {'é' * 500_000}\necho end\n", None, "end\n"),
}
NEVER = "echo never\n" * 20_000
# Not UTF-8, and more than is kept.
WRITE = r"printf '\377\000\n'; seq 200000 >&2"


@pytest.fixture(scope="module")
def session(client: Client, pool: str) -> Iterator[SandboxSession]:
    with SandboxSession(pool, "tests", timeout=PATIENCE, client=client) as session:
        yield session


@pytest.mark.parametrize(("script", "stdin", "stdout"), SCRIPTS.values(), ids=SCRIPTS)
def test_long_script(session: SandboxSession, script: str, stdin: str | None, stdout: str) -> None:
    done = session.run(script, stdin=stdin)
    assert (done.exit_code, done.stdout, done.stderr) == (0, stdout, "")


def test_exit_code_of_a_long_script(session: SandboxSession) -> None:
    assert session.run(f"exit 7 # {'x' * LONG}").exit_code == 7
    assert session.run(f"set -e; false\n{NEVER}").stdout == ""


def test_long_callback_script(session: SandboxSession) -> None:
    steps = [{"name": "a", "type": "Command", "command": ["true"]}]
    session.execute_with_callback(steps, callback_script=f'echo "$ARL_TASK_STATE" > said # {"x" * LONG}')
    assert session.run("cat said").stdout == "Succeeded\n"


def test_pieces_of_a_script() -> None:
    """Each is short enough for an argument, and whole characters."""
    for script in ("short", "é" * 200_000, "x" + "😀" * 100_000):
        command = shell(script)
        pieces = command[4:] or command[2:]
        assert "".join(pieces) == script
        assert all(len(piece.encode()) < 128 << 10 for piece in pieces)


def test_output(session: SandboxSession) -> None:
    done = session.run(WRITE)
    assert (done.stdout, done.stdout_bytes) == ("�\0\n", b"\xff\0\n")
    assert (done.stdout_truncated, done.stdout_total) == (False, 3)
    assert done.stderr_truncated
    assert done.stderr_total == sum(len(str(n)) + 1 for n in range(1, 200_001))
    assert done.stderr_bytes == done.stderr.encode()
    assert len(done.stderr_bytes) < done.stderr_total
    assert stdout_of(done.task).data == b"\xff\0\n"
    plain = session.run("echo é")
    assert (plain.stdout_bytes, plain.stdout_total, plain.stdout_truncated) == ("é\n".encode(), 3, False)
    assert (plain.stderr_bytes, plain.stderr_total, plain.stderr_truncated) == (b"", 0, False)
    assert json.loads(json.dumps(done.task.to_dict()))["status"]["output"]["stdout"]["data"].strip() == "/wAK"


def test_output_of_a_server_that_does_not_describe_it() -> None:
    task = Task.model_validate({"metadata": {}, "spec": {"steps": []}, "status": {"stdout": "é\n"}})
    assert (stdout_of(task).data, stdout_of(task).total, stdout_of(task).truncated) == ("é\n".encode(), 3, False)
    assert stderr_of(task).data == b""


def test_grace_and_retention(session: SandboxSession) -> None:
    steps = [{"name": "a", "type": "Command", "command": ["true"]}]
    for task in (
        session.run("true", termination_grace=1.5, retention_policy="Retain").task,
        session.execute(steps, termination_grace=1.5, retention_policy="Retain"),
        session.execute_with_callback(steps, "true", termination_grace=1.5, retention_policy="Retain"),
    ):
        assert task.spec.termination_grace_period_seconds == 2
        assert task.spec.retention_policy == "Retain"


def test_step_that_is_stopped_has_its_grace(session: SandboxSession) -> None:
    with pytest.raises(TaskTimeout):
        session.run(
            "trap 'sleep 1; echo saved > kept; exit' TERM; echo; sleep 1000 & wait", timeout=1, termination_grace=60
        )
    assert session.run("cat kept").stdout == "saved\n"


def test_asyncio(server: Server, pool: str) -> None:
    async def scenario() -> None:
        async with AsyncSandboxSession(pool, "tests", timeout=PATIENCE, config=server.config) as session:
            script, stdin, stdout = SCRIPTS["here-document"]
            assert (await session.run(script, stdin=stdin)).stdout == stdout
            done = await session.run(WRITE, termination_grace=0, retention_policy="Delete")
            assert (done.stdout_bytes, done.stderr_truncated) == (b"\xff\0\n", True)
            assert done.task.spec.termination_grace_period_seconds == 0
            steps = [{"name": "a", "type": "Command", "command": ["true"]}]
            task = await session.execute_with_callback(steps, "true", termination_grace=3, retention_policy="Retain")
            assert (task.spec.termination_grace_period_seconds, task.spec.retention_policy) == (3, "Retain")

    asyncio.run(asyncio.wait_for(scenario(), 3 * PATIENCE))
