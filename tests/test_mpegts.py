from __future__ import annotations

import io
import random
from collections.abc import Iterable
from itertools import pairwise
from typing import NamedTuple

import av
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from ts_clips import (
    CODINGS,
    WITH_VIDEO,
    clip,
    decode,
    key_pictures,
    packet,
    packets_of,
    pat,
    pcr_fields,
    pcr_packet,
    pes,
    pmt,
    table,
    unit,
    without_entry_flags,
)

from rawstream.continuity import ContinuityChecker, continuity_counters, discontinuity_packet
from rawstream.mpegts import (
    NULL_PID,
    PACKET_SIZE,
    PCR_HZ,
    PCR_WRAP,
    RESYNC_PACKETS,
    PacketCutter,
    PcrClock,
    ProgramMap,
    TsScanner,
    find_packet,
    null_packet,
)

PMT_PID = 0x100
VIDEO_PID = 0x101
AUDIO_PID = 0x102
H264, HEVC, AAC = 0x1B, 0x24, 0x0F
TABLES = b"".join(
    table(0, pat({1: PMT_PID}))
    + table(PMT_PID, pmt(1, VIDEO_PID, [(H264, VIDEO_PID, b""), (AAC, AUDIO_PID, b"")]))
)
IDR = b"\0\0\1\x67\x42\0\0\1\x65\x88\x84"
NOT_IDR = b"\0\0\1\x41\x9a\x02"


class Seen(NamedTuple):
    """All a scanner said about a stream, its offsets counted from the stream's start."""

    entries: list[tuple[int, bytes, int | None]]
    pes_starts: list[tuple[int, bytes, int | None]]
    first_pcr: int | None
    last_pcr: int | None
    discontinuity: bool
    changed: bool
    program: ProgramMap | None
    programs: dict[int, ProgramMap]
    tables: bytes


def see(chunks: Iterable[bytes]) -> Seen:
    scanner = TsScanner(want_pes_starts=True)
    at = 0
    entries, starts, clocks = [], [], []
    discontinuity = changed = False
    for chunk in chunks:
        scan = scanner.scan(chunk)
        entries += [(at + p.offset, p.tables, p.pts) for p in scan.random_access]
        starts += [(at + p.offset, p.tables, p.pts) for p in scan.pes_starts]
        clocks += [pcr for pcr in (scan.first_pcr, scan.last_pcr) if pcr is not None]
        discontinuity |= scan.pcr_discontinuity
        changed |= scan.program_changed
        at += len(chunk)
    first, last = (clocks[0], clocks[-1]) if clocks else (None, None)
    return Seen(
        entries,
        starts,
        first,
        last,
        discontinuity,
        changed,
        scanner.program,
        dict(scanner.programs),
        scanner.tables,
    )


def split(data: bytes, seed: int, most: int, step: int = 1) -> list[bytes]:
    choose = random.Random(seed)
    pieces = []
    while data:
        size = choose.randint(1, most) * step
        pieces.append(data[:size])
        data = data[size:]
    return pieces


# -- cutting --------------------------------------------------------------------------------------


def numbered(count: int) -> bytes:
    return b"".join(packet(0x50, bytes([n & 0x3F]) * 184, cc=n) for n in range(count))


def test_an_aligned_piece_comes_back_as_the_same_object() -> None:
    cutter = PacketCutter()
    data = numbered(5)
    assert cutter.feed(data) is data
    assert cutter.feed(data) is data


@pytest.mark.parametrize("size", [1, 187, 188, 189, 300, 1000])
def test_pieces_of_any_size_come_out_as_whole_packets(size: int) -> None:
    data = numbered(9)
    cutter = PacketCutter()
    out = [cutter.feed(data[at : at + size]) for at in range(0, len(data), size)]
    assert b"".join(out) == data
    assert all(len(part) % PACKET_SIZE == 0 for part in out)
    assert (cutter.lost_bytes, cutter.resyncs) == (0, 0)


def test_garbage_before_the_first_packet_is_dropped() -> None:
    cutter = PacketCutter()
    data = numbered(RESYNC_PACKETS)
    assert cutter.feed(b"\r\nnoise with a G in it" + data) == data
    assert (cutter.lost_bytes, cutter.resyncs) == (22, 1)


