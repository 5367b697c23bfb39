"""Everything that this package raises, except pydantic's ValidationError for bad steps.

    ARLError
    ├── ConfigError             no server to talk to is known
    ├── SessionError            the session is used before create_sandbox() or after its end
    ├── ServerUnavailable       no answer for longer than the configuration allows
    ├── APIError                the server refused a request
    │   ├── AuthenticationError     401: it does not know who asks
    │   ├── PermissionDenied        403: it knows, and does not allow it
    │   ├── NotFoundError           404
    │   │   └── PoolNotFound            a pool; says which there are
    │   ├── ConflictError           409: somebody else's object, or somebody else's change
    │   └── InvalidRequest          400, 413, 422: a field has a value that cannot be
    ├── PoolFailed              a pool cannot start pods; says why
    ├── SandboxFailed           the sandbox cannot run tasks, any more or at all
    ├── WaitTimeout             a pool or a sandbox did not become ready in time
    ├── TaskTimeout             a task ran out of time; has what it wrote until then
    ├── TaskFailed              run(..., check=True) or write_file() did not succeed
    └── CallbackError           a callback raised; the cause is what it raised

Every message says what to do next.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from arl.models import Sandbox, Task, WarmPool


class ARLError(Exception):
    """The base of all exceptions of this package."""


class ConfigError(ARLError):
    """No server is configured, or the configuration cannot be read."""


class SessionError(ARLError):
    """The session has no sandbox: none was created yet, or it was deleted."""


class ServerUnavailable(ARLError):
    """The server gave no answer, or none but "later", for too long."""


class APIError(ARLError):
    """The server refused a request.

    `status` is the HTTP status, `reason` the word that Kubernetes has for it.
    """

    def __init__(self, message: str, *, status: int = 0, reason: str = "") -> None:
        super().__init__(message)
        self.status = status
        self.reason = reason


class AuthenticationError(APIError):
    """The server does not accept the credentials."""


class PermissionDenied(APIError):
    """The credentials are good and do not permit this."""


class NotFoundError(APIError):
    """There is no such object."""


class PoolNotFound(NotFoundError):
    """There is no such pool. `available` are the names of those that there are."""

    def __init__(self, name: str, namespace: str, available: Sequence[str]) -> None:
        there = f"there are: {', '.join(available)}" if available else "there are none in that namespace"
        super().__init__(
            f'there is no pool "{name}" in namespace "{namespace}"; {there}. Name one of them, or make it: '
            f'WarmPoolManager(namespace="{namespace}").create_warmpool(name="{name}", image=...)',
            status=404,
            reason="NotFound",
        )
        self.name = name
        self.namespace = namespace
        self.available = list(available)


class ConflictError(APIError):
    """The object is somebody else's, or was changed by somebody else meanwhile."""


class InvalidRequest(APIError):
    """A field has a value that the server does not accept; the message names it."""


class PoolFailed(ARLError):
    """The pool cannot start pods. `pool` is the pool, `reason` one word for why."""

    def __init__(self, message: str, *, pool: WarmPool, reason: str) -> None:
        super().__init__(message)
        self.pool = pool
        self.reason = reason


class SandboxFailed(ARLError):
    """The sandbox cannot run tasks.

    `sandbox` is the sandbox as last seen, `task` the task that was under way,
    if any, and `reason` one word for why.
    """

    def __init__(
        self, message: str, *, reason: str = "", sandbox: Sandbox | None = None, task: Task | None = None
    ) -> None:
        super().__init__(message)
        self.reason = reason
        self.sandbox = sandbox
        self.task = task


class WaitTimeout(ARLError, TimeoutError):
    """A pool or a sandbox did not become ready in time; the message says what it waits for."""


class TaskTimeout(ARLError, TimeoutError):
    """A task, or one of its steps, ran out of time.

    `task` is the task with what it wrote until then, if the server could say.
    """

    def __init__(self, message: str, *, task: Task | None = None) -> None:
        super().__init__(message)
        self.task = task


class TaskFailed(ARLError):
    """A task that was to succeed did not. `task` is the task."""

    def __init__(self, message: str, *, task: Task) -> None:
        super().__init__(message)
        self.task = task


class CallbackError(ARLError):
    """A callback raised; `__cause__` is what. `task` is the task it was called for."""

    def __init__(self, message: str, *, task: Task) -> None:
        super().__init__(message)
        self.task = task
