"""Continuity counters: found many at a time, judged one by one, and the mark for a jump."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ts_clips import (
    clip,
    decode,
    packet,
    pcr_packet,
)

from rawstream.continuity import ContinuityChecker, continuity_counters, discontinuity_packet
from rawstream.mpegts import PACKET_SIZE, TsScanner, null_packet


def test_the_counters_are_those_of_each_pids_first_packet_with_payload() -> None:
    data = b"".join(
        [
            pcr_packet(0x31, 0, cc=9),
            packet(0x31, b"a" * 184, cc=3),
            packet(0x32, b"b" * 10, cc=15),
            packet(0x31, b"c" * 184, cc=4),
            packet(0x1FFE, b"d" * 184, cc=0, start=True),
            packet(0x1FFE, b"d" * 184, cc=1),
            null_packet(),
        ]
    )
    assert continuity_counters(data) == {0x31: 3, 0x32: 15, 0x1FFE: 0}
    assert continuity_counters(b"") == {}


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 3), st.booleans(), st.booleans(), st.integers(0, 15))))
def test_the_counters_are_what_a_loop_over_packets_finds(
    rows: list[tuple[int, bool, bool, int]],
) -> None:
    expected: dict[int, int] = {}
    for pid, _, full, cc in rows:
        if full:
            expected.setdefault(pid, cc)
    data = b"".join(
        packet(pid, b"x" * 100 if full else b"", cc=cc, start=start)
        for pid, start, full, cc in rows
    )
    assert continuity_counters(data) == expected


def judge(*packets: bytes) -> list[tuple[int, int, int, int]]:
    checker = ContinuityChecker()
    found = [tuple(gap) for part in packets for gap in checker.feed(part)]
    assert checker.gaps == len(found)
    return found


def data_packet(cc: int, fill: bytes = b"x") -> bytes:
    return packet(0x40, fill * 184, cc=cc)


def test_counters_that_run_on_are_fine() -> None:
    assert judge(*(data_packet(n & 15) for n in range(14, 40))) == []


def test_a_hole_is_told_with_its_place() -> None:
    assert judge(data_packet(1), data_packet(2), data_packet(4)) == [(0x40, 376, 3, 4)]


def test_one_exact_repeat_is_allowed_and_a_second_is_not() -> None:
    assert judge(data_packet(1), data_packet(1), data_packet(2)) == []
    assert len(judge(data_packet(1), data_packet(1), data_packet(1))) == 1
    assert len(judge(data_packet(1), data_packet(1, b"y"))) == 1


def test_packets_without_payload_keep_the_counter() -> None:
    assert judge(data_packet(1), pcr_packet(0x40, 0, cc=1), data_packet(2)) == []
    assert judge(data_packet(1), pcr_packet(0x40, 0, cc=2), data_packet(3)) == [(0x40, 188, 1, 2)]


def test_null_and_damaged_packets_have_no_counter() -> None:
    damaged = bytes([0x47, 0x80, *data_packet(9)[2:]])
    assert judge(null_packet(), null_packet(), data_packet(1), damaged, data_packet(2)) == []


def test_a_discontinuity_mark_allows_a_jump_to_the_counter_it_announces() -> None:
    for following in range(16):
        mark = discontinuity_packet(0x40, following)
        assert len(mark) == PACKET_SIZE
        assert judge(data_packet(3), mark, data_packet(following)) == []
        wrong = (following + 1) & 15
        assert len(judge(data_packet(3), mark, data_packet(wrong))) == 1


@pytest.mark.parametrize("name", ["h264", "hevc-closed-gop", "mpeg2"])
def test_marks_between_two_cuts_of_a_stream_satisfy_the_checker_and_ffmpeg(name: str) -> None:
    data = clip(name)
    points = TsScanner().scan(data).random_access
    head = data[: points[1].offset]
    tail = points[-2].tables + data[points[-2].offset :]
    marks = [discontinuity_packet(pid, cc) for pid, cc in continuity_counters(tail).items()]
    assert judge(head, tail)
    assert judge(head, *marks, tail) == []
    decoded = decode(head + b"".join(marks) + tail)
    assert decoded.complaints == []
    assert points[0].pts in decoded.pictures
    assert points[-2].pts in decoded.pictures
