"""The shortest program: one pool, one sandbox, one command.

python examples/hello.py [IMAGE]
"""

from __future__ import annotations

import sys

from arl import SandboxSession, WarmPoolManager


def main(image: str = "host") -> None:
    """Runs a command in a sandbox and prints what it says."""
    pools = WarmPoolManager()
    pools.create_warmpool(name="hello", image=image, replicas=1)
    pools.wait_for_warmpool_ready("hello")
    with SandboxSession(pool_ref="hello") as session:
        print(session.run("echo hello from $(hostname)").stdout, end="")
    pools.delete_warmpool("hello")


if __name__ == "__main__":
    main(*sys.argv[1:])
