"""What is on air, for operators: the picture, what may be done about it, playing it in a page.

Owns: which channel, film or viewer a request means, what is refused. Must not know: how a request
is read (`rest`), how a channel is stopped or begun anew, how events are told.
"""

from __future__ import annotations

import re
import time
from functools import partial
from typing import Final

from pydantic import Field

from rawstream.accounts import Accounts
from rawstream.ace import STREAM_CONTENT_TYPE, STREAM_HEADERS
from rawstream.api_accounts import Kicked
from rawstream.channels import ChannelSnapshot, LiveChannel
from rawstream.connection import Exchange
from rawstream.events import CONTENT_TYPE, EventBus
from rawstream.films import FilmSnapshot
from rawstream.hls_face import HlsEndpoints
from rawstream.hls_writer import CONTENT_TYPE as PLAYLIST_TYPE
from rawstream.hub import ChannelHub, first_ref
from rawstream.leases import Lease
from rawstream.on_air import EngineView, LiveTotals, OnAir
from rawstream.plays import Plays
from rawstream.records import Channel
from rawstream.rest import Call, Failed, Model, NotThere, Operation, Raw
from rawstream.stats import INTERVAL_SECONDS, Point, Stats
from rawstream.store import Store
from rawstream.vod import film_of

_TAG: Final = "live"
_NAME: Final = re.compile(r"([0-9]{1,10})\.([A-Za-z0-9]{1,8})")
_PLAYED: Final = (STREAM_CONTENT_TYPE, PLAYLIST_TYPE, "video/*", "application/octet-stream")
_FILM_HOLD_SECONDS: Final = 30.0


class LiveView(Model):
    """All that is on air. Seconds, bytes, bit/s; speeds in KB/s, as engines give them."""

    channels: list[ChannelSnapshot]
    films: list[FilmSnapshot]
    engines: list[EngineView]
    totals: LiveTotals


class StatsView(Model):
    """The last hour, the oldest point first."""

    interval_seconds: int
    points: list[Point]


class EventsQuery(Model):
    """`viewers`: keys of channels and films whose viewers are told too. `last_event_id`: as the
    header, which wins. `lately`: who has heard nothing yet is told the last steps of ladders first.
    """

    viewers: list[str] = Field(default_factory=list)
    last_event_id: str = Field(default="", max_length=100)
    lately: bool = False


