"""No secret is in what the SDK and the libraries below it log, whatever the level."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from arl import Config
from arl.errors import ARLError
from tests.support.both import BOTH, ListPools
from tests.support.stub import Answer, Asked, Stub, status
from tests.test_credentials import Plugin, kubeconfig

TOKEN, OTHER = "canary-token", "canary-other-token"


@pytest.fixture
def stub() -> Iterator[Callable[[Callable[[Asked], Answer]], Stub]]:
    stubs: list[Stub] = []

    def make(answer: Callable[[Asked], Answer]) -> Stub:
        stubs.append(Stub(answer))
        return stubs[-1]

    yield make
    for made in stubs:
        made.close()


def answer(asked: Asked) -> Answer:
    """Refuses every other token, so that errors and repetitions are logged, too."""
    if asked.headers.get("authorization") != f"Bearer {TOKEN}":
        return status(401, "Unauthorized", "Unauthorized")
    return Answer(body={"items": [], "canary-body": "canary-body"})


@pytest.mark.parametrize("list_pools", BOTH.values(), ids=BOTH)
def test_no_secret_is_logged(
    stub: Callable[[Callable[[Asked], Answer]], Stub],
    tmp_path: Path,
    list_pools: ListPools,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    for name in ("arl", "urllib3", "aiohttp", "asyncio", "kubernetes"):
        caplog.set_level(logging.DEBUG, name)
    made = stub(answer)
    list_pools(Config(server=made.url, token=TOKEN), 2)
    plugin = Plugin(tmp_path, {"token": OTHER, "expirationTimestamp": "2999-01-01T00:00:00Z"}, {"token": TOKEN})
    list_pools(kubeconfig(tmp_path, plugin.user(), {"server": made.url}), 2)
    with pytest.raises(ARLError) as refused:
        list_pools(Config(server=made.url, token=OTHER), 1)
    logged = caplog.text + json.dumps([vars(record) for record in caplog.records], default=repr)
    assert "canary" not in logged
    assert OTHER not in str(refused.value)
    assert OTHER not in repr(Config(server=made.url, token=OTHER))
