"""An HLS stream of somebody else as a source: its segments, one after the other, at their pace.

Owns: when playlists are read again, the fetching and decrypting of segments, the pace at which
their bytes go on. Must not know: what a playlist says (`hls`), viewers, what follows a failure.

Segments come in clumps of some seconds, and viewers who join stand two seconds behind the newest
byte: so the first segment goes on at once, each later one spread over its duration. Its URL may
hold secrets: only `label` is ever shown.
"""

from __future__ import annotations

import asyncio
import math
import time
import zlib
from collections.abc import Callable, Collection
from dataclasses import replace
from typing import Final, NamedTuple

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.padding import PKCS7

from rawstream.config import Limits, Timeouts
from rawstream.engine_client import Engine, Stat, shown_url
from rawstream.errors import FormatError, UpstreamError, UpstreamTimeout
from rawstream.fetch import Fetched, fetch
from rawstream.fetch_policy import FetchPolicy
from rawstream.hls import (
    Key,
    LiveEdge,
    MediaPlaylist,
    Segment,
    best_variant,
    read_playlist,
    refuse_other_containers,
)
from rawstream.http_client import Ending
from rawstream.mpegts import PACKET_SIZE
from rawstream.sources import DirectFeed, DirectSource, FeedFailed, Headers, IsPlaylist, Take

_AHEAD: Final = 2  # segments fetched and not yet sent on
_STEP_SECONDS: Final = 0.1  # of media in one piece
_STALE_TARGETS: Final = 4  # target durations without a new segment are the end
_BEHIND_TARGETS: Final = 4  # further behind the end of the playlist, the pace is raised
_CATCH_UP: Final = 0.9
_TRIES: Final = 2  # of a segment
_MISSING: Final = 3  # segments in a row are the end
_KEYS: Final = 4  # remembered
_IN_A_THREAD_BYTES: Final = 128 * 1024


class _Ready(NamedTuple):
    """A segment that has come. `behind_seconds`: of media that the playlist has after it."""

    segment: Segment
    data: bytes
    behind_seconds: float
    target_seconds: float


class _Over(NamedTuple):
    """No segment follows."""

    ending: Ending
    reason: str


class _Fetcher:
    """Documents of one stream, all judged, all asked for in the same way."""

    def __init__(
        self,
        label: str,
        policy: FetchPolicy,
        timeouts: Timeouts,
        limits: Limits,
        headers: Headers,
    ) -> None:
        self._label = label
        self._policy = policy
        self._timeouts = timeouts
        self._limits = limits
        given = {name.lower(): (name, value) for name, value in headers}
        self._user_agent = given.pop("user-agent", ("", ""))[1]
        self._headers = dict(given.values())
        self._keys: dict[str, bytes] = {}
        self._public = False  # once from a public address, never to a private one

    async def _get(
        self, url: str, limit_bytes: int, byte_range: tuple[int, int] | None = None
    ) -> Fetched:
        try:
            got = await fetch(
                url,
                policy=self._policy,
                limit_bytes=limit_bytes,
                total_seconds=self._timeouts.hls_segment_seconds,
                read_seconds=self._timeouts.source_head_seconds,
                user_agent=self._user_agent,
                headers=self._headers,
                byte_range=byte_range,
                came_from_public=self._public,
            )
        except UpstreamTimeout as error:
            raise UpstreamTimeout(error.phase, self._label, error.reason) from None
        except UpstreamError as error:
            raise UpstreamError(
                error.phase, self._label, error.reason, status=error.status
            ) from None
        self._public = self._public or got.public
        if not got.complete:
            raise UpstreamError("read", self._label, "the transfer broke off")
        return got

    async def playlist(self, url: str) -> tuple[MediaPlaylist | None, str]:
        """A media playlist and where it was; None and the best variant's URL for a master
        playlist. Raises UpstreamError, FormatError.
        """
        limit = self._limits.hls_playlist_bytes
        got = await self._get(url, limit)
        found = await asyncio.to_thread(lambda: read_playlist(_unpacked(got.body, limit), got.url))
        if isinstance(found, MediaPlaylist):
            return found, url
        return None, best_variant(found).url

    async def segment(self, segment: Segment) -> bytes:
        """Its bytes, in clear. Raises UpstreamError, FormatError."""
        limit = self._limits.hls_segment_bytes
        data = (await self._get(segment.url, limit, segment.byte_range)).body
        if data[:2] == b"\x1f\x8b":
            data = await asyncio.to_thread(_unpacked, data, limit)
        if segment.key is None:
            return data
        key, iv = await self._key(segment.key), segment.key.iv
        if len(data) > _IN_A_THREAD_BYTES:
            return await asyncio.to_thread(_decrypted, data, key, iv)
        return _decrypted(data, key, iv)

    async def _key(self, key: Key) -> bytes:
        found = self._keys.get(key.url)
        if found is None:
            found = (await self._get(key.url, 1024)).body
            if len(found) != 16:
                raise FormatError("HLS key", f"{len(found)} bytes instead of 16")
            if len(self._keys) >= _KEYS:
                del self._keys[next(iter(self._keys))]
            self._keys[key.url] = found
        return found


