"""Films on an engine of hand-made bytes: what it answers to a range, and files on it."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from raw_engine import CONTENT_ID, INFOHASH, RawEngine, granted, said

from rawstream.byte_range import parse_range
from rawstream.config import Limits, Timeouts
from rawstream.engine_client import ContentRef
from rawstream.engine_pool import EnginePool
from rawstream.film_engine import BLOCK_BYTES, EngineFile
from rawstream.film_web import Asked
from rawstream.journal import StopJournal

FILM = os.urandom(3 * BLOCK_BYTES + 1234)
CONTENT = f"/content/{INFOHASH}/0.1"
REF = ContentRef("content_id", CONTENT_ID)


def part_of(head: str, film: bytes = FILM) -> bytes:
    """What an engine that serves parts answers to this request."""
    wanted = next(
        line.partition(":")[2] for line in head.splitlines() if line.lower().startswith("range:")
    )
    (spec,) = parse_range(wanted)
    span = spec.within(len(film))
    if span is None:
        return f"HTTP/1.1 416 No\r\nContent-Range: bytes */{len(film)}\r\n\r\n".encode()
    return (
        f"HTTP/1.1 206 Partial Content\r\nContent-Length: {span.size}\r\nContent-Range: "
        f"bytes {span.begin}-{span.end - 1}/{len(film)}\r\n\r\n"
    ).encode() + film[span.begin : span.end]


class Theatre:
    """An engine of hand-made bytes, and files on it."""

    def __init__(self, engine: RawEngine, pool: EnginePool, timeouts: Timeouts) -> None:
        self.engine = engine
        self.pool = pool
        self.timeouts = timeouts
        self.over: list[str | None] = []
        self.others: set[str] = set()
        self.files: list[EngineFile] = []

    def file(self) -> EngineFile:
        file = EngineFile(
            self.pool,
            [REF],
            self.timeouts,
            make_room=self._no_room,
            claim=lambda file: file.infohash not in self.others,
            on_over=lambda _, failure: self.over.append(failure),
        )
        self.files.append(file)
        return file

    def answers(self, answer: Callable[[str], bytes | None]) -> None:
        """What is answered to the head of a request for media."""
        self.engine.answers[CONTENT] = lambda _path: answer(self.engine.heads[-1])

    async def _no_room(self) -> bool:
        return False

    @property
    def ranges(self) -> list[str]:
        lines = [line for head in self.engine.heads for line in head.splitlines()]
        return [line.partition(": ")[2] for line in lines if line.startswith("Range")]


@asynccontextmanager
async def opened(tmp_path: Path) -> AsyncIterator[Theatre]:
    timeouts = Timeouts.for_tests(
        engine_first_byte_seconds=1.0, recover_seconds=3.0, engine_preload_retry_seconds=0.02
    )
    async with RawEngine() as engine:
        engine.answers = {
            "/ace/getstream": granted(is_live=0),
            f"/ace/r/{INFOHASH}": b"HTTP/1.1 302 Found\r\nLocation: "
            + CONTENT.encode()
            + b"\r\n\r\n",
            "/ace/stat": said({"response": {"status": "dl", "peers": 3}, "error": None}),
            "/ace/cmd": said({"response": "ok", "error": None}),
        }
        pool = EnginePool(
            [engine.url],
            capacity=2,
            timeouts=timeouts,
            limits=Limits(),
            journal=StopJournal(tmp_path),
        )
        made = Theatre(engine, pool, timeouts)
        made.answers(part_of)
        try:
            yield made
        finally:
            for file in made.files:
                await file.stop()
            await pool.close()


def asked(header: str = "", if_range: str = "") -> Asked:
    return Asked(parse_range(header), if_range)
