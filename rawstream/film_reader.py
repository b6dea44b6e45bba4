"""The one reader of a film's session on an engine: parts, one at a time, and what the engine says
meanwhile.

Owns: one session's requests for media, the patience with a swarm that has to look for a piece, the
polls that keep the session, the proof that it plays. Must not know: who wants the bytes, which
session comes next (`film_engine`). Section signs are those of the engine reference.

A second reader on a session's URL gets corrupt HTTP (§1.5): a caller waits for one part before it
asks for the next.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any, Final, Protocol

from rawstream.byte_range import RangeSpec, Span, Unsatisfiable, parse_content_range
from rawstream.config import Timeouts
from rawstream.engine_answers import FAILED_STATUSES, UNKNOWN_SESSION, Stat, path_of
from rawstream.engine_client import is_refusal
from rawstream.engine_pool import EnginePool, EngineSession
from rawstream.errors import EngineError, UpstreamError, UpstreamTimeout
from rawstream.film_web import media_type
from rawstream.http1_client import SECOND_STATUS_LINE
from rawstream.http_client import BodyStream, Ending, Receiver

_PROOF_BYTES: Final = 64 * 1024  # §1.4: as for what is live
_LEFT_SECONDS: Final = 0.5  # a part nobody wants any more may still come to its end
_DOUBLED_TRIES: Final = 5  # while the engine has not noticed that the last reader left


class NoParts(Exception):
    """The engine answered the whole where a part was asked for. `length`: the whole's, if said."""

    def __init__(self, length: int | None) -> None:
        super().__init__(length)
        self.length = length


class Unwanted(Exception):
    """Whoever wanted this part has gone."""


class Paced(Receiver, Protocol):
    """Who takes a film that comes in one piece: `stream` is his to pause and to resume."""

    stream: BodyStream | None


