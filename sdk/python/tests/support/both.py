"""Has one test run with both clients."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from arl import AsyncClient, AsyncWarmPoolManager, Client, Config, WarmPoolManager

ListPools = Callable[[Config, int], None]
"""Lists the pools with one client, so many times."""


def list_blocking(config: Config, times: int = 1) -> None:
    with Client(config) as client:
        manager = WarmPoolManager("n", client=client)
        for _ in range(times):
            assert manager.list_warmpools() == []


def list_async(config: Config, times: int = 1) -> None:
    async def scenario() -> None:
        async with AsyncClient(config) as client:
            manager = AsyncWarmPoolManager("n", client=client)
            for _ in range(times):
                assert await manager.list_warmpools() == []

    asyncio.run(scenario())


BOTH = {"blocking": list_blocking, "asyncio": list_async}
