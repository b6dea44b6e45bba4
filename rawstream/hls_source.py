"""An HLS stream of somebody else as a source: its segments, one after the other, at their pace.

Owns: when playlists are read again, the fetching and decrypting of segments, and that each goes on
when it is due. Must not know: what a playlist or a segment says (`hls`, `hls_pace`), viewers, what
follows a failure.

Segments come in clumps of some seconds, and viewers who join stand two seconds behind the newest
byte: so each segment is spread over its duration.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
import zlib
from collections.abc import Collection
from typing import Final, NamedTuple

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.padding import PKCS7

from rawstream.engine_client import Engine
from rawstream.errors import FormatError, UpstreamError, UpstreamTimeout
from rawstream.fetch import Fetched, fetch
from rawstream.hls import (
    Key,
    LiveEdge,
    MediaPlaylist,
    NotCarried,
    Segment,
    Variant,
    ranked_variants,
    read_playlist,
    refuse_other_containers,
    whole_packets,
)
from rawstream.hls_pace import Pace, SegmentReader
from rawstream.http_client import Ending
from rawstream.mpegts import PACKET_SIZE
from rawstream.sources import BareFeed, DirectFeed, DirectSource, FeedFailed, IsPlaylist, Take
from rawstream.web_resource import WebResource

logger = logging.getLogger(__name__)

_AHEAD: Final = 2  # segments in the queue; two more may be in memory beside them
_AT_ONCE: Final = 2  # segments asked for, so that an origin that is slow to answer keeps up
_STEP_SECONDS: Final = 0.1  # of media in one piece
_PIECE_PACKETS: Final = 1024  # in one piece at most: what the loop does at once
_STALE_TARGETS: Final = 4  # target durations without a new segment are the end
_BEHIND_TARGETS: Final = 1.5  # further behind the end of the playlist, the pace is raised
_CATCH_UP: Final = 0.9
_TRIES: Final = 2  # of a segment
_RETRY_SECONDS: Final = 0.5  # some are announced a moment before they are there
_LEAST_SECONDS: Final = 6.0  # for a document, however short the segments are
_MISSING: Final = 3  # segments in a row are the end
_VARIANTS: Final = 4  # of a master playlist that are tried
_KEYS: Final = 4  # remembered
_IN_A_THREAD_BYTES: Final = 128 * 1024
_PACKED: Final = b"\x1f\x8b\x08"  # RFC 1952


class _Got(NamedTuple):
    """Of a segment: its packets, or why there are none. `hopeless`: nor will there ever be."""

    data: bytes = b""
    why: str = ""
    hopeless: bool = False


class _Coming(NamedTuple):
    """A segment that is asked for. `behind_seconds`: of media that the playlist has after it."""

    segment: Segment
    got: asyncio.Task[_Got]
    behind_seconds: float
    target_seconds: float


class _Over(NamedTuple):
    """No segment follows."""

    ending: Ending
    reason: str


class _Fetcher:
    """Documents of one stream, all judged, all asked for in the same way."""

    def __init__(self, resource: WebResource) -> None:
        self._label = resource.label
        self._policy = resource.policy
        self._timeouts = resource.timeouts
        self._limits = resource.limits
        given = {name.lower(): (name, value) for name, value in resource.headers}
        self._user_agent = given.pop("user-agent", ("", ""))[1]
        self._headers = dict(given.values())
        self._keys: dict[str, bytes] = {}
        self._key_lock = asyncio.Lock()  # two segments ask for one key once
        self._public = False  # once from a public address, never to a private one

    async def _get(
        self,
        url: str,
        limit_bytes: int,
        byte_range: tuple[int, int] | None = None,
        seconds: float = math.inf,
    ) -> Fetched:
        try:
            got = await fetch(
                url,
                policy=self._policy,
                limit_bytes=limit_bytes,
                total_seconds=min(seconds, self._timeouts.hls_segment_seconds),
                read_seconds=self._timeouts.source_head_seconds,
                user_agent=self._user_agent,
                headers=self._headers,
                byte_range=byte_range,
                came_from_public=self._public,
                redirects=self._limits.redirects,
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

    async def playlist(
        self, url: str, seconds: float = math.inf
    ) -> MediaPlaylist | tuple[Variant, ...]:
        """A playlist, or the variants of a master playlist. Raises UpstreamError, FormatError."""
        limit = self._limits.hls_playlist_bytes
        got = await self._get(url, limit, seconds=seconds)
        return await asyncio.to_thread(lambda: read_playlist(_unpacked(got.body, limit), got.url))

    async def segment(self, segment: Segment, seconds: float) -> bytes:
        """Its packets, in clear. Raises UpstreamError, FormatError."""
        limit = self._limits.hls_segment_bytes
        data = (await self._get(segment.url, limit, segment.byte_range, seconds)).body
        if not data:
            raise FormatError("HLS segment", "it is empty")
        key = await self._key(segment.key) if segment.key is not None else None
        iv = segment.key.iv if segment.key is not None else b""
        try:
            if len(data) > _IN_A_THREAD_BYTES:
                return await asyncio.to_thread(_in_clear, data, key, iv, limit)
            return _in_clear(data, key, iv, limit)
        except FormatError:
            if segment.key is not None:
                self._keys.pop(segment.key.url, None)  # it may be another one by now
            raise

    async def _key(self, key: Key) -> bytes:
        async with self._key_lock:
            found = self._keys.get(key.url)
            if found is not None:
                return found
            found = (await self._get(key.url, 1024)).body
            if len(found) != 16:
                raise FormatError("HLS key", f"its key has {len(found)} bytes instead of 16")
            if len(self._keys) >= _KEYS:
                del self._keys[next(iter(self._keys))]
            self._keys[key.url] = found
            return found


def _in_clear(data: bytes, key: bytes | None, iv: bytes, limit: int) -> bytes:
    """Unpacked, decrypted, and packets. Raises FormatError."""
    try:
        data = _unpacked(data, limit)
    except FormatError:
        if key is None:
            raise  # what is encrypted may begin like that by chance
    if key is not None:
        data = _decrypted(data, key, iv)
    refuse_other_containers(data)
    return whole_packets(data)


def _unpacked(body: bytes, limit: int) -> bytes:
    if body[:3] != _PACKED:
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


class HlsFeed(BareFeed):
    """One reader of an HLS stream."""

    def __init__(self, resource: WebResource, edge: LiveEdge | None = None) -> None:
        """`edge`: where former readers of this stream have come to."""
        super().__init__(resource.label)
        self._url = resource.url
        self._edge = edge or LiveEdge()
        self._fetcher = _Fetcher(resource)
        self._last_data_at = 0.0
        self._ended: asyncio.Future[tuple[Ending, str]] | None = None
        self._reader: asyncio.Task[None] | None = None

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
        queue: asyncio.Queue[_Coming | _Over] = asyncio.Queue(_AHEAD)
        asking: set[asyncio.Task[_Got]] = set()
        loading = asyncio.create_task(self._load(queue, asking), name=f"load {self.label}")
        over = _Over(Ending.ABORTED, "")
        try:
            over = await self._pass_on(queue, take, first)
        except Exception as error:  # a bug of ours; its words might hold a URL
            logger.error("%s: %s while reading HLS", self.label, type(error).__name__)
            over = _Over(Ending.CUT, "an error of our own")
        finally:
            if not ended.done():
                ended.set_result((over.ending, over.reason))
            tasks = (loading, *asking)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _pass_on(
        self, queue: asyncio.Queue[_Coming | _Over], take: Take, first: asyncio.Future[None]
    ) -> _Over:
        """Segments as they come, until there is no more."""
        reader, pace = SegmentReader(), Pace()
        missing, lost = 0, False
        while True:
            coming = await queue.get()
            if isinstance(coming, _Over):
                return coming
            got = await coming.got
            if got.hopeless:
                return _Over(Ending.CUT, got.why)
            if not got.data:
                lost = True
                missing += not coming.segment.gap
                if missing >= _MISSING:
                    return _Over(Ending.CUT, f"its segments can't be had: {got.why}")
                continue
            told = await asyncio.to_thread(reader.read, got.data)
            seconds = told.lasts(coming.segment.seconds)
            if first.done():
                tagged = lost or coming.segment.discontinuity
                if tagged if told.runs_on is None else not told.runs_on:
                    self.on_epoch()
                elif told.marks:
                    take(told.marks)
            if coming.behind_seconds > _BEHIND_TARGETS * coming.target_seconds:
                seconds *= _CATCH_UP
            missing, lost = 0, False
            pace.begin(time.monotonic(), seconds, coming.behind_seconds)
            await self._send(got.data, seconds, pace, take, first)
            self._edge.sent(coming.segment)

    async def _send(
        self, data: bytes, seconds: float, pace: Pace, take: Take, first: asyncio.Future[None]
    ) -> None:
        packets = len(data) // PACKET_SIZE
        step = min(_PIECE_PACKETS, math.ceil(packets / max(1, round(seconds / _STEP_SECONDS))))
        for packet in range(0, packets, step):
            # also where it is late: others have their turn between two pieces
            await asyncio.sleep(max(0.0, pace.at(packet / packets) - time.monotonic()))
            self._last_data_at = time.monotonic()
            take(data[packet * PACKET_SIZE : (packet + step) * PACKET_SIZE])
            if not first.done():
                first.set_result(None)

    async def _load(
        self, queue: asyncio.Queue[_Coming | _Over], asking: set[asyncio.Task[_Got]]
    ) -> None:
        """Playlists into segments that are asked for, until there is no more."""
        try:
            over = await self._load_all(queue, asking)
        except (UpstreamError, FormatError) as error:
            over = _Over(Ending.CUT, error.reason)
        except Exception as error:  # a bug of ours; its words might hold a URL
            logger.error("%s: %s while loading HLS", self.label, type(error).__name__)
            over = _Over(Ending.CUT, "an error of our own")
        await queue.put(over)

    async def _load_all(
        self, queue: asyncio.Queue[_Coming | _Over], asking: set[asyncio.Task[_Got]]
    ) -> _Over:
        playlist, url = await self._first_playlist()
        self._edge.begin()
        at_once = asyncio.Semaphore(_AT_ONCE)
        changed_at = asked_at = time.monotonic()
        while True:
            new = self._edge.take(playlist)
            target = playlist.target_seconds
            for place, segment in enumerate(new):
                got = asyncio.create_task(
                    self._segment(segment, max(_LEAST_SECONDS, 2 * target), at_once),
                    name=f"segment of {self.label}",
                )
                asking.add(got)
                got.add_done_callback(asking.discard)
                behind = sum(later.seconds for later in new[place + 1 :])
                await queue.put(_Coming(segment, got, behind, target))
            if playlist.ended:
                return _Over(Ending.EOF, "the playlist has ended")
            now = time.monotonic()
            if new:
                changed_at = now
            elif now - changed_at > _STALE_TARGETS * target:
                return _Over(Ending.CUT, "the playlist does not change any more")
            # §6.3.4: half as long where nothing was new; short segments are sooner used up
            last = playlist.segments[-1].seconds
            wait = min(target, max(last, target / 2)) if new else target / 2
            # from question to question: else each reload is later by the answer's time
            await asyncio.sleep(max(0.0, asked_at + wait - now))
            asked_at = time.monotonic()
            playlist = await self._again(url, playlist, changed_at)

    async def _first_playlist(self) -> tuple[MediaPlaylist, str]:
        """The media playlist, and where it is; of a master playlist the best that can be had."""
        found = await self._fetcher.playlist(self._url)
        if isinstance(found, MediaPlaylist):
            return self._live(found), self._url
        failure: UpstreamError | FormatError | None = None
        for variant in ranked_variants(found)[:_VARIANTS]:
            try:
                media = await self._fetcher.playlist(variant.url, _LEAST_SECONDS)
            except (UpstreamError, FormatError) as error:
                failure = failure or error
                continue
            if isinstance(media, MediaPlaylist):
                return self._live(media), variant.url
            failure = failure or FormatError(
                "HLS playlist", "a master playlist leads to a master playlist"
            )
        assert failure is not None, "there was a variant"
        raise failure

    def _live(self, playlist: MediaPlaylist) -> MediaPlaylist:
        if playlist.ended:
            raise UpstreamError(
                "open", self.label, "it has an end: a film as HLS is not served, only what is live"
            )
        return playlist

    async def _again(self, url: str, last: MediaPlaylist, changed_at: float) -> MediaPlaylist:
        """The playlist as it is now; the last one while it can't be had for a moment."""
        try:
            found = await self._fetcher.playlist(url, max(_LEAST_SECONDS, 2 * last.target_seconds))
        except (UpstreamError, FormatError):
            if time.monotonic() - changed_at > _STALE_TARGETS * last.target_seconds:
                raise
            return last
        return found if isinstance(found, MediaPlaylist) else last

    async def _segment(self, segment: Segment, seconds: float, at_once: asyncio.Semaphore) -> _Got:
        """Without data when it can't be had: the next one is better than none."""
        if segment.gap:
            return _Got(why="it is not there")
        why = ""
        for number in range(_TRIES):
            if number:
                await asyncio.sleep(min(_RETRY_SECONDS, segment.seconds / 4))
            try:
                async with at_once:
                    return _Got(await self._fetcher.segment(segment, seconds))
            except NotCarried as error:
                return _Got(why=error.reason, hopeless=True)
            except (UpstreamError, FormatError) as error:
                why = error.reason
        return _Got(why=why)

    async def look(self) -> None:
        """There is nobody to ask."""

    def end_reading(self) -> None:
        if self._reader is not None:
            self._reader.cancel()

    async def close(self) -> None:
        """Returns when nothing is under way any more."""
        self.end_reading()
        if self._reader is not None:
            await asyncio.gather(self._reader, return_exceptions=True)


