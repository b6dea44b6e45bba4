"""One channel as HLS: its newest segments, who waits for the first, who watches.

Owns: the sliding window (RFC 8216 §6.2.2), the names of segments, the answers to playlist requests.
Must not know: which URLs lead here, accounts, how segments are cut (`segmenter`).

It is one more reader of the ring: it begins with the first request for a playlist, takes the chunks
as they come, and ends some time after its last watcher. Nothing of it runs where a chunk is sent.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import logging
import secrets
import time
import weakref
from collections import deque
from collections.abc import Callable, Iterator
from functools import partial
from typing import Final

from rawstream.config import Limits, Timeouts
from rawstream.errors import ChannelUnavailable
from rawstream.hls_tokens import Claims, HlsTokens
from rawstream.hls_writer import CONTENT_TYPE, Line, addressed, media_playlist
from rawstream.mux import Mux
from rawstream.protocol import Exchange, Response
from rawstream.segmenter import Segment, Segmenter
from rawstream.tally import Tally
from rawstream.viewer import ViewerSnapshot
from rawstream.watchers import RequestLease, Watcher, WatcherKey, Watchers

logger = logging.getLogger(__name__)

SEGMENT_CONTENT_TYPE: Final = "video/mp2t"
CORS: Final = ("Access-Control-Allow-Origin", "*")
PLAYLIST_HEADERS: Final = (("Cache-Control", "no-store"), CORS)
_RUN_BYTES: Final = 12
_NAME_BYTES: Final = 12
_RETRY_SECONDS: Final = 1
# With so many a first playlist goes out at once. With fewer it waits for the next tick: a source
# begins with a burst, and a player who is told of one segment looks again only when that is over.
_READY_SEGMENTS: Final = 3
_ANSWERED_PER_TURN: Final = 64  # of those who wait, in one turn of the loop
_CUT_REMEMBERED: Final = 10_000  # watchers whose tokens are not good any more


class PlaylistRequest:
    """A request for a playlist. `prefix`: the path below which this player finds us. `lease`: he is
    new, and this is his leave to watch.
    """

    __slots__ = ("account", "asked_at", "deadline", "exchange", "key", "lease", "port", "prefix")

    def __init__(
        self,
        exchange: Exchange,
        key: WatcherKey,
        *,
        prefix: str = "",
        account: str | None = None,
        lease: RequestLease | None = None,
        deadline: float = 0.0,
    ) -> None:
        self.exchange = exchange
        self.key = key
        self.port = exchange.request.peer[1]
        self.prefix = prefix
        self.account = account
        self.lease = lease
        self.deadline = deadline
        self.asked_at = time.monotonic()

    def refuse(self, reason: str, retry_after: int = _RETRY_SECONDS) -> None:
        """He gets nothing for now."""
        self.exchange.on_gone = None
        if self.lease is not None:
            self.lease.ended()
        told = Response.of_error(ChannelUnavailable(reason, retry_after=retry_after))
        self.exchange.respond(
            Response(told.status, told.body, told.content_type, (*told.headers, CORS))
        )


class _Expired:
    """A segment that has left the playlist. `seconds`: how long it is still served. `until`: the
    same as a time, from the first tick on that saw it.
    """

    __slots__ = ("seconds", "segment", "until")

    def __init__(self, segment: Segment, seconds: float) -> None:
        self.segment = segment
        self.seconds = seconds
        self.until: float | None = None


class Numbers:
    """Where the numbers of all segments of this process have got to.

    They must never go back, not even when a channel is packaged anew after a pause or a restart
    (§6.2.2). A channel's first one is the time of day of its picture, as segments are made more
    slowly than seconds pass; where they were not, or the clock was set back, the next packager goes
    on behind all that there were.

    Discontinuities are counted from the hour: hls.js walks through an array of as many places for
    each segment, and stands still at a count of seconds.
    """

    def __init__(self) -> None:
        self._sequence = 0
        self._discontinuity = 0

    def first(self, wall: float) -> tuple[int, int]:
        """A first segment's number, and how many discontinuities are before it."""
        hours = int(wall) // 3600
        return max(int(wall), self._sequence), max(hours, self._discontinuity)

    def reached(self, sequence: int, discontinuity: int) -> None:
        """All before these have been used."""
        self._sequence = max(self._sequence, sequence)
        self._discontinuity = max(self._discontinuity, discontinuity)


