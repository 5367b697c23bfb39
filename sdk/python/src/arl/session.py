"""A sandbox for a with statement, blocking. arl.aio has the same for asyncio."""

from __future__ import annotations

import atexit
import logging
import os
import threading
import weakref
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import Any

from typing_extensions import Self

from arl._core import sandbox as sandboxes
from arl._core.task import TaskRunner, outcome
from arl._session import (
    SessionBase,
    callback_failed,
    command_result,
    command_step,
    file_steps,
    file_written,
    script_failed,
    script_step,
)
from arl.client import Client, shared_client
from arl.config import Config
from arl.errors import ARLError
from arl.models import CommandResult, Sandbox, Task
from arl.steps import AnyStep
from arl.steps import check as check_steps

_log = logging.getLogger("arl")

DELETE_SECONDS = 30.0
# A program that ends should not hang on a server that is away.
EXIT_SECONDS = 5.0

Callback = Callable[[Task], object]


class SandboxSession(SessionBase[Callback]):
    """A sandbox of a warm pool, for as long as this session has use for it.

        with SandboxSession(pool_ref="python") as session:
            print(session.run("python --version").stdout)

    At the end of the with statement, in delete_sandbox(), and when the program
    ends, the sandbox is deleted. If the process is killed, the server deletes
    it `idle_timeout` seconds after its last task.

    Args:
        pool_ref: the name of the pool.
        namespace: the pool's namespace.
        keep_alive: for long pauses between tasks: the default of idle_timeout is
            then an hour rather than five minutes.
        timeout: how long to wait for a sandbox, and how long a task may run, in
            seconds.
        idle_timeout: after how many seconds without a task the server deletes
            the sandbox.
        env: environment variables for all steps.
        config: which server, as whom. Default: $KUBECONFIG, ~/.kube/config,
            in-cluster.
        client: a client to use in place of the shared one; config is then
            passed over.

    Several threads may use a session; their tasks run one after another.
    """

    def __init__(
        self,
        pool_ref: str,
        namespace: str = "default",
        keep_alive: bool = False,
        timeout: float = 300,
        *,
        idle_timeout: float | None = None,
        env: Mapping[str, str] | None = None,
        config: Config | None = None,
        client: Client | None = None,
    ) -> None:
        super().__init__(pool_ref, namespace, keep_alive, timeout, idle_timeout, env)
        self._config = config
        self._client = client
        self._runner: TaskRunner | None = None
        self._lock = threading.RLock()
        self._pid = os.getpid()

    def create_sandbox(self) -> Sandbox:
        """Gets a sandbox, and returns it when tasks can run in it.

        A session that has one returns that.

        Raises:
            PoolNotFound: there is no such pool; says which there are.
            PoolFailed: the pool cannot start pods; says why.
            WaitTimeout: no pod came free in time; says what is waited for.
            SandboxFailed: the pod was lost before it could be used.
        """
        with self._lock:
            if self._sandbox is None:
                client = self._connect()
                self._sandbox = client.run(sandboxes.create_sandbox(client.context, self._wanted()))
                self._runner = TaskRunner(client.context, client.followers, self._sandbox)
                self._pid = os.getpid()
                _open_sessions.add(self)
            return self._sandbox

    def execute(self, steps: Sequence[AnyStep], trace_id: str | None = None) -> Task:
        """Runs steps one after another and returns the task when it has ended.

        A step that fails is a result like any other: look at
        result["status"]["state"], or result.status.state. If the connection or the server is lost, this
        waits until it is back; no step runs twice.

        Args:
            steps: dicts as the API has them, or CommandStep and FilePatchStep.
            trace_id: an identifier of yours that the server's logs carry.

        Raises:
            pydantic.ValidationError: a step cannot be right; nothing was sent.
            TaskTimeout: the task ran out of time; has what it wrote until then.
            SandboxFailed: the sandbox was lost.
            CallbackError: a callback raised.
        """
        checked = check_steps(steps)
        task = self._run(checked, self.timeout, trace_id)
        self._call_back(task)
        self._raise_for(task)
        return task

    def execute_with_callback(
        self, steps: Sequence[AnyStep], callback_script: str | None = None, trace_id: str | None = None
    ) -> Task:
        """Is execute(), and then runs a script in the sandbox if the steps came to an end.

        The script is run by /bin/sh in the sandbox, never on this machine, and
        finds ARL_TASK_NAME, ARL_TASK_STATE (Succeeded or Failed) and
        ARL_TASK_EXIT_CODE in its environment. Returns the task of the steps.

        Raises:
            CallbackError: the script failed; has the script's own task.
        """
        task = self.execute(steps, trace_id)
        if callback_script is not None:
            script = self._run(check_steps([script_step(callback_script, task)]), self.timeout, trace_id)
            self._raise_for(script)
            if script.status.state != "Succeeded":
                raise script_failed(script)
        return task

    def run(
        self,
        command: str | Sequence[str],
        *,
        env: Mapping[str, str] | None = None,
        work_dir: str | None = None,
        stdin: str | None = None,
        timeout: float | None = None,
        check: bool = False,
    ) -> CommandResult:
        """Runs one command and returns how it went.

        Args:
            command: a text, which /bin/sh runs, or a list of a program and its arguments.
            env: environment variables for it.
            work_dir: where it runs; the pool's own directory by default.
            stdin: what it reads.
            timeout: how long it may run, in seconds; the session's by default.
            check: raise TaskFailed unless it exits with 0.
        """
        task = self._run(check_steps(command_step(command, env, work_dir, stdin)), timeout or self.timeout, None)
        self._call_back(task)
        self._raise_for(task)
        return command_result(task, check)

    def write_file(self, path: str, content: str | bytes, mode: int | None = None) -> None:
        """Writes a file of at most 1 MiB into the sandbox, and the folders it is in.

        Raises:
            TaskFailed: it cannot be written.
        """
        task = self._run(check_steps(file_steps(path, content, mode)), self.timeout, None)
        self._raise_for(task)
        file_written(path, task)

    def delete_sandbox(self) -> None:
        """Gives the sandbox back. Does nothing if there is none."""
        self._delete(DELETE_SECONDS)

    def __enter__(self) -> Self:
        self.create_sandbox()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self.delete_sandbox()
        except ARLError as failure:
            if error is None:
                raise
            # What went wrong in the with statement is what the caller has to see.
            _log.warning("sandbox %s was not deleted, the server will do it: %s", self.sandbox_name, failure)

    def _connect(self) -> Client:
        if self._client is None:
            self._client = shared_client(self._config)
        return self._client

    def _run(self, steps: list[dict[str, Any]], timeout: float, trace_id: str | None) -> Task:
        with self._lock:
            self._needs_sandbox()
            assert self._runner is not None  # noqa: S101  # it comes with the sandbox
            return self._connect().run(self._runner.run(steps, timeout, trace_id))

    def _call_back(self, task: Task) -> None:
        failed = None
        for event, fn in self._called_for(task):
            try:
                fn(task)
            except Exception as error:
                failed = failed or (callback_failed(event, fn, task, error), error)
        if failed is not None:
            raise failed[0] from failed[1]

    def _raise_for(self, task: Task) -> None:
        error = outcome(task, self._needs_sandbox(), self.idle_timeout) if self._sandbox else None
        if error is not None:
            raise error

    def _delete(self, timeout: float) -> None:
        with self._lock:
            if self._runner is not None:
                self._runner.close()
            if self._sandbox is not None:
                client = self._connect()
                client.run(sandboxes.delete_sandbox(client.context, self._sandbox, timeout))
            self._sandbox, self._runner, self._ended = None, None, True
            _open_sessions.discard(self)

    def _at_exit(self) -> None:
        # A forked child has a copy of this session; the sandbox is the parent's.
        if self._pid == os.getpid():
            self._delete(EXIT_SECONDS)


_open_sessions: weakref.WeakSet[SandboxSession] = weakref.WeakSet()


def _delete_all() -> None:
    """Deletes the sandboxes of sessions that the program forgot."""
    for session in list(_open_sessions):
        try:
            session._at_exit()
        except ARLError as error:
            _log.warning("sandbox %s was not deleted, the server will do it: %s", session.sandbox_name, error)


atexit.register(_delete_all)
