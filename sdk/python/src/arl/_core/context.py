"""What operations know of the client that they run for."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass
class Context:
    """One client's clock, address and limits."""

    server: str
    """The server's address, for messages."""
    retry_seconds: float = 60.0
    """How long to go on trying while the server gives no answer."""
    clock: Callable[[], float] = time.monotonic
    jitter: Callable[[], float] = field(default=random.random)


@dataclass
class Backoff:
    """The pauses between attempts: longer each time, and never the same for two clients."""

    context: Context
    first: float = 0.05
    most: float = 2.0
    attempts: int = 0

    def next(self) -> float:
        """Returns the next pause in seconds."""
        base = min(self.most, self.first * 2.0 ** min(self.attempts, 16))
        self.attempts += 1
        return base * (0.5 + self.context.jitter() / 2)
