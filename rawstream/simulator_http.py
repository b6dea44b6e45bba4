"""The simulator's own HTTP: a server connection that can also answer wrongly, on purpose.

Owns: reading requests, writing heads and bodies as the engine does, and every way to break an
answer: no length on a socket left open, doubled status lines, half a body, bad chunks, RST.
Must not know: sessions, contents, faults by name. It does not use `protocol`, whose task is to be
right; a fake engine must be able to be wrong.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from collections import deque
from collections.abc import Callable, Coroutine, MutableSet, Sequence
from dataclasses import dataclass, field
from email.utils import formatdate
from http import HTTPStatus
from typing import cast
from urllib.parse import parse_qsl, unquote, urlsplit

import httptools

SERVER = "BaseHTTP/0.6 Python/3.8.16"  # seen on 3.1.75rc4 (engine reference §1.2)
REQUEST_LIMIT_BYTES = 256 * 1024  # a request with its body; the real engine's limit is unknown
PIPELINE_LIMIT = 16
CONNECTION_LIMIT = 5000
WRITE_HIGH_BYTES = 64 * 1024

JSON_TYPE = "application/json"
TEXT_TYPE = "text/plain"
HTML_TYPE = "text/html"

Headers = Sequence[tuple[str, str]]


@dataclass(slots=True)
class SimRequest:
    """One request. `query`: the last value of a name wins, as in the engine's own handler."""

    method: str
    target: str
    http_version: str
    headers: dict[str, str]
    peer: str
    body: bytes = b""
    path: str = field(init=False)
    segments: tuple[str, ...] = field(init=False)
    query: dict[str, str] = field(init=False)

    def __post_init__(self) -> None:
        parts = urlsplit(self.target)
        self.path = unquote(parts.path)
        self.segments = tuple(part for part in self.path.split("/") if part)
        self.query = dict(parse_qsl(parts.query, keep_blank_values=True))

    @property
    def last(self) -> bool:
        """Whether the client wants the connection to end with the answer."""
        wish = self.headers.get("connection", "").lower()
        return wish == "close" or (self.http_version == "1.0" and wish != "keep-alive")

    def flag(self, name: str) -> bool:
        """A boolean parameter of the engine: 0 or 1."""
        return self.query.get(name, "0") == "1"


Answer = Callable[["SimConnection", SimRequest], Coroutine[None, None, None]]


