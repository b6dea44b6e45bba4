"""Fakes for the wire: a transport that remembers, a clock that stands, raw sockets to a server."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, cast

from rawstream.config import Limits, Timeouts
from rawstream.protocol import Handler, Response, Server, ServerConnection

HOST = b"Host: a\r\n"


class Clock:
    """Time as the test wants it."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class FakeTransport(asyncio.Transport):
    """Takes what a protocol writes; `room`: bytes the peer takes before writing pauses."""

    def __init__(self, protocol: asyncio.BaseProtocol, *, room: int = 1 << 30) -> None:
        super().__init__()
        self.protocol: Any = protocol
        self.sent = bytearray()
        self.room = room
        self.queued = 0
        self.marks: tuple[int | None, int | None] = (None, None)
        self.reading = True
        self.closing = False
        self.aborted = False
        self.eof_written = False

    def connect(self) -> FakeTransport:
        self.protocol.connection_made(self)
        return self

    def feed(self, data: bytes) -> None:
        self.protocol.data_received(data)

    def take(self) -> bytes:
        """The peer reads all that was sent."""
        data = bytes(self.sent)
        self.sent.clear()
        if self.queued:
            self.queued = 0
            self.protocol.resume_writing()
        return data

    def lose(self, error: Exception | None = None) -> None:
        self.protocol.connection_lost(error)

    # -- asyncio.Transport --

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.sent += data
        over = len(self.sent) - self.room
        if over > 0 and not self.queued:
            self.queued = over
            self.protocol.pause_writing()
        elif over > 0:
            self.queued = over

    def writelines(self, pieces: Any) -> None:
        for piece in pieces:
            self.write(piece)

    def close(self) -> None:
        self.closing = True

    def abort(self) -> None:
        self.closing = self.aborted = True

    def is_closing(self) -> bool:
        return self.closing

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        self.eof_written = True

    def get_write_buffer_size(self) -> int:
        return self.queued

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        self.marks = (high, low)

    def pause_reading(self) -> None:
        self.reading = False

    def resume_reading(self) -> None:
        self.reading = True

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        self.protocol = protocol

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return ("192.0.2.7", 4242) if name == "peername" else default


def hello(request: Any, exchange: Any) -> Response:
    return Response.text(f"{request.method} {request.target}")


def make_server(
    handler: Handler = hello,
    *,
    clock: Callable[[], float] | None = None,
    limits: Limits | None = None,
    timeouts: Timeouts | None = None,
) -> Server:
    server = Server(
        handler,
        timeouts=timeouts or Timeouts(),
        limits=limits or Limits(),
        clock=clock or Clock(),
    )
    server.constant_headers = b"Server: test\r\n"
    return server


def connect(server: Server, *, room: int = 1 << 30) -> FakeTransport:
    return FakeTransport(ServerConnection(server), room=room).connect()


async def accept_pair(server: Server) -> socket.socket:
    """One connection of `server` over a socket pair; returns the viewer's end, non-blocking."""
    ours, theirs = socket.socketpair()
    theirs.setblocking(False)
    loop = asyncio.get_running_loop()
    await loop.connect_accepted_socket(lambda: ServerConnection(server), ours)
    return theirs


async def receive(sock: socket.socket, until: bytes | None = None) -> bytes:
    """Bytes up to and with `until`, or to the end of the connection."""
    loop = asyncio.get_running_loop()
    data = b""
    while until is None or until not in data:
        piece = await loop.sock_recv(sock, 1 << 16)
        if not piece:
            break
        data += piece
    return data


async def eventually(predicate: Callable[[], Any], seconds: float = 20.0) -> None:
    """Wait for a condition; `seconds` only bounds a failing test."""
    async with asyncio.timeout(seconds):
        while not predicate():
            await asyncio.sleep(0.002)


@asynccontextmanager
async def listening(server: Server) -> AsyncIterator[int]:
    """`server` on a free loopback port; ended and empty at the end."""
    ((_, port),) = await server.listen("127.0.0.1", 0)
    try:
        yield port
    finally:
        await server.shutdown(0)
        assert not server.connections


async def dial(port: int) -> socket.socket:
    sock = socket.socket()
    sock.setblocking(False)
    try:
        await asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", port))
    except OSError:
        sock.close()
        raise
    return sock


async def send(sock: socket.socket, data: bytes) -> None:
    await asyncio.get_running_loop().sock_sendall(sock, data)


def split_answers(raw: bytes) -> list[tuple[int, dict[str, str], bytes]]:
    """Whole answers with a Content-Length (or none, to the end): status, headers, body."""
    answers = []
    while raw:
        head, _, raw = raw.partition(b"\r\n\r\n")
        lines = head.decode("latin-1").split("\r\n")
        headers = dict(cast("tuple[str, str]", line.split(": ", 1)) for line in lines[1:])
        length = int(headers.get("Content-Length", len(raw)))
        answers.append((int(lines[0].split(" ")[1]), headers, raw[:length]))
        raw = raw[length:]
    return answers
