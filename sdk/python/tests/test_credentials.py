"""Credentials that expire, are replaced or refused: plugins, token files, client certificates."""

from __future__ import annotations

import base64
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from arl import AuthenticationError, Config, ConfigError
from tests.support.both import BOTH, ListPools
from tests.support.server import Server
from tests.support.stub import Answer, Asked, Stub, status

MakeStub = Callable[[Callable[[Asked], Answer]], Stub]
VERSION = "client.authentication.k8s.io/v1"
FAR_FUTURE, LONG_AGO = "2999-01-01T00:00:00Z", "2001-01-01T00:00:00Z"

PLUGIN = """
import json, os, pathlib, sys
folder = pathlib.Path(sys.argv[1])
runs = folder / "runs"
number = len(runs.read_text().splitlines()) + 1 if runs.exists() else 1
with runs.open("a") as file:
    file.write(os.environ["KUBERNETES_EXEC_INFO"] + "\\n")
statuses = json.loads((folder / "statuses").read_text())
status = statuses[min(number, len(statuses)) - 1]
print(json.dumps({"apiVersion": os.environ["PLUGIN_VERSION"], "kind": "ExecCredential", "status": status}))
"""


class Plugin:
    """A plugin that writes these statuses, one a run, and the last one from then on."""

    def __init__(self, folder: Path, *statuses: dict[str, Any]) -> None:
        self.folder = folder
        (folder / "plugin.py").write_text(PLUGIN)
        (folder / "statuses").write_text(json.dumps(statuses))

    def runs(self) -> list[dict[str, Any]]:
        path = self.folder / "runs"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    def user(self, **more: Any) -> dict[str, Any]:
        return {
            "exec": {
                "apiVersion": VERSION,
                "command": sys.executable,
                "args": [str(self.folder / "plugin.py"), str(self.folder)],
                "env": [{"name": "PLUGIN_VERSION", "value": VERSION}],
                "interactiveMode": "Never",
                **more,
            }
        }


def kubeconfig(folder: Path, user: dict[str, Any], cluster: dict[str, Any]) -> Config:
    path = folder / "kubeconfig"
    document = {
        "current-context": "c",
        "users": [{"name": "u", "user": user}],
        "contexts": [{"name": "c", "context": {"cluster": "s", "user": "u"}}],
        "clusters": [{"name": "s", "cluster": cluster}],
    }
    path.write_text(json.dumps(document))
    return Config(kubeconfig=path)


def token(number: int, expires: str = FAR_FUTURE) -> dict[str, Any]:
    return {"token": f"t-{number}", "expirationTimestamp": expires}


@pytest.fixture
def stub() -> Iterator[MakeStub]:
    stubs: list[Stub] = []

    def make(answer: Callable[[Asked], Answer]) -> Stub:
        stubs.append(Stub(answer))
        return stubs[-1]

    yield make
    for made in stubs:
        made.close()


def accepts(*good: str) -> Callable[[Asked], Answer]:
    """Is a server that knows these tokens."""

    def answer(asked: Asked) -> Answer:
        known = asked.headers.get("authorization") in [f"Bearer {name}" for name in good]
        return Answer(body={"items": []}) if known else status(401, "Unauthorized", "Unauthorized")

    return answer


def shown(made: Stub) -> list[str]:
    return [asked.headers["authorization"] for asked in made.asked]


both = pytest.mark.parametrize("list_pools", BOTH.values(), ids=BOTH)


@both
def test_plugin_is_run_once_while_its_token_is_good(stub: MakeStub, tmp_path: Path, list_pools: ListPools) -> None:
    plugin, made = Plugin(tmp_path, token(1)), stub(accepts("t-1"))
    list_pools(kubeconfig(tmp_path, plugin.user(provideClusterInfo=True), {"server": made.url}), 3)
    (info,) = plugin.runs()
    assert info["spec"] == {"interactive": False, "cluster": {"server": made.url}}
    assert shown(made) == ["Bearer t-1"] * 3


