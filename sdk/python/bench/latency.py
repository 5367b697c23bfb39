"""Measures sessions on a warm pool: create a sandbox, run one echo step, delete it.

    python bench/latency.py [--sessions 200] [--pool NAME] [--asyncio N]

Uses the server of $KUBECONFIG. Without --pool it makes one of the image "host"
and deletes it afterwards.
"""

from __future__ import annotations

import argparse
import asyncio
import time

from arl import AsyncSandboxSession, SandboxSession, WarmPoolManager

ECHO = [{"name": "hello", "type": "Command", "command": ["echo", "hello"]}]
# The first sessions pay for connections and imports.
WARM_UP = 5


def percentile(samples: list[float], percent: float) -> float:
    """Is the value that this share of the samples does not exceed."""
    ordered = sorted(samples)
    return ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))]


def show(name: str, samples: list[float]) -> None:
    """Prints one line of the table, in milliseconds."""
    figures = "".join(f"{percentile(samples, p) * 1000:9.1f}" for p in (50, 90, 99))
    print(f"{name:<28}{figures}{max(samples) * 1000:9.1f}")


def blocking(pool: str, sessions: int) -> None:
    """Runs sessions one after another."""
    parts: dict[str, list[float]] = {"create": [], "execute": [], "create to result": [], "delete": []}
    manager = WarmPoolManager()
    for number in range(sessions + WARM_UP):
        # What is measured is a warm pool, not how fast pods start.
        manager.wait_for_warmpool_ready(pool, progress=False)
        session = SandboxSession(pool)
        began = time.perf_counter()
        session.create_sandbox()
        created = time.perf_counter()
        result = session.execute(ECHO)
        done = time.perf_counter()
        session.delete_sandbox()
        if result.status.stdout != "hello\n":
            raise SystemExit(f"unexpected result: {result}")
        if number >= WARM_UP:
            parts["create"].append(created - began)
            parts["execute"].append(done - created)
            parts["create to result"].append(done - began)
            parts["delete"].append(time.perf_counter() - done)
    for name, samples in parts.items():
        show(name, samples)


async def concurrent(pool: str, sessions: int) -> list[float]:
    """Runs sessions at the same time and returns how long each took."""

    async def one() -> float:
        began = time.perf_counter()
        async with AsyncSandboxSession(pool) as session:
            await session.execute(ECHO)
            return time.perf_counter() - began

    return list(await asyncio.gather(*(one() for _ in range(sessions))))


def main() -> None:
    """Prints p50, p90, p99 and the most."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sessions", type=int, default=200)
    parser.add_argument("--pool", help="a pool that there is")
    parser.add_argument("--asyncio", type=int, default=50, help="how many sessions at the same time; 0 for none")
    arguments = parser.parse_args()
    manager = WarmPoolManager()
    pool = arguments.pool or "bench-sdk"
    if not arguments.pool:
        manager.create_warmpool(pool, "host", replicas=max(5, arguments.asyncio))
    try:
        print(f"{'milliseconds':<28}{'p50':>9}{'p90':>9}{'p99':>9}{'max':>9}")
        blocking(pool, arguments.sessions)
        if arguments.asyncio:
            manager.wait_for_warmpool_ready(pool, progress=False)
            show(f"create to result, {arguments.asyncio} at once", asyncio.run(concurrent(pool, arguments.asyncio)))
    finally:
        if not arguments.pool:
            manager.delete_warmpool(pool)


if __name__ == "__main__":
    main()
