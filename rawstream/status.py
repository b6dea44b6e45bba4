"""What is on air and who watches, for people with curl, for scripts, and for probes.

Owns: the text table and the JSON of `/status`, the probes' answers, and the cleaning of strings
that strangers chose before they reach a terminal. Must not know: how a channel or a connection
works; it draws snapshots.
"""

from __future__ import annotations

import re
import time
import unicodedata
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import urlsplit

import orjson

from rawstream import __version__
from rawstream.channels import ChannelSnapshot
from rawstream.connection import Exchange
from rawstream.engine_client import EngineSnapshot
from rawstream.film_viewer import FilmViewerSnapshot
from rawstream.films import FilmSnapshot
from rawstream.http1 import Request, Response
from rawstream.hub import ChannelHub, HubSnapshot
from rawstream.metrics import ServerCounters
from rawstream.viewer import ViewerSnapshot

WIDTH = 100
# A thousand rows are not readable at a glance; the JSON has them all.
_VIEWERS_SHOWN = 40

_NO_STORE = (("Cache-Control", "no-store"),)
_JSON = "application/json"
# C1 controls and DEL, which JSON allows bare but some terminals obey. The byte C2 only ever begins
# a character.
_BARE_CONTROL = re.compile(rb"\xc2([\x80-\x9f])|\x7f")