@both
def test_plugin_is_run_again_when_its_token_has_expired(stub: MakeStub, tmp_path: Path, list_pools: ListPools) -> None:
    plugin = Plugin(tmp_path, token(1, LONG_AGO), token(2, LONG_AGO), token(3))
    made = stub(accepts("t-1", "t-2", "t-3"))
    list_pools(kubeconfig(tmp_path, plugin.user(), {"server": made.url}), 4)
    assert shown(made) == ["Bearer t-1", "Bearer t-2", "Bearer t-3", "Bearer t-3"]


@both
def test_plugin_is_run_again_after_401(stub: MakeStub, tmp_path: Path, list_pools: ListPools) -> None:
    plugin, made = Plugin(tmp_path, token(1), token(2)), stub(accepts("t-2"))
    list_pools(kubeconfig(tmp_path, plugin.user(), {"server": made.url}), 2)
    assert shown(made) == ["Bearer t-1", "Bearer t-2", "Bearer t-2"]


@both
@pytest.mark.parametrize(("statuses", "requests"), [((token(1),), 1), ((token(1), token(2)), 2)], ids=["same", "other"])
def test_401_that_stays(
    stub: MakeStub, tmp_path: Path, list_pools: ListPools, statuses: tuple[dict[str, Any]], requests: int
) -> None:
    plugin, made = Plugin(tmp_path, *statuses), stub(accepts())
    with pytest.raises(AuthenticationError, match="kubectl auth whoami"):
        list_pools(kubeconfig(tmp_path, plugin.user(), {"server": made.url}), 1)
    assert (len(plugin.runs()), len(made.asked)) == (2, requests)


@both
def test_token_file_that_is_replaced(stub: MakeStub, tmp_path: Path, list_pools: ListPools) -> None:
    path = tmp_path / "token"
    path.write_text("t-1\n")

    def answer(asked: Asked) -> Answer:
        if asked.headers["authorization"] == "Bearer t-1":
            # As the kubelet does it: another file takes the place of the first.
            (tmp_path / "new").write_text("t-2\n")
            (tmp_path / "new").rename(path)
        return accepts("t-1", "t-2")(asked)

    made = stub(answer)
    list_pools(kubeconfig(tmp_path, {"tokenFile": "token"}, {"server": made.url}), 2)
    assert shown(made) == ["Bearer t-1", "Bearer t-2"]


@both
def test_token_file_is_read_again_after_401(stub: MakeStub, tmp_path: Path, list_pools: ListPools) -> None:
    """Also when the file was replaced between the reading of it and the server's answer."""
    path = tmp_path / "token"
    path.write_text("t-1\n")

    def answer(asked: Asked) -> Answer:
        path.write_text("t-2\n")
        return accepts("t-2")(asked)

    made = stub(answer)
    list_pools(kubeconfig(tmp_path, {"tokenFile": "token"}, {"server": made.url}), 1)
    assert shown(made) == ["Bearer t-1", "Bearer t-2"]


@both
def test_kubeconfig_is_read_again_after_401(stub: MakeStub, tmp_path: Path, list_pools: ListPools) -> None:
    """A server that makes new credentials writes them there."""
    config: list[Config] = []

    def answer(asked: Asked) -> Answer:
        kubeconfig(tmp_path, {"token": "t-2"}, {"server": made.url})
        return accepts("t-2")(asked)

    made = stub(answer)
    config.append(kubeconfig(tmp_path, {"token": "t-1"}, {"server": made.url}))
    list_pools(config[0], 1)
    assert shown(made) == ["Bearer t-1", "Bearer t-2"]


