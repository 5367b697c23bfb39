"""The transport of the blocking half: urllib3, set up by the official Kubernetes client."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlencode

import urllib3
from urllib3.exceptions import HTTPError, MaxRetryError, ReadTimeoutError, SSLError
from urllib3.util import Timeout

from arl._core.effects import ConnectionFailed, LineTimeout, Request, Response
from arl.config import Config, Loaded

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
        """Is the next line, or None at the end."""
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
        self._pools = _pools(self._loaded)
        self._pid = os.getpid()

    @property
    def server(self) -> str:
        """Is the server's address."""
        return str(self._loaded.configuration.host)

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
        self._pools.clear()

    def _start(self, request: Request, *, preload: bool) -> urllib3.BaseHTTPResponse:
        loaded, pools = self._current()
        url = str(loaded.configuration.host) + request.path
        if request.query:
            url += "?" + urlencode(request.query)
        headers = {"accept": "application/json", "user-agent": "arl-env", **loaded.headers()}
        if request.body is not None:
            headers["content-type"] = request.content_type
        try:
            return pools.request(
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

    def _current(self) -> tuple[Loaded, urllib3.PoolManager]:
        with self._lock:
            if self._pid != os.getpid():
                # Both processes would write to the same connections.
                self._pools, self._pid = _pools(self._loaded), os.getpid()
            return self._loaded, self._pools

    def _refresh(self) -> None:
        """Reads the kubeconfig again if it has changed."""
        with self._lock:
            if self._loaded.changed():
                self._loaded = self._config.load()
                self._pools = _pools(self._loaded)


def _pools(loaded: Loaded) -> urllib3.PoolManager:
    from kubernetes.client.rest import RESTClientObject

    configuration = loaded.configuration
    configuration.connection_pool_maxsize = KEPT_CONNECTIONS
    manager: urllib3.PoolManager = RESTClientObject(configuration).pool_manager
    if loaded.tls is not None:
        for files in ("ca_certs", "ca_cert_data", "cert_file", "key_file"):
            manager.connection_pool_kw.pop(files, None)
        manager.connection_pool_kw["ssl_context"] = loaded.tls
    return manager


def _whole(response: urllib3.BaseHTTPResponse) -> Response:
    headers = {name.lower(): value for name, value in response.headers.items()}
    body = response.data
    response.release_conn()
    return Response(response.status, headers, body)


def _plain(cause: object) -> str:
    """Is what went wrong, without the addresses of objects."""
    text = str(cause)
    return text.rsplit(">: ", 1)[-1] if ">: " in text else text
