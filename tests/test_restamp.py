from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ts_clips import (
    CODINGS,
    clip,
    decode,
    packet,
    packets_of,
    pat,
    pcr_fields,
    pcr_packet,
    pes,
    pmt,
    table,
    unit,
)

from rawstream.continuity import ContinuityChecker
from rawstream.mpegts import (
    PACKET_SIZE,
    PCR_WRAP,
    PTS_WRAP,
    PcrClock,
    TsScanner,
    null_packet,
)
from rawstream.psi import TableReader, crc32_mpeg
from rawstream.restamp import PesTimestamps, Restamper, pes_timestamps

PMT_PID = 0x100
VIDEO_PID = 0x101
STREAMS = [(0x1B, VIDEO_PID, b"")]


def chunks_of(data: bytes, count: int) -> list[bytes]:
    return [data[at : at + count * PACKET_SIZE] for at in range(0, len(data), count * PACKET_SIZE)]


def moved(data: bytes, offset: int) -> bytes:
    restamper = Restamper()
    restamper.offset = offset
    return restamper.restamp(data)


def duration(data: bytes) -> int:
    """What the timeline of a clip takes up, in 90 kHz ticks, its last picture included."""
    times = list(pes_timestamps(data))
    first = min(time.pts if time.dts is None else time.dts for time in times)
    return max(time.pts for time in times) + 3600 - first


def looped(data: bytes, times: int, packets: int, *, raise_versions: bool = False) -> bytes:
    restamper = Restamper(keep_continuity=True)
    out = []
    for number in range(times):
        restamper.offset = number * duration(data)
        restamper.pmt_version_delta = number if raise_versions else 0
        out += [restamper.restamp(chunk) for chunk in chunks_of(data, packets)]
    return b"".join(out)


# -- reading timestamps ---------------------------------------------------------------------------


def test_timestamps_are_told_with_their_packet_and_pid() -> None:
    data = b"".join(
        [
            packet(0x40, pes(0xE0, b"x", 900), start=True),
            packet(0x41, pes(0xE0, b"x", PTS_WRAP - 1, 5), start=True),
            packet(0x42, pes(0xC0, b"no time"), start=True),
            packet(0x43, pes(0xC0, b"x", 4)),
            packet(0x44, b"\0" + pat({1: 2}), start=True),
        ]
    )
    assert list(pes_timestamps(data + b"G@")) == [
        PesTimestamps(0, 0x40, 900, None),
        PesTimestamps(188, 0x41, PTS_WRAP - 1, 5),
    ]


def test_damaged_scrambled_and_split_headers_have_no_timestamp() -> None:
    whole = packet(0x40, pes(0xE0, b"x", 900), start=True)
    damaged = bytes([0x47, whole[1] | 0x80]) + whole[2:]
    scrambled = whole[:3] + bytes([whole[3] | 0x80]) + whole[4:]
    split = packet(0x40, pes(0xE0, b"x", 900)[:13], start=True)
    empty = packet(0x40, start=True)
    assert list(pes_timestamps(damaged + scrambled + split + empty)) == []


# -- moving clocks and timestamps -----------------------------------------------------------------


def test_a_restamper_with_nothing_to_do_gives_the_same_object_back() -> None:
    data = clip("h264")
    restamper = Restamper()
    assert restamper.restamp(data) is data
    restamper.offset = PTS_WRAP
    assert restamper.restamp(data) is data


@pytest.mark.parametrize("offset", [1, 90_000, -90_000, PTS_WRAP - 1, 12_345_678_901])
@pytest.mark.parametrize("name", ["h264", "hevc-open-gop", "mpeg2", "audio"])
def test_every_timestamp_is_moved_and_moved_back(name: str, offset: int) -> None:
    data = clip(name)
    out = moved(data, offset)
    assert len(out) == len(data)
    pairs = list(zip(pes_timestamps(data), pes_timestamps(out), strict=True))
    assert len(pairs) > 20
    for old, new in pairs:
        assert new.pts == (old.pts + offset) % PTS_WRAP
        assert (new.dts is None) == (old.dts is None)
        assert old.dts is None or new.dts == (old.dts + offset) % PTS_WRAP
    old_scan, new_scan = TsScanner().scan(data), TsScanner().scan(out)
    for before, after in (
        (old_scan.first_pcr, new_scan.first_pcr),
        (old_scan.last_pcr, new_scan.last_pcr),
    ):
        assert after == (before + offset * 300) % PCR_WRAP
    assert moved(out, -offset) == data


