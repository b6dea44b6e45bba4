"""What feeds a channel: the source in use, the watch over it, and the ladder when it fails.

Owns: which source is read, when it must be left, what is tried next and for how long. Must not
know: viewers, HTTP, what an engine's JSON looks like.

The ladder (design §5): the same URL once, a new session, the next engine, the channel's next
source, and around again with growing pauses, until media flows or `recover_seconds` have passed.
The bytes do not pass through here: they go from the source's connection to `Mux.feed`.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol

from rawstream.config import Timeouts
from rawstream.engine_client import Engine
from rawstream.errors import UpstreamError, UpstreamTimeout
from rawstream.mpegts import PacketCutter
from rawstream.mux import Mux
from rawstream.sources import EngineFeed, Feed, FeedFailed, NoEngineLeft, Source
from rawstream.splice import Splice, end_of
from rawstream.tally import Tally

logger = logging.getLogger(__name__)

_PROOF_SECONDS = 5.0  # media a new source must bring before the ladder is as good as new
_TAIL_SECONDS = 3.0  # media looked at to know where the old timeline ended
_TAIL_BYTES = 2 * 1024 * 1024
_NO_STREAM_BYTES = 512 * 1024  # so much without a packet in it is no transport stream
_SLOT_LOOK_SECONDS = 0.2
_STARVED_SHARE = 0.1  # of real time: less media than this is no stream, whatever bytes trickle in
_UNLISTED = -1  # the place of a source that is none of the channel any more
_BACK_OFF = (1.0, 2.0, 4.0, 8.0)


class LadderStep(NamedTuple):
    """What a channel does when its source fails. `rung`: lost (why), moved (the operator wanted it
    left), same url, session, engine, source (what is tried), failed (why), back (with what).
    """

    key: str
    name: str
    rung: str
    text: str


class Owner(Protocol):
    """What a supply asks of its channel. `claim` raises what ends the supply when the content runs
    elsewhere; `make_room` is asked when all engines are full.
    """

    @property
    def label(self) -> str: ...
    @property
    def wanted(self) -> bool: ...
    def claim(self, feed: Feed) -> None: ...
    async def make_room(self) -> bool: ...
    def supply_lost(self) -> None: ...
    def supply_back(self) -> None: ...


class Supply:
    """One channel's source, whatever it takes to have one."""

    def __init__(
        self, owner: Owner, mux: Mux, timeouts: Timeouts, tally: Tally | None = None
    ) -> None:
        # -- collaborators --
        self._owner = owner
        self._mux = mux
        self._timeouts = timeouts
        self._steps = (tally if tally is not None else Tally()).steps
        # -- the source --
        self._sources: Sequence[Source] = ()
        self.feed: Feed | None = None
        self._spare: Feed | None = None
        self._next: Feed | None = None  # started beside the one in use, for the next run
        self._spare_until = 0.0
        self._leaving: set[asyncio.Task[None]] = set()
        self._place = 0  # of the source that was opened last, among all
        self._tried: tuple[int, Engine | None] | None = None  # that place, and on which engine
        self._splice: Splice | None = None  # the last one: it knows how clocks were shifted
        # -- the ladder --
        self._avoid: list[Engine] = []
        self._ordered = False  # the next attempt is the operator's will, and no rung
        self._deadline: float | None = None  # of the recovery under way, until it has proved itself
        self._proof_from = 0.0
        self._lost_at = 0.0
        self._pauses = iter(_BACK_OFF)
        # told of each step: a rung of the ladder, and why or to where
        self.on_step: Callable[[str, str], None] = lambda _rung, _text: None
        # -- shown --
        self.first_data_at: float | None = None
        self.opens = 0
        self.recoveries = 0
        self.last_error: str | None = None

    async def run(self, sources: Sequence[Source], *, onward: bool = False) -> None:
        """Start, watch and recover; returns when the source is lost while nobody wants it.

        It may be run again, when what it did has been cancelled and its source left: from the best
        source, or `onward` from the one behind the last, or from what it was told to `follow`.

        Raises UpstreamError when no source can be had, or comes back in time, and whatever the
        owner's `claim` raises.
        """
        self._sources = sources
        order = self._order(onward=onward)
        if self.first_data_at is None:
            await self._climb_once(order)
        else:
            self._begin_again(onward=onward)
            feed, self._next = self._next, None
            if feed is None or not await self._adopt(feed):
                await self._climb(order)
        while True:
            await self._watch()
            if not self._owner.wanted:
                return
            await self._recover()

    @property
    def sources(self) -> Sequence[Source]:
        """Those of the ladder, best first."""
        return self._sources

    def set_sources(self, sources: Sequence[Source]) -> bool:
        """Other ways than so far, for the next time one is looked for; those that stay have to be
        the same objects. False: the one opened last is among them no more. It is still read, and
        behind it come those that did.
        """
        last = self._sources[self._place] if 0 <= self._place < len(self._sources) else None
        self._sources = sources
        if last is None:
            return True
        listed = last in sources
        self._place = sources.index(last) if listed else min(self._place, len(sources)) - 1
        if self._tried is not None:
            self._tried = (self._place if listed else _UNLISTED, self._tried[1])
        return listed

    async def close(self) -> None:
        """Leave every source; returns when their sessions are stopped or their time is over."""
        self.drop()
        if self._leaving:
            await asyncio.wait(set(self._leaving))

    def drop(self) -> None:
        """Leave every source, without waiting."""
        for feed in (self.feed, self._spare, self._next):
            if feed is not None:
                self._leave(feed)
        self.feed = self._spare = self._next = None

    async def start_elsewhere(self, engine: Engine) -> Feed:
        """Start the source in use on another engine than this one, beside it. Raises UpstreamError;
        whoever gets the feed has to let this `follow` it, or to `discard` it.
        """
        if self._tried is not None and self._tried[0] == _UNLISTED:
            raise NoEngineLeft("its source is none of the channel any more")
        if self._place >= len(self._sources):
            raise NoEngineLeft("no source is known")
        return await self._start_feed(self._sources[self._place], [engine])

    def follow(self, feed: Feed) -> None:
        """The next run begins with this one."""
        self._next = feed

    def discard(self, feed: Feed) -> None:
        """Leave a source that was started and is not wanted."""
        self._leave(feed)

    def _order(self, *, onward: bool) -> Sequence[Source]:
        behind = self._place + 1 if onward else 0
        return [*self._sources[behind:], *self._sources[:behind]]

    def _begin_again(self, *, onward: bool) -> None:
        """As a recovery begins. Onward from the only source there is goes another engine."""
        self._ordered = True
        self._deadline = time.monotonic() + self._timeouts.recover_seconds
        self._proof_from = self._mux.seconds
        self._lost_at = time.monotonic()
        self._pauses = iter(_BACK_OFF)
        engine = self._tried[1] if self._tried is not None else None
        self._avoid = [engine] if onward and len(self._sources) == 1 and engine is not None else []

    async def _adopt(self, feed: Feed) -> bool:
        """Go on with a source that was started beside the last one."""
        self._note_rung(self._place, feed.engine, feed.label)
        self.opens += 1
        self.feed = feed
        try:
            self._owner.claim(feed)
            await self._read(feed, self._start_patience())
        except UpstreamError as error:
            self.last_error = error.reason
            self.on_step("failed", error.reason)
            self.feed = None
            self._leave(feed)
            return False
        self._came_back(feed)
        return True

    def _note_rung(self, place: int, engine: Engine | None, label: str) -> None:
        """Which rung an attempt is, by what was tried before it."""
        before, self._tried = self._tried, (place, engine)
        if before is not None:
            rung = "session" if before == self._tried else "engine"
            rung = rung if before[0] == place else "source"
            if self.first_data_at is not None and not self._ordered:  # the first start is no ladder
                self._steps[rung] += 1
            self.on_step(rung, label)
        self._ordered = False

    def _came_back(self, feed: Feed) -> None:
        self.on_step("back", feed.label)
        self._owner.supply_back()

    def offer(self, feed: Feed) -> None:
        """Another start has opened a second session of this content.

        On the same engine it has, or may have, taken the place of ours (reference §1.5): it is
        kept, unread, for the moment ours is cut. On another engine it is of no use.
        """
        engine = self.feed.engine if self.feed is not None else None
        if self._spare is None and isinstance(feed, EngineFeed) and feed.engine is engine:
            self._spare = feed
            self._spare_until = time.monotonic() + 2 * self._timeouts.silence_act_seconds
        else:
            self._leave(feed)

    def _leave(self, feed: Feed) -> None:
        """Stop it without waiting: a hanging engine must not delay the next one. A start of the
        same content on the same engine waits for the stop by itself.
        """
        feed.end_reading()  # at once: not a byte of it may reach the next one's splice
        task = asyncio.create_task(feed.close(), name=f"leave {feed.label}")
        self._leaving.add(task)
        task.add_done_callback(self._leaving.discard)

    # -- the first start ---------------------------------------------------------------------------

    async def _climb_once(self, order: Sequence[Source]) -> None:
        """Each source on each engine once; the last failure is the channel's."""
        failure: UpstreamError | None = None
        slot_deadline = time.monotonic() + self._timeouts.slot_wait_seconds
        for source in order:
            avoid: list[Engine] = []
            superseded = False
            while True:
                try:
                    await self._open(source, avoid, self._start_patience())
                    return
                except NoEngineLeft as error:
                    if error.full and await self._room(slot_deadline):
                        continue
                    failure = failure or error
                    break
                except FeedFailed as error:
                    failure = error
                    self.last_error = error.reason
                    if error.superseded and not superseded:
                        superseded = True  # once: two who take it from each other never end
                        continue
                    if error.engine is None or error.film:  # it is one on every engine
                        break
                    avoid.append(error.engine)
        raise failure or UpstreamError("start", "channel", "it has no source")

    async def _room(self, deadline: float) -> bool:
        """A slot on a full engine: that of a channel nobody watches, or one that comes free soon,
        as in a zap, where the new channel is asked for before the old one is left. False: too late.
        """
        if await self._owner.make_room():
            return True
        if time.monotonic() >= deadline:
            return False
        await asyncio.sleep(_SLOT_LOOK_SECONDS)
        return True

    def _start_patience(self) -> tuple[float, float]:
        timeouts = self._timeouts
        return timeouts.engine_first_byte_seconds, timeouts.engine_first_byte_limit_seconds

    async def _open(
        self, source: Source, avoid: Sequence[Engine], patience: tuple[float, float]
    ) -> None:
        """Start a source and wait for its first byte. Raises FeedFailed, NoEngineLeft, and what
        `claim` raises.
        """
        if source in self._sources:
            self._place = self._sources.index(source)
        try:
            feed = await self._start_feed(source, avoid)
        except FeedFailed as error:
            self._note_rung(self._place, error.engine, source.label)
            self.on_step("failed", error.reason)
            raise
        self._note_rung(self._place, feed.engine, feed.label)
        if self._deadline is not None and source.yields(avoid) is not None:
            most = (
                2 * self._timeouts.silence_act_seconds
            )  # viewers wait, and another engine is free
            patience = min(patience[0], most), min(patience[1], most)
        self.opens += 1
        self.feed = feed
        try:
            self._owner.claim(feed)
            await self._read(feed, patience)
        except UpstreamError as error:
            self.on_step("failed", error.reason)
            self.feed = None
            self._leave(feed)
            raise

    async def _start_feed(self, source: Source, avoid: Sequence[Engine]) -> Feed:
        """Start a source; while another engine is free, one that hangs does not have all its time:
        little during a recovery, when viewers are about to give up. Raises FeedFailed,
        NoEngineLeft.
        """
        timeouts = self._timeouts
        recovering = self._deadline is not None
        most = timeouts.silence_act_seconds if recovering else timeouts.engine_yield_seconds
        starting = asyncio.create_task(source.start(avoid), name=f"start of {source.label}")
        try:
            await asyncio.wait({starting}, timeout=most)
            if not starting.done() and (engine := source.yields(avoid)) is not None:
                late = UpstreamTimeout("start", engine.url, f"no session within {most:.1f} s")
                raise FeedFailed(late, engine)
            return await starting
        except asyncio.CancelledError:
            if starting.done() and not starting.cancelled() and starting.exception() is None:
                self._leave(starting.result())  # it came in the very moment nobody wants it
            raise
        finally:
            if not starting.done():
                starting.cancel()  # its answer is still read, and its session then stopped
                await asyncio.gather(starting, return_exceptions=True)

    def give_up_feed(self) -> Feed | None:
        """Hand the source in use to somebody else, who will close it."""
        feed, self.feed = self.feed, None
        return feed

    # -- reading -----------------------------------------------------------------------------------

    async def _read(self, feed: Feed, patience: tuple[float, float]) -> None:
        """Open a feed's reader into the mux; after a former source, through a splice."""
        spliced = asyncio.Event()
        splice = self._begin_epoch(spliced.set)
        feed.on_epoch = self._go_on_anew
        await feed.open(self._mux.feed, patience=patience)
        if self.first_data_at is None:
            self.first_data_at = time.monotonic()
        if splice is not None:
            await self._wait_for_splice(splice, spliced, feed)

    def _begin_epoch(self, on_spliced: Callable[[], None]) -> Splice | None:
        """What comes next has a timeline of its own; the splice that fits it to the one shown."""
        mux = self._mux
        if not mux.joinable and not mux.viewers:
            mux.begin_epoch(PacketCutter())
            return None
        mux.flush()
        shown = end_of(mux.ring.tail(_TAIL_SECONDS, _TAIL_BYTES), mux.scanner.program)
        splice = Splice(shown, after=self._splice, any_start=mux.any_start, on_spliced=on_spliced)
        self._splice = splice
        mux.begin_epoch(splice)
        return splice

    def _go_on_anew(self) -> None:
        """A feed says that its next bytes have another clock."""
        if self._splice is not None and not self._splice.spliced:
            return  # the place to enter is still looked for
        splice = self._begin_epoch(lambda: None)
        if splice is not None:
            splice.wait_no_longer()

    async def _wait_for_splice(self, splice: Splice, spliced: asyncio.Event, feed: Feed) -> None:
        """A replay may take a moment to reach the last time shown; a source that has no entry point
        at all is no source. Raises FeedFailed.
        """
        flowing = asyncio.create_task(spliced.wait(), name=f"splice of {self._owner.label}")
        waits: set[asyncio.Future[Any]] = {flowing, feed.ended}
        try:
            for seconds in (self._timeouts.replay_seconds, self._timeouts.silence_act_seconds):
                await asyncio.wait(waits, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
                if splice.spliced:
                    return
                if feed.ended.done():
                    break
                splice.wait_no_longer()
        finally:
            flowing.cancel()
        error = UpstreamError("read", feed.label, "brought no place to go on from")
        raise FeedFailed(error, feed.engine)

    # -- watching ----------------------------------------------------------------------------------

    async def _watch(self) -> None:
        """Until the source must be left. Raises UpstreamError when what comes is no stream."""
        feed = self.feed
        assert feed is not None, "a source is open"
        timeouts = self._timeouts
        looked = False
        downloaded = 0
        window_from, media_from = time.monotonic(), self._mux.seconds
        while True:
            await asyncio.wait({feed.ended}, timeout=timeouts.silence_look_seconds / 4)
            now = time.monotonic()
            if feed.ended.done():
                ending, reason = feed.ended.result()
                return self._must_go(feed, f"the source ended ({reason or ending.value})")
            self._note_progress()
            self._check_format(feed, now)
            if self._spare is not None and (self._spare.gone or now >= self._spare_until):
                self._leave(self._spare)  # ours was not cut: the slot is somebody else's
                self._spare = None
            window = now - window_from
            if window >= 2 * timeouts.silence_act_seconds:
                media = self._mux.seconds - media_from
                if self._mux.seconds > 0 and media < window * _STARVED_SHARE:
                    feed.gone = True
                    return self._must_go(feed, f"only {media:.1f} s of media in {window:.0f} s")
                window_from, media_from = now, self._mux.seconds
            silence = now - feed.last_data_at
            if silence < timeouts.silence_look_seconds:
                looked = False
                continue
            if not looked:
                looked = True
                downloaded = feed.stat.downloaded or 0
                look = asyncio.create_task(feed.look(), name=f"look at {feed.label}")
                waits: set[asyncio.Future[Any]] = {look, feed.ended}
                await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
                if feed.ended.done():
                    continue
            if feed.gone:
                return self._must_go(feed, "silent, and its session is gone")
            if silence >= timeouts.silence_act_seconds:
                loads = (feed.stat.downloaded or 0) > downloaded
                feed.gone = not loads  # else the same URL would stay as silent
                return self._must_go(
                    feed, f"silent for {silence:.1f} s{', though it loads' if loads else ''}"
                )

    def _must_go(self, feed: Feed, why: str) -> None:
        self.last_error = f"{feed.label}: {why}"

    def _check_format(self, feed: Feed, now: float) -> None:
        """Before anybody could be let in: bytes that will never be a stream are a failure with a
        reason, not a long start.
        """
        mux = self._mux
        if mux.joinable or mux.viewers or self.first_data_at is None:
            return
        wait = self._timeouts.random_access_wait_seconds
        if not mux.bytes_emitted and (
            mux.bytes_in >= _NO_STREAM_BYTES or now - self.first_data_at >= wait
        ):
            raise UpstreamError("read", feed.label, "what comes is no MPEG transport stream")
        if now - self.first_data_at >= 2 * wait:
            raise UpstreamError("read", feed.label, "nothing in it that a decoder could start with")

    def _note_progress(self) -> None:
        """Once a recovered source has brought some seconds of media, the ladder is as good as
        new.
        """
        if (
            self._deadline is not None
            and self._mux.seconds - self._proof_from >= _PROOF_SECONDS
            and time.monotonic() - self._lost_at >= _PROOF_SECONDS  # a file again and again is none
        ):
            self._deadline = None
            self._pauses = iter(_BACK_OFF)
            self._avoid.clear()

    # -- recovering --------------------------------------------------------------------------------

    async def _recover(self) -> None:
        """Climb the ladder. Raises UpstreamError, the last failure, at the end of its time."""
        self.recoveries += 1
        logger.warning("channel %s: %s", self._owner.label, self.last_error)
        self.on_step("lost", self.last_error or "")
        self._owner.supply_lost()
        feed, self.feed = self.feed, None
        assert feed is not None, "a source was open"
        first = self._deadline is None
        if first:
            self._deadline = time.monotonic() + self._timeouts.recover_seconds
            self._proof_from = self._mux.seconds
        self._lost_at = time.monotonic()
        spare, self._spare = self._spare, None
        if spare is not None:
            self._leave(feed)
            feed = spare
        if (first or spare is not None) and not feed.gone and await self._reopen(feed):
            return
        self._leave(feed)
        if not first:
            if feed.engine is not None:
                self._avoid.append(feed.engine)
            await self._pause(None)  # what was opened brought nothing: not at once again
        await self._climb()

    async def _reopen(self, feed: Feed) -> bool:
        """The same URL once."""
        self.feed = feed
        self.opens += 1
        self.on_step("same url", feed.label)
        self._steps["same url"] += 1
        patience = self._timeouts.silence_act_seconds
        try:
            await self._read(feed, (patience, patience))
        except UpstreamError as error:
            self.last_error = error.reason
            self.on_step("failed", error.reason)
            self.feed = None
            return False
        self._came_back(feed)
        return True

    async def _climb(self, order: Sequence[Source] | None = None) -> None:
        """New session, next engine, next source; then a pause and again, best first. `order`: that
        of the first round.
        """
        last: UpstreamError | None = None
        while True:
            for source in self._sources if order is None else order:
                while source in self._sources:  # others may have been named meanwhile
                    left = self._time_left(last)
                    seconds, most = self._start_patience()
                    try:
                        await self._open(source, self._avoid, (min(seconds, left), min(most, left)))
                        assert self.feed is not None, "open"
                        self._came_back(self.feed)
                        return
                    except NoEngineLeft as error:
                        if error.full and await self._owner.make_room():
                            continue
                        last = last or error
                        break
                    except FeedFailed as error:
                        last = error
                        self.last_error = error.reason
                        if error.engine is None:
                            break
                        self._avoid.append(error.engine)
                self._avoid.clear()  # an engine that failed one source may have the next
            order = None
            await self._pause(last)

    async def _pause(self, last: UpstreamError | None) -> None:
        """Longer each time, and never in step with the channels that fell with this one."""
        self._steps["pause"] += 1
        seconds = next(self._pauses, _BACK_OFF[-1]) * random.uniform(0.8, 1.2)
        await asyncio.sleep(min(seconds, self._time_left(last)))

    def _time_left(self, last: UpstreamError | None) -> float:
        assert self._deadline is not None, "a recovery is under way"
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise last or UpstreamTimeout(
                "read", self._owner.label, self.last_error or "no source came back in time"
            )
        return left