def test_lost_bytes_cost_the_damaged_packet_and_the_next() -> None:
    data = numbered(20)
    hole = 5 * PACKET_SIZE + 60
    cutter = PacketCutter()
    out = cutter.feed(data[:hole] + data[hole + 31 :])
    assert packets_of(out)[:5] == packets_of(data)[:5]
    assert packets_of(out)[6:] == packets_of(data)[7:]
    assert len(out) % PACKET_SIZE == 0
    assert cutter.resyncs == 1


def test_a_false_sync_byte_does_not_catch_the_cutter() -> None:
    data = numbered(RESYNC_PACKETS + 2)
    # three sync bytes in step, then none: not believed
    decoy = b"\0" + (b"G" + b"\0" * 187) * (RESYNC_PACKETS - 1) + b"\0" * 200
    cutter = PacketCutter()
    assert cutter.feed(decoy + data) == data


def test_the_cutter_keeps_few_bytes_however_much_garbage_comes() -> None:
    cutter = PacketCutter()
    for seed in range(20):
        noise = random.Random(seed).randbytes(5000).replace(b"G", b"g")
        assert cutter.feed(noise) == b""
        assert len(cutter._carry) < RESYNC_PACKETS * PACKET_SIZE
    assert cutter.lost_bytes + len(cutter._carry) == 100_000


def test_a_reset_cutter_forgets_the_source_before() -> None:
    cutter = PacketCutter()
    cutter.feed(numbered(2)[:250])
    cutter.reset()
    assert cutter.feed(numbered(3)) == numbered(3)
    cutter.feed(b"nonsense")
    cutter.reset()
    assert cutter.feed(numbered(1)) == numbered(1)


@st.composite
def damaged_streams(draw: st.DrawFn) -> bytes:
    parts = draw(
        st.lists(
            st.one_of(
                st.integers(0, 6).map(numbered),
                st.binary(max_size=400),
                st.text("Gx", max_size=300).map(str.encode),
                st.integers(0, 400).map(lambda size: b"G" * size),
                st.integers(0, 500).map(lambda size: numbered(5)[size:]),
            ),
            max_size=8,
        )
    )
    return b"".join(parts)


@settings(deadline=None)
@given(damaged_streams(), st.integers(0, 1000), st.sampled_from([1, 3, 60, 188, 400, 2000]))
def test_the_cutter_says_the_same_whatever_the_splits(data: bytes, seed: int, most: int) -> None:
    whole, pieces = PacketCutter(), PacketCutter()
    expected = whole.feed(data)
    assert b"".join(map(pieces.feed, split(data, seed, most))) == expected
    assert (pieces.lost_bytes, pieces.resyncs) == (whole.lost_bytes, whole.resyncs)
    assert set(expected[::PACKET_SIZE]) <= {0x47}
    assert len(data) == len(expected) + whole.lost_bytes + len(whole._carry)
    assert len(whole._carry) < RESYNC_PACKETS * PACKET_SIZE


# Leading pictures of an open GOP tell the decoder to drop references that it never got.
UNAVOIDABLE = {"h264-open-gop": {"h264: mmco: unref short failure"}}
# A picture that is refreshed bit by bit is whole only at the end of the refresh.
REFRESH_TICKS = {"h264-intra-refresh": 15 * 3600}


# -- entry points of real streams -----------------------------------------------------------------


@pytest.mark.parametrize("name", WITH_VIDEO)
def test_flagged_entry_points_are_the_key_pictures_that_ffmpeg_finds(name: str) -> None:
    data = clip(name)
    found = TsScanner().scan(data).random_access
    assert [(point.offset, point.pts) for point in found] == list(key_pictures(data))
    assert len(found) >= 4


@pytest.mark.parametrize("name", WITH_VIDEO)
def test_pictures_tell_the_same_where_the_flag_is_missing(name: str) -> None:
    data = without_entry_flags(clip(name))
    found = TsScanner().scan(data).random_access
    assert [(point.offset, point.pts) for point in found] == list(key_pictures(data))


