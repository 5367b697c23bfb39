from __future__ import annotations

import os
import uuid
from collections.abc import Iterator

import pytest

from arl import Client, WarmPoolManager
from arl._core import api
from tests.support.image import python_image
from tests.support.registry import Registry
from tests.support.server import PATIENCE, Server

# The whole suite runs with proxies that answer nothing: all its servers are on this machine.
DEAD_PROXY = "http://127.0.0.1:9"
for _name in ("HTTPS_PROXY", "HTTP_PROXY"):
    os.environ[_name] = os.environ[_name.lower()] = DEAD_PROXY
for _name in ("NO_PROXY", "no_proxy"):
    os.environ.pop(_name, None)


@pytest.fixture(scope="session")
def registry() -> Iterator[Registry]:
    registry = Registry(python_image())
    yield registry
    registry.close()


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory, registry: Registry) -> Iterator[Server]:
    """The server that most tests share."""
    server = Server(tmp_path_factory.mktemp("arl") / "data", "--registry-mirror", f"docker.io={registry.url}")
    server.start()
    yield server
    server.close()


@pytest.fixture
def own_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server that the test may kill."""
    server = Server(tmp_path_factory.mktemp("own") / "data")
    server.start()
    yield server
    server.close()


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    """No test sees the configuration of whoever runs it."""
    monkeypatch.setenv("HOME", str(tmp_path_factory.mktemp("home")))
    for name in ("KUBECONFIG", "KUBERNETES_SERVICE_HOST"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def kubeconfig(server: Server, monkeypatch: pytest.MonkeyPatch) -> str:
    """Has everything talk to the shared server without being told."""
    monkeypatch.setenv("KUBECONFIG", str(server.kubeconfig))
    return str(server.kubeconfig)


@pytest.fixture(scope="session")
def client(server: Server) -> Iterator[Client]:
    with Client(server.config) as client:
        yield client


@pytest.fixture(scope="session")
def pool(client: Client) -> str:
    """A pool of the machine's own files, in the namespace "tests"."""
    manager = WarmPoolManager("tests", timeout=PATIENCE, client=client)
    manager.create_warmpool("host", "host", replicas=3)
    manager.wait_for_warmpool_ready("host")
    return "host"


@pytest.fixture
def namespace() -> str:
    """A namespace that no other test uses."""
    return f"t-{uuid.uuid4().hex[:8]}"


class Look:
    """Looks at the server's objects, past the SDK's own bookkeeping."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def sandboxes(self, namespace: str) -> list[str]:
        return self._names(api.sandboxes(namespace))

    def tasks(self, namespace: str) -> list[str]:
        return self._names(api.tasks(namespace))

    def _names(self, collection: api.Collection) -> list[str]:
        context = self._client.context
        items, _ = self._client.run(api.list_all(context, collection, context.clock() + PATIENCE))
        return sorted(item["metadata"]["name"] for item in items)


@pytest.fixture
def look(client: Client) -> Look:
    return Look(client)
