"""One viewer of a film: his request, his place in the file, what is counted of him.

Owns: the moves from request to last byte, when he is paused. Must not know: where a film comes
from, what is tried when a source is lost; that is the films'.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, NamedTuple

from rawstream.byte_range import Span
from rawstream.connection import Exchange, Sink
from rawstream.film_web import FilmFile, Part
from rawstream.http1 import Response
from rawstream.records import ChannelSource
from rawstream.viewer import Lease

TAIL_BYTES: Final = 4096  # shown again by whoever goes on in the middle of a film


class Film(NamedTuple):
    """What is asked for. `key`: the same for the same film. `ways`: its sources, best first."""

    key: str
    name: str
    ways: tuple[ChannelSource, ...]
    extension: str = ""


@dataclass(frozen=True, slots=True)
class FilmViewerSnapshot:
    """One viewer as shown to the operator. Times in seconds, sizes in bytes, speed in bit/s;
    `percent` of the film, None where its length is unknown.
    """

    id: int
    address: str
    port: int
    user_agent: str
    account: str | None
    state: str
    seconds: float
    position: int
    percent: float | None
    bits_per_second: float
    bytes_sent: int


class FilmViewer:
    """One request for a part of a film, from its head to its last byte."""

    __slots__ = (
        "_answered",
        "_lease",
        "_mark",
        "_sink",
        "_writable",
        "_wrote_at",
        "account",
        "address",
        "exchange",
        "file",
        "film",
        "gone",
        "held",
        "id",
        "joined_at",
        "last_error",
        "part",
        "port",
        "position",
        "rate",
        "recoveries",
        "recovering",
        "sent",
        "span",
        "tail",
        "user_agent",
    )

    def __init__(
        self,
        id: int,
        film: Film,
        exchange: Exchange,
        account: str | None,
        lease: Lease | None,
    ) -> None:
        # -- who --
        request = exchange.request
        self.id = id
        self.film = film
        self.exchange = exchange
        self.account = account
        self.address, self.port = request.peer[0], request.peer[1]
        self.user_agent = request.headers.get("user-agent", "")[:200]
        self.joined_at = time.monotonic()
        self._lease = lease
        self.held = True  # nothing was answered yet
        self._answered = False
        self.gone: Callable[[], object] = lambda: None  # ends his task
        # -- his place --
        self.file: FilmFile | None = None
        self.part: Part | None = None
        self.span: Span | None = None
        self.position = 0  # of the next byte in the file
        self.tail = b""  # what he was sent last
        self._sink: Sink | None = None
        self._writable = asyncio.Event()
        self._wrote_at = self.joined_at
        # -- counters --
        self.sent = 0
        self.rate = 0.0
        self._mark = (self.joined_at, 0)
        self.recovering = False
        self.recoveries = 0
        self.last_error: str | None = None

    @property
    def lease(self) -> Lease | None:
        return self._lease

    def start(self, sink: Sink, now: float) -> None:
        """His head is on its way."""
        assert self.part is not None, "there is something to send"
        self._sink = sink
        self.span = self.part.span
        self.position = self.span.begin if self.span is not None else 0
        self.exchange.on_resumed = self._writable.set
        self._wrote_at = now
        self._mark = (now, 0)
        if self._lease is not None:
            self._lease.started(self.cut, now)

    @property
    def paused(self) -> bool:
        return self._sink is not None and self._sink.paused

    def write(self, data: bytes) -> None:
        assert self._sink is not None, "started"
        self._sink.write(data)
        self.position += len(data)
        self.sent += len(data)
        self.tail = data if len(data) >= TAIL_BYTES else self.tail[-TAIL_BYTES:] + data
        self._wrote_at = time.monotonic()

    async def writable(self) -> None:
        """Until his transport takes bytes again."""
        while self.paused:
            self._writable.clear()
            await self._writable.wait()
        self._wrote_at = time.monotonic()

    def paused_for(self, now: float) -> float:
        return now - self._wrote_at if self.paused else 0.0

    def measure(self, now: float) -> None:
        since, sent = self._mark
        if now > since:
            self.rate = (self.sent - sent) * 8 / (now - since)
        self._mark = (now, self.sent)

    # -- the end --

    def answer(self, response: Response) -> None:
        """A refusal, if nothing was answered yet; else the stream is cut."""
        self.exchange.on_gone = None
        if self._sink is not None:
            self._sink.abort()
        elif not self._answered:
            self._answered = True
            self.exchange.respond(response)

    def finish(self) -> None:
        """All of it is written."""
        self.exchange.on_gone = None
        if self._sink is not None:
            self.end()
            self._sink.finish()

    def abort(self) -> None:
        if self._sink is not None:
            self._sink.abort()

    def cut(self) -> None:
        """End his stream at once: his lease was withdrawn."""
        self.abort()
        self.end()
        self.gone()

    def end(self) -> None:
        """He is gone; a second call does nothing."""
        if self._lease is not None:
            self._lease.ended(self.sent)

    def snapshot(self, now: float) -> FilmViewerSnapshot:
        length = self.part.head.length if self.part is not None else None
        if self._sink is None:
            state = "waiting"
        elif self.recovering:
            state = "recovering"
        else:
            state = "paused" if self.paused else "playing"
        return FilmViewerSnapshot(
            id=self.id,
            address=self.address,
            port=self.port,
            user_agent=self.user_agent,
            account=self.account,
            state=state,
            seconds=now - self.joined_at,
            position=self.position,
            percent=100 * self.position / length if length else None,
            bits_per_second=self.rate,
            bytes_sent=self.sent,
        )
