"""What a process does right after it was forked: it lets go of what is its parent's.

A forked process has copies of its parent's locks, which a thread of the parent
may have held at that moment, and of its connections, on which the parent goes
on talking. Objects with either are watched here, and get new ones in the child
before any of its code runs.
"""

from __future__ import annotations

import os
import weakref
from typing import Protocol


class Forked(Protocol):
    """An object that holds locks or connections."""

    def _after_fork(self) -> None:
        """Replaces them. Runs in the child, before any other code of it."""


_watched: weakref.WeakSet[Forked] = weakref.WeakSet()


def watch(thing: Forked) -> None:
    """Has an object's _after_fork() called in each process that is forked from now on."""
    _watched.add(thing)


def _in_child() -> None:
    for thing in list(_watched):
        thing._after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_in_child)
