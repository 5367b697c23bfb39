from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import ValidationError

from arl import (
    CallbackError,
    Client,
    CommandStep,
    FilePatchStep,
    SandboxFailed,
    SandboxSession,
    SessionError,
    Task,
    TaskFailed,
    TaskTimeout,
    WaitTimeout,
    WarmPoolManager,
)
from arl._core import api
from tests.conftest import Look
from tests.support.server import PATIENCE, eventually

ECHO = [{"name": "hello", "type": "Command", "command": ["echo", "Hello, World!"]}]
FALSE = [{"name": "no", "type": "Command", "command": ["sh", "-c", "echo out; echo err >&2; exit 7"]}]


def session_of(client: Client, pool: str, **arguments: object) -> SandboxSession:
    return SandboxSession(pool, "tests", timeout=PATIENCE, client=client, **arguments)  # type: ignore[arg-type]


def test_result_is_a_mapping_and_a_model(client: Client, pool: str, look: Look) -> None:
    with session_of(client, pool) as session:
        assert session.sandbox_name in look.sandboxes("tests")
        result = session.execute(ECHO, trace_id="trace-1")
        assert result["status"]["stdout"] == result.status.stdout == "Hello, World!\n"
        assert result["status"].get("state") == "Succeeded"
        assert result["spec"]["traceID"] == result.spec.trace_id == "trace-1"
        assert result["status"]["steps"][0]["state"] == "Succeeded"
        name = session.sandbox_name
    assert name not in look.sandboxes("tests")


def test_output_that_is_not_there_is_empty(client: Client, pool: str) -> None:
    with session_of(client, pool) as session:
        result = session.execute([{"name": "quiet", "type": "Command", "command": ["true"]}])
        assert result["status"]["stdout"] == "" == result.status.stderr


def test_failed_step_is_a_result(client: Client, pool: str) -> None:
    with session_of(client, pool) as session:
        result = session.execute(FALSE)
        assert (result.status.state, result.status.exit_code) == ("Failed", 7)
        assert (result.status.stdout, result.status.stderr) == ("out\n", "err\n")


def test_tasks_share_the_sandbox(client: Client, pool: str) -> None:
    with session_of(client, pool) as session:
        session.execute([FilePatchStep(name="write", path="a/b.txt", content="one\n")])
        again = session.execute(
            [
                FilePatchStep(
                    name="patch", path="a/b.txt", patch="--- a/b.txt\n+++ b/b.txt\n@@ -1 +1,2 @@\n one\n+two\n"
                ),
                CommandStep(name="read", command=["cat", "a/b.txt"]),
            ]
        )
        assert again.status.stdout == "one\ntwo\n"


def test_run(client: Client, pool: str) -> None:
    with session_of(client, pool, env={"WHO": "all"}) as session:
        done = session.run('echo "$WHO $WHAT $PWD"; cat; exit 3', env={"WHAT": "x"}, work_dir="/tmp", stdin="in")
        assert (done.stdout, done.exit_code, done.ok) == ("all x /tmp\nin", 3, False)
        assert session.run(["echo", "$WHO"]).stdout == "$WHO\n"
        assert session.run("exit 0", check=True).ok
        with pytest.raises(TaskFailed, match=r"exited with code 5: why") as caught:
            session.run("echo why; exit 5", check=True)
        assert caught.value.task.status.exit_code == 5
        assert session.run(["no-such-program"]).exit_code == 127
        with pytest.raises(ValueError, match="command is empty"):
            session.run("")


def test_write_file(client: Client, pool: str) -> None:
    with session_of(client, pool) as session:
        session.write_file("deep/er/text", "grüße\n", mode=0o755)
        session.write_file("raw", bytes(range(256)), mode=0o600)
        assert session.run("cat deep/er/text; stat -c %a deep/er/text raw").stdout == "grüße\n755\n600\n"
        assert session.run("od -An -v -tu1 raw | tr -s ' \\n' '  '").stdout.split() == [str(n) for n in range(256)]
        with pytest.raises(TaskFailed, match="could not be written"):
            session.write_file("/proc/nowhere/x", "x")
        with pytest.raises(ValueError, match="is the most"):
            session.write_file("big", "x" * (1 << 20) + "x")


