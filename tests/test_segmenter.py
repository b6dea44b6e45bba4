"""Cutting real streams into segments: where, how long, and that nothing of them is lost."""

from __future__ import annotations

import random
from collections.abc import Iterable
from itertools import pairwise

import pytest
from test_mux import without_pcr
from ts_clips import RATE, WITH_VIDEO, clip, decode, key_pictures, keyed

from rawstream.broadcast import Broadcast
from rawstream.config import Limits
from rawstream.mpegts import PACKET_SIZE, PTS_HZ, PTS_WRAP, PacketCutter, PcrClock, TsScanner
from rawstream.restamp import Restamper
from rawstream.ring import Ring
from rawstream.segmenter import Segment, Segmenter
from rawstream.simulator import SimContent, bundled_contents

ROUNDED = 0.5


class Line:
    """A stream on its way through a ring into a segmenter, as a packager reads it."""

    def __init__(self, target: float = 4.0, *, any_start: bool = False, longest: int = 15) -> None:
        self.ring = Ring(Limits())
        self.scanner = TsScanner(want_pes_starts=any_start)
        self.clock = PcrClock()
        self.cutter = PacketCutter()
        self.any_start = any_start
        self.read = 0
        self.now = 1_000_000.0
        self.segmenter = Segmenter(target, longest_seconds=longest, number=7, wall=lambda: self.now)
        self.segments: list[Segment] = []

    def feed(self, data: bytes, size: int = 40 * PACKET_SIZE, *, new_source: bool = False) -> Line:
        since = self.ring.next if new_source else None
        if new_source:
            self.scanner = TsScanner(want_pes_starts=self.any_start)
        for at in range(0, len(data), size):
            packets = self.cutter.feed(data[at : at + size])
            if not packets:
                continue
            scan = self.scanner.scan(packets)
            begins = self.clock.seconds
            sequence = self.ring.append(packets, begins, self.clock.follow(scan, len(packets)))
            self.ring.note(scan.random_access or scan.pes_starts, sequence)
            self.segmenter.add(sequence, packets, begins, self.ring.chunk(sequence).seconds)
            while self.read < len(self.ring.entries):
                entry = self.ring.entries[self.read]
                self.segmenter.point(entry, independent=not self.any_start, source_from=since)
                since = None
                self.read += 1
            self.segmenter.advance()
            self.segments += self.segmenter.take()
        return self

    @property
    def seconds(self) -> list[float]:
        return [segment.seconds for segment in self.segments]


def body(segment: Segment) -> bytes:
    """Without the tables in front."""
    return b"".join(segment.parts[1:])


def joined(segments: Iterable[Segment]) -> bytes:
    return b"".join(map(body, segments))


def moved(data: bytes, ticks: int) -> bytes:
    restamper = Restamper()
    restamper.offset = ticks % PTS_WRAP
    return restamper.restamp(data)


def gop(seconds: float, count: int, **more: int) -> bytes:
    rate = more.get("rate", RATE)
    pictures = round(seconds * rate)
    return keyed(tuple(range(0, pictures * count, pictures)), pictures * count, **more)


def assert_within_the_target(line: Line) -> None:
    """RFC 8216 §4.3.3.1: rounded to the nearest whole number no duration is above the target."""
    assert line.segmenter.target
    assert all(0 < seconds < line.segmenter.target + ROUNDED for seconds in line.seconds)


# -- nothing is lost --


@pytest.mark.parametrize("content", bundled_contents(), ids=lambda content: content.clip.stem)
@pytest.mark.parametrize("size", [1316, 65_424])
def test_segments_in_a_row_are_the_stream_packet_by_packet(content: SimContent, size: int) -> None:
    data = content.clip.read_bytes()
    line = Line(2.0).feed(data, size)
    assert len(line.segments) >= 3
    whole = joined(line.segments)
    at = data.find(body(line.segments[0])[:PACKET_SIZE])
    assert data[at : at + len(whole)] == whole
    assert [segment.number for segment in line.segments] == list(range(7, 7 + len(line.segments)))
    for segment in line.segments:
        assert segment.size == sum(map(len, segment.parts))
        assert segment.independent
        assert not segment.discontinuity


@pytest.mark.parametrize("name", WITH_VIDEO)
def test_each_segment_decodes_by_itself_and_lasts_from_key_picture_to_key_picture(
    name: str,
) -> None:
    """A stream with open groups of pictures shows some pictures of the group before (§3.5)."""
    data = clip(name)
    keys = [picture.pts for picture in key_pictures(data)]
    line = Line(1.0).feed(data)
    assert line.segments
    ends = [round(sum(line.seconds[: n + 1]) * PTS_HZ) + keys[0] for n in range(len(line.seconds))]
    if keys[1:]:
        assert set(ends) <= set(keys)
    for segment in line.segments:
        decoded = decode(b"".join(segment.parts))
        assert decoded.pictures
        if "open" not in name and "refresh" not in name:
            assert decoded.complaints == []


