from __future__ import annotations

import pytest

from arl import (
    Client,
    ConflictError,
    InvalidRequest,
    PoolFailed,
    PoolNotFound,
    SandboxSession,
    WaitTimeout,
    WarmPoolManager,
)
from arl._core import api
from tests.conftest import Look
from tests.support.registry import HELD, Registry
from tests.support.server import PATIENCE


@pytest.fixture
def pools(client: Client, namespace: str) -> WarmPoolManager:
    return WarmPoolManager(namespace, timeout=PATIENCE, client=client)


def test_lifecycle(pools: WarmPoolManager) -> None:
    made = pools.create_warmpool("a", "host", replicas=1, sidecar_image="your-registry/arl-sidecar:latest")
    containers = made["spec"]["template"]["spec"]["containers"]
    assert [(container["name"], container["image"]) for container in containers] == [("executor", "host")]
    ready = pools.wait_for_warmpool_ready("a")
    assert ready["status"]["phase"] == "Ready"
    assert ready.status.ready_replicas == 1
    assert [pool["metadata"]["name"] for pool in pools.list_warmpools()] == ["a"]
    assert pools.get_warmpool("a").metadata.uid == made.metadata.uid
    assert pools.delete_warmpool("a")
    assert not pools.delete_warmpool("a")
    with pytest.raises(PoolNotFound, match="there are none in that namespace"):
        pools.get_warmpool("a")


def test_create_again_changes_what_it_made(pools: WarmPoolManager) -> None:
    first = pools.create_warmpool("a", "host", replicas=1, workspace_path="/one")
    same = pools.create_warmpool("a", "host", replicas=1, workspace_path="/one")
    assert same.metadata.uid == first.metadata.uid
    assert same.metadata.generation == first.metadata.generation
    resources = {"requests": {"cpu": "100m", "memory": "64Mi"}, "limits": {"memory": "256Mi"}}
    changed = pools.create_warmpool("a", "host", replicas=2, workspace_path="/two", resources=resources)
    assert changed.metadata.uid == first.metadata.uid
    assert (changed.spec.replicas, changed.spec.work_dir) == (2, "/two")
    ready = pools.wait_for_warmpool_ready("a")
    assert (ready.status.observed_generation, ready.status.ready_replicas) == (changed.metadata.generation, 2)
    plain = pools.create_warmpool("a", "host", replicas=2, workspace_path="/two")
    assert not plain.spec.template["spec"]["containers"][0].get("resources")


def test_pool_of_somebody_else(client: Client, pools: WarmPoolManager) -> None:
    spec = {"template": {"spec": {"containers": [{"name": "main", "image": "host"}]}}, "replicas": 0}
    context = client.context
    client.run(api.create(context, api.pools(pools.namespace), "theirs", "x", spec, context.clock() + PATIENCE))
    with pytest.raises(ConflictError, match=r'was not made by create_warmpool.*delete_warmpool\("theirs"\)'):
        pools.create_warmpool("theirs", "host")
    assert pools.get_warmpool("theirs").spec.template["spec"]["containers"][0]["name"] == "main"


def test_pool_that_is_not_there(pools: WarmPoolManager, client: Client, look: Look) -> None:
    pools.create_warmpool("b", "host", replicas=0)
    pools.create_warmpool("a", "host", replicas=0)
    message = r'there is no pool "c" in namespace "t-.*there are: a, b\. Name one'
    with pytest.raises(PoolNotFound, match=message) as caught:
        SandboxSession("c", pools.namespace, timeout=PATIENCE, client=client).create_sandbox()
    assert caught.value.available == ["a", "b"]
    with pytest.raises(PoolNotFound, match=message):
        pools.wait_for_warmpool_ready("c")
    assert look.sandboxes(pools.namespace) == []


def test_image_that_cannot_be_pulled(pools: WarmPoolManager, client: Client, look: Look) -> None:
    pools.create_warmpool("bad", "127.0.0.1:1/no/such:image")
    with pytest.raises(PoolFailed, match=r"ImagePullFailed.*127\.0\.0\.1:1/no/such:image.*create_warmpool") as caught:
        pools.wait_for_warmpool_ready("bad")
    assert caught.value.reason == "ImagePullFailed"
    with pytest.raises(PoolFailed, match=r"ImagePullFailed.*kubectl describe warmpool bad"):
        SandboxSession("bad", pools.namespace, timeout=PATIENCE, client=client).create_sandbox()
    assert look.sandboxes(pools.namespace) == []
    pools.create_warmpool("bad", "host", replicas=1)
    assert pools.wait_for_warmpool_ready("bad").status.ready_replicas == 1


def test_template_that_cannot_be(pools: WarmPoolManager) -> None:
    with pytest.raises((InvalidRequest, PoolFailed), match="hose"):
        pools.create_warmpool("bad", "host", resources={"limits": {"hose": "1"}})
        pools.wait_for_warmpool_ready("bad")
    with pytest.raises(InvalidRequest, match=r"metadata\.name"):
        pools.create_warmpool("Not_A_Name", "host")
    with pytest.raises(ValueError, match="must be a list"):
        pools.create_warmpool("bad", "host", command="sleep infinity")


def test_not_ready_in_time(pools: WarmPoolManager, registry: Registry) -> None:
    with registry.held():
        pools.create_warmpool("slow", f"python:{HELD}")
        with pytest.raises(WaitTimeout, match=r"0 of 2 pods ready after 0\.5 s.*kubectl describe warmpool slow"):
            pools.wait_for_warmpool_ready("slow", timeout=0.5)
    assert pools.wait_for_warmpool_ready("slow").status.ready_replicas == 2


def test_testbed_is_the_images_own(pools: WarmPoolManager, client: Client) -> None:
    pools.create_warmpool("swe", "python:3.9-slim", replicas=1, testbed_path="/testbed")
    pools.wait_for_warmpool_ready("swe")
    with SandboxSession("swe", pools.namespace, timeout=PATIENCE, client=client) as session:
        assert session.run("pwd; ls").stdout == "/testbed\napp.py\n"
        assert session.run(["python", "-c", "import app; print(app.double(2))"]).stdout == "5\n"


def test_progress(pools: WarmPoolManager, capsys: pytest.CaptureFixture[str]) -> None:
    pools.create_warmpool("a", "host", replicas=2)
    pools.wait_for_warmpool_ready("a", progress=True)
    shown = capsys.readouterr()
    assert "pool a" in shown.err
    assert "2/2" in shown.err
    assert shown.out == ""
    pools.wait_for_warmpool_ready("a")
    assert capsys.readouterr().err == "", "no bar where nobody looks"
