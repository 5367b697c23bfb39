"""HTTPS_PROXY and NO_PROXY are followed as kubectl does, and never for this machine."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from arl import Config, ConfigError
from arl._http.proxy import proxy_for
from tests.conftest import DEAD_PROXY
from tests.support.both import BOTH, ListPools
from tests.support.server import Server
from tests.support.stub import Answer, Stub

PROXY = "http://proxy:3128"
FAR = "https://arl.example.com"
# In the order of the table: the server, NO_PROXY, and whether the proxy is used.
CASES = [
    (FAR, "", True),
    (FAR, "*", False),
    (FAR, "other.org, *", False),
    (FAR, "arl.example.com", False),
    (FAR, "ARL.Example.com", False),
    (FAR, "example.com", False),
    (FAR, "ample.com", True),
    (FAR, ".example.com", False),
    (FAR, "*.example.com", False),
    (FAR, ".arl.example.com", True),
    (FAR, "*.arl.example.com", True),
    (FAR, "example.com:443", False),
    (FAR, "example.com:8443", True),
    (FAR, " , ,:443", True),
    ("https://arl.example.com:8443", "example.com:8443", False),
    ("https://10.1.2.3:6443", "", True),
    ("https://10.1.2.3:6443", "10.1.2.3", False),
    ("https://10.1.2.3:6443", "10.1.2.3:6443", False),
    ("https://10.1.2.3:6443", "10.1.2.3:443", True),
    ("https://10.1.2.3:6443", "10.0.0.0/8", False),
    ("https://10.1.2.3:6443", "10.9.9.9/8", False),
    ("https://10.1.2.3:6443", "192.168.0.0/16", True),
    ("https://10.1.2.3:6443", "nonsense/8", True),
    ("https://[fd00::1]:6443", "fd00::/8", False),
    ("https://[fd00::1]:6443", "fd00::1", False),
    ("https://[fd00::1]:6443", "[fd00::1]:6443", False),
    ("https://[fd00::1]:6443", "[fd00::1]:443", True),
    ("https://[fd00::1]:6443", "10.0.0.0/8", True),
    ("https://localhost:6443", "", False),
    ("https://127.0.0.1:6443", "", False),
    ("https://127.8.8.8:6443", "", False),
    ("https://[::1]:6443", "", False),
    ("https://[::ffff:127.0.0.1]:6443", "", False),
    ("https://localhost.example.com:6443", "", True),
]


@pytest.mark.parametrize(("server", "no_proxy", "used"), CASES)
def test_no_proxy(server: str, no_proxy: str, used: bool) -> None:
    environ = {"HTTPS_PROXY": PROXY, "NO_PROXY": no_proxy}
    assert proxy_for(server, None, environ) == (PROXY if used else None)


@pytest.mark.parametrize(
    ("environ", "proxy"),
    [
        ({}, None),
        ({"HTTPS_PROXY": "", "https_proxy": PROXY}, PROXY),
        ({"HTTPS_PROXY": PROXY, "https_proxy": "http://other"}, PROXY),
        ({"HTTP_PROXY": PROXY, "ALL_PROXY": PROXY}, None),
        ({"https_proxy": PROXY, "no_proxy": "example.com"}, None),
        ({"HTTPS_PROXY": "proxy:3128"}, PROXY),
        ({"HTTPS_PROXY": "https://user:pass@proxy"}, "https://user:pass@proxy"),
    ],
    ids=["none", "lower", "upper first", "of another scheme", "lower no_proxy", "without a scheme", "with an account"],
)
def test_environment(environ: dict[str, str], proxy: str | None) -> None:
    assert proxy_for(FAR, None, environ) == proxy


def test_kubeconfig_comes_first() -> None:
    environ = {"HTTPS_PROXY": "http://other", "NO_PROXY": "*"}
    assert proxy_for("https://127.0.0.1:6443", PROXY, environ) == PROXY


def test_proxy_that_cannot_be_used() -> None:
    with pytest.raises(ConfigError, match=r"HTTPS_PROXY: the proxy socks5://proxy cannot be used.*NO_PROXY") as caught:
        proxy_for(FAR, None, {"HTTPS_PROXY": "socks5://user:secret@proxy"})
    assert "secret" not in str(caught.value)


@pytest.fixture
def proxy() -> Iterator[Stub]:
    stub = Stub(lambda asked: Answer(body={"items": []}))
    yield stub
    stub.close()


@pytest.mark.parametrize("list_pools", BOTH.values(), ids=BOTH)
def test_requests_go_by_the_proxy(proxy: Stub, list_pools: ListPools, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", proxy.url.replace("http://", "http://us%40er:p%3Aw@"))
    list_pools(Config(server="http://arl.example.com:8080", token="t"), 1)
    (asked,) = proxy.asked
    assert asked.path == "/apis/arl.io/v1alpha1/namespaces/n/warmpools"
    assert asked.headers["host"] == "arl.example.com:8080"
    assert asked.headers["authorization"] == "Bearer t"
    account = base64.b64decode(asked.headers["proxy-authorization"].removeprefix("Basic "))
    assert account == b"us@er:p:w"


@pytest.mark.parametrize("list_pools", BOTH.values(), ids=BOTH)
def test_proxy_of_the_kubeconfig(proxy: Stub, list_pools: ListPools, tmp_path: Path) -> None:
    path = tmp_path / "kubeconfig"
    document = {
        "current-context": "c",
        "users": [{"name": "u", "user": {"token": "t"}}],
        "contexts": [{"name": "c", "context": {"cluster": "s", "user": "u"}}],
        "clusters": [{"name": "s", "cluster": {"server": "http://arl.example.com", "proxy-url": proxy.url}}],
    }
    path.write_text(json.dumps(document))
    list_pools(Config(kubeconfig=path), 1)
    assert [asked.headers["host"] for asked in proxy.asked] == ["arl.example.com"]


@pytest.mark.parametrize("list_pools", BOTH.values(), ids=BOTH)
def test_this_machine_is_asked_directly(server: Server, list_pools: ListPools, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", DEAD_PROXY)
    list_pools(server.config, 1)
