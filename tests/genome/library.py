"""A small HTTP server of files for tests, which can be set to misbehave, and counts what it sends."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class Library:
    """What a server has and does.

    Attributes:
        files: content by name.
        ranges: whether it answers a Range.
        at_most: bytes sent an answer, whatever Content-Length promised.
        statuses: by name, answers to give instead, first to last.
        spoilt: by name, how often to send other bytes of the same length.
        redirects: by name, where to send the client.
        encoding: a Content-Encoding to claim.
        versions: by name, the ETag it tells, and holds an If-Range to.
        tells_length: whether it says how long a file is.
        gate: held before a file is sent.
        asked: name and Range of every request.
        sent: bytes of files sent.
    """

    files: dict[str, bytes] = field(default_factory=dict)
    ranges: bool = True
    at_most: int | None = None
    statuses: dict[str, list[int]] = field(default_factory=dict)
    spoilt: dict[str, int] = field(default_factory=dict)
    redirects: dict[str, str] = field(default_factory=dict)
    encoding: str | None = None
    versions: dict[str, str] = field(default_factory=dict)
    tells_length: bool = True
    gate: threading.Event | None = None
    asked: list[tuple[str, str | None]] = field(default_factory=list)
    arrived: threading.Event = field(default_factory=threading.Event)
    sent: int = 0
    port: int = 0

    def url(self, name: str) -> str:
        return f"http://127.0.0.1:{self.port}/{name}"

    def names(self) -> list[str]:
        """What was asked for, in order."""
        return [name for name, _ in self.asked]


def md5(content: bytes) -> str:
    return hashlib.md5(content).hexdigest()


@contextmanager
def serve(library: Library) -> Iterator[Library]:
    """Serve until the block ends."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            answer(self, library)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    library.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield library
    finally:
        if library.gate:
            library.gate.set()
        server.shutdown()
        thread.join()
        server.server_close()


def answer(request: BaseHTTPRequestHandler, library: Library) -> None:
    name, asked = request.path.lstrip("/"), request.headers.get("Range")
    library.asked.append((name, asked))
    library.arrived.set()
    if library.gate:
        library.gate.wait(60)
    if name in library.redirects:
        request.send_response(302)
        request.send_header("Location", library.redirects[name])
        request.end_headers()
        return
    status = library.statuses[name].pop(0) if library.statuses.get(name) else 200
    if status != 200 or name not in library.files:
        request.send_error(status if status != 200 else 404)
        return
    content = library.files[name]
    if library.spoilt.get(name, 0):
        library.spoilt[name] -= 1
        content = bytes(byte ^ 1 for byte in content)
    version, wanted = library.versions.get(name), request.headers.get("If-Range")
    goes_on = library.ranges and wanted in (None, version)
    start = int(asked.removeprefix("bytes=").rstrip("-")) if asked and goes_on else 0
    if start and start >= len(content):
        request.send_response(416)
        request.send_header("Content-Range", f"bytes */{len(content)}")
        request.end_headers()
        return
    request.send_response(206 if start else 200)
    if start:
        request.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
    if version:
        request.send_header("ETag", version)
    if library.encoding:
        request.send_header("Content-Encoding", library.encoding)
    if library.tells_length:
        request.send_header("Content-Length", str(len(content) - start))
    request.end_headers()
    piece = content[start:][: library.at_most]
    library.sent += len(piece)
    request.wfile.write(piece)