def test_before_create_and_after_delete(client: Client, pool: str, look: Look) -> None:
    session = session_of(client, pool)
    with pytest.raises(SessionError, match="no sandbox yet"):
        session.execute(ECHO)
    session.delete_sandbox()
    session.create_sandbox()
    assert session.create_sandbox() is session.sandbox
    assert session.execute(ECHO).status.state == "Succeeded"
    name = session.sandbox_name
    session.delete_sandbox()
    session.delete_sandbox()
    assert name not in look.sandboxes("tests")
    with pytest.raises(SessionError, match=r"was deleted\. Call create_sandbox\(\)"):
        session.run("true")
    with session:
        assert session.run("echo again").stdout == "again\n"


def test_bad_step_sends_nothing(client: Client, pool: str, look: Look) -> None:
    with session_of(client, pool) as session:
        before = look.tasks("tests")
        with pytest.raises(ValidationError, match=r'step 1 \("x"\).*the field command is missing'):
            session.execute([{"name": "x", "type": "Command"}])
        assert look.tasks("tests") == before


def test_callbacks(client: Client, pool: str) -> None:
    seen: list[tuple[str, str | None]] = []

    def note(event: str, task: Task) -> None:
        seen.append((event, task["status"]["state"]))

    def on_success(task: Task) -> None:
        note("success", task)

    with session_of(client, pool) as session:
        session.register_callback("on_task_complete", lambda task: note("complete", task))
        session.register_callback("on_task_success", on_success)
        session.register_callback("on_task_failure", lambda task: note("failure", task))
        session.execute(ECHO)
        session.execute(FALSE)
        assert seen == [
            ("complete", "Succeeded"),
            ("success", "Succeeded"),
            ("complete", "Failed"),
            ("failure", "Failed"),
        ]
        assert session.unregister_callback("on_task_success", on_success)
        assert not session.unregister_callback("on_task_success", on_success)
        seen.clear()
        session.execute(ECHO)
        assert seen == [("complete", "Succeeded")]
        with pytest.raises(ValueError, match="there is no event 'on_task'; there are on_task_complete"):
            session.register_callback("on_task", on_success)


def test_callback_that_raises(client: Client, pool: str, look: Look) -> None:
    seen: list[str] = []

    def bad(task: Task) -> None:
        raise RuntimeError("no luck")

    session = session_of(client, pool)
    with (
        pytest.raises(CallbackError, match=r"bad for on_task_complete raised RuntimeError: no luck") as caught,
        session,
    ):
        name = session.sandbox_name
        session.register_callback("on_task_complete", bad)
        session.register_callback("on_task_complete", lambda task: seen.append("still called"))
        session.execute(ECHO)
    assert isinstance(caught.value.__cause__, RuntimeError)
    assert caught.value.task.status.stdout == "Hello, World!\n"
    assert seen == ["still called"]
    assert name not in look.sandboxes("tests")


def test_callback_script(client: Client, pool: str) -> None:
    script = 'echo "$ARL_TASK_STATE $ARL_TASK_EXIT_CODE" >> said'
    with session_of(client, pool) as session:
        assert session.execute_with_callback(ECHO, callback_script=script).status.stdout == "Hello, World!\n"
        assert session.execute_with_callback(FALSE, callback_script=script).status.exit_code == 7
        assert session.execute_with_callback(ECHO).status.state == "Succeeded"
        assert session.run("cat said").stdout == "Succeeded 0\nFailed 7\n"
        with pytest.raises(CallbackError, match=r"callback script failed.*no way"):
            session.execute_with_callback(ECHO, callback_script="echo no way >&2; exit 1")


def test_task_timeout(client: Client, pool: str) -> None:
    with session_of(client, pool) as session:
        with pytest.raises(TaskTimeout, match="ran out of time") as caught:
            session.run("echo started; sleep 1000", timeout=0.5)
        assert caught.value.task is not None
        assert caught.value.task.status.reason == "Timeout"
        assert session.run("echo next").stdout == "next\n"


def test_sandbox_that_is_gone(client: Client, pool: str, look: Look) -> None:
    with session_of(client, pool, idle_timeout=1) as session:
        eventually(lambda: session.sandbox_name not in look.sandboxes("tests"), "the idle sandbox to be deleted")
        with pytest.raises(SandboxFailed, match=r"deletes it after 1 s without a task\. Call create_sandbox") as caught:
            session.run("true")
        assert caught.value.reason == "SandboxNotFound"


def test_sandbox_that_somebody_else_deleted(client: Client, pool: str) -> None:
    """Idleness is not said to be the cause of what was not idle for so long."""
    for used in (False, True):
        with session_of(client, pool) as session:
            if used:
                session.run("true")
            context = client.context
            collection, name = api.sandboxes("tests"), session.sandbox_name
            assert name is not None
            assert client.run(api.delete(context, collection, name, context.clock() + PATIENCE))
            with pytest.raises(SandboxFailed, match=r"was deleted by somebody else.*Call create_sandbox") as caught:
                session.run("true")
            assert "idle" not in str(caught.value)
            assert caught.value.reason == "SandboxNotFound"


