"""What is on air, as it is told again and again: what changed since the last time, and totals.

Owns: which numbers of a channel, a film or an engine are worth telling, how coarse they are, and
what two looks differ in. Must not know: who is told, over what.

A look costs the same however many watch: viewers are counted, not looked at.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from operator import attrgetter
from typing import Any, Final, NamedTuple, Protocol

from rawstream.channels import ChannelSnapshot
from rawstream.codes import told
from rawstream.engine_client import Engine
from rawstream.engine_roster import EngineEntry, EngineRoster
from rawstream.film_viewer import FilmViewerSnapshot
from rawstream.films import FilmSnapshot
from rawstream.hub import ChannelHub
from rawstream.viewer import ViewerSnapshot

Fields = Mapping[str, Any]
_CHANNEL: Final = (
    *("key", "name", "content", "infohash", "state", "source", "engine", "peers", "speed_down"),
    *("speed_up", "engine_status", "held", "viewer_count", "channel_ids", "opens", "recoveries"),
    *("jumps", "last_error", "codecs"),
)
_FILM: Final = (
    *("key", "name", "source", "engine", "infohash", "state", "length", "peers", "speed_down"),
    *("opens", "recoveries", "last_error", "held"),
)
_values_of_channel = attrgetter(*_CHANNEL)
_values_of_film = attrgetter(*_FILM)
_BIT_RATE_DIGITS: Final = -5  # a bit rate that moves by less than 0.1 Mbit/s has not changed


class Connections(Protocol):
    @property
    def connections(self) -> Collection[object]: ...


@dataclass(frozen=True, slots=True)
class EngineView:
    """An engine. `state`: up, down, unknown (not asked yet), draining. `configured`: it is named
    by the configuration. `capacity`, `sessions`, `starting`: in channels. `code`, `values`: of
    `last_error` (`codes.told`).
    """

    id: int
    url: str
    state: str
    draining: bool
    configured: bool
    version: str | None
    sessions: int
    starting: int
    capacity: int
    starts: int
    failures: int
    last_error: str | None
    code: str = ""
    values: Mapping[str, str] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """What people call it."""
        return self.url


@dataclass(frozen=True, slots=True)
class LiveTotals:
    """All channels and films together. Rates are those of the last seconds."""

    viewers: int
    held: int
    channels: int
    films: int
    bits_in_per_second: int
    bits_out_per_second: int
    uptime_seconds: int
    connections: int


class Look(NamedTuple):
    """All that may be told, by key or number."""

    channels: Mapping[str, Fields]
    films: Mapping[str, Fields]
    engines: Mapping[int, EngineView]
    totals: LiveTotals


class Change(NamedTuple):
    """What two looks differ in. `channels`: new ones whole, of the others what is new. `films`,
    `engines`: those that are not as they were. `gone`: keys; `engines_gone`: numbers.
    """

    channels: list[Fields]
    films: list[Fields]
    gone: list[str]
    totals: LiveTotals | None
    engines: list[EngineView]
    engines_gone: list[int]


class Watched(NamedTuple):
    """`kind`: channels or films."""

    kind: str
    viewers: Sequence[ViewerSnapshot] | Sequence[FilmViewerSnapshot]


class OnAir:
    """Looks at the hub. `started_at`: on the clock of `time.monotonic`."""

    def __init__(
        self,
        hub: ChannelHub,
        roster: EngineRoster,
        server: Connections,
        *,
        started_at: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._hub = hub
        self._roster = roster
        self._server = server
        self._started_at = started_at
        self._clock = clock

    def look(self) -> Look:
        """At this moment."""
        now = self._clock()
        channels = self._hub.snapshots(now, kernel=False, viewers=False)
        films: dict[str, Fields] = {}
        for film in self._hub.films.snapshot(now):
            films[film.key] = _film(film)  # of one that is read from two sources the last
        return Look({c.key: _channel(c) for c in channels}, films, self._engines(), self.totals())

    def _engines(self) -> dict[int, EngineView]:
        return {view.id: view for view in self.engines()}

    def engines(self) -> list[EngineView]:
        """Those that are used."""
        return [
            engine_view(entry, engine, configured=self._roster.is_configured(entry))
            for entry, engine in self._roster.all()
        ]

    def totals(self) -> LiveTotals:
        """At this moment."""
        found = self._hub.totals()
        return LiveTotals(
            found.viewers,
            found.held,
            found.channels,
            found.films,
            round(found.bits_in_per_second),
            round(found.bits_out_per_second),
            int(self._clock() - self._started_at),
            len(self._server.connections),
        )

    def channel(self, key: str) -> ChannelSnapshot | None:
        """All of one channel."""
        channel = self._hub.on_air(key)
        return channel.snapshot(self._clock()) if channel is not None else None

    def film(self, key: str) -> FilmSnapshot | None:
        """All of one film, from the source it was opened from last."""
        films = [film for film in self._hub.films.snapshot(self._clock()) if film.key == key]
        return films[-1] if films else None

    def viewers_of(self, key: str) -> Watched | None:
        """Who watches a channel or a film; None if it is not on air. Two system calls for each."""
        channel = self._hub.on_air(key)
        if channel is not None:
            return Watched("channels", channel.viewer_snapshots(self._clock()))
        film = self.film(key)
        return Watched("films", film.viewers) if film is not None else None

    def viewer_count(self, key: str) -> int:
        """How many these are."""
        channel = self._hub.on_air(key)
        return channel.viewers if channel is not None else 0


def engine_view(entry: EngineEntry, engine: Engine, *, configured: bool) -> EngineView:
    shown = engine.snapshot()
    return EngineView(
        entry.number,
        shown.url,
        shown.state,
        entry.draining,
        configured,
        shown.version,
        shown.sessions,
        shown.starting,
        shown.capacity,
        shown.starts,
        shown.failures,
        shown.last_error,
        *told(shown.last_error or ""),
    )


def _channel(channel: ChannelSnapshot) -> Fields:
    found = dict(zip(_CHANNEL, _values_of_channel(channel), strict=True))
    found["bitrate"] = round(channel.bitrate, _BIT_RATE_DIGITS)
    found["state_seconds"] = round(channel.state_seconds)
    return found


def _film(film: FilmSnapshot) -> Fields:
    found = dict(zip(_FILM, _values_of_film(film), strict=True))
    found["viewer_count"] = len(film.viewers)
    return found


def difference(before: Look, after: Look) -> Change:
    """What is new. How long a state lasts is told with what else has changed, as it always does."""
    channels: list[Fields] = []
    for key, now in after.channels.items():
        then = before.channels.get(key)
        if then is None:
            channels.append(now)
            continue
        news = {name: value for name, value in now.items() if then[name] != value}
        if news.keys() - {"state_seconds"}:
            channels.append({"key": key, "state_seconds": now["state_seconds"], **news})
    films = [film for key, film in after.films.items() if before.films.get(key) != film]
    gone = [key for key in before.channels if key not in after.channels]
    gone += [key for key in before.films if key not in after.films]
    totals = (
        after.totals if _without_seconds(before.totals) != _without_seconds(after.totals) else None
    )
    engines = [one for number, one in after.engines.items() if before.engines.get(number) != one]
    engines_gone = [number for number in before.engines if number not in after.engines]
    return Change(channels, films, gone, totals, engines, engines_gone)


def _without_seconds(totals: LiveTotals) -> LiveTotals:
    """That time passes is no news, but for a minute."""
    return replace(totals, uptime_seconds=totals.uptime_seconds // 60)
