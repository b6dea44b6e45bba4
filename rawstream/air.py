"""What is on air as events: what has changed since a second ago, while somebody looks.

Owns: the comparing of snapshots, the hour of figures behind the charts. Must not know: HTTP, who
listens, how a channel lives.
"""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import time
from collections import deque
from collections.abc import Callable
from typing import Any, Final, NamedTuple

import orjson

from rawstream.channels import ChannelSnapshot
from rawstream.events import EventBus
from rawstream.hub import ChannelHub, HubSnapshot

logger = logging.getLogger(__name__)

_LOOK_SECONDS: Final = 1.0
_HEARTBEAT_LOOKS: Final = 15
_POINT_SECONDS: Final = 10.0
_POINTS: Final = 360  # an hour
# what changes with every look and is not worth telling by itself
_RESTLESS: Final = ("state_seconds", "bytes_in", "bytes_out", "ring_seconds", "ring_bytes")


class Point(NamedTuple):
    """One moment of the charts; `at`: seconds since 1970."""

    at: int
    viewers: int
    bits_in_per_second: int
    bits_out_per_second: int


class Air:
    """The watch over what is on air. `connections`: how many are open."""

    def __init__(
        self,
        hub: ChannelHub,
        bus: EventBus,
        *,
        started_at: float,
        connections: Callable[[], int] = lambda: 0,
    ) -> None:
        self._hub = hub
        self._bus = bus
        self._started_at = started_at
        self._connections = connections
        self._told: dict[str, bytes] = {}  # channels and films by key, as they were told last
        self._engines = b""
        self._joined = 0
        self.points: deque[Point] = deque(maxlen=_POINTS)
        self._point_at = 0.0
        self._before: tuple[float, int, int] | None = None

    # -- the whole picture --

    def picture(self) -> dict[str, Any]:
        """All of it, for who begins to look: `channels`, `films`, `engines`, `totals`."""
        snapshot = self._hub.snapshot(kernel=True)
        return {
            "channels": [_whole(one) for one in snapshot.channels],
            "films": [dataclasses.asdict(one) for one in snapshot.films],
            "engines": [dataclasses.asdict(one) for one in snapshot.engines],
            "totals": self._totals(snapshot),
        }

    def channel(self, key: str) -> dict[str, Any] | None:
        """One channel with its viewers."""
        found = [one for one in self._hub.snapshot(kernel=True).channels if one.key == key]
        return _whole(found[0]) if found else None

    def _totals(self, snapshot: HubSnapshot) -> dict[str, Any]:
        return {
            "viewers": snapshot.viewers,
            "held": snapshot.held,
            "channels": len(snapshot.channels),
            "films": len(snapshot.films),
            "bits_in_per_second": self.points[-1].bits_in_per_second if self.points else 0,
            "bits_out_per_second": self.points[-1].bits_out_per_second if self.points else 0,
            "connections": self._connections(),
            "uptime_seconds": round(time.monotonic() - self._started_at),
            "failures": snapshot.failures,
        }

    # -- what has changed --

    async def watch(self) -> None:
        """Look again and again."""
        looks = 0
        while True:
            await asyncio.sleep(_LOOK_SECONDS)
            looks += 1
            try:
                self.look(time.monotonic())
                if looks % _HEARTBEAT_LOOKS == 0:
                    self._bus.heartbeat()
            except Exception:  # a bug of ours is not to end all looking
                logger.exception("a look at what is on air failed")

    def look(self, now: float) -> None:
        """Note the charts' next point when it is due; tell what has changed if anybody listens."""
        due = now - self._point_at >= _POINT_SECONDS
        if not due and not self._bus:
            self._told.clear()
            return
        snapshot = self._hub.snapshot(now, kernel=False)
        if due:
            self._note_point(snapshot, now)
        if not self._bus:
            self._told.clear()
            return
        if self._bus.joined != self._joined:
            self._told.clear()  # one who has just come is told everything
        self._joined = self._bus.joined
        self._tell(snapshot)
        keys = self._bus.keys
        for one in self._hub.snapshot(now, kernel=True).channels if keys else ():
            if one.key in keys:
                self._bus.tell("live", {"channels": [_whole(one)]}, key=one.key)

    def _note_point(self, snapshot: HubSnapshot, now: float) -> None:
        before, self._before = self._before, (now, snapshot.bytes_in, snapshot.bytes_out)
        self._point_at = now
        if before is not None and now > before[0]:
            passed = now - before[0]
            self.points.append(
                Point(
                    int(time.time()),
                    snapshot.viewers,
                    max(0, round((snapshot.bytes_in - before[1]) * 8 / passed)),
                    max(0, round((snapshot.bytes_out - before[2]) * 8 / passed)),
                )
            )

    def _tell(self, snapshot: HubSnapshot) -> None:
        changed, films, told = [], [], {}
        for one in snapshot.channels:
            summary = _summary(one)
            told[one.key] = mark = orjson.dumps(
                {name: value for name, value in summary.items() if name not in _RESTLESS}
            )
            if self._told.get(one.key) != mark:
                changed.append(summary)
        for film in snapshot.films:
            told[film.key] = mark = orjson.dumps(film)
            if self._told.get(film.key) != mark:
                films.append(dataclasses.asdict(film))
        gone = [key for key in self._told if key not in told]
        engines = orjson.dumps(snapshot.engines)
        event: dict[str, Any] = {"totals": self._totals(snapshot)}
        if changed:
            event["channels"] = changed
        if films:
            event["films"] = films
        if gone:
            event["gone"] = gone
        if engines != self._engines or not self._told:
            event["engines"] = [dataclasses.asdict(one) for one in snapshot.engines]
        self._told, self._engines = told, engines
        self._bus.tell("live", event)


def _summary(channel: ChannelSnapshot) -> dict[str, Any]:
    """A channel without its viewers, who are told of where somebody asks."""
    fields = {
        field.name: getattr(channel, field.name)
        for field in dataclasses.fields(channel)
        if field.name != "viewers"
    }
    fields["bitrate"] = round(channel.bitrate, -4)
    fields["viewer_count"] = len(channel.viewers)
    return fields


def _whole(channel: ChannelSnapshot) -> dict[str, Any]:
    fields = _summary(channel)
    fields["viewers"] = [dataclasses.asdict(viewer) for viewer in channel.viewers]
    return fields
