"""Warm pools, blocking. arl.aio has the same for asyncio."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from arl._core import pool as pools
from arl.client import Client, shared_client
from arl.config import Config
from arl.models import WarmPool
from arl.progress import progress_bar

# The name by which the server knows the container that steps run in.
EXECUTOR = "executor"


class PoolManagerBase:
    """The arguments of a pool manager."""

    def __init__(self, namespace: str, timeout: float) -> None:
        if timeout <= 0:
            raise ValueError(f"timeout must be more than 0 seconds, not {timeout}")
        self.namespace = namespace
        self.timeout = timeout


class WarmPoolManager(PoolManagerBase):
    """Makes, waits for and deletes the pools of a namespace.

    Args:
        namespace: the pools' namespace.
        timeout: how long to wait for a pool to be ready, in seconds.
        config: which server, as whom. Default: $KUBECONFIG, ~/.kube/config,
            in-cluster.
        client: a client to use in place of the shared one; config is then
            passed over.
    """

    def __init__(
        self,
        namespace: str = "default",
        timeout: float = 300,
        *,
        config: Config | None = None,
        client: Client | None = None,
    ) -> None:
        super().__init__(namespace, timeout)
        self._config = config
        self._client = client

    def create_warmpool(
        self,
        name: str,
        image: str,
        replicas: int = 2,
        sidecar_image: str | None = None,
        resources: Mapping[str, Mapping[str, str]] | None = None,
        command: Sequence[str] | None = None,
        workspace_path: str = "/workspace",
        testbed_path: str | None = None,
    ) -> WarmPool:
        """Creates a pool, or brings the one of that name that this made before to this shape.

        Does not wait for its pods, see wait_for_warmpool_ready().

        Args:
            name: the pool's name, at most 52 characters.
            image: the image of its pods. It needs nothing of ours in it.
            replicas: how many pods are kept idle and ready.
            sidecar_image: accepted and not used: the server puts its agent into
                the pods itself.
            resources: requests and limits of a pod, as Kubernetes has them.
            command: what a pod runs beside the steps; nothing by default.
            workspace_path: where steps run that do not say where; made if missing.
            testbed_path: where the image has the code under test, such as
                /testbed. Steps then run there in place of workspace_path. Nothing is
                mounted over it: they see the image's own files.

        Raises:
            ConflictError: there is a pool of that name which this did not make.
        """
        spec = pool_spec(image, replicas, resources, command, workspace_path, testbed_path)
        client = self._connect()
        return client.run(pools.create_pool(client.context, self.namespace, name, spec, self.timeout))

    def get_warmpool(self, name: str) -> WarmPool:
        """Returns a pool, or raises PoolNotFound, which says which there are."""
        client = self._connect()
        return client.run(pools.get_pool(client.context, self.namespace, name, self.timeout))

    def list_warmpools(self) -> list[WarmPool]:
        """Returns the pools of the namespace."""
        client = self._connect()
        return client.run(pools.list_pools(client.context, self.namespace, self.timeout))

    def wait_for_warmpool_ready(
        self, name: str, timeout: float | None = None, *, progress: bool | None = None
    ) -> WarmPool:
        """Waits until as many pods as the pool wants are idle and ready, and returns the pool.

        After a change of the pool, all of them are of its new template. The pool's
        conditions Filled and Updated are then True.

        Args:
            name: the pool's name.
            timeout: how long to wait, in seconds; the manager's by default.
            progress: show a progress bar; by default if standard error is a
                terminal and rich is installed, as `pip install "arl-sandbox[progress]"` does.

        Raises:
            PoolNotFound: there is no such pool; says which there are.
            PoolFailed: its pods cannot be started; says why, as soon as it is known.
            WaitTimeout: it took too long; says how far it got.
        """
        client = self._connect()
        wait = self.timeout if timeout is None else timeout
        with progress_bar(name, progress) as show:
            return client.run(pools.wait_ready(client.context, self.namespace, name, wait, show))

    def delete_warmpool(self, name: str) -> bool:
        """Deletes a pool and its idle pods. Sandboxes in use go on. Returns whether there was one."""
        client = self._connect()
        return client.run(pools.delete_pool(client.context, self.namespace, name, self.timeout))

    def _connect(self) -> Client:
        if self._client is None:
            self._client = shared_client(self._config)
        return self._client


def pool_spec(
    image: str,
    replicas: int,
    resources: Mapping[str, Mapping[str, str]] | None,
    command: Sequence[str] | None,
    workspace_path: str,
    testbed_path: str | None,
) -> dict[str, Any]:
    """Is the spec of a pool, as the API has it."""
    if isinstance(command, str):
        raise ValueError(f'command must be a list, for instance ["sleep", "infinity"], not the text {command!r}')
    container: dict[str, Any] = {"name": EXECUTOR, "image": image}
    if command:
        container["command"] = list(command)
    if resources:
        container["resources"] = {kind: dict(amounts) for kind, amounts in resources.items()}
    return {
        "replicas": replicas,
        "workDir": testbed_path or workspace_path,
        "template": {"spec": {"containers": [container]}},
    }
