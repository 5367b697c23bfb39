"""The transport of the asyncio half: aiohttp, with the same configuration as the other."""

from __future__ import annotations

import asyncio
import os
from typing import Any

import aiohttp

from arl._core.effects import ConnectionFailed, LineTimeout, Request, Response
from arl.config import Config, Loaded

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
        """Is the next line, or None at the end."""
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
        self._owner: tuple[int, asyncio.AbstractEventLoop] | None = None
        # Connections that were dropped and whose sockets are not closed yet.
        self._closing: set[asyncio.Future[None]] = set()

    @property
    def server(self) -> str:
        """Is the server's address."""
        return str(self._loaded.configuration.host)

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
        session = self._current()
        configuration = self._loaded.configuration
        headers = {"accept": "application/json", "user-agent": "arl-env", **await self._headers()}
        if request.body is not None:
            headers["content-type"] = request.content_type
        options: dict[str, Any] = {}
        if configuration.tls_server_name:
            options["server_hostname"] = configuration.tls_server_name
        if self._proxy() is not None:
            options["proxy"] = self._proxy()
        try:
            return await asyncio.wait_for(
                session.request(
                    request.method,
                    str(configuration.host) + request.path,
                    params=dict(request.query),
                    data=request.body,
                    headers=headers,
                    allow_redirects=False,
                    ssl=self._loaded.tls or True,
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

    async def _headers(self) -> dict[str, str]:
        if self._loaded.configuration.refresh_api_key_hook is None:
            return self._loaded.headers()
        # The hook may read a file or run a program.
        return await asyncio.to_thread(self._loaded.headers)

    async def _whole(self, response: aiohttp.ClientResponse, timeout: float) -> Response:
        try:
            body = await asyncio.wait_for(response.read(), timeout)
        except (aiohttp.ClientError, asyncio.TimeoutError, TimeoutError, OSError) as error:
            _drop(response, self._closing)
            raise ConnectionFailed(str(error) or type(error).__name__) from error
        headers = {name.lower(): value for name, value in response.headers.items()}
        return Response(response.status, headers, body)

    def _current(self) -> aiohttp.ClientSession:
        owner = (os.getpid(), asyncio.get_running_loop())
        if self._session is None or self._session.closed or self._owner != owner:
            # Connections belong to the process and the loop that made them.
            self._session = aiohttp.ClientSession(
                # Each session of a user holds one connection for its watch.
                connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=60),
            )
            self._owner = owner
            self._closing = set()
        return self._session

    async def _refresh(self) -> None:
        """Reads the kubeconfig again if it has changed."""
        if self._loaded.changed():
            self._loaded = await asyncio.to_thread(self._config.load)
            await self.close()

    def _proxy(self) -> str | None:
        from kubernetes.client.rest import should_bypass_proxies

        configuration = self._loaded.configuration
        if not configuration.proxy or should_bypass_proxies(configuration.host, configuration.no_proxy or ""):
            return None
        return str(configuration.proxy)


def _drop(response: aiohttp.ClientResponse, closing: set[asyncio.Future[None]]) -> None:
    """Closes a response that was not read to its end, without TLS's farewell, which takes a round trip."""
    protocol = response.connection.protocol if response.connection is not None else None
    if protocol is not None:
        closed = protocol.closed
        protocol.abort()
        if closed is not None:
            closing.add(closed)
            closed.add_done_callback(closing.discard)
    response.close()
