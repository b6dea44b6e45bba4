"""A tiny HTTP client for the simulator's tests: raw streams, which no broken answer upsets.

Owns: what the tests of the simulator ask and how they read it. It shares no code with the simulator
or with rawstream's own client.
"""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import av
import av.logging

from rawstream.simulator import EngineSimulator, SimContent, bundled_contents


def decode(data: bytes) -> tuple[Counter[str], list[str]]:
    """Frames by kind, and every line FFmpeg had to say from warnings on."""
    frames: Counter[str] = Counter()
    av.logging.set_level(av.logging.WARNING)
    try:
        with av.logging.Capture(local=False) as lines, av.open(io.BytesIO(data)) as container:
            for packet in container.demux():
                frames.update(packet.stream.type for _ in packet.decode())
    finally:
        av.logging.set_level(None)
    return frames, [text for _, _, text in lines]


@dataclass(frozen=True)
class Reply:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Stream:
    """One request and what comes back, read as raw bytes or as a body."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        self.status = 0
        self.headers: dict[str, str] = {}
        self.raw_head = b""
        self._chunk = 0
        self._ended = False

    async def head(self) -> Stream:
        self.raw_head = await self.reader.readuntil(b"\r\n\r\n")
        first, *lines = self.raw_head.decode("latin-1").split("\r\n")
        self.status = int(first.split()[1])
        pairs = (line.partition(":") for line in lines if ":" in line)
        self.headers = {name.lower(): value.strip() for name, _, value in pairs}
        return self

    @property
    def chunked(self) -> bool:
        return self.headers.get("transfer-encoding") == "chunked"

    async def some(self) -> bytes:
        """The next body bytes; b"" at a clean end. IncompleteReadError: cut in its framing."""
        if not self.chunked:
            return await self.reader.read(65536)
        if self._ended:
            return b""
        if self._chunk == 0:
            line = await self.reader.readuntil(b"\r\n")
            self._chunk = int(line, 16)
            if self._chunk == 0:
                await self.reader.readexactly(2)
                self._ended = True
                return b""
        data = await self.reader.read(self._chunk)
        if not data:
            raise asyncio.IncompleteReadError(b"", self._chunk)
        self._chunk -= len(data)
        if self._chunk == 0:
            await self.reader.readexactly(2)
        return data

    async def body(self, size: int) -> bytes:
        """At least `size` bytes of body, or what there is up to a clean end."""
        data = b""
        while len(data) < size:
            more = await self.some()
            if not more:
                break
            data += more
        return data

    async def rest(self) -> bytes:
        """Everything raw until the peer closes."""
        return await self.reader.read(-1)

    async def close(self) -> None:
        self.writer.close()
        with contextlib.suppress(OSError):
            await self.writer.wait_closed()


def location(url: str) -> tuple[str, int, str]:
    parts = urlsplit(url)
    assert parts.hostname is not None and parts.port is not None, url
    return parts.hostname, parts.port, parts.path + (f"?{parts.query}" if parts.query else "")


@contextlib.asynccontextmanager
async def asked(
    url: str, *, method: str = "GET", headers: str = "", version: str = "1.1"
) -> AsyncIterator[Stream]:
    """A request sent; nothing has been read."""
    host, port, target = location(url)
    reader, writer = await asyncio.open_connection(host, port, limit=4 << 20)
    writer.write(
        f"{method} {target} HTTP/{version}\r\nHost: {host}:{port}\r\n{headers}\r\n".encode()
    )
    stream = Stream(reader, writer)
    try:
        yield stream
    finally:
        await stream.close()


@contextlib.asynccontextmanager
async def opened(url: str, **how: str) -> AsyncIterator[Stream]:
    """A stream whose head has been read."""
    async with asked(url, **how) as stream:
        yield await stream.head()


async def get(url: str, **how: str) -> Reply:
    """A whole document, by its Content-Length."""
    async with opened(url, **how) as stream:
        length = int(stream.headers.get("content-length", "0"))
        body = b"" if how.get("method") == "HEAD" else await stream.reader.readexactly(length)
        return Reply(stream.status, stream.headers, body)


@dataclass(frozen=True)
class Started:
    """What a start with format=json has told."""

    playback_url: str
    stat_url: str
    command_url: str
    event_url: str
    infohash: str
    playback_session_id: str

    async def stat(self, more: str = "") -> Any:
        return (await get(self.stat_url + more)).json

    async def stop(self) -> Any:
        return (await get(self.command_url + "?method=stop")).json

    async def media_url(self) -> str:
        async with opened(self.playback_url) as stream:
            assert stream.status == 302, stream.status
            return stream.headers["location"]


async def start(
    engine: EngineSimulator, content: SimContent, *, pid: str = "player", more: str = ""
) -> Started:
    selector = f"infohash={content.infohash}"
    reply = await get(f"{engine.url}/ace/getstream?{selector}&format=json&pid={pid}{more}")
    answer = reply.json
    assert answer["error"] is None, answer
    names = Started.__dataclass_fields__
    return Started(**{name: answer["response"].get(name, "") for name in names})


@contextlib.asynccontextmanager
async def playing(
    engine: EngineSimulator, content: SimContent, *, pid: str = "player", version: str = "1.1"
) -> AsyncIterator[tuple[Started, Stream]]:
    """A session with its media open."""
    started = await start(engine, content, pid=pid)
    async with opened(await started.media_url(), version=version) as stream:
        assert stream.status == 200, stream.raw_head
        yield started, stream


async def until(condition: Any) -> None:
    """Wait for a condition; the suite's own limit ends what never comes."""
    while not condition():
        await asyncio.sleep(0.005)


@contextlib.asynccontextmanager
async def running(
    *contents: SimContent, speed: float = 20.0, latency: float = 0.0, **switches: Any
) -> AsyncIterator[tuple[EngineSimulator, SimContent]]:
    """An engine that is quick, and its first content (a bundled one, without preload)."""
    chosen = list(contents)
    if not chosen:
        chosen = bundled_contents()
        for content in chosen:
            content.preload_seconds = 0.0
    engine = EngineSimulator(chosen, speed=speed, latency=latency, **switches)
    await engine.start()
    try:
        yield engine, chosen[0]
    finally:
        await engine.stop()
