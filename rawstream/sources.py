"""Where a channel's bytes come from: an engine session or a plain HTTP stream, behind one shape.

Owns: `Source` (a way to get a content) and `Feed` (one running use of it): start, first byte, the
same URL again, stat, close. Must not know: viewers, rings, when to give up; the channel decides
that.

A later source is the mux of another worker or of an edge's parent: one more `Source`, and nothing
else changes.
"""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import time
from collections.abc import Callable, Collection, Iterable
from typing import Any, Protocol
from urllib.parse import urljoin, urlsplit

from rawstream.config import Limits, Timeouts
from rawstream.engine_client import (
    UNKNOWN_SESSION,
    ContentRef,
    Engine,
    EnginePool,
    EngineSession,
    Stat,
)
from rawstream.errors import EngineError, UpstreamError, UpstreamTimeout
from rawstream.http_client import BodyStream, Ending, open_stream

logger = logging.getLogger(__name__)

Take = Callable[[bytes], None]


class NoEngineLeft(UpstreamError):
    """Every engine that may be asked has been asked, or is full (`full`)."""

    def __init__(self, reason: str, *, full: bool = False) -> None:
        super().__init__("start", "engines", reason)
        self.full = full


class Feed(Protocol):
    """One running use of a source. At most one reader is open on it at any time."""

    label: str
    engine: Engine | None
    infohash: str | None
    stat: Stat
    gone: bool  # known to be over: opening the same URL again is useless

    @property
    def last_data_at(self) -> float: ...
    @property
    def ended(self) -> asyncio.Future[tuple[Ending, str]]: ...
    @property
    def complete(self) -> bool: ...
    async def open(self, take: Take, *, patience: tuple[float, float]) -> None: ...
    async def look(self) -> None: ...
    async def close(self) -> None: ...


class Source(Protocol):
    """A way to get a content's bytes."""

    label: str

    async def start(self, avoid: Collection[Engine]) -> Feed: ...


class _Pipe:
    """Receives a body: tells of the first piece, then steps out of the way."""

    __slots__ = ("data_received", "first", "take")

    def __init__(self, take: Take) -> None:
        self.take = take
        self.first: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.data_received: Take = self._first_piece

    def _first_piece(self, data: bytes) -> None:
        self.data_received = self.take
        if not self.first.done():
            self.first.set_result(None)
        self.take(data)


async def _first_byte(stream: BodyStream, pipe: _Pipe, address: str) -> None:
    """Wait for a stream's first piece. Raises UpstreamError if it ends before one."""
    waits: set[asyncio.Future[Any]] = {pipe.first, stream.ended}
    await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
    if not pipe.first.done():
        _ending, reason = stream.ended.result()
        raise UpstreamError("first byte", address, f"ended before a byte came ({reason})")


class _StreamFeed:
    """What the two kinds share: the one reader."""

    __slots__ = ("_stream", "_stream_opened_at", "engine", "gone", "infohash", "label", "stat")

    def __init__(self, label: str) -> None:
        self.label = label
        self.engine: Engine | None = None
        self.infohash: str | None = None
        self.stat = Stat()
        self.gone = False
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

    def _use(self, stream: BodyStream) -> None:
        self._stream = stream
        self._stream_opened_at = time.monotonic()

    def _leave(self) -> None:
        if self._stream is not None:
            self._stream.abort()

    def _has_length(self) -> bool:
        return self._stream is not None and "content-length" in self._stream.headers


# -- engines ---------------------------------------------------------------------------------------


class EngineSource:
    """A content on whichever engine of the pool takes it."""

    def __init__(self, pool: EnginePool, refs: Iterable[ContentRef], timeouts: Timeouts) -> None:
        self.refs = tuple(refs)
        self.label = f"engine content {self.refs[0]}"
        self._pool = pool
        self._timeouts = timeouts

    async def start(self, avoid: Collection[Engine]) -> EngineFeed:
        """Open a session. Raises NoEngineLeft, EngineError, UpstreamError; `engine` on the error
        says whose it was.
        """
        infohash = next(filter(None, map(self._pool.known_infohash, self.refs)), None)
        engine = self._pool.choose(infohash or "", avoid=avoid)
        if engine is None:
            if self._pool.full:
                raise NoEngineLeft("all engines have as many channels as they may", full=True)
            raise NoEngineLeft("no other engine to ask")
        try:
            session = await self._pool.start(engine, self.refs)
        except UpstreamError as error:
            raise FeedFailed(error, engine) from error
        return EngineFeed(self._pool, session, self._timeouts)


class FeedFailed(UpstreamError):
    """A source failed on this engine; the others may still be asked."""

    def __init__(self, cause: UpstreamError, engine: Engine | None) -> None:
        super().__init__(cause.phase, cause.address, cause.reason, status=cause.status)
        self.engine = engine
        self.refused = isinstance(cause, EngineError)


