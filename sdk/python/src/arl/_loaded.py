"""A configuration that was read: the server, how to be sure of it, and who asks."""

from __future__ import annotations

import os
import ssl
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from arl._credentials import Source, stamp_of
from arl.errors import ConfigError

if TYPE_CHECKING:
    from kubernetes.client import Configuration

Stamps = tuple[tuple[int, int, int] | None, ...]


@dataclass
class Loaded:
    """A configuration that was read, and what it was read from."""

    configuration: Configuration
    source: Source
    """Who asks."""
    files: Sequence[str] = ()
    """The kubeconfig files."""
    stamps: Stamps = ()
    proxy: str | None = None
    """The proxy that the kubeconfig names."""
    tls: ssl.SSLContext | None = field(init=False)
    """How to be sure of the server, with the certificate of the kubeconfig if it has one; None without TLS."""

    def __post_init__(self) -> None:
        # At once, while the files are there: those that the Kubernetes client
        # makes of a kubeconfig go with the first process that ends, be it a
        # forked one.
        self._authorities = self._read_authorities()
        self.tls = self._context()
        if self.tls is not None and self.configuration.cert_file:
            with _bad_files():
                self.tls.load_cert_chain(self.configuration.cert_file, self.configuration.key_file)

    @property
    def server(self) -> str:
        """Returns the server's URL, without a slash at its end."""
        return str(self.configuration.host)

    def changed(self) -> bool:
        """Returns whether the kubeconfig was written anew, as a server does that starts on another port."""
        return bool(self.files) and stamps_of(self.files) != self.stamps

    def tls_with(self, certificate: tuple[str, str] | None) -> ssl.SSLContext | None:
        """Returns how to be sure of the server and to show it a client certificate, given as PEM with its key."""
        if certificate is None or self.tls is None:
            return self.tls
        context = self._context()
        assert context is not None  # noqa: S101  # as tls is not None
        # OpenSSL reads certificates from files alone. Only this user can read this one.
        handle, path = tempfile.mkstemp(suffix=".pem")
        try:
            with os.fdopen(handle, "w") as file:
                file.write("\n".join(certificate))
            with _bad_files():
                context.load_cert_chain(path)
        finally:
            Path(path).unlink()
        return context

    def _read_authorities(self) -> str | bytes | None:
        if self.configuration.ca_cert_data:
            return self.configuration.ca_cert_data  # type: ignore[no-any-return]  # the library's types say Any
        path = self.configuration.ssl_ca_cert
        if not path:
            return None
        with _bad_files():
            # Comments in it may be in any language.
            text = Path(path).read_text(encoding="ascii", errors="ignore")
            if not text.strip():
                # Without any, OpenSSL would take those of the system.
                raise ValueError(f"{path} is empty")
            return text

    def _context(self) -> ssl.SSLContext | None:
        if not self.server.startswith("https://"):
            return None
        with _bad_files():
            context = ssl.create_default_context(cadata=self._authorities)
        if not self.configuration.verify_ssl or self.configuration.assert_hostname is False:
            context.check_hostname = False
        if not self.configuration.verify_ssl:
            context.verify_mode = ssl.CERT_NONE
        return context


@contextmanager
def _bad_files() -> Iterator[None]:
    """Turns what OpenSSL and the file system raise into a ConfigError."""
    try:
        yield
    except (OSError, ValueError) as error:
        raise ConfigError(f"a certificate or key of the configuration cannot be used: {error}") from error


def stamps_of(files: Sequence[str]) -> Stamps:
    """Returns what changes when one of the files does."""
    return tuple(stamp_of(path) for path in files)
