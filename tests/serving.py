"""An HTTP server for the tests of downloads: one file, and every way of failing to serve it."""

from __future__ import annotations

import io
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer as Buffer

PAUSE = 20.0


@dataclass
class Request:
    """A request, its time (time.monotonic), and the number of body bytes sent in response."""

    path: str
    range: str | None
    at: float
    sent: int = 0

    @property
    def start(self) -> int:
        """The first byte requested."""
        return int(self.range.removeprefix("bytes=").removesuffix("-")) if self.range else 0


@dataclass(frozen=True, kw_only=True)
class Answer:
    """How to answer one request; by default with the file, as a working server does.

    ``body``: instead of the file. ``ranges``: whether Range is obeyed. ``length``: whether
    Content-Length is sent. ``cut_after``: close the connection after this many bytes.
    ``pause_after``: stop after this many bytes until the server is released, or for PAUSE seconds.
    ``drip``: send the body a byte at a time, one in so many seconds; ``drip_headers``: these too.
    """

    status: int = HTTPStatus.OK
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes | None = None
    ranges: bool = True
    length: bool = True
    cut_after: int | None = None
    pause_after: int | None = None
    drip: float = 0
    drip_headers: bool = False


def failure(status: int, **headers: str) -> Answer:
    """A status without a body; retry_after="1" is the header Retry-After."""
    named = {name.replace("_", "-").title(): value for name, value in headers.items()}
    return Answer(status=status, headers=named, body=b"", ranges=False)


class FileServer(ThreadingHTTPServer):
    """Serves one file at every path, and as a proxy for every address.

    ``script`` holds the answers to the next requests; after that, the default.
    ``requests`` are the requests so far.
    """

    def __init__(self, body: bytes) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.body = body
        self.script: list[Answer] = []
        self.requests: list[Request] = []
        self.released = threading.Event()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    @property
    def sent(self) -> int:
        """Body bytes sent for all requests together."""
        return sum(request.sent for request in self.requests)


@contextmanager
def serving(body: bytes) -> Iterator[FileServer]:
    """A server that runs until the block ends."""
    with FileServer(body) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield server
        finally:
            server.released.set()
            server.shutdown()
            thread.join()


class _Dripping(io.BufferedIOBase):
    """Writes a byte at a time, one in so many seconds, until the server is released."""

    def __init__(self, wire: io.BufferedIOBase, seconds: float, released: threading.Event) -> None:
        self._wire = wire
        self._seconds = seconds
        self._released = released

    def write(self, content: Buffer) -> int:
        whole = bytes(content)
        for byte in whole:
            self._wire.write(bytes([byte]))
            if self._released.wait(self._seconds):
                raise ConnectionAbortedError
        return len(whole)


class _Handler(BaseHTTPRequestHandler):
    server: FileServer

    def do_GET(self) -> None:
        request = Request(self.path, self.headers.get("Range"), time.monotonic())
        self.server.requests.append(request)
        answer = self.server.script.pop(0) if self.server.script else Answer()
        with suppress(ConnectionError):  # a client may hang up, or be killed
            self._answer(request, answer)

    def _answer(self, request: Request, answer: Answer) -> None:
        body = self.server.body if answer.body is None else answer.body
        size, status = len(body), answer.status
        dripping = _Dripping(self.wfile, answer.drip, self.server.released)
        if answer.drip_headers:
            self.wfile = dripping
        if answer.ranges and request.range:
            status = HTTPStatus.PARTIAL_CONTENT
            body = body[request.start :]
            if not body:
                status = HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE
        self.send_response(status)
        if answer.length:
            self.send_header("Content-Length", str(len(body)))
        if status == HTTPStatus.PARTIAL_CONTENT:
            self.send_header("Content-Range", f"bytes {size - len(body)}-{size - 1}/{size}")
        for name, value in answer.headers.items():
            self.send_header(name, value)
        self.end_headers()
        if answer.drip:
            self.wfile = dripping
        body = body[: answer.cut_after]
        if answer.pause_after is not None:
            self._send(request, body[: answer.pause_after])
            self.server.released.wait(PAUSE)
            body = body[answer.pause_after :]
        self._send(request, body)

    def _send(self, request: Request, body: bytes) -> None:
        request.sent += len(body)
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Print nothing to stderr, where the tests expect lapsr's messages."""
