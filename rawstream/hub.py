"""What is on air: who is let in, what is begun for him, what all of it comes to.

Owns: the channels of this process from their beginning to their end, the process-wide bounds
(channels, held viewers, memory of all rings, writes per second), what the operator does to them.
Must not know: HTTP heads, engine JSON, packets, how a content is spelled (`channel_index`).

With several processes a content's owner is a pure function of its key (design §7): `watch` is the
one door where that question will be asked.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

from rawstream.bandwidth import Bandwidth
from rawstream.channel_index import ChannelIndex, contents_of
from rawstream.channel_sources import ChannelSources
from rawstream.channel_state import ChannelState as State
from rawstream.channels import ChannelSnapshot, LiveChannel
from rawstream.config import Config
from rawstream.drain import Drain
from rawstream.engine_client import ContentRef, EngineSnapshot, EngineState
from rawstream.engine_pool import EnginePool
from rawstream.errors import ChannelUnavailable, ViewerError
from rawstream.fetch_policy import FetchPolicy
from rawstream.film_viewer import Film
from rawstream.films import Films, FilmSnapshot
from rawstream.http1 import Headers
from rawstream.journal import StopJournal
from rawstream.mux import batch_windows
from rawstream.packager import Packager, Packagers, PlaylistRequest
from rawstream.protocol import Exchange, Request, Response
from rawstream.records import Channel, ChannelSource
from rawstream.refusals import Refusals
from rawstream.sources import Source, ref_of
from rawstream.supply import LadderStep
from rawstream.tally import Tally
from rawstream.viewer import Lease, Spectator
from rawstream.waiting_room import Waiting, hold_seconds
from rawstream.watchers import RequestLease, Watcher, WatcherKey

logger = logging.getLogger(__name__)

_TICKS_PER_SWEEP = 4
_TICK_SECONDS = 0.25


@dataclass(frozen=True, slots=True)
class HubSnapshot:
    """Everything on air. Counts since the process started; `bytes_in` and `bytes_out` in bytes."""

    channels: tuple[ChannelSnapshot, ...]
    engines: tuple[EngineSnapshot, ...]
    viewers: int
    held: int
    bytes_in: int
    bytes_out: int
    sessions_opened: int
    sessions_stopped: int
    failures: int
    films: tuple[FilmSnapshot, ...] = ()


class Totals(NamedTuple):
    """What all channels and films come to, without a look at each viewer."""

    viewers: int
    held: int
    channels: int
    films: int
    bytes_in: int
    bytes_out: int
    bits_in_per_second: float
    bits_out_per_second: float


class ChannelHub:
    """All channels of this process. `own_ports()` are those we listen on: never a source."""

    def __init__(
        self, config: Config, journal: StopJournal, *, own_ports: Callable[[], Collection[int]]
    ) -> None:
        self._timeouts = config.timeouts
        self._limits = config.limits
        self.tally = Tally()
        self.pool = EnginePool(
            config.engines,
            capacity=config.engine_capacity,
            timeouts=config.timeouts,
            limits=config.limits,
            journal=journal,
        )
        self._policy = FetchPolicy(config.engines, own_ports, config.fetch_networks)
        self._sources = ChannelSources(self.pool, self._policy, config.timeouts, config.limits)
        # -- who runs what --
        self._channels = ChannelIndex(self.pool)
        self._refusals = Refusals(config.timeouts, self.pool.known_infohash)
        self._drain = Drain(self.pool, self._channels)
        self._ending: set[asyncio.Task[None]] = set()
        self._viewer_id = itertools.count(1)
        self._naming: set[asyncio.Task[None]] = set()
        self._packagers = Packagers(
            config.limits,
            config.timeouts,
            target_seconds=config.hls_target_seconds,
            watcher_ids=self._viewer_id,
            tally=self.tally,
        )
        self._tasks: list[asyncio.Task[None]] = []
        self._closing = False
        self.films = Films(
            self.pool,
            self._policy,
            config.timeouts,
            config.limits,
            make_room=self._make_room,
            on_air=lambda ref: self._channels.find(ref) is not None,
            viewer_id=self._viewer_id,
            tally=self.tally,
        )
        # -- told of what happens --
        self.ladder_listeners: list[Callable[[LadderStep], None]] = []
        self.move_listeners: list[Callable[[LiveChannel], None]] = []
        # -- bandwidth --
        self._bandwidth = Bandwidth(config.limits.bandwidth_bits_per_second)
        # -- counters of channels that are over --
        self._past_bytes_in = 0
        self._past_bytes_out = 0
        self.failures = 0

    # -- the process's life ------------------------------------------------------------------------

    async def start(self) -> None:
        """Stop what a former life left open, then begin to look after engines and channels."""
        orphans = await self.pool.stop_orphans()
        if orphans:
            logger.warning("stopping %d engine session(s) that a former run left open", orphans)
        self._tasks = [
            asyncio.create_task(self.pool.watch(), name="engine probes"),
            asyncio.create_task(self._tick_for_ever(), name="channel ticks"),
        ]

    async def close(self) -> None:
        """End every channel and wait until each engine session is stopped or its time for that is
        over.
        """
        self._closing = True
        for channel in list(self._channels):
            channel.stop()
        await self.films.close()
        if self._ending:
            await asyncio.wait(set(self._ending))
        tasks = [*self._tasks, *self._naming]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._drain.close()
        await self.pool.close()

    async def _tick_for_ever(self) -> None:
        for count in itertools.count(1):
            await asyncio.sleep(_TICK_SECONDS)
            now = time.monotonic()
            sweep = count % _TICKS_PER_SWEEP == 0
            for channel in list(self._channels):
                try:
                    channel.tick(now)
                    if sweep and channel.running:
                        channel.sweep(now)
                except Exception:  # a bug of ours in one channel is not to stop the others' clocks
                    logger.exception("channel %s: a tick failed", channel.label)
            try:
                self.films.tick(now)
                if sweep:
                    self.films.sweep(now)
            except Exception:
                logger.exception("films: a tick failed")
            if sweep:
                try:
                    self._look_at_all(now)
                except Exception:
                    logger.exception("a look at all channels failed")

    def _look_at_all(self, now: float) -> None:
        """Once a second."""
        self._share()
        self._refusals.forget(now)
        self._bandwidth.measure(now, *self._bytes())
        self._drain.look(now)

    def _share(self) -> None:
        """What all channels have in common: writes per second, and memory for rings."""
        if self._channels:
            packaged = [c.packager for c in self._channels if c.packager is not None]
            share = self._limits.rings_budget_bytes // (len(self._channels) + len(packaged))
            cap = min(self._limits.ring_cap_bytes, share)
            for packager in packaged:
                packager.cap_bytes = min(self._limits.hls_window_bytes, share)
            loads = [(c.mux.viewers, c.feeds_per_second) for c in self._channels]
            windows = batch_windows(loads, self._limits)
            for channel, window in zip(self._channels, windows, strict=True):
                channel.mux.ring.cap_bytes = cap
                channel.mux.window_seconds = window

    def set_config(self, config: Config) -> None:
        """Another bandwidth for all viewers, and length of segments; a packager keeps its own."""
        self._packagers.target_seconds = config.hls_target_seconds
        self._bandwidth.cap_bits_per_second = config.limits.bandwidth_bits_per_second

    def _bytes(self) -> tuple[int, int]:
        """In and out, since the process started."""
        came = sum(channel.mux.bytes_in for channel in self._channels) + self.films.bytes_in
        went = sum(channel.bytes_out for channel in self._channels) + self.films.bytes_out
        return self._past_bytes_in + came, self._past_bytes_out + went

    def totals(self) -> Totals:
        """At this moment; the rates are those of the last seconds."""
        return Totals(
            sum(channel.viewers for channel in self._channels) + self.films.viewers,
            sum(channel.held for channel in self._channels) + self.films.held,
            len(self._channels),
            self.films.running,
            *self._bytes(),
            self._bandwidth.bits_in_per_second,
            self._bandwidth.bits_out_per_second,
        )

    @property
    def crowded(self) -> bool:
        """Whether viewers are sent as much as they may be all together, or more."""
        return self._bandwidth.crowded

    def engines_are(self, urls: Collection[str]) -> None:
        """Where no direct source may lead."""
        self._policy.engines_are(urls)

    # -- what the operator does --------------------------------------------------------------------

    def on_air(self, key: str) -> LiveChannel | None:
        """The channel that its snapshots call so."""
        return next((c for c in self._channels if c.key == key and c.running), None)

    def stop(self, key: str) -> bool:
        """End a channel or a film; players who ask for the channel at once again are refused for
        `superseded_seconds`. Whether there was one.
        """
        channel = self.on_air(key)
        if channel is None:
            return self.films.stop(key)
        self._refusals.note_stopped(contents_of(channel), time.monotonic())
        channel.stop()
        return True

    @property
    def line_up_ids(self) -> Collection[int]:
        """The channels of the line-up whose sources are on air: see `sources_are`."""
        return self._channels.ids

    def sources_are(self, shown: Channel) -> None:
        """A channel of the line-up has these sources now: see `LiveChannel.change_ways`."""
        for channel in [one for one in self._channels if one.ways_of == shown.id and one.running]:
            before, ways = list(map(ref_of, channel.ways)), shown.sources
            now = list(map(ref_of, ways))
            if now == before:
                continue
            by_hand = shown.playlist_id is None or "sources" in shown.edited
            if by_hand:
                self._channels.rename(channel, now)
            channel.change_ways(ways, by_hand=by_hand)

    def allow(self, ref: ContentRef) -> None:
        """What the operator has stopped may be watched again."""
        self._refusals.allow(ref)

    def find_viewer(self, viewer_id: int) -> Spectator | None:
        """One who watches a channel or a film."""
        for channel in self._channels:
            spectator = channel.find_viewer(viewer_id)
            if spectator is not None:
                return spectator
        found = self.films.find_viewer(viewer_id)
        if found is None:
            return None
        viewer, _film = found
        return Spectator(viewer.address, viewer.user_agent, viewer.lease, viewer.cut)

    def send_away(self, viewer_id: int) -> bool:
        """End one viewer's stream. One without a lease is not let in again for
        `superseded_seconds`, by his address and his User-Agent. Whether there was one.
        """
        spectator = self.find_viewer(viewer_id)
        if spectator is None:
            return False
        if spectator.lease is None:
            address, agent, now = spectator.address, spectator.user_agent, time.monotonic()
            self._refusals.note_sent_away(address, agent, self._watched_by(viewer_id), now)
        spectator.cut()
        return True

    def _watched_by(self, viewer_id: int) -> frozenset[ContentRef]:
        for channel in self._channels:
            if channel.find_viewer(viewer_id) is not None:
                return contents_of(channel)
        found = self.films.find_viewer(viewer_id)
        return frozenset(map(ref_of, found[1].ways)) if found is not None else frozenset()

    # -- viewers -----------------------------------------------------------------------------------

    def watch(
        self,
        ref: ContentRef,
        exchange: Exchange,
        *,
        headers: Headers = (),
        name: str = "",
        account: str | None = None,
        lease: Lease | None = None,
        ways: Sequence[ChannelSource] = (),
        channel_id: int = 0,
    ) -> None:
        """Answer this exchange, sooner or later: the content's stream with these headers, or 503
        and why.

        `ways`: all sources of a channel of the line-up, best first; `ref` is then the first, and
        `channel_id` its number. A `lease` is told of the stream's beginning and, unless this
        raises, of its end.

        Raises ChannelUnavailable at once for a content that has just failed, and when we are full;
        whether we are `crowded` matters to those without a lease, with one it was asked before.
        """
        self._check_room(ref, exchange.request, leased=lease is not None)
        deadline = time.monotonic() + hold_seconds(exchange.request, self._timeouts)
        waiting = Waiting(exchange, headers, deadline, account, lease)
        film = self.film(ref)
        if film is not None:
            self._watch_film(film, waiting)
        else:
            channel = self._admit(ref, name, ways, channel_id)
            channel.note_id(channel_id)
            channel.hold(waiting)

    def watch_playlist(
        self,
        ref: ContentRef,
        exchange: Exchange,
        key: WatcherKey,
        *,
        prefix: str = "",
        name: str = "",
        account: str | None = None,
        lease: RequestLease | None = None,
        ways: Sequence[ChannelSource] = (),
        channel_id: int = 0,
    ) -> None:
        """`watch`, for a player who asks for the HLS playlist. `prefix`: the path below which he
        finds us. `lease`: for one who is not a watcher already.
        """
        if self.film(ref) is not None:
            raise ViewerError(404, "this content is a film, and not served as HLS")
        if self.watcher(ref, key) is not None:
            channel = self._channels.find(ref, key.channel_id)  # he is no viewer more
            assert channel is not None, "he watches it"
            self._channels.add_ways(channel, ways, channel_id)
        else:
            self._check_room(ref, exchange.request, leased=lease is not None)
            channel = self._admit(ref, name, ways, channel_id)
        channel.note_id(channel_id)
        deadline = time.monotonic() + self._timeouts.hls_hold_seconds
        channel.hold_playlist(
            PlaylistRequest(
                exchange, key, prefix=prefix, account=account, lease=lease, deadline=deadline
            )
        )

    def watcher(self, ref: ContentRef, key: WatcherKey) -> Watcher | None:
        """The player, if he watches this content by HLS."""
        channel = self._channels.find(ref, key.channel_id)
        if channel is None or channel.packager is None:
            return None
        return channel.packager.watchers.get(key)

    def watches(self, ref: ContentRef, key: WatcherKey) -> bool:
        """Whether this player needs no leave to be told of the content's playlist: he watches it by
        HLS, and has not left it for another one.
        """
        channel = self._channels.find(ref, key.channel_id)
        if channel is None or channel.packager is None:
            return False
        watchers = channel.packager.watchers
        watcher = watchers.get(key)
        return watcher is not None and watchers.asked(watcher, time.monotonic())

    def packager(self, run: str) -> Packager | None:
        """The one whose segments have this in their URLs."""
        return self._packagers.find(run)

    def _check_room(self, ref: ContentRef, request: Request, *, leased: bool) -> None:
        """Raises ChannelUnavailable."""
        if self._closing:
            raise ChannelUnavailable("the server is stopping", retry_after=5)
        if leased:
            return
        if self.crowded:
            raise ChannelUnavailable("the bandwidth is used up", retry_after=10)
        agent = request.headers.get("user-agent", "")[:200]
        self._refusals.check_player(request.peer[0], agent, ref, time.monotonic())

    def _admit(
        self, ref: ContentRef, name: str, ways: Sequence[ChannelSource], channel_id: int
    ) -> LiveChannel:
        """The channel for one viewer more, begun if need be. Raises ChannelUnavailable."""
        channel = self._channels.find(ref, channel_id)
        if channel is None:
            self._refusals.check_content(ref, time.monotonic())
            if len(self._channels) >= self._limits.channels:
                raise ChannelUnavailable("too many channels are on air", retry_after=10)
        if sum(c.held for c in self._channels) >= self._limits.held_viewers:
            raise ChannelUnavailable("too many viewers are waiting for channels", retry_after=5)
        if channel is None:
            channel = self._create(ref, name, ways, channel_id)
        else:
            self._channels.add_ways(channel, ways, channel_id)
        if channel is self._channels.find(ref):
            self._channels.note_spelling(channel, ref)
        return channel

    def film(self, ref: ContentRef) -> Film | None:
        """See `Films.of_content`."""
        return self.films.of_content(ref)

    def _take_film(self, channel: LiveChannel, waiting: Sequence[Waiting]) -> None:
        """A channel is a film: who waits for it watches that, as will who asks for it next."""
        ref = channel.refs[0]
        film = Film(
            str(ref), channel.name, tuple(channel.ways) or (ChannelSource(ref.kind, ref.value),)
        )
        self.films.note_contents(channel.refs, film)
        for one in waiting:
            one.exchange.on_gone = None
            try:
                self._watch_film(film, one)
            except ViewerError as error:
                if one.lease is not None:
                    one.lease.ended()
                one.exchange.respond(Response.of_error(error))

    def _watch_film(self, film: Film, waiting: Waiting) -> None:
        self.films.watch(
            film,
            waiting.exchange,
            hold_seconds=max(0.0, waiting.deadline - time.monotonic()),
            account=waiting.account,
            lease=waiting.lease,
        )

    def watch_channel(
        self,
        channel: Channel,
        exchange: Exchange,
        *,
        headers: Headers = (),
        account: str | None = None,
        lease: Lease | None = None,
    ) -> None:
        """`watch`, for a channel of the line-up: all its sources take their turn. Raises
        ChannelUnavailable, for one without a source as well.
        """
        self.watch(
            first_ref(channel),
            exchange,
            headers=headers,
            name=channel.name,
            account=account,
            lease=lease,
            ways=channel.sources,
            channel_id=channel.id,
        )

    def _create(
        self, ref: ContentRef, name: str, ways: Sequence[ChannelSource], channel_id: int
    ) -> LiveChannel:
        infohash = self.pool.known_infohash(ref)
        channel = LiveChannel(
            infohash or str(ref),
            name=name,
            refs=[ref],
            timeouts=self._timeouts,
            limits=self._limits,
            ways=ways,
            ways_of=channel_id if ways else 0,
            sources=self._sources_of,
            identify=self._identify,
            claim=self._channels.claim,
            make_room=self._make_room,
            on_over=self._over,
            package=self._packagers.package,
            viewer_id=self._viewer_id,
            tally=self.tally,
        )
        channel.on_film = partial(self._take_film, channel)
        channel.on_ladder = self._tell_ladder
        channel.on_moved = self._tell_moved
        self._channels.add(channel)
        channel.start()
        return channel

    # -- what a channel asks of its owner ----------------------------------------------------------

    def _sources_of(self, channel: LiveChannel) -> Sequence[Source]:
        return self._sources.made(channel.refs[0], channel.infohash, channel.ways)

    async def _identify(self, channel: LiveChannel) -> None:
        """Learn the canonical infohash without opening a session; not knowing is no failure."""
        ref = channel.refs[0]
        if ref.kind == "direct":
            return
        infohash = await self.pool.resolve(ref)
        if infohash is not None:
            self._channels.claim(channel, infohash)
            if not channel.name:  # a start does not wait for it: only people read it
                naming = asyncio.create_task(self._name(channel, infohash), name=f"name {infohash}")
                self._naming.add(naming)
                naming.add_done_callback(self._naming.discard)

    async def _name(self, channel: LiveChannel, infohash: str) -> None:
        channel.name = await self.pool.name_of(infohash)

    async def _make_room(self, channel: LiveChannel | None = None) -> bool:
        """A channel or a film that only lingers gives way to one that somebody wants to see; the
        longest lingering first.
        """
        lingering = [
            (other.since, other.stop)
            for other in self._channels
            if other.state is State.LINGERING and other.engine is not None and other is not channel
        ]
        lingering += self.films.lingering()
        if not lingering:
            return False
        _since, stop = min(lingering, key=lambda found: found[0])
        await asyncio.wait({stop()})
        return True

    def _tell_ladder(self, step: LadderStep) -> None:
        for listener in self.ladder_listeners:
            listener(step)

    def _tell_moved(self, channel: LiveChannel) -> None:
        for listener in self.move_listeners:
            try:
                listener(channel)
            except Exception:  # no channel is to suffer for who only wants to know
                logger.exception("channel %s: its state could not be told", channel.label)

    def _over(self, channel: LiveChannel, failure: str | None) -> None:
        self._channels.remove(channel)
        self._drain.forget(channel)
        self._past_bytes_in += channel.mux.bytes_in
        self._past_bytes_out += channel.bytes_out
        ending = channel.stop()
        self._ending.add(ending)
        ending.add_done_callback(self._ending.discard)
        if failure is not None:
            self.failures += 1
            self._refusals.note_failed(contents_of(channel), failure, time.monotonic())

    # -- snapshots ---------------------------------------------------------------------------------

    def snapshot(self, now: float | None = None, *, kernel: bool = True) -> HubSnapshot:
        """Everything the operator may see, at this moment. `now` is on the clock of
        `time.monotonic`.
        """
        at = time.monotonic() if now is None else now
        channels = self.snapshots(at, kernel=kernel)
        films = self.films.snapshot(at)
        return HubSnapshot(
            channels=channels,
            engines=tuple(engine.snapshot() for engine in self.pool.engines),
            viewers=sum(len(channel.viewers) for channel in channels)
            + sum(len(film.viewers) for film in films),
            held=sum(channel.held for channel in channels) + sum(film.held for film in films),
            bytes_in=self._past_bytes_in
            + self.films.bytes_in
            + sum(channel.bytes_in for channel in channels),
            bytes_out=self._past_bytes_out
            + self.films.bytes_out
            + sum(channel.bytes_out for channel in channels),
            sessions_opened=self.pool.sessions_opened,
            sessions_stopped=self.pool.sessions_stopped,
            failures=self.failures + self.films.failures,
            films=films,
        )

    def snapshots(
        self, now: float, *, kernel: bool = True, viewers: bool = True
    ) -> tuple[ChannelSnapshot, ...]:
        """Every channel; see `LiveChannel.snapshot`."""
        return tuple(
            channel.snapshot(now, kernel=kernel, viewers=viewers) for channel in self._channels
        )

    @property
    def running(self) -> int:
        """How many channels and films are on air or on their way there."""
        return sum(channel.running for channel in self._channels) + self.films.running

    def find(self, ref: ContentRef) -> ChannelSnapshot | None:
        """The channel that runs this content, if one does."""
        channel = self._channels.find(ref)
        return channel.snapshot(time.monotonic()) if channel is not None else None

    def find_film(self, ref: ContentRef) -> FilmSnapshot | None:
        """The film that this content is, while somebody watches it or it lingers."""
        film = self.film(ref)
        if film is None:
            return None
        found = [shown for shown in self.films.snapshot(time.monotonic()) if shown.key == film.key]
        return found[0] if found else None

    def ready(self) -> tuple[bool, str]:
        """Whether a viewer who came now could be served: an engine answers, or has not been asked
        yet.
        """
        if self._closing:
            return False, "stopping"
        states = [engine.state for engine in self.pool.engines]
        if states and all(state is EngineState.DOWN for state in states):
            return False, "no engine answers"
        return True, "ready"


def first_ref(channel: Channel) -> ContentRef:
    """What a channel of the line-up is known by: its first source. Raises ChannelUnavailable."""
    if not channel.sources:
        raise ChannelUnavailable("this channel has no source")
    return ref_of(channel.sources[0])
