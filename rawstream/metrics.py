"""The numbers for Prometheus: one collector that draws a snapshot when it is asked.

Owns: metric names, units, labels. Must not know: how the numbers come about; nobody pushes anything
here.

Names begin with `rawstream_`, carry their base unit, and end in `_total` when they only grow.
Labels are the channel's key and the engine's address, bounded in number by `limits.channels` and
the configuration; viewers get no label, or one busy evening would fill a time series database.
"""

from __future__ import annotations

import time
import zlib
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence, Sized
from typing import Any, NamedTuple, Protocol, TypeVar

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client import exposition as text_format
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
)
from prometheus_client.metrics_core import Metric
from prometheus_client.openmetrics import exposition as openmetrics
from prometheus_client.registry import Collector

from rawstream import __version__
from rawstream.channels import ChannelSnapshot
from rawstream.connection import Exchange
from rawstream.engine_client import EngineSnapshot
from rawstream.http1 import Request, Response
from rawstream.hub import ChannelHub, HubSnapshot
from rawstream.tally import Tally

_LABEL_CHARACTERS = 120
_ENGINE_SPEED_BYTES = 1000  # speed_down and speed_up come in KB/s (reference §3)

_CHANNEL_STATES = ("idle", "starting", "live", "recovering", "lingering", "stopping", "failed")
_ENGINE_STATES = ("up", "down", "unknown", "draining")

_Family = type[CounterMetricFamily] | type[GaugeMetricFamily]


class _Row(NamedTuple):
    """One metric: how it is read off an object. A None leaves the sample out."""

    family: _Family
    name: str
    help: str
    read: Callable[[Any], float | None]


_COUNTER, _GAUGE = CounterMetricFamily, GaugeMetricFamily


def _bytes_per_second(kilobytes: int | None) -> float | None:
    return None if kilobytes is None else kilobytes * _ENGINE_SPEED_BYTES


def _sum(channels: Sequence[ChannelSnapshot], name: str) -> int | None:
    """All together, of those of whom something is known."""
    known = [value for one in channels if (value := getattr(one, name)) is not None]
    return sum(known) if known else None


def _most_behind(channel: ChannelSnapshot) -> float | None:
    return max((viewer.seconds_behind for viewer in channel.viewers), default=None)


def _hls_watchers(channel: ChannelSnapshot) -> float:
    return sum(viewer.state == "hls" for viewer in channel.viewers)


_HUB_ROWS = (
    _Row(
        _GAUGE, "rawstream_channels", "Channels on air or on their way", lambda h: len(h.channels)
    ),
    _Row(_GAUGE, "rawstream_viewers", "Viewers who get a stream", lambda h: h.viewers),
    _Row(
        _GAUGE, "rawstream_held_viewers", "Viewers who wait for a first picture", lambda h: h.held
    ),
    _Row(_GAUGE, "rawstream_films", "Films that are open", lambda h: len(h.films)),
    _Row(
        _GAUGE,
        "rawstream_film_viewers",
        "Those of the viewers who watch a film",
        lambda h: sum(len(film.viewers) for film in h.films),
    ),
    _Row(_COUNTER, "rawstream_received_bytes", "Read from sources", lambda h: h.bytes_in),
    _Row(_COUNTER, "rawstream_sent_bytes", "Stream bytes handed to viewers", lambda h: h.bytes_out),
    _Row(
        _COUNTER, "rawstream_sessions_opened", "Engine sessions opened", lambda h: h.sessions_opened
    ),
    _Row(
        _COUNTER,
        "rawstream_sessions_stopped",
        "Engine sessions stopped",
        lambda h: h.sessions_stopped,
    ),
    _Row(_COUNTER, "rawstream_channel_failures", "Channels that failed", lambda h: h.failures),
)

_SERVER_ROWS = (
    _Row(_GAUGE, "rawstream_connections", "Open connections", lambda s: len(s.connections)),
    _Row(_COUNTER, "rawstream_connections_accepted", "Connections accepted", lambda s: s.accepted),
    _Row(_COUNTER, "rawstream_connections_shed", "Connections turned away", lambda s: s.shed),
    _Row(_COUNTER, "rawstream_requests", "Requests read", lambda s: s.requests),
    _Row(_COUNTER, "rawstream_bad_requests", "Requests refused as bad", lambda s: s.bad_requests),
)