def _unpacked(body: bytes, limit: int) -> bytes:
    if body[:2] != b"\x1f\x8b":
        return body
    try:
        unpacker = zlib.decompressobj(16 + zlib.MAX_WBITS)
        data = unpacker.decompress(body, limit)
    except zlib.error as error:
        raise FormatError("HLS", "badly packed") from error
    if unpacker.unconsumed_tail:
        raise FormatError("HLS", f"unpacks to more than {limit} bytes")
    return data


def _decrypted(data: bytes, key: bytes, iv: bytes) -> bytes:
    """AES-128-CBC with PKCS #7 padding. Raises FormatError."""
    try:
        decryptor = Cipher(algorithms.AES(key), modes.CBC(iv)).decryptor()
        unpadder = PKCS7(128).unpadder()
        clear = decryptor.update(data) + decryptor.finalize()
        return unpadder.update(clear) + unpadder.finalize()
    except ValueError as error:
        raise FormatError("HLS segment", "it can't be decrypted with its key") from error


class HlsFeed:
    """One reader of an HLS stream."""

    def __init__(
        self,
        url: str,
        policy: FetchPolicy,
        timeouts: Timeouts,
        limits: Limits,
        headers: Headers = (),
    ) -> None:
        self.label = shown_url(url)
        self.engine: Engine | None = None
        self.infohash: str | None = None
        self.stat = Stat()
        self.gone = False
        self.on_epoch: Callable[[], None] = lambda: None
        self._url = url
        self._fetcher = _Fetcher(self.label, policy, timeouts, limits, headers)
        self._last_data_at = 0.0
        self._ended: asyncio.Future[tuple[Ending, str]] | None = None
        self._reader: asyncio.Task[None] | None = None
        self._due = 0.0  # when the next segment's first byte is to go on

    @property
    def last_data_at(self) -> float:
        return self._last_data_at

    @property
    def ended(self) -> asyncio.Future[tuple[Ending, str]]:
        assert self._ended is not None, "not open"
        return self._ended

    async def open(self, take: Take, *, patience: tuple[float, float]) -> None:
        """Begin to read, and wait for the first byte; only the first of `patience` counts. Raises
        FeedFailed.
        """
        self.end_reading()
        loop = asyncio.get_running_loop()
        ended: asyncio.Future[tuple[Ending, str]] = loop.create_future()
        first: asyncio.Future[None] = loop.create_future()
        self._ended = ended
        self._reader = asyncio.create_task(
            self._read(take, first, ended), name=f"read {self.label}"
        )
        opened = False
        try:
            waits: set[asyncio.Future[object]] = {first, ended}  # type: ignore[arg-type]
            done, _ = await asyncio.wait(
                waits, timeout=patience[0], return_when=asyncio.FIRST_COMPLETED
            )
            if first in done:
                opened = True
                return
            if ended in done:
                error = UpstreamError("first byte", self.label, ended.result()[1])
            else:
                reason = f"no segment within {patience[0]:.0f} s"
                error = UpstreamTimeout("first byte", self.label, reason)
            raise FeedFailed(error, None)
        finally:
            if not opened:
                self.end_reading()

    async def _read(
        self,
        take: Take,
        first: asyncio.Future[None],
        ended: asyncio.Future[tuple[Ending, str]],
    ) -> None:
        queue: asyncio.Queue[_Ready | _Over] = asyncio.Queue(_AHEAD)
        loading = asyncio.create_task(self._load(queue), name=f"load {self.label}")
        ending, reason = Ending.ABORTED, ""
        try:
            while True:
                ready = await queue.get()
                if isinstance(ready, _Over):
                    ending, reason = ready
                    return
                if ready.segment.discontinuity and first.done():
                    self.on_epoch()
                if first.done():
                    await self._send(ready, take)
                else:
                    self._due = self._last_data_at = time.monotonic()
                    take(ready.data)
                    first.set_result(None)
        finally:
            loading.cancel()
            if not ended.done():
                ended.set_result((ending, reason))

    async def _send(self, ready: _Ready, take: Take) -> None:
        """Spread over its duration; what is late goes at once, so that lost lead is made good."""
        seconds = ready.segment.seconds
        if ready.behind_seconds > _BEHIND_TARGETS * ready.target_seconds:
            seconds *= _CATCH_UP
        begin = max(self._due, time.monotonic() - seconds)
        self._due = begin + seconds
        packets = math.ceil(len(ready.data) / PACKET_SIZE)
        size = math.ceil(packets / max(1, round(seconds / _STEP_SECONDS))) * PACKET_SIZE
        for at in range(0, len(ready.data), size):
            wait = begin + seconds * at / len(ready.data) - time.monotonic()
            if wait > 0:
                await asyncio.sleep(wait)
            self._last_data_at = time.monotonic()
            take(ready.data[at : at + size])

    async def _load(self, queue: asyncio.Queue[_Ready | _Over]) -> None:
        """Playlists and segments into the queue, until there is no more."""
        try:
            over = await self._load_all(queue)
        except (UpstreamError, FormatError) as error:
            over = _Over(Ending.CUT, error.reason)
        await queue.put(over)

    async def _load_all(self, queue: asyncio.Queue[_Ready | _Over]) -> _Over:
        playlist, url = await self._first_playlist()
        edge = LiveEdge()
        missing, lost = 0, False
        changed_at = time.monotonic()
        while True:
            read_at = time.monotonic()
            new = edge.take(playlist)
            for place, segment in enumerate(new):
                data = None if segment.gap else await self._segment(segment)
                if data is None:
                    lost = True
                    missing += not segment.gap
                    if missing >= _MISSING:
                        return _Over(Ending.CUT, "its segments are not there")
                    continue
                segment = replace(segment, discontinuity=lost or segment.discontinuity)
                missing, lost = 0, False
                behind = sum(later.seconds for later in new[place + 1 :])
                await queue.put(_Ready(segment, data, behind, playlist.target_seconds))
            if playlist.ended:
                return _Over(Ending.EOF, "the playlist has ended")
            now = time.monotonic()
            if new:
                changed_at = now
            elif now - changed_at > _STALE_TARGETS * playlist.target_seconds:
                return _Over(Ending.CUT, "the playlist does not change any more")
            # §6.3.4: half as long where nothing was new
            wait = playlist.target_seconds * (1.0 if new else 0.5)
            await asyncio.sleep(max(0.0, read_at + wait - now))
            playlist = await self._again(url, playlist, changed_at)

    async def _first_playlist(self) -> tuple[MediaPlaylist, str]:
        url = self._url
        for _ in range(2):
            playlist, url = await self._fetcher.playlist(url)
            if playlist is not None:
                if playlist.ended:
                    raise UpstreamError(
                        "open",
                        self.label,
                        "it has an end: films are not served, only what is live",
                    )
                return playlist, url
        raise FormatError("HLS playlist", "a master playlist leads to a master playlist")

    async def _again(self, url: str, last: MediaPlaylist, changed_at: float) -> MediaPlaylist:
        """The playlist as it is now; the last one while it can't be had for a moment."""
        try:
            playlist, _ = await self._fetcher.playlist(url)
        except (UpstreamError, FormatError):
            if time.monotonic() - changed_at > _STALE_TARGETS * last.target_seconds:
                raise
            return last
        return playlist if playlist is not None else last

    async def _segment(self, segment: Segment) -> bytes | None:
        """None when it can't be had: the next one is better than none. Raises FormatError for what
        will never be a stream.
        """
        for _ in range(_TRIES):
            try:
                data = await self._fetcher.segment(segment)
            except UpstreamError:
                continue
            refuse_other_containers(data)
            return data
        return None

    async def look(self) -> None:
        """There is nobody to ask."""

    def end_reading(self) -> None:
        if self._reader is not None:
            self._reader.cancel()
            self._reader = None

    async def close(self) -> None:
        reader = self._reader
        self.end_reading()
        if reader is not None:
            await asyncio.gather(reader, return_exceptions=True)


