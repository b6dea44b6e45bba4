"""The endless broadcast: its loops have no seam, and any byte of it can be had alone."""

from __future__ import annotations

import io
from itertools import pairwise
from pathlib import Path

import av
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sim_client import decode

from rawstream.broadcast import Broadcast
from rawstream.continuity import ContinuityChecker
from rawstream.errors import FormatError
from rawstream.mpegts import PACKET_SIZE, PTS_WRAP, TsScanner
from rawstream.restamp import pes_timestamps

CLIPS = sorted((Path(__file__).parent.parent / "rawstream" / "clips").glob("*.ts"))
NAMES = [path.stem for path in CLIPS]
VIDEO_STEP = 3600  # 90 kHz ticks of a frame at 25 fps
AUDIO_STEPS = {
    "one-h264-aac": 1920,
    "two-hevc-ac3": 2880,
    "three-mpeg2-mp2": 2160,
    "four-aac": 1920,
}
ONE = Broadcast(CLIPS[NAMES.index("one-h264-aac")].read_bytes())


@pytest.fixture(params=CLIPS, ids=NAMES)
def path(request: pytest.FixtureRequest) -> Path:
    chosen: Path = request.param
    return chosen


def test_ffmpeg_decodes_several_loops_of_each_clip_without_a_word(path: Path) -> None:
    broadcast = Broadcast(path.read_bytes())
    frames, said = decode(broadcast.read(0, 3 * broadcast.clip_bytes))
    assert said == []
    seconds = 3 * broadcast.duration_seconds
    assert frames["video"] == (0 if path.stem == "four-aac" else 25 * seconds)
    step = AUDIO_STEPS[path.stem]
    assert frames["audio"] in (90_000 * seconds // step, 90_000 * seconds // step - 1)


def test_counters_run_on_over_more_loops_than_a_counter_has_values(path: Path) -> None:
    broadcast = Broadcast(path.read_bytes())
    assert ContinuityChecker().feed(broadcast.read(0, 17 * broadcast.clip_bytes)) == []


def test_no_stream_has_a_gap_in_its_timestamps_where_the_loop_closes(path: Path) -> None:
    broadcast = Broadcast(path.read_bytes())
    stamps: dict[int, list[int]] = {}
    with av.open(io.BytesIO(broadcast.read(0, 4 * broadcast.clip_bytes))) as container:
        for packet in container.demux():
            if packet.pts is not None:
                stamps.setdefault(packet.stream_index, []).append(packet.pts)
    for index, each in stamps.items():
        each.sort()
        steps = {after - before for before, after in pairwise(each)}
        assert len(steps) == 1 and steps <= {VIDEO_STEP, AUDIO_STEPS[path.stem]}, (index, steps)
    assert stamps


def test_clock_and_tables_come_as_often_as_players_need_them(path: Path) -> None:
    broadcast = Broadcast(path.read_bytes())
    data = broadcast.read(0, 2 * broadcast.clip_bytes)
    scanner = TsScanner()
    clock: list[int] = []
    tables: list[int] = []
    for offset in range(0, len(data), PACKET_SIZE):
        packet = data[offset : offset + PACKET_SIZE]
        scan = scanner.scan(packet)
        if scan.first_pcr is not None:
            clock.append(scan.first_pcr)
        if packet[1] & 0x1F == 0 and packet[2] == 0 and clock:
            tables.append(clock[-1])
    steps = [after - before for before, after in pairwise(clock)]
    assert min(steps) > 0 and max(steps) <= 27_000 * 40
    assert max(after - before for before, after in pairwise(tables)) <= 27_000 * 200


def test_every_entry_of_a_bundled_clip_stands_behind_its_tables(path: Path) -> None:
    broadcast = Broadcast(path.read_bytes())
    data = broadcast.read(0, broadcast.clip_bytes)
    for cut in broadcast.cuts:
        pids = [(data[cut + n] & 0x1F) << 8 | data[cut + n + 1] for n in range(1, 4 * 188, 188)]
        assert 0 in pids[:2] and 0x1000 in pids[:3]


@given(st.integers(0, 40 * ONE.clip_bytes), st.integers(0, 200_000))
def test_any_piece_is_the_same_bytes_whoever_asks_for_it(position: int, size: int) -> None:
    fresh = Broadcast(ONE.read(0, ONE.clip_bytes))
    whole = fresh.read(position, size)
    assert len(whole) == size
    half = size // 3
    assert ONE.read(position, half) + ONE.read(position + half, size - half) == whole


@given(st.floats(0, 10_000))
def test_a_moment_and_its_position_belong_together(seconds: float) -> None:
    position = ONE.position(seconds)
    assert position % PACKET_SIZE == 0
    assert ONE.seconds(position) <= seconds + 1e-6
    assert ONE.seconds(position + PACKET_SIZE) >= seconds - 1e-6 - 0.04


def test_the_same_moment_of_another_loop_is_one_length_later() -> None:
    first = {
        (each.offset, each.pid): each.pts for each in pes_timestamps(ONE.read(0, ONE.clip_bytes))
    }
    for each in pes_timestamps(ONE.read(5 * ONE.clip_bytes, ONE.clip_bytes)):
        assert each.pts - first[each.offset, each.pid] == 5 * ONE.duration_ticks


def test_the_timeline_can_be_put_just_before_its_wrap() -> None:
    clip = ONE.read(0, ONE.clip_bytes)
    late = Broadcast(clip, first_ticks=PTS_WRAP - ONE.duration_ticks // 2)
    stamps = [each.pts for each in pes_timestamps(late.read(0, late.clip_bytes))]
    assert max(stamps) > PTS_WRAP - 90_000 and min(stamps) < 90_000
    _, said = decode(late.read(0, 2 * late.clip_bytes))
    assert said == []


@given(st.integers(0, 20 * ONE.clip_bytes))
def test_between_entries_lies_before_the_position_and_far_from_any_entry(position: int) -> None:
    found = ONE.between_entries(position)
    assert found <= position
    if position > ONE.clip_bytes:
        offset = found % ONE.clip_bytes
        assert offset % PACKET_SIZE == 0
        assert min(abs(offset - entry) for entry in ONE.entries) > 50 * PACKET_SIZE
        assert position - found < 3 * 2 * ONE.bitrate / 8  # three GOPs of 2 s


def test_segments_follow_each_other_without_loss_and_play_four_seconds(path: Path) -> None:
    broadcast = Broadcast(path.read_bytes())
    count = 3 * len(broadcast.cuts)
    bounds = [broadcast.segment_bounds(number) for number in range(count)]
    assert bounds[0][0] == 0 and bounds[-1][1] == 3 * broadcast.clip_bytes
    assert all(end == begin for (_, end), (begin, _) in pairwise(bounds))
    assert all(3.6 < broadcast.segment_seconds(number) < 6.3 for number in range(count))
    assert broadcast.segment_at(broadcast.duration_seconds + 0.5) == len(broadcast.cuts)
    _, said = decode(broadcast.segment(count - 2))
    assert said == []


def test_a_segment_without_tables_in_front_gets_them() -> None:
    clip = ONE.read(0, ONE.clip_bytes)
    packets = [clip[n : n + 188] for n in range(0, len(clip), 188)]
    pids = [(packet[1] & 0x1F) << 8 | packet[2] for packet in packets]
    entry = ONE.entries[4] // 188
    service = (0, 0x11, 0x1000)
    kept = [
        packet
        for index, packet in enumerate(packets)
        if pids[index] not in service or not entry - 40 < index < entry + 40
    ]
    bare = Broadcast(b"".join(kept))
    _, said = decode(bare.segment(2))
    assert said == []
    assert bare.segment(2).startswith(bare.tables)


@pytest.mark.parametrize(
    ("clip", "reason"),
    [
        (b"", "188"),
        (b"\x47" * 100, "188"),
        (b"\x00" * 188 * 4, "0x47"),
        ((b"\x47\x1f\xff\x10" + b"\xff" * 184) * 4, "program"),
    ],
)
def test_what_is_no_transport_stream_is_refused_in_words(clip: bytes, reason: str) -> None:
    with pytest.raises(FormatError, match=reason):
        Broadcast(clip)
