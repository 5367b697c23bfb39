"""Lists, watches, gets, creates and deletes our kinds with clients that nobody here wrote.

Run by hack/test-clients.sh, with the kubeconfig of a standalone server as the only argument.
"""

import os
import sys
import time

import kr8s
from kr8s.objects import APIObject, Namespace, Pod, new_class
from lightkube import ApiError, Client, KubeConfig
from lightkube.generic_resource import create_namespaced_resource
from lightkube.models.meta_v1 import ObjectMeta
from lightkube.resources.core_v1 import Namespace as LightNamespace
from lightkube.resources.core_v1 import Pod as LightPod

PATIENCE = 90


def pool(name: str) -> dict:
    container = {"name": "executor", "image": "host", "command": ["sh", "-c", "echo ready; exec sleep 1000"]}
    spec = {"replicas": 1, "template": {"spec": {"containers": [container]}}}
    return {"apiVersion": "arl.io/v1alpha1", "kind": "WarmPool", "metadata": {"name": name}, "spec": spec}


def await_until(what: str, check) -> None:
    deadline = time.monotonic() + PATIENCE
    while not check():
        assert time.monotonic() < deadline, f"not within {PATIENCE} s: {what}"
        time.sleep(0.1)


def with_kr8s(kubeconfig: str) -> None:
    api = kr8s.api(kubeconfig=kubeconfig)
    kinds = {kind["kind"]: kind for kind in api.api_resources()}
    assert {"Namespace", "Pod", "Event", "WarmPool", "Sandbox", "Task"} <= set(kinds), sorted(kinds)
    assert api.whoami() == "arl-admin", api.whoami()
    assert "default" in [ns.name for ns in api.get("namespaces")]
    assert list(api.get("events")) == []

    ns = Namespace({"metadata": {"name": "by-kr8s"}}, api=api)
    ns.create()
    warmpool = new_class("WarmPool", "arl.io/v1alpha1", namespaced=True)
    missing = warmpool(pool("p"), namespace="by-nobody", api=api)
    try:
        missing.create()
        raise AssertionError("a pool was created in a namespace that does not exist")
    except kr8s.ServerError as error:
        assert 'namespaces "by-nobody" not found' in str(error), error
    made: APIObject = warmpool(pool("p"), namespace="by-kr8s", api=api)
    made.create()
    made.wait("condition=Ready", timeout=PATIENCE)
    assert [p.name for p in api.get("warmpools.arl.io", namespace="by-kr8s")] == ["p"]
    for event, seen in api.watch("warmpools.arl.io", namespace="by-kr8s"):
        assert (event, seen.name) == ("ADDED", "p"), (event, seen.name)
        break
    pods = list(api.get("pods", namespace="by-kr8s"))
    assert len(pods) == 1 and isinstance(pods[0], Pod), pods
    await_until("output in the log", lambda: "ready" in "\n".join(pods[0].logs()))
    made.delete()
    await_until("the pool to be gone", lambda: not made.exists())
    ns.delete()
    await_until("the namespace to be gone", lambda: not ns.exists())


def with_lightkube(kubeconfig: str) -> None:
    client = Client(config=KubeConfig.from_file(kubeconfig))
    assert "default" in [ns.metadata.name for ns in client.list(LightNamespace)]
    client.create(LightNamespace(metadata=ObjectMeta(name="by-lightkube")))
    warmpool = create_namespaced_resource("arl.io", "v1alpha1", "WarmPool", "warmpools")
    try:
        client.create(warmpool(pool("p")), namespace="by-nobody")
        raise AssertionError("a pool was created in a namespace that does not exist")
    except ApiError as error:
        assert error.status.code == 404 and 'namespaces "by-nobody"' in error.status.message, error.status
    client.create(warmpool(pool("p")), namespace="by-lightkube")
    client.wait(warmpool, "p", for_conditions=["Ready"], namespace="by-lightkube")
    assert client.get(warmpool, "p", namespace="by-lightkube").metadata.name == "p"
    assert [p.metadata.name for p in client.list(warmpool, namespace="by-lightkube")] == ["p"]
    for event, seen in client.watch(warmpool, namespace="by-lightkube"):
        assert (event, seen.metadata.name) == ("ADDED", "p"), (event, seen.metadata.name)
        break
    pods = list(client.list(LightPod, namespace="by-lightkube"))
    assert len(pods) == 1 and pods[0].metadata.ownerReferences[0].name == "p", pods
    name = pods[0].metadata.name
    await_until("output in the log", lambda: "ready" in "".join(client.log(name, namespace="by-lightkube")))
    client.delete(warmpool, "p", namespace="by-lightkube")
    client.delete(LightNamespace, "by-lightkube")
    await_until("the namespace to be gone", lambda: "by-lightkube" not in [ns.metadata.name for ns in client.list(LightNamespace)])


if __name__ == "__main__":
    # Both read this as well.
    os.environ["KUBECONFIG"] = sys.argv[1]
    with_kr8s(sys.argv[1])
    print("kr8s: list, watch, get, create, delete and logs work")
    with_lightkube(sys.argv[1])
    print("lightkube: list, watch, get, create, delete and logs work")
