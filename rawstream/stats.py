"""The last hour in points of ten seconds: what came in, what went out, how many watched.

Owns: the points, when the next one is due. Must not know: where the numbers come from, who is shown
them.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Protocol

logger = logging.getLogger(__name__)

INTERVAL_SECONDS: Final = 10
POINTS: Final = 3600 // INTERVAL_SECONDS


class Counts(Protocol):
    """What is counted, at one moment: bytes since the process started."""

    @property
    def viewers(self) -> int: ...
    @property
    def held(self) -> int: ...
    @property
    def channels(self) -> int: ...
    @property
    def films(self) -> int: ...
    @property
    def bytes_in(self) -> int: ...
    @property
    def bytes_out(self) -> int: ...


@dataclass(frozen=True, slots=True)
class Point:
    """`at`: seconds since 1970, the end of the ten seconds that the rates are of; the rest is what
    was so at that moment.
    """

    at: int
    bits_in_per_second: int
    bits_out_per_second: int
    viewers: int
    held: int
    channels: int
    films: int


class Stats:
    """The points of this process. `count` is asked once per point."""

    def __init__(
        self,
        count: Callable[[], Counts],
        *,
        clock: Callable[[], float] = time.monotonic,
        calendar: Callable[[], float] = time.time,
    ) -> None:
        self._count = count
        self._clock = clock
        self._calendar = calendar
        self._last: tuple[float, int, int] | None = None
        self.points: deque[Point] = deque(maxlen=POINTS)

    def take(self) -> None:
        """A point, for the time since the last one; the first call only begins."""
        now, counts = self._clock(), self._count()
        last, self._last = self._last, (now, counts.bytes_in, counts.bytes_out)
        if last is None or now <= last[0]:
            return
        seconds = now - last[0]
        self.points.append(
            Point(
                int(self._calendar()),
                round((counts.bytes_in - last[1]) * 8 / seconds),
                round((counts.bytes_out - last[2]) * 8 / seconds),
                counts.viewers,
                counts.held,
                counts.channels,
                counts.films,
            )
        )

    async def watch(self) -> None:
        """For ever."""
        while True:
            try:
                self.take()
            except Exception:  # a bug of ours costs one point
                logger.exception("a point of the last hour is missing")
            await asyncio.sleep(INTERVAL_SECONDS)
