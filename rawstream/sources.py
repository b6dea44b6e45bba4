"""Where a channel's bytes come from: an engine session or a plain HTTP stream, behind one shape.

Owns: `Source` (a way to get a content) and `Feed` (one running use of it): start, first byte, the
same URL again, stat, close. Must not know: viewers, rings, when to give up; the channel decides
that. Section signs are those of the engine reference.

A later source is the mux of another worker or of an edge's parent: one more `Source`, and nothing
else changes.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import Callable, Collection, Iterable
from typing import Any, Protocol

from rawstream.config import Timeouts
from rawstream.engine_answers import FAILED_STATUSES, UNKNOWN_SESSION, Stat
from rawstream.engine_client import ContentRef, Engine, Kind, is_refusal
from rawstream.engine_pool import EnginePool, EngineSession
from rawstream.errors import EngineError, UpstreamError, UpstreamTimeout
from rawstream.http_client import BodyStream, Ending
from rawstream.records import ChannelSource
from rawstream.web_resource import WebResource

FILM_LIMIT_BYTES = 1 << 40
ENDLESS_BYTES = frozenset(((1 << 31) - 1, 1 << 31, (1 << 32) - 1, 1 << 32))  # said for "no end"
_HLS = b"#EXTM3U"
_BEFORE_TEXT = b"\xef\xbb\xbf \t\r\n"
_PROOF_BYTES = 64 * 1024  # §1.4: an engine that refuses to play has been seen to send 100 first

Take = Callable[[bytes], None]


def ref_of(source: ChannelSource) -> ContentRef:
    """What a source of the line-up is called here: two asked for in the same way are one."""
    if source.kind != "direct" and source.kind != "hls":
        return ContentRef(source.kind, source.value)
    url = source.value
    if source.headers:
        # asked for in another way it is another stream; no server is sent a fragment
        mark = hashlib.blake2s(repr(source.headers).encode(), digest_size=6).hexdigest()
        url = f"{url.partition('#')[0]}#{mark}"
    return ContentRef("direct", url)


def spellings(ref: ContentRef, infohash: str | None) -> list[ContentRef]:
    """How to ask an engine for a content, in order: what is known to be right, then the other kind
    (reference §6).
    """
    found: list[ContentRef] = []
    if infohash is not None:
        found.append(ContentRef("infohash", infohash))
    if ref.kind in ("url", "magnet"):
        found.append(ref)
    elif infohash != ref.value:
        kinds: list[Kind] = ["content_id", "infohash"]
        if ref.kind == "infohash":
            kinds.reverse()
        found += [ContentRef(kind, ref.value) for kind in kinds]
    return list(dict.fromkeys(found))


class NoEngineLeft(UpstreamError):
    """Every engine that may be asked has been asked, or is full (`full`)."""

    def __init__(self, reason: str, *, full: bool = False) -> None:
        super().__init__("start", "engines", reason)
        self.full = full


class FeedFailed(UpstreamError):
    """A source failed on this engine (None: it has none); the others may still be asked.

    `superseded`: another start took the session's place, so a new one may do better (§8.2 no. 6).
    `film`: what it has is no stream, but a file.
    """

    def __init__(self, cause: UpstreamError, engine: Engine | None) -> None:
        super().__init__(cause.phase, cause.address, cause.reason, status=cause.status)
        self.engine = engine
        self.superseded = cause.status == 403 or UNKNOWN_SESSION in cause.reason
        self.film = isinstance(cause, _Film)


class IsPlaylist(UpstreamError):
    """What a plain URL answered is an HLS playlist, and another reader's."""

    def __init__(self, label: str) -> None:
        super().__init__("open", label, "an HLS playlist")


class _Film(UpstreamError):
    """A content with an end. Read as fast as it comes it would be gone before it is watched."""

    def __init__(self, label: str) -> None:
        super().__init__("open", label, "it has an end: a film, not what is live")


class Feed(Protocol):
    """One running use of a source. At most one reader is open on it at any time.

    `gone`: known to be over, so that opening the same URL again is useless. `last_data_at`: on the
    monotonic clock. `on_epoch` is called before bytes that have another clock than those before
    them, where a source says so.
    """

    label: str
    engine: Engine | None
    infohash: str | None
    stat: Stat
    gone: bool
    on_epoch: Callable[[], None]

    @property
    def last_data_at(self) -> float: ...
    @property
    def ended(self) -> asyncio.Future[tuple[Ending, str]]: ...
    async def open(self, take: Take, *, patience: tuple[float, float]) -> None: ...
    async def look(self) -> None: ...
    def end_reading(self) -> None: ...
    async def close(self) -> None: ...


