"""A server made of the answers that a test gives, for what a real one does rarely."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from arl import Config

Document = dict[str, Any]


@dataclass(frozen=True)
class Asked:
    """A request that the stub was sent."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: Document

    @property
    def watches(self) -> bool:
        return "watch" in self.query

    @property
    def resource(self) -> str:
        return (self.path.split("/") + [""] * 7)[6]


@dataclass(frozen=True)
class Answer:
    """What the stub answers. Lines make it a stream; cut ends the connection in its midst."""

    status: int = 200
    body: Document | bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    lines: list[bytes] | None = None
    cut: bool = False


CUT = Answer(cut=True)


def status(code: int, reason: str, message: str = "no", **headers: str) -> Answer:
    """Is a refusal as Kubernetes has it."""
    body = {"kind": "Status", "status": "Failure", "code": code, "reason": reason, "message": message}
    return Answer(code, body, {name.replace("_", "-"): value for name, value in headers.items()})


def event(kind: str, document: Document) -> bytes:
    """Is a line of a watch."""
    return json.dumps({"type": kind, "object": document}).encode() + b"\n"


class Stub:
    """Answers requests by a function, and notes them."""

    def __init__(self, answer: Callable[[Asked], Answer]) -> None:
        self.asked: list[Asked] = []
        stub = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def handle_one(self) -> None:
                parts = urlsplit(self.path)
                text = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                headers = {name.lower(): value for name, value in self.headers.items()}
                asked = Asked(
                    self.command, parts.path, dict(parse_qsl(parts.query)), headers, json.loads(text) if text else {}
                )
                stub.asked.append(asked)
                stub.write(self, answer(asked))

            do_GET = do_POST = do_DELETE = do_PATCH = handle_one  # noqa: N815  # the names that http.server looks for

            def log_message(self, *args: object) -> None:
                """Says nothing: the tests say what went wrong."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self.config = Config(server=self.url, token="secret", retry_seconds=60)

    @staticmethod
    def write(handler: BaseHTTPRequestHandler, answer: Answer) -> None:
        handler.close_connection = answer.cut or answer.lines is not None
        if answer.cut and answer.lines is None:
            return
        body = answer.body if isinstance(answer.body, bytes) else json.dumps(answer.body).encode()
        handler.send_response(answer.status)
        for name, value in answer.headers.items():
            handler.send_header(name, value)
        if answer.lines is None:
            handler.send_header("Content-Length", str(len(body)))
            handler.end_headers()
            handler.wfile.write(body)
            return
        handler.send_header("Transfer-Encoding", "chunked")
        handler.end_headers()
        for line in answer.lines:
            handler.wfile.write(b"%x\r\n%s\r\n" % (len(line), line))
        if not answer.cut:
            handler.wfile.write(b"0\r\n\r\n")

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