class HlsSource:
    """A playlist that is known to be one."""

    def __init__(
        self,
        url: str,
        policy: FetchPolicy,
        timeouts: Timeouts,
        limits: Limits,
        headers: Headers = (),
    ) -> None:
        self.label = shown_url(url)
        self._url = url
        self._policy = policy
        self._timeouts = timeouts
        self._limits = limits
        self._headers = headers

    async def start(self, avoid: Collection[Engine]) -> HlsFeed:  # noqa: ARG002 - Source's shape
        return HlsFeed(self._url, self._policy, self._timeouts, self._limits, self._headers)

    def yields(self, avoid: Collection[Engine]) -> Engine | None:  # noqa: ARG002 - Source's shape
        return None


class WebSource:
    """A URL of which only the answer says whether it is a stream or a playlist.

    `playlist`: it is known to be one, by its name or by an answer.
    """

    def __init__(
        self,
        url: str,
        policy: FetchPolicy,
        timeouts: Timeouts,
        limits: Limits,
        headers: Headers = (),
        *,
        playlist: bool = False,
    ) -> None:
        self.label = shown_url(url)
        self.playlist = playlist
        self._direct = DirectSource(url, policy, timeouts, limits, headers)
        self._hls = HlsSource(url, policy, timeouts, limits, headers)

    async def start(self, avoid: Collection[Engine]) -> WebFeed:
        """Starts nothing yet: the feed's `open` does."""
        return WebFeed(self, await self.inner(avoid))

    async def inner(self, avoid: Collection[Engine] = ()) -> DirectFeed | HlsFeed:
        if self.playlist:
            return await self._hls.start(avoid)
        return await self._direct.start(avoid)

    def yields(self, avoid: Collection[Engine]) -> Engine | None:  # noqa: ARG002 - Source's shape
        return None


