"""Which server to talk to, and as whom.

In this order: what the program names, $KUBECONFIG, ~/.kube/config, and the
service account of the pod that the program runs in. The official Kubernetes
client reads them, so credential plugins, tokens that are renewed and proxies
work as they do for other tools.
"""

from __future__ import annotations

import os
import ssl
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from arl.errors import ConfigError

if TYPE_CHECKING:
    from kubernetes.client import Configuration

DEFAULT_KUBECONFIG = "~/.kube/config"


@dataclass(frozen=True)
class Config:
    """Where the server is and how long to be patient with it.

    Without arguments: $KUBECONFIG, else ~/.kube/config, else in-cluster. With a
    `server`, nothing else is looked at.
    """

    server: str | None = None
    """The URL of the API server, such as https://arl-apiserver.arl-system.svc."""
    token: str | None = field(default=None, repr=False)
    """A bearer token; only with `server`."""
    ca_file: str | None = None
    """The file of the authority that signed the server's certificate; only with `server`.
    The system's authorities by default."""
    verify: bool = True
    """Whether the server's certificate is checked; only with `server`. Leave it on."""
    kubeconfig: str | os.PathLike[str] | None = None
    """A kubeconfig file, or several joined by a colon."""
    context: str | None = None
    """The context of the kubeconfig; its current one by default."""
    in_cluster: bool = False
    """Take the service account of this pod, whatever kubeconfig there is."""
    retry_seconds: float = 60.0
    """How long to go on trying while the server gives no answer. While it never
    has, a sixth of it."""

    def load(self) -> Loaded:
        """Reads the configuration. Raises ConfigError if there is none, or it is bad."""
        if self.server is not None:
            return Loaded(self._explicit(), None)
        if self.token is not None or self.ca_file is not None or not self.verify:
            raise ConfigError("token, ca_file and verify are for a server given by its URL: name the server, too")
        paths = self._paths()
        if paths is not None:
            return self._from_kubeconfig(paths)
        if not self.in_cluster and "KUBERNETES_SERVICE_HOST" not in os.environ:
            raise ConfigError(
                "no server is known: there is no kubeconfig and this is no pod. Do one of: export "
                "KUBECONFIG=/path/to/arl-data/kubeconfig; make ~/.kube/config; pass "
                "config=Config(server=..., token=...)"
            )
        return self._from_pod()

    def _explicit(self) -> Configuration:
        from kubernetes.client import Configuration

        server = self.server or ""
        if not server.startswith(("https://", "http://")):
            raise ConfigError(f"server {server!r} must begin with https:// or http://")
        if self.ca_file is not None and not Path(self.ca_file).is_file():
            raise ConfigError(f"ca_file {self.ca_file!r} is no file")
        loaded = Configuration(host=server.rstrip("/"))
        loaded.ssl_ca_cert = self.ca_file
        loaded.verify_ssl = self.verify
        if self.token is not None:
            loaded.api_key["authorization"] = f"Bearer {self.token.strip()}"
        return loaded

    def _paths(self) -> str | None:
        """Are the kubeconfig files to read, or None for the pod's service account."""
        if self.in_cluster:
            return None
        if self.kubeconfig is not None:
            return os.fspath(self.kubeconfig)
        named = os.environ.get("KUBECONFIG")
        if named:
            return named
        default = Path(DEFAULT_KUBECONFIG).expanduser()
        return str(default) if default.is_file() else None

    def _from_kubeconfig(self, paths: str) -> Loaded:
        from kubernetes import config
        from kubernetes.client import Configuration

        loaded = Configuration()
        # A file that is written anew just now is read again.
        stamp = _stamp(paths)
        try:
            config.load_kube_config(config_file=paths, context=self.context, client_configuration=loaded)
        except Exception as error:
            raise ConfigError(
                f"cannot use the kubeconfig {paths}: {error}. Check KUBECONFIG, and the context; a standalone server "
                "writes one into its data directory"
            ) from error
        return Loaded(loaded, paths, stamp)

    def _from_pod(self) -> Loaded:
        from kubernetes import config
        from kubernetes.client import Configuration

        loaded = Configuration()
        try:
            config.load_incluster_config(client_configuration=loaded)
        except Exception as error:
            raise ConfigError(
                f"cannot use the service account of this pod: {error}. Give the pod one, or pass a kubeconfig"
            ) from error
        return Loaded(loaded, None)


@dataclass
class Loaded:
    """A configuration that was read, and what it was read from."""

    configuration: Configuration
    paths: str | None = None
    stamp: Any = None
    tls: ssl.SSLContext | None = field(init=False)

    def __post_init__(self) -> None:
        # At once, while the files are there: those that the Kubernetes client
        # makes of a kubeconfig go with the first process that ends, be it a
        # forked one.
        self.tls = _tls(self.configuration)

    def changed(self) -> bool:
        """Says whether the kubeconfig was written anew, as a server does that starts on another port."""
        return self.paths is not None and _stamp(self.paths) != self.stamp

    def headers(self) -> dict[str, str]:
        """Are the headers that say who asks. May read a file or run a credential plugin."""
        token = self.configuration.get_api_key_with_prefix("authorization", "BearerToken")
        if token:
            return {"authorization": token}
        if self.configuration.username and self.configuration.password:
            return {"authorization": self.configuration.get_basic_auth_token()}
        return {}


def _tls(configuration: Configuration) -> ssl.SSLContext | None:
    """Is how to make sure of the server and to say who asks; None without TLS."""
    if not str(configuration.host).startswith("https://"):
        return None
    try:
        context = ssl.create_default_context(cafile=configuration.ssl_ca_cert, cadata=configuration.ca_cert_data)
        if configuration.cert_file:
            context.load_cert_chain(configuration.cert_file, configuration.key_file)
    except (OSError, ValueError) as error:
        raise ConfigError(f"a certificate or key of the configuration cannot be used: {error}") from error
    if not configuration.verify_ssl or configuration.assert_hostname is False:
        context.check_hostname = False
    if not configuration.verify_ssl:
        context.verify_mode = ssl.CERT_NONE
    return context


def _stamp(paths: str) -> tuple[tuple[int, int, int] | None, ...]:
    """Changes when one of the files does."""

    def one(path: str) -> tuple[int, int, int] | None:
        try:
            status = Path(path).expanduser().stat()
        except OSError:
            return None
        return status.st_ino, status.st_mtime_ns, status.st_size

    return tuple(one(path) for path in paths.split(os.pathsep))