def test_pieces_of_any_size_give_the_same_segments() -> None:
    data = gop(1, 12)
    whole = Line().feed(data).segments
    random.seed(4)
    for _ in range(5):
        size = random.randrange(100, 60_000)
        found = Line().feed(data, size).segments
        assert [(body(one), one.seconds) for one in found] == [
            (body(one), one.seconds) for one in whole
        ]


# -- how long --


@pytest.mark.parametrize(
    ("distance", "target", "expected"),
    [
        (1.0, 4, [4.0, 4.0]),
        (2.0, 4, [4.0, 4.0]),
        (3.0, 4, [3.0, 3.0, 3.0]),  # two of them would be 6 s
        (1.92, 4, [3.84, 3.84]),
        (0.48, 4, [4.32, 4.32]),
        (5.0, 5, [5.0, 5.0]),
        (10.0, 10, [10.0, 10.0]),
    ],
)
def test_the_target_follows_the_distance_of_random_access_points(
    distance: float, target: int, expected: list[float]
) -> None:
    count = round(sum(expected) / distance) + 1
    line = Line().feed(gop(distance, max(count, 3)))
    assert line.segmenter.target == target
    assert line.seconds[: len(expected)] == pytest.approx(expected, abs=0.001)
    assert line.segmenter.independent
    assert_within_the_target(line)


def test_a_target_is_what_was_asked_for() -> None:
    assert Line(6.0).feed(gop(1, 14)).seconds == pytest.approx([6.0, 6.0])
    assert Line(2.0).feed(gop(1, 6)).seconds == pytest.approx([2.0, 2.0])


def test_random_access_points_at_odd_places_stay_within_the_target_and_miss_no_picture() -> None:
    random.seed(11)
    keys, at = [0], 0
    while at < 60 * RATE:
        at += random.randrange(5, 4 * RATE)
        keys.append(at)
    line = Line().feed(keyed(tuple(keys), keys[-1] + 1))
    assert line.segmenter.independent
    assert_within_the_target(line)
    picture = 1 / RATE
    cuts = [round(sum(line.seconds[:n]) / picture) for n in range(len(line.seconds) + 1)]
    assert set(cuts) <= set(keys)


def test_a_distance_beyond_the_target_is_cut_at_a_pes_start_and_said_to_be() -> None:
    """A target never changes (§4.3.3.1); the pieces of the long one need each other."""
    keys = tuple(seconds * RATE for seconds in (0, 2, 4, 6, 8, 21, 23, 25, 27))
    line = Line().feed(keyed(keys, keys[-1] + 2))
    assert line.segmenter.target == 4
    assert_within_the_target(line)
    assert not line.segmenter.independent
    assert [one.independent for one in line.segments] == [True] * 3 + [False] * 3 + [True]
    assert sum(line.seconds) == pytest.approx(27.0)
    assert decode(joined(line.segments)).complaints == []
    for one in line.segments:
        assert body(one)[1] & 0x40, "payload_unit_start_indicator"


def test_a_stream_whose_first_group_has_no_end_is_cut_at_the_longest_target() -> None:
    line = Line().feed(keyed((0, 50 * RATE), 50 * RATE + 2))
    assert line.segmenter.target == 15
    assert_within_the_target(line)
    assert sum(line.seconds) == pytest.approx(50.0)


def test_sound_alone_is_cut_at_its_frames() -> None:
    (content,) = (one for one in bundled_contents() if one.clip.stem.startswith("four"))
    line = Line().feed(content.clip.read_bytes())
    assert line.segmenter.target == 4
    assert_within_the_target(line)
    frame = 1024 / 48_000
    for seconds in line.seconds:
        assert seconds / frame == pytest.approx(round(seconds / frame), abs=0.01)


def test_a_stream_without_random_access_points_is_cut_at_pes_starts() -> None:
    line = Line(2.0, any_start=True).feed(keyed((0,), 12 * RATE))
    assert line.seconds[:4] == pytest.approx([2.0] * 4, abs=2 / RATE)
    assert not line.segmenter.independent


def test_a_stream_without_a_clock_is_timed_by_its_pictures() -> None:
    line = Line(2.0).feed(without_pcr(gop(1, 9)))
    assert line.seconds == pytest.approx([2.0] * 4)
    assert not any(segment.discontinuity for segment in line.segments)


