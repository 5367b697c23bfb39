"""ARL: sandboxes for agents and agentic reinforcement learning, within milliseconds.

    from arl import SandboxSession

    with SandboxSession(pool_ref="python") as session:
        print(session.run("python --version").stdout)

SandboxSession runs steps in a sandbox of a warm pool, WarmPoolManager makes the
pools; AsyncSandboxSession and AsyncWarmPoolManager are the same for asyncio.
arl.config says which server is talked to, arl.errors what is raised, arl.models
what comes back and arl.steps what can be run.
"""

from arl.aio import AsyncSandboxSession, AsyncWarmPoolManager
from arl.client import AsyncClient, Client
from arl.config import Config
from arl.errors import (
    APIError,
    ARLError,
    AuthenticationError,
    CallbackError,
    ConfigError,
    ConflictError,
    InvalidRequest,
    NotFoundError,
    PermissionDenied,
    PoolFailed,
    PoolNotFound,
    SandboxFailed,
    ServerUnavailable,
    SessionError,
    TaskFailed,
    TaskTimeout,
    WaitTimeout,
)
from arl.models import CommandResult, Sandbox, Task, WarmPool
from arl.pool import WarmPoolManager
from arl.session import SandboxSession
from arl.steps import CommandStep, FilePatchStep

__all__ = [
    "APIError",
    "ARLError",
    "AsyncClient",
    "AsyncSandboxSession",
    "AsyncWarmPoolManager",
    "AuthenticationError",
    "CallbackError",
    "Client",
    "CommandResult",
    "CommandStep",
    "Config",
    "ConfigError",
    "ConflictError",
    "FilePatchStep",
    "InvalidRequest",
    "NotFoundError",
    "PermissionDenied",
    "PoolFailed",
    "PoolNotFound",
    "Sandbox",
    "SandboxFailed",
    "SandboxSession",
    "ServerUnavailable",
    "SessionError",
    "Task",
    "TaskFailed",
    "TaskTimeout",
    "WaitTimeout",
    "WarmPool",
    "WarmPoolManager",
]