class SimConnection(asyncio.Protocol):
    """One accepted socket. Requests are answered one after the other, each by a task it owns.

    `answer`: the coroutine that answers one request. `connections`: where it keeps itself while it
    is open.
    """

    __slots__ = (
        "_answer",
        "_body",
        "_connections",
        "_fields",
        "_parser",
        "_queue",
        "_request_bytes",
        "_target",
        "_task",
        "_transport",
        "_writable",
        "body_begun",
        "chunked",
        "closed",
        "peer",
        "request",
    )

    def __init__(self, answer: Answer, connections: MutableSet[SimConnection]) -> None:
        self._answer = answer
        self._connections = connections
        # transport
        self._transport: asyncio.Transport | None = None
        self._writable = asyncio.Event()
        self._writable.set()
        self.closed = asyncio.Event()
        self.peer = ""
        # request
        self._parser = httptools.HttpRequestParser(self)
        self._target = b""
        self._fields: dict[str, str] = {}
        self._body = b""
        self._request_bytes = 0
        self._queue: deque[SimRequest] = deque()
        self.request: SimRequest | None = None  # that is being answered
        self._task: asyncio.Task[None] | None = None
        # answer
        self.chunked = False
        self.body_begun = False

    # -- asyncio.Protocol --

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._transport.set_write_buffer_limits(high=WRITE_HIGH_BYTES)
        peer = transport.get_extra_info("peername")
        self.peer = peer[0] if peer else ""
        if len(self._connections) >= CONNECTION_LIMIT:
            self._transport.abort()
            return
        self._connections.add(self)

    def data_received(self, data: bytes) -> None:
        if self._transport is None:
            return
        self._request_bytes += len(data)
        if self._request_bytes > REQUEST_LIMIT_BYTES:
            self.close()
            return
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            pass  # what follows an Upgrade is not spoken by the engine
        except httptools.HttpParserError:
            self.write(head(400, [("Connection", "close")]))
            self.close()
            return
        if len(self._queue) > PIPELINE_LIMIT:
            self.close()
        else:
            self._next()

    def eof_received(self) -> None:
        """A client that has closed its side is gone; the transport closes itself."""

    def connection_lost(self, _exc: Exception | None) -> None:
        self._connections.discard(self)
        self._transport = None
        self._writable.set()
        self.closed.set()
        self._queue.clear()
        if self._task is not None:
            self._task.cancel()

    def pause_writing(self) -> None:
        self._writable.clear()

    def resume_writing(self) -> None:
        self._writable.set()

    # -- httptools --

    def on_message_begin(self) -> None:
        self._target, self._fields, self._body = b"", {}, b""

    def on_url(self, url: bytes) -> None:
        self._target += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self._fields[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_body(self, body: bytes) -> None:
        self._body += body

    def on_message_complete(self) -> None:
        self._request_bytes = 0
        self._queue.append(
            SimRequest(
                method=self._parser.get_method().decode("latin-1"),
                target=self._target.decode("latin-1"),
                http_version=self._parser.get_http_version(),
                headers=self._fields,
                peer=self.peer,
                body=self._body,
            )
        )

    def _next(self) -> None:
        if self._task is None and self._queue and self._transport is not None:
            request = self.request = self._queue.popleft()
            self._task = asyncio.create_task(
                self._answer(self, request), name=f"simulator {request.method} {request.path[:60]}"
            )
            self._task.add_done_callback(self._answered)

    def _answered(self, task: asyncio.Task[None]) -> None:
        self._task = self.request = None
        if not task.cancelled() and (error := task.exception()) is not None:
            self.reset()
            asyncio.get_running_loop().call_exception_handler(
                {"message": "the simulator failed to answer", "exception": error, "task": task}
            )
        self._next()

    # -- right answers --

    @property
    def task(self) -> asyncio.Task[None] | None:
        """The answer that is being given."""
        return self._task

    @property
    def open(self) -> bool:
        return self._transport is not None and not self._transport.is_closing()

    def write(self, data: bytes) -> None:
        if self._transport is not None:
            self._transport.write(data)

    async def drain(self, seconds: float) -> bool:
        """Whether the transport takes more, within `seconds`: a slow reader holds us here."""
        if self._writable.is_set():
            return self.open
        try:
            await asyncio.wait_for(self._writable.wait(), seconds)
        except TimeoutError:
            return False
        return self.open

    def respond(
        self,
        status: int,
        body: bytes = b"",
        content_type: str = TEXT_TYPE,
        headers: Headers = (),
        *,
        head_only: bool = False,
    ) -> None:
        """A whole answer with its length."""
        fields = [("Content-Type", content_type), ("Content-Length", str(len(body))), *headers]
        last = self.request is not None and self.request.last
        if last:
            fields.append(("Connection", "close"))
        self.write(head(status, fields) + (b"" if head_only else body))
        if last:
            self.close()

    def redirect(self, location: str) -> None:
        """302 with a text body, no length, and the socket left open (engine reference §1.2)."""
        self.write(head(302, [("Location", location)]) + f"Redirect to {location}".encode())

    def begin_body(self, status: int, fields: Headers, *, chunked: bool) -> None:
        """The head of an endless answer; `body_piece` follows."""
        self.chunked = chunked
        self.body_begun = True
        coding = [("Transfer-Encoding", "chunked")] if chunked else []
        self.write(head(status, [*fields, *coding]))

    def body_piece(self, data: bytes) -> None:
        self.write(b"%x\r\n%b\r\n" % (len(data), data) if self.chunked else data)

    def end_body(self) -> None:
        """The clean end: the last chunk where there are chunks, then the socket."""
        if self.body_begun and self.chunked:
            self.write(b"0\r\n\r\n")
        self.close()

    def close(self) -> None:
        """Send what is buffered, then FIN."""
        if self._transport is not None:
            self._transport.close()

    # -- wrong answers --

    def reset(self) -> None:
        """RST instead of FIN; what the kernel has not sent yet is thrown away."""
        if self._transport is None:
            return
        sock: socket.socket | None = self._transport.get_extra_info("socket")
        if sock is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._transport.abort()

    def doubled_head(self, fields: Headers) -> None:
        """What a second reader of one /content URL gets: two status lines, then the end (§1.5)."""
        self.write(b"HTTP/1.1 200 OK\r\n" + head(200, fields))
        self.close()

    def half_body(self, body: bytes, content_type: str) -> None:
        """The announced length, half of the bytes, then the end."""
        fields = [("Content-Type", content_type), ("Content-Length", str(len(body)))]
        self.write(head(200, fields) + body[: len(body) // 2])
        self.close()

    def malformed(self) -> None:
        """Bytes that are no HTTP."""
        self.write(b"HTTP/x.y 2OO\r\n: nothing\r\n\r\n\x00\xff\x00")
        self.close()

    def bad_chunk(self) -> None:
        """A chunk size that is none (or plain garbage where there are no chunks), then the end."""
        self.write(b"zz\r\nnot a chunk\r\n")
        self.close()


def head(status: int, fields: Headers) -> bytes:
    """A status line and header block as BaseHTTP writes them, CORS included (reference §2.2)."""
    reason = HTTPStatus(status).phrase if status in _STATUSES else "Unknown"
    lines = [f"HTTP/1.1 {status} {reason}", f"Server: {SERVER}", f"Date: {formatdate(usegmt=True)}"]
    lines += [f"{name}: {value}" for name, value in fields]
    lines += ["Access-Control-Allow-Origin: *", "", ""]
    return "\r\n".join(lines).encode("latin-1", "replace")


_STATUSES = frozenset(int(status) for status in HTTPStatus)
