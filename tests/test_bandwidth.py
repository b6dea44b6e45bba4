"""The rates of the last seconds, and the cap on what goes out."""

from __future__ import annotations

from rawstream.bandwidth import Bandwidth


def test_a_rate_is_of_the_last_three_seconds_only() -> None:
    one = Bandwidth(0)
    assert not one.measured
    for second, (came, went) in enumerate([(0, 0), (1000, 50_000), (1000, 50_000), (1000, 50_000)]):
        one.measure(float(second), came, went)
    assert (one.bits_in_per_second, one.bits_out_per_second) == (8000 / 3, 400_000 / 3)
    one.measure(4.0, 1000, 50_300)
    assert (one.bits_in_per_second, one.bits_out_per_second) == (0, 800)
    assert one.measured


def test_one_look_alone_is_no_rate() -> None:
    one = Bandwidth(1)
    one.measure(5.0, 10_000, 10_000)
    one.measure(5.0, 20_000, 20_000)
    assert (one.bits_in_per_second, one.bits_out_per_second, one.crowded) == (0.0, 0.0, False)


def test_it_is_crowded_from_the_cap_on_which_may_change() -> None:
    one = Bandwidth(8000)
    one.measure(0.0, 0, 0)
    one.measure(1.0, 0, 1000)
    assert one.crowded
    one.cap_bits_per_second = 8001
    assert not one.crowded
    one.cap_bits_per_second = 0
    assert not one.crowded
