"""One player on a channel: where his bytes go, where he stands in the ring, what is counted of him.

Owns: the places a viewer may have and the moves between them, what a lease is. Must not know: HTTP,
the loop, how he is moved; that is the mux's.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import NamedTuple, Protocol


class Sink(Protocol):
    """Where a viewer's bytes go: one connection, seen from here."""

    write: Callable[[bytes], None]
    paused: bool

    def unsent(self) -> int: ...
    def kernel_unsent(self) -> tuple[int, int] | None: ...
    def abort(self) -> None: ...
    def finish(self) -> None: ...


class Lease(Protocol):
    """A viewer's leave to watch, as whoever gave it wants to hear of him."""

    def started(self, cut: Callable[[], None], now: float) -> None:
        """His stream begins; `cut` ends it."""

    def ended(self, sent: int = 0) -> None:
        """He is gone, was refused, or the channel is over; `sent` bytes were his. May be told
        twice, the first counts.
        """


class Spectator(NamedTuple):
    """One who watches, as he can be sent away. `lease` None: he needed no leave."""

    address: str
    user_agent: str
    lease: object | None
    cut: Callable[[], None]


class Place(Enum):
    """Where a viewer stands in the ring."""

    HEAD = "playing"  # gets each chunk as it comes
    BEHIND = "catching up"  # reads the ring from `cursor`
    PAUSED = "paused"  # behind, and his transport takes nothing
    # his place has left the ring and no entry point is in it: the next one starts him
    WAITING = "waiting"
    GONE = "gone"


_MOVES: dict[Place, frozenset[Place]] = {
    Place.BEHIND: frozenset({Place.HEAD, Place.PAUSED, Place.WAITING, Place.GONE}),
    Place.HEAD: frozenset({Place.PAUSED, Place.GONE}),
    Place.PAUSED: frozenset({Place.BEHIND, Place.GONE}),
    Place.WAITING: frozenset({Place.BEHIND, Place.GONE}),
    Place.GONE: frozenset(),
}


@dataclass(frozen=True, slots=True)
class ViewerSnapshot:
    """One viewer as shown to the operator. Times in seconds, sizes in bytes."""

    id: int
    address: str
    port: int
    user_agent: str
    account: str | None
    state: str
    seconds: float
    seconds_behind: float
    bytes_sent: int
    queued_bytes: int
    jumps: int


class Viewer:
    """One player on this channel: his sink and his place."""

    __slots__ = (
        "account",
        "acknowledged",
        "acknowledged_at",
        "address",
        "cursor",
        "head_mark",
        "id",
        "joined_at",
        "jumps",
        "place",
        "port",
        "sent",
        "sink",
        "user_agent",
    )

    def __init__(
        self,
        id: int,
        sink: Sink,
        *,
        now: float,
        address: str = "",
        port: int = 0,
        user_agent: str = "",
        account: str | None = None,
    ) -> None:
        # -- who --
        self.id = id
        self.sink = sink
        self.address = address
        self.port = port
        self.user_agent = user_agent
        self.account = account
        self.joined_at = now
        # -- place --
        self.place = Place.BEHIND
        self.cursor = 0  # sequence of the next chunk to write; meaningless at the head
        # -- counters --
        self.sent = 0  # bytes, without those since `head_mark` while at the head
        self.head_mark = 0  # the mux's `bytes_emitted` when this viewer reached the head
        self.jumps = 0
        # -- stall watch, only while paused --
        self.acknowledged = -1
        self.acknowledged_at = now

    def move(self, place: Place) -> None:
        if place not in _MOVES[self.place]:
            raise AssertionError(f"viewer {self.id}: {self.place} -> {place}")
        self.place = place
