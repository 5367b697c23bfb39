"""Sends one request until it is answered.

A request whose answer is lost may have been carried out. Sending it again is
safe for all requests of this SDK: objects are created under names that the SDK
chooses, so a second create meets the first one's object, see create(); and to
delete or to change something to the same value twice is to do it once.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from typing import Any

from arl._core.context import Backoff, Context
from arl._core.effects import ConnectionFailed, Op, Request, Response, Stream, open_stream, pause, send
from arl._core.refusal import refusal, retry_after
from arl.errors import ServerUnavailable

_log = logging.getLogger("arl")

# After how much silence to warn, so that nobody waits for a wrong address without knowing.
QUIET_SECONDS = 5.0
# Statuses that say "later": too many requests, and what stands between a
# client and a server that is starting or gone.
LATER = frozenset({429, 502, 503, 504})
# An internal error may be a passing one, or may be there for good.
INTERNAL_ERRORS = 4


class Expired(Exception):
    """The resource version is too old for the server: 410."""


class _Attempts:
    """Decides after each failure of one request whether to try again."""

    def __init__(self, context: Context, request: Request, deadline: float) -> None:
        self._context = context
        self._request = request
        self._deadline = deadline
        self._backoff = Backoff(context)
        self._silent_since = context.clock()
        self._internal = 0
        self._said = False

    def next_pause(self, why: str, asked: float | None) -> float:
        """Returns how long to wait before the next attempt; raises ServerUnavailable if there is none."""
        now = self._context.clock()
        wait = self._backoff.next() if asked is None else asked
        end = min(self._deadline, self._silent_since + self._context.retry_seconds)
        if not self._said and now - self._silent_since >= QUIET_SECONDS:
            self._said = True
            _log.warning(
                "no answer from %s for %.0f s, trying again for another %.0f s; the last attempt: %s",
                self._context.server,
                now - self._silent_since,
                max(0.0, end - now),
                why,
            )
        if now >= end:
            raise ServerUnavailable(
                f"no answer from {self._context.server} to {self._request.method} {self._request.path} "
                f"in {now - self._silent_since:.0f} s and {self._backoff.attempts} attempts; the last: {why}. "
                "Check that the server runs and that the address is right"
            )
        return max(0.0, min(wait, end - now))

    def failed(self, error: ConnectionFailed) -> float:
        """Returns the pause after a request without an answer."""
        if error.permanent:
            raise ServerUnavailable(f"cannot talk to {self._context.server}: {error}") from error
        return self.next_pause(str(error), None)

    def refused(self, response: Response) -> float | None:
        """Returns the pause after an answer, or None if it is one to act on."""
        self._internal += response.status == 500
        if response.status in LATER or (response.status == 500 and self._internal < INTERNAL_ERRORS):
            why = f"{response.status} {response.body[:200].decode(errors='replace')}"
            return self.next_pause(why, retry_after(response))
        return None


def call(context: Context, request: Request, deadline: float) -> Op[Response]:
    """Sends a request until there is an answer that is not "later", and returns it whatever its status.

    Raises ServerUnavailable at the deadline, or after the context's retry_seconds.
    """
    attempts = _Attempts(context, request, deadline)
    while True:
        try:
            response = yield from send(request)
        except ConnectionFailed as error:
            wait: float | None = attempts.failed(error)
        else:
            wait = attempts.refused(response)
            if wait is None:
                return response
        yield from pause(wait or 0.0)


def call_stream(context: Context, request: Request, deadline: float) -> Op[Stream]:
    """Does the same for a stream. Raises Expired for 410, and an APIError for other refusals."""
    attempts = _Attempts(context, request, deadline)
    while True:
        try:
            answer = yield from open_stream(request)
        except ConnectionFailed as error:
            wait: float | None = attempts.failed(error)
        else:
            if not isinstance(answer, Response):
                return answer
            wait = attempts.refused(answer)
            if wait is None:
                if answer.status == 410:
                    raise Expired
                raise refusal(request, answer)
        yield from pause(wait or 0.0)


def call_json(context: Context, request: Request, deadline: float) -> Op[dict[str, Any]]:
    """Does call() for an object, and returns it. Raises an APIError unless the request succeeds."""
    response = yield from call(context, request, deadline)
    if response.status == 410:
        raise Expired
    if not 200 <= response.status < 300:
        raise refusal(request, response)
    document: dict[str, Any] = json.loads(response.body)
    return document


def encode(document: Mapping[str, Any]) -> bytes:
    """Returns a document as the body of a request."""
    return json.dumps(document, separators=(",", ":")).encode()
