"""Clients: they carry out operations, blocking or with asyncio.

Most programs never name one: sessions and managers share a client for each
configuration. Name one to share it on purpose, or to close it.
"""

from __future__ import annotations

import asyncio
import os
import threading
import time
import weakref
from types import TracebackType
from typing import Any, TypeVar

from typing_extensions import Self

from arl import _fork
from arl._core.context import Context
from arl._core.effects import Effect, Op, Open, Pause, ReadLine, Send
from arl._core.task import Followers
from arl._http.aio import AsyncStream, AsyncTransport
from arl._http.blocking import BlockingStream, BlockingTransport
from arl.config import Config

T = TypeVar("T")


class Client:
    """Talks to the server, blocking. May be used by several threads.

    Raises ConfigError if the configuration names no server.
    """

    def __init__(self, config: Config | None = None) -> None:
        config = config or Config()
        self._transport = BlockingTransport(config)
        self.context = Context(self._transport.server, config.retry_seconds)
        self.followers = Followers()

    def run(self, operation: Op[T]) -> T:
        """Carries out an operation and returns its result."""
        outcome: Any = None
        error: BaseException | None = None
        while True:
            try:
                effect = operation.send(outcome) if error is None else operation.throw(error)
            except StopIteration as stop:
                result: T = stop.value
                return result
            outcome = error = None
            try:
                outcome = self._carry_out(effect)
            except BaseException as caught:
                # Also an interrupt: the operation has to clean up.
                error = caught

    def _carry_out(self, effect: Effect) -> Any:
        match effect:
            case Send(request):
                return self._transport.send(request)
            case Open(request):
                return self._transport.open(request)
            case ReadLine(stream, timeout):
                assert isinstance(stream, BlockingStream)  # noqa: S101  # open() has returned it
                return stream.read_line(timeout)
            case Pause(seconds):
                return time.sleep(seconds)

    def close(self) -> None:
        """Drops idle connections. The client stays usable."""
        self.followers.close()
        self._transport.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class AsyncClient:
    """Talks to the server with asyncio. Belongs to the event loop that it is used in."""

    def __init__(self, config: Config | None = None) -> None:
        config = config or Config()
        self._transport = AsyncTransport(config)
        self.context = Context(self._transport.server, config.retry_seconds)
        self.followers = Followers()
        self._users = 0

    async def run(self, operation: Op[T]) -> T:
        """Carries out an operation and returns its result."""
        outcome: Any = None
        error: BaseException | None = None
        while True:
            try:
                effect = operation.send(outcome) if error is None else operation.throw(error)
            except StopIteration as stop:
                result: T = stop.value
                return result
            outcome = error = None
            try:
                outcome = await self._carry_out(effect)
            except BaseException as caught:
                # Also a cancellation: the operation has to clean up.
                error = caught

    async def _carry_out(self, effect: Effect) -> Any:
        match effect:
            case Send(request):
                return await self._transport.send(request)
            case Open(request):
                return await self._transport.open(request)
            case ReadLine(stream, timeout):
                assert isinstance(stream, AsyncStream)  # noqa: S101  # open() has returned it
                return await stream.read_line(timeout)
            case Pause(seconds):
                return await asyncio.sleep(seconds)

    async def close(self) -> None:
        """Drops all connections. The client stays usable."""
        await self._transport.close()
        self.followers.close()

    async def __aenter__(self) -> Self:
        self._users += 1
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Drops all connections when the last who entered leaves."""
        self._users -= 1
        if self._users == 0:
            await self.close()


class _Lock:
    """Guards the shared clients. A forked process goes on with them; their transports make new connections."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        _fork.watch(self)

    def _after_fork(self) -> None:
        self._lock = threading.Lock()

    def __enter__(self) -> None:
        self._lock.acquire()

    def __exit__(self, *exception: object) -> None:
        self._lock.release()


_lock = _Lock()
_shared: dict[tuple[Any, ...], Client] = {}
_shared_async: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, dict[tuple[Any, ...], AsyncClient]] = (
    weakref.WeakKeyDictionary()
)


def _key(config: Config) -> tuple[Any, ...]:
    """Tells configurations apart, with what they depend on besides themselves."""
    return config, os.environ.get("KUBECONFIG"), os.environ.get("HOME")


def shared_client(config: Config | None) -> Client:
    """Returns the client that all who have this configuration share."""
    config = config or Config()
    with _lock:
        client = _shared.get(_key(config))
        if client is None:
            client = _shared[_key(config)] = Client(config)
        return client


def shared_async_client(config: Config | None) -> AsyncClient:
    """Returns the client that all who have this configuration share in the running event loop."""
    config = config or Config()
    with _lock:
        clients = _shared_async.setdefault(asyncio.get_running_loop(), {})
        client = clients.get(_key(config))
        if client is None:
            client = clients[_key(config)] = AsyncClient(config)
        return client