_ACCOUNT_ROWS = (
    _Row(_COUNTER, "rawstream_logins_refused", "Wrong passwords", lambda a: a.logins_refused),
    _Row(_COUNTER, "rawstream_logins_throttled", "Not looked at", lambda a: a.logins_throttled),
    _Row(_COUNTER, "rawstream_players_taken_over", "Cut for newer ones", lambda a: a.taken_over),
)

_CHANNEL_ROWS = (
    _Row(_GAUGE, "rawstream_channel_viewers", "Viewers of the channel", lambda c: len(c.viewers)),
    _Row(_GAUGE, "rawstream_channel_held_viewers", "Viewers held back", lambda c: c.held),
    _Row(
        _GAUGE,
        "rawstream_channel_bytes_per_second",
        "The stream's own rate",
        lambda c: c.bitrate / 8,
    ),
    _Row(
        _GAUGE, "rawstream_channel_state_seconds", "In this state since", lambda c: c.state_seconds
    ),
    _Row(_GAUGE, "rawstream_channel_most_behind_seconds", "The viewer most behind", _most_behind),
    _Row(_GAUGE, "rawstream_channel_peers", "Peers, says the engine", lambda c: c.peers),
    _Row(
        _GAUGE,
        "rawstream_channel_download_bytes_per_second",
        "From the swarm, says the engine",
        lambda c: _bytes_per_second(c.speed_down),
    ),
    _Row(
        _GAUGE,
        "rawstream_channel_upload_bytes_per_second",
        "To the swarm, says the engine",
        lambda c: _bytes_per_second(c.speed_up),
    ),
    _Row(_GAUGE, "rawstream_channel_ring_bytes", "Kept for joins", lambda c: c.ring_bytes),
    _Row(_GAUGE, "rawstream_channel_ring_seconds", "Kept for joins", lambda c: c.ring_seconds),
    _Row(_GAUGE, "rawstream_channel_hls_bytes", "Kept as HLS segments", lambda c: c.hls_bytes),
    _Row(_GAUGE, "rawstream_channel_hls_watchers", "Viewers by HLS", _hls_watchers),
    _Row(
        _GAUGE,
        "rawstream_channel_batch_window_seconds",
        "How long packets are gathered before a write",
        lambda c: c.batch_window_seconds,
    ),
    _Row(_COUNTER, "rawstream_channel_received_bytes", "Read from sources", lambda c: c.bytes_in),
    _Row(_COUNTER, "rawstream_channel_sent_bytes", "Handed to viewers", lambda c: c.bytes_out),
    _Row(_COUNTER, "rawstream_channel_opens", "Sources opened", lambda c: c.opens),
    _Row(
        _COUNTER, "rawstream_channel_recoveries", "Sources replaced on air", lambda c: c.recoveries
    ),
    _Row(_COUNTER, "rawstream_channel_jumps", "Viewers moved on who fell out", lambda c: c.jumps),
    _Row(
        _COUNTER,
        "rawstream_channel_stalled_viewers",
        "Viewers cut off who took nothing",
        lambda c: c.stalled_viewers,
    ),
    _Row(_COUNTER, "rawstream_channel_resyncs", "Packet boundaries lost", lambda c: c.resyncs),
)

_ENGINE_ROWS = (
    _Row(_GAUGE, "rawstream_engine_sessions", "Sessions open on the engine", lambda e: e.sessions),
    _Row(_GAUGE, "rawstream_engine_starting", "Sessions being opened", lambda e: e.starting),
    _Row(_GAUGE, "rawstream_engine_capacity", "Sessions it may have", lambda e: e.capacity),
    _Row(_COUNTER, "rawstream_engine_starts", "Starts asked of the engine", lambda e: e.starts),
    _Row(_COUNTER, "rawstream_engine_failures", "Starts that failed", lambda e: e.failures),
    _Row(_GAUGE, "rawstream_engine_barren_starts", "In a row without a byte", lambda e: e.barren),
    _Row(_GAUGE, "rawstream_engine_aside", "1 while others go first", lambda e: float(e.aside)),
)

# what the engine says of its sessions, all of them together
_ENGINE_STAT_ROWS = (
    _Row(_GAUGE, "rawstream_engine_peers", "Peers of its sessions", lambda s: _sum(s, "peers")),
    _Row(
        _GAUGE,
        "rawstream_engine_download_bytes_per_second",
        "From the swarm",
        lambda s: _bytes_per_second(_sum(s, "speed_down")),
    ),
    _Row(
        _GAUGE,
        "rawstream_engine_upload_bytes_per_second",
        "To the swarm",
        lambda s: _bytes_per_second(_sum(s, "speed_up")),
    ),
)