class StatusEndpoints:
    """The handlers of `/status`, `/healthz` and `/readyz`."""

    __slots__ = ("_clock", "_hub", "_server", "_started_at")

    def __init__(
        self,
        hub: ChannelHub,
        server: ServerCounters,
        *,
        started_at: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._hub = hub
        self._server = server
        self._started_at = started_at
        self._clock = clock

    def status(self, request: Request, _exchange: Exchange) -> Response:
        """`/status`: JSON for `?format=json` or an Accept that names it, else the text table."""
        snapshot = self._hub.snapshot()
        uptime = self._clock() - self._started_at
        wanted = request.query.get("format", "")
        if wanted == "json" or (not wanted and _JSON in request.headers.get("accept", "").lower()):
            body = status_json(snapshot, uptime, connections=len(self._server.connections))
            return Response(200, body, _JSON, _NO_STORE)
        text = status_text(snapshot, uptime)
        return Response(200, text.encode(), headers=_NO_STORE)

    def healthz(self, _request: Request, _exchange: Exchange) -> Response:
        """`/healthz`: the loop turns. Nothing else is said, anyone may ask."""
        return Response(200, b"ok\n", headers=_NO_STORE)

    def readyz(self, _request: Request, _exchange: Exchange) -> Response:
        """`/readyz`: 200 when a viewer who came now could be served, else 503, and no reason."""
        ready, _reason = self._hub.ready()
        if ready:
            return Response(200, b"ready\n", headers=_NO_STORE)
        return Response(503, b"not ready\n", headers=_NO_STORE)


# -- JSON --


def status_json(snapshot: HubSnapshot, uptime: float, *, connections: int) -> bytes:
    """The snapshots as they are, after the totals of the text's head (docs/server-behavior.md)."""
    bits_in, bits_out = _rates(snapshot)
    document: dict[str, Any] = {
        "version": __version__,
        "uptime_seconds": round(uptime, 1),
        "connections": connections,
        "bits_in_per_second": round(bits_in),
        "bits_out_per_second": round(bits_out),
        "viewers": snapshot.viewers,
        "held": snapshot.held,
        "bytes_in": snapshot.bytes_in,
        "bytes_out": snapshot.bytes_out,
        "sessions_opened": snapshot.sessions_opened,
        "sessions_stopped": snapshot.sessions_stopped,
        "failures": snapshot.failures,
        "engines": snapshot.engines,
        "channels": snapshot.channels,
        "films": snapshot.films,
    }
    body = orjson.dumps(document, option=orjson.OPT_APPEND_NEWLINE)
    return _BARE_CONTROL.sub(lambda found: b"\\u00%02x" % (found[1] or b"\x7f")[0], body)


def _rates(snapshot: HubSnapshot) -> tuple[float, float]:
    """Bits per second in and out, as the streams' own rates make them due."""
    bits_in = sum(channel.bitrate for channel in snapshot.channels)
    bits_out = sum(
        channel.bitrate * sum(viewer.state != "paused" for viewer in channel.viewers)
        for channel in snapshot.channels
    )
    # a film has no rate of its own: what is taken of it is what it is
    of_films = sum(viewer.bits_per_second for film in snapshot.films for viewer in film.viewers)
    bits_in, bits_out = bits_in + of_films, bits_out + of_films
    return bits_in, bits_out


# -- text --


def status_text(snapshot: HubSnapshot, uptime: float) -> str:
    """The table for a terminal, at most `WIDTH` columns, ending in a newline."""
    return "".join(f"{fit(line, WIDTH).rstrip()}\n" for line in _lines(snapshot, uptime))


def _lines(snapshot: HubSnapshot, uptime: float) -> Iterator[str]:
    bits_in, bits_out = _rates(snapshot)
    waiting = f" (+{snapshot.held} waiting)" if snapshot.held else ""
    yield " · ".join(
        (
            f"rawstream {__version__}",
            f"up {duration(uptime)}",
            _count(len(snapshot.channels), "channel"),
            *([_count(len(snapshot.films), "film")] if snapshot.films else []),
            _count(snapshot.viewers, "viewer") + waiting,
            f"in {bit_rate(bits_in)}",
            f"out {bit_rate(bits_out)}",
        )
    )
    yield ""
    yield "ENGINE                                  STATE     VERSION       CHANNELS  STARTS  FAILED"
    for engine in snapshot.engines:
        yield from _engine_lines(engine)
    if not snapshot.engines:
        yield "none configured"
    yield ""
    yield f"{'CHANNEL':41}{'STATE':18}{'SOURCE':21}{'MBIT/S':>6}{'PEERS':>6}{'VIEWERS':>8}"
    for channel in sorted(snapshot.channels, key=lambda c: (-len(c.viewers), c.name, c.key)):
        yield from _channel_lines(channel)
    if not snapshot.channels:
        yield "nothing on air"
    if snapshot.films:
        yield ""
        yield f"{'FILM':41}{'STATE':18}{'SOURCE':21}{'SIZE':>6}{'PEERS':>6}{'VIEWERS':>8}"
    for film in sorted(snapshot.films, key=lambda f: (-len(f.viewers), f.name, f.key)):
        yield from _film_lines(film)


def _engine_lines(engine: EngineSnapshot) -> Iterator[str]:
    used = f"{engine.sessions + engine.starting} of {engine.capacity}"
    yield (
        f"{fit(engine.url, 39)} {fit(engine.state, 9)} {fit(engine.version or '-', 13)} "
        f"{used:>8}{engine.starts:>8}{engine.failures:>8}"
    )
    if engine.last_error:
        yield fit(f"  last error: {engine.last_error}", WIDTH)


def _channel_lines(channel: ChannelSnapshot) -> Iterator[str]:
    content = channel.infohash or channel.key
    name = f"{channel.name} · {content[:8]}" if channel.name else content
    state = f"{channel.state} {duration(channel.state_seconds)}"
    peers = "-" if channel.peers is None else str(channel.peers)
    viewers = str(len(channel.viewers)) + (f"+{channel.held}" if channel.held else "")
    rate = f"{channel.bitrate / 1e6:.1f}" if channel.bitrate else "-"
    yield (
        f"{fit(name, 40)} {fit(state, 17)} {fit(_short_source(channel.source), 20)} "
        f"{rate:>6}{peers:>6}{viewers:>8}"
    )
    if channel.last_error and channel.state not in ("live", "lingering"):
        yield fit(f"  {channel.last_error}", WIDTH)
    shown = sorted(channel.viewers, key=lambda v: -v.seconds_behind)[:_VIEWERS_SHOWN]
    for viewer in shown:
        yield _viewer_line(viewer)
    if len(channel.viewers) > len(shown):
        hidden = len(channel.viewers) - len(shown)
        yield f"  … and {hidden} more, all nearer to live (?format=json has them)"


def _viewer_line(viewer: ViewerSnapshot) -> str:
    address = f"[{viewer.address}]" if ":" in viewer.address else viewer.address
    jumps = "no drops" if not viewer.jumps else _count(viewer.jumps, "drop")
    state = "" if viewer.state == "playing" else viewer.state
    behind = f"{viewer.seconds_behind:.1f}s behind"
    return (
        f"  {fit(f'{address}:{viewer.port}', 24)} {fit(viewer.user_agent or '-', 21)} "
        f"{fit(state, 11)}{behind:>14} {jumps:>9}{duration(viewer.seconds):>7}"
        f"{size(viewer.bytes_sent):>9}"
    )


def _film_lines(film: FilmSnapshot) -> Iterator[str]:
    peers = "-" if film.peers is None else str(film.peers)
    viewers = str(len(film.viewers)) + (f"+{film.held}" if film.held else "")
    length = "-" if film.length is None else size(film.length)
    source = _short_source(film.engine or film.source)
    yield (
        f"{fit(film.name or film.key, 40)} {fit(film.state, 13)} {fit(source, 22)}"
        f"{length:>9}{peers:>6}{viewers:>8}"
    )
    if film.last_error and film.state == "recovering":
        yield fit(f"  {film.last_error}", WIDTH)
    for viewer in film.viewers[:_VIEWERS_SHOWN]:
        yield _film_viewer_line(viewer)
    if len(film.viewers) > _VIEWERS_SHOWN:
        hidden = len(film.viewers) - _VIEWERS_SHOWN
        yield f"  … and {hidden} more (?format=json has them)"


def _film_viewer_line(viewer: FilmViewerSnapshot) -> str:
    address = f"[{viewer.address}]" if ":" in viewer.address else viewer.address
    place = "-" if viewer.percent is None else f"at {viewer.percent:.1f}%"
    state = "" if viewer.state == "playing" else viewer.state
    return (
        f"  {fit(f'{address}:{viewer.port}', 24)} {fit(viewer.user_agent or '-', 21)} "
        f"{fit(state, 10)}{place:>10} {bit_rate(viewer.bits_per_second):>12}"
        f"{duration(viewer.seconds):>8}{size(viewer.bytes_sent):>9}"
    )


def _short_source(source: str) -> str:
    """`engine http://10.0.0.5:6878` as `10.0.0.5:6878`: the column is for telling sources apart."""
    parts = urlsplit(source.removeprefix("engine ")) if "://" in source else None
    return parts.netloc.rpartition("@")[2] if parts and parts.netloc else source or "-"


# -- words and numbers --


def clean(text: str) -> str:
    """`text` without anything a terminal would act upon: controls, bidirectional marks, line breaks
    become `?`.

    User-Agents, names and error texts come from strangers.
    """
    return "".join(character if character.isprintable() else "?" for character in text)


def fit(text: str, width: int) -> str:
    """Cleaned `text` in exactly `width` columns of a terminal: padded, or cut with an ellipsis."""
    text = clean(text[: 4 * width])
    columns = [_columns(character) for character in text]
    if sum(columns) <= width:
        return text + " " * (width - sum(columns))
    used = kept = 0
    while used + columns[kept] < width:
        used += columns[kept]
        kept += 1
    return text[:kept] + "…" + " " * (width - used - 1)


def _columns(character: str) -> int:
    if unicodedata.combining(character):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1


def duration(seconds: float) -> str:
    """A span in its two largest units at most: 42 s, 3m07s, 2h05m, 4d03h."""
    whole = max(0, int(seconds))
    if whole < 60:
        return f"{whole}s"
    for unit, below, name, lower in ((60, 3600, "m", "s"), (3600, 86_400, "h", "m")):
        if whole < below:
            return f"{whole // unit}{name}{whole % unit * 60 // unit:02}{lower}"
    return f"{whole // 86_400}d{whole % 86_400 // 3600:02}h"


def bit_rate(bits: float) -> str:
    """Bits per second with a decimal prefix: 820 kbit/s, 5.1 Mbit/s, 1.2 Gbit/s."""
    return f"{_scaled(bits)}bit/s"


def size(count: float) -> str:
    """Bytes with a decimal prefix: 512 B, 41.0 MB, 1.2 GB."""
    return f"{_scaled(count)}B"


def _scaled(value: float) -> str:
    for prefix in ("", "k", "M", "G"):
        if value < 999.95:
            return f"{value:.0f} {prefix}" if prefix in ("", "k") else f"{value:.1f} {prefix}"
        value /= 1000
    return f"{value:.1f} T"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
