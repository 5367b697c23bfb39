"""What operations know of the client that they run for."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass
class Context:
    """One client's clock, patience and address."""

    server: str
    """The server's address, for messages."""
    retry_seconds: float = 60.0
    """How long to go on trying while the server gives no answer. For as long as it
    never has, a sixth of that: then the address is more likely to be wrong."""
    clock: Callable[[], float] = time.monotonic
    jitter: Callable[[], float] = field(default=random.random)
    reached: bool = False
    """The server has answered at least once."""

    def patience(self) -> float:
        """How long the server may stay silent, in seconds."""
        return self.retry_seconds if self.reached else self.retry_seconds / 6


@dataclass
class Backoff:
    """The pauses between attempts: longer each time, and never the same for two clients."""

    context: Context
    first: float = 0.05
    most: float = 2.0
    attempts: int = 0

    def next(self) -> float:
        """Is the next pause in seconds."""
        base = min(self.most, self.first * 2.0 ** min(self.attempts, 16))
        self.attempts += 1
        return base * (0.5 + self.context.jitter() / 2)