def test_the_clock_may_wrap() -> None:
    """ISO/IEC 13818-1 2.4.3.7: 33 bits of 90 kHz are 26.5 hours."""
    line = Line(2.0).feed(moved(gop(1, 11), PTS_WRAP - 5 * PTS_HZ))
    assert line.seconds == pytest.approx([2.0] * 5)
    assert not any(segment.discontinuity for segment in line.segments)


# -- the time of day --


def test_the_time_of_day_goes_on_with_the_stream() -> None:
    line = Line(2.0)
    for second, part in enumerate(_parts(gop(1, 11), 11)):
        line.now = 1_000_000.0 + second
        line.feed(part)
    walls = [segment.wall for segment in line.segments]
    assert [b - a for a, b in pairwise(walls)] == pytest.approx([2.0] * 4)
    assert walls[0] == pytest.approx(1_000_000.0, abs=1.5)


def _parts(data: bytes, count: int) -> list[bytes]:
    size = len(data) // PACKET_SIZE // count * PACKET_SIZE
    ends = [size * number for number in range(count)] + [len(data)]
    return [data[a:b] for a, b in pairwise(ends)]


# -- discontinuities (§4.3.2.3) --


def test_another_source_begins_a_segment_with_all_that_it_brings() -> None:
    old, new = gop(1, 6), moved(gop(1, 10), 12 * PTS_HZ)
    cut = old[: len(old) * 3 // 4 // PACKET_SIZE * PACKET_SIZE]
    line = Line(2.0).feed(cut).feed(new, new_source=True)
    flags = [segment.discontinuity for segment in line.segments]
    assert flags.count(True) == 1
    first = flags.index(True)
    at = old.find(body(line.segments[0])[:PACKET_SIZE])
    assert joined(line.segments[:first]) == cut[at:]
    assert new.startswith(joined(line.segments[first:]))
    pictures = len(decode(cut).pictures)
    assert sum(line.seconds[:first]) == pytest.approx(pictures / RATE, abs=1.01 / RATE)
    assert sum(line.seconds[first:]) == pytest.approx(8.0)
    walls = [segment.wall for segment in line.segments]
    assert walls == sorted(walls)


def test_a_jump_of_the_timeline_is_told_whoever_made_it() -> None:
    line = Line(2.0).feed(gop(1, 5)).feed(moved(gop(1, 7), 3600 * PTS_HZ))
    flags = [segment.discontinuity for segment in line.segments]
    assert flags == [False, False, False, True, False, False]
    assert line.seconds[3:] == pytest.approx([2.0] * 3)


def test_other_streams_under_one_clock_are_told() -> None:
    one, other = clip("h264"), moved(clip("mpeg2"), 5 * PTS_HZ)
    line = Line(1.0).feed(one).feed(other)
    assert [segment.discontinuity for segment in line.segments].count(True) == 1


def test_what_was_lost_is_told_and_what_came_before_it_is_kept() -> None:
    data = gop(1, 12)
    line = Line(2.0).feed(data[: len(data) // 2 // PACKET_SIZE * PACKET_SIZE])
    line.segmenter.lose()
    line.ring.append(b"", 0.0, line.clock.seconds)  # a chunk that nobody has read
    rest = data[len(data) // 2 // PACKET_SIZE * PACKET_SIZE + 40 * PACKET_SIZE :]
    line.feed(rest)
    flags = [segment.discontinuity for segment in line.segments]
    assert flags.count(True) == 1
    assert flags.index(True) >= 3
    assert decode(b"".join(line.segments[flags.index(True)].parts)).complaints == []


def test_nothing_is_kept_before_the_first_random_access_point() -> None:
    line = Line()
    junk = b"\x47\x1f\xff\x10" + b"\xff" * 184
    line.feed(junk * 400)
    assert line.segmenter.open_bytes == 400 * PACKET_SIZE
    line.segmenter.forget_before(line.ring.next)
    assert line.segmenter.open_bytes == 0
    line.feed(gop(1, 9))
    assert len(line.segments) == 2


def test_hours_keep_their_exactness() -> None:
    """Durations add up to what the pictures say, however many there were."""
    (content,) = (one for one in bundled_contents() if one.clip.stem.startswith("one"))
    cast = Broadcast(content.clip.read_bytes())
    line = Line()
    size = cast.position(600.0)
    for at in range(0, size, 1 << 20):
        line.feed(cast.read(at, min(1 << 20, size - at)))
    assert line.seconds == pytest.approx([4.0] * len(line.seconds), abs=0.0001)
    assert len(line.seconds) >= 148


# -- what is odd --


class Burst(Line):
    """As a packager reads who comes to a warm channel: all at once, and the long ones last."""

    def feed(self, data: bytes, size: int = 40 * PACKET_SIZE, *, new_source: bool = False) -> Line:
        advance, self.segmenter.advance = self.segmenter.advance, lambda: None  # type: ignore[method-assign]
        super().feed(data, size, new_source=new_source)
        self.segmenter.advance = advance  # type: ignore[method-assign]
        return self


def test_nothing_is_told_before_the_target_is_known() -> None:
    """A channel that breaks off within its first seconds (§4.3.3.1: a target never changes)."""
    line = Line().feed(gop(1, 3))
    line.segmenter.lose()
    assert line.segmenter.take() == []
    line.feed(moved(gop(1, 7), 3600 * PTS_HZ))
    assert line.segmenter.target == 4
    assert [one.discontinuity for one in line.segments] == [False, True]
    assert line.seconds == pytest.approx([3.0, 4.0], abs=1 / RATE)


@pytest.mark.parametrize("end", ["a jump", "a source", "a loss"])
def test_a_long_distance_that_ends_in_another_timeline_is_cut_all_the_same(end: str) -> None:
    line = Burst().feed(gop(2, 5))
    line.feed(moved(keyed((0,), 11 * RATE + 1), 10 * PTS_HZ))
    if end == "a loss":
        line.segmenter.lose()
        line.segments += line.segmenter.take()
    else:
        line.feed(moved(gop(1, 5), 3600 * PTS_HZ), new_source=end == "a source")
    assert line.segmenter.target == 4
    assert_within_the_target(line)
    assert sum(line.seconds[:6]) == pytest.approx(21.0, abs=0.1)


def test_a_gap_without_pictures_is_not_told_as_longer_than_the_target() -> None:
    line = Line(2.0).feed(gop(1, 6)).feed(moved(keyed((0, RATE), RATE + 1), 13 * PTS_HZ))
    assert line.segmenter.target == 2
    assert_within_the_target(line)


def test_pictures_out_of_their_order_are_no_jumps_where_any_start_must_do() -> None:
    data = keyed((0,), 12 * RATE, options="bframes=3")
    line = Line(2.0, any_start=True).feed(data)
    assert not any(one.discontinuity for one in line.segments)
    assert line.seconds[:4] == pytest.approx([2.0] * 4, abs=5 / RATE)


def test_what_has_no_clock_and_no_place_to_cut_is_given_up_and_not_kept_for_ever() -> None:
    line = Line(2.0).feed(gop(1, 5))
    line.segmenter._open_limit_bytes = 100_000
    line.feed(without_pcr(moved(keyed((0,), 60 * RATE), 5 * PTS_HZ)))
    line.segmenter.forget_before(line.ring.next)
    assert line.segmenter.open_bytes == 0
    line.feed(moved(gop(1, 7), 3600 * PTS_HZ))
    assert [one.discontinuity for one in line.segments[-3:]] == [True, False, False]
    assert_within_the_target(line)


def test_whatever_comes_the_numbers_the_target_and_the_time_of_day_are_sound() -> None:
    clips = [gop(*one) for one in ((1, 4), (0.4, 9), (5, 2), (12, 1))]
    clips += [gop(1, 5, options="bframes=3"), keyed((0,), 20 * RATE)]
    for seed in range(60):
        dice = random.Random(seed)
        line = (Burst if seed % 3 else Line)(dice.choice([2.0, 4.0]), any_start=not seed % 7)
        base = 0.0
        for _ in range(dice.randrange(2, 7)):
            base += dice.choice([0, 0, 1, -1, 3600, 0.4, -0.2, 9.5]) * PTS_HZ
            data = moved(dice.choice(clips), round(base))
            data = data[: dice.randrange(1, len(data) // PACKET_SIZE) * PACKET_SIZE]
            if dice.random() < 0.2:
                line.segmenter.lose()
            line.feed(data, dice.choice([1316, 65_424, 1 << 20]), new_source=dice.random() < 0.3)
            line.segmenter.advance()
            line.segments += line.segmenter.take()
            base += 5 * PTS_HZ
        assert all(0 <= one.seconds < line.segmenter.target + ROUNDED for one in line.segments), (
            seed
        )
        assert [one.number - 7 for one in line.segments] == list(range(len(line.segments)))
        walls = [one.wall for one in line.segments]
        assert walls == sorted(walls), seed
