"""Counts, read as Prometheus reads them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rawstream.tally import JOIN_KINDS, JOIN_SECONDS, RUNGS, Histogram, Tally


@pytest.mark.parametrize(
    ("value", "counts"),
    [(0.0, [1, 0, 0]), (1.0, [1, 0, 0]), (1.5, [0, 1, 0]), (2.0, [0, 1, 0]), (9.0, [0, 0, 1])],
)
def test_a_bound_belongs_to_its_own_bucket(value: float, counts: list[int]) -> None:
    histogram = Histogram((1.0, 2.0))
    histogram.note(value)
    assert histogram.counts == counts


@given(st.lists(st.floats(0, 100)))
def test_buckets_hold_all_that_is_not_above_them(values: list[float]) -> None:
    histogram = Histogram(JOIN_SECONDS)
    for value in values:
        histogram.note(value)
    for bound, count in histogram.cumulative():
        assert count == sum(value <= float(bound) for value in values)
    assert histogram.cumulative()[-1] == ("+Inf", len(values))
    assert histogram.sum == pytest.approx(sum(values))


def test_bounds_rise_and_everything_begins_at_nothing() -> None:
    assert list(JOIN_SECONDS) == sorted(set(JOIN_SECONDS))
    tally = Tally()
    assert tuple(tally.joins) == JOIN_KINDS and tuple(tally.steps) == RUNGS
    assert not any(tally.steps.values())
