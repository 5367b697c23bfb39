"""The progress bar of a pool that is warming up, if rich is there and somebody looks."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from arl._core.pool import Progress


@contextmanager
def progress_bar(name: str, wanted: bool | None) -> Iterator[Progress | None]:
    """Gives a function that is told how many pods are ready, and how many are wanted; or None.

    Raises ImportError if a bar is wanted expressly and rich is not installed.
    """
    if wanted is False or (wanted is None and not sys.stderr.isatty()):
        yield None
        return
    try:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
        from rich.progress import Progress as Bar
    except ImportError:
        if wanted:
            raise ImportError('a progress bar needs rich: pip install "arl-sandbox[progress]"') from None
        yield None
        return
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()
    with Bar(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task(f"pool {name}", total=None)
        yield lambda ready, total: bar.update(task, completed=min(ready, total), total=total)
