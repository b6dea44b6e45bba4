"""The cut between two sources of one channel.

The old side is what viewers were sent, the new side a splice's output; most tests judge both as one
stream. Material: the simulator's clips as endless broadcasts, and packets made by hand.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from importlib.resources import files
from typing import NamedTuple

import av
import av.logging
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ts_clips import (
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

from rawstream.broadcast import Broadcast
from rawstream.continuity import ContinuityChecker
from rawstream.mpegts import (
    PACKET_SIZE,
    PTS_HZ,
    PTS_WRAP,
    PacketCutter,
    ProgramMap,
    TsScanner,
    read_pcr,
)
from rawstream.restamp import Restamper, pes_timestamps
from rawstream.splice import Shown, Splice, end_of

H264_AAC = "one-h264-aac"
HEVC_AC3 = "two-hevc-ac3"
MPEG2_MP2 = "three-mpeg2-mp2"
AAC = "four-aac"
CLIPS = [H264_AAC, HEVC_AC3, MPEG2_MP2, AAC]
TAIL_SECONDS = 3.0
H264, AAC_TYPE, PRIVATE = 0x1B, 0x0F, 0x06


@cache
def broadcast(name: str, first_ticks: int = 0) -> Broadcast:
    clip = files("rawstream").joinpath("clips", f"{name}.ts").read_bytes()
    return Broadcast(clip, first_ticks=first_ticks)


def aligned(position: int) -> int:
    return position - position % PACKET_SIZE


def between(cast: Broadcast, begin: float, end: float) -> bytes:
    """Whole packets of some seconds of it."""
    first = aligned(cast.position(begin))
    return cast.read(first, aligned(cast.position(end)) - first)


def tail(cast: Broadcast, cut: int) -> bytes:
    """The last whole packets that viewers were sent before the byte position `cut`."""
    begin = aligned(cast.position(max(0.0, cast.seconds(cut) - TAIL_SECONDS)))
    return cast.read(begin, aligned(cut) - begin)


def pieces_of(data: bytes, sizes: Sequence[int]) -> Iterator[bytes]:
    at = number = 0
    while at < len(data):
        size = sizes[number % len(sizes)]
        yield data[at : at + size]
        at += size
        number += 1


def feed(splice: Splice, data: bytes, sizes: Sequence[int] = (5_000,)) -> bytes:
    return b"".join(splice.feed(piece) for piece in pieces_of(data, sizes))


def renumbered(data: bytes, step: int = 5) -> bytes:
    """The same packets as another multiplexer would count them."""
    changed = bytearray(data)
    for at in range(0, len(data), PACKET_SIZE):
        changed[at + 3] = data[at + 3] & 0xF0 | data[at + 3] + step & 0x0F
    return bytes(changed)


def moved(data: bytes, ticks: int) -> bytes:
    restamper = Restamper()
    restamper.offset = ticks % PTS_WRAP
    return restamper.restamp(data)


def program_of(data: bytes) -> ProgramMap:
    scanner = TsScanner()
    scanner.scan(data)
    assert scanner.program is not None
    return scanner.program


def entry_pid(data: bytes) -> int:
    entry = program_of(data).entry
    assert entry is not None
    return entry.pid


def pids_of(packets: bytes) -> list[int]:
    return [(p[1] & 0x1F) << 8 | p[2] for p in packets_of(packets)]


def times(packets: bytes, pid: int) -> list[int]:
    return [stamp.pts for stamp in pes_timestamps(packets) if stamp.pid == pid]


def without_marks(packets: bytes) -> bytes:
    """Without the packets that hold nothing but discontinuity_indicator."""
    return b"".join(
        p for p in packets_of(packets) if not (p[3] & 0x30 == 0x20 and p[4:6] == b"\xb7\x80")
    )


def after(a: int, b: int, wrap: int = PTS_WRAP) -> int:
    return (a - b + wrap // 2) % wrap - wrap // 2


def assert_one_stream(old: bytes, new: bytes) -> None:
    """No counter jumps unannounced, and on no PID do PCR, DTS or, without DTS, PTS run back."""
    whole = old + new
    assert ContinuityChecker().feed(whole) == []
    decoded: dict[int, int] = {}
    for stamp in pes_timestamps(whole):
        at = stamp.pts if stamp.dts is None else stamp.dts
        if stamp.pid in decoded:
            assert after(at, decoded[stamp.pid]) >= 0, (stamp, stamp.offset >= len(old))
        decoded[stamp.pid] = at
    clocks: dict[int, int] = {}
    for p in packets_of(whole):
        if p[3] & 0x20 and p[4] >= 7 and p[5] & 0x10:
            pid = (p[1] & 0x1F) << 8 | p[2]
            clock = read_pcr(p, 6)
            if pid in clocks:
                assert after(clock, clocks[pid], 300 * PTS_WRAP) >= 0
            clocks[pid] = clock


class Heard(NamedTuple):
    """As `decode`, for streams in which FFmpeg finds access units damaged.

    `pictures`: the PTS of those that came out. `units`: of each access unit in its order the PID,
    the PTS, whether FFmpeg took it for damaged, and what was said while it was read and decoded.
    """

    pictures: list[int]
    sounds: int
    units: list[tuple[int, int, bool, tuple[str, ...]]]


def listen(data: bytes) -> Heard:
    pictures: list[int] = []
    units: list[tuple[int, int, bool, tuple[str, ...]]] = []
    sounds = 0
    before = av.logging.get_level()
    av.logging.set_level(av.logging.WARNING)
    try:
        with (
            av.logging.Capture(local=True) as lines,
            av.open(io.BytesIO(data), format="mpegts") as source,
        ):
            for stream in source.streams:
                if stream.type in ("video", "audio"):
                    stream.codec_context.thread_count = 1
            for access_unit in source.demux():
                try:
                    frames = access_unit.decode()
                except av.FFmpegError:
                    frames = []
                for frame in frames:
                    if isinstance(frame, av.VideoFrame):
                        pictures.append(frame.pts)
                    else:
                        sounds += 1
                if access_unit.pts is not None:
                    said = tuple(f"{who}: {text.strip()}" for _, who, text in lines)
                    pid = access_unit.stream.id
                    units.append((pid, access_unit.pts, access_unit.is_corrupt, said))
                lines.clear()
    finally:
        av.logging.set_level(before)
    return Heard(pictures, sounds, units)


# -- the same broadcast, byte for byte -------------------------------------------------------------


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from(CLIPS),
    st.sampled_from([0, PTS_WRAP - 12 * PTS_HZ]),
    st.floats(1.0, 20.0),
    st.floats(0.3, 6.0),
    st.integers(0, PACKET_SIZE - 1),
    st.lists(st.integers(100, 100_000), min_size=1, max_size=5),
)
def test_a_replay_goes_on_at_the_byte_where_the_old_side_ended(
    name: str, first_ticks: int, at: float, back: float, byte: int, sizes: list[int]
) -> None:
    cast = broadcast(name, first_ticks)
    cut = cast.position(at) + byte
    begin = max(0, cast.position(at - back)) + byte * 7 % PACKET_SIZE
    end = aligned(cut + 200_000)
    told: list[bool] = []
    splice = Splice(end_of(tail(cast, cut), None), on_spliced=lambda: told.append(True))
    out = feed(splice, cast.read(begin, end - begin), sizes)
    assert out == cast.read(aligned(cut), end - aligned(cut))
    assert told == [True] and splice.spliced and splice.continued
    assert splice.dropped_bytes == aligned(cut) - begin - splice.lost_bytes


@pytest.mark.parametrize("name", CLIPS)
def test_ffmpeg_does_not_see_a_cut_in_the_middle_of_an_access_unit(name: str) -> None:
    cast = broadcast(name)
    cut = cast.position(6.3)
    old = cast.read(0, aligned(cut))
    assert cast.read(aligned(cut), 2)[1] & 0x40 == 0
    splice = Splice(end_of(tail(cast, cut), None))
    begin = cast.position(3.1)
    out = feed(splice, cast.read(begin, cast.position(12.0) - begin))
    # what FFmpeg says of the end, torn as well, it says of the broadcast too
    assert listen(old + out) == listen(cast.read(0, aligned(cast.position(12.0))))


def test_a_replay_that_is_cut_again_and_again_stays_one_stream() -> None:
    cast = broadcast(H264_AAC)
    shown = cast.read(0, aligned(cast.position(5.0)))
    splice: Splice | None = None
    for second in (7.0, 7.5, 9.1, 12.0):
        begin = cast.position(second - 4.0) + 100
        splice = Splice(end_of(shown[-200_000 // 188 * 188 :], None), after=splice)
        shown += feed(splice, cast.read(begin, cast.position(second) - begin))
        assert splice.continued
    assert shown == cast.read(0, len(shown))
    assert len(shown) == aligned(cast.position(12.0))


def test_a_clock_that_was_shifted_once_is_known_when_it_comes_back() -> None:
    first, second = broadcast(H264_AAC), broadcast(MPEG2_MP2, 500 * PTS_HZ)
    old = first.read(0, aligned(first.position(8.0)))
    away = Splice(end_of(old, None))
    there = feed(away, between(second, 2.0, 8.0))
    again = Splice(end_of(there[-300_000 // 188 * 188 :], None), after=away)
    more = feed(again, between(second, 4.0, 14.0))
    assert again.continued
    whole = Splice(end_of(old, None))
    assert there + more == feed(whole, between(second, 2.0, 14.0))
    assert_one_stream(old, there + more)
    # and the first one, still with its own clock, is at the place where it would be by now
    shown = (there + more)[-300_000 // 188 * 188 :]
    back = Splice(end_of(shown, None), after=again)
    third = feed(back, between(first, 18.0, 26.0))
    assert back.continued
    assert_one_stream(old + there + more, third)
    pid = entry_pid(third)
    assert times(third, pid) == times(between(first, 18.0, 26.0), pid)[-len(times(third, pid)) :]
    assert set(packets_of(without_marks(third))) <= set(packets_of(between(first, 17.0, 26.0)))


def test_a_failed_source_between_two_does_not_lose_what_is_known() -> None:
    first, second = broadcast(H264_AAC), broadcast(MPEG2_MP2, 500 * PTS_HZ)
    old = first.read(0, aligned(first.position(8.0)))
    away = Splice(end_of(old, None))
    there = feed(away, between(second, 2.0, 8.0))
    silent = Splice(end_of(there, None), after=away)
    again = Splice(end_of(there, None), after=silent)
    more = feed(again, between(second, 4.0, 14.0))
    whole = Splice(end_of(old, None))
    assert there + more == feed(whole, between(second, 2.0, 14.0))


def test_an_end_that_is_repeated_with_a_hole_in_it_is_not_taken_for_the_same() -> None:
    cast = broadcast(H264_AAC)
    entry = cast.entries[2]
    cut = entry + 40 * PACKET_SIZE
    old = cast.read(0, cut)
    replay = bytearray(cast.read(0, cast.position(12.0)))
    del replay[entry + 20 * PACKET_SIZE : entry + 21 * PACKET_SIZE]
    splice = Splice(end_of(old, None))
    out = feed(splice, bytes(replay))
    # the picture under way at the cut was a key picture: it is sent once more, as it is now
    assert out.endswith(bytes(replay[entry + PACKET_SIZE :]))
    assert out.count(bytes(replay[entry : entry + PACKET_SIZE])) == 1


def test_a_key_picture_cut_off_goes_on_at_the_byte_too() -> None:
    cast = broadcast(H264_AAC)
    cut = cast.entries[2] + 40 * PACKET_SIZE
    splice = Splice(end_of(cast.read(0, cut), None))
    end = aligned(cast.position(12.0))
    assert feed(splice, cast.read(0, end), [1_000]) == cast.read(cut, end - cut)


def test_between_a_pat_and_its_map_a_raised_version_stays_raised() -> None:
    old = Maker().make(0, 50)
    source = Maker(first=99 * PTS_HZ, descriptors=b"\x0a\x04deu\0").make(0, 90)
    away = Splice(end_of(old, None))
    there = feed(away, source)
    places = [at for at, pid in enumerate(pids_of(there)) if pid == 0]
    cut = (places[-3] + 1) * PACKET_SIZE
    again = Splice(end_of(there[:cut], None), after=away)
    assert there[:cut] + feed(again, source) == there
    assert feed_programs(there) == {1}


def test_an_access_unit_too_long_is_not_looked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rawstream.splice._END_LIMIT_BYTES", PACKET_SIZE)
    assert end_of(Maker().make(0, 50), None).end == b""


# -- the same broadcast from another multiplexer ---------------------------------------------------


@settings(max_examples=40, deadline=None)
@given(
    st.sampled_from(CLIPS),
    st.sampled_from([0, PTS_WRAP - 12 * PTS_HZ, PTS_WRAP - 12 * PTS_HZ - 30_000]),
    st.floats(3.0, 20.0),
    st.floats(0.3, 6.0),
    st.lists(st.integers(100, 100_000), min_size=1, max_size=5),
)
def test_the_same_clock_goes_on_at_the_first_entry_that_was_not_shown(
    name: str, first_ticks: int, at: float, back: float, sizes: list[int]
) -> None:
    cast = broadcast(name, first_ticks)
    cut = aligned(cast.position(at))
    begin = aligned(cast.position(at - back))
    source = renumbered(cast.read(begin, aligned(cast.position(at + 6.0)) - begin))
    old = tail(cast, cut)
    shown = end_of(old, None)
    splice = Splice(shown)
    out = feed(splice, source, sizes)
    assert splice.continued
    assert_one_stream(old, out)
    pid = entry_pid(source)
    # the access unit under way at the cut may come again, whole
    before = times(old, pid)[:-1]
    behind = times(out, pid)
    assert not set(before) & set(behind)
    # and from the entry on nothing of the picture is missing
    assert shown.last is not None
    assert behind == times(source, pid)[-len(behind) :]
    # bytes are those of the source, but for sound that was heard, marks, and the tables in front
    clean = packets_of(without_marks(out))
    tables = [p for p in clean[:2] if p[1] & 0x1F == 0 or p[2] == 0]
    rest = iter(packets_of(source))
    assert all(p in rest for p in clean[len(tables) + 1 :])


@pytest.mark.parametrize("second", [7.1, 8.7, 9.93])
@pytest.mark.parametrize("name", CLIPS)
def test_after_an_entry_ffmpeg_complains_of_nothing_but_the_access_units_cut_off(
    name: str, second: float
) -> None:
    cast = broadcast(name)
    cut = aligned(cast.position(second))
    old = cast.read(0, cut)
    splice = Splice(end_of(tail(cast, cut), None))
    out = feed(splice, renumbered(between(cast, second - 3.0, 14.0)))
    alone = listen(out)
    heard = listen(old + out)
    assert heard.pictures[-len(alone.pictures) :] == alone.pictures
    # each PID's last one before the cut was torn; FFmpeg glues what it has of a torn sound to the
    # next one
    torn = {(pid, pts) for pid in set(pids_of(old)) for pts in times(old, pid)[-1:]}
    glued = {(pid, pts) for pid in set(pids_of(out)) for pts in times(out, pid)[:1]}
    # the first one is where FFmpeg notes what it says while it looks ahead
    complaints = {(pid, pts) for pid, pts, bad, said in heard.units[1:] if bad or said}
    assert complaints <= torn | glued
    if name != AAC:
        pictures = {(pid, pts) for pid, pts in complaints if pid == entry_pid(old)}
        assert pictures <= torn


# -- another clock ---------------------------------------------------------------------------------


@settings(max_examples=40, deadline=None)
@given(
    st.sampled_from(CLIPS),
    st.sampled_from(CLIPS),
    st.sampled_from([0, PTS_WRAP - 6 * PTS_HZ, PTS_WRAP - 7 * PTS_HZ]),
    st.sampled_from([400 * PTS_HZ, PTS_WRAP // 2, PTS_WRAP - 400 * PTS_HZ]),
    st.floats(3.0, 8.0),
    st.floats(1.0, 10.0),
    st.lists(st.integers(100, 100_000), min_size=1, max_size=5),
)
def test_another_clock_is_shifted_so_that_nothing_runs_back(
    name: str, other: str, ticks: int, other_ticks: int, at: float, start: float, sizes: list[int]
) -> None:
    cast, second = broadcast(name, ticks), broadcast(other, (ticks + other_ticks) % PTS_WRAP)
    cut = aligned(cast.position(at))
    old = tail(cast, cut)
    splice = Splice(end_of(old, None))
    source = between(second, start, start + 8.0)
    out = feed(splice, source, sizes)
    assert splice.spliced and not splice.continued
    assert_one_stream(old, out)
    here, there = entry_pid(old), entry_pid(source)
    # it follows at once: within a second of what was shown
    gap = after(
        times(out, there)[0], max(times(old, here), key=lambda t: after(t, times(old, here)[0]))
    )
    assert 0 < gap < PTS_HZ
    # even a picture that is shown before the entry is shown after the old ones
    entry = next(stamp for stamp in pes_timestamps(out) if stamp.pid == there)
    newest = max(times(old, here), key=lambda t: after(t, times(old, here)[0]))
    assert after(entry.pts if entry.dts is None else entry.dts, newest) > 0
    # and from its first entry on nothing of it is missing
    assert len(times(out, there)) >= len(times(source, there)) - 2.1 * 50
    assert after(times(out, there)[-1], times(out, there)[0]) == after(
        times(source, there)[-1], times(source, there)[-len(times(out, there))]
    )


@cache
def on_other_pids(name: str) -> Broadcast:
    """The clip as FFmpeg multiplexes it, as program 7 on PIDs of its own."""
    clip = io.BytesIO(files("rawstream").joinpath("clips", f"{name}.ts").read_bytes())
    made = io.BytesIO()
    options = {
        "mpegts_start_pid": "512",
        "mpegts_pmt_start_pid": "8000",
        "mpegts_service_id": "7",
        "muxrate": "0",
    }
    with (
        av.open(clip, format="mpegts") as source,
        av.open(made, "w", format="mpegts", options=options) as out,
    ):
        copies = {stream.index: out.add_stream_from_template(stream) for stream in source.streams}
        for access_unit in source.demux():
            if access_unit.dts is not None:
                access_unit.stream = copies[access_unit.stream.index]
                out.mux(access_unit)
    return Broadcast(made.getvalue(), first_ticks=300 * PTS_HZ)


@pytest.mark.parametrize("other", [H264_AAC, HEVC_AC3, MPEG2_MP2])
def test_ffmpeg_follows_to_other_pids_and_codings(other: str) -> None:
    cast, second = broadcast(H264_AAC), on_other_pids(other)
    # short enough for FFmpeg to see all of it before it settles which streams there are
    old = cast.read(0, aligned(cast.position(0.6)))
    splice = Splice(end_of(old, None))
    source = between(second, 2.0, 8.0)
    out = feed(splice, source)
    assert_one_stream(old, out)
    there = entry_pid(source)
    assert there == entry_pid(out) == 512
    assert program_of(out).program_number == 7
    heard = listen(old + out)
    assert [pts for pid, pts, _, _ in heard.units if pid == there] == times(out, there)
    assert not [unit for unit in heard.units if unit[0] == there and (unit[2] or unit[3])]
    assert len(heard.pictures) >= len(times(old, 256)) + len(times(out, there)) - 2


@pytest.mark.parametrize("name", CLIPS)
@pytest.mark.parametrize("other", CLIPS)
def test_another_map_on_the_same_pids_shows_by_its_version(name: str, other: str) -> None:
    cast, second = broadcast(name), broadcast(other, 300 * PTS_HZ)
    old = between(cast, 5.0, 8.0)
    out = feed(Splice(end_of(old, None)), between(second, 2.0, 10.0))
    assert_one_stream(old, out)
    assert program_of(out).streams == program_of(between(second, 2.0, 10.0)).streams
    assert feed_programs(out) == {program_of(old).version + (name != other)}


def test_a_gap_is_shown_as_it_is_while_it_is_short() -> None:
    cast = broadcast(H264_AAC)
    old = between(cast, 2.0, 5.0)
    splice = Splice(end_of(old, None))
    out = feed(splice, between(cast, 6.5, 14.0))
    assert splice.continued
    assert without_marks(out)[2 * PACKET_SIZE :] in cast.read(0, cast.position(15.0))
    assert_one_stream(old, out)


def test_a_source_far_ahead_is_brought_back_to_the_old_timeline() -> None:
    cast = broadcast(H264_AAC)
    old = between(cast, 2.0, 5.0)
    pid = entry_pid(old)
    splice = Splice(end_of(old, None))
    out = feed(splice, between(cast, 40.0, 48.0))
    assert not splice.continued
    assert 0 < times(out, pid)[0] - max(times(old, pid)) < PTS_HZ
    assert_one_stream(old, out)


def test_a_replay_that_never_arrives_is_let_in_once_nobody_waits_for_it_any_more() -> None:
    cast = broadcast(H264_AAC)
    old = between(cast, 57.0, 60.0)
    pid = entry_pid(old)
    splice = Splice(end_of(old, None))
    source = between(cast, 5.0, 12.0)
    assert feed(splice, source) == b""
    assert not splice.spliced
    splice.wait_no_longer()
    out = splice.feed(between(cast, 12.0, 14.0))
    assert splice.spliced and not splice.continued
    # from the newest entry on, so that little is seen twice
    assert 0 < times(out, pid)[0] - max(times(old, pid)) < PTS_HZ
    assert len(times(out, pid)) <= 4.1 * 25
    assert_one_stream(old, out)


# -- packets made by hand --------------------------------------------------------------------------


class Maker:
    """A multiplexer of 25 pictures and sounds a second, whose every property can be set."""

    def __init__(
        self,
        *,
        first: int = 10 * PTS_HZ,
        lead: int = 20_000,
        pids: tuple[int, int, int] = (0x100, 0x101, 0x102),
        number: int = 1,
        version: int = 0,
        pat_version: int = 0,
        key_every: int = 10,
        flagged: bool = True,
        timed: bool = True,
        pictures: bool = True,
        descriptors: bytes = b"",
        tables_every: int = 5,
        tables_from: int = 0,
        subtitles: Sequence[int] = (),
        clock_alone: bool = False,
        others: Sequence[int] = (),
        step: int = 0,
    ) -> None:
        self.pmt_pid, self.video, self.audio = pids
        self.subtitle, self.clock_pid = 0x1F0, self.video if pictures else self.audio
        self.clock_alone = clock_alone
        if clock_alone:
            self.clock_pid = 0x1FE
        streams = [(AAC_TYPE, self.audio, descriptors)]
        if pictures:
            streams.insert(0, (H264, self.video, b""))
        if subtitles:
            streams.append((PRIVATE, self.subtitle, b"\x59\0"))
        programs = {number: self.pmt_pid} | {other: 0x1E00 + other for other in others}
        self.tables = {
            0: pat(programs, version=pat_version),
            self.pmt_pid: pmt(number, self.clock_pid, streams, version=version),
        }
        for other in others:
            section = pmt(other, 0x1E80 + other, [(H264, 0x1E80 + other, b"")])
            self.tables[0x1E00 + other] = section
        self.first, self.lead = first, lead
        self.key_every, self.flagged, self.timed, self.pictures = (
            key_every,
            flagged,
            timed,
            pictures,
        )
        self.tables_every, self.tables_from, self.subtitles = tables_every, tables_from, subtitles
        self.counters: dict[int, int] = {}
        self.step = step

    def _count(self, packets: Iterable[bytes]) -> bytes:
        out = []
        for made in packets:
            pid = (made[1] & 0x1F) << 8 | made[2]
            counter = self.counters.get(pid, self.step - 1) + (made[3] >> 4 & 1)
            self.counters[pid] = counter
            out.append(made[:3] + bytes([made[3] & 0xF0 | counter & 0x0F]) + made[4:])
        return b"".join(out)

    def slot(self, number: int) -> bytes:
        """One twenty-fifth of a second: a picture in three packets, a sound, tables at times."""
        packets: list[bytes] = []
        if number >= self.tables_from and number % self.tables_every == 0:
            for pid, section in self.tables.items():
                packets += table(pid, section)
        decode_at = (self.first + number * 3_600) % PTS_WRAP
        pts = decode_at if self.timed else None
        clock = pcr_fields((decode_at - self.lead) % PTS_WRAP * 300)
        if self.clock_alone:
            packets.append(pcr_packet(self.clock_pid, (decode_at - self.lead) % PTS_WRAP * 300))
        if self.pictures:
            key = number % self.key_every == 0
            body = (b"\0\0\1\x65\x88" if key else b"\0\0\1\x41\x9a") + number.to_bytes(
                4, "big"
            ) * 80
            flags = 0x10 | (0x40 if key and self.flagged else 0)
            data = pes(0xE0, body, pts)
            packets.append(packet(self.video, data[:170], start=True, flags=flags, fields=clock))
            packets += [
                packet(self.video, data[at : at + 184]) for at in range(170, len(data), 184)
            ]
        else:
            packets.append(pcr_packet(self.audio, (decode_at - self.lead) % PTS_WRAP * 300))
        # sound comes later than the pictures of its time
        heard = (decode_at - 9_000) % PTS_WRAP if self.timed else None
        packets += unit(self.audio, pes(0xC0, b"\xff\xf1" + number.to_bytes(4, "big") * 10, heard))
        if number in self.subtitles:
            packets += unit(self.subtitle, pes(0xBD, b"\x20\0\x0f" * 30, pts))
        return self._count(packets)

    def make(self, begin: int, end: int) -> bytes:
        return b"".join(self.slot(number) for number in range(begin, end))


def test_only_sound() -> None:
    old = Maker(pictures=False).make(0, 50)
    splice = Splice(end_of(old, None))
    out = feed(splice, Maker(pictures=False, first=99 * PTS_HZ, step=3).make(0, 100), [777])
    assert not splice.continued
    assert_one_stream(old, out)
    assert len(times(out, 0x102)) == 100


def test_a_longer_decoder_delay_of_the_new_source_does_not_set_its_clock_back() -> None:
    old = Maker(lead=5_000).make(0, 50)
    splice = Splice(end_of(old, None))
    out = feed(splice, Maker(lead=150_000, first=99 * PTS_HZ, step=3).make(0, 100))
    assert_one_stream(old, out)
    assert len(times(out, 0x101)) == 100


def test_the_table_of_another_map_gets_another_version() -> None:
    old = Maker().make(0, 50)
    other = Maker(first=99 * PTS_HZ, descriptors=b"\x0a\x04deu\0")
    out = feed(Splice(end_of(old, None)), other.make(0, 60))
    assert program_of(old).version == 0
    assert program_of(out).version == 1
    assert program_of(out).streams[1].descriptors == b"\x0a\x04deu\0"
    # all of them, not only those in front
    assert feed_programs(out) == {1}


def feed_programs(packets: bytes) -> set[int]:
    """The versions of the map that a stream shows, one after another."""
    scanner = TsScanner()
    versions = set()
    for each in packets_of(packets):
        scanner.scan(each)
        if scanner.program is not None:
            versions.add(scanner.program.version)
    return versions


def test_the_same_map_keeps_its_version_and_the_bytes_stay_as_they_are() -> None:
    old = Maker(version=7).make(0, 50)
    again = Maker(version=7, step=4).make(0, 120)
    out = feed(Splice(end_of(old, None)), again)
    assert feed_programs(out) == {7}
    assert set(packets_of(without_marks(out))) <= set(packets_of(again))


def test_another_version_is_not_raised_further() -> None:
    old = Maker(version=7).make(0, 50)
    out = feed(Splice(end_of(old, None)), Maker(version=3, pids=(0x30, 0x31, 0x32)).make(0, 120))
    assert feed_programs(out) == {3}


def test_another_program_gets_another_version_of_the_pat() -> None:
    def versions(packets: bytes) -> set[int]:
        return {p[10] >> 1 & 0x1F for p in packets_of(packets) if p[1:3] == b"\x40\0"}

    old = Maker(pat_version=31).make(0, 50)
    out = feed(
        Splice(end_of(old, None)),
        Maker(pat_version=31, number=9, pids=(0x30, 0x31, 0x32), first=99 * PTS_HZ).make(0, 60),
    )
    assert versions(old) == {31} and versions(out) == {0}
    assert program_of(out).program_number == 9
    assert program_of(out).version == 1
    assert_one_stream(old, out)


def test_other_pids_do_not_let_the_sound_run_back() -> None:
    cast = Maker()
    old = cast.make(0, 53)
    other = Maker(pids=(0x30, 0x31, 0x32), key_every=2)
    out = feed(Splice(end_of(old, None)), other.make(20, 120))
    assert min(times(out, 0x32)) > max(times(old, 0x102))
    assert min(times(out, 0x31)) >= max(times(old, 0x101))


def test_without_timestamps_the_new_source_enters_at_its_first_entry_on_the_old_clock() -> None:
    old = Maker(timed=False).make(0, 50)
    splice = Splice(end_of(old, None))
    out = feed(splice, Maker(timed=False, first=2 * PTS_HZ, step=3).make(3, 60))
    assert splice.spliced
    assert_one_stream(old, out)
    assert out.count(b"\0\0\1\x65") == 5


def test_without_entry_points_a_pes_start_must_do() -> None:
    old = Maker(key_every=10_000, flagged=False).make(1, 50)
    source = Maker(key_every=10_000, flagged=False, step=4)
    source.make(0, 1)
    assert feed(Splice(end_of(old, None)), source.make(1, 60)) == b""
    splice = Splice(end_of(old, None), any_start=True)
    out = feed(splice, source.make(1, 60))
    assert splice.continued
    assert_one_stream(old, out)
    # the picture at the cut comes again, as it might have been torn
    assert times(out, 0x101) == times(Maker().make(49, 60), 0x101)


@pytest.mark.parametrize("slots", [0, 1, 2, 7])
def test_an_entry_whose_tables_come_late_is_the_next_one(slots: int) -> None:
    old = Maker().make(0, 50)
    late = Maker(first=99 * PTS_HZ, tables_from=slots, step=3)
    out = feed(Splice(end_of(old, None)), late.make(0, 60))
    assert_one_stream(old, out)
    assert without_marks(out)[1:3] == b"\x40\0"
    assert len(times(out, 0x101)) == (60 if slots == 0 else 50)


def test_several_programs_go_on_byte_for_byte() -> None:
    cast = Maker(others=(2, 3))
    old = cast.make(0, 53)
    rest = cast.make(53, 90)
    out = feed(Splice(end_of(old, None)), (old + rest)[40 * PACKET_SIZE + 11 :], [999])
    assert out == rest


def test_several_programs_of_another_clock() -> None:
    old = Maker(others=(2, 3)).make(0, 53)
    out = feed(
        Splice(end_of(old, None)), Maker(others=(3, 4), first=99 * PTS_HZ, step=2).make(0, 60)
    )
    assert_one_stream(old, out)
    assert len(times(out, 0x101)) == 60


def test_a_subtitle_that_comes_minutes_later_is_announced_too() -> None:
    old = Maker(subtitles=[2]).make(0, 50)
    out = feed(
        Splice(end_of(old, None)),
        Maker(subtitles=[500], first=99 * PTS_HZ, step=7).make(0, 600),
    )
    assert_one_stream(old, out)
    assert len(times(out, 0x1F0)) == 1


def test_a_pid_that_never_comes_is_waited_for_no_more_in_the_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("rawstream.splice._MARK_LIMIT_BYTES", 50_000)
    same = Splice(end_of(Maker(subtitles=[2]).make(0, 50), None))
    again = Maker(subtitles=[210], step=3)
    feed(same, again.make(40, 200))
    piece = again.make(200, 230)
    assert same.feed(piece) is piece


def test_a_clock_on_a_pid_of_its_own_is_marked_as_well() -> None:
    old = Maker(clock_alone=True).make(0, 50)
    out = feed(Splice(end_of(old, None)), Maker(clock_alone=True, step=5).make(40, 90))
    assert_one_stream(old, out)
    assert 0x1FE in pids_of(out)


def test_any_other_pid_begins_with_a_section_or_pes_packet() -> None:
    def tables(number: int, start: bool) -> bytes:
        return packet(0x300, bytes(184), cc=number, start=start)

    old = Maker().make(0, 50) + tables(2, True)
    source = Maker(step=5)
    new = source.make(50, 52) + tables(9, False) + source.make(52, 54) + tables(10, True)
    out = feed(Splice(end_of(old, None)), new)
    assert tables(9, False) not in out
    assert out.endswith(tables(10, True))
    assert_one_stream(old, out)


def test_a_sound_whose_time_never_comes_is_let_in_in_the_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("rawstream.splice._GATE_LIMIT_BYTES", 100_000)
    old = Maker().make(0, 50)
    source = moved_pid(Maker(step=3).make(50, 500), 0x102, -PTS_HZ * 1000)
    out = feed(Splice(end_of(old, None)), source)
    assert times(out, 0x102)
    assert ContinuityChecker().feed(old + out) == []


def moved_pid(packets: bytes, pid: int, ticks: int) -> bytes:
    return b"".join(
        moved(p, ticks) if (p[1] & 0x1F) << 8 | p[2] == pid else p for p in packets_of(packets)
    )


def test_a_timeline_that_had_jumped_back_is_followed_from_where_it_is_now() -> None:
    cast = Maker(first=5_000 * PTS_HZ)
    jumped = Maker(first=10 * PTS_HZ)
    jumped.counters = cast.counters
    old = cast.make(0, 30) + jumped.make(0, 30)
    out = feed(Splice(end_of(old, None)), Maker(step=3).make(20, 60))
    assert times(out, 0x101)[0] == 10 * PTS_HZ + 30 * 3_600
    assert_one_stream(old[len(old) // 2 :], out)
    assert len(times(out, 0x102)) == 30


def test_a_jump_of_the_last_picture_is_followed_too() -> None:
    cast = Maker(first=5_000 * PTS_HZ)
    jumped = Maker(first=10 * PTS_HZ)
    jumped.counters = cast.counters
    old = cast.make(0, 30) + jumped.slot(0)
    out = feed(Splice(end_of(old, None)), Maker(step=3).make(0, 40))
    assert times(out, 0x101)[0] == 10 * PTS_HZ


def test_only_sound_and_pictures_of_the_newest_timeline_say_where_another_clock_follows() -> None:
    cast = Maker(first=5_000 * PTS_HZ, subtitles=[20])
    jumped = Maker(first=10 * PTS_HZ, subtitles=[20])
    jumped.counters = cast.counters
    silent = b"".join(
        p for p in packets_of(jumped.make(0, 30)) if (p[1] & 0x1F) << 8 | p[2] != 0x102
    )
    old = cast.make(0, 30) + moved_pid(silent, 0x1F0, 5 * PTS_HZ)
    out = feed(Splice(end_of(old, None)), Maker(first=900 * PTS_HZ, step=3).make(0, 40))
    assert times(out, 0x101)[0] == 10 * PTS_HZ + 30 * 3_600


def test_the_program_is_read_from_what_was_sent_not_from_a_source_that_sent_nothing() -> None:
    old = Maker().make(0, 50)
    assert end_of(old, None) == end_of(old, program_of(old))
    assert end_of(old, None).program == program_of(old)


def test_without_tables_in_the_last_packets_the_program_given_is_taken() -> None:
    cast = Maker(tables_every=49)
    program = program_of(cast.make(0, 2))
    shown = end_of(cast.make(2, 40), program)
    assert shown.last == 10 * PTS_HZ + 38 * 3_600
    assert shown.timestamps == {0x101: 1_040_400, 0x102: 1_031_400}


def test_an_old_side_without_anything_lets_the_new_one_enter_at_its_first_entry() -> None:
    source = Maker().make(3, 60)
    out = feed(Splice(end_of(b"", None)), source)
    assert times(out, 0x101) == times(Maker().make(10, 60), 0x101)


# -- any bytes, bounded ----------------------------------------------------------------------------


@settings(max_examples=150, deadline=None)
@given(
    st.lists(
        st.one_of(
            st.binary(max_size=600),
            st.integers(0, 40).map(lambda n: Maker(step=n, first=n * PTS_HZ * 3).make(n, n + 6)),
            st.integers(0, 12).map(lambda n: bytes(PACKET_SIZE * n)),
            st.tuples(st.integers(0, 7), st.binary(min_size=187, max_size=187)).map(
                lambda made: b"".join([b"\x47" + made[1]] * made[0])
            ),
        ),
        max_size=12,
    ),
    st.lists(st.integers(1, 2_000), min_size=1, max_size=4),
    st.booleans(),
    st.booleans(),
)
def test_no_bytes_are_too_bad(
    parts: list[bytes], sizes: list[int], any_start: bool, patient: bool
) -> None:
    data = b"".join(parts)
    cutter = PacketCutter()
    old = cutter.feed(data)
    for shown in (end_of(old, None), end_of(Maker().make(0, 30), None), Shown()):
        first = Splice(shown, any_start=any_start)
        if not patient:
            first.wait_no_longer()
        out = feed(first, data, sizes)
        assert len(out) % PACKET_SIZE == 0
        assert out[::PACKET_SIZE].strip(b"\x47") == b""
        second = Splice(end_of(out, None), after=first)
        assert len(feed(second, data, sizes)) % PACKET_SIZE == 0


def test_what_is_held_is_bounded_with_and_without_an_entry(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("rawstream.splice._HELD_LIMIT_BYTES", 400_000)
    monkeypatch.setattr("rawstream.splice._PROBED_LIMIT_BYTES", 100_000)
    old = Maker(first=100 * PTS_HZ).make(0, 50)
    for first, key_every in ((1, 10_000), (0, 10_000), (0, 20)):
        splice = Splice(end_of(old, None))
        source = Maker(key_every=key_every, step=1)
        for number in range(first, 900):
            assert splice.feed(source.slot(number)) == b""
            assert len(splice._held) <= 402_000
            assert first == 0 or len(splice._held) <= 202_000


def test_a_replay_longer_than_the_limit_still_goes_on_at_the_byte() -> None:
    cast = Maker()
    old = cast.make(0, 2_000)
    rest = cast.make(2_000, 2_040)
    out = feed(Splice(end_of(old[-1_000 * PACKET_SIZE :], None)), old + rest, [65_424])
    assert out == rest


def test_once_all_pids_are_in_packets_pass_as_the_same_object() -> None:
    cast = broadcast(H264_AAC)
    splice = Splice(end_of(between(cast, 2.0, 5.0), None))
    feed(splice, renumbered(between(cast, 3.0, 12.0)))
    piece = renumbered(between(cast, 12.0, 13.0))
    assert splice.feed(piece) is piece