@pytest.mark.parametrize("name", CODINGS)
def test_a_join_at_an_entry_point_decodes_without_a_complaint(name: str) -> None:
    data = clip(name)
    points = TsScanner().scan(data).random_access
    assert points
    for point in points[:-1]:
        joined = point.tables + data[point.offset :]
        assert not ContinuityChecker().feed(joined)
        decoded = decode(joined)
        assert set(decoded.complaints) <= UNAVOIDABLE.get(name, set())
        if CODINGS[name].video:
            assert decoded.pictures[0] <= point.pts + REFRESH_TICKS.get(name, 0)
            assert decoded.pictures[-1] == decode(data).pictures[-1]
        else:
            assert decoded.sounds > 20


def test_the_judge_of_joins_does_complain_when_one_starts_in_the_middle() -> None:
    data = clip("h264")
    first, second = TsScanner().scan(data).random_access[:2]
    middle = (first.offset + second.offset) // 2 // PACKET_SIZE * PACKET_SIZE
    assert decode(first.tables + data[middle:]).complaints


def test_audio_alone_has_at_most_two_entry_points_per_second() -> None:
    points = TsScanner().scan(clip("audio")).random_access
    times = [point.pts for point in points]
    assert len(points) >= 4
    assert None not in times
    assert all(45_000 <= b - a < 60_000 for a, b in pairwise(times))


@pytest.mark.parametrize(
    ("name", "codecs"),
    [
        ("h264", ["h264", "aac"]),
        ("hevc-open-gop", ["hevc", "ac3"]),
        ("mpeg2", ["mpeg2video", "mp2"]),
        ("audio", ["aac"]),
    ],
)
def test_the_program_names_its_codecs(name: str, codecs: list[str]) -> None:
    scanner = TsScanner()
    assert scanner.scan(clip(name)).program_changed
    assert scanner.program is not None
    assert [stream.codec for stream in scanner.program.streams] == codecs
    assert not scanner.scan(clip(name)).program_changed


@pytest.mark.parametrize("flags", [True, False])
@pytest.mark.parametrize("name", ["h264", "hevc-open-gop", "mpeg2", "audio"])
def test_a_real_stream_reads_the_same_whatever_the_chunks(name: str, flags: bool) -> None:
    data = clip(name) if flags else without_entry_flags(clip(name))
    whole = see([data])
    assert whole.entries and whole.first_pcr is not None and whole.last_pcr is not None
    assert see(packets_of(data)) == whole
    for seed in range(5):
        assert see(split(data, seed, 40, PACKET_SIZE)) == whole


def test_pes_starts_are_all_pictures_of_the_video() -> None:
    data = clip("h264")
    scan = TsScanner(want_pes_starts=True).scan(data)
    with av.open(io.BytesIO(data), format="mpegts") as source:
        expected = [
            (packet.pos, packet.pts) for packet in source.demux(video=0) if packet.pts is not None
        ]
    assert [(point.offset, point.pts) for point in scan.pes_starts] == expected
    assert TsScanner().scan(data).pes_starts == ()


# -- entry points, by hand ------------------------------------------------------------------------


