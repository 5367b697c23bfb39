"""Follows objects as they change, through lost connections and restarts of the server.

A Watch holds at most one stream. It goes on from the resource version that it
has seen last, so nothing is missed and nothing is asked for twice. If the
server does not know that version any more (410), it lists the objects, which
says what became of them, and goes on from there.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass

from arl._core.api import Collection, Document, complete, list_all
from arl._core.call import Expired, call_stream
from arl._core.context import Backoff, Context
from arl._core.effects import ConnectionFailed, LineTimeout, Op, Request, Stream, pause, read_line

# The server sends a bookmark each minute. A stream that is silent for longer
# than this has lost its server without being told.
SILENCE_SECONDS = 150.0
# The server ends each stream after this time, so that none is forgotten.
STREAM_SECONDS = 1800


class DeadlineReached(Exception):
    """What was waited for did not come in time."""


@dataclass(frozen=True)
class Change:
    """What a watch has seen.

    `objects` are the objects that changed, by name. If `complete`, they are all
    that there are, and others are gone; else those in `gone` are.
    """

    objects: dict[str, Document]
    gone: frozenset[str] = frozenset()
    complete: bool = False


class Watch:
    """Watches the objects that a selector picks, from a resource version on.

    The selector is a query: fieldSelector or labelSelector, and what it is to be.

    Use by one operation at a time. close() drops the connection; next() makes
    another when it is called again.
    """

    def __init__(self, context: Context, collection: Collection, selector: Mapping[str, str], version: str) -> None:
        self._context = context
        self._collection = collection
        self._selector = selector
        self._version = version
        self._stream: Stream | None = None
        self._expired = False
        self._backoff = Backoff(context)

    def close(self) -> None:
        """Drops the connection."""
        stream, self._stream = self._stream, None
        if stream is not None:
            stream.close()

    def next(self, deadline: float) -> Op[Change]:
        """Returns the next change, or raises DeadlineReached."""
        while True:
            try:
                if self._expired:
                    raise Expired
                if self._stream is None:
                    self._stream = yield from call_stream(self._context, self._request(), deadline)
                line = yield from self._read(deadline)
            except Expired:
                self.close()
                return (yield from self._list(deadline))
            except (ConnectionFailed, LineTimeout):
                # The next attempt finds out whether the server is there.
                line = None
            except BaseException:
                # A line may have been read in part.
                self.close()
                raise
            if line is None:
                self.close()
                yield from pause(self._backoff.next())
                continue
            change = self._change(line)
            if change is not None:
                return change

    def _request(self) -> Request:
        return Request(
            "GET",
            self._collection.path,
            query={
                "watch": "1",
                **self._selector,
                "resourceVersion": self._version,
                "allowWatchBookmarks": "true",
                "timeoutSeconds": str(STREAM_SECONDS),
            },
        )

    def _read(self, deadline: float) -> Op[bytes | None]:
        assert self._stream is not None  # noqa: S101  # next() has just opened it
        left = deadline - self._context.clock()
        if left <= 0:
            raise DeadlineReached
        try:
            return (yield from read_line(self._stream, min(left, SILENCE_SECONDS)))
        except LineTimeout:
            if self._context.clock() >= deadline:
                raise DeadlineReached from None
            raise

    def _change(self, line: bytes) -> Change | None:
        """Is what a line says, or None if that is nothing to act on."""
        try:
            event = json.loads(line)
            kind, document = event["type"], event["object"]
        except (ValueError, KeyError, TypeError):
            # The connection ended within a line.
            self.close()
            return None
        if kind == "ERROR":
            # Whether the version expired or anything else went wrong: a list
            # says what there is now.
            self.close()
            self._expired = True
            return None
        self._backoff.attempts = 0
        metadata = document.get("metadata", {})
        self._version = metadata.get("resourceVersion", self._version)
        if kind == "BOOKMARK":
            return None
        if kind == "DELETED":
            return Change({}, gone=frozenset({metadata["name"]}))
        return Change({metadata["name"]: complete(document, self._collection)})

    def _list(self, deadline: float) -> Op[Change]:
        self._expired = False
        items, self._version = yield from list_all(self._context, self._collection, deadline, self._selector)
        return Change({item["metadata"]["name"]: item for item in items}, complete=True)
