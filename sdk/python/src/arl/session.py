"""A sandbox for a with statement, blocking. arl.aio has the same for asyncio."""

from __future__ import annotations

import atexit
import logging
import threading
import weakref
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType

from typing_extensions import Self

from arl import _fork
from arl._core import sandbox as sandboxes
from arl._core.task import Job, RetentionPolicy, TaskRunner
from arl._session import (
    MAX_CONCURRENT_TASKS,
    SessionBase,
    callback_failed,
    command_result,
    command_step,
    deleted_meanwhile,
    file_steps,
    file_written,
    script_failed,
    script_step,
)
from arl.client import Client, shared_client
from arl.config import Config
from arl.errors import ARLError, SandboxFailed
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
    ends, the sandbox is deleted, by the process that made it and by no process
    that was forked from that. If the process is killed, the server deletes the
    sandbox `idle_timeout` seconds after its last task.

    Args:
        pool_ref: the name of the pool.
        namespace: the pool's namespace.
        keep_alive: idleness does not end the sandbox unless idle_timeout is given,
            too. If the process is killed, the sandbox stays until it is deleted.
        timeout: how long to wait for a sandbox, and how long a task may run, in
            seconds.
        idle_timeout: after how many seconds without a task the server deletes
            the sandbox: 300 by default, never with keep_alive.
        env: environment variables for all steps.
        max_concurrent_tasks: how many calls may run in the sandbox at the same
            time, 1 to 64. Others wait for their turn.
        config: which server, as whom. Default: $KUBECONFIG, ~/.kube/config,
            in-cluster.
        client: a client to use in place of the shared one; config is then
            passed over.

    Several threads may use a session; their calls run at the same time, and each
    returns when its own task has ended. What one thread calls runs in order.
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
        max_concurrent_tasks: int = MAX_CONCURRENT_TASKS,
        config: Config | None = None,
        client: Client | None = None,
    ) -> None:
        super().__init__(pool_ref, namespace, keep_alive, timeout, idle_timeout, env, max_concurrent_tasks)
        self._config = config
        self._client = client
        self._new_locks()
        _fork.watch(self)

    def _new_locks(self) -> None:
        # Guards whether there is a sandbox; held while it is created or deleted.
        self._lock = threading.RLock()
        self._slots = threading.Semaphore(self.max_concurrent_tasks)

    def _after_fork(self) -> None:
        self._new_locks()
        _open_sessions.discard(self)

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
                sandbox = client.run(sandboxes.create_sandbox(client.context, self._wanted()))
                _open_sessions.add(self)
                return self._made(sandbox, TaskRunner(client.context, client.followers, sandbox))
            return self._sandbox

    def execute(
        self,
        steps: Sequence[AnyStep],
        trace_id: str | None = None,
        *,
        termination_grace: float | None = None,
        retention_policy: RetentionPolicy | None = None,
    ) -> Task:
        """Runs steps one after another and returns the task when it has ended.

        A step that fails is a result like any other: look at
        result["status"]["state"], or result.status.state. If the connection or the server is lost, this
        waits until it is back; no step runs twice.

        Args:
            steps: dicts as the API has them, or CommandStep and FilePatchStep.
            trace_id: an identifier of yours that the server's logs carry.
            termination_grace: how many seconds the steps have between the signals
                TERM and KILL when they are stopped, 0 to 3600; 2 by default. It is
                rounded up to whole seconds.
            retention_policy: "Retain" keeps the Task object until it is deleted;
                "Delete", the default, only for its time to live.

        Raises:
            pydantic.ValidationError: a step cannot be right; nothing was sent.
            TaskTimeout: the task ran out of time; has what it wrote until then.
            SandboxFailed: the sandbox was lost.
            CallbackError: a callback raised.
        """
        return self._run(Job(check_steps(steps), self.timeout, trace_id, termination_grace, retention_policy))

    def execute_with_callback(
        self,
        steps: Sequence[AnyStep],
        callback_script: str | None = None,
        trace_id: str | None = None,
        *,
        termination_grace: float | None = None,
        retention_policy: RetentionPolicy | None = None,
    ) -> Task:
        """Does execute(), and then runs a script in the sandbox if the steps came to an end.

        The script is run by /bin/sh in the sandbox, never on this machine, and
        finds ARL_TASK_NAME, ARL_TASK_STATE (Succeeded or Failed) and
        ARL_TASK_EXIT_CODE in its environment. Returns the task of the steps.

        Raises:
            CallbackError: the script failed; has the script's own task.
        """
        task = self.execute(steps, trace_id, termination_grace=termination_grace, retention_policy=retention_policy)
        if callback_script is not None:
            job = Job(
                check_steps([script_step(callback_script, task)]),
                self.timeout,
                trace_id,
                termination_grace,
                retention_policy,
            )
            script = self._run(job, call_back=False)
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
        termination_grace: float | None = None,
        retention_policy: RetentionPolicy | None = None,
    ) -> CommandResult:
        """Runs one command and returns how it went.

        Args:
            command: a text of at most 1 MiB, which /bin/sh runs, or a list of a program
                and its arguments.
            env: environment variables for it.
            work_dir: where it runs; the pool's own directory by default.
            stdin: what it reads.
            timeout: how long it may run, in seconds; the session's by default.
            check: raise TaskFailed unless it exits with 0.
            termination_grace: how many seconds it has between the signals TERM and
                KILL when it is stopped, 0 to 3600; 2 by default.
            retention_policy: "Retain" keeps the Task object until it is deleted;
                "Delete", the default, only for its time to live.
        """
        steps = check_steps(command_step(command, env, work_dir, stdin))
        job = Job(steps, timeout or self.timeout, None, termination_grace, retention_policy)
        return command_result(self._run(job), check)

    def write_file(self, path: str, content: str | bytes, mode: int | None = None) -> None:
        """Writes a file of at most 1 MiB into the sandbox, and the folders it is in.

        Raises:
            TaskFailed: it cannot be written.
        """
        job = Job(check_steps(file_steps(path, content, mode)), self.timeout)
        file_written(path, self._run(job, call_back=False))

    def delete_sandbox(self) -> None:
        """Deletes the sandbox. Calls that run in it end with SessionError.

        Does nothing if there is none. In a process that was forked from the one
        that made the sandbox, it is only forgotten.
        """
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

    def _run(self, job: Job, *, call_back: bool = True) -> Task:
        self._needs_runner()
        with self._slots:
            runner = self._needs_runner()
            try:
                task = self._connect().run(runner.run(job))
            except SandboxFailed as error:
                if self._runner is runner:
                    raise
                raise deleted_meanwhile(runner) from error
        failure = self._outcome(runner, task)
        if call_back:
            self._call_back(task)
        if failure is not None:
            raise failure
        return task

    def _call_back(self, task: Task) -> None:
        failed = None
        for event, fn in self._called_for(task):
            try:
                fn(task)
            except Exception as error:
                failed = failed or (callback_failed(event, fn, task, error), error)
        if failed is not None:
            raise failed[0] from failed[1]

    def _delete(self, timeout: float) -> None:
        with self._lock:
            runner = self._forget()
            if runner is None:
                return
            try:
                client = self._connect()
                client.run(sandboxes.delete_sandbox(client.context, runner.sandbox, timeout))
            except BaseException:
                # It is still this session's to delete, now or when the program ends.
                self._made(runner.sandbox, runner)
                raise
            _open_sessions.discard(self)


_open_sessions: weakref.WeakSet[SandboxSession] = weakref.WeakSet()


def _delete_all() -> None:
    """Deletes the sandboxes of sessions that the program forgot."""
    for session in list(_open_sessions):
        try:
            session._delete(EXIT_SECONDS)
        except ARLError as error:
            _log.warning("sandbox %s was not deleted, the server will do it: %s", session.sandbox_name, error)


atexit.register(_delete_all)
