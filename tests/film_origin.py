"""A web server with one file on it, as obliging or as odd as a test wants it."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from rawstream.byte_range import ContentRange, Span, Unsatisfiable, parse_range, span_of


class Origin:
    """`film`: the file. `heads`: the requests as they came, `sent`: body bytes. The switches are
    looked at for every request, those of a body all the time.
    """

    def __init__(self, film: bytes) -> None:
        self.film = film
        self.url = ""
        # -- switches --
        self.ranges = True
        self.length = True  # else the body ends with the connection
        self.etag = '"one"'
        self.content_type = "video/mp4"
        self.status = 0  # answers this instead
        self.extra: list[tuple[str, str]] = []
        self.cut_at: int | None = None  # the connection goes at this byte of the file
        self.cuts = 1 << 30  # so often
        self.stalls_at: int | None = None
        self.only_parts_of: int | None = None  # a part is at most so long, and says so
        self.silent = False  # accepts and never answers
        # -- seen --
        self.heads: list[dict[str, str]] = []
        self.sent = 0
        self.open = 0
        self._writers: set[asyncio.StreamWriter] = set()

    @property
    def ranges_asked(self) -> list[str]:
        return [head.get("range", "") for head in self.heads]

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        self.open += 1
        try:
            await self._answer(reader, writer)
        except (OSError, asyncio.IncompleteReadError, RuntimeError):
            pass  # uvloop's word for a transport that was aborted is the last one
        finally:
            self.open -= 1
            self._writers.discard(writer)
            writer.close()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        first, *lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        head = {name.lower(): value.strip() for name, _, value in (x.partition(":") for x in lines)}
        head[":request"] = first
        self.heads.append(head)
        if self.silent:
            await reader.read()
            return
        if self.status:
            writer.write(self._head(self.status, self.extra) + b"no\n")
            return
        fields = [("Content-Type", self.content_type), *self.extra]
        if self.etag:
            fields.append(("ETag", self.etag))
        span, status = Span(0, len(self.film)), 200
        if self.ranges:
            fields.append(("Accept-Ranges", "bytes"))
            if head.get("if-range", self.etag) == self.etag:
                try:
                    part = span_of(parse_range(head.get("range", "")), len(self.film))
                except Unsatisfiable as error:
                    told = ("Content-Range", str(ContentRange(None, error.length)))
                    writer.write(self._head(416, [told, ("Content-Length", "0")]))
                    return
                if part is not None:
                    if self.only_parts_of is not None:
                        part = Span(part.begin, min(part.end, part.begin + self.only_parts_of))
                    span, status = part, 206
                    fields.append(("Content-Range", str(ContentRange(part, len(self.film)))))
        if self.length:
            fields.append(("Content-Length", str(span.size)))
        writer.write(self._head(status, fields))
        await self._body(reader, writer, span)

    async def _body(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, span: Span
    ) -> None:
        at = span.begin
        while at < span.end:
            end = min(span.end, at + 32 * 1024)
            for mark in (self.cut_at if self.cuts > 0 else None, self.stalls_at):
                if mark is not None and span.begin <= mark:
                    end = max(at, min(end, mark))
            writer.write(self.film[at:end])
            self.sent += end - at
            await writer.drain()
            at = end
            if at == self.cut_at and self.cuts > 0 and span.begin <= at < span.end:
                self.cuts -= 1
                if not self.length:  # a clean close would be the end of it
                    sock = writer.get_extra_info("socket")
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                    writer.transport.abort()
                return
            while at == self.stalls_at and not reader.at_eof() and not writer.is_closing():
                await asyncio.sleep(0.01)
            if writer.is_closing() or reader.at_eof():
                return

    @staticmethod
    def _head(status: int, fields: list[tuple[str, str]]) -> bytes:
        lines = [f"HTTP/1.1 {status} x", *(f"{name}: {value}" for name, value in fields)]
        return "\r\n".join([*lines, "Connection: close", "", ""]).encode()

    def cut_all(self) -> None:
        for writer in list(self._writers):
            writer.transport.abort()


@asynccontextmanager
async def origin_of(film: bytes) -> AsyncIterator[Origin]:
    origin = Origin(film)
    server = await asyncio.start_server(origin.serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    origin.url = f"http://127.0.0.1:{port}/films/s3cret/film.mp4?password=s3cret"
    try:
        yield origin
    finally:
        server.close()
        while origin.open:
            origin.cut_all()
            await asyncio.sleep(0.01)