class Packager:
    """The segments of one channel. `key`: the channel's. `call_soon`: runs something in the next
    turn of the loop. `numbers`: those of the process.

    `run` names it in URLs. Neither that nor the name of a segment can be guessed: a cache in front
    of us serves a segment to whoever knows where it is.
    """

    def __init__(
        self,
        mux: Mux,
        tokens: HlsTokens,
        *,
        target_seconds: float,
        limits: Limits,
        timeouts: Timeouts,
        watcher_ids: Iterator[int],
        call_soon: Callable[[Callable[[], None]], object],
        numbers: Numbers | None = None,
        tally: Tally | None = None,
        wall: Callable[[], float] = time.time,
    ) -> None:
        # -- identity --
        self.run = _text(secrets.token_bytes(_RUN_BYTES))
        self._naming_key = secrets.token_bytes(32)
        # -- collaborators --
        self._mux = mux
        self._tokens = tokens
        self._limits = limits
        self._timeouts = timeouts
        self._call_soon = call_soon
        self._wall = wall
        self._joins = (tally if tally is not None else Tally()).joins["hls"]
        # -- the ring, as far as it has been read --
        ring = mux.ring
        # a slow channel's ring is longer than any window
        history = 2 * limits.hls_segments + 2  # listed, and served after that
        first = ring.entry_near(mux.seconds - history * limits.hls_target_max_seconds)
        self._cursor = first.sequence if first is not None else ring.first
        # the last one read
        self._point = (first.sequence, first.offset - 1) if first is not None else (-1, -1)
        self._pulling = False
        self._over = False
        behind = mux.seconds - first.seconds if first is not None else 0.0
        self._numbers = numbers if numbers is not None else Numbers()
        number, discontinuities = self._numbers.first(wall() - behind)
        self._segmenter = Segmenter(
            target_seconds,
            longest_seconds=limits.hls_target_max_seconds,
            open_bytes=max(limits.hls_window_bytes, limits.ring_cap_bytes),
            number=number,
            wall=wall,
        )
        # -- the window --
        self._window: deque[Segment] = deque()
        self._expired: deque[_Expired] = deque()
        self._discontinuities = discontinuities  # of segments that have left the playlist
        self._listed_at: dict[int, float] = {}  # by number, the first tick on that saw it
        self._ticked_at: float | None = None
        self._longest = 0.0  # seconds of the longest playlist so far
        self._by_name: dict[str, Segment] = {}
        self._answers: dict[int, Response] = {}  # by number
        self._written = b""
        self.window_bytes = 0
        self.cap_bytes = limits.hls_window_bytes
        # -- watchers --
        self._waiting: deque[PlaylistRequest] = deque()
        self._answering = False
        self.watchers = Watchers(
            watcher_ids, lease_seconds=timeouts.hls_lease_seconds, on_cut=self._note_cut
        )
        self._cut: dict[int, None] = {}
        self._wanted_at = time.monotonic()
        # -- counters --
        self.bytes_out = 0
        mux.on_points = self._pull_soon
        self.pull()

    # -- the ring ----------------------------------------------------------------------------------

    def _pull_soon(self) -> None:
        if not self._pulling:
            self._pulling = True
            self._call_soon(self.pull)

    def pull(self) -> None:
        """Take what has come since the last call."""
        self._pulling = False
        if self._over:
            return
        ring, segmenter = self._mux.ring, self._segmenter
        if self._cursor < ring.first:
            segmenter.lose()
            self._cursor = ring.first
        segmenter.forget_before(ring.first)
        for sequence in range(self._cursor, ring.next):
            chunk = ring.chunk(sequence)
            segmenter.add(sequence, chunk.data, chunk.begins, chunk.seconds)
        self._cursor = ring.next
        sources = self._sources()
        fresh = []
        for entry in reversed(ring.entries):
            if entry[:2] <= self._point:
                break
            fresh.append(entry)
        for entry in reversed(fresh):
            since = max(
                (at for at in sources if self._point[0] < at <= entry.sequence), default=None
            )
            segmenter.point(entry, independent=not self._mux.any_start, source_from=since)
            self._point = entry[:2]
        segmenter.advance()
        done = segmenter.take()
        if done:
            for segment in done:
                self._list(segment)
            self._written = self._write()
            if len(self._window) >= _READY_SEGMENTS and not self._answering:
                self._answer_waiting()

    def _sources(self) -> list[int]:
        """Chunks with which another source began, one that does not continue the one before it."""
        by_chunk = dict(self._mux.sources_from)
        return [at for at, intake in by_chunk.items() if not intake.seamless]

    # -- the window --------------------------------------------------------------------------------

    def _list(self, segment: Segment) -> None:
        limits = self._limits
        self._window.append(segment)
        self._by_name[self._name(segment)] = segment
        self.window_bytes += segment.size
        least = 3 * self._segmenter.target  # §6.2.2
        seconds = sum(one.seconds for one in self._window)
        while (
            len(self._window) > limits.hls_segments
            and seconds - self._window[0].seconds >= least
            and self._may_leave(self._window[0])
        ):
            seconds -= self._window[0].seconds
            self._expire()
        self._longest = max(self._longest, seconds)
        while self.window_bytes > self.cap_bytes and len(self._window) > 1:
            if not self._expired:
                self._expire()
            self._forget(self._expired.popleft().segment)

    def _may_leave(self, segment: Segment) -> bool:
        """A burst is no reason: players look once in a target duration, and what came and went
        between two looks is a hole in what they show.
        """
        if self._ticked_at is None:
            return True
        listed_at = self._listed_at.get(segment.number)
        return listed_at is not None and self._ticked_at - listed_at >= 3 * self._segmenter.target

    def _expire(self) -> None:
        """The oldest leaves the playlist, and is served on to those who are late: so long as it
        lasts itself and the longest playlist it stood in (§6.2.2).
        """
        segment = self._window.popleft()
        self._listed_at.pop(segment.number, None)
        self._discontinuities += segment.discontinuity
        self._expired.append(_Expired(segment, segment.seconds + self._longest))

    def _forget_expired(self, now: float) -> None:
        for expired in self._expired:
            if expired.until is None:
                expired.until = now + expired.seconds
        while self._expired and (self._expired[0].until or now) <= now:
            self._forget(self._expired.popleft().segment)

    def _forget(self, segment: Segment) -> None:
        del self._by_name[self._name(segment)]
        self._answers.pop(segment.number, None)
        self.window_bytes -= segment.size

    def _name(self, segment: Segment) -> str:
        number = str(segment.number)
        seal = hashlib.blake2b(number.encode(), key=self._naming_key, digest_size=_NAME_BYTES)
        return f"{number}-{_text(seal.digest())}.ts"

    def _write(self) -> bytes:
        lines = [
            Line(f"/hls/{self.run}/{self._name(one)}", one.seconds, one.wall, one.discontinuity)
            for one in self._window
        ]
        return media_playlist(
            lines,
            target=self._segmenter.target,
            sequence=self._window[0].number,
            discontinuity_sequence=self._discontinuities,
            independent=self._segmenter.independent,
        )

    # -- playlists ---------------------------------------------------------------------------------

    def ask(self, request: PlaylistRequest) -> None:
        """Answer with the playlist, now or once there is a segment; 503 when that takes long."""
        if self._written:
            self._answer(request)
            return
        self._waiting.append(request)
        request.exchange.on_gone = partial(self._left_waiting, request)

    def _answer_waiting(self) -> None:
        """Those who wait, some per turn of the loop."""
        self._answering = False
        for _ in range(min(_ANSWERED_PER_TURN, len(self._waiting))):
            request = self._waiting.popleft()
            request.exchange.on_gone = None
            try:
                self._answer(request)
            except Exception:  # nobody called us who could tell him, and others wait
                logger.exception("a playlist could not be answered")
                self._fail(request)
        if self._waiting:
            self._answering = True
            self._call_soon(self._answer_waiting)

    def _fail(self, request: PlaylistRequest) -> None:
        watcher = self.watchers.get(request.key)
        if request.lease is not None:
            if watcher is not None and watcher.lease is request.lease:
                self.watchers.end(watcher)
            request.lease.ended()
        request.exchange.fail(Response.text("internal error\n", 500))

    def _answer(self, request: PlaylistRequest) -> None:
        if request.exchange.gone:
            if request.lease is not None:
                request.lease.ended()
            return
        now = time.monotonic()
        watcher = self.watchers.get(request.key)
        if watcher is None:
            if request.lease is None and request.key.account_id:
                request.refuse("asked for while the last stream ended")  # he was one a moment ago
                return
            watcher = self.watchers.add(
                request.key, now, account=request.account, lease=request.lease, port=request.port
            )
            self._joins.note(now - request.asked_at)
        elif request.lease is not None:
            request.lease.ended()  # a request of his that came at the same time was faster
        self.watchers.renew(watcher, now)
        if watcher.at_seconds is None or watcher.requests < 2:
            watcher.at_seconds = self._window[-1].begins + self._window[-1].seconds
        token = self._tokens.issue(
            self.run,
            watcher.id,
            self._wall(),
            account_id=request.key.account_id,
            channel_id=request.key.channel_id,
        )
        body = addressed(self._written, request.prefix, token)
        request.exchange.respond(Response(200, body, CONTENT_TYPE, PLAYLIST_HEADERS))

    def _left_waiting(self, request: PlaylistRequest) -> None:
        if request.lease is not None:
            request.lease.ended()
        if request in self._waiting:
            self._waiting.remove(request)

    @property
    def held(self) -> int:
        return len(self._waiting)

    def is_over(self, now: float) -> bool:
        """Nobody has waited or watched for so long that nobody will miss it."""
        if self._waiting or self.watchers:
            self._wanted_at = now
        return now - self._wanted_at >= self._timeouts.hls_lease_seconds

    def give_up_waiting(self) -> list[PlaylistRequest]:
        """Hand those who wait to somebody else."""
        waiting, self._waiting = self._waiting, deque()
        return list(waiting)

    # -- segments ----------------------------------------------------------------------------------

    def find(self, name: str) -> Segment | None:
        return self._by_name.get(name)

    def claims_of(self, token: str) -> Claims | None:
        """What a token says that was made here and has not been withdrawn."""
        claims = self._tokens.read(self.run, token, self._wall())
        return claims if claims is not None and claims.watcher not in self._cut else None

    def serve(self, watcher: Watcher, segment: Segment) -> Response:
        """A segment for a watcher; his lease is renewed."""
        self.watchers.renew(watcher, time.monotonic())
        watcher.at_seconds = segment.begins + segment.seconds
        answer = self._answers.get(segment.number)
        if answer is None:
            answer = self._answers[segment.number] = self._answer_of(segment)
        return answer

    def sent(self, watcher: Watcher, size: int) -> None:
        """So many bytes of a segment were handed to him."""
        watcher.sent += size
        self.bytes_out += size

    def _answer_of(self, segment: Segment) -> Response:
        headers = (
            ("ETag", f'"{self._name(segment)}"'),
            # in the playlist, and as long as it must be there after that
            ("Cache-Control", f"public, max-age={round(2 * self._longest + segment.seconds)}"),
            CORS,
        )
        return Response(200, b"", SEGMENT_CONTENT_TYPE, headers, parts=segment.parts)

    def _note_cut(self, watcher: Watcher) -> None:
        self._cut[watcher.id] = None
        if len(self._cut) > _CUT_REMEMBERED:
            del self._cut[next(iter(self._cut))]

    # -- once in a while ---------------------------------------------------------------------------

    def tick(self, now: float) -> None:
        """Some times a second: what came without a random-access point, who waits or is silent too
        long.
        """
        self.pull()
        self._ticked_at = now
        for segment in self._window:
            self._listed_at.setdefault(segment.number, now)
        self._forget_expired(now)
        if not self._written:
            self._refuse_late(now)
        elif not self._answering:
            self._answer_waiting()
        self.watchers.sweep(now)

    def _refuse_late(self, now: float) -> None:
        late = [request for request in self._waiting if request.deadline <= now]
        if late:
            self._waiting = deque(one for one in self._waiting if one.deadline > now)
            for request in late:
                request.refuse("the channel has no HLS segment yet")

    def snapshots(self, now: float) -> list[ViewerSnapshot]:
        return self.watchers.snapshots(now, self._mux.seconds)

    def finish(self, reason: str = "the channel was stopped", retry_after: int = 1) -> None:
        """The end: whoever waits is told, leases end, no segment is served any more."""
        self._over = True
        self._mux.on_points = None
        listed = sum(one.discontinuity for one in self._window)
        self._numbers.reached(self._segmenter.number, self._discontinuities + listed)
        for request in self.give_up_waiting():
            request.refuse(reason, retry_after)
        self.watchers.end_all()
        self._window.clear()
        self._expired.clear()
        self._by_name.clear()
        self._answers.clear()
        self._segmenter.forget()


