"""What the simulated engine has on the air, and who plays it.

Owns: `Station`, the timeline of one content with what of it the swarm has delivered, and `Session`,
one playback from getstream to its end.
Must not know: HTTP, which session gives way to which. Time is an argument, in the
loop's seconds.
"""

from __future__ import annotations

import asyncio
import random
import secrets
from collections import deque
from dataclasses import dataclass, field
from typing import Any

from rawstream.broadcast import Broadcast
from rawstream.simulator_contents import SimContent
from rawstream.simulator_http import SimConnection

LOOK_SECONDS = 0.02  # how soon a fault, a stop or new media is seen by a waiting reader
EVENTS_QUEUED = 100
DATA_UNIT = 16 * 1024
JITTER_SECONDS = 10.0  # of media: the window in which reference §2.3 measured the rates
JITTER_WINDOWS = 64

Json = dict[str, Any]


@dataclass(slots=True, eq=False)
class Session:
    """One playback session, from getstream until it is stopped, superseded, replaced or idle."""

    station: Station
    identity: str  # the player: its pid, or its address (§1.3)
    token: str
    hls: bool
    started: float
    client_session_id: int
    session_id: str = field(default_factory=lambda: secrets.token_hex(20))
    key: str = field(default_factory=lambda: f"0.{secrets.randbelow(10**12):012d}")
    stop_prev_read_thread: bool = False
    allow_multiple_threads_reading: bool = False
    activity: float = 0.0
    activity_timeout: float = 60.0
    first_position: int = 0
    read_position: int = 0
    frozen: int | None = None  # `downloaded` while the swarm starves
    first_segment: int = -1
    readers: set[SimConnection] = field(default_factory=set)
    events: deque[Json] = field(default_factory=lambda: deque(maxlen=EVENTS_QUEUED))
    event_added: asyncio.Event = field(default_factory=asyncio.Event)
    announced: bool = False  # live_changed has been queued
    ended: str = ""  # why, once it has

    def status(self, now: float) -> str:
        """idle, prebuf, dl (§3)."""
        content = self.station.content
        age = now - self.started
        if content.faults.find("dead") is not None:
            return "prebuf"
        if age >= content.preload_seconds:
            return "dl"
        return "idle" if age < content.preload_seconds * 0.2 else "prebuf"

    def downloaded(self, now: float) -> int:
        """Bytes the swarm has given to this session, in whole 16 KiB (§2.2)."""
        if self.frozen is not None:
            return self.frozen
        got = self.station.position(now) - self.first_position
        return max(0, got) // DATA_UNIT * DATA_UNIT

    def stat(self, now: float, wall: float) -> Json:
        """What stat_url tells, with all of an engine's keys (§3). `wall`: unix seconds."""
        station, content = self.station, self.station.content
        status = self.status(now)
        if now - self.started < content.preload_seconds * 0.1:
            return {}
        stat: Json = {
            "status": status,
            "total_progress": 0,
            "is_live": int(content.live),
            "is_encrypted": int(content.encrypted),
            "infohash": content.infohash,
            "playback_session_id": self.session_id,
            "client_session_id": self.client_session_id,
            "selected_stream_index": 0,
            "selected_file_index": -1,
            "stream_status": -1,
            "manifest_access_mode": -1,
            "network_monitor_status": 0,
            "network_monitor_started": False,
            "debug_level": 0,
        }
        if status == "idle":
            return stat
        dead = content.faults.find("dead")
        stalled = content.faults.find("silent_stall")
        starved = self.frozen is not None or (
            stalled is not None and not stalled.after_bytes and not stalled.after_seconds
        )
        if starved and self.frozen is None and not self.readers:
            self.frozen = self.downloaded(now)
        downloaded = self.downloaded(now) if status == "dl" else 0
        rate = int(station.broadcast.bitrate * station.speed / 8 / 1024)
        peers, down = content.peers, rate if status == "dl" else 0
        if dead is not None:
            peers = dead.amount
        elif starved:
            peers, down = 1, 2 + int(now) % 18  # what a starving swarm shows (§2.4)
        stat |= {
            "peers": peers,
            "speed_down": down,
            "speed_up": down // 10,
            "downloaded": downloaded,
            "uploaded": downloaded // 16,
            "disk_cache_stats": {
                "avail": 3_199_156_224,
                "disk_cache_limit": 2_266_017_044,
                "inactive_inuse": 0,
                "active_inuse": downloaded,
            },
        }
        if status == "prebuf":
            done = 0.0 if dead else (now - self.started) / content.preload_seconds
            stat["progress"] = int(100 * done)
        elif content.live:
            stat["livepos"] = self._livepos(now, wall)
        return stat

    def _livepos(self, now: float, wall: float) -> dict[str, str]:
        """All values are strings, in unix seconds and pieces (§3)."""
        station = self.station
        media = station.media(now)
        began = wall - media

        def at(seconds: float) -> str:
            return str(int(began + seconds))

        last = at(media if station.ended_at is None else station.ended_at)
        first = at(media - station.content.window_seconds)
        position = self.read_position or self.first_position
        return {
            "last": last,
            "live_first": first,
            "pos": at(station.broadcast.seconds(position)),
            "first_ts": first,
            "last_ts": last,
            "is_live": "1",
            "live_last": last,
            "buffer_pieces": "30",
        }

    def post(self, name: str, params: Json) -> None:
        self.events.append({"name": name, "params": params})
        self.event_added.set()