def entries(*parts: bytes) -> list[tuple[int, int | None]]:
    """Where `parts` may be entered, counted from behind the usual tables."""
    points = TsScanner().scan(TABLES + b"".join(parts)).random_access
    return [((point.offset - len(TABLES)) // PACKET_SIZE, point.pts) for point in points]


def picture(body: bytes, pts: int | None = 900, *, cc: int = 0, flags: int = 0) -> bytes:
    return b"".join(unit(VIDEO_PID, pes(0xE0, body.ljust(400, b"\x11"), pts), cc=cc, flags=flags))


def test_nothing_can_be_entered_before_its_tables() -> None:
    scan = TsScanner(want_pes_starts=True).scan(picture(IDR, flags=0x40) + TABLES)
    assert (scan.random_access, scan.pes_starts) == ((), ())


def test_a_stream_that_flags_its_entry_points_is_trusted() -> None:
    assert entries(picture(IDR, 1), picture(NOT_IDR, 2, flags=0x40), picture(IDR, 3)) == [
        (0, 1),
        (3, 2),
    ]


def test_a_pts_that_is_missing_is_none() -> None:
    assert entries(picture(IDR, None)) == [(0, None)]


def test_an_entry_point_decided_in_a_later_chunk_has_a_negative_offset() -> None:
    header = b"\0\0\1\x09\x10\0\0\1\x06\x05\xff" + b"\x22" * 400
    packets = packets_of(picture(header + IDR, 77))
    scanner = TsScanner()
    scanner.scan(TABLES)
    assert [scanner.scan(part).random_access for part in packets[:-1]] == [()] * (len(packets) - 1)
    (point,) = scanner.scan(packets[-1]).random_access
    assert point == (-PACKET_SIZE * (len(packets) - 1), TABLES, 77)


def test_a_start_code_over_two_packets_is_found() -> None:
    for gap in range(160, 190):
        assert entries(picture(b"\0\0\1\x09".ljust(gap, b"\x10") + IDR)) == [(0, 900)], gap


def test_a_picture_with_a_hole_in_it_is_no_entry_point() -> None:
    packets = packets_of(picture(b"\0\0\1\x09".ljust(370, b"\x10") + IDR))
    assert entries(*packets) == [(0, 900)]
    assert entries(packets[0], *packets[2:]) == []


def test_a_repeated_packet_in_a_picture_changes_nothing() -> None:
    packets = packets_of(picture(b"\0\0\1\x09".ljust(370, b"\x10") + IDR))
    assert entries(packets[0], packets[1], packets[1], packets[2]) == [(0, 900)]


def test_a_damaged_packet_in_a_picture_is_not_looked_into() -> None:
    packets = packets_of(picture(b"\0\0\1\x09".ljust(300, b"\x10") + IDR))
    damaged = bytes([0x47, packets[1][1] | 0x80]) + packets[1][2:]
    assert entries(packets[0], damaged, packets[1], packets[2]) == [(0, 900)]
    assert entries(packets[0], damaged, packets[2]) == []


def test_a_picture_that_was_never_decided_is_not_mixed_with_the_next() -> None:
    undecided = unit(VIDEO_PID, pes(0xE0, b"\0\0\1\x09".ljust(100, b"\x10"), 1), cc=0)
    flagged = unit(VIDEO_PID, pes(0xE0, NOT_IDR.ljust(170, b"\x11") + IDR * 9, 2), flags=0x40)
    assert len(undecided) == 1 and flagged[1][3] & 0x0F == 1
    assert entries(*undecided, *flagged) == [(1, 2)]


def test_a_pid_that_turns_from_an_open_table_into_the_video_is_entered_like_any_other() -> None:
    long = [(H264, VIDEO_PID, b""), (AAC, AUDIO_PID, bytes([0x80, 250]) + bytes(250))]
    opened = table(PMT_PID, pmt(1, VIDEO_PID, long))[:1]
    moved = table(0, pat({1: 0x90}, version=1), cc=1)
    new = table(0x90, pmt(1, PMT_PID, [(H264, PMT_PID, b"")], version=1))
    body = unit(PMT_PID, pes(0xE0, IDR, 5), cc=2)
    data = b"".join([*opened, *moved, *new, packet(PMT_PID, b"x" * 184, cc=1), *body])
    assert entries(data) == [(4, 5)]


def test_a_picture_without_a_slice_is_given_up() -> None:
    endless = unit(VIDEO_PID, pes(0xE0, b"\0\0\1\x09".ljust(40_000, b"\x10") + IDR, 5))
    scanner = TsScanner()
    scanner.scan(TABLES)
    for part in endless:
        assert not scanner.scan(part).random_access
    assert not scanner._open


def test_scrambled_pictures_are_entered_by_flag_alone() -> None:
    clear = picture(IDR, 5, flags=0x40)
    scrambled = b"".join(bytes([*p[:3], p[3] | 0x80, *p[4:]]) for p in packets_of(clear))
    assert entries(scrambled) == [(0, None)]
    assert entries(without_entry_flags(scrambled)) == []


def test_damaged_packets_start_nothing() -> None:
    start = bytearray(picture(IDR, flags=0x40))
    start[1] |= 0x80
    assert entries(bytes(start)) == []


def test_a_unit_start_that_is_no_pes_packet_is_no_entry_point() -> None:
    assert entries(packet(VIDEO_PID, b"\0\0\2" * 50, start=True, flags=0x40)) == []
    assert entries(packet(VIDEO_PID, start=True, flags=0x40)) == []
    assert entries(packet(VIDEO_PID, b"\0\0", start=True, flags=0x40)) == []


# -- tables ---------------------------------------------------------------------------------------


def test_a_new_version_of_the_pmt_changes_the_program() -> None:
    scanner = TsScanner()
    assert scanner.scan(TABLES).program_changed
    assert not scanner.scan(TABLES).program_changed
    new = b"".join(table(PMT_PID, pmt(1, VIDEO_PID, [(HEVC, VIDEO_PID, b"")], version=1), cc=1))
    assert scanner.scan(new).program_changed
    assert scanner.program is not None
    assert (scanner.program.version, scanner.program.streams[0].codec) == (1, "hevc")
    assert scanner.tables == TABLES[:PACKET_SIZE] + new


def test_a_table_that_is_not_yet_applicable_or_damaged_is_ignored() -> None:
    streams = [(HEVC, VIDEO_PID, b"")]
    coming = b"".join(table(PMT_PID, pmt(1, VIDEO_PID, streams, version=1, current=False)))
    damaged = bytearray(b"".join(table(PMT_PID, pmt(1, VIDEO_PID, streams, version=2))))
    damaged[20] ^= 1
    scanner = TsScanner()
    scanner.scan(TABLES)
    for bad in (coming, bytes(damaged)):
        assert not scanner.scan(bad).program_changed
        assert scanner.tables == TABLES


def test_a_pmt_may_take_several_packets() -> None:
    long = [(H264, VIDEO_PID, b""), (AAC, AUDIO_PID, bytes([0x80, 250]) + bytes(250))]
    packets = table(PMT_PID, pmt(1, VIDEO_PID, long * 2), cc=14)
    assert len(packets) == 3
    data = b"".join(table(0, pat({1: PMT_PID})) + packets)
    noise = picture(IDR)
    scanner = TsScanner()
    for at in range(len(data) // PACKET_SIZE):
        scanner.scan(data[at * PACKET_SIZE :][:PACKET_SIZE] + noise)
    assert scanner.program is not None and len(scanner.program.streams) == 4
    assert scanner.tables == data


def test_a_join_inside_a_pmt_still_has_every_counter() -> None:
    long = [(H264, VIDEO_PID, b""), (AAC, AUDIO_PID, bytes([0x80, 250]) + bytes(250))]

    def tables(cc: int) -> list[bytes]:
        return table(0, pat({1: PMT_PID}), cc=cc) + table(
            PMT_PID, pmt(1, VIDEO_PID, long), cc=2 * cc
        )

    data = b"".join(
        [*tables(0), *tables(1)[:2], picture(IDR, flags=0x40), tables(1)[2], *tables(2)]
    )
    (point,) = TsScanner().scan(data).random_access
    assert not ContinuityChecker().feed(point.tables + data[point.offset :])
    assert point.offset == 5 * PACKET_SIZE


def two_programs(
    first: list[tuple[int, int, bytes]], second: list[tuple[int, int, bytes]]
) -> bytes:
    return b"".join(
        table(0, pat({1: 0x20, 2: 0x30}))
        + table(0x20, pmt(1, 0x21, first))
        + table(0x30, pmt(2, 0x31, second))
    )


def test_of_several_programs_the_first_with_video_is_chosen() -> None:
    for first, second, chosen in (
        ([(AAC, 0x21, b"")], [(H264, 0x31, b"")], 2),
        ([(H264, 0x21, b"")], [(H264, 0x31, b"")], 1),
        ([(AAC, 0x21, b"")], [(AAC, 0x31, b"")], 1),
        ([(0x06, 0x21, b"")], [(AAC, 0x31, b"")], 2),
    ):
        data = two_programs(first, second)
        scanner = TsScanner()
        scanner.scan(data)
        assert scanner.program is not None
        assert scanner.program.program_number == chosen
        assert sorted(scanner.programs) == [1, 2]
        assert scanner.tables == data


def test_a_chosen_program_stays_when_an_equal_one_appears_before_it() -> None:
    scanner = TsScanner()
    first, second = (
        table(0x20, pmt(1, 0x21, [(H264, 0x21, b"")])),
        table(0x30, pmt(2, 0x31, [(H264, 0x31, b"")])),
    )
    scanner.scan(b"".join(table(0, pat({1: 0x20, 2: 0x30})) + second))
    assert not scanner.scan(b"".join(first)).program_changed
    assert scanner.program is scanner.programs[2]


def test_programs_may_share_one_pmt_pid() -> None:
    maps = [pmt(n, 0x20 + n, [(H264, 0x20 + n, b"")]) for n in (1, 2)]
    together = b"".join(table(0, pat({1: 0x10, 2: 0x10})) + table(0x10, *maps))
    apart = b"".join(
        table(0, pat({1: 0x10, 2: 0x10})) + table(0x10, maps[0]) + table(0x10, maps[1], cc=1)
    )
    for data in (together, apart):
        scanner = TsScanner()
        scanner.scan(data)
        assert sorted(scanner.programs) == [1, 2]
        assert scanner.tables == data


def test_a_program_that_left_the_pat_is_gone_until_its_pmt_is_read_again() -> None:
    scanner = TsScanner()
    scanner.scan(TABLES)
    moved = b"".join(table(0, pat({1: 0x90}, version=1), cc=1))
    assert scanner.scan(moved).program_changed
    assert (scanner.program, scanner.programs, scanner.tables) == (None, {}, moved)
    assert not scanner.scan(TABLES[PACKET_SIZE:]).program_changed
    again = b"".join(table(0x90, pmt(1, VIDEO_PID, [(H264, VIDEO_PID, b"")])))
    assert scanner.scan(again).program_changed
    assert scanner.tables == moved + again


def test_a_pat_may_have_several_sections() -> None:
    parts = [
        table(0, pat({number + 1: 0x20 + number}, number=number, last=1), cc=number)
        for number in (0, 1)
    ]
    scanner = TsScanner()
    scanner.scan(b"".join(parts[1]))
    maps = table(0x20, pmt(1, 0x50, [(H264, 0x50, b"")])) + table(0x21, pmt(2, 0x51, []))
    assert not scanner.scan(b"".join(maps)).program_changed
    scanner.scan(b"".join(parts[0]))
    assert scanner.scan(b"".join(maps)).program_changed
    assert sorted(scanner.programs) == [1, 2]


def test_a_reset_scanner_knows_nothing() -> None:
    scanner = TsScanner()
    scanner.scan(clip("h264"))
    scanner.reset()
    assert (scanner.program, scanner.programs, scanner.tables) == (None, {}, b"")
    assert scanner.scan(picture(IDR)).random_access == ()
    assert scanner.scan(clip("h264")).random_access == TsScanner().scan(clip("h264")).random_access


# -- clock ----------------------------------------------------------------------------------------


def test_the_first_and_last_pcr_are_those_of_the_program() -> None:
    data = TABLES + b"".join(
        [
            pcr_packet(0x999, 5),
            pcr_packet(VIDEO_PID, 1000),
            pcr_packet(VIDEO_PID, 2000, cc=1),
            packet(VIDEO_PID, b"\x10" * 184),
            pcr_packet(VIDEO_PID, 3299),
            pcr_packet(0x999, 7),
        ]
    )
    scan = TsScanner().scan(data)
    assert (scan.first_pcr, scan.last_pcr, scan.pcr_discontinuity) == (1000, 3299, False)


def test_pcr_flags_behind_an_empty_or_short_adaptation_field_are_no_pcr() -> None:
    short = b"\x47\x01\x01\x30\x01\x10" + b"\xff" * 182
    empty = b"\x47\x01\x01\x30\x00\x90" + b"\xff" * 182
    scan = TsScanner().scan(TABLES + short + empty)
    assert (scan.first_pcr, scan.last_pcr, scan.pcr_discontinuity) == (None, None, False)


def test_a_discontinuity_on_the_pcr_pid_is_told_with_or_without_a_pcr() -> None:
    for mark in (discontinuity_packet(VIDEO_PID, 3), pcr_packet(VIDEO_PID, 5, discontinuity=True)):
        assert TsScanner().scan(TABLES + mark).pcr_discontinuity
    assert not TsScanner().scan(TABLES + discontinuity_packet(AUDIO_PID, 3)).pcr_discontinuity


def test_real_media_time_and_bitrate_come_out_of_the_pcrs() -> None:
    data = clip("h264")
    scanner, clock = TsScanner(), PcrClock()
    for chunk in split(data, 1, 100, PACKET_SIZE):
        seconds = clock.follow(scanner.scan(chunk), len(chunk))
    assert 2.0 < seconds < 2.5
    assert seconds == clock.seconds
    assert clock.bitrate == pytest.approx(len(data) * 8 / 2.4, rel=0.15)


def test_a_clock_runs_on_over_the_wrap() -> None:
    clock = PcrClock()
    assert clock.update(PCR_WRAP - PCR_HZ) == 0.0
    assert clock.update(PCR_HZ) == 2.0


def test_jumps_count_as_no_time() -> None:
    clock = PcrClock()
    clock.update(100 * PCR_HZ)
    assert clock.update(101 * PCR_HZ) == 1.0
    assert clock.update(50 * PCR_HZ) == 1.0
    assert clock.update(51 * PCR_HZ) == 2.0
    assert clock.update(62 * PCR_HZ) == 2.0
    assert clock.update(63 * PCR_HZ, discontinuity=True) == 2.0
    assert clock.update(64 * PCR_HZ) == 3.0


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, PCR_WRAP + 300), st.booleans())))
def test_a_clock_never_goes_back(updates: list[tuple[int, bool]]) -> None:
    clock = PcrClock()
    before = 0.0
    for pcr, discontinuity in updates:
        now = clock.update(pcr, discontinuity=discontinuity)
        assert before <= now <= before + 10
        before = now


