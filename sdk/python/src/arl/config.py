"""Which server to talk to, and as whom.

In this order: what the program names, $KUBECONFIG, ~/.kube/config, and the
service account of the pod that the program runs in. Credential plugins, tokens
that are renewed and proxies work as they do for kubectl.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from arl._credentials import Fixed, Library, Source, TokenFile
from arl._loaded import Loaded, stamps_of
from arl._plugin import ExecPlugin, Plugin
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
    """How long each request is tried while the server gives no answer, in seconds."""

    def load(self) -> Loaded:
        """Reads the configuration. Raises ConfigError if there is none, or it is bad."""
        if self.server is not None:
            return self._explicit()
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

    def _explicit(self) -> Loaded:
        from kubernetes.client import Configuration

        server = self.server or ""
        if not server.startswith(("https://", "http://")):
            raise ConfigError(f"server {server!r} must begin with https:// or http://")
        if self.ca_file is not None and not Path(self.ca_file).is_file():
            raise ConfigError(f"ca_file {self.ca_file!r} is no file")
        loaded = Configuration(host=server.rstrip("/"))
        loaded.ssl_ca_cert = self.ca_file
        loaded.verify_ssl = self.verify
        header = f"Bearer {self.token.strip()}" if self.token is not None else None
        return Loaded(loaded, Fixed(header))

    def _paths(self) -> str | None:
        """Returns the kubeconfig files to read, or None for the pod's service account."""
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
        from kubernetes.client import Configuration
        from kubernetes.config.kube_config import KubeConfigLoader, KubeConfigMerger

        configuration = Configuration()
        # A file that is written anew just now is read again.
        files = paths.split(os.pathsep)
        stamps = stamps_of(files)
        try:
            merger = KubeConfigMerger(paths)
            if merger.config is None:
                raise FileNotFoundError("there is no such file")
            source = _source(merger.config, self.context, configuration)
            loader = KubeConfigLoader(
                config_dict=merger.config, active_context=self.context, config_persister=merger.save_changes
            )
            loader.load_and_set(configuration)
        except Exception as error:
            raise ConfigError(
                f"cannot use the kubeconfig {paths}: {error}. Check KUBECONFIG, and the context; a standalone server "
                "writes one into its data directory"
            ) from error
        proxy = getattr(loader, "proxy", None)
        return Loaded(configuration, source, files, stamps, proxy)

    def _from_pod(self) -> Loaded:
        from kubernetes import config
        from kubernetes.client import Configuration
        from kubernetes.config import incluster_config

        configuration = Configuration()
        try:
            config.load_incluster_config(client_configuration=configuration)
        except Exception as error:
            raise ConfigError(
                f"cannot use the service account of this pod: {error}. Give the pod one, or pass a kubeconfig"
            ) from error
        return Loaded(configuration, TokenFile(incluster_config.SERVICE_TOKEN_FILENAME))


def _source(merged: Any, context: str | None, configuration: Configuration) -> Source:
    """Returns who asks, and takes out of a kubeconfig the credentials that this package renews itself.

    The Kubernetes client reads a tokenFile once, and neither a 401 nor a client
    certificate that expires makes it run a plugin again.
    """
    chosen = merged["contexts"].get_with_name(context or merged["current-context"])["context"]
    node = merged["users"].get_with_name(chosen["user"], safe=True) if chosen.safe_get("user") else None
    user = node.value.get("user") if node is not None else None
    if node is None or not isinstance(user, dict):
        return Fixed()
    folder = str(Path(node.path or ".").absolute().parent)
    if user.get("tokenFile"):
        return TokenFile(str(Path(folder, user.pop("tokenFile"))))
    if user.get("exec") and not user.get("token"):
        cluster = merged["clusters"].get_with_name(chosen["cluster"])
        return ExecPlugin(Plugin(user.pop("exec"), folder, cluster.value.get("cluster") or {}))
    return Library(configuration, slow="auth-provider" in user)
