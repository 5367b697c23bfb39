"""What the blocking session and the asyncio session have in common: everything but waiting."""

from __future__ import annotations

import base64
import math
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Generic, TypeVar

from arl._core.sandbox import Wanted
from arl._core.task import TaskRunner
from arl.errors import ARLError, CallbackError, SandboxFailed, SessionError, TaskFailed
from arl.models import CommandResult, Sandbox, Task, stderr_of, stdout_of
from arl.steps import AnyStep, CommandStep, FilePatchStep

EVENTS = ("on_task_complete", "on_task_success", "on_task_failure")

# How long a sandbox may be without a task before the server deletes it, unless
# the program says otherwise: long enough for a model to think. It bounds what a
# process leaves behind that dies.
IDLE_SECONDS = 300
MAX_CONCURRENT_TASKS = 16
# The most that the API allows.
MOST_CONCURRENT_TASKS = 64
MAX_IDLE_SECONDS = 604800
MAX_TIMEOUT_SECONDS = 86400
MAX_FILE_BYTES = 1 << 20
# A little less than Linux allows for one argument of a program, 128 KiB.
MAX_PIECE_BYTES = 120 << 10

F = TypeVar("F", bound=Callable[..., Any])


class SessionBase(Generic[F]):
    """The arguments and callbacks of a session, and what its calls are made of."""

    def __init__(
        self,
        pool_ref: str,
        namespace: str,
        keep_alive: bool,
        timeout: float,
        idle_timeout: float | None,
        env: Mapping[str, str] | None,
        max_concurrent_tasks: int,
    ) -> None:
        if not pool_ref:
            raise ValueError("pool_ref is empty: name a pool, for instance one made with WarmPoolManager")
        if not 0 < timeout <= MAX_TIMEOUT_SECONDS:
            raise ValueError(f"timeout must be more than 0 and at most {MAX_TIMEOUT_SECONDS} seconds, not {timeout}")
        if idle_timeout is None and not keep_alive:
            idle_timeout = IDLE_SECONDS
        if idle_timeout is not None and not 1 <= idle_timeout <= MAX_IDLE_SECONDS:
            raise ValueError(f"idle_timeout must be 1 to {MAX_IDLE_SECONDS} seconds, not {idle_timeout}")
        if not 1 <= max_concurrent_tasks <= MOST_CONCURRENT_TASKS:
            raise ValueError(f"max_concurrent_tasks must be 1 to {MOST_CONCURRENT_TASKS}, not {max_concurrent_tasks}")
        self.pool_ref = pool_ref
        self.namespace = namespace
        self.keep_alive = keep_alive
        self.timeout = timeout
        self.idle_timeout = None if idle_timeout is None else math.ceil(idle_timeout)
        self.max_concurrent_tasks = max_concurrent_tasks
        self._env = dict(env) if env else None
        self._sandbox: Sandbox | None = None
        self._runner: TaskRunner | None = None
        self._ended = False
        # The process that made the sandbox. Only that one deletes it.
        self._owner = 0
        self._callbacks: dict[str, list[F]] = {event: [] for event in EVENTS}

    @property
    def sandbox(self) -> Sandbox | None:
        """The sandbox as it was when it became ready; None if there is none."""
        return self._sandbox

    @property
    def sandbox_name(self) -> str | None:
        """The sandbox's name; None if there is none."""
        return self._sandbox.metadata.name if self._sandbox else None

    def register_callback(self, event: str, fn: F) -> None:
        """Has a function called with the Task whenever one has ended.

        Events are on_task_complete, after every task, and then on_task_success
        or on_task_failure. Functions are called in the order they came. If one
        raises, the others are called all the same, and then the call that ran
        the task raises CallbackError.
        """
        self._callbacks_of(event).append(fn)

    def unregister_callback(self, event: str, fn: F | None = None) -> bool:
        """Takes a function back, or all of an event. Returns whether there was one."""
        functions = self._callbacks_of(event)
        if fn is None:
            found = bool(functions)
            functions.clear()
            return found
        if fn not in functions:
            return False
        functions.remove(fn)
        return True

    def _callbacks_of(self, event: str) -> list[F]:
        if event not in self._callbacks:
            raise ValueError(f"there is no event {event!r}; there are {', '.join(EVENTS)}")
        return self._callbacks[event]

    def _called_for(self, task: Task) -> list[tuple[str, F]]:
        """Returns the callbacks for a task that has ended."""
        events = "on_task_complete", "on_task_success" if task.status.state == "Succeeded" else "on_task_failure"
        return [(event, fn) for event in events for fn in list(self._callbacks[event])]

    def _wanted(self) -> Wanted:
        return Wanted(
            pool=self.pool_ref,
            namespace=self.namespace,
            keep_alive=self.keep_alive,
            idle_timeout=self.idle_timeout,
            timeout=self.timeout,
            max_concurrent_tasks=self.max_concurrent_tasks,
            env=self._env,
        )

    def _made(self, sandbox: Sandbox, runner: TaskRunner) -> Sandbox:
        """Takes over a sandbox that this process made."""
        self._sandbox, self._runner, self._owner = sandbox, runner, os.getpid()
        return sandbox

    def _forget(self) -> TaskRunner | None:
        """Ends the use of the sandbox, and returns its runner if this process is to delete it."""
        runner, self._sandbox, self._runner, self._ended = self._runner, None, None, True
        # A forked process has a copy of the session; the sandbox is its parent's.
        return runner if self._owner == os.getpid() else None

    def _needs_runner(self) -> TaskRunner:
        runner = self._runner
        if runner is None:
            state = "its sandbox was deleted" if self._ended else "it has no sandbox yet"
            raise SessionError(
                f"this session cannot run anything: {state}. Call create_sandbox() first, or use the session in a "
                "with statement"
            )
        return runner

    def _outcome(self, runner: TaskRunner, task: Task) -> ARLError | None:
        """Returns the exception for a task that did not come to its own end, or None."""
        failure = runner.outcome(task)
        if isinstance(failure, SandboxFailed) and self._runner is not runner:
            return deleted_meanwhile(runner)
        return failure