class WebFeed:
    """One reader on whichever of the two it is."""

    def __init__(self, source: WebSource, feed: DirectFeed | HlsFeed) -> None:
        self.label = source.label
        self.engine: Engine | None = None
        self.infohash: str | None = None
        self.stat = Stat()
        self.gone = False
        self.on_epoch: Callable[[], None] = lambda: None
        self._source = source
        self._feed = feed

    @property
    def last_data_at(self) -> float:
        return self._feed.last_data_at

    @property
    def ended(self) -> asyncio.Future[tuple[Ending, str]]:
        return self._feed.ended

    async def open(self, take: Take, *, patience: tuple[float, float]) -> None:
        """As a stream; what turns out to be a playlist, as one. Raises FeedFailed."""
        try:
            await self._open(take, patience)
        except IsPlaylist:
            await self._feed.close()
            self._source.playlist = True
            self._feed = await self._source.inner()
            await self._open(take, patience)

    async def _open(self, take: Take, patience: tuple[float, float]) -> None:
        self._feed.on_epoch = self.on_epoch
        await self._feed.open(take, patience=patience)

    async def look(self) -> None:
        """There is nobody to ask."""

    def end_reading(self) -> None:
        self._feed.end_reading()

    async def close(self) -> None:
        await self._feed.close()