def test_the_bitrate_follows_a_change() -> None:
    clock, scanner = PcrClock(), TsScanner()
    scanner.scan(TABLES)
    for second in range(60):
        size = 125_000 if second < 30 else 250_000
        clock.follow(scanner.scan(pcr_packet(VIDEO_PID, second * PCR_HZ)), size)
        if second == 29:
            assert clock.bitrate == pytest.approx(1_000_000)
    assert clock.bitrate == pytest.approx(2_000_000, rel=0.15)


def test_a_null_packet_is_stuffing() -> None:
    assert len(null_packet()) == PACKET_SIZE
    assert null_packet()[:4] == b"\x47\x1f\xff\x10"
    scan = TsScanner().scan(TABLES + null_packet())
    assert (scan.random_access, scan.first_pcr) == ((), None)
    assert NULL_PID not in continuity_counters(TABLES + null_packet())


def test_a_packet_is_found_by_its_pid_between_others() -> None:
    data = b"".join(packet(pid, b"x") for pid in (0x101, 0x201, 0x102, 0x101, 0x1E01, 0x8201))
    high, low = data[1::PACKET_SIZE], data[2::PACKET_SIZE]
    assert find_packet(high, low, (0x201, 0x102), 0, 5) == 1
    assert find_packet(high, low, (0x101,), 1, 5) == 3
    assert find_packet(high, low, (0x1E01,), 0, 4) == 4
    assert find_packet(high, low, (), 0, 5) == 5
    # transport_error_indicator: its PID can't be trusted
    assert find_packet(high, low, (0x201,), 2, 6) == 6


