"""The points of the last hour."""

from __future__ import annotations

import asyncio

import pytest
from stage import until

from rawstream import stats
from rawstream.hub import Totals
from rawstream.stats import POINTS, Stats


class Counted:
    def __init__(self) -> None:
        self.now = 100.0
        self.totals = Totals(3, 1, 2, 0, 1000, 5000, 0.0, 0.0)
        self.stats = Stats(lambda: self.totals, clock=lambda: self.now, calendar=lambda: self.now)

    def step(self, seconds: float, bytes_in: int, bytes_out: int) -> None:
        self.now += seconds
        self.totals = self.totals._replace(
            bytes_in=self.totals.bytes_in + bytes_in, bytes_out=self.totals.bytes_out + bytes_out
        )
        self.stats.take()


def test_a_point_is_of_the_time_since_the_last_one() -> None:
    counted = Counted()
    counted.stats.take()
    assert not counted.stats.points, "the first only begins"
    counted.step(10, 1000, 10_000)
    (point,) = counted.stats.points
    assert (point.at, point.bits_in_per_second, point.bits_out_per_second) == (110, 800, 8000)
    assert (point.viewers, point.held, point.channels, point.films) == (3, 1, 2, 0)
    counted.step(20, 1000, 0)  # a loop that was busy: the rate is right all the same
    assert counted.stats.points[-1].bits_in_per_second == 400
    counted.step(0, 1000, 0)
    assert len(counted.stats.points) == 2, "no time, no point"


def test_an_hour_is_kept_and_no_more() -> None:
    counted = Counted()
    for _ in range(POINTS + 10):
        counted.step(10, 0, 0)
    assert len(counted.stats.points) == POINTS
    assert counted.stats.points[-1].at - counted.stats.points[0].at == 10 * (POINTS - 1)


async def test_a_bug_costs_one_point(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(stats, "INTERVAL_SECONDS", 0)
    counted = Counted()
    totals, counted.totals = counted.totals, None  # type: ignore[assignment]
    watching = asyncio.create_task(counted.stats.watch())
    try:
        await until(lambda: "a point of the last hour is missing" in caplog.text)
        counted.totals = totals
        await until(lambda: counted.stats._last is not None, "the next one")
        counted.now += 10
        await until(lambda: counted.stats.points)
    finally:
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)