class HlsSource:
    """A playlist that is known to be one."""

    def __init__(self, resource: WebResource) -> None:
        self.label = resource.label
        self._resource = resource
        self._edge = LiveEdge()

    async def start(self, avoid: Collection[Engine]) -> HlsFeed:  # noqa: ARG002 - Source's shape
        return HlsFeed(self._resource, self._edge)

    def yields(self, avoid: Collection[Engine]) -> Engine | None:  # noqa: ARG002 - Source's shape
        return None


class WebSource:
    """A URL of which only the answer says whether it is a stream or a playlist.

    `playlist`: it is known to be one, by its name or by an answer.
    """

    def __init__(self, resource: WebResource, *, playlist: bool = False) -> None:
        self.label = resource.label
        self.playlist = playlist
        self._direct = DirectSource(resource)
        self._hls = HlsSource(resource)

    async def start(self, avoid: Collection[Engine]) -> WebFeed:
        """Starts nothing yet: the feed's `open` does."""
        return WebFeed(self, await self.inner(avoid))

    async def inner(self, avoid: Collection[Engine] = ()) -> DirectFeed | HlsFeed:
        if self.playlist:
            return await self._hls.start(avoid)
        return await self._direct.start(avoid)

    def yields(self, avoid: Collection[Engine]) -> Engine | None:  # noqa: ARG002 - Source's shape
        return None


class WebFeed(BareFeed):
    """One reader on whichever of the two it is."""

    def __init__(self, source: WebSource, feed: DirectFeed | HlsFeed) -> None:
        super().__init__(source.label)
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