def test_only_clock_and_time_fields_change() -> None:
    # every bit that is neither clock nor time is set, then clear: none may move
    field = pcr_fields(1000)
    for fill in (b"\0", b"\xff"):
        data = b"".join(
            [
                packet(0x40, fill * 10, flags=0x18, fields=field + field + fill * 9),
                packet(0x40, pes(0xE0, fill * 100, 7, 6), start=True),
                packet(0x40, fill * 184),
                packet(0x40, fill * 100, flags=0),
            ]
        )
        new = pcr_fields(1000 + 300)
        assert moved(data, 1) == b"".join(
            [
                packet(0x40, fill * 10, flags=0x18, fields=new + new + fill * 9),
                packet(0x40, pes(0xE0, fill * 100, 8, 7), start=True),
                packet(0x40, fill * 184),
                packet(0x40, fill * 100, flags=0),
            ]
        )


@settings(deadline=None)
@given(st.integers(0, PCR_WRAP - 1), st.integers(0, PTS_WRAP - 1), st.integers(-(1 << 34), 1 << 34))
def test_clocks_and_timestamps_wrap(pcr: int, pts: int, offset: int) -> None:
    data = pcr_packet(0x40, pcr) + packet(0x40, pes(0xE0, b"x", pts, pts), start=True)
    new = (pts + offset) % PTS_WRAP
    assert moved(data, offset) == pcr_packet(0x40, (pcr + offset * 300) % PCR_WRAP) + packet(
        0x40, pes(0xE0, b"x", new, new), start=True
    )


def test_a_pcr_that_its_adaptation_field_has_no_room_for_stays() -> None:
    short = b"\x47\x00\x40\x30\x06\x10" + b"\xee" * 182
    no_opcr = b"\x47\x00\x40\x30\x07\x18" + pcr_fields(1) + b"\xee" * 176
    assert moved(short, 5) == short
    assert moved(no_opcr, 5) == b"\x47\x00\x40\x30\x07\x18" + pcr_fields(1501) + b"\xee" * 176


def test_the_reserved_bits_of_a_pcr_stay() -> None:
    for reserved in (0x0000, 0x7E00, 0x2A00):
        clear = int.from_bytes(pcr_fields(0), "big") & ~0x7E00 | reserved
        field = clear.to_bytes(6, "big")
        (out,) = packets_of(moved(packet(0x40, flags=0x10, fields=field), 1))
        assert int.from_bytes(out[6:12], "big") == (1 << 15) | reserved


def test_a_damaged_packet_is_not_moved() -> None:
    for good in (pcr_packet(0x40, 1), packet(0x40, pes(0xE0, b"x", 9), start=True)):
        damaged = bytes([0x47, good[1] | 0x80]) + good[2:]
        assert moved(damaged, 5) == damaged
        assert moved(good, 5) != good


def test_a_last_piece_of_a_packet_stays_as_it_is() -> None:
    data = pcr_packet(0x40, 1)
    assert moved(data + data[:100], 1) == pcr_packet(0x40, 301) + data[:100]


# -- loops ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", CODINGS)
def test_a_loop_runs_on_in_counters_time_and_pictures(name: str) -> None:
    data = clip(name)
    assert ContinuityChecker().feed(data + data)
    out = looped(data, 3, 100)
    assert ContinuityChecker().feed(out) == []
    once, thrice = decode(data), decode(out)
    assert thrice.complaints == []
    assert len(thrice.pictures) == 3 * len(once.pictures)
    assert thrice.pictures == sorted(thrice.pictures)
    assert len(set(thrice.pictures)) == len(thrice.pictures)
    assert thrice.sounds >= 3 * (once.sounds - 1)
    scanner, clock = TsScanner(), PcrClock()
    for chunk in chunks_of(out, 50):
        clock.follow(scanner.scan(chunk), len(chunk))
    assert clock.seconds == pytest.approx(3 * duration(data) / 90_000, abs=0.3)


def test_a_loop_is_the_same_however_it_is_cut_into_chunks() -> None:
    data = clip("h264")
    expected = looped(data, 2, 10_000, raise_versions=True)
    assert looped(data, 2, 1, raise_versions=True) == expected
    assert looped(data, 2, 7, raise_versions=True) == expected


def count_on(*pieces: list[bytes]) -> bytes:
    restamper = Restamper(keep_continuity=True)
    out = []
    for piece in pieces:
        restamper.splice()
        out += [restamper.restamp(one) for one in piece]
    return b"".join(out)


def counters(data: bytes) -> list[int]:
    return [one[3] & 0x0F for one in packets_of(data)]


def test_counters_go_on_where_the_piece_before_ended() -> None:
    first = [packet(0x40, b"a" * 184, cc=cc) for cc in (4, 5, 6)]
    assert counters(count_on(first, first)) == [4, 5, 6, 7, 8, 9]
    assert count_on(first) == b"".join(first)


