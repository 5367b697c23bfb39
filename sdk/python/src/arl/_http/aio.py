"""The transport of the asyncio half: aiohttp, with the same configuration as the other."""

from __future__ import annotations

import asyncio
import os
import ssl
from typing import Any

import aiohttp

from arl import _fork
from arl._core.effects import ConnectionFailed, LineTimeout, Request, Response
from arl._credentials import Credential
from arl._http import UNAUTHORIZED, USER_AGENT
from arl._http.proxy import proxy_for
from arl._loaded import Loaded
from arl.config import Config

CONNECT_SECONDS = 10.0
# How long to wait for sockets to be closed, so that the event loop can end.
CLOSE_SECONDS = 5.0


class AsyncStream:
    """A response that is read line by line."""

    def __init__(self, response: aiohttp.ClientResponse, closing: set[asyncio.Future[None]]) -> None:
        self._response = response
        self._closing = closing
        self._rest = b""

    async def read_line(self, timeout: float) -> bytes | None:  # the caller's own deadline
        """Returns the next line, or None at the end."""
        while b"\n" not in self._rest:
            try:
                chunk = await asyncio.wait_for(self._response.content.readany(), timeout)
            except (asyncio.TimeoutError, TimeoutError):
                raise LineTimeout from None
            except (aiohttp.ClientError, OSError) as error:
                raise ConnectionFailed(str(error) or type(error).__name__) from error
            if not chunk:
                return None
            self._rest += chunk
        line, _, self._rest = self._rest.partition(b"\n")
        return line

    def close(self) -> None:
        """Drops the connection."""
        _drop(self._response, self._closing)


class AsyncTransport:
    """Sends requests, within one event loop."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._loaded: Loaded = config.load()
        self._session: aiohttp.ClientSession | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._context: tuple[Loaded, tuple[str, str] | None, ssl.SSLContext | None] | None = None
        # Connections that were dropped and whose sockets are not closed yet.
        self._closing: set[asyncio.Future[None]] = set()
        _fork.watch(self)

    @property
    def server(self) -> str:
        """Returns the server's address."""
        return self._loaded.server

    async def send(self, request: Request) -> Response:
        """Sends a request and reads the whole response."""
        response = await self._start(request)
        return await self._whole(response, request.timeout)

    async def open(self, request: Request) -> AsyncStream | Response:
        """Sends a request and leaves the response to be read, if its status is 200."""
        response = await self._start(request)
        if response.status == 200:
            return AsyncStream(response, self._closing)
        return await self._whole(response, request.timeout)

    async def close(self) -> None:
        """Drops all connections. The transport stays usable."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()
            if self._closing:
                await asyncio.wait(self._closing, timeout=CLOSE_SECONDS)

    async def _start(self, request: Request) -> aiohttp.ClientResponse:
        credential = await self._credential()
        response = await self._attempt(request, credential)
        if response.status != UNAUTHORIZED:
            return response
        # It may have expired on the server's clock, or been revoked.
        await self._refresh()
        renewed = await self._credential(refused=credential)
        if renewed is credential:
            return response
        response.release()
        return await self._attempt(request, renewed)

    async def _attempt(self, request: Request, credential: Credential) -> aiohttp.ClientResponse:
        session = self._current()
        loaded = self._loaded
        headers = {"accept": "application/json", "user-agent": USER_AGENT}
        if credential.authorization:
            headers["authorization"] = credential.authorization
        if request.body is not None:
            headers["content-type"] = request.content_type
        options: dict[str, Any] = {}
        if loaded.configuration.tls_server_name:
            options["server_hostname"] = loaded.configuration.tls_server_name
        try:
            return await asyncio.wait_for(
                session.request(
                    request.method,
                    loaded.server + request.path,
                    params=dict(request.query),
                    data=request.body,
                    headers=headers,
                    allow_redirects=False,
                    ssl=self._tls(credential) or True,
                    proxy=proxy_for(loaded.server, loaded.proxy),
                    timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_SECONDS),
                    **options,
                ),
                request.timeout,
            )
        except aiohttp.ClientConnectorCertificateError as error:
            raise ConnectionFailed(str(error), permanent=True) from error
        except (aiohttp.ClientError, asyncio.TimeoutError, TimeoutError, OSError) as error:
            await self._refresh()
            raise ConnectionFailed(str(error) or type(error).__name__) from error

    async def _credential(self, refused: Credential | None = None) -> Credential:
        source = self._loaded.source
        if not source.slow:
            return source.current(refused)
        # It may read a file or run a program.
        return await asyncio.to_thread(source.current, refused)

    def _tls(self, credential: Credential) -> ssl.SSLContext | None:
        """Returns one context for each certificate: connections are shared by those that have the same one."""
        known = self._context
        if known is None or known[0] is not self._loaded or known[1] != credential.certificate:
            known = (self._loaded, credential.certificate, self._loaded.tls_with(credential.certificate))
            self._context = known
        return known[2]

    async def _whole(self, response: aiohttp.ClientResponse, timeout: float) -> Response:
        try:
            body = await asyncio.wait_for(response.read(), timeout)
        except (aiohttp.ClientError, asyncio.TimeoutError, TimeoutError, OSError) as error:
            _drop(response, self._closing)
            raise ConnectionFailed(str(error) or type(error).__name__) from error
        headers = {name.lower(): value for name, value in response.headers.items()}
        return Response(response.status, headers, body)

    def _current(self) -> aiohttp.ClientSession:
        loop = asyncio.get_running_loop()
        if self._session is None or self._session.closed or self._loop is not loop:
            # Connections belong to the loop that made them.
            self._session = aiohttp.ClientSession(
                # Each session of a user holds one connection for its watch.
                connector=_Connector(limit=0, keepalive_timeout=60),
            )
            self._loop = loop
            self._closing = set()
        return self._session

    def _after_fork(self) -> None:
        session, self._session = self._session, None
        if session is not None:
            # Its connections are the parent's, and so is the selector that knows of them.
            session.detach()
        self._closing = set()

    async def _refresh(self) -> None:
        """Reads the kubeconfig again if it has changed."""
        if self._loaded.changed():
            self._loaded = await asyncio.to_thread(self._config.load)
            await self.close()


class _Connector(aiohttp.TCPConnector):
    """Connections that only the process that opened them closes when they are forgotten.

    A forked process shares the selector of its parent's event loop: to close a
    connection there would have the parent wait on it for ever.
    """

    def __init__(self, *, limit: int, keepalive_timeout: float) -> None:
        super().__init__(limit=limit, keepalive_timeout=keepalive_timeout)
        self._made_by = os.getpid()

    def __del__(self, *arguments: Any) -> None:
        if self._made_by == os.getpid():
            super().__del__(*arguments)


def _drop(response: aiohttp.ClientResponse, closing: set[asyncio.Future[None]]) -> None:
    """Closes a response that was not read to its end, without TLS's closing message, which takes a round trip."""
    protocol = response.connection.protocol if response.connection is not None else None
    if protocol is not None:
        closed = protocol.closed
        protocol.abort()
        if closed is not None:
            closing.add(closed)
            closed.add_done_callback(closing.discard)
    response.close()