class Source(Protocol):
    """A way to get a content's bytes."""

    label: str

    async def start(self, avoid: Collection[Engine]) -> Feed: ...
    def yields(self, avoid: Collection[Engine]) -> Engine | None: ...


class _Pipe:
    """Receives a body: keeps what comes until the feed is content with it, then steps out of the
    way.
    """

    __slots__ = ("_held", "data_received", "first", "take")

    def __init__(self, take: Take) -> None:
        self.take = take
        self._held: list[bytes] = []
        self.first: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.data_received: Take = self._hold

    def _hold(self, data: bytes) -> None:
        self._held.append(data)
        if not self.first.done():
            self.first.set_result(None)

    def begins_with(self, start: bytes) -> bool:
        return b"".join(self._held).lstrip(_BEFORE_TEXT).startswith(start)

    def release(self) -> None:
        self.data_received = self.take
        for data in self._held:
            self.take(data)
        self._held.clear()


class BareFeed:
    """What every feed shows of itself; at first, and for ever where nobody says more."""

    __slots__ = ("engine", "gone", "infohash", "label", "on_epoch", "stat")

    def __init__(self, label: str) -> None:
        self.label = label
        self.on_epoch: Callable[[], None] = lambda: None  # engines and plain streams don't say
        self.engine: Engine | None = None
        self.infohash: str | None = None
        self.stat = Stat()
        self.gone = False


class _StreamFeed(BareFeed):
    """What an engine's and a plain stream share: the one reader."""

    __slots__ = ("_stream", "_stream_opened_at")

    def __init__(self, label: str) -> None:
        super().__init__(label)
        self._stream: BodyStream | None = None
        self._stream_opened_at = 0.0

    @property
    def last_data_at(self) -> float:
        assert self._stream is not None, "not open"
        return max(self._stream.last_data_at, self._stream_opened_at)

    @property
    def ended(self) -> asyncio.Future[tuple[Ending, str]]:
        assert self._stream is not None, "not open"
        return self._stream.ended

    async def _first_byte(self, stream: BodyStream, pipe: _Pipe) -> None:
        """Take this stream for the reader, and wait for its first piece. Raises UpstreamError if
        it ends before one.
        """
        self._stream = stream
        self._stream_opened_at = time.monotonic()
        waits: set[asyncio.Future[Any]] = {pipe.first, stream.ended}
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        if not pipe.first.done():
            _ending, reason = stream.ended.result()
            raise UpstreamError("first byte", self.label, f"ended before a byte came ({reason})")
        if "mpegurl" in stream.headers.get("content-type", "").lower() or pipe.begins_with(_HLS):
            raise IsPlaylist(self.label)
        if self._is_film():
            raise _Film(self.label)
        pipe.release()

    def _leave(self) -> None:
        if self._stream is not None:
            self._stream.abort()

    def _is_film(self) -> bool:
        """Whether it has an end: a length that can be one. Some live servers announce an absurd
        one.
        """
        assert self._stream is not None, "open"
        length = self._stream.headers.get("content-length", "")
        if not length.isdigit() or int(length) in ENDLESS_BYTES:
            return False
        return int(length) < FILM_LIMIT_BYTES


# -- engines ---------------------------------------------------------------------------------------


class EngineSource:
    """A content on whichever engine of the pool takes it. `refs`: its spellings, best first."""

    def __init__(self, pool: EnginePool, refs: Iterable[ContentRef], timeouts: Timeouts) -> None:
        self.refs = tuple(refs)
        self.label = f"engine content {self.refs[0]}"
        self._pool = pool
        self._timeouts = timeouts
        self._asked: Engine | None = None

    def yields(self, avoid: Collection[Engine]) -> Engine | None:
        """The engine that a start under way waits for, if another one is up and has room."""
        asked = self._asked
        if asked is None:
            return None
        free = self._pool.spare_engine(avoid=[*avoid, asked])
        return asked if free is not None else None

    async def start(self, avoid: Collection[Engine]) -> EngineFeed:
        """Open a session. Raises NoEngineLeft; FeedFailed, which says whose failure it was."""
        engine = self._asked = self._pool.place(self.refs, avoid=avoid)
        if engine is None:
            if self._pool.full(avoid=avoid):
                raise NoEngineLeft("all engines have as many channels as they may", full=True)
            raise NoEngineLeft("no other engine to ask")
        try:
            session = await self._pool.start(engine, self.refs)
        except UpstreamError as error:
            raise FeedFailed(error, engine) from error
        return EngineFeed(self._pool, session, self._timeouts, self.refs)