class FilmReader:
    """Reads through one session, until it is closed.

    `label` stands in errors. `words`: what the engine last said of a failure, before. `is_read`:
    whether anybody watches, for a poll may count as a player's activity (§2.4).
    """

    def __init__(
        self,
        pool: EnginePool,
        session: EngineSession,
        timeouts: Timeouts,
        label: str,
        *,
        words: str,
        is_read: Callable[[], bool],
    ) -> None:
        # -- collaborators --
        self.session = session
        self._pool = pool
        self._timeouts = timeouts
        self._label = label
        self._is_read = is_read
        # -- what the engine says --
        self.stat = Stat()
        self.words = words
        self.content_type = ""
        self._gone = asyncio.Event()
        self._downloaded = 0
        self._grew_at = 0.0
        # -- reading --
        self.closed = False
        self._path = ""  # where its playback URL leads
        self._came = 0  # bytes
        self._poller = asyncio.create_task(self._poll(), name=f"stat of {label}")

    @property
    def lost(self) -> bool:
        """Whether the engine has ended the session, or has ended itself."""
        return self._gone.is_set()

    def close(self) -> None:
        """Ask no more of it; to stop the session is its owner's."""
        self.closed = True
        self._poller.cancel()

    # -- what the engine says meanwhile ------------------------------------------------------------

    async def _poll(self) -> None:
        """It keeps a session whose viewers all pause."""
        while not self._gone.is_set():
            await asyncio.sleep(self._timeouts.engine_stat_interval_seconds)
            try:
                self._note(await self._pool.stat(self.session, reading=self._is_read()))
            except EngineError as error:
                if UNKNOWN_SESSION in error.reason:
                    self._is_gone(UNKNOWN_SESSION)
            except UpstreamError as error:
                if is_refusal(error):
                    self._is_gone(error.reason)

    def _note(self, stat: Stat) -> None:
        self.stat = stat
        if (stat.downloaded or 0) > self._downloaded:
            self._downloaded = stat.downloaded or 0
            self._grew_at = time.monotonic()
        if stat.status in FAILED_STATUSES:
            self._is_gone(stat.error_message or f"status {stat.status}")

    def _is_gone(self, words: str) -> None:
        self.words = words
        self._gone.set()

    def _told(self) -> str:
        told = [f"last answer: {self.words}"] if self.words else []
        if self.stat.status is not None:
            told.append(f"engine says {self.stat.status}, {self.stat.peers or 0} peers")
        return f" ({'; '.join(told)})" if told else ""

    # -- one part at a time ------------------------------------------------------------------------

    async def read(
        self,
        span: Span,
        take: Callable[[bytes], None],
        *,
        length: int | None = None,
        unwanted: asyncio.Event | None = None,
    ) -> int:
        """Read this much of the film; returns the whole's length, which is this `length` where one
        is given.

        Bytes may take long where the swarm has to be asked for them: there is patience without any
        for `engine_first_byte_seconds`, and up to `engine_first_byte_limit_seconds` while the
        engine's `downloaded` grows. Raises NoParts when the engine serves none, Unsatisfiable,
        UpstreamError, and Unwanted when `unwanted` was set.
        """
        block = _Block(span, take)
        work = asyncio.create_task(self._ask(block, length), name=f"block of {self._label}")
        gone = asyncio.create_task(self._gone.wait(), name=f"end of {self._label}")
        waits: set[asyncio.Task[Any]] = {work, gone}
        if unwanted is not None:
            waits.add(asyncio.create_task(unwanted.wait(), name=f"reader of {self._label}"))
        try:
            while not work.done():
                if self._gone.is_set():
                    raise UpstreamError("read", self._label, self.words or UNKNOWN_SESSION)
                if unwanted is not None and unwanted.is_set():
                    await asyncio.wait({work}, timeout=_LEFT_SECONDS)
                    raise Unwanted
                now = time.monotonic()
                deadline = self._deadline(block)
                if now >= deadline:
                    reason = f"no byte within {now - block.last_at:.0f} s{self._told()}"
                    raise UpstreamTimeout("read", self._label, reason)
                await asyncio.wait(
                    waits, timeout=deadline - now, return_when=asyncio.FIRST_COMPLETED
                )
            return work.result()
        finally:
            for task in waits:
                task.cancel()
            await asyncio.gather(*waits, return_exceptions=True)
            self._prove(block.got)

    def _deadline(self, block: _Block) -> float:
        timeouts = self._timeouts
        by_sign = max(block.last_at, self._grew_at) + timeouts.engine_first_byte_seconds
        return min(by_sign, block.last_at + timeouts.engine_first_byte_limit_seconds)

    def _prove(self, got: int) -> None:
        session = self.session
        self._came += got
        if not session.proven and not session.over and self._came >= _PROOF_BYTES:
            self._pool.brought_bytes(session)

    async def _ask(self, block: _Block, length: int | None) -> int:
        """Until the block is there, over as many tries as preload asks for (§2.3)."""
        doubled = 0
        while True:
            try:
                return await self._ask_once(block, length)
            except UpstreamError as error:
                if block.got or error.phase == "connect":
                    raise
                self.words = error.reason
                if self._path:
                    self._path = ""  # it may lead elsewhere by now
                elif SECOND_STATUS_LINE in error.reason:
                    doubled += 1
                    if doubled >= _DOUBLED_TRIES:
                        raise
                elif error.status is not None and error.status < 500:
                    raise  # 403: superseded (§1.5)
                elif error.status is None and error.phase != "first byte":
                    raise
            await asyncio.sleep(self._timeouts.engine_preload_retry_seconds)

    async def _ask_once(self, block: _Block, length: int | None) -> int:
        span = block.left
        seconds = self._timeouts.engine_first_byte_limit_seconds
        header = ("Range", str(RangeSpec(span.begin, span.end - 1)))
        stream = await self._pool.open(
            self.session, block, seconds, (header,), accepted=(416,), path=self._path
        )
        try:
            told = self._judged(stream, span, length)
            self.session.engine.answered()
            block.begin()
            ending, reason = await asyncio.shield(stream.ended)
        finally:
            stream.abort()
        if not block.left.size:
            self._path = path_of(stream.url) or ""
            return told
        if ending is Ending.EOF and not block.got:
            raise UpstreamError("first byte", self._label, "ended before a byte came")
        raise UpstreamError("read", self._label, f"cut off ({reason or ending.value})")

    def _judged(self, stream: BodyStream, span: Span, length: int | None) -> int:
        """The film's length by an answer's head."""
        told = parse_content_range(stream.headers.get("content-range", ""))
        self.content_type = media_type(stream.headers)
        if stream.status == 416:
            raise Unsatisfiable(told.length if told is not None else None)
        if stream.status != 206:
            said = stream.headers.get("content-length", "")
            raise NoParts(int(said) if said.isdigit() else None)
        if told is None or told.span is None or told.length is None:
            raise UpstreamError("read", self._label, "answers a part and does not say which")
        wanted = Span(span.begin, min(span.end, told.length))
        if told.span != wanted:
            raise UpstreamError("read", self._label, "answers another part than was asked for")
        if length is not None and length != told.length:
            raise UpstreamError("read", self._label, "is another film than before")
        return told.length

    async def read_whole(self, taker: Paced, unwanted: asyncio.Event) -> None:
        """All of it in one piece, as fast as its one reader takes it. Raises UpstreamError."""
        stream: BodyStream | None = None
        begun = time.monotonic()
        doubled = 0
        while stream is None:
            try:
                stream = await self._pool.open(
                    self.session, taker, self._timeouts.engine_first_byte_limit_seconds
                )
            except UpstreamError as error:
                doubled += 1
                late = time.monotonic() - begun >= self._timeouts.engine_first_byte_seconds
                if late or error.phase == "connect" or (error.status or 500) < 500:
                    raise
                if SECOND_STATUS_LINE in error.reason and doubled >= _DOUBLED_TRIES:
                    raise
                await asyncio.sleep(self._timeouts.engine_preload_retry_seconds)
        taker.stream = stream
        left = asyncio.create_task(unwanted.wait(), name=f"reader of {self._label}")
        gone = asyncio.create_task(self._gone.wait(), name=f"end of {self._label}")
        waits: set[asyncio.Future[Any]] = {stream.ended, left, gone}
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
            if stream.ended.done():
                ending, reason = stream.ended.result()
                if ending is not Ending.EOF:
                    raise UpstreamError("read", self._label, f"cut off ({reason or ending.value})")
            elif not left.done():
                raise UpstreamError("read", self._label, self.words or UNKNOWN_SESSION)
        finally:
            self._prove(stream.bytes_received)
            taker.stream = None
            stream.abort()
            for task in (left, gone):
                task.cancel()


class _Block:
    """Receives one part, over all tries at it. What came before an answer's head was judged waits
    for that.
    """

    def __init__(self, span: Span, take: Callable[[bytes], None]) -> None:
        self.span = span
        self.got = 0
        self.last_at = time.monotonic()
        self._take = take
        self._held: list[bytes] | None = []

    @property
    def left(self) -> Span:
        self._held = []
        return Span(self.span.begin + self.got, self.span.end)

    def begin(self) -> None:
        held, self._held = self._held, None
        for data in held or ():
            self.data_received(data)

    def data_received(self, data: bytes) -> None:
        if self._held is not None:
            self._held.append(data)
            return
        data = data[: self.span.size - self.got]
        self.got += len(data)
        self.last_at = time.monotonic()
        self._take(data)