# -- any bytes ------------------------------------------------------------------------------------


def mutated(data: bytes, choose: random.Random) -> bytes:
    """A stream with bytes changed, most of them in headers, and packets dropped, doubled, moved."""
    packets = [bytearray(part) for part in packets_of(data)]
    for _ in range(choose.randint(1, 60)):
        where = choose.randrange(len(packets))
        match choose.randrange(6):
            case 0:
                packets[where][choose.randrange(1, PACKET_SIZE)] = choose.randrange(256)
            case 1:
                packets[where][choose.randrange(1, 20)] = choose.randrange(256)
            case 2:
                del packets[where]
            case 3:
                packets.insert(where, packets[where])
            case 4:
                packets.insert(where, packets.pop(choose.randrange(len(packets))))
            case 5:
                bit = 1 << choose.randrange(8)
                packets[where][choose.randrange(1, 12)] ^= bit
    return b"".join(packets)


@pytest.mark.parametrize("name", CODINGS)
def test_mutated_streams_read_the_same_whatever_the_chunks(name: str) -> None:
    for seed in range(12):
        choose = random.Random(seed)
        data = clip(name)[: 400 * PACKET_SIZE]
        if seed % 2:
            data = without_entry_flags(data)
        data = mutated(data, choose)
        whole = see([data])
        assert see(packets_of(data)) == whole
        assert see(split(data, seed, 30, PACKET_SIZE)) == whole


