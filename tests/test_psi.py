from __future__ import annotations

import random
import zlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ts_clips import PACKET, packet, pat, pmt, section, table

from rawstream.psi import (
    PAT_TABLE_ID,
    PMT_TABLE_ID,
    ElementaryStream,
    SectionWalker,
    TableReader,
    crc32_mpeg,
    parse_pmt,
)

H264_AND_AAC = [(0x1B, 0x101, b""), (0x0F, 0x102, b"\x0a\x04eng\0")]


def crc32_bit_by_bit(data: bytes) -> int:
    """Annex A as it is drawn there: a shift register with feedback."""
    register = 0xFFFFFFFF
    for byte in data:
        for bit in range(7, -1, -1):
            feedback = register >> 31 ^ byte >> bit & 1
            register = register << 1 & 0xFFFFFFFF ^ (0x04C11DB7 if feedback else 0)
    return register


@settings(deadline=None)
@given(st.binary(max_size=300))
def test_the_crc_is_that_of_annex_a(data: bytes) -> None:
    assert crc32_mpeg(data) == crc32_bit_by_bit(data)


def test_the_crc_is_not_zlibs() -> None:
    assert crc32_mpeg(b"123456789") == 0x0376E6E7 != zlib.crc32(b"123456789")


def read(reader: TableReader, packets: list[bytes]) -> list[tuple[int, bytes]]:
    fresh = []
    for data in packets:
        fresh += reader.read(b"before" + data + b"after", 6, 6 + PACKET)
    return fresh


# -- sections -------------------------------------------------------------------------------------


def walked(packets: list[bytes]) -> list[bytes]:
    """The sections that a walk completes."""
    walker = SectionWalker()
    complete, data = [], b""
    for one in packets:
        for start, end, at, total in walker.walk(one, 0, PACKET):
            data = (data if at else b"") + one[start:end]
            assert len(data) == at + end - start
            if len(data) == total:
                complete.append(data)
    return complete


SHORT = section(0x42, 7, b"short")
LONG = section(0x42, 8, bytes(range(1, 251)) * 3)


@pytest.mark.parametrize(
    "sections", [[SHORT], [LONG], [SHORT, SHORT], [SHORT, LONG], [LONG, SHORT, LONG, SHORT]]
)
def test_sections_are_found_however_they_lie_in_packets(sections: list[bytes]) -> None:
    assert walked(table(0x30, *sections, cc=13)) == sections


@settings(deadline=None)
@given(st.lists(st.integers(0, 500), max_size=6), st.integers(0, 183))
def test_sections_of_any_size_are_found_behind_any_pointer(sizes: list[int], pointer: int) -> None:
    sections = [section(0x42, n, bytes(size)) for n, size in enumerate(sizes)]
    assert walked(table(0x30, *sections, pointer=b"\x42" * pointer)) == sections


def test_a_packet_that_ends_one_section_and_begins_another_is_read_to_both_sides() -> None:
    packets = table(0x30, LONG, SHORT, LONG)
    assert [bool(one[1] & 0x40) for one in packets].count(True) == 2
    assert walked(packets) == [LONG, SHORT, LONG]
    assert walked(packets[1:]) == [SHORT, LONG]


def test_a_lost_packet_loses_its_section_and_no_other() -> None:
    packets = table(0x30, LONG, cc=1) + table(0x30, SHORT, cc=6)
    for lost in range(1, len(packets) - 1):
        assert walked(packets[:lost] + packets[lost + 1 :]) == [SHORT]


def test_a_repeated_packet_changes_nothing() -> None:
    packets = table(0x30, LONG)
    for number in range(1, len(packets)):
        assert walked([*packets[: number + 1], *packets[number:]]) == [LONG]


def test_a_pointer_behind_the_packet_begins_nothing() -> None:
    assert walked([packet(0x30, bytes([200]) + SHORT.ljust(183, b"\xff"), start=True)]) == []


def test_scrambled_packets_hold_no_sections() -> None:
    (clear,) = table(0x30, SHORT)
    assert walked([clear]) == [SHORT]
    assert walked([bytes([*clear[:3], clear[3] | 0xC0, *clear[4:]])]) == []


def test_an_adaptation_field_stands_before_the_sections() -> None:
    assert walked([packet(0x30, b"\0" + SHORT, start=True, flags=0)]) == [SHORT]


