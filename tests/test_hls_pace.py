"""How long a segment lasts, whether it runs on from the one before, when its bytes are due."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hls_origin import clip_at, counted_anew

from rawstream.broadcast import Broadcast
from rawstream.continuity import ContinuityChecker
from rawstream.hls_pace import Pace, SegmentReader, Told
from rawstream.mpegts import PACKET_SIZE
from rawstream.restamp import Restamper


def test_a_segment_lasts_as_long_as_its_clock_says() -> None:
    broadcast = Broadcast(clip_at(0))
    reader = SegmentReader()
    reader.read(broadcast.segment(0))
    for number in (1, 2, 3):
        told = reader.read(broadcast.segment(number))
        assert told.runs_on
        assert told.seconds == pytest.approx(broadcast.segment_seconds(number), abs=0.2)


def test_what_the_playlist_says_decides_where_the_clock_says_nothing_or_nonsense() -> None:
    assert Told(9.6, True, b"").lasts(10.0) == 9.6
    assert Told(9.6, True, b"").lasts(0.0) == 9.6, "it says none"
    assert Told(0.0, None, b"").lasts(10.0) == 10.0
    assert Told(1.0, True, b"").lasts(10.0) == 10.0, "a clock cut within the segment"
    assert Told(1e9, True, b"").lasts(10.0) == 10.0
    assert Told(0.0, None, b"").lasts(0.0) > 0


def test_counters_that_begin_anew_are_marked_and_nothing_is_cut() -> None:
    broadcast = Broadcast(clip_at(0))
    reader = SegmentReader()
    out = bytearray()
    for number in range(3):
        segment = counted_anew(broadcast.segment(number))
        told = reader.read(segment)
        assert told.runs_on in (None, True), "the clock runs on"
        out += told.marks + segment
    assert ContinuityChecker().feed(bytes(out)) == []
    assert len(out) % PACKET_SIZE == 0


def test_counters_that_run_on_have_no_marks() -> None:
    first = b"\x47\x01\x00\x10" + bytes(184)
    second = first[:3] + b"\x11" + first[4:]
    reader = SegmentReader()
    assert reader.read(first).marks == b""
    assert reader.read(second).marks == b""
    assert len(reader.read(second).marks) == PACKET_SIZE


def test_another_clock_does_not_run_on() -> None:
    broadcast = Broadcast(clip_at(0))
    reader = SegmentReader()
    reader.read(broadcast.segment(0))
    jump = Restamper(keep_continuity=True)
    jump.offset = 90_000 * 3600
    assert reader.read(jump.restamp(broadcast.segment(1))).runs_on is False
    assert reader.read(jump.restamp(broadcast.segment(2))).runs_on is True
    assert reader.read(jump.restamp(broadcast.segment(4))).runs_on is False, "one is missing"
    jump.offset -= 90_000 // 2
    assert reader.read(jump.restamp(broadcast.segment(5))).runs_on is True, "a small overlap"


def silences(pace: Pace, arrivals: list[float], seconds: float) -> list[float]:
    """Between the bytes of segments that come at these times, in pieces of a tenth."""
    sent: list[float] = []
    now = 0.0
    for arrival in arrivals:
        now = max(now, arrival)
        pace.begin(now, seconds)
        for tenth in range(10):
            now = max(now, pace.at(tenth / 10))
            sent.append(now)
    return [later - earlier for earlier, later in pairwise(sent)]


def test_what_came_late_once_makes_one_silence_and_no_more() -> None:
    arrivals = [0.0] + [10.0 * number + 7.0 for number in range(1, 8)]
    gaps = silences(Pace(), arrivals, 10.0)
    assert max(gaps[:12]) > 4
    assert max(gaps[14:]) < 2.5


def test_durations_that_are_too_short_do_not_end_in_bursts() -> None:
    arrivals = [9.6 * number for number in range(60)]
    assert max(silences(Pace(), arrivals, 9.0)[12:]) < 2.5


def test_half_of_what_there_is_goes_at_once_and_four_seconds_at_most() -> None:
    pace = Pace()
    pace.begin(100.0, 10.0, 20.0)
    assert pace.at(0.4) == 100.0
    assert pace.at(0.5) == pytest.approx(101.0)
    pace.begin(106.0, 10.0)
    assert pace.at(0.5) == pytest.approx(111.0), "in real time from there"
    short = Pace()
    short.begin(100.0, 2.0, 2.0)
    assert short.at(0.99) == 100.0
    short.begin(100.0, 2.0)
    assert short.at(0.5) == pytest.approx(101.0)