@st.composite
def odd_packets(draw: st.DrawFn) -> bytes:
    """Packets on few PIDs that are tables, pictures and clocks at once, or nothing sensible."""
    pids = st.sampled_from([0, 0x10, 0x11, 0x12, 0x13])
    streams = st.lists(
        st.tuples(st.sampled_from([0x01, 0x02, 0x1B, 0x24, 0x0F, 6]), pids), max_size=3
    )
    body = st.one_of(
        st.dictionaries(st.integers(0, 2), pids, max_size=3).map(pat),
        st.builds(
            lambda number, pcr, rows, version, extra: pmt(
                number, pcr, [(kind, pid, bytes(extra)) for kind, pid in rows], version=version
            ),
            st.integers(0, 2),
            pids,
            streams,
            st.integers(0, 2),
            st.sampled_from([0, 0, 90, 200]),
        ),
        st.binary(max_size=200),
    )
    made = []
    counters: dict[int, int] = {}
    for _ in range(draw(st.integers(0, 25))):
        pid = draw(pids)
        cc = counters.get(pid, 0)
        match draw(st.integers(0, 4)):
            case 0 | 1:
                made += table(pid, draw(body), cc=cc, pointer=draw(st.sampled_from([b"", b"ab"])))
            case 2:
                pictures = st.sampled_from([IDR, NOT_IDR, b"\0\0\1\x09", b"\0\0\1\x06\x06\x01\x80"])
                data = draw(pictures).ljust(draw(st.integers(0, 300)), b"\1") + draw(pictures)
                made += unit(
                    pid, pes(0xE0, data, 9000), cc=cc, flags=draw(st.sampled_from([0, 0x40]))
                )
            case 3:
                made.append(
                    pcr_packet(pid, draw(st.integers(0, 1 << 40)), cc=cc, discontinuity=True)
                )
            case 4:
                head = draw(st.binary(min_size=7, max_size=7))
                made.append(b"G" + head + pcr_fields(1).ljust(180, b"\0"))
        counters[pid] = (made[-1][3] + draw(st.sampled_from([0, 1, 1, 1, 1, 1]))) & 15
    return b"".join(made)


