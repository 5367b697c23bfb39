"""A forked process leaves the sandboxes, the connections and the locks of its parent alone."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import Look
from tests.support.server import PATIENCE

# How a child ends, within the parent's with statement.
CHILDREN = {
    "returns": "return",
    "sys.exit": "sys.exit(0)",
    "os._exit": "os._exit(0)",
    "raises": "raise RuntimeError('in the child')",
    "deletes": "session.delete_sandbox(); session.delete_sandbox()",
    "uses": "assert session.run('echo child').stdout == 'child\\n'",
    "uses and closes": "assert session.run('echo child').stdout == 'child\\n'; session._connect().close()",
    "makes its own": "session.delete_sandbox(); session.create_sandbox(); session.run('true'); print_name(session)",
}

BLOCKING = """
import os, sys
from arl import SandboxSession

def print_name(session):
    print("child", session.sandbox_name, flush=True)

def child():
    try:
        os.setpgid(0, 0)
        with session:
            CHILD
    finally:
        session.delete_sandbox()

session = SandboxSession("host", "tests", timeout=60)
with session:
    print("parent", session.sandbox_name, flush=True)
    session.run("true")
    pid = os.fork()
    if pid == 0:
        child()
        sys.exit(0)
    os.waitpid(pid, 0)
    print(session.run("echo alive").stdout, end="", flush=True)
"""

ASYNC = """
import asyncio, os, sys
from arl import AsyncSandboxSession

async def main():
    async with AsyncSandboxSession("host", "tests", timeout=60) as session:
        print("parent", session.sandbox_name, flush=True)
        await session.run("true")
        pid = os.fork()
        if pid == 0:
            CHILD
        os.waitpid(pid, 0)
        for _ in range(3):
            answer = await session.run("echo alive")
        print(answer.stdout, end="", flush=True)

asyncio.run(main())
"""

# A loop of the child's own, in a thread, as the parent's is still running in this one.
OWN_LOOP = """
            import threading
            def child():
                async def inside():
                    assert (await session.run("echo child")).stdout == "child\\n"
                    await session.delete_sandbox()
                asyncio.run(inside())
            thread = threading.Thread(target=child)
            thread.start()
            thread.join()
            os._exit(0)
"""

# A thread of the parent holds everything there is to hold at the moment of the fork.
LOCKED = """
import os, threading, time
from arl import SandboxSession, client

with SandboxSession("host", "tests", timeout=60, max_concurrent_tasks=1) as session:
    print("parent", session.sandbox_name, flush=True)
    session.run("true")
    held, release = threading.Event(), threading.Event()

    def hold():
        transport, followers = session._connect()._transport, session._connect().followers
        with session._lock, session._slots, transport._lock, followers._lock, client._lock:
            held.set()
            release.wait()

    thread = threading.Thread(target=hold)
    thread.start()
    held.wait()
    pid = os.fork()
    if pid == 0:
        os._exit(session.run("echo child").stdout != "child\\n" or client.shared_client(None) is not session._connect())
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    release.set()
    thread.join()
    assert code == 0, code
    print(session.run("echo alive").stdout, end="", flush=True)
"""

MULTIPROCESSING = """
import multiprocessing
from arl import SandboxSession

def work(number):
    return session.run(f"echo {number}").stdout

with SandboxSession("host", "tests", timeout=60) as session:
    print("parent", session.sandbox_name, flush=True)
    with multiprocessing.get_context("fork").Pool(2) as workers:
        assert workers.map(work, range(6)) == [f"{n}\\n" for n in range(6)]
    process = multiprocessing.get_context("fork").Process(target=session.delete_sandbox)
    process.start()
    process.join()
    assert process.exitcode == 0
    print(session.run("echo alive").stdout, end="", flush=True)
"""


def check(program: str, folder: Path, look: Look) -> None:
    """Runs a program whose parent must find its sandbox alive after its children have ended."""
    path = folder / "program.py"
    path.write_text(program)
    done = subprocess.run([sys.executable, path], capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert done.returncode == 0, done.stderr
    names = re.findall(r"(?:parent|child) (host-[0-9a-f]{20})\n", done.stdout)
    assert done.stdout.endswith("alive\n"), done.stdout + done.stderr
    assert len(names) == len(set(names)) >= 1
    assert not set(names) & set(look.sandboxes("tests")), "each process deletes what it made"


@pytest.mark.usefixtures("kubeconfig", "pool")
@pytest.mark.parametrize("child", CHILDREN.values(), ids=CHILDREN)
def test_child(child: str, look: Look, tmp_path: Path) -> None:
    check(BLOCKING.replace("CHILD", child), tmp_path, look)


@pytest.mark.usefixtures("kubeconfig", "pool")
@pytest.mark.parametrize(
    "child", ["return", "sys.exit(0)", "os._exit(0)", OWN_LOOP], ids=lambda text: text.strip()[:12]
)
def test_child_of_an_event_loop(child: str, look: Look, tmp_path: Path) -> None:
    check(ASYNC.replace("            CHILD", child if child is OWN_LOOP else f"            {child}"), tmp_path, look)


@pytest.mark.usefixtures("kubeconfig", "pool")
def test_locks_that_a_thread_held(look: Look, tmp_path: Path) -> None:
    check(LOCKED, tmp_path, look)


@pytest.mark.usefixtures("kubeconfig", "pool")
def test_multiprocessing(look: Look, tmp_path: Path) -> None:
    check(MULTIPROCESSING, tmp_path, look)