_REFRESH_ROWS = (
    _Row(_GAUGE, "rawstream_failing_lists", "Not refreshed the last time", lambda r: r.failing),
)

_BOOK_ROWS = (
    _Row(
        _COUNTER,
        "rawstream_book_failures",
        "Rounds in which something could not be written to disk",
        lambda b: b.failures,
    ),
)


class ServerCounters(Protocol):
    """What is read off the server: its open connections, and what it has counted since it began."""

    accepted: int
    shed: int
    requests: int
    bad_requests: int

    @property
    def connections(self) -> Collection[object]:
        """The open ones."""

    @property
    def answers(self) -> Mapping[tuple[str, int], int]:
        """By route and class of status."""


class AccountCounters(Protocol):
    """What is read off the accounts; counted since they were opened."""

    @property
    def logins_refused(self) -> int: ...
    @property
    def logins_throttled(self) -> int: ...
    @property
    def taken_over(self) -> int: ...


class RefreshCounters(Protocol):
    """What is read off who refreshes lists. `results`: by kind of list and how it ended."""

    @property
    def results(self) -> Mapping[tuple[str, str], int]: ...
    @property
    def failing(self) -> int: ...


class BookCounters(Protocol):
    failures: int


class Counted(NamedTuple):
    """All that counts beside the hub and the server; what there is none of has no metrics."""

    accounts: AccountCounters | None = None
    refresher: RefreshCounters | None = None
    books: BookCounters | None = None
    listeners: Sized | None = None  # to events
    webhooks: Mapping[str, int] | None = None  # messages, by what came of them


_NOTHING = Counted()


class SnapshotCollector(Collector):
    """Turns one look at the hub and the server into metric families."""

    def __init__(
        self,
        hub: ChannelHub,
        server: ServerCounters,
        *,
        started_at: float,
        clock: Callable[[], float],
        counted: Counted = _NOTHING,
    ) -> None:
        self._hub = hub
        self._server = server
        self._counted = counted
        self._started_at = started_at
        self._clock = clock

    def describe(self) -> Iterable[Metric]:
        """Nothing: the registry would otherwise draw a snapshot only to learn the names."""
        return ()

    def collect(self) -> Iterator[Metric]:
        """All families, from one snapshot, so that the numbers of one scrape belong together."""
        snapshot: HubSnapshot = self._hub.snapshot(kernel=False)
        yield InfoMetricFamily("rawstream", "The program", {"version": __version__})
        uptime = self._clock() - self._started_at
        yield _GAUGE("rawstream_uptime_seconds", "Since the server began", uptime)
        yield from _families(_HUB_ROWS, (), [((), snapshot)])
        yield from _families(_SERVER_ROWS, (), [((), self._server)])
        yield from _answers(self._server.answers)
        yield from _tallied(self._hub.tally)
        yield from _others(self._counted)

        channels = _labelled((c.key, c) for c in snapshot.channels)
        yield _states("rawstream_channel_state", ("channel",), _CHANNEL_STATES, channels)
        yield from _families(_CHANNEL_ROWS, ("channel",), channels)

        engines = _labelled((e.url, e) for e in snapshot.engines)
        yield _states("rawstream_engine_state", ("engine",), _ENGINE_STATES, engines)
        yield from _families(_ENGINE_ROWS, ("engine",), engines)
        by_engine = [
            (label, [c for c in snapshot.channels if c.engine == engine.url])
            for label, engine in engines
        ]
        yield from _families(_ENGINE_STAT_ROWS, ("engine",), by_engine)
        info = _GAUGE("rawstream_engine_info", "What it is", labels=("engine", "version"))
        for (label,), engine in engines:
            info.add_metric((label, _printable(engine.version or "")), 1.0)
        yield info


def _answers(answers: Mapping[tuple[str, int], int]) -> Iterator[Metric]:
    """By the route as the table spells it: no path that anybody made up is a label."""
    family = _COUNTER(
        "rawstream_http_responses", "Answers by route and status", labels=("route", "status")
    )
    for (route, status), count in sorted(answers.items()):
        family.add_metric((route or "none", f"{status}xx"), count)
    yield family


