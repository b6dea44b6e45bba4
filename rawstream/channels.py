"""A channel's life: who waits for it, who watches it, and when it ends.

Owns: what leads from one state to the next, who is let in, the linger. Must not know: how HTTP is
written, how viewers are kept on hold (`waiting_room`), how a source is had and kept (`supply`), how
HLS is made (`packager`), which URL was asked for.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

from rawstream.channel_state import MOVES, RUNNING, ChannelState
from rawstream.config import Limits, Timeouts
from rawstream.engine_client import ContentRef, Engine
from rawstream.errors import UpstreamError
from rawstream.mux import Mux
from rawstream.packager import Packager, PlaylistRequest
from rawstream.records import ChannelSource
from rawstream.sources import EngineFeed, Feed, FeedFailed, Source, ref_of
from rawstream.supply import LadderStep, Supply
from rawstream.tally import Tally
from rawstream.viewer import Lease, Spectator, Viewer, ViewerSnapshot
from rawstream.waiting_room import Waiting, WaitingRoom

logger = logging.getLogger(__name__)

_IDS_REMEMBERED = 16  # of the line-up's channels that are one content


@dataclass(frozen=True, slots=True)
class ChannelSnapshot:
    """One channel as shown to the operator. Seconds, bytes, bit/s; speeds in KB/s as the engine
    gives them.
    """

    key: str
    name: str
    content: tuple[str, ...]
    infohash: str | None
    state: str
    state_seconds: float
    source: str
    engine: str | None
    bitrate: float
    peers: int | None
    speed_down: int | None
    speed_up: int | None
    downloaded: int | None
    engine_status: str | None
    viewers: tuple[ViewerSnapshot, ...]
    held: int
    ring_bytes: int
    ring_seconds: float
    batch_window_seconds: float
    bytes_in: int
    bytes_out: int
    hls_bytes: int
    opens: int
    recoveries: int
    jumps: int
    stalled_viewers: int
    resyncs: int
    last_error: str | None
    codecs: tuple[str, ...]
    playback_session_id: str | None
    stat_path: str | None
    viewer_count: int = 0  # also where `viewers` is left out
    channel_ids: tuple[int, ...] = ()  # of the line-up: those it was asked for as


class Superseded(Exception):
    """Not an error: this content runs already, as `other`; its viewers go there.

    `fallback`: it is not what the channel was asked for first, but what took its place.
    """

    def __init__(self, other: LiveChannel, *, fallback: bool = False) -> None:
        super().__init__(other.key)
        self.other = other
        self.fallback = fallback


class LiveChannel:
    """One content on air, or on its way there.

    `ways`: the sources of a channel of the line-up, best first, and `ways_of` its number; none for
    a content by itself.
    `identify` learns the content's canonical infohash, `sources` then makes of the ways what can be
    opened. `claim(channel, infohash, asked)` is the owner's word on who runs a content: it
    raises Superseded when another channel does. `make_room` is asked when all engines are full.
    `on_over(channel, failure)` is called once, when the channel has ended and can't be joined any
    more.
    """

    def __init__(
        self,
        key: str,
        *,
        name: str,
        refs: list[ContentRef],
        ways: Sequence[ChannelSource] = (),
        ways_of: int = 0,
        timeouts: Timeouts,
        limits: Limits,
        sources: Callable[[LiveChannel], Sequence[Source]],
        identify: Callable[[LiveChannel], Awaitable[None]],
        claim: Callable[[LiveChannel, str, Sequence[ContentRef]], None],
        make_room: Callable[[LiveChannel], Awaitable[bool]],
        on_over: Callable[[LiveChannel, str | None], None],
        package: Callable[[Mux], Packager],
        viewer_id: Iterator[int],
        tally: Tally | None = None,
    ) -> None:
        # -- identity --
        self.key = key
        self.name = name
        self.refs = refs
        self.ways = ways
        self.ways_of = ways_of
        self.infohash: str | None = None
        # -- collaborators --
        self._timeouts = timeouts
        self._limits = limits
        self._sources_of = sources
        self._identify = identify
        self._claim = claim
        self._make_room = make_room
        self._on_over = on_over
        self._package = package
        self._viewer_id = viewer_id
        self._tally = tally if tally is not None else Tally()
        # who takes those who wait, if this turns out to be a film
        self.on_film: Callable[[Sequence[Waiting]], None] | None = None
        # told of what the ladder does
        self.on_ladder: Callable[[LadderStep], None] = lambda _step: None
        # told of each new state
        self.on_moved: Callable[[LiveChannel], None] = lambda _channel: None
        # -- state --
        self.state = ChannelState.IDLE
        self.since = time.monotonic()
        self.ordered = False  # its source was left because the operator wanted that
        self._empty_since: float | None = None
        self._task: asyncio.Task[None] | None = None
        self._former: set[asyncio.Task[None]] = set()  # cancelled, and not over yet
        self._ending: asyncio.Task[None] | None = None
        self._ids: dict[int, None] = {}  # what the line-up calls it
        # -- viewers --
        self.waiting = WaitingRoom(self._let_in, on_left=self._note_emptiness)
        self._leases: dict[Viewer, Lease] = {}
        loop = asyncio.get_running_loop()
        self.mux = Mux(
            limits,
            call_soon=loop.call_soon,
            call_later=loop.call_later,
            on_entry_point=self._on_entry_point,
        )
        self.supply = Supply(self, self.mux, timeouts, self._tally)
        self.supply.on_step = self._tell_step
        self.packager: Packager | None = None  # while somebody wants HLS
        # -- counters --
        self._hls_bytes_out = 0  # of packagers that are over
        self._feeds_seen = 0
        self.feeds_per_second = 0.0

    # -- state -------------------------------------------------------------------------------------

    def _move(self, state: ChannelState) -> None:
        if state not in MOVES[self.state]:
            raise AssertionError(f"channel {self.key}: {self.state} -> {state}")
        logger.info("channel %s: %s", self.name or self.key, state.value)
        self.state = state
        self.since = time.monotonic()
        self.on_moved(self)

    @property
    def running(self) -> bool:
        return self.state in RUNNING

    @property
    def engine(self) -> Engine | None:
        return self.supply.feed.engine if self.supply.feed is not None else None

    def start(self) -> None:
        self._move(ChannelState.STARTING)
        self._task = asyncio.create_task(self._run(), name=f"channel {self.key}")

    def note_id(self, channel_id: int) -> None:
        """It was asked for as this channel of the line-up."""
        if channel_id and len(self._ids) < _IDS_REMEMBERED:
            self._ids[channel_id] = None

    def _tell_step(self, rung: str, text: str) -> None:
        self.on_ladder(LadderStep(self.key, self.name, rung, text))

    # -- what the operator does --------------------------------------------------------------------

    def restart(self, *, onward: bool = False, why: str = "by the operator") -> None:
        """Leave the source, and look for one as at the start: the best first, or `onward` the one
        behind it. Viewers keep their connections. A channel that nobody wants ends.
        """
        assert self.running, "a channel that is over can't be begun again"
        if not self.wanted:
            self.stop()
            return
        self.supply.on_step("moved", why)
        self._begin_again(onward=onward)

    async def move(self) -> bool:
        """Go on from another engine. False: none takes it, and it stays where it is."""
        feed, engine = self.supply.feed, self.engine
        if self.state is not ChannelState.LIVE or feed is None or engine is None:
            return False
        try:
            other = await self.supply.start_elsewhere(engine)
        except UpstreamError as error:
            logger.info("channel %s stays on %s: %s", self.label, engine.url, error)
            return False
        if self.state is not ChannelState.LIVE or self.supply.feed is not feed:
            self.supply.discard(other)
            return False
        self.supply.on_step("moved", f"{feed.label}: its engine is drained")
        self._begin_again(feed=other)
        return True

    def _begin_again(self, *, onward: bool = False, feed: Feed | None = None) -> None:
        former = self._task
        assert former is not None, "it was begun"
        if self.state is ChannelState.LIVE:  # else it has lost its source already
            self.ordered = True
            self._move(ChannelState.RECOVERING)
        former.cancel()
        self._former.add(former)
        former.add_done_callback(self._former.discard)
        self.supply.drop()
        if feed is not None:
            self.supply.follow(feed)
        self._task = asyncio.create_task(self._run_again(onward), name=f"channel {self.key}, again")

    async def _run_again(self, onward: bool) -> None:
        if self._former:
            await asyncio.wait(set(self._former))
        await self._run(again=True, onward=onward)

    # -- viewers -----------------------------------------------------------------------------------

    def find_viewer(self, viewer_id: int) -> Spectator | None:
        """One who watches, over whichever protocol."""
        for viewer in self.mux:
            if viewer.id == viewer_id:
                lease = self._leases.get(viewer)
                cut = partial(self._cut, viewer)
                return Spectator(viewer.address, viewer.user_agent, lease, cut)
        watchers = self.packager.watchers if self.packager is not None else None
        watcher = watchers.numbered(viewer_id) if watchers is not None else None
        if watchers is None or watcher is None:
            return None
        key, cut = watcher.key, partial(watchers.cut, watcher)
        return Spectator(key.address, key.user_agent, watcher.lease, cut)

    def add_ways(self, ways: Sequence[ChannelSource], ways_of: int = 0) -> None:
        """A content that was opened by itself, or with fewer sources, has these as well."""
        if len(ways) > len(self.ways):
            self.ways_of = ways_of
            self._take_ways(ways)

    def change_ways(self, ways: Sequence[ChannelSource], *, by_hand: bool) -> None:
        """The channel of the line-up has other sources now. The one on air stays until it fails, or
        the operator wants the next; but one that was taken away by hand is left at once.
        """
        if not ways and not by_hand:
            return
        listed = self._take_ways(ways)
        if not ways:
            self.stop()
        elif by_hand and not listed:
            self.restart(why="its source was removed")

    def _take_ways(self, ways: Sequence[ChannelSource]) -> bool:
        """Whether the source that was opened last is among them."""
        before = list(map(ref_of, self.ways)) or self.refs[:1]
        there = dict(zip(before, self.supply.sources, strict=False))
        self.ways = ways
        made = self._sources_of(self)
        return self.supply.set_sources(
            [there.get(ref_of(way), one) for way, one in zip(ways, made, strict=False)]
        )

    def hold(self, waiting: Waiting) -> None:
        """Take a viewer: let him in at once if the channel is on air, else keep him until it is or
        fails.
        """
        assert self.running, "a channel that is over holds nobody"
        self.waiting.add(waiting)
        self._note_interest()
        if self.mux.joinable:
            self.waiting.release_soon()

    def take_over(self, other: LiveChannel) -> None:
        """Take all viewers who wait on another channel that turned out to be this content."""
        for waiting in other.waiting.take_all():
            self.hold(waiting)
        if other.packager is not None:
            for request in other.packager.give_up_waiting():
                self.hold_playlist(request)

    def hold_playlist(self, request: PlaylistRequest) -> None:
        """Answer with the channel's HLS playlist, now or when it has a segment."""
        assert self.running, "a channel that is over holds nobody"
        self._note_interest()
        if self.packager is None:
            self.packager = self._package(self.mux)
        self.packager.ask(request)

    @property
    def viewers(self) -> int:
        """How many watch, over whichever protocol."""
        watching = len(self.packager.watchers) if self.packager is not None else 0
        return self.mux.viewers + watching

    @property
    def held(self) -> int:
        """How many wait for a first picture."""
        return len(self.waiting) + (self.packager.held if self.packager is not None else 0)

    @property
    def bytes_out(self) -> int:
        """Stream bytes handed to viewers, over whichever protocol."""
        packaged = self.packager.bytes_out if self.packager is not None else 0
        return self.mux.bytes_out + self._hls_bytes_out + packaged

    def _on_entry_point(self) -> None:
        if self.state is ChannelState.STARTING:
            self._move(ChannelState.LIVE)
            self._note_emptiness()
        self.waiting.release_soon()

    def _let_in(self, waiting: Waiting) -> None:
        exchange = waiting.exchange
        if exchange.gone:
            self._end_lease(waiting.lease)
            return
        request = exchange.request
        sink = exchange.stream(waiting.headers)
        viewer = Viewer(
            next(self._viewer_id),
            sink,
            now=time.monotonic(),
            address=request.peer[0],
            port=request.peer[1],
            user_agent=request.headers.get("user-agent", "")[:200],
            account=waiting.account,
        )
        exchange.on_gone = partial(self._left, viewer)
        exchange.on_resumed = partial(self.mux.resumed, viewer)
        if waiting.lease is not None:
            self._leases[viewer] = waiting.lease
            waiting.lease.started(partial(self._cut, viewer), viewer.joined_at)
        self.mux.add(viewer)
        self._tally.joins["ts"].note(viewer.joined_at - waiting.asked_at)
        if exchange.gone:
            self._left(viewer)

    def _cut(self, viewer: Viewer) -> None:
        """End one viewer's stream at once; his lease has been withdrawn."""
        viewer.sink.abort()
        self._left(viewer)

    @staticmethod
    def _end_lease(lease: Lease | None, sent: int = 0) -> None:
        if lease is not None:
            lease.ended(sent)

    def _left(self, viewer: Viewer) -> None:
        self.mux.remove(viewer)  # first: it settles what he was sent
        self._end_lease(self._leases.pop(viewer, None), viewer.sent)
        self._note_emptiness()

    def _note_interest(self) -> None:
        """Somebody waits or watches: the linger, if there was one, is over."""
        self._empty_since = None
        if self.state is ChannelState.LINGERING:
            self._move(ChannelState.LIVE)

    def _note_emptiness(self) -> None:
        """Nobody watches and nobody waits: the linger begins, whatever the source does."""
        if not self.running:
            return
        if self.held or self.viewers:
            if self._empty_since is not None:  # one who was silent long has asked for a segment
                self._note_interest()
            return
        if self._empty_since is None:
            self._empty_since = time.monotonic()
        if self.state is ChannelState.LIVE:
            self._move(ChannelState.LINGERING)

    # -- once in a while: called by the owner ------------------------------------------------------

    def tick(self, now: float) -> None:
        """Everything that waits for a time: hold deadlines, the linger, the wait for an entry
        point.
        """
        if not self.running:
            return
        self.mux.tell_time(now)
        self._refuse_late(now)
        self._tick_packager(now)
        self._note_emptiness()
        if (
            self._empty_since is not None
            and now - self._empty_since >= self._timeouts.linger_seconds
        ):
            self.stop()
            return
        if (
            self.supply.first_data_at is not None
            and not self.mux.joinable
            and not self.mux.any_start
            and now - self.supply.first_data_at >= self._timeouts.random_access_wait_seconds
        ):
            logger.info(
                "channel %s shows no random-access point; letting viewers in anywhere", self.key
            )
            self.mux.accept_any_start()

    def _tick_packager(self, now: float) -> None:
        if self.packager is None:
            return
        try:
            self.packager.tick(now)
        except Exception:  # its watchers would never leave, and the channel never linger
            logger.exception("channel %s: its HLS failed, and begins anew", self.label)
            self._unpackage("an internal error")
            return
        if self.packager.is_over(now):
            self._unpackage()

    def _unpackage(self, reason: str = "the channel was stopped", retry_after: int = 1) -> None:
        packager, self.packager = self.packager, None
        if packager is not None:
            self._hls_bytes_out += packager.bytes_out
            packager.finish(reason, retry_after)

    def _refuse_late(self, now: float) -> None:
        late = self.waiting.take_late(now)
        if late:
            reason = f"the channel is still {self.state.value}{self._told()}"
            for waiting in late:
                waiting.refuse(reason, 1)

    def sweep(self, now: float) -> None:
        """Once a second: viewers whose peer takes nothing are aborted."""
        for viewer in self.mux.sweep(now, self._timeouts.viewer_stall_seconds):
            logger.info("viewer %s of %s stalled: aborted", viewer.address, self.name or self.key)
            self._cut(viewer)
        self.feeds_per_second = float(self.mux.feeds - self._feeds_seen)
        self._feeds_seen = self.mux.feeds

    def _told(self) -> str:
        feed = self.supply.feed
        if feed is not None and feed.stat.status is not None:
            return f"; the engine says {feed.stat.status}, {feed.stat.peers or 0} peers"
        return f"; {self.supply.last_error}" if self.supply.last_error else ""

    # -- the end -----------------------------------------------------------------------------------

    def stop(self) -> asyncio.Task[None]:
        """End the channel: its source is left and stopped, whoever still waits or watches is let
        go.
        """
        if self._ending is None:
            self._end(ChannelState.STOPPING, None)
        assert self._ending is not None, "the end has begun"
        return self._ending

    def _end(self, state: ChannelState, failure: str | None) -> None:
        if failure is not None:
            self.supply.last_error = failure
        self._move(state)
        if self._task is not None and self._task is not asyncio.current_task():
            self._task.cancel()
        self._ending = asyncio.create_task(self._close(), name=f"end of channel {self.key}")
        waiting = self.waiting.take_all()
        try:
            self.mux.finish()
        finally:
            leases, self._leases = self._leases, {}
            for viewer, lease in leases.items():
                lease.ended(viewer.sent)
            self._on_over(self, failure)
        # Last: an answer may bring forth the next request of its connection, for this very content.
        reason, retry_after = failure or "the channel was stopped", 1 if failure is None else 5
        for one in waiting:
            one.refuse(reason, retry_after)
        self._unpackage(reason, retry_after)

    async def _close(self) -> None:
        await self.supply.close()  # at once: a start of the same content is to see this stop
        if self._task is not None:
            await asyncio.gather(self._task, *self._former, return_exceptions=True)
        await self.supply.close()  # and what the task still had in hand
        self._move(ChannelState.IDLE)

    # -- the task -----------------------------------------------------------

    async def _run(self, *, again: bool = False, onward: bool = False) -> None:
        try:
            if not again or not self.mux.joinable:
                await self._identify(self)
            await self.supply.run(self._sources_of(self), onward=onward)
            if self.running:  # cut while nobody watched
                self.stop()
        except Superseded as found:
            self._hand_over(found.other, fallback=found.fallback)
        except UpstreamError as error:
            if isinstance(error, FeedFailed) and error.film and self.on_film is not None:
                waiting = self.waiting.take_all()
                self._end(ChannelState.STOPPING, None)
                self.on_film(waiting)
                return
            logger.warning("channel %s failed: %s", self.label, error)
            self._end(ChannelState.FAILED, error.reason)
        except Exception:
            logger.exception("channel %s: a bug of ours", self.label)
            self._end(ChannelState.FAILED, "an internal error")

    def _hand_over(self, other: LiveChannel, *, fallback: bool) -> None:
        """This content runs already: its viewers go there, and so does the session just opened."""
        feed = self.supply.give_up_feed()
        if feed is not None:
            other.supply.offer(feed)
        if self.viewers:
            logger.warning(
                "channel %s is %s: %d viewer(s) have to ask again",
                self.label,
                other.label,
                self.viewers,
            )
        if not fallback:  # else our names are another content's
            other.refs.extend(ref for ref in self.refs if ref not in other.refs)
        for channel_id in self._ids:
            other.note_id(channel_id)
        other.take_over(self)
        self._end(ChannelState.STOPPING, None)

    # -- what the supply asks of its channel (supply.Owner) ----------------------------------------

    @property
    def label(self) -> str:
        return self.name or self.key

    @property
    def wanted(self) -> bool:
        return self._empty_since is None

    def claim(self, feed: Feed) -> None:
        if feed.infohash is not None:
            asked = feed.refs if isinstance(feed, EngineFeed) else ()
            self._claim(self, feed.infohash, asked)

    async def make_room(self) -> bool:
        return await self._make_room(self)

    def supply_lost(self) -> None:
        self.ordered = False
        if self.state is ChannelState.LIVE:
            self._move(ChannelState.RECOVERING)

    def supply_back(self) -> None:
        if self.state is ChannelState.RECOVERING:
            self._move(ChannelState.LIVE)
        self._note_emptiness()
        if self.mux.joinable:
            self.waiting.release_soon()

    # -- snapshot ----------------------------------------------------------------------------------

    def snapshot(self, now: float, *, kernel: bool = True, viewers: bool = True) -> ChannelSnapshot:
        """`kernel` False spares two system calls per viewer, and leaves out what only they know;
        `viewers` False leaves them out but for their number.
        """
        mux = self.mux
        packager = self.packager
        feed = self.supply.feed
        stat = feed.stat if feed is not None else None
        session = feed.session if isinstance(feed, EngineFeed) else None
        program = mux.scanner.program
        bitrate = mux.bitrate
        shown = self.viewer_snapshots(now, kernel=kernel) if viewers else ()
        return ChannelSnapshot(
            key=self.key,
            name=self.name,
            content=tuple(str(ref) for ref in self.refs),
            infohash=self.infohash,
            state=self.state.value,
            state_seconds=now - self.since,
            source=feed.label if feed is not None else "",
            engine=feed.engine.url if feed is not None and feed.engine is not None else None,
            bitrate=bitrate,
            peers=stat.peers if stat is not None else None,
            speed_down=stat.speed_down if stat is not None else None,
            speed_up=stat.speed_up if stat is not None else None,
            downloaded=stat.downloaded if stat is not None else None,
            engine_status=stat.status if stat is not None else None,
            viewers=shown,
            held=self.held,
            ring_bytes=mux.ring.size,
            ring_seconds=mux.ring.seconds,
            batch_window_seconds=mux.window_seconds,
            bytes_in=mux.bytes_in,
            bytes_out=self.bytes_out,
            hls_bytes=packager.window_bytes if packager is not None else 0,
            opens=self.supply.opens,
            recoveries=self.supply.recoveries,
            jumps=mux.jumps,
            stalled_viewers=mux.stalled,
            resyncs=mux.total_resyncs,
            last_error=self.supply.last_error,
            codecs=tuple(s.codec for s in program.streams) if program is not None else (),
            playback_session_id=session.playback_session_id if session is not None else None,
            stat_path=session.stat_path if session is not None else None,
            viewer_count=len(shown) if viewers else self.viewers,
            channel_ids=tuple(self._ids),
        )

    def viewer_snapshots(self, now: float, *, kernel: bool = True) -> tuple[ViewerSnapshot, ...]:
        """See `snapshot`."""
        mux, packager = self.mux, self.packager
        bitrate = mux.bitrate
        return (
            *(mux.snapshot(viewer, now, bitrate, kernel=kernel) for viewer in mux),
            *(packager.snapshots(now) if packager is not None else ()),
        )
