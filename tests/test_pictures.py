from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ts_clips import pes, timestamp

from rawstream.pictures import (
    PROBE_LIMIT_BYTES,
    PROBED_CODECS,
    PictureProbe,
    pes_fields,
    pes_pts,
    read_timestamp,
)

START = b"\0\0\1"
# H.264 (ITU-T H.264 table 7-1): a slice's second byte holds first_mb_in_slice 0 and slice_type
H264_SPS, H264_PPS, H264_AUD = START + b"\x67\x42\x00", START + b"\x68\xce", START + b"\x09\x10"
H264_IDR = START + b"\x65\x88\x84"
H264_I, H264_I_ALONE, H264_P = (
    START + b"\x41\xb0\x11",
    START + b"\x41\x88\x11",
    START + b"\x41\x9a\x11",
)
H264_RECOVERY = START + b"\x06\x06\x01\xc4\x80"
H264_LONG_SEI = START + b"\x06\x05\xff\x2d" + b"\x11" * 300
# HEVC (ITU-T H.265 table 7-1): nal_unit_type is the six bits from the second on
HEVC_AUD, HEVC_SPS = START + b"\x46\x01\x50", START + b"\x42\x01\x01"
HEVC_RECOVERY = START + b"\x4e\x01\x06\x01\xd0\x80"
# MPEG-2 (ISO/IEC 13818-2 table 6-1): picture_coding_type is in the second byte of a picture header
MPEG_SEQUENCE, MPEG_GOP = START + b"\xb3\x02\xd0\x24", START + b"\xb8\0\x08\0"
MPEG_I, MPEG_P = START + b"\x00\x00\x0f\xff", START + b"\x00\x00\x57\xff"


def hevc(kind: int, layer: int = 0) -> bytes:
    return START + bytes([kind << 1 | layer >> 5, (layer & 0x1F) << 3 | 1, 0x80, 0x11])


def probe(codec: str, *parts: bytes) -> bool | None:
    """The verdict on one PES packet, which must be the same however its bytes come."""
    data = pes(0xE0, b"".join(parts), 1234)
    whole = PictureProbe(codec)
    verdict = whole.feed(data)
    single = PictureProbe(codec)
    verdicts = []
    for at in range(len(data)):
        verdicts.append(single.feed(data[at : at + 1]))
        if verdicts[-1] is not None:
            break
    assert verdicts[-1] == verdict
    assert whole.pts == 1234
    return verdict


# -- PES headers ----------------------------------------------------------------------------------


@settings(deadline=None)
@given(st.integers(0, (1 << 33) - 1), st.integers(0, 15))
def test_a_timestamp_reads_as_it_was_written(value: int, prefix: int) -> None:
    assert read_timestamp(b"xx" + timestamp(prefix, value), 2) == value


def test_pts_and_dts_stand_where_the_flags_say() -> None:
    both, one, none = pes(0xE0, b"abc", 5, 4), pes(0xE0, b"abcde", 5), pes(0xE0, b"x" * 20)
    assert pes_fields(both, 0, len(both)) == (9, 14)
    assert pes_fields(b"??" + one, 2, 2 + len(one)) == (9 + 2, -1)
    assert pes_fields(none, 0, len(none)) == (-1, -1)
    assert pes_pts(both, 0, len(both)) == 5
    assert pes_pts(none, 0, len(none)) is None


def test_fields_that_are_not_there_are_not_read() -> None:
    both = pes(0xE0, b"", 5, 4)
    assert pes_fields(both, 0, 18) == (9, -1)
    assert pes_fields(both, 0, 13) == (-1, -1)
    assert pes_fields(pes(0xE0, b"", 5), 0, 100) == (9, -1)
    wrong = bytearray(both)
    for at, value in ((2, 2), (3, 0xBE), (6, 0x00), (7, 0x40), (8, 4)):
        changed = bytearray(wrong)
        changed[at] = value
        assert pes_fields(changed, 0, len(changed)) == (-1, -1), at


@settings(deadline=None)
@given(st.binary(max_size=60), st.integers(0, 60))
def test_any_bytes_have_fields_or_none(data: bytes, start: int) -> None:
    pts, dts = pes_fields(data, min(start, len(data)), len(data))
    assert pts == -1 or pts + 5 <= len(data)
    assert dts == -1 or dts + 5 <= len(data)