@settings(deadline=None)
@given(st.lists(st.binary(min_size=PACKET, max_size=PACKET), max_size=12))
def test_any_packets_are_walked_without_an_exception(packets: list[bytes]) -> None:
    walked([bytes([0x47, 0x40, 0x30, 0x10 | n & 15]) + p[4:] for n, p in enumerate(packets)])
    walked(packets)
    for table_id in (PAT_TABLE_ID, PMT_TABLE_ID):
        reader = TableReader(table_id)
        read(reader, packets)
        reader.packets()


# -- tables ---------------------------------------------------------------------------------------


def test_a_repeated_table_is_not_new_but_its_packets_are_kept() -> None:
    reader = TableReader(PMT_TABLE_ID)
    data = pmt(3, 0x101, H264_AND_AAC)
    assert read(reader, table(0x20, data, cc=4)) == [(3, data)]
    for cc in range(5, 9):
        again = table(0x20, data, cc=cc)
        assert read(reader, again) == []
        assert reader.packets() == again


def test_the_same_packet_after_a_section_was_taken_away_is_new_again() -> None:
    reader = TableReader(PMT_TABLE_ID)
    data = pmt(3, 0x101, H264_AND_AAC)
    read(reader, table(0x20, data))
    reader.sections.clear()
    assert read(reader, table(0x20, data, cc=1)) == [(3, data)]


def test_other_tables_on_the_pid_and_bad_sections_are_ignored() -> None:
    good = pmt(3, 0x101, H264_AND_AAC)
    for bad in (
        section(0x42, 3, good[8:-4]),
        pmt(3, 0x101, H264_AND_AAC, current=False),
        good[:-1] + bytes([good[-1] ^ 1]),
        bytes([good[0], good[1] & 0x7F]) + good[2:],
        b"\x02\xb0\x02\0\0",
        b"\x02\xb0\0",
    ):
        reader = TableReader(PMT_TABLE_ID)
        assert read(reader, table(0x20, bad)) == []
        assert reader.packets() == []
        assert read(reader, table(0x20, good, cc=1)) == [(3, good)]


def test_the_packets_of_an_open_section_follow_the_complete_ones() -> None:
    reader = TableReader(PMT_TABLE_ID)
    long = pmt(3, 0x101, [*H264_AND_AAC, (6, 0x103, b"\x80\xfa" + bytes(250))])
    old, new = table(0x20, long), table(0x20, long, cc=2)
    read(reader, old)
    read(reader, new[:1])
    assert reader.packets() == old + new[:1]
    read(reader, new[1:])
    assert reader.packets() == new


def test_packets_that_two_sections_share_are_kept_once() -> None:
    reader = TableReader(PMT_TABLE_ID)
    long = [(6, 0x103, b"\x80\xfa" + bytes(250))]
    packets = table(0x20, pmt(1, 0x101, long), pmt(2, 0x101, long))
    assert [number for number, _ in read(reader, packets)] == [1, 2]
    assert reader.packets() == packets


def test_a_repeated_packet_of_two_sections_stands_for_both() -> None:
    reader = TableReader(PMT_TABLE_ID)
    both = [pmt(n, 0x101, H264_AND_AAC) for n in (1, 2)]
    for cc in range(3):
        again = table(0x20, *both, cc=cc)
        assert len(again) == 1
        assert len(read(reader, again)) == (0 if cc else 2)
        assert reader.packets() == again


def test_the_packets_of_several_programs_come_in_the_order_of_their_arrival() -> None:
    reader = TableReader(PMT_TABLE_ID)
    first = [table(0x20, pmt(n, 0x101, H264_AND_AAC), cc=n)[0] for n in (1, 2)]
    again = table(0x20, pmt(1, 0x101, H264_AND_AAC), cc=3)
    read(reader, first + again)
    assert reader.packets() == [first[1], *again]


def test_a_pat_lists_its_programs_without_the_network_and_reserved_pids() -> None:
    reader = TableReader(PAT_TABLE_ID)
    read(reader, table(0, pat({0: 0x10, 5: 0x50, 2: 0x20, 7: 0, 8: 0x1FFF})))
    programs = reader.programs()
    assert programs == {5: 0x50, 2: 0x20}
    assert list(programs) == [5, 2]


