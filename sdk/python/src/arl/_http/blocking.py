"""The transport of the blocking half: urllib3."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote, urlencode, urlsplit

import urllib3
from urllib3.exceptions import HTTPError, MaxRetryError, ReadTimeoutError, SSLError
from urllib3.util import Timeout

from arl import _fork
from arl._core.effects import ConnectionFailed, LineTimeout, Request, Response
from arl._credentials import Credential
from arl._http import UNAUTHORIZED, USER_AGENT
from arl._http.proxy import proxy_for
from arl._loaded import Loaded
from arl.config import Config

CONNECT_SECONDS = 10.0
# How many idle connections are kept. More may be in use at a time.
KEPT_CONNECTIONS = 32


class BlockingStream:
    """A response that is read line by line."""

    def __init__(self, response: urllib3.BaseHTTPResponse) -> None:
        self._response = response
        self._chunks: Iterator[bytes] = response.stream(amt=None, decode_content=True)
        self._rest = b""

    def read_line(self, timeout: float) -> bytes | None:
        """Returns the next line, or None at the end."""
        while b"\n" not in self._rest:
            # The timeout is that of a read from the socket, so it is set for each.
            connection: Any = self._response.connection
            if connection is not None and connection.sock is not None:
                connection.sock.settimeout(max(0.001, timeout))
            try:
                chunk = next(self._chunks, None)
            except ReadTimeoutError:
                raise LineTimeout from None
            except (HTTPError, OSError, ValueError) as error:
                raise ConnectionFailed(str(error)) from error
            if chunk is None:
                return None
            self._rest += chunk
        line, _, self._rest = self._rest.partition(b"\n")
        return line

    def close(self) -> None:
        """Drops the connection."""
        self._response.close()


class BlockingTransport:
    """Sends requests. May be used by several threads."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._lock = threading.Lock()
        self._loaded: Loaded = config.load()
        self._pools: _Pools | None = None
        _fork.watch(self)

    def _after_fork(self) -> None:
        # The connections stay open, as the parent's; both would write to them.
        self._lock, self._pools = threading.Lock(), None

    @property
    def server(self) -> str:
        """Returns the server's address."""
        return self._loaded.server

    def send(self, request: Request) -> Response:
        """Sends a request and reads the whole response."""
        response = self._start(request, preload=True)
        return _whole(response)

    def open(self, request: Request) -> BlockingStream | Response:
        """Sends a request and leaves the response to be read, if its status is 200."""
        response = self._start(request, preload=False)
        if response.status == 200:
            return BlockingStream(response)
        try:
            return _whole(response)
        except (HTTPError, OSError) as error:
            raise ConnectionFailed(str(error)) from error

    def close(self) -> None:
        """Drops all idle connections. The transport stays usable."""
        pools = self._pools
        if pools is not None:
            pools.manager.clear()

    def _start(self, request: Request, *, preload: bool) -> urllib3.BaseHTTPResponse:
        credential = self._loaded.source.current()
        response = self._attempt(request, credential, preload=preload)
        if response.status != UNAUTHORIZED:
            return response
        # It may have expired on the server's clock, or been revoked.
        self._refresh()
        renewed = self._loaded.source.current(refused=credential)
        if renewed is credential:
            return response
        response.drain_conn()
        return self._attempt(request, renewed, preload=preload)

    def _attempt(self, request: Request, credential: Credential, *, preload: bool) -> urllib3.BaseHTTPResponse:
        loaded, manager = self._current(credential)
        url = loaded.server + request.path
        if request.query:
            url += "?" + urlencode(request.query)
        headers = {"accept": "application/json", "user-agent": USER_AGENT}
        if credential.authorization:
            headers["authorization"] = credential.authorization
        if request.body is not None:
            headers["content-type"] = request.content_type
        try:
            return manager.request(
                request.method,
                url,
                body=request.body,
                headers=headers,
                preload_content=preload,
                retries=False,
                redirect=False,
                timeout=Timeout(connect=CONNECT_SECONDS, read=request.timeout),
            )
        except (HTTPError, OSError) as error:
            self._refresh()
            cause = error.reason if isinstance(error, MaxRetryError) else error
            permanent = isinstance(cause, SSLError) and "CERTIFICATE_VERIFY_FAILED" in str(cause)
            raise ConnectionFailed(_plain(cause), permanent=permanent) from error

    def _current(self, credential: Credential) -> tuple[Loaded, urllib3.PoolManager]:
        with self._lock:
            pools = self._pools
            if pools is None or pools.certificate != credential.certificate:
                # Connections speak for the certificate that they were opened with.
                pools = self._pools = _Pools(_manager(self._loaded, credential), credential.certificate)
            return self._loaded, pools.manager

    def _refresh(self) -> None:
        """Reads the kubeconfig again if it has changed."""
        with self._lock:
            if self._loaded.changed():
                self._loaded = self._config.load()
                self._pools = None


@dataclass(frozen=True)
class _Pools:
    """Connections, and the client certificate that they were opened with."""

    manager: urllib3.PoolManager
    certificate: tuple[str, str] | None


def _manager(loaded: Loaded, credential: Credential) -> urllib3.PoolManager:
    options: dict[str, Any] = {"maxsize": KEPT_CONNECTIONS, "ssl_context": loaded.tls_with(credential.certificate)}
    if loaded.configuration.tls_server_name:
        options["server_hostname"] = loaded.configuration.tls_server_name
    proxy = proxy_for(loaded.server, loaded.proxy)
    if proxy is None:
        return urllib3.PoolManager(**options)
    account = urlsplit(proxy)
    if account.username is not None:
        pair = f"{unquote(account.username)}:{unquote(account.password or '')}"
        options["proxy_headers"] = urllib3.util.make_headers(proxy_basic_auth=pair)
    return urllib3.ProxyManager(proxy, **options)


def _whole(response: urllib3.BaseHTTPResponse) -> Response:
    headers = {name.lower(): value for name, value in response.headers.items()}
    body = response.data
    response.release_conn()
    return Response(response.status, headers, body)


def _plain(cause: object) -> str:
    """Returns what went wrong, without the addresses of objects."""
    text = str(cause)
    return text.rsplit(">: ", 1)[-1] if ">: " in text else text
