"""A channel's life: who waits for it, who watches it, what feeds it, and when it ends.

Owns: the states of a channel and the ladder it climbs when its source fails; the viewers on hold.
Must not know: how HTTP is written, what an engine's JSON looks like, which URL was asked for.

One task per channel starts the source, watches it and climbs the ladder. The bytes do not pass
through it: they go from the source's connection to `Mux.feed`.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from functools import partial
from typing import Any

from rawstream.config import Limits, Timeouts
from rawstream.engine_client import ContentRef, Engine
from rawstream.errors import ChannelUnavailable, UpstreamError, UpstreamTimeout
from rawstream.http_client import Ending
from rawstream.mpegts import PacketCutter
from rawstream.mux import Mux, Viewer, ViewerSnapshot
from rawstream.protocol import Exchange, Response
from rawstream.sources import EngineFeed, Feed, FeedFailed, NoEngineLeft, Source
from rawstream.splice import Splice, end_of

logger = logging.getLogger(__name__)

_RELEASED_PER_TURN = 64  # held viewers let in per turn of the loop
_PROOF_SECONDS = 5.0  # media a new source must bring before the ladder is as good as new
_TAIL_SECONDS = 3.0  # media looked at to know where the old timeline ended
_TAIL_BYTES = 8 * 1024 * 1024
_REPLAY_SECONDS = 2.5  # how long a new source may take to reach the last time shown
_BACK_OFF = (1.0, 2.0, 4.0, 8.0)

Headers = Sequence[tuple[str, str]]


class ChannelState(Enum):
    """Design §5. The value is what operators see."""

    IDLE = "idle"
    STARTING = "starting"
    LIVE = "live"
    RECOVERING = "recovering"
    LINGERING = "lingering"
    STOPPING = "stopping"
    FAILED = "failed"


_S = ChannelState
_MOVES: dict[ChannelState, frozenset[ChannelState]] = {
    _S.IDLE: frozenset({_S.STARTING}),
    _S.STARTING: frozenset({_S.LIVE, _S.STOPPING, _S.FAILED}),
    _S.LIVE: frozenset({_S.RECOVERING, _S.LINGERING, _S.STOPPING, _S.FAILED}),
    _S.RECOVERING: frozenset({_S.LIVE, _S.STOPPING, _S.FAILED}),
    _S.LINGERING: frozenset({_S.LIVE, _S.STOPPING, _S.FAILED}),
    _S.STOPPING: frozenset({_S.IDLE}),
    _S.FAILED: frozenset({_S.IDLE}),
}
RUNNING = frozenset({_S.STARTING, _S.LIVE, _S.RECOVERING, _S.LINGERING})


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
    opens: int
    recoveries: int
    jumps: int
    stalled_viewers: int
    resyncs: int
    last_error: str | None
    codecs: tuple[str, ...]
    playback_session_id: str | None
    stat_path: str | None


class Waiting:
    """A viewer on hold: his head has been read, and nothing has been answered yet."""

    __slots__ = ("account", "deadline", "exchange", "headers")

    def __init__(
        self, exchange: Exchange, headers: Headers, deadline: float, account: str | None
    ) -> None:
        self.exchange = exchange
        self.headers = headers
        self.deadline = deadline
        self.account = account


class Superseded(Exception):
    """Not an error: this content runs already, as `other`; its viewers go there."""

    def __init__(self, other: LiveChannel) -> None:
        super().__init__(other.key)
        self.other = other


class LiveChannel:
    """One content on air, or on its way there.

    `identify` learns the content's canonical infohash, `sources` then names the ways to get it,
    best first. `claim(channel, infohash)` is the owner's word on who runs a content: it raises
    Superseded when another channel does. `make_room` is asked when all engines are full.
    `on_over(channel, failure)` is called once, when the channel has ended and can't be joined any
    more.
    """

    def __init__(
        self,
        key: str,
        *,
        name: str,
        refs: list[ContentRef],
        timeouts: Timeouts,
        limits: Limits,
        sources: Callable[[LiveChannel], Sequence[Source]],
        identify: Callable[[LiveChannel], Awaitable[None]],
        claim: Callable[[LiveChannel, str], None],
        make_room: Callable[[LiveChannel], Awaitable[bool]],
        on_over: Callable[[LiveChannel, str | None], None],
        viewer_id: Iterator[int],
    ) -> None:
        # -- identity --
        self.key = key
        self.name = name
        self.refs = refs
        self.infohash: str | None = None
        # -- collaborators --
        self._timeouts = timeouts
        self._limits = limits
        self._sources_of = sources
        self._identify = identify
        self._claim = claim
        self._make_room = make_room
        self._on_over = on_over
        self._viewer_id = viewer_id
        # -- state --
        self.state = ChannelState.IDLE
        self.since = time.monotonic()
        self._empty_since: float | None = None
        self._task: asyncio.Task[None] | None = None
        self._ending: asyncio.Task[None] | None = None
        # -- the source --
        self._sources: Sequence[Source] = ()
        self._feed: Feed | None = None
        self._spare: EngineFeed | None = None
        self._avoid: list[Engine] = []
        self._splice: Splice | None = None
        self._flowing = asyncio.Event()  # the newest source's packets reach the viewers
        self._recover_deadline: float | None = None
        self._proof_from = 0.0
        self._first_data_at: float | None = None
        # -- viewers --
        self.waiting: deque[Waiting] = deque()
        self._releasing = False
        loop = asyncio.get_running_loop()
        self.mux = Mux(
            limits,
            call_soon=loop.call_soon,
            call_later=loop.call_later,
            on_entry_point=self._on_entry_point,
        )
        # -- counters --
        self.opens = 0
        self.recoveries = 0
        self.last_error: str | None = None
        self._feeds_seen = 0
        self.feeds_per_second = 0.0

    # -- state -------------------------------------------------------------------------------------

    def _move(self, state: ChannelState) -> None:
        if state not in _MOVES[self.state]:
            raise AssertionError(f"channel {self.key}: {self.state} -> {state}")
        logger.info("channel %s: %s", self.name or self.key, state.value)
        self.state = state
        self.since = time.monotonic()

    @property
    def running(self) -> bool:
        return self.state in RUNNING

    @property
    def engine(self) -> Engine | None:
        return self._feed.engine if self._feed is not None else None

    def start(self) -> None:
        self._move(ChannelState.STARTING)
        self._task = asyncio.create_task(self._run(), name=f"channel {self.key}")

    # -- viewers -----------------------------------------------------------------------------------

    def hold(self, waiting: Waiting) -> None:
        """Take a viewer: let him in at once if the channel is on air, else keep him until it is or
        fails.
        """
        self.waiting.append(waiting)
        self._empty_since = None
        waiting.exchange.on_gone = partial(self._left_waiting, waiting)
        if self.state is ChannelState.LINGERING:
            self._move(ChannelState.LIVE)
        if self.mux.joinable:
            self._release_soon()

    def take_over(self, other: LiveChannel) -> None:
        """Take all viewers who wait on another channel that turned out to be this content."""
        while other.waiting:
            self.hold(other.waiting.popleft())

    def _left_waiting(self, waiting: Waiting) -> None:
        try:
            self.waiting.remove(waiting)
        except ValueError:
            return
        self._note_emptiness()

    def _on_entry_point(self) -> None:
        if self.state is ChannelState.STARTING:
            self._move(ChannelState.LIVE)
            self._note_emptiness()
        self._release_soon()

    def _release_soon(self) -> None:
        if not self._releasing and self.waiting:
            self._releasing = True
            asyncio.get_running_loop().call_soon(self._release)

    def _release(self) -> None:
        """Let those on hold in, some per turn of the loop."""
        self._releasing = False
        if not self.running:
            return
        for _ in range(min(_RELEASED_PER_TURN, len(self.waiting))):
            self._let_in(self.waiting.popleft())
        self._release_soon()

    def _let_in(self, waiting: Waiting) -> None:
        exchange = waiting.exchange
        if exchange.gone:
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
        self.mux.add(viewer)
        if exchange.gone:
            self._left(viewer)

    def _left(self, viewer: Viewer) -> None:
        self.mux.remove(viewer)
        self._note_emptiness()

    def _note_emptiness(self) -> None:
        """Nobody watches and nobody waits: the linger begins, whatever the source does."""
        if self.waiting or self.mux.viewers or not self.running:
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
        self._refuse_expired(now)
        self._note_emptiness()
        if (
            self._empty_since is not None
            and now - self._empty_since >= self._timeouts.linger_seconds
        ):
            self.stop()
            return
        if (
            self._first_data_at is not None
            and not self.mux.joinable
            and not self.mux.any_start
            and now - self._first_data_at >= self._timeouts.random_access_wait_seconds
        ):
            logger.info(
                "channel %s shows no random-access point; letting viewers in anywhere", self.key
            )
            self.mux.accept_any_start()

    def _refuse_expired(self, now: float) -> None:
        late = [waiting for waiting in self.waiting if waiting.deadline <= now]
        if late:
            self.waiting = deque(waiting for waiting in self.waiting if waiting.deadline > now)
            reason = f"the channel is still {self.state.value}{self._told()}"
            for waiting in late:
                self._refuse(waiting, reason, 1)

    def sweep(self, now: float) -> None:
        """Once a second: viewers whose peer takes nothing are aborted."""
        for viewer in self.mux.sweep(now, self._timeouts.viewer_stall_seconds):
            logger.info("viewer %s of %s stalled: aborted", viewer.address, self.name or self.key)
            viewer.sink.abort()
            self._left(viewer)
        self.feeds_per_second = float(self.mux.feeds - self._feeds_seen)
        self._feeds_seen = self.mux.feeds

    def _told(self) -> str:
        stat = self._feed.stat if self._feed is not None else None
        if stat is not None and stat.status is not None:
            return f"; the engine says {stat.status}, {stat.peers or 0} peers"
        return f"; {self.last_error}" if self.last_error else ""

    def _refuse(self, waiting: Waiting, reason: str, retry_after: int) -> None:
        waiting.exchange.on_gone = None
        waiting.exchange.respond(
            Response.of_error(ChannelUnavailable(reason, retry_after=retry_after))
        )

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
        self._move(state)
        if failure is not None:
            self.last_error = failure
        if self._task is not None and self._task is not asyncio.current_task():
            self._task.cancel()
        self._ending = asyncio.create_task(self._close(), name=f"end of channel {self.key}")
        waiting, self.waiting = self.waiting, deque()
        for one in waiting:
            self._refuse(one, failure or "the channel was stopped", 1 if failure is None else 5)
        self.mux.finish()
        self._on_over(self, failure)

    async def _close(self) -> None:
        feed, self._feed = self._feed, None
        spare, self._spare = self._spare, None
        if feed is not None:
            await feed.close()
        if spare is not None:
            await spare.close()
        if self._task is not None:
            await asyncio.gather(self._task, return_exceptions=True)
        self._move(ChannelState.IDLE)

    # -- the task: start, watch, recover -----------------------------------------------------------

    async def _run(self) -> None:
        try:
            await self._identify(self)
            self._sources = self._sources_of(self)
            await self._climb_once()
            while await self._watch() and self._empty_since is None:
                await self._recover()
            if self.running:  # cut while nobody watches: nothing is brought back for nobody
                self.stop()
        except Superseded as found:
            self._hand_over(found.other)
        except UpstreamError as error:
            logger.warning("channel %s failed: %s", self.name or self.key, error)
            self._end(ChannelState.FAILED, error.reason)
        except Exception:
            logger.exception("channel %s: a bug of ours", self.key)
            self._end(ChannelState.FAILED, "an internal error")

    def _hand_over(self, other: LiveChannel) -> None:
        other.take_over(self)
        other.refs.extend(ref for ref in self.refs if ref not in other.refs)
        self._end(ChannelState.STOPPING, None)

    async def _climb_once(self) -> None:
        """The first start: each source on each engine once; the last failure is the channel's."""
        failure: UpstreamError | None = None
        for source in self._sources:
            avoid: list[Engine] = []
            while True:
                try:
                    await self._open(source, avoid, self._start_patience())
                    return
                except NoEngineLeft as error:
                    if error.full and await self._make_room(self):
                        continue
                    failure = failure or error
                    break
                except FeedFailed as error:
                    failure = error
                    self.last_error = error.reason
                    if error.engine is None:
                        break
                    avoid.append(error.engine)
        raise failure or UpstreamError("start", "channel", "it has no source")

    def _start_patience(self) -> tuple[float, float]:
        timeouts = self._timeouts
        return timeouts.engine_first_byte_seconds, timeouts.engine_first_byte_limit_seconds

    async def _open(
        self, source: Source, avoid: Sequence[Engine], patience: tuple[float, float]
    ) -> None:
        """Start a source and wait for its first byte. Raises FeedFailed, NoEngineLeft,
        Superseded.
        """
        self.opens += 1
        feed = await source.start(avoid)
        try:
            if feed.infohash is not None:
                self._claim(self, feed.infohash)
                self.infohash = feed.infohash
        except Superseded as found:
            await found.other.offer(feed)
            raise
        self._feed = feed
        try:
            await self._read(feed, patience)
        except UpstreamError:
            self._feed = None
            await feed.close()
            raise

    async def _read(self, feed: Feed, patience: tuple[float, float]) -> None:
        """Open a feed's reader into the mux; after a former source, through a splice."""
        mux = self.mux
        self._flowing.clear()
        self._splice = None
        if mux.joinable:
            mux.flush()
            shown = end_of(mux.tail(_TAIL_SECONDS, _TAIL_BYTES), mux.scanner.program)
            self._splice = Splice(shown, any_start=mux.any_start, on_spliced=self._flowing.set)
            mux.begin_epoch(self._splice)
        else:
            mux.begin_epoch(PacketCutter())
            self._flowing.set()
        await feed.open(mux.feed, patience=patience)
        if self._first_data_at is None:
            self._first_data_at = time.monotonic()
        if self._splice is not None:
            await self._wait_for_splice(self._splice, feed)

    async def _wait_for_splice(self, splice: Splice, feed: Feed) -> None:
        """A replay may take a moment to reach the last time shown; a source without an entry is no
        source.
        """
        for seconds in (_REPLAY_SECONDS, self._timeouts.silence_act_seconds):
            flowing = asyncio.create_task(self._flowing.wait(), name=f"splice of {self.key}")
            waits: set[asyncio.Future[Any]] = {flowing, feed.ended}
            try:
                await asyncio.wait(
                    waits, timeout=seconds, return_when=asyncio.FIRST_COMPLETED
                )
            finally:
                flowing.cancel()
            if splice.spliced:
                return
            if feed.ended.done():
                break
            splice.wait_no_longer()
        error = UpstreamError("read", feed.label, "brought no place to go on from")
        raise FeedFailed(error, feed.engine)

    async def _watch(self) -> bool:
        """Until the source must be left. True: recover; False: the content is over, at its natural
        end.
        """
        feed = self._feed
        assert feed is not None, "a source is open"
        timeouts = self._timeouts
        looked = False
        downloaded = -1
        while True:
            await asyncio.wait({feed.ended}, timeout=timeouts.silence_look_seconds / 4)
            now = time.monotonic()
            if feed.ended.done():
                ending, reason = feed.ended.result()
                if ending is Ending.EOF and feed.complete:
                    self._end(ChannelState.STOPPING, None)
                    return False
                self.last_error = f"{feed.label}: the source ended ({reason or ending.value})"
                return True
            self._note_progress()
            silence = now - feed.last_data_at
            if silence < timeouts.silence_look_seconds:
                looked = False
                continue
            if not looked:
                looked = True
                downloaded = feed.stat.downloaded or 0
                await feed.look()
            if feed.gone or silence >= timeouts.silence_act_seconds:
                grew = (feed.stat.downloaded or 0) > downloaded
                self.last_error = (
                    f"{feed.label}: silent for {silence:.1f} s"
                    + (", session gone" if feed.gone else "")
                    + (", though it loads" if grew and not feed.gone else "")
                )
                if not grew:
                    feed.gone = True  # the same URL would stay as silent
                return True

    def _note_progress(self) -> None:
        """Once a recovered source has brought some seconds of media the ladder is as good as
        new.
        """
        if self._recover_deadline is None:
            return
        if self.mux.seconds - self._proof_from >= _PROOF_SECONDS:
            self._recover_deadline = None
            self._avoid.clear()

    async def _recover(self) -> None:
        """The ladder (design §5): same URL once, new session, next engine, next source, and around
        again with growing pauses, until bytes flow or `recover_seconds` have passed. Viewers keep
        their connection.

        Raises UpstreamError, the last failure, at the end of the time.
        """
        self.recoveries += 1
        logger.warning("channel %s: %s", self.name or self.key, self.last_error)
        if self.state is ChannelState.LIVE:
            self._move(ChannelState.RECOVERING)
        first = self._recover_deadline is None
        if first:
            self._recover_deadline = time.monotonic() + self._timeouts.recover_seconds
            self._proof_from = self.mux.seconds
        feed, self._feed = self._feed, None
        assert feed is not None, "a source was open"
        spare, self._spare = self._spare, None
        if spare is not None and isinstance(feed, EngineFeed):
            await feed.forget()  # a stop of the old one would end the spare as well
            feed = spare
        if first and not feed.gone and await self._reopen(feed):
            return
        if not first and feed.engine is not None:
            self._avoid.append(feed.engine)
        await feed.close()
        await self._climb()

    async def _reopen(self, feed: Feed) -> bool:
        """The same URL once."""
        self._feed = feed
        self.opens += 1
        patience = self._timeouts.silence_act_seconds
        try:
            await self._read(feed, (patience, patience))
        except UpstreamError as error:
            self.last_error = error.reason
            self._feed = None
            return False
        self._recovered()
        return True

    async def _climb(self) -> None:
        pauses = iter(_BACK_OFF)
        last: UpstreamError | None = None
        while True:
            for source in self._sources:
                while True:
                    left = self._recover_left(last)
                    patience = self._start_patience()
                    try:
                        await self._open(
                            source, self._avoid, (min(patience[0], left), min(patience[1], left))
                        )
                        self._recovered()
                        return
                    except NoEngineLeft as error:
                        last = last or error
                        break
                    except FeedFailed as error:
                        last = error
                        self.last_error = error.reason
                        if error.engine is None:
                            break
                        self._avoid.append(error.engine)
            self._avoid.clear()
            await asyncio.sleep(min(next(pauses, _BACK_OFF[-1]), self._recover_left(last)))

    def _recover_left(self, last: UpstreamError | None) -> float:
        assert self._recover_deadline is not None, "a recovery is under way"
        left = self._recover_deadline - time.monotonic()
        if left <= 0:
            raise last or UpstreamTimeout("read", self.key, "no source came back in time")
        return left

    def _recovered(self) -> None:
        if self.state is ChannelState.RECOVERING:
            self._move(ChannelState.LIVE)
        self._note_emptiness()
        if self.mux.joinable:
            self._release_soon()

    async def offer(self, feed: Feed) -> None:
        """Another start has opened a second session of this content.

        On the same engine a stop of one would end both (reference §1.5), so it is kept, unread, for
        the moment ours is cut. On another engine it is stopped.
        """
        if isinstance(feed, EngineFeed) and feed.engine is self.engine and self._spare is None:
            self._spare = feed
        elif isinstance(feed, EngineFeed) and feed.engine is self.engine:
            await feed.forget()
        else:
            await feed.close()

    # -- snapshot ----------------------------------------------------------------------------------

    def snapshot(self, now: float) -> ChannelSnapshot:
        mux = self.mux
        feed = self._feed
        stat = feed.stat if feed is not None else None
        session = feed.session if isinstance(feed, EngineFeed) else None
        program = mux.scanner.program
        bitrate = mux.bitrate
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
            viewers=tuple(mux.snapshot(viewer, now, bitrate) for viewer in mux),
            held=len(self.waiting),
            ring_bytes=mux.ring_bytes,
            ring_seconds=mux.ring_seconds,
            batch_window_seconds=mux.window_seconds,
            bytes_in=mux.bytes_in,
            bytes_out=mux.bytes_out,
            opens=self.opens,
            recoveries=self.recoveries,
            jumps=mux.jumps,
            stalled_viewers=mux.stalled,
            resyncs=mux.total_resyncs,
            last_error=self.last_error,
            codecs=tuple(s.codec for s in program.streams) if program is not None else (),
            playback_session_id=session.playback_session_id if session is not None else None,
            stat_path=session.stat_path if session is not None else None,
        )