def test_a_pat_of_several_sections_is_known_when_all_of_one_version_are_there() -> None:
    reader = TableReader(PAT_TABLE_ID)
    read(reader, table(0, pat({1: 0x10}, number=0, last=1)))
    assert reader.programs() is None
    read(reader, table(0, pat({2: 0x20}, number=1, last=1), cc=1))
    assert reader.programs() == {1: 0x10, 2: 0x20}
    read(reader, table(0, pat({3: 0x30}, number=1, last=1, version=1), cc=2))
    assert reader.programs() is None
    read(reader, table(0, pat({4: 0x40}, number=0, last=0, version=2), cc=3))
    assert reader.programs() == {4: 0x40}
    assert len(reader.packets()) == 1
    read(reader, table(0, pat({5: 0x50}, number=1, last=1, version=2), cc=4))
    assert reader.programs() is None
    assert len(reader.packets()) == 1


def test_a_section_numbered_above_the_last_is_ignored() -> None:
    reader = TableReader(PAT_TABLE_ID)
    assert read(reader, table(0, pat({1: 0x10}, number=1, last=0))) == []


# -- the program map ------------------------------------------------------------------------------


def test_a_pmt_says_its_clock_version_and_streams() -> None:
    program = parse_pmt(pmt(3, 0x1FF, H264_AND_AAC, version=31), 0x20)
    assert (program.program_number, program.pmt_pid) == (3, 0x20)
    assert (program.version, program.pcr_pid) == (31, 0x1FF)
    assert program.streams == tuple(ElementaryStream(*row) for row in H264_AND_AAC)
    assert program.entry == program.streams[0]


def test_one_enters_at_the_video_else_at_the_audio_else_nowhere() -> None:
    def entry_pid(*types: int) -> int | None:
        streams = [(kind, 0x30 + at, b"") for at, kind in enumerate(types)]
        entry = parse_pmt(pmt(1, 0x30, streams), 0x20).entry
        return entry.pid if entry else None

    assert entry_pid(0x0F, 0x1B, 0x24) == 0x31
    assert entry_pid(0x06, 0x0F, 0x03) == 0x31
    assert entry_pid(0x06) is None
    assert entry_pid() is None


@pytest.mark.parametrize(
    ("stream_type", "descriptors", "codec", "kind"),
    [
        (0x1B, b"", "h264", "video"),
        (0x24, b"", "hevc", "video"),
        (0x02, b"", "mpeg2video", "video"),
        (0x03, b"", "mp2", "audio"),
        (0x04, b"", "mp2", "audio"),
        (0x0F, b"", "aac", "audio"),
        (0x11, b"", "aac_latm", "audio"),
        (0x81, b"", "ac3", "audio"),
        (0x87, b"", "eac3", "audio"),
        (0x06, b"\x6a\x01\0", "ac3", "audio"),
        (0x06, b"\x0a\x04deu\0\x7a\x01\0", "eac3", "audio"),
        (0x06, b"\x05\x04AC-3", "ac3", "audio"),
        (0x06, b"\x05\x04HEVC", "hevc", "video"),
        (0x06, b"\x05\x04Opus\x7f\x02\x80\x02", "opus", "audio"),
        (0x06, b"\x59\x08eng\x10\0\1\0\1", "dvb_subtitle", "other"),
        (0x06, b"\x56\x05eng\x09\0", "dvb_teletext", "other"),
        (0x06, b"", "unknown", "other"),
        (0x06, b"\x05\x04XXXX", "unknown", "other"),
        (0x06, b"\x6a", "unknown", "other"),
        (0x05, b"\x6a\x01\0", "unknown", "other"),
    ],
)
def test_a_stream_tells_its_codec(
    stream_type: int, descriptors: bytes, codec: str, kind: str
) -> None:
    stream = ElementaryStream(stream_type, 0x100, descriptors)
    assert (stream.codec, stream.kind) == (codec, kind)


def test_loops_that_overrun_a_pmt_are_cut_at_its_end() -> None:
    good = pmt(1, 0x101, H264_AND_AAC)
    for seed in range(300):
        bad = bytearray(good)
        choose = random.Random(seed)
        for _ in range(3):
            bad[choose.randrange(8, len(bad) - 4)] = choose.randrange(256)
        for stream in parse_pmt(bytes(bad), 0x20).streams:
            assert stream.codec
            assert len(stream.descriptors) < len(good)