class EngineFeed(_StreamFeed):
    """One engine session with its reader and its one stat poller."""

    __slots__ = ("_poller", "_pool", "_timeouts", "session", "stat_at")

    def __init__(self, pool: EnginePool, session: EngineSession, timeouts: Timeouts) -> None:
        super().__init__(f"engine {session.engine.url}")
        self.engine = session.engine
        self.infohash = session.infohash
        self.session = session
        self.stat_at = 0.0
        self._pool = pool
        self._timeouts = timeouts
        self._poller = asyncio.create_task(self._poll(), name=f"stat of {session.infohash}")

    @property
    def complete(self) -> bool:
        """Whether a clean end of the body is the end of the content, as on VOD with a known
        length.
        """
        return not self.session.is_live and self._has_length()

    async def open(self, take: Take, *, patience: tuple[float, float]) -> None:
        """Open the reader and wait for its first byte.

        `patience`: seconds that may pass, and the most they may grow to while the engine's
        `downloaded` grows. A 500 or an empty body is preload and is asked again (reference §2.3).
        Raises FeedFailed.
        """
        seconds, most = patience
        begun = time.monotonic()
        deadline, limit = begun + seconds, begun + most
        downloaded = self.stat.downloaded or 0
        attempt = asyncio.create_task(self._open_once(take, limit), name=f"open {self.label}")
        try:
            while True:
                await asyncio.wait(
                    {attempt}, timeout=min(1.0, max(0.01, deadline - time.monotonic()))
                )
                if attempt.done():
                    attempt.result()
                    self._pool.brought_bytes(self.session)
                    return
                if (self.stat.downloaded or 0) > downloaded:
                    downloaded = self.stat.downloaded or 0
                    deadline = min(time.monotonic() + seconds, limit)
                if self.gone:
                    raise UpstreamError("first byte", self.label, UNKNOWN_SESSION)
                if time.monotonic() >= deadline:
                    raise UpstreamTimeout(
                        "first byte",
                        self.label,
                        f"no byte within {time.monotonic() - begun:.0f} s{self._told()}",
                    )
        except UpstreamError as error:
            self._pool.brought_nothing(self.session)
            raise FeedFailed(error, self.engine) from error
        finally:
            attempt.cancel()
            await asyncio.gather(attempt, return_exceptions=True)

    def _told(self) -> str:
        if self.stat.status is None:
            return ""
        return f" (engine says {self.stat.status}, {self.stat.peers or 0} peers)"

    async def _open_once(self, take: Take, limit: float) -> None:
        """Until the first byte, over as many tries as preload asks for."""
        while True:
            self._leave()
            pipe = _Pipe(take)
            try:
                stream = await self._pool.open(
                    self.session, pipe, max(0.1, limit - time.monotonic())
                )
                self._use(stream)
                await _first_byte(stream, pipe, self.label)
                return
            except UpstreamError as error:
                if error.status is not None and error.status < 500:
                    raise  # 403: superseded
                if error.phase == "connect":
                    raise
            await asyncio.sleep(self._timeouts.engine_preload_retry_seconds)

    async def look(self) -> None:
        """Ask for the stat now. Sets `gone` when the engine does not know the session any more."""
        stream = self._stream
        reading = stream is None or not stream.ended.done()
        try:
            self.stat = await self._pool.stat(self.session, reading=reading)
            self.stat_at = time.monotonic()
        except EngineError as error:
            if UNKNOWN_SESSION in error.reason:
                self.gone = True
        except UpstreamError as error:
            if error.phase == "connect" and not isinstance(error, UpstreamTimeout):
                self.gone = True  # refused: the engine has died, and its sessions with it

    async def _poll(self) -> None:
        while not self.gone:
            await asyncio.sleep(self._timeouts.engine_stat_interval_seconds)
            await self.look()

    async def close(self) -> None:
        """Leave the reader, stop the session."""
        self._end_reading()
        await self._pool.stop(self.session)

    async def forget(self) -> None:
        """Leave the reader, stop nothing: another owner has this content."""
        self._end_reading()
        await self._pool.forget(self.session)

    def _end_reading(self) -> None:
        self._poller.cancel()
        self._leave()


# -- plain HTTP ------------------------------------------------------------------------------------