@settings(max_examples=300, deadline=None)
@given(odd_packets())
@example(b"")
def test_odd_packets_read_the_same_whatever_the_chunks(data: bytes) -> None:
    whole = see([data])
    assert see(packets_of(data)) == whole
    assert see(split(data, len(data), 4, PACKET_SIZE)) == whole
    continuity_counters(data)
    ContinuityChecker().feed(data)


@settings(deadline=None)
@given(st.binary(max_size=2000))
def test_any_bytes_at_all_raise_nothing(data: bytes) -> None:
    scanner = TsScanner(want_pes_starts=True)
    scanner.scan(TABLES)
    scanner.scan(data)
    continuity_counters(data)
    ContinuityChecker().feed(data)


@given(st.integers(0, 10_000), st.sampled_from([1, 7, 188, 1000, 70_000]))
@settings(max_examples=40, deadline=None)
def test_cutter_and_scanner_agree_on_a_broken_line_whatever_arrives_at_once(
    seed: int, most: int
) -> None:
    choose = random.Random(seed)
    data = bytearray(clip("h264")[: 120 * PACKET_SIZE])
    for _ in range(choose.randint(0, 4)):
        at = choose.randrange(len(data))
        data[at : at + choose.randrange(500)] = choose.randbytes(choose.randrange(300))
    whole = see([PacketCutter().feed(bytes(data))])
    cutter = PacketCutter()
    assert see(map(cutter.feed, split(bytes(data), seed, most))) == whole
