"""One programme after the other: closing, cutting, joining, filling gaps."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from rawstream.epg import LocalText, Programme
from rawstream.epg_order import RunningOrder, fill_gaps, in_order


def on(start: int, stop: int, title: str = "x", channel: str = "a") -> Programme:
    return Programme(channel, start, stop, (LocalText(title),))


def times(programmes: list[Programme]) -> list[tuple[int, int]]:
    return [(programme.start, programme.stop) for programme in programmes]


spans = st.tuples(st.integers(0, 200), st.integers(1, 60)).map(lambda s: on(s[0], s[0] + s[1]))


@given(st.lists(spans, max_size=20))
def test_what_is_in_order_is_sorted_and_nothing_lies_over_the_next(
    programmes: list[Programme],
) -> None:
    ordered = in_order(programmes)
    assert [one.start for one in ordered] == sorted({one.start for one in programmes})
    assert all(a.stop <= b.start for a, b in pairwise(ordered))
    assert all(one.start < one.stop for one in ordered)
    assert in_order(ordered) == ordered


def test_of_two_with_one_start_the_last_stays() -> None:
    assert in_order([on(0, 10, "first"), on(0, 20, "last")]) == [on(0, 20, "last")]


def test_a_later_source_fills_only_gaps() -> None:
    best = [on(1000, 2000), on(4000, 5000)]
    other = [on(0, 1500), on(2000, 3000), on(3000, 4500), on(6000, 7000)]
    assert times(fill_gaps([best, other])) == [
        *((0, 1000), (1000, 2000), (2000, 3000), (3000, 4000)),
        *((4000, 5000), (6000, 7000)),
    ]


def test_what_remains_of_a_programme_in_a_gap_must_be_worth_it() -> None:
    best = [on(1000, 2000), on(2100, 3000)]
    assert times(fill_gaps([best, [on(0, 4000)]])) == [
        *((0, 1000), (1000, 2000), (2100, 3000), (3000, 4000)),
    ]
    assert times(fill_gaps([best, [on(2010, 2090)]])) == [(1000, 2000), (2010, 2090), (2100, 3000)]


def test_a_third_source_fills_what_the_second_left() -> None:
    assert times(fill_gaps([[], [on(0, 1000)], [on(500, 1500)]])) == [(0, 1000), (1000, 1500)]


@given(st.lists(st.lists(spans, max_size=8), max_size=4))
def test_however_many_sources_nothing_overlaps_and_the_first_is_untouched(
    sources: list[list[Programme]],
) -> None:
    joined = fill_gaps(sources, least_seconds=5)
    assert all(a.stop <= b.start for a, b in pairwise(joined))
    first = next((in_order(source) for source in sources if source), [])
    assert all(programme in joined for programme in first)


def order() -> RunningOrder:
    return RunningOrder(open_seconds=600, last_seconds=200)


def test_a_programme_is_held_back_until_the_next_of_its_channel() -> None:
    running = order()
    assert running.add(on(0, 10)) is None
    assert running.add(on(0, 10, channel="b")) is None
    assert running.add(on(10, 20)) == on(0, 10)
    assert list(running.rest()) == [on(10, 20), on(0, 10, channel="b")]
    assert len(running) == 2 and "b" in running and list(running) == ["a", "b"]


def test_one_without_a_stop_ends_with_the_next_or_after_a_bounded_time() -> None:
    running = order()
    running.add(on(0, 600), is_open=True)
    assert running.add(on(300, 900), is_open=True) == on(0, 300)
    assert running.add(on(5000, 5600), is_open=True) == on(300, 900)
    assert list(running.rest()) == [on(5000, 5200)]


def test_one_over_the_next_is_cut_and_counted() -> None:
    running = order()
    running.add(on(0, 100))
    assert running.add(on(50, 100)) == on(0, 50)
    assert running.overlaps == 1


def test_the_last_with_one_start_stays_and_keeps_a_stop_that_it_lacks() -> None:
    running = order()
    running.add(on(0, 100, "first"))
    assert running.add(on(0, 600, "second"), is_open=True) is None
    assert list(running.rest()) == [on(0, 100, "second")]
    assert running.repeats == 1


def test_a_late_one_passes_on_and_ends_before_the_latest() -> None:
    running = order()
    running.add(on(100, 200))
    assert running.add(on(0, 150)) == on(0, 100)
    assert running.add(on(50, 650), is_open=True) == on(50, 100)
    assert list(running.rest()) == [on(100, 200)]
    assert running.late == 2


def test_programmes_that_share_their_time_become_one() -> None:
    running = order()
    running.add(on(0, 100, "News"), clumped=True)
    running.add(on(0, 100, "Weather"), clumped=True)
    (both,) = running.rest()
    assert both.titles == (LocalText("News / Weather"),)
    assert running.repeats == 0


@given(st.lists(spans, max_size=30))
def test_sorted_programmes_come_out_in_order(programmes: list[Programme]) -> None:
    running = order()
    ordered = sorted(programmes, key=lambda one: one.start)
    out = [done for one in ordered if (done := running.add(one)) is not None]
    out += running.rest()
    assert out == in_order(ordered)
