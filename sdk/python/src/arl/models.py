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
    WarmPool,
    WarmPoolSpec,
    WarmPoolStatus,
)

__all__ = [
    "CommandResult",
    "Condition",
    "ObjectMeta",
    "ResourceRequirements",
    "Sandbox",
    "SandboxSpec",
    "SandboxStatus",
    "Task",
    "TaskSpec",
    "TaskStatus",
    "TaskStep",
    "TaskStepStatus",
    "WarmPool",
    "WarmPoolSpec",
    "WarmPoolStatus",
]


@dataclass(frozen=True)
class CommandResult:
    """How one command went."""

    stdout: str
    """What it wrote to standard output. Of long output the head and the tail are
    kept, with a line between them that says how many bytes are missing."""
    stderr: str
    """The same for standard error."""
    exit_code: int
    """0 for success; 128 plus the signal's number if a signal ended it."""
    task: Task
    """The task that ran it."""

    @property
    def ok(self) -> bool:
        """Says whether the command succeeded."""
        return self.exit_code == 0
