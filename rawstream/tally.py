"""What this process counts of its work: how long joins took, which rungs were climbed.

Owns: the counts, and the bounds of their buckets. Must not know: who counts, who reads them.

Plain numbers that only grow: counting is an addition, and nothing is made of them until somebody
asks.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from typing import Final

# a zap that feels at once is below 1 s; players give up at 8, 10 or 30 s
JOIN_SECONDS: Final = (0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 4.0, 6.0, 8.0, 10.0, 15.0, 20.0, 30.0, 60.0)
JOIN_KINDS: Final = ("ts", "hls", "film")
RUNGS: Final = ("same url", "session", "engine", "source", "pause")


class Histogram:
    """How many values lie at or below each bound, and above them all."""

    __slots__ = ("bounds", "counts", "sum")

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = tuple(bounds)
        self.counts = [0] * (len(bounds) + 1)
        self.sum = 0.0

    def note(self, value: float) -> None:
        self.counts[bisect_left(self.bounds, value)] += 1
        self.sum += value

    def cumulative(self) -> list[tuple[str, float]]:
        """Bounds as Prometheus writes them, `+Inf` last, each with all counts up to it."""
        found, total = [], 0
        for bound, count in zip((*map(str, self.bounds), "+Inf"), self.counts, strict=True):
            total += count
            found.append((bound, float(total)))
        return found


class Tally:
    """The counts of one process. `joins`: seconds from a viewer's request to his first byte, by how
    he watches. `steps`: of the ladder, by rung.
    """

    def __init__(self) -> None:
        self.joins = {kind: Histogram(JOIN_SECONDS) for kind in JOIN_KINDS}
        self.steps = dict.fromkeys(RUNGS, 0)