def _tallied(tally: Tally) -> Iterator[Metric]:
    joins = HistogramMetricFamily(
        "rawstream_join_seconds", "From a viewer's request to his first byte", labels=("kind",)
    )
    for kind, histogram in tally.joins.items():
        joins.add_metric((kind,), histogram.cumulative(), histogram.sum)
    yield joins
    steps = _COUNTER("rawstream_ladder_steps", "Tries to get a source again", labels=("rung",))
    for rung, count in tally.steps.items():
        steps.add_metric((rung,), count)
    yield steps


def _others(counted: Counted) -> Iterator[Metric]:
    if counted.accounts is not None:
        yield from _families(_ACCOUNT_ROWS, (), [((), counted.accounts)])
    if counted.books is not None:
        yield from _families(_BOOK_ROWS, (), [((), counted.books)])
    if counted.listeners is not None:
        yield _GAUGE("rawstream_event_listeners", "Pages that listen", len(counted.listeners))
    if counted.webhooks is not None:
        told = _COUNTER("rawstream_webhook_messages", "Messages to webhooks", labels=("result",))
        for result in ("sent", "failed", "dropped"):
            told.add_metric((result,), counted.webhooks.get(result, 0))
        yield told
    if counted.refresher is not None:
        yield from _families(_REFRESH_ROWS, (), [((), counted.refresher)])
        imports = _COUNTER("rawstream_imports", "Refreshes of lists", labels=("kind", "result"))
        for labels, count in sorted(counted.refresher.results.items()):
            imports.add_metric(labels, count)
        yield imports


_Labelled = Sequence[tuple[tuple[str, ...], Any]]
_Shown = TypeVar("_Shown", ChannelSnapshot, EngineSnapshot)


def _families(rows: Sequence[_Row], labels: Sequence[str], objects: _Labelled) -> Iterator[Metric]:
    for row in rows:
        family = row.family(row.name, row.help, labels=labels)
        for values, thing in objects:
            value = row.read(thing)
            if value is not None:
                family.add_metric(values, value)
        yield family


def _states(
    name: str,
    labels: Sequence[str],
    states: Sequence[str],
    objects: Sequence[tuple[tuple[str, ...], ChannelSnapshot | EngineSnapshot]],
) -> Metric:
    """An enum as Prometheus likes it: a 1 for the state that holds and a 0 for each other."""
    family = GaugeMetricFamily(name, "1 for the state it is in", labels=(*labels, "state"))
    for values, thing in objects:
        for state in states:
            family.add_metric((*values, state), float(thing.state == state))
    return family


def _labelled(objects: Iterable[tuple[str, _Shown]]) -> list[tuple[tuple[str], _Shown]]:
    """Each object with a label of its own: printable, of bounded length, and never twice the same.

    Two samples with equal labels make Prometheus refuse the whole scrape. What had to be cut gets a
    digest, what is still the same a number. The exposition escapes quotes and backslashes.
    """
    found: dict[str, _Shown] = {}
    for text, thing in objects:
        label = _printable(text)
        if label != text:
            label += f"~{zlib.crc32(text.encode('utf-8', 'replace')):08x}"
        number, base = 1, label
        while label in found:
            number += 1
            label = f"{base}~{number}"
        found[label] = thing
    return [((label,), thing) for label, thing in found.items()]


def _printable(text: str) -> str:
    return "".join(c for c in text[:_LABEL_CHARACTERS] if c.isprintable())


class MetricsEndpoint:
    """The handler of `/metrics`, over a registry of its own."""

    __slots__ = ("registry",)

    def __init__(
        self,
        hub: ChannelHub,
        server: ServerCounters,
        *,
        started_at: float,
        clock: Callable[[], float] = time.monotonic,
        counted: Counted = _NOTHING,
    ) -> None:
        self.registry = CollectorRegistry(auto_describe=False)
        self.registry.register(
            SnapshotCollector(hub, server, started_at=started_at, clock=clock, counted=counted)
        )
        ProcessCollector(registry=self.registry)

    def metrics(self, request: Request, _exchange: Exchange) -> Response:
        """`/metrics`: OpenMetrics 1.0 for a client that names it, else the text format 0.0.4."""
        # Not the library's own negotiation: it raises for an odd version and echoes what it
        # was sent.
        headers = (("Cache-Control", "no-store"),)
        if "application/openmetrics-text" in request.headers.get("accept", "").lower():
            body = openmetrics.generate_latest(self.registry)  # type: ignore[no-untyped-call]
            return Response(200, body, openmetrics.CONTENT_TYPE_LATEST, headers)
        body = text_format.generate_latest(self.registry)
        return Response(200, body, text_format.CONTENT_TYPE_PLAIN_0_0_4, headers)
