"""The objects of the API, typed, and the result of `run`.

The classes are generated from the server's own OpenAPI models. They are
mappings, too: `task["status"]["stdout"]` is `task.status.stdout`.
"""

from __future__ import annotations

from dataclasses import dataclass

from arl._generated.models import (
    Condition,
    ObjectMeta,
    ResourceRequirements,
    Sandbox,
    SandboxSpec,
    SandboxStatus,
    Task,
    TaskSpec,
    TaskStatus,
    TaskStep,
    TaskStepStatus,
    TaskStream,
    WarmPool,
    WarmPoolSpec,
    WarmPoolStatus,
)

__all__ = [
    "CommandResult",
    "Condition",
    "ObjectMeta",
    "Output",
    "ResourceRequirements",
    "Sandbox",
    "SandboxSpec",
    "SandboxStatus",
    "Task",
    "TaskSpec",
    "TaskStatus",
    "TaskStep",
    "TaskStepStatus",
    "TaskStream",
    "WarmPool",
    "WarmPoolSpec",
    "WarmPoolStatus",
    "stderr_of",
    "stdout_of",
]


@dataclass(frozen=True)
class CommandResult:
    """How one command went."""

    stdout: str
    """What it wrote to standard output, as text: bytes that are not UTF-8 show as U+FFFD.
    Of long output the head and the tail are kept, with a line between them that
    says how many bytes are missing."""
    stderr: str
    """The same for standard error."""
    exit_code: int
    """0 for success; 128 plus the signal's number if a signal ended it."""
    task: Task
    """The task that ran it."""
    stdout_bytes: bytes = b""
    """What was kept of standard output, byte for byte."""
    stderr_bytes: bytes = b""
    """What was kept of standard error, byte for byte."""
    stdout_truncated: bool = False
    """Whether a part of standard output is missing."""
    stderr_truncated: bool = False
    """Whether a part of standard error is missing."""
    stdout_total: int = 0
    """How many bytes it wrote to standard output, whether they were kept or not."""
    stderr_total: int = 0
    """How many bytes it wrote to standard error, whether they were kept or not."""

    @property
    def ok(self) -> bool:
        """Whether the command succeeded."""
        return self.exit_code == 0


@dataclass(frozen=True)
class Output:
    """What a task wrote to one of its streams."""

    data: bytes
    """What was kept, byte for byte."""
    total: int
    """How many bytes were written."""
    truncated: bool
    """Whether a part of them is missing."""


def stdout_of(task: Task) -> Output:
    """Returns what a task wrote to standard output, byte for byte."""
    output = task.status.output
    return _output(task.status.stdout, output.stdout if output else None)


def stderr_of(task: Task) -> Output:
    """Returns what a task wrote to standard error, byte for byte."""
    output = task.status.output
    return _output(task.status.stderr, output.stderr if output else None)


def _output(text: str, stream: TaskStream | None) -> Output:
    data = stream.data if stream is not None and stream.data is not None else text.encode()
    truncated = bool(stream is not None and stream.truncated)
    written = stream.bytes if stream is not None and truncated else None
    return Output(data, len(data) if written is None else written, truncated)
