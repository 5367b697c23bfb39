"""What an operation may ask for, and how.

An operation is a generator. It asks by one of the functions below:

    response = yield from send(request)

and returns its result. Whoever drives it carries out what it yields, sends the
outcome in, and throws ConnectionFailed or LineTimeout in where that failed.
Streams are closed by calling close(), which never blocks, so that an operation
can clean up however it ends.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

T = TypeVar("T")

Op = Generator["Effect", Any, T]


class ConnectionFailed(Exception):
    """No answer was had; the request may have been carried out all the same.

    `permanent` says that trying again cannot help: the certificate is wrong.
    """

    def __init__(self, message: str, *, permanent: bool = False) -> None:
        super().__init__(message)
        self.permanent = permanent


class LineTimeout(Exception):
    """No line came in time; the stream is of no use any more."""


@dataclass(frozen=True)
class Request:
    """One HTTP request. The path begins with a slash."""

    method: str
    path: str
    query: Mapping[str, str] = field(default_factory=dict)
    body: bytes | None = None
    content_type: str = "application/json"
    timeout: float = 30.0
    """How long to wait for the answer, in seconds."""


@dataclass(frozen=True)
class Response:
    """One HTTP response, whole. The names of headers are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class Stream(Protocol):
    """A response that is read line by line."""

    def close(self) -> None:
        """Drops the connection. May be called twice."""


@dataclass(frozen=True)
class Send:
    """Asks for a response."""

    request: Request


@dataclass(frozen=True)
class Open:
    """Asks for a stream, or for the response if its status is not 200."""

    request: Request


@dataclass(frozen=True)
class ReadLine:
    """Asks for a stream's next line, or None at its end."""

    stream: Stream
    timeout: float


@dataclass(frozen=True)
class Pause:
    """Asks for some time to pass."""

    seconds: float


Effect = Send | Open | ReadLine | Pause


def send(request: Request) -> Op[Response]:
    """Sends a request and returns the response, whatever its status."""
    response: Response = yield Send(request)
    return response


def open_stream(request: Request) -> Op[Stream | Response]:
    """Sends a request and returns the stream of its lines, or the response if its status is not 200."""
    answer: Stream | Response = yield Open(request)
    return answer


def read_line(stream: Stream, timeout: float) -> Op[bytes | None]:
    """Returns the next line, or None at the stream's end."""
    line: bytes | None = yield ReadLine(stream, timeout)
    return line


def pause(seconds: float) -> Op[None]:
    """Lets time pass."""
    yield Pause(seconds)