# -- H.264 ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("units", "verdict"),
    [
        ([H264_AUD, H264_SPS, H264_PPS, H264_IDR], True),
        ([b"\0" + H264_IDR], True),
        ([H264_AUD, H264_P], False),
        ([H264_AUD, H264_RECOVERY, H264_P], True),
        ([H264_AUD, H264_RECOVERY, H264_I], True),
        ([H264_AUD, H264_LONG_SEI, H264_RECOVERY, H264_P], True),
        ([H264_AUD, H264_LONG_SEI, H264_P], False),
        ([H264_AUD, H264_SPS, H264_PPS, H264_I], True),
        ([H264_AUD, H264_SPS, H264_PPS, H264_I_ALONE], True),
        ([H264_AUD, H264_SPS, H264_PPS, H264_P], False),
        ([H264_AUD, H264_I], False),
        ([H264_P, H264_IDR], False),
        ([H264_AUD, H264_SPS, H264_PPS], None),
        ([b"no start code at all, only text"], None),
        ([], None),
    ],
)
def test_an_h264_picture_is_judged_by_its_first_slice(
    units: list[bytes], verdict: bool | None
) -> None:
    assert probe("h264", *units) is verdict


def test_a_recovery_point_is_found_among_other_payloads_of_an_sei() -> None:
    others = b"\x05\xff\x03" + b"\x22" * 258 + b"\x04\x01\x77"
    assert probe("h264", START + b"\x06" + others + b"\x06\x01\xc4\x80", H264_P) is True
    assert probe("h264", START + b"\x06" + others + b"\x80", H264_P) is False


def test_emulation_prevention_does_not_shift_the_payloads_of_an_sei() -> None:
    # payload 4 of three zero bytes: on the wire a 3 stands between them
    sei = START + b"\x06\x04\x03\0\0\x03\0\x06\x01\xc4\x80"
    assert probe("h264", sei, H264_P) is True


@pytest.mark.parametrize("body", [b"\xff" * 9, b"\x05", b"\x05\xff\xff", b"", b"\x06"])
def test_an_sei_that_ends_too_early_says_nothing(body: bytes) -> None:
    assert probe("h264", START + b"\x06" + body, H264_P) is False


# -- HEVC -----------------------------------------------------------------------------------------


def test_hevc_is_entered_at_irap_pictures_alone() -> None:
    for kind in range(32):
        assert probe("hevc", HEVC_AUD, HEVC_SPS, hevc(kind)) is (16 <= kind <= 21), kind


def test_hevc_is_entered_at_a_recovery_point() -> None:
    assert probe("hevc", HEVC_AUD, HEVC_RECOVERY, hevc(1)) is True
    assert probe("hevc", HEVC_AUD, hevc(1), HEVC_RECOVERY) is False


def test_slices_of_other_hevc_layers_decide_nothing() -> None:
    assert probe("hevc", hevc(1, layer=1), hevc(19)) is True
    assert probe("hevc", hevc(19, layer=40), hevc(1)) is False


# -- MPEG-1 and MPEG-2 ----------------------------------------------------------------------------


@pytest.mark.parametrize("codec", ["mpeg1video", "mpeg2video"])
def test_mpeg_is_entered_at_an_i_picture_behind_a_sequence_header(codec: str) -> None:
    assert probe(codec, MPEG_SEQUENCE, MPEG_GOP, MPEG_I) is True
    assert probe(codec, MPEG_SEQUENCE, MPEG_I) is True
    assert probe(codec, MPEG_GOP, MPEG_I) is False
    assert probe(codec, MPEG_I) is False
    assert probe(codec, MPEG_SEQUENCE, MPEG_GOP, MPEG_P) is False
    assert probe(codec, MPEG_SEQUENCE, MPEG_GOP) is None


# -- all ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("codec", sorted(PROBED_CODECS))
def test_a_probe_gives_up_after_its_limit(codec: str) -> None:
    looking = PictureProbe(codec)
    assert looking.feed(pes(0xE0, b"\x11" * (PROBE_LIMIT_BYTES - 100), 7)) is None
    assert looking.feed(b"\x11" * 100) is False
    endless = PictureProbe(codec)
    assert endless.feed(pes(0xE0, b"\0\0\1\x0c" * PROBE_LIMIT_BYTES, 7)) is not None


@pytest.mark.parametrize("codec", sorted(PROBED_CODECS))
@settings(deadline=None)
@given(
    st.lists(
        st.one_of(st.binary(max_size=12), st.binary(max_size=5).map(lambda tail: START + tail)),
        max_size=20,
    )
)
def test_any_bytes_are_judged_alike_however_they_come(codec: str, parts: list[bytes]) -> None:
    probe(codec, *parts)


@pytest.mark.parametrize("codec", sorted(PROBED_CODECS))
@settings(deadline=None)
@given(st.binary(max_size=100))
def test_any_pes_packet_is_probed_without_an_exception(codec: str, data: bytes) -> None:
    looking = PictureProbe(codec)
    looking.feed(data)
    assert looking.pts is None or looking.pts >= 0
