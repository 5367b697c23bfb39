"""Who asks: credentials that are renewed when they expire and when the server refuses them.

A Source is asked for its Credential before each request, and again, with the one
that was refused, after an answer of 401. _plugin.py has the Source of exec plugins.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from arl import _fork
from arl.errors import ConfigError

if TYPE_CHECKING:
    from kubernetes.client import Configuration


@dataclass(frozen=True, eq=False)
class Credential:
    """What a request carries. Two are the same only if they are one object."""

    authorization: str | None = None
    """The Authorization header."""
    certificate: tuple[str, str] | None = None
    """A client certificate and its key, as PEM."""


class Source(Protocol):
    """Where credentials come from. May be used by several threads."""

    slow: bool
    """Whether current() may take long enough to be kept out of an event loop."""

    def current(self, refused: Credential | None = None) -> Credential:
        """Returns the credential to use, a new one if possible in place of one that the server refused.

        Raises ConfigError if there is none.
        """


class Fixed:
    """A credential that never changes."""

    slow = False

    def __init__(self, authorization: str | None = None) -> None:
        self._credential = Credential(authorization)

    def current(self, refused: Credential | None = None) -> Credential:
        """Returns the credential."""
        return self._credential


class TokenFile:
    """A token in a file that is replaced before the token expires, as a pod's own is."""

    slow = False

    def __init__(self, path: str) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._stamp: tuple[int, int, int] | None = None
        self._credential = Credential()
        _fork.watch(self)

    def _after_fork(self) -> None:
        self._lock = threading.Lock()

    def current(self, refused: Credential | None = None) -> Credential:
        """Returns the token that is in the file now."""
        with self._lock:
            stamp = stamp_of(self._path)
            if stamp is None or stamp != self._stamp or refused is self._credential:
                self._read()
                self._stamp = stamp
            return self._credential

    def _read(self) -> None:
        try:
            token = Path(self._path).read_text(encoding="utf-8").strip()
        except (OSError, ValueError) as error:
            raise ConfigError(f"the token file {self._path} cannot be read: {error}") from error
        if not token:
            raise ConfigError(f"the token file {self._path} is empty: it is to hold a bearer token")
        if self._credential.authorization != f"Bearer {token}":
            self._credential = Credential(f"Bearer {token}")


class Library:
    """What the Kubernetes client makes of a kubeconfig: tokens, passwords, auth providers."""

    def __init__(self, configuration: Configuration, *, slow: bool) -> None:
        self.slow = slow
        self._configuration = configuration
        self._lock = threading.Lock()
        self._credential = Credential()
        _fork.watch(self)

    def _after_fork(self) -> None:
        self._lock = threading.Lock()

    def current(self, refused: Credential | None = None) -> Credential:
        """Returns the credential; an auth provider renews it when it expires."""
        with self._lock:
            header = self._configuration.get_api_key_with_prefix("authorization", "BearerToken")
            if not header and self._configuration.username and self._configuration.password:
                header = self._configuration.get_basic_auth_token()
            if header != self._credential.authorization:
                self._credential = Credential(header)
            return self._credential


def stamp_of(path: str) -> tuple[int, int, int] | None:
    """Returns what changes when a file does, or None if there is no such file."""
    try:
        status = Path(path).expanduser().stat()
    except OSError:
        return None
    return status.st_ino, status.st_mtime_ns, status.st_size
