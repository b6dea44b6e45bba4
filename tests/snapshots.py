"""A hub that shows what it is told to show, for the tests of the modules that draw snapshots."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from rawstream.channels import ChannelSnapshot
from rawstream.engine_client import ContentRef, EngineSnapshot
from rawstream.film_viewer import FilmViewerSnapshot
from rawstream.films import FilmSnapshot
from rawstream.http1 import Request
from rawstream.hub import HubSnapshot
from rawstream.tally import Tally
from rawstream.viewer import ViewerSnapshot

INFOHASH = "ab" * 20
CONTENT_ID = "c1" * 20


def get(
    target: str,
    headers: Mapping[str, str] | None = None,
    *,
    method: str = "GET",
    peer: tuple[str, int] = ("127.0.0.1", 50000),
) -> Request:
    """A request as the parser would have made it."""
    return Request(method, target, headers or {}, peer=peer)


def viewer(**changes: Any) -> ViewerSnapshot:
    values: dict[str, Any] = {
        "id": 7,
        "address": "192.168.1.20",
        "port": 50123,
        "user_agent": "VLC/3.0.24 LibVLC/3.0.24",
        "account": None,
        "state": "playing",
        "seconds": 754.0,
        "seconds_behind": 2.25,
        "bytes_sent": 412_000_000,
        "queued_bytes": 0,
        "jumps": 0,
    }
    return ViewerSnapshot(**{**values, **changes})


def channel(**changes: Any) -> ChannelSnapshot:
    values: dict[str, Any] = {
        "key": INFOHASH,
        "name": "",
        "content": (f"content_id:{CONTENT_ID}", f"infohash:{INFOHASH}"),
        "infohash": INFOHASH,
        "state": "live",
        "state_seconds": 754.0,
        "source": "engine http://10.0.0.5:6878",
        "engine": "http://10.0.0.5:6878",
        "bitrate": 5_100_000.0,
        "peers": 23,
        "speed_down": 640,
        "speed_up": 35,
        "downloaded": 31_457_280,
        "engine_status": "dl",
        "viewers": (viewer(),),
        "held": 0,
        "ring_bytes": 32_000_000,
        "ring_seconds": 50.2,
        "batch_window_seconds": 0.0,
        "bytes_in": 480_000_000,
        "bytes_out": 412_000_000,
        "hls_bytes": 0,
        "opens": 1,
        "recoveries": 0,
        "jumps": 0,
        "stalled_viewers": 0,
        "resyncs": 0,
        "last_error": None,
        "codecs": ("h264", "aac"),
        "playback_session_id": "d2" * 20,
        "stat_path": f"/ace/stat/{INFOHASH}/{'e3' * 16}",
    }
    return ChannelSnapshot(**{**values, **changes})


def engine(**changes: Any) -> EngineSnapshot:
    values: dict[str, Any] = {
        "url": "http://10.0.0.5:6878",
        "state": "up",
        "version": "3.2.3",
        "sessions": 1,
        "starting": 0,
        "capacity": 4,
        "starts": 12,
        "failures": 1,
        "last_error": None,
    }
    return EngineSnapshot(**{**values, **changes})


def film_viewer(**changes: Any) -> FilmViewerSnapshot:
    values: dict[str, Any] = {
        "id": 9,
        "address": "192.168.1.21",
        "port": 50124,
        "user_agent": "Kodi/20.1",
        "account": "ana",
        "state": "playing",
        "seconds": 61.0,
        "position": 1_000_000_000,
        "percent": 40.0,
        "bits_per_second": 8_000_000.0,
        "bytes_sent": 52_000_000,
    }
    return FilmViewerSnapshot(**{**values, **changes})


def film(**changes: Any) -> FilmSnapshot:
    values: dict[str, Any] = {
        "key": "900",
        "name": "A film",
        "source": f"engine content infohash:{INFOHASH}",
        "engine": "http://10.0.0.5:6878",
        "infohash": INFOHASH,
        "state": "playing",
        "length": 2_500_000_000,
        "peers": 7,
        "speed_down": 900,
        "opens": 1,
        "recoveries": 0,
        "last_error": None,
        "viewers": (film_viewer(),),
        "held": 0,
    }
    return FilmSnapshot(**{**values, **changes})


def hub_snapshot(
    channels: Sequence[ChannelSnapshot] = (),
    engines: Sequence[EngineSnapshot] = (),
    films: Sequence[FilmSnapshot] = (),
) -> HubSnapshot:
    return HubSnapshot(
        channels=tuple(channels),
        engines=tuple(engines),
        films=tuple(films),
        viewers=sum(len(c.viewers) for c in channels) + sum(len(f.viewers) for f in films),
        held=sum(c.held for c in channels) + sum(f.held for f in films),
        bytes_in=sum(c.bytes_in for c in channels),
        bytes_out=sum(c.bytes_out for c in channels),
        sessions_opened=12,
        sessions_stopped=11,
        failures=1,
    )


class ShownHub:
    """Stands in for a ChannelHub: it writes down who asked to watch, and shows the rest."""

    def __init__(
        self, channels: Sequence[ChannelSnapshot] = (), engines: Sequence[EngineSnapshot] = ()
    ) -> None:
        self.shown = hub_snapshot(channels, engines)
        self.tally = Tally()
        self.readiness = (True, "")
        self.watched: list[tuple[Any, ...]] = []

    def watch(self, ref: ContentRef, exchange: Any, **_more: Any) -> None:
        self.watched.append((ref, exchange))

    def packager(self, run: str) -> None:
        return None

    def watch_playlist(self, ref: ContentRef, exchange: Any, key: Any, **more: Any) -> None:
        self.watched.append((ref, exchange, key, more["prefix"]))

    def snapshot(self, now: float | None = None, *, kernel: bool = True) -> HubSnapshot:
        return self.shown

    @property
    def running(self) -> int:
        return sum(c.state not in ("idle", "stopping", "failed") for c in self.shown.channels)

    def find(self, ref: ContentRef) -> ChannelSnapshot | None:
        for found in self.shown.channels:
            if any(content.endswith(f":{ref.value}") for content in found.content):
                return found
        return None

    def film(self, ref: ContentRef) -> None:
        return None

    def find_film(self, ref: ContentRef) -> FilmSnapshot | None:
        for found in self.shown.films:
            if found.infohash == ref.value:
                return found
        return None

    def ready(self) -> tuple[bool, str]:
        return self.readiness


class ShownServer:
    """Stands in for a Server: its counters."""

    def __init__(self) -> None:
        self.connections: set[object] = set()
        self.accepted = 40
        self.shed = 2
        self.requests = 90
        self.bad_requests = 3
        self.answers = Counter({("/live/{user}/{password}/{id}", 2): 5, ("", 4): 1})