def _text(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


class Packagers:
    """Makes the packagers of this process. `target_seconds` is for those to come."""

    def __init__(
        self,
        limits: Limits,
        timeouts: Timeouts,
        *,
        target_seconds: float,
        watcher_ids: Iterator[int],
        tally: Tally,
    ) -> None:
        self.target_seconds = target_seconds
        self._limits = limits
        self._timeouts = timeouts
        self._watcher_ids = watcher_ids
        self._tally = tally
        self._tokens = HlsTokens(timeouts.hls_token_seconds)
        self._numbers = Numbers()
        # those of the channels; a run is never given twice, so what is over is not found
        self._by_run: weakref.WeakValueDictionary[str, Packager] = weakref.WeakValueDictionary()

    def package(self, mux: Mux) -> Packager:
        """A new one, of this channel."""
        packager = Packager(
            mux,
            self._tokens,
            target_seconds=self.target_seconds,
            limits=self._limits,
            timeouts=self._timeouts,
            watcher_ids=self._watcher_ids,
            call_soon=asyncio.get_running_loop().call_soon,
            numbers=self._numbers,
            tally=self._tally,
        )
        self._by_run[packager.run] = packager
        return packager

    def find(self, run: str) -> Packager | None:
        """The one whose segments have this in their URLs."""
        return self._by_run.get(run)