class Station:
    """One content on the air: its timeline, what of it has been released, and its sessions."""

    __slots__ = (
        "broadcast",
        "content",
        "ended_at",
        "epoch",
        "film",
        "lags",
        "lead",
        "sessions",
        "speed",
    )

    def __init__(
        self, content: SimContent, clip: bytes, broadcast: Broadcast, speed: float
    ) -> None:
        self.content = content
        self.broadcast = broadcast
        self.film = b""
        if not content.live:
            file = content.file
            self.film = clip * content.repeats if file is None else file.read_bytes()
        self.speed = speed * content.speed
        self.epoch = 0.0
        self.lead = content.window_seconds
        self.sessions: list[Session] = []
        self.ended_at: float | None = None  # media seconds at which the broadcast ended
        self.lags = jitter_lags(content.infohash)

    def media(self, now: float) -> float:
        """Media seconds that have been broadcast. The window was already there at the epoch."""
        return self.lead + max(0.0, now - self.epoch) * self.speed

    def released(self, now: float) -> float:
        """Media seconds that the swarm has delivered: with jitter, up to 15 s less."""
        media = self.media(now)
        if not self.content.jitter:
            return media
        window, rest = divmod(media, JITTER_SECONDS)
        before = self.lags[int(window) % JITTER_WINDOWS]
        after = self.lags[(int(window) + 1) % JITTER_WINDOWS]
        return max(0.0, media - before - (after - before) * rest / JITTER_SECONDS)

    def position(self, now: float) -> int:
        return self.broadcast.position(self.released(now))

    def oldest(self, now: float) -> int:
        return self.broadcast.position(self.released(now) - self.content.window_seconds)

    def start_position(self, now: float) -> int:
        """Where a new reader begins: a burst behind the edge, away from any entry point."""
        released = self.released(now)
        by_seconds = self.broadcast.position(released - self.content.burst_seconds)
        by_bytes = self.position(now) - self.content.burst_bytes
        return self.broadcast.between_entries(max(0, by_seconds, by_bytes))

    def wait_for(self, position: int, now: float) -> float:
        """Seconds until `position` is released, as far as that is worth waiting for in one go."""
        missing = self.broadcast.seconds(position) - self.released(now)
        return min(LOOK_SECONDS, max(0.001, missing / self.speed))


def jitter_lags(seed: str) -> list[float]:
    """How many seconds delivery lags behind at the edges of the windows, for ever the same.

    A lag that grows by 5 s in a 10 s window halves the rate, one that falls by 15 s makes it 2.5
    times the mean; the last window leads back to the first.
    """
    source = random.Random(seed)
    lags = [0.0]
    while len(lags) < JITTER_WINDOWS:
        least, most = max(0.0, lags[-1] - 15.0), min(15.0, lags[-1] + 5.0)
        lags.append(source.uniform(least, most))
    lags[-1] = min(lags[-1], 15.0)
    return lags