class LiveOperations:
    """The handlers."""

    def __init__(
        self,
        hub: ChannelHub,
        accounts: Accounts,
        store: Store,
        hls: HlsEndpoints,
        on_air: OnAir,
        stats: Stats,
        events: EventBus,
        plays: Plays,
    ) -> None:
        self._hub = hub
        self._accounts = accounts
        self._store = store
        self._hls = hls
        self._on_air = on_air
        self._stats = stats
        self._events = events
        self._plays = plays

    def table(self) -> list[Operation]:
        """All of them."""
        one = "/live/{key}"
        again = "Players keep their connections. A channel that nobody watches ends."
        return [
            Operation(*("GET", "/live", self.live, "All that is on air", _TAG), answer=LiveView),
            Operation(
                *("GET", "/live/play/{name}", self.play, "A channel or a film, to be played", _TAG),
                answer=Raw(_PLAYED, (206, 416), plain=True),
                errors=(409, 422),
                description="`name`: a channel's id and `.ts` or `.m3u8`, a film's id and its"
                " extension. It counts in nobody's limit, and ends with the session or token.",
            ),
            Operation(
                *("GET", one, self.one, "A channel or a film that is on air", _TAG),
                answer=ChannelSnapshot | FilmSnapshot,
            ),
            Operation(
                *("POST", f"{one}/stop", self.stop, "End a channel or a film", _TAG),
                description="Whoever watches is let go. For half a minute the channel is refused to"
                " players who ask for it again.",
            ),
            Operation(
                *("POST", f"{one}/restart", self.restart, "Begin a channel's source anew", _TAG),
                errors=(409,),
                description=f"From its best source. {again}",
            ),
            Operation(
                *("POST", f"{one}/next", self.next, "Leave a channel's source for the next", _TAG),
                errors=(409,),
                description=f"Where it has one source, for another engine. {again}",
            ),
            Operation(
                *("POST", "/viewers/{id}/kick", self.kick, "End a viewer's stream", _TAG),
                answer=Kicked,
                description="He is refused the same channel for half a minute. Of an account's"
                " player all streams of this channel or film end.",
            ),
            Operation(
                *("GET", "/stats", self.stats, "The last hour", _TAG),
                answer=StatsView,
            ),
            Operation(
                *("GET", "/events", self.events, "What happens, as it happens", _TAG),
                query=EventsQuery,
                answer=Raw((CONTENT_TYPE,)),
                description="Server-sent events; docs/server-behavior.md says what is in them.",
            ),
        ]

    # -- the picture --

    async def live(self, _call: Call) -> LiveView:
        shown = self._hub.snapshot()
        return LiveView(
            channels=list(shown.channels),
            films=list(shown.films),
            engines=self._on_air.engines(),
            totals=self._on_air.totals(),
        )

    async def one(self, call: Call) -> ChannelSnapshot | FilmSnapshot:
        key = call.ids["key"]
        found = self._on_air.channel(key) or self._on_air.film(key)
        if found is None:
            raise NotThere("channel or film on air")
        return found

    async def stats(self, _call: Call) -> StatsView:
        return StatsView(interval_seconds=INTERVAL_SECONDS, points=list(self._stats.points))

    async def events(self, call: Call) -> None:
        assert call.exchange is not None, "a stream is answered to somebody"
        wanted: EventsQuery = call.query
        last_id = call.request.headers.get("last-event-id", "") or wanted.last_event_id
        if not call.exchange.gone:
            self._events.listen(
                call.exchange,
                call.operator,
                keys=wanted.viewers,
                last_id=last_id,
                lately=wanted.lately,
            )

    # -- what may be done --

    async def stop(self, call: Call) -> None:
        if not self._hub.stop(call.ids["key"]):
            raise NotThere("channel or film on air")

    async def restart(self, call: Call) -> None:
        self._channel(call).restart()

    async def next(self, call: Call) -> None:
        self._channel(call).restart(onward=True)

    def _channel(self, call: Call) -> LiveChannel:
        key = call.ids["key"]
        channel = self._hub.on_air(key)
        if channel is None:
            if self._on_air.film(key) is not None:
                raise Failed(409, "a film has a source for each viewer; it can only be stopped")
            raise NotThere("channel on air")
        return channel

    async def kick(self, call: Call) -> Kicked:
        number = call.ids["id"]
        viewer = self._hub.find_viewer(number)
        if viewer is None:
            raise NotThere("viewer")
        if isinstance(viewer.lease, Lease):
            return Kicked(streams=self._accounts.kick_stream(viewer.lease, time.monotonic()))
        return Kicked(streams=int(self._hub.send_away(number)))

    # -- playing --

    async def play(self, call: Call) -> None:
        """The exchange is answered by whoever has the stream."""
        assert call.exchange is not None, "a stream is answered to somebody"
        found = _NAME.fullmatch(call.ids["name"])
        channel = await self._store.lineup.channel(int(found[1])) if found is not None else None
        if found is None or channel is None:
            raise NotThere("channel")
        if not channel.sources:
            raise Failed(409, "this channel has no source")
        if call.exchange.gone:
            return
        if channel.kind != "live":
            self._plays.add(call.exchange, call.operator)
            self._play_film(channel, call, call.exchange)
            return
        extension = found[2].lower()
        if extension not in ("ts", "m3u8"):
            raise Failed(422, "channels are played as .ts and .m3u8")
        self._hub.allow(first_ref(channel))
        if extension == "m3u8":
            self._hls.for_operator(
                *(channel, call.operator.account, call.request, call.exchange),
                is_good=partial(self._plays.is_good, call.operator),
            )
        elif call.request.method == "HEAD":
            call.exchange.stream(STREAM_HEADERS, STREAM_CONTENT_TYPE)
        else:
            self._plays.add(call.exchange, call.operator)
            self._hub.watch_channel(
                channel,
                call.exchange,
                headers=STREAM_HEADERS,
                account=call.operator.account.username,
            )

    def _play_film(self, channel: Channel, call: Call, exchange: Exchange) -> None:
        self._hub.films.watch(
            film_of(channel),
            exchange,
            hold_seconds=_FILM_HOLD_SECONDS,
            account=call.operator.account.username,
        )