def deleted_meanwhile(runner: TaskRunner) -> SessionError:
    """Returns the exception for a task whose sandbox this session deleted before it ended."""
    return SessionError(
        f'sandbox "{runner.sandbox.metadata.name}" was deleted by this session while a task ran in it. Wait for the '
        "other calls before the session ends"
    )


def callback_failed(event: str, fn: object, task: Task, error: Exception) -> CallbackError:
    """Returns the exception for a callback that raised."""
    name = getattr(fn, "__qualname__", repr(fn))
    return CallbackError(
        f'the callback {name} for {event} raised {type(error).__name__}: {error}. Task "{task.metadata.name}" itself '
        f"ended as {task.status.state}; it is in this exception's task",
        task=task,
    )


def script_step(script: str, task: Task) -> CommandStep:
    """Returns the step that runs a callback script for a task that has ended."""
    status = task.status
    return CommandStep(
        name="callback",
        command=shell(script),
        env={
            "ARL_TASK_NAME": task.metadata.name or "",
            "ARL_TASK_STATE": status.state or "",
            "ARL_TASK_EXIT_CODE": "" if status.exit_code is None else str(status.exit_code),
        },
    )


def script_failed(task: Task) -> CallbackError:
    """Returns the exception for a callback script that failed."""
    return CallbackError(
        f"the callback script failed: {task.status.message}: {(task.status.stderr or '').strip()[-500:]}", task=task
    )


def command_step(
    command: str | Sequence[str], env: Mapping[str, str] | None, work_dir: str | None, stdin: str | None
) -> list[AnyStep]:
    """Returns the step that runs one command, by a shell if it is a text."""
    if not command:
        raise ValueError('command is empty: pass a text for the shell, such as "ls -l", or a list of arguments')
    argv = shell(command) if isinstance(command, str) else list(command)
    return [
        CommandStep(
            name="run",
            command=argv,
            env=dict(env) if env else None,
            work_dir=work_dir,
            stdin=stdin,
        )
    ]


def shell(script: str) -> list[str]:
    """Returns the command that has /bin/sh run a script, also one that is too long for one argument."""
    data = script.encode()
    if len(data) <= MAX_PIECE_BYTES:
        return ["/bin/sh", "-c", script]
    # The shell puts several arguments together, and evaluates the whole as it would the argument
    # of -c: without parameters, and with standard input left to it.
    pieces = []
    while data:
        end = min(len(data), MAX_PIECE_BYTES)
        while end < len(data) and data[end] & 0xC0 == 0x80:
            end -= 1
        pieces.append(data[:end].decode())
        data = data[end:]
    whole = "".join(f"${{{number}}}" for number in range(1, len(pieces) + 1))
    return ["/bin/sh", "-c", f'eval "set --; {whole}"', "/bin/sh", *pieces]


def command_result(task: Task, check: bool) -> CommandResult:
    """Returns the result of the task that ran one command."""
    status = task.status
    if status.exit_code is None:
        raise TaskFailed(f"the command could not be run: {status.reason}: {status.message}", task=task)
    if check and status.exit_code != 0:
        said = (status.stderr or status.stdout or status.message or "").strip()
        raise TaskFailed(f"the command exited with code {status.exit_code}: {said[-500:]}", task=task)
    out, err = stdout_of(task), stderr_of(task)
    return CommandResult(
        stdout=status.stdout,
        stderr=status.stderr,
        exit_code=status.exit_code,
        task=task,
        stdout_bytes=out.data,
        stderr_bytes=err.data,
        stdout_truncated=out.truncated,
        stderr_truncated=err.truncated,
        stdout_total=out.total,
        stderr_total=err.total,
    )


def file_steps(path: str, content: str | bytes, mode: int | None) -> list[AnyStep]:
    """Returns the steps that write a file: one if it is text, and two if it is not."""
    data = content.encode() if isinstance(content, str) else bytes(content)
    if len(data) > MAX_FILE_BYTES:
        raise ValueError(f"the content has {len(data)} bytes; {MAX_FILE_BYTES} is the most for one file")
    try:
        return [FilePatchStep(name="write", path=path, content=data.decode(), mode=mode)]
    except UnicodeDecodeError:
        pass
    encoded = base64.b64encode(data).decode()
    if len(encoded) > MAX_FILE_BYTES:
        raise ValueError(f"the content has {len(data)} bytes that are no text; {MAX_FILE_BYTES * 3 // 4} is the most")
    # The first step makes folders, and gives the file its mode.
    return [
        FilePatchStep(name="write", path=path, content="", mode=mode),
        CommandStep(name="fill", command=["/bin/sh", "-c", 'base64 -d > "$1"', "sh", path], stdin=encoded),
    ]


def file_written(path: str, task: Task) -> None:
    """Raises unless the task that wrote a file succeeded."""
    if task.status.state != "Succeeded":
        raise TaskFailed(f"{path} could not be written: {task.status.message}", task=task)
