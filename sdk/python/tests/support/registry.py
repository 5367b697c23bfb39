"""A registry on loopback that has one image under every tag of library/python."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from tests.support.image import Image, digest

# A tag whose image is given out only when the test says so.
HELD = "held"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"


class Registry:
    """Serves an image until close()."""

    def __init__(self, image: Image) -> None:
        free = self._free = threading.Event()
        free.set()

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                if self.path.endswith(f"/{HELD}"):
                    free.wait()
                kind, data = find(image, self.path)
                self.send_response(200 if data is not None else 404)
                body = data if data is not None else b'{"errors":[{"code":"NAME_UNKNOWN","message":"no such image"}]}'
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(body)))
                if data is not None:
                    self.send_header("Docker-Content-Digest", digest(data))
                self.end_headers()
                if self.command == "GET":
                    self.wfile.write(body)

            do_HEAD = do_GET  # noqa: N815  # the name that http.server looks for

            def log_message(self, *args: object) -> None:
                """Says nothing: the tests say what went wrong."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    @contextmanager
    def held(self) -> Iterator[None]:
        """Keeps the image of the tag HELD back meanwhile."""
        self._free.clear()
        try:
            yield
        finally:
            self._free.set()

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


def find(image: Image, path: str) -> tuple[str, bytes | None]:
    """Is what a path of the distribution API stands for."""
    parts = path.strip("/").split("/")
    if parts == ["v2"]:
        return "application/json", b"{}"
    if parts[:3] != ["v2", "library", "python"] or len(parts) != 5:
        return "application/json", None
    if parts[3] == "manifests":
        wanted = parts[4] if parts[4].startswith("sha256:") else image.manifest
        return MANIFEST, image.blobs.get(wanted)
    return "application/octet-stream", image.blobs.get(parts[4])
