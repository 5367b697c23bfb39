from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from urllib3.exceptions import InsecureRequestWarning

from arl import ARLError, Client, Config, ConfigError, ServerUnavailable, WarmPoolManager
from tests.support.server import Server
from tests.support.stub import Answer, Stub


@pytest.fixture
def stub() -> Iterator[Stub]:
    stub = Stub(lambda asked: Answer(body={"items": []}))
    yield stub
    stub.close()


def use(config: Config | None = None) -> None:
    with Client(config) as client:
        assert WarmPoolManager("nobody", client=client).list_warmpools() == []


def test_kubeconfig_by_argument(server: Server) -> None:
    use(Config(kubeconfig=server.kubeconfig))


def test_kubeconfig_of_the_environment(kubeconfig: str) -> None:
    use()
    assert WarmPoolManager("nobody").list_warmpools() == [], "the shared client"


def test_kubeconfig_at_home(server: Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / ".kube").mkdir()
    (tmp_path / ".kube" / "config").write_bytes(server.kubeconfig.read_bytes())
    monkeypatch.setenv("HOME", str(tmp_path))
    use()


def test_url_and_token(stub: Stub) -> None:
    use(Config(server=stub.url + "/", token="secret\n"))
    assert stub.asked[0].headers["authorization"] == "Bearer secret"
    assert stub.asked[0].path == "/apis/arl.io/v1alpha1/namespaces/nobody/warmpools"
    assert "secret" not in repr(Config(server=stub.url, token="secret"))


def authority_of(server: Server) -> bytes:
    return Path(str(Config(kubeconfig=server.kubeconfig).load().configuration.ssl_ca_cert)).read_bytes()


def test_in_a_pod(server: Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from kubernetes.config import incluster_config

    token, authority = tmp_path / "token", tmp_path / "ca.crt"
    token.write_text("of-the-pod")
    authority.write_bytes(authority_of(server))
    monkeypatch.setattr(incluster_config, "SERVICE_TOKEN_FILENAME", str(token))
    monkeypatch.setattr(incluster_config, "SERVICE_CERT_FILENAME", str(authority))
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.0.0.1")
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", "443")
    loaded = Config().load()
    assert loaded.configuration.host == "https://10.0.0.1:443"
    assert loaded.source.current().authorization == "Bearer of-the-pod"
    token.write_text("")
    with pytest.raises(ConfigError, match="service account of this pod"):
        Config(in_cluster=True).load()


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (Config(), r"no server is known.*export KUBECONFIG=.*Config\(server="),
        (Config(kubeconfig="/nowhere"), r"cannot use the kubeconfig /nowhere.*data directory"),
        (Config(token="t"), "name the server, too"),
        (Config(server="host"), "must begin with https://"),
        (Config(server="https://host", ca_file=__file__), "a certificate or key of the configuration cannot be used"),
        (Config(server="https://host", ca_file="/nowhere"), "ca_file '/nowhere' is no file"),
        (Config(in_cluster=True), "service account of this pod"),
    ],
    ids=["nothing", "no file", "token alone", "no scheme", "bad authority", "no authority", "no pod"],
)
def test_bad_configuration(config: Config, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Client(config)


def test_context_that_is_not_there(server: Server) -> None:
    with pytest.raises(ConfigError, match="nope"):
        Client(Config(kubeconfig=server.kubeconfig, context="nope"))


def test_certificate_that_is_not_trusted(server: Server) -> None:
    """It is said at once: trying again does not help."""
    address = str(Config(kubeconfig=server.kubeconfig).load().configuration.host)
    with pytest.raises(ServerUnavailable, match=r"cannot talk to https.*CERTIFICATE_VERIFY_FAILED"):
        use(Config(server=address, token="t"))
    with pytest.warns(InsecureRequestWarning), pytest.raises(ARLError, match="does not know who asks"):
        use(Config(server=address, token="t", verify=False))