class FetchPolicy:
    """Which addresses a viewer's or a list's URL may make us connect to (design §6).

    Never link-local, unspecified or multicast, never our own ports, never the engines; after a
    public address a redirect never leads to a private one.
    """

    def __init__(
        self, engine_urls: Iterable[str], own_ports: Callable[[], Collection[int]]
    ) -> None:
        self._engines = {(parts.hostname, parts.port) for parts in map(urlsplit, engine_urls)}
        self._own_ports = own_ports

    async def check(self, url: str, *, came_from_public: bool = False) -> tuple[str, bool]:
        """Resolve a URL's host off the loop and judge each address.

        Returns the address to connect to and whether it is public. Raises UpstreamError.
        """
        parts = urlsplit(url)
        host = parts.hostname
        try:
            port = parts.port or (443 if parts.scheme == "https" else 80)
        except ValueError:
            host = None
            port = 0
        if host is None or parts.scheme not in ("http", "https"):
            raise UpstreamError("connect", "source", "not an http or https URL")
        label = f"{host}:{port}"
        try:
            found = await asyncio.get_running_loop().getaddrinfo(host, port)
        except OSError as error:
            raise UpstreamError("connect", label, "the name can't be resolved") from error
        engine_ports = {port for _host, port in self._engines}
        for _family, _type, _proto, _name, address in found:
            ip = ipaddress.ip_address(str(address[0]).split("%")[0])
            if isinstance(ip, ipaddress.IPv6Address) and ip.ipv4_mapped is not None:
                ip = ip.ipv4_mapped
            if ip.is_link_local or ip.is_multicast or ip.is_unspecified:
                raise UpstreamError("connect", label, "this address is not fetched from")
            if (host, port) in self._engines or (str(ip), port) in self._engines:
                raise UpstreamError("connect", label, "an engine is not a source")
            if ip.is_loopback and (port in self._own_ports() or port in engine_ports):
                raise UpstreamError("connect", label, "our own port is not a source")
            if came_from_public and not ip.is_global:
                raise UpstreamError(
                    "connect", label, "a redirect from a public to a private address"
                )
        ip = ipaddress.ip_address(str(found[0][4][0]).split("%")[0])
        return str(ip), ip.is_global


class DirectSource:
    """A plain HTTP(S) MPEG-TS stream."""

    def __init__(self, url: str, policy: FetchPolicy, timeouts: Timeouts, limits: Limits) -> None:
        parts = urlsplit(url)
        self.label = (
            f"{parts.scheme}://{parts.hostname}{f':{parts.port}' if parts.port else ''}{parts.path}"
        )
        self._url = url
        self._policy = policy
        self._timeouts = timeouts
        self._limits = limits

    async def start(self, avoid: Collection[Engine]) -> DirectFeed:  # noqa: ARG002 - Source's signature
        return DirectFeed(self._url, self.label, self._policy, self._timeouts, self._limits)


class DirectFeed(_StreamFeed):
    """One reader on a plain HTTP stream."""

    __slots__ = ("_limits", "_policy", "_timeouts", "_url")

    def __init__(
        self, url: str, label: str, policy: FetchPolicy, timeouts: Timeouts, limits: Limits
    ) -> None:
        super().__init__(label)
        self._url = url
        self._policy = policy
        self._timeouts = timeouts
        self._limits = limits

    @property
    def complete(self) -> bool:
        return self._has_length()

    async def open(self, take: Take, *, patience: tuple[float, float]) -> None:
        """Open the stream and wait for its first byte. Raises FeedFailed."""
        self._leave()
        begun = time.monotonic()
        try:
            async with asyncio.timeout(patience[0]):
                pipe = _Pipe(take)
                self._use(await self._follow(pipe))
                assert self._stream is not None
                await _first_byte(self._stream, pipe, self.label)
        except TimeoutError as error:
            late = UpstreamTimeout(
                "first byte", self.label, f"no byte within {time.monotonic() - begun:.0f} s"
            )
            raise FeedFailed(late, None) from error
        except UpstreamError as error:
            raise FeedFailed(error, None) from error

    async def _follow(self, pipe: _Pipe) -> BodyStream:
        """Each hop is judged by the address it resolves to, and connected to that very address."""
        url, public = self._url, False
        for _hop in range(self._limits.redirects + 1):
            address, is_public = await self._policy.check(url, came_from_public=public)
            public = public or is_public
            target: list[str] = []

            def note(current: str, location: str, found: list[str] = target) -> str:
                found.append(urljoin(current, location))
                raise UpstreamError("open", self.label, "redirected")

            try:
                return await open_stream(
                    url,
                    pipe,
                    connect_seconds=self._timeouts.source_connect_seconds,
                    head_seconds=self._timeouts.source_head_seconds,
                    limits=self._limits,
                    redirect=note,
                    connect_to=address,
                )
            except UpstreamError:
                if not target:
                    raise
                url = target[0]
        raise UpstreamError("open", self.label, "too many redirects")

    async def look(self) -> None:
        """A plain stream has nobody to ask."""

    async def close(self) -> None:
        self._leave()