class EngineFeed(_StreamFeed):
    """One engine session with its reader and its one stat poller."""

    __slots__ = (
        "_downloaded",
        "_grew_at",
        "_looking",
        "_opening",
        "_over",
        "_poller",
        "_pool",
        "_timeouts",
        "_words",
        "refs",
        "session",
    )

    def __init__(
        self,
        pool: EnginePool,
        session: EngineSession,
        timeouts: Timeouts,
        refs: tuple[ContentRef, ...] = (),
    ) -> None:
        super().__init__(f"engine {session.engine.url}")
        self.engine = session.engine
        self.infohash = session.infohash
        self.session = session
        self.refs = refs  # what was asked for
        self._pool = pool
        self._timeouts = timeouts
        # what the last stats told
        self._downloaded = 0
        self._grew_at = 0.0  # monotonic time at which `downloaded` was last seen to grow
        self._over = asyncio.Event()  # it can't come to anything any more
        self._words = ""  # what the engine last said of a failure
        # under way
        self._opening = False
        self._looking: asyncio.Task[None] | None = None
        self._poller = asyncio.create_task(self._poll(), name=f"stat of {session.infohash}")

    def _is_film(self) -> bool:
        return not self.session.is_live

    async def open(self, take: Take, *, patience: tuple[float, float]) -> None:
        """Open the reader and wait for its first byte.

        `patience`: seconds that may pass without a sign of progress, and in all while the engine's
        `downloaded` grows. A 500 or an empty body is preload and is asked again (§2.3). Raises
        FeedFailed.
        """
        seconds, most = patience
        begun = time.monotonic()
        limit = begun + most
        self._opening = True
        attempt = asyncio.create_task(self._open_once(take, limit), name=f"open {self.label}")
        over = asyncio.create_task(self._over.wait(), name=f"end of {self.label}")
        waits: set[asyncio.Task[Any]] = {attempt, over}
        try:
            while not attempt.done():
                now = time.monotonic()
                deadline = min(max(begun, self._grew_at) + seconds, limit)
                if self._over.is_set():
                    raise UpstreamError("first byte", self.label, self._words or UNKNOWN_SESSION)
                if now >= deadline:
                    reason = f"no byte within {now - begun:.0f} s{self._told()}"
                    raise UpstreamTimeout("first byte", self.label, reason)
                await asyncio.wait(
                    waits, timeout=deadline - now, return_when=asyncio.FIRST_COMPLETED
                )
            attempt.result()
            self.session.engine.answered()
        except UpstreamError as error:
            self._leave()
            if not self.session.proven:
                self._pool.brought_nothing(self.session)
            raise FeedFailed(error, self.engine) from error
        finally:
            self._opening = False
            for task in waits:
                task.cancel()
            await asyncio.gather(*waits, return_exceptions=True)

    def _told(self) -> str:
        told = [f"last answer: {self._words}"] if self._words else []
        if self.stat.status is not None:
            told.append(f"engine says {self.stat.status}, {self.stat.peers or 0} peers")
        if self.session.is_encrypted:
            told.append("the content is encrypted")
        return f" ({'; '.join(told)})" if told else ""

    async def _open_once(self, take: Take, limit: float) -> None:
        """Until the first byte, over as many tries as preload asks for."""
        while True:
            self._leave()
            pipe = _Pipe(take)
            try:
                head_seconds = max(0.0, limit - time.monotonic())
                stream = await self._pool.open(self.session, pipe, head_seconds)
                await self._first_byte(stream, pipe)
                return
            except _Film:
                raise
            except UpstreamError as error:
                if error.status is not None and error.status < 500:
                    raise  # 403: superseded (§1.5)
                if error.phase == "connect":
                    raise
                self._words = error.reason
            await asyncio.sleep(self._timeouts.engine_preload_retry_seconds)

    async def look(self) -> None:
        """Ask for the stat now, or wait for the question under way. Sets `gone` when the engine
        does not know the session any more.
        """
        if self._looking is None:
            self._looking = asyncio.create_task(self._look(), name=f"look at {self.label}")
        looking = self._looking
        await asyncio.wait({looking})
        if not looking.cancelled():
            looking.result()

    async def _look(self) -> None:
        stream = self._stream
        reading = self._opening or (stream is not None and not stream.ended.done())
        try:
            self._note(await self._pool.stat(self.session, reading=reading))
        except EngineError as error:
            if UNKNOWN_SESSION in error.reason:
                self._is_over(UNKNOWN_SESSION)
        except UpstreamError as error:
            if is_refusal(error):
                self._is_over(error.reason)
        finally:
            self._looking = None

    def _note(self, stat: Stat) -> None:
        self.stat = stat
        if (stat.downloaded or 0) > self._downloaded:
            self._downloaded = stat.downloaded or 0
            self._grew_at = time.monotonic()
        if stat.status in FAILED_STATUSES:
            self._is_over(stat.error_message or f"status {stat.status}")
        stream = self._stream
        if stream is not None and stream.bytes_received >= _PROOF_BYTES and not self.session.proven:
            self._pool.brought_bytes(self.session)

    def _is_over(self, words: str) -> None:
        self.gone = True
        self._words = words
        self._over.set()

    async def _poll(self) -> None:
        while not self._over.is_set():
            await asyncio.sleep(self._timeouts.engine_stat_interval_seconds)
            await self.look()

    async def close(self) -> None:
        """Leave the reader, stop the session."""
        self.end_reading()
        await self._pool.stop(self.session)

    async def forget(self) -> None:
        """Leave the reader, stop nothing: another owner has this content."""
        self.end_reading()
        await self._pool.forget(self.session)

    def end_reading(self) -> None:
        """Not a byte and not a question more; the session is left as it is."""
        self._poller.cancel()
        if self._looking is not None:
            self._looking.cancel()
        stream = self._stream
        if stream is not None and not self.session.proven and not self.session.over:
            if stream.bytes_received >= _PROOF_BYTES:
                self._pool.brought_bytes(self.session)
            elif stream.ended.done() and stream.ended.result()[0] is not Ending.ABORTED:
                self._pool.brought_nothing(self.session)
        self._leave()


