"""The asyncio half: the same session and pool manager, to be awaited."""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from types import TracebackType

from typing_extensions import Self

from arl import _fork
from arl._core import pool as pools
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
from arl.client import AsyncClient, shared_async_client
from arl.config import Config
from arl.errors import SandboxFailed
from arl.models import CommandResult, Sandbox, Task, WarmPool
from arl.pool import PoolManagerBase, pool_spec
from arl.progress import progress_bar
from arl.steps import AnyStep
from arl.steps import check as check_steps

_log = logging.getLogger("arl")

DELETE_SECONDS = 30.0

AsyncCallback = Callable[[Task], object | Awaitable[object]]


class AsyncSandboxSession(SessionBase[AsyncCallback]):
    """SandboxSession for asyncio: the same arguments, methods and exceptions.

        async with AsyncSandboxSession(pool_ref="python") as session:
            print((await session.run("python --version")).stdout)

    Callbacks may be coroutine functions. A session belongs to one event loop, in
    which its calls may run at the same time. If a task of the event loop is
    cancelled within the async with statement, the sandbox is deleted all the
    same. At the end of the program nothing is: leave the async with statement, or
    the server deletes the sandbox `idle_timeout` seconds after its last task.
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
        client: AsyncClient | None = None,
    ) -> None:
        super().__init__(pool_ref, namespace, keep_alive, timeout, idle_timeout, env, max_concurrent_tasks)
        self._config = config
        self._client = client
        self._new_locks()
        _fork.watch(self)
        self._connected: AsyncClient | None = None

    def _new_locks(self) -> None:
        # Guards whether there is a sandbox; held while it is created or deleted.
        self._lock = asyncio.Lock()
        self._slots = asyncio.Semaphore(self.max_concurrent_tasks)

    def _after_fork(self) -> None:
        # The client is that of the parent's event loop, if it is not the user's own.
        self._new_locks()
        self._connected = None

    async def create_sandbox(self) -> Sandbox:
        """Gets a sandbox, and returns it when tasks can run in it.

        A session that has one returns that.

        Raises:
            PoolNotFound: there is no such pool; says which there are.
            PoolFailed: the pool cannot start pods; says why.
            WaitTimeout: no pod came free in time; says what is waited for.
            SandboxFailed: the pod was lost before it could be used.
        """
        async with self._lock:
            if self._sandbox is None:
                client = await self._connect()
                try:
                    sandbox = await client.run(sandboxes.create_sandbox(client.context, self._wanted()))
                except BaseException:
                    await self._disconnect()
                    raise
                return self._made(sandbox, TaskRunner(client.context, client.followers, sandbox))
            return self._sandbox

    async def execute(
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
        return await self._run(Job(check_steps(steps), self.timeout, trace_id, termination_grace, retention_policy))

    async def execute_with_callback(
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
        task = await self.execute(
            steps, trace_id, termination_grace=termination_grace, retention_policy=retention_policy
        )
        if callback_script is not None:
            job = Job(
                check_steps([script_step(callback_script, task)]),
                self.timeout,
                trace_id,
                termination_grace,
                retention_policy,
            )
            script = await self._run(job, call_back=False)
            if script.status.state != "Succeeded":
                raise script_failed(script)
        return task

    async def run(
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
        return command_result(await self._run(job), check)

    async def write_file(self, path: str, content: str | bytes, mode: int | None = None) -> None:
        """Writes a file of at most 1 MiB into the sandbox, and the folders it is in.

        Raises:
            TaskFailed: it cannot be written.
        """
        job = Job(check_steps(file_steps(path, content, mode)), self.timeout)
        file_written(path, await self._run(job, call_back=False))

    async def delete_sandbox(self) -> None:
        """Deletes the sandbox. Calls that run in it end with SessionError.

        Does nothing if there is none. In a process that was forked from the one
        that made the sandbox, it is only forgotten.
        """
        async with self._lock:
            runner = self._forget()
            if runner is not None:
                client = await self._connect()
                try:
                    await client.run(sandboxes.delete_sandbox(client.context, runner.sandbox, DELETE_SECONDS))
                except BaseException:
                    # It is still this session's to delete.
                    self._made(runner.sandbox, runner)
                    raise
            await self._disconnect()

    async def __aenter__(self) -> Self:
        await self.create_sandbox()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # A cancellation does not stop it: it is why the sandbox has to go.
        deletion = asyncio.ensure_future(self.delete_sandbox())
        cancelled = False
        while not deletion.done():
            try:
                await asyncio.wait([deletion])
            except asyncio.CancelledError:
                cancelled = True
        failure = deletion.exception()
        if failure is not None and (error is not None or cancelled):
            # What went wrong in the async with statement is what the caller has to see.
            _log.warning("sandbox %s was not deleted, the server will do it: %s", self.sandbox_name, failure)
        elif failure is not None:
            raise failure
        if cancelled:
            raise asyncio.CancelledError

    async def _connect(self) -> AsyncClient:
        """Returns the client; from the first call to the deletion it is kept open."""
        if self._connected is None:
            client = self._client or shared_async_client(self._config)
            self._connected = await client.__aenter__()
        return self._connected

    async def _disconnect(self) -> None:
        client, self._connected = self._connected, None
        if client is not None:
            await client.__aexit__(None, None, None)

    async def _run(self, job: Job, *, call_back: bool = True) -> Task:
        self._needs_runner()
        async with self._slots:
            runner = self._needs_runner()
            try:
                # The client stays open for this call, also if the session ends.
                async with await self._connect() as client:
                    task = await client.run(runner.run(job))
            except SandboxFailed as error:
                if self._runner is runner:
                    raise
                raise deleted_meanwhile(runner) from error
        failure = self._outcome(runner, task)
        if call_back:
            await self._call_back(task)
        if failure is not None:
            raise failure
        return task

    async def _call_back(self, task: Task) -> None:
        failed = None
        for event, fn in self._called_for(task):
            try:
                answer = fn(task)
                if inspect.isawaitable(answer):
                    await answer
            except Exception as error:
                failed = failed or (callback_failed(event, fn, task, error), error)
        if failed is not None:
            raise failed[0] from failed[1]


class AsyncWarmPoolManager(PoolManagerBase):
    """WarmPoolManager for asyncio: the same arguments, methods and exceptions."""

    def __init__(
        self,
        namespace: str = "default",
        timeout: float = 300,
        *,
        config: Config | None = None,
        client: AsyncClient | None = None,
    ) -> None:
        super().__init__(namespace, timeout)
        self._config = config
        self._client = client

    async def create_warmpool(
        self,
        name: str,
        image: str,
        replicas: int = 2,
        sidecar_image: str | None = None,
        resources: Mapping[str, Mapping[str, str]] | None = None,
        command: Sequence[str] | None = None,
        workspace_path: str = "/workspace",
        testbed_path: str | None = None,
    ) -> WarmPool:
        """Creates a pool; see WarmPoolManager.create_warmpool."""
        spec = pool_spec(image, replicas, resources, command, workspace_path, testbed_path)
        async with self._connected() as client:
            return await client.run(pools.create_pool(client.context, self.namespace, name, spec, self.timeout))

    async def get_warmpool(self, name: str) -> WarmPool:
        """Returns a pool, or raises PoolNotFound."""
        async with self._connected() as client:
            return await client.run(pools.get_pool(client.context, self.namespace, name, self.timeout))

    async def list_warmpools(self) -> list[WarmPool]:
        """Returns the pools of the namespace."""
        async with self._connected() as client:
            return await client.run(pools.list_pools(client.context, self.namespace, self.timeout))

    async def wait_for_warmpool_ready(
        self, name: str, timeout: float | None = None, *, progress: bool | None = None
    ) -> WarmPool:
        """Waits until a pool is ready; see WarmPoolManager.wait_for_warmpool_ready."""
        wait = self.timeout if timeout is None else timeout
        with progress_bar(name, progress) as show:
            async with self._connected() as client:
                return await client.run(pools.wait_ready(client.context, self.namespace, name, wait, show))

    async def delete_warmpool(self, name: str) -> bool:
        """Deletes a pool; see WarmPoolManager.delete_warmpool."""
        async with self._connected() as client:
            return await client.run(pools.delete_pool(client.context, self.namespace, name, self.timeout))

    def _connected(self) -> AsyncClient:
        return self._client or shared_async_client(self._config)
