"""Credentials of exec plugins: programs that a kubeconfig names, such as `aws eks get-token`.

The plugin is run when there is no credential yet, when the one there is has
expired, and when the server has refused it. Threads that need a new credential
at the same time share one run.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from arl import _fork
from arl._credentials import Credential
from arl.errors import ConfigError

VERSIONS = ("client.authentication.k8s.io/v1", "client.authentication.k8s.io/v1beta1")
# A plugin that asks nobody anything, and takes longer than this, hangs.
RUN_SECONDS = 120.0
MAX_SAID = 500


@dataclass(frozen=True)
class Plugin:
    """What a kubeconfig says about its plugin: the user's `exec`, where the file is, and the cluster."""

    settings: Mapping[str, Any]
    folder: str
    cluster: Mapping[str, Any] = field(default_factory=dict)


class ExecPlugin:
    """The credentials that one plugin issues."""

    slow = True

    def __init__(self, plugin: Plugin) -> None:
        self._plugin = plugin
        self._lock = threading.Lock()
        self._credential: Credential | None = None
        self._expires: datetime | None = None
        _fork.watch(self)

    def _after_fork(self) -> None:
        self._lock = threading.Lock()

    def current(self, refused: Credential | None = None) -> Credential:
        """Returns a credential that has not expired and, if it can be had, is not the refused one."""
        with self._lock:
            known = self._credential
            expired = self._expires is not None and datetime.now(timezone.utc) >= self._expires
            if known is None or expired or known is refused:
                credential, self._expires = parse(run(self._plugin), self._plugin)
                if known is None or _differ(known, credential):
                    known = self._credential = credential
            return known


def _differ(one: Credential, other: Credential) -> bool:
    return (one.authorization, one.certificate) != (other.authorization, other.certificate)


def run(plugin: Plugin) -> str:
    """Runs a plugin and returns what it wrote to standard output. Raises ConfigError if it fails."""
    settings = plugin.settings
    command = _program(plugin)
    interactive = settings.get("interactiveMode") != "Never" and sys.stdin is not None and sys.stdin.isatty()
    if settings.get("interactiveMode") == "Always" and not interactive:
        raise _failed(plugin, "it has to ask you something, and standard input is no terminal")
    spec: dict[str, Any] = {"interactive": interactive}
    if settings.get("provideClusterInfo"):
        spec["cluster"] = _cluster(plugin.cluster, plugin.folder)
    info = {"apiVersion": _version(plugin), "kind": "ExecCredential", "spec": spec}
    env = {**os.environ, **{item["name"]: item["value"] for item in settings.get("env") or []}}
    env["KUBERNETES_EXEC_INFO"] = json.dumps(info)
    try:
        done = subprocess.run(  # noqa: S603  # to run what the kubeconfig names is what it is for
            [command, *(settings.get("args") or [])],
            env=env,
            stdin=None if interactive else subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=None if interactive else subprocess.PIPE,
            timeout=None if interactive else RUN_SECONDS,
            text=True,
            errors="replace",
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise _failed(plugin, f"it did not end within {RUN_SECONDS:g} s") from None
    except OSError as error:
        raise _failed(plugin, f"it cannot be started: {error.strerror or error}") from error
    if done.returncode != 0:
        said = (done.stderr or "").strip()[-MAX_SAID:]
        raise _failed(plugin, f"it exited with code {done.returncode}" + (f": {said}" if said else ""))
    return done.stdout


def parse(text: str, plugin: Plugin) -> tuple[Credential, datetime | None]:
    """Reads the ExecCredential that a plugin wrote, and until when it is good. Raises ConfigError."""
    try:
        document = json.loads(text)
        status = document["status"]
        version = document["apiVersion"]
        token, certificate, key = (
            status.get(name) or None for name in ("token", "clientCertificateData", "clientKeyData")
        )
        expiry = status.get("expirationTimestamp")
        expires = TypeAdapter(datetime).validate_python(expiry) if expiry else None
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise _failed(plugin, f"it did not write an ExecCredential with a status: {error}") from error
    if version != _version(plugin):
        raise _failed(plugin, f"it wrote apiVersion {version}, and the kubeconfig says {_version(plugin)}")
    if (certificate is None) != (key is None) or (token is None and certificate is None):
        raise _failed(plugin, "its status needs a token, or clientCertificateData with clientKeyData")
    if expires is not None and expires.tzinfo is None:
        expires = expires.replace(tzinfo=timezone.utc)
    pair = (certificate, key) if certificate is not None and key is not None else None
    return Credential(f"Bearer {token}" if token else None, pair), expires


def _program(plugin: Plugin) -> str:
    command = plugin.settings.get("command")
    if not isinstance(command, str) or not command:
        raise _failed(plugin, "the kubeconfig names no command")
    if "/" in command or os.sep in command:
        # As in kubectl, a path is relative to the kubeconfig.
        return str(Path(plugin.folder, command))
    found = shutil.which(command)
    if found is None:
        raise _failed(plugin, "there is no such program in PATH")
    return found


def _version(plugin: Plugin) -> str:
    version = str(plugin.settings.get("apiVersion"))
    if version not in VERSIONS:
        raise _failed(plugin, f"its apiVersion is {version}; it can be {' or '.join(VERSIONS)}")
    return version


def _cluster(cluster: Mapping[str, Any], folder: str) -> dict[str, Any]:
    """Returns what a plugin is told about the cluster, by the names of ExecCredential."""
    names = ("server", "tls-server-name", "insecure-skip-tls-verify", "certificate-authority-data", "proxy-url")
    info = {name: cluster[name] for name in names if cluster.get(name)}
    authority = cluster.get("certificate-authority")
    if authority and "certificate-authority-data" not in info:
        import base64

        info["certificate-authority-data"] = base64.b64encode(Path(folder, authority).read_bytes()).decode()
    for extension in cluster.get("extensions") or []:
        if extension.get("name") == "client.authentication.k8s.io/exec":
            info["config"] = extension.get("extension")
    return info


def _failed(plugin: Plugin, why: str) -> ConfigError:
    hint = plugin.settings.get("installHint")
    return ConfigError(
        f"the credential plugin {plugin.settings.get('command')!r} of the kubeconfig gives no credentials: {why}. "
        + (str(hint).strip() if hint else "Run it by hand, or choose another user in the kubeconfig")
    )