def test_keep_alive_means_what_the_api_means(client: Client, pool: str) -> None:
    """Idleness does not end the sandbox, unless there is a timeout of its own."""
    for idle_timeout in (None, 1000):
        with session_of(client, pool, keep_alive=True, idle_timeout=idle_timeout) as session:
            assert session.sandbox is not None
            assert session.sandbox.spec.keep_alive
            assert session.sandbox.spec.idle_timeout_seconds == idle_timeout


def test_no_pod_in_time(client: Client, namespace: str, look: Look) -> None:
    WarmPoolManager(namespace, client=client).create_warmpool("full", "host", replicas=1)
    context = client.context
    client.run(api.patch(context, api.pools(namespace), "full", {"spec": {"maxPods": 1}}, context.clock() + 60))
    with SandboxSession("full", namespace, timeout=60, client=client) as holder:
        session = SandboxSession("full", namespace, timeout=3, client=client)
        with pytest.raises(WaitTimeout, match=r"spec\.maxPods"):
            session.create_sandbox()
        assert look.sandboxes(namespace) == [holder.sandbox_name]


def test_exception_and_interrupt_leave_nothing(client: Client, pool: str, look: Look) -> None:
    for error in (RuntimeError("mine"), KeyboardInterrupt()):
        session = session_of(client, pool)
        with pytest.raises(type(error)), session:
            name = session.sandbox_name
            raise error
        assert name not in look.sandboxes("tests")


@pytest.fixture
def interruptible() -> Iterator[None]:
    """Has SIGINT raise KeyboardInterrupt, also where the tests run in a shell's background, which ignores it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("interruptible")
def test_interrupt_during_a_task(client: Client, pool: str, look: Look) -> None:
    interrupted = session_of(client, pool)
    with interrupted:
        before = look.tasks("tests")

        def interrupt() -> None:
            eventually(lambda: look.tasks("tests") != before, "the task to be there")
            os.kill(os.getpid(), signal.SIGINT)

        thread = threading.Thread(target=interrupt)
        thread.start()
        with pytest.raises(KeyboardInterrupt):
            interrupted.run("sleep 100000", timeout=86400)
        thread.join()
        # The sleeping task was stopped: the next one does not wait for it.
        assert interrupted.run("echo next").stdout == "next\n"


PROGRAM = """
import os, sys
from arl import SandboxSession
session = SandboxSession("host", "tests", idle_timeout=IDLE)
session.create_sandbox()
print(session.sandbox_name, flush=True)
if os.fork() == 0:
    sys.exit(session.sandbox is None)  # the child leaves the parent's sandbox alone
assert os.waitstatus_to_exitcode(os.wait()[1]) == 0
print(session.run("echo alive").stdout, end="", flush=True)
END
"""


@pytest.mark.parametrize("end", ["sys.exit(0)", "raise RuntimeError", "os._exit(0)", "os.kill(os.getpid(), 9)"])
def test_a_program_that_ends_leaves_nothing(kubeconfig: str, pool: str, look: Look, tmp_path: Path, end: str) -> None:
    program = tmp_path / "program.py"
    # Where the program can delete the sandbox itself, the server would be too late.
    idle = "2" if end.startswith("os.") else "3600"
    program.write_text(PROGRAM.replace("END", end).replace("IDLE", idle))
    done = subprocess.run([sys.executable, program], capture_output=True, text=True, timeout=PATIENCE, check=False)
    name, *rest = done.stdout.splitlines()
    assert re.fullmatch(r"host-[0-9a-f]{20}", name), done.stderr
    assert rest == ["alive"], done.stderr
    if not end.startswith("os."):
        assert name not in look.sandboxes("tests"), "the program deletes it as it ends"
    eventually(lambda: name not in look.sandboxes("tests"), "the server to delete the sandbox")


def test_arguments_are_checked() -> None:
    for arguments in ({"pool_ref": ""}, {"pool_ref": "p", "timeout": 0}, {"pool_ref": "p", "idle_timeout": 0}):
        with pytest.raises(ValueError, match=r"pool_ref|timeout"):
            SandboxSession(**arguments)
    assert os.environ.get("KUBECONFIG") is None
    assert SandboxSession("p", keep_alive=True).idle_timeout is None
    assert SandboxSession("p").idle_timeout == 300