# -- plain HTTP ------------------------------------------------------------------------------------


class DirectSource:
    """A plain HTTP(S) MPEG-TS stream."""

    def __init__(self, resource: WebResource) -> None:
        self.label = resource.label
        self._resource = resource

    async def start(self, avoid: Collection[Engine]) -> DirectFeed:  # noqa: ARG002 - Source's shape
        return DirectFeed(self._resource)

    def yields(self, avoid: Collection[Engine]) -> Engine | None:  # noqa: ARG002 - Source's shape
        return None


class DirectFeed(_StreamFeed):
    """One reader on a plain HTTP stream."""

    __slots__ = ("_resource",)

    def __init__(self, resource: WebResource) -> None:
        super().__init__(resource.label)
        self._resource = resource

    async def open(self, take: Take, *, patience: tuple[float, float]) -> None:
        """Open the stream and wait for its first byte; only the first of `patience` counts, as
        there is no progress to be seen. Raises FeedFailed, IsPlaylist.
        """
        self._leave()
        begun = time.monotonic()
        opened = False
        try:
            async with asyncio.timeout(patience[0]):
                pipe = _Pipe(take)
                await self._first_byte(await self._resource.open(pipe), pipe)
            opened = True
        except TimeoutError as error:
            reason = f"no byte within {time.monotonic() - begun:.0f} s"
            raise FeedFailed(UpstreamTimeout("first byte", self.label, reason), None) from error
        except IsPlaylist:
            raise
        except UpstreamError as error:
            raise FeedFailed(self._resource.shown(error), None) from None
        finally:
            if not opened:
                self._leave()

    async def look(self) -> None:
        """A plain stream has nobody to ask."""

    def end_reading(self) -> None:
        self._leave()

    async def close(self) -> None:
        self._leave()