@both
def test_token_of_the_pod_is_read_again(
    stub: MakeStub, tmp_path: Path, list_pools: ListPools, monkeypatch: pytest.MonkeyPatch, server: Server
) -> None:
    from kubernetes.config import incluster_config

    path, authority = tmp_path / "token", tmp_path / "ca.crt"
    path.write_text("t-1")
    authority.write_bytes(certificates(server)[2])
    monkeypatch.setattr(incluster_config, "SERVICE_TOKEN_FILENAME", str(path))
    monkeypatch.setattr(incluster_config, "SERVICE_CERT_FILENAME", str(authority))
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.0.0.1")
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", "443")
    source = Config().load().source
    first = source.current()
    assert first.authorization == "Bearer t-1"
    assert source.current() is first
    path.write_text("t-2 ")
    assert source.current().authorization == "Bearer t-2"


def certificates(server: Server) -> tuple[str, str, bytes]:
    """The client certificate, its key and the authority of a server's kubeconfig."""
    document = yaml.safe_load(server.kubeconfig.read_text())
    user, cluster = document["users"][0]["user"], document["clusters"][0]["cluster"]
    certificate, key, authority = (
        base64.b64decode(part)
        for part in (
            user["client-certificate-data"],
            user["client-key-data"],
            cluster["certificate-authority-data"],
        )
    )
    return certificate.decode(), key.decode(), authority


def pair(server: Server, expires: str = FAR_FUTURE) -> dict[str, Any]:
    certificate, key, _ = certificates(server)
    return {"clientCertificateData": certificate, "clientKeyData": key, "expirationTimestamp": expires}


@both
@pytest.mark.parametrize("expires", [FAR_FUTURE, LONG_AGO], ids=["refused", "expired"])
def test_certificate_of_a_plugin_is_renewed(
    server: Server, own_server: Server, tmp_path: Path, list_pools: ListPools, expires: str
) -> None:
    """The first one is of another server's authority; connections made with it are not used for the second."""
    first = pair(own_server if expires == FAR_FUTURE else server, expires)
    plugin = Plugin(tmp_path, first, pair(server))
    cluster = yaml.safe_load(server.kubeconfig.read_text())["clusters"][0]["cluster"]
    list_pools(kubeconfig(tmp_path, plugin.user(), cluster), 2)
    assert len(plugin.runs()) == 2


@pytest.mark.parametrize(
    ("user", "message"),
    [
        ({"command": "no-such-program-here"}, "there is no such program in PATH"),
        ({"command": "./nowhere"}, "it cannot be started: No such file"),
        ({"command": sys.executable, "args": ["-c", "import sys; sys.exit('no ticket')"]}, "code 1: no ticket"),
        ({"command": sys.executable, "args": ["-c", "print('hello')"]}, "did not write an ExecCredential"),
        ({"apiVersion": "client.authentication.k8s.io/v1alpha1"}, r"its apiVersion is .*v1alpha1; it can be"),
        ({"env": [{"name": "PLUGIN_VERSION", "value": "v9"}]}, "it wrote apiVersion v9, and the kubeconfig says"),
        ({"command": "no-such-program-here", "installHint": "Get it from the shop"}, "Get it from the shop"),
        ({"interactiveMode": "Always"}, "standard input is no terminal"),
    ],
    ids=["missing", "no file", "exit", "no JSON", "old", "other version", "hint", "asks"],
)
@both
def test_plugin_that_fails(
    stub: MakeStub, tmp_path: Path, list_pools: ListPools, user: dict[str, Any], message: str
) -> None:
    plugin, made = Plugin(tmp_path, token(1)), stub(accepts("t-1"))
    with pytest.raises(ConfigError, match=message):
        list_pools(kubeconfig(tmp_path, plugin.user(**user), {"server": made.url}), 1)
    assert made.asked == []


@both
def test_plugin_that_gives_nothing(stub: MakeStub, tmp_path: Path, list_pools: ListPools) -> None:
    plugin, made = Plugin(tmp_path, {}), stub(accepts("t-1"))
    with pytest.raises(ConfigError, match="its status needs a token, or clientCertificateData with clientKeyData"):
        list_pools(kubeconfig(tmp_path, plugin.user(), {"server": made.url}), 1)