def test_each_pid_has_its_own_counter() -> None:
    piece = [packet(pid, b"a" * 184, cc=cc) for pid, cc in ((0x40, 1), (0x140, 9), (0x41, 5))]
    later = [packet(0x99, b"a" * 184, cc=8), *piece]
    assert counters(count_on(piece, later)) == [1, 9, 5, 8, 2, 10, 6]


def test_holes_and_repeats_inside_a_piece_stay_what_they_are() -> None:
    piece = [packet(0x40, b"a" * 184, cc=cc) for cc in (0, 0, 1, 5)]
    assert counters(count_on(piece, piece)) == [0, 0, 1, 5, 6, 6, 7, 11]


def test_a_piece_that_begins_without_payload_keeps_the_counter() -> None:
    piece = [pcr_packet(0x40, 1, cc=15), packet(0x40, b"a" * 184, cc=0)]
    out = count_on([packet(0x40, b"a" * 184, cc=7)], piece)
    assert counters(out) == [7, 7, 8]
    assert ContinuityChecker().feed(out) == []


def test_damaged_and_null_packets_keep_their_bytes() -> None:
    damaged = bytes([0x47, 0x80, 0x40, 0x13]) + b"x" * 184
    good = [packet(0x40, b"a" * 184, cc=cc) for cc in (3, 4)]
    out = count_on([*good, null_packet()], [damaged, null_packet(), *good, null_packet(), damaged])
    assert packets_of(out)[2:5] == [null_packet(), damaged, null_packet()]
    assert packets_of(out)[7:] == [null_packet(), damaged]
    assert counters(out)[5:7] == [5, 6]


def test_setting_the_offset_begins_a_piece() -> None:
    restamper = Restamper(keep_continuity=True)
    data = packet(0x40, b"a" * 184, cc=3)
    out = [restamper.restamp(data)]
    restamper.offset = 90_000
    out.append(restamper.restamp(data))
    assert counters(b"".join(out)) == [3, 4]


@settings(deadline=None)
@given(st.lists(st.tuples(st.sampled_from([0x20, 0x120, 0x21]), st.booleans()), max_size=40))
def test_a_sound_stream_stays_sound_over_any_splices(rows: list[tuple[int, bool]]) -> None:
    last: dict[int, int] = {}
    packets = []
    for pid, full in rows:
        last[pid] = last.get(pid, 3) + full & 0x0F
        packets.append(packet(pid, b"x" * 80 if full else b"", cc=last[pid]))
    assert ContinuityChecker().feed(b"".join(packets)) == []
    out = count_on([b"".join(packets)], packets, packets[len(packets) // 2 :])
    assert ContinuityChecker().feed(out) == []


# -- versions -------------------------------------------------------------------------------------


def pmts(data: bytes, pid: int) -> list[bytes]:
    """The sections of a PID that a reader believes, one by one."""
    reader = TableReader(0x02)
    found = []
    for one in packets_of(data):
        if (one[1] & 0x1F) << 8 | one[2] == pid:
            found += [section for _, section in reader.read(one, 0, PACKET_SIZE)]
    return found


def raised(data: bytes, delta: int) -> bytes:
    restamper = Restamper()
    restamper.pmt_version_delta = delta
    return restamper.restamp(data)


@pytest.mark.parametrize("delta", [1, 5, 31, 33, -1])
@pytest.mark.parametrize("version", [0, 17, 31])
def test_the_version_is_raised_and_the_crc_is_right(version: int, delta: int) -> None:
    tables = b"".join(table(0, pat({1: PMT_PID})))
    data = tables + b"".join(table(PMT_PID, pmt(1, VIDEO_PID, STREAMS, version=version)))
    expected = pmt(1, VIDEO_PID, STREAMS, version=(version + delta) % 32)
    assert raised(data, delta) == tables + b"".join(table(PMT_PID, expected))


@pytest.mark.parametrize("pointer", [0, 100, 170, 176, 177, 178, 179, 180, 181, 182])
def test_a_pmt_over_several_packets_and_chunks_is_raised(pointer: int) -> None:
    streams = [(0x1B, VIDEO_PID, b"\x80\xfa" + bytes(range(250)))] * 2
    packets = table(0, pat({1: PMT_PID})) + table(
        PMT_PID,
        pmt(1, VIDEO_PID, streams, version=3),
        pmt(2, VIDEO_PID, STREAMS, version=3),
        pointer=b"\x02" * pointer,
    )
    restamper = Restamper()
    restamper.pmt_version_delta = 2
    out = b"".join(map(restamper.restamp, packets))
    assert out == raised(b"".join(packets), 2)
    assert pmts(out, PMT_PID) == [
        pmt(1, VIDEO_PID, streams, version=5),
        pmt(2, VIDEO_PID, STREAMS, version=5),
    ]


def test_the_versions_of_the_pat_and_the_pmt_are_raised_apart() -> None:
    old = [pat({1: PMT_PID}, version=30), pmt(1, VIDEO_PID, STREAMS)]
    new = [pat({1: PMT_PID}, version=1), pmt(1, VIDEO_PID, STREAMS, version=2)]
    for pat_delta, pmt_delta in ((3, 0), (0, 2), (3, 2)):
        restamper = Restamper()
        restamper.pat_version_delta, restamper.pmt_version_delta = pat_delta, pmt_delta
        data = b"".join(table(0, old[0]) + table(PMT_PID, old[1]))
        expected = table(0, (new if pat_delta else old)[0])
        expected += table(PMT_PID, (new if pmt_delta else old)[1])
        assert restamper.restamp(data) == b"".join(expected)


def test_a_wrong_crc_stays_wrong() -> None:
    bad = bytearray(pmt(1, VIDEO_PID, STREAMS))
    bad[-1] ^= 1
    data = b"".join(table(0, pat({1: PMT_PID})) + table(PMT_PID, bytes(bad)))
    assert pmts(raised(data, 1), PMT_PID) == []


def test_other_tables_and_other_pids_keep_their_bytes() -> None:
    section = pmt(1, VIDEO_PID, STREAMS)
    other = bytes([0x42]) + section[1:-4]
    other += crc32_mpeg(other).to_bytes(4, "big")
    data = b"".join(
        [
            *table(PMT_PID, section),  # the PAT has not said yet what this is
            *table(0, pat({1: PMT_PID})),
            *table(PMT_PID, other, cc=1),
            *table(0x77, section),
            *unit(VIDEO_PID, pes(0xE0, section, 5)),
        ]
    )
    assert raised(data, 1) == data


def test_a_pmt_is_followed_to_another_pid() -> None:
    section = pmt(1, VIDEO_PID, STREAMS)
    data = b"".join(
        [
            *table(0, pat({1: PMT_PID})),
            *table(PMT_PID, section),
            *table(0, pat({1: 0x90}, version=1), cc=1),
            *table(PMT_PID, section, cc=1),
            *table(0x90, section),
        ]
    )
    out = packets_of(raised(data, 1))
    assert [new != old for new, old in zip(out, packets_of(data), strict=True)] == [
        False,
        True,
        False,
        False,
        True,
    ]


def test_players_see_a_raised_version_as_a_new_program() -> None:
    data = clip("h264")
    scanner = TsScanner()
    assert scanner.scan(data).program_changed
    scan = scanner.scan(looped(data, 2, 348, raise_versions=True)[len(data) :])
    assert scan.program_changed
    assert scanner.program is not None and scanner.program.version == 1
    assert len(scan.random_access) == len(TsScanner().scan(data).random_access)
    assert decode(looped(data, 2, 348, raise_versions=True)).complaints == []


# -- any bytes ------------------------------------------------------------------------------------


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.binary(min_size=8, max_size=24), max_size=20),
    st.integers(-5, PTS_WRAP),
    st.integers(0, 31),
    st.booleans(),
    st.integers(0, 187),
)
def test_any_bytes_come_out_in_the_same_number_and_raise_nothing(
    heads: list[bytes], offset: int, delta: int, keep: bool, extra: int
) -> None:
    data = b"".join(b"G" + head.ljust(187, head[-1:]) for head in heads) + b"G" * extra
    tables = b"".join(table(0, pat({1: PMT_PID})))
    restamper = Restamper(keep_continuity=keep)
    restamper.offset = offset
    restamper.pmt_version_delta = delta
    for part in (tables, data, data):
        assert len(restamper.restamp(part)) == len(part)
    list(pes_timestamps(data))


def test_mutated_streams_are_restamped_alike_whatever_the_chunks() -> None:
    for seed in range(10):
        choose = random.Random(seed)
        data = bytearray(clip("h264")[: 200 * PACKET_SIZE])
        for _ in range(100):
            at = choose.randrange(200) * PACKET_SIZE + choose.randrange(1, 24)
            data[at] = choose.randrange(256)
        whole, parts = Restamper(keep_continuity=True), Restamper(keep_continuity=True)
        for restamper in (whole, parts):
            restamper.offset = 777
            restamper.pmt_version_delta = 3
        pieces = [parts.restamp(chunk) for chunk in chunks_of(bytes(data), 1 + seed)]
        assert b"".join(pieces) == whole.restamp(bytes(data))
