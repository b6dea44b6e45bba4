"""The mux alone: packets in, sinks watched, turns of the loop by hand."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import pytest
from ts_clips import clip, decode, key_pictures

from rawstream.config import Limits
from rawstream.continuity import ContinuityChecker
from rawstream.mpegts import PACKET_SIZE
from rawstream.mux import Mux, batch_windows
from rawstream.viewer import Place, Viewer

H264 = clip("h264")


class FakeSink:
    """A sink that keeps what it gets; `room` bytes until it pauses, as a transport does inside
    `write`.
    """

    def __init__(self, room: int | None = None) -> None:
        self.got = bytearray()
        self.room = room
        self.paused = False
        self.aborted = False
        self.finished = False
        self.acknowledged = 0

    def write(self, data: bytes) -> None:
        self.got += data
        if self.room is not None:
            self.room -= len(data)
            if self.room <= 0:
                self.paused = True

    def unsent(self) -> int:
        return 0

    def kernel_unsent(self) -> tuple[int, int] | None:
        return 0, self.acknowledged

    def abort(self) -> None:
        self.aborted = True

    def finish(self) -> None:
        self.finished = True


class Turns:
    """`call_soon` and `call_later`, run by hand."""

    def __init__(self) -> None:
        self.soon: list[Callable[[], None]] = []
        self.timers: list[Timer] = []

    def call_soon(self, callback: Callable[[], None]) -> None:
        self.soon.append(callback)

    def call_later(self, seconds: float, callback: Callable[[], None]) -> Any:
        timer = Timer(seconds, callback)
        self.timers.append(timer)
        return timer

    def turn(self) -> None:
        due, self.soon = self.soon, []
        for callback in due:
            callback()

    def run(self) -> None:
        while self.soon:
            self.turn()


class Timer:
    def __init__(self, seconds: float, callback: Callable[[], None]) -> None:
        self.seconds = seconds
        self.callback = callback
        self.cancelled = False

    def cancel(self) -> None:
        self.cancelled = True


@pytest.fixture
def turns() -> Turns:
    return Turns()


def make(turns: Turns, **limits: Any) -> Mux:
    return Mux(Limits(**limits), call_soon=turns.call_soon, call_later=turns.call_later)


def join(mux: Mux, turns: Turns, sink: FakeSink | None = None, id: int = 1) -> Viewer:
    viewer = Viewer(id, sink or FakeSink(), now=0.0)
    mux.add(viewer)
    turns.run()
    return viewer


def got(viewer: Viewer) -> bytes:
    assert isinstance(viewer.sink, FakeSink)
    return bytes(viewer.sink.got)


def pieces(data: bytes, size: int) -> list[bytes]:
    return [data[at : at + size] for at in range(0, len(data), size)]


def assert_clean(data: bytes) -> None:
    """Continuous in every PID, and FFmpeg decodes it without a word."""
    assert len(data) % PACKET_SIZE == 0
    assert ContinuityChecker().feed(data) == []
    decoded = decode(data)
    assert decoded.pictures, "nothing was decoded"
    assert not decoded.complaints


def test_a_viewer_at_the_head_gets_the_very_object_that_another_gets(turns: Turns) -> None:
    mux = make(turns)
    mux.feed(H264[: PACKET_SIZE * 200])
    seen: list[list[bytes]] = [[], []]
    for number in (0, 1):
        viewer = join(mux, turns, id=number)
        assert viewer.place is Place.HEAD
        viewer.sink.write = seen[number].append
    mux.feed(H264[PACKET_SIZE * 200 : PACKET_SIZE * 300])
    assert seen[0][0] is seen[1][0]


def test_the_bytes_of_an_epoch_go_out_untouched_however_they_are_cut(turns: Turns) -> None:
    first = key_pictures(H264)[0].offset
    for size in (1, 187, 188, 1316, 16_384, 200_000, len(H264)):
        mux = make(turns, join_seconds=60)
        viewers: list[Viewer] = []
        for piece in pieces(H264, size) if size > 1 else pieces(H264[:6000], 1):
            mux.feed(piece)
            if mux.joinable and not viewers:
                viewers.append(join(mux, turns))
        turns.run()
        data = got(viewers[0])
        tables = data.index(H264[first : first + PACKET_SIZE])
        assert H264.startswith(data[tables:], first), f"pieces of {size} bytes"


def test_a_joiner_gets_pat_pmt_and_a_key_picture_first(turns: Turns) -> None:
    mux = make(turns, join_seconds=0.5)
    mux.feed(H264)
    data = got(join(mux, turns))
    pids = [
        (data[at + 1] & 0x1F) << 8 | data[at + 2] for at in range(0, 3 * PACKET_SIZE, PACKET_SIZE)
    ]
    program = mux.scanner.program
    assert program is not None
    assert pids == [0, program.pmt_pid, program.streams[0].pid]
    assert data[2 * PACKET_SIZE + 5] & 0x40, "random_access_indicator"
    assert_clean(data)


@pytest.mark.parametrize("name", ["h264", "hevc-closed-gop", "mpeg2", "audio"])
def test_every_coding_decodes_from_the_joiners_first_byte(turns: Turns, name: str) -> None:
    data = clip(name)
    mux = make(turns)
    for piece in pieces(data, 5000):
        mux.feed(piece)
    received = got(join(mux, turns))
    assert ContinuityChecker().feed(received) == []
    decoded = decode(received)
    assert decoded.pictures or decoded.sounds
    assert not decoded.complaints


def test_the_lead_of_a_joiner_is_near_what_was_asked_for(turns: Turns) -> None:
    leads = []
    for seconds in (0.0, 1.0, 3.0):
        mux = make(turns, join_seconds=seconds)
        for piece in pieces(H264, 4096):
            mux.feed(piece)
        entry = mux.ring.entry_near(mux.seconds - seconds)
        assert entry is not None
        leads.append(mux.seconds - entry.seconds)
    assert leads == sorted(leads)
    assert abs(leads[1] - 1.0) <= 0.7  # key pictures stand 0.6 s apart


def test_a_paused_viewer_is_skipped_and_the_others_lose_nothing(turns: Turns) -> None:
    mux = make(turns)
    mux.feed(H264[: PACKET_SIZE * 400])
    healthy = join(mux, turns, id=1)
    slow = join(mux, turns, FakeSink(room=120_000), id=2)
    for piece in pieces(H264[PACKET_SIZE * 400 :], 3000):
        mux.feed(piece)
        turns.run()
    assert slow.place is Place.PAUSED
    assert healthy.place is Place.HEAD
    assert len(got(slow)) < len(got(healthy))
    assert_clean(got(healthy))


def test_a_viewer_who_resumes_gets_everything_from_the_ring(turns: Turns) -> None:
    mux = make(turns)
    mux.feed(H264[: PACKET_SIZE * 400])
    healthy = join(mux, turns, id=1)
    sink = FakeSink(room=100_000)
    slow = join(mux, turns, sink, id=2)
    for piece in pieces(H264[PACKET_SIZE * 400 :], 3000):
        mux.feed(piece)
        turns.run()
    assert slow.place is Place.PAUSED
    sink.room, sink.paused = None, False
    mux.resumed(slow)
    turns.run()
    assert slow.place is Place.HEAD
    assert got(slow) == got(healthy)
    assert slow.jumps == 0


def test_catching_up_takes_a_bounded_number_of_writes_per_turn(turns: Turns) -> None:
    mux = make(turns, catch_up_chunks=2, chunk_bytes=188 * 10, join_seconds=60)
    mux.feed(H264)
    viewers = [Viewer(number, FakeSink(), now=0.0) for number in range(20)]
    for viewer in viewers:
        mux.add(viewer)
    before = [len(got(viewer)) for viewer in viewers]
    turns.turn()
    written = sum(len(got(v)) - b for v, b in zip(viewers, before, strict=True))
    assert 0 < written <= 2 * 8 * 188 * 10
    turns.run()
    assert len({got(viewer) for viewer in viewers}) == 1
    assert all(viewer.place is Place.HEAD for viewer in viewers)


def test_a_viewer_whose_place_has_left_the_ring_jumps_to_a_clean_picture(turns: Turns) -> None:
    mux = make(turns, ring_bytes=188 * 1024, ring_cap_bytes=400_000, ring_seconds=1)
    half = len(H264) // 2 // PACKET_SIZE * PACKET_SIZE
    sink = FakeSink(room=60_000)
    mux.feed(H264[: PACKET_SIZE * 100])
    slow = join(mux, turns, sink)
    for piece in pieces(H264[PACKET_SIZE * 100 : half], 3000):
        mux.feed(piece)
    assert slow.place is Place.PAUSED
    for piece in pieces(H264[half:], 3000):
        mux.feed(piece)
    sink.room, sink.paused = None, False
    mux.resumed(slow)
    turns.run()
    assert (slow.jumps, mux.jumps) == (1, 1)
    assert slow.place is Place.HEAD
    data = got(slow)
    assert ContinuityChecker().feed(data) == [], "the jump is announced on every PID"


def test_the_ring_is_bounded_and_keeps_the_newest_entry_point(turns: Turns) -> None:
    mux = make(turns, ring_bytes=188 * 1024, ring_cap_bytes=188 * 2000, ring_seconds=1)
    for piece in pieces(H264 * 3, 3000):
        mux.feed(piece)
        assert mux.ring.size <= 188 * 2000 + 65_424
        assert not mux.ring.entries or mux.ring.entries[0].sequence >= mux.ring.first
    assert mux.joinable


def test_a_ring_below_its_size_keeps_everything_however_old(turns: Turns) -> None:
    mux = make(turns, ring_seconds=1)
    mux.feed(H264)
    assert mux.ring.size == len(H264)
    assert mux.ring.seconds > 2


def test_a_window_gathers_pieces_into_chunks_and_a_timer_sends_the_rest(turns: Turns) -> None:
    mux = make(turns)
    mux.feed(H264[: PACKET_SIZE * 400])
    viewer = join(mux, turns)
    writes: list[bytes] = []
    viewer.sink.write = writes.append
    mux.window_seconds = 0.1
    rest = H264[PACKET_SIZE * 400 : PACKET_SIZE * 1200]
    for piece in pieces(rest, 1316):
        mux.feed(piece)
    assert {len(data) for data in writes} == {65_424}
    assert [timer.seconds for timer in turns.timers if not timer.cancelled] == [0.1]
    turns.timers[-1].callback()
    assert b"".join(writes) == rest


def test_leaving_twice_is_no_error_and_frees_the_place(turns: Turns) -> None:
    mux = make(turns)
    mux.feed(H264)
    viewer = join(mux, turns)
    mux.remove(viewer)
    mux.remove(viewer)
    sent = len(got(viewer))
    mux.feed(H264[: PACKET_SIZE * 50])
    assert (mux.viewers, len(got(viewer))) == (0, sent)


def test_a_viewer_who_leaves_inside_the_walk_does_not_disturb_it(turns: Turns) -> None:
    mux = make(turns)
    mux.feed(H264[: PACKET_SIZE * 400])
    viewers = [join(mux, turns, id=number) for number in range(3)]
    viewers[0].sink.write = lambda _data: mux.remove(viewers[1])
    mux.feed(H264[PACKET_SIZE * 400 : PACKET_SIZE * 500])
    assert mux.viewers == 2
    assert got(viewers[2]).endswith(H264[PACKET_SIZE * 400 : PACKET_SIZE * 500])


def test_a_paused_viewer_who_acknowledges_nothing_is_stalled_and_one_who_does_is_not(
    turns: Turns,
) -> None:
    mux = make(turns)
    mux.feed(H264[: PACKET_SIZE * 400])
    dead, slow = (join(mux, turns, FakeSink(room=1), id=number) for number in (1, 2))
    mux.feed(H264[PACKET_SIZE * 400 : PACKET_SIZE * 500])
    assert dead.place is slow.place is Place.PAUSED
    assert mux.sweep(0.0, 60) == []
    for second in range(10, 70, 10):
        slow.sink.acknowledged += 1
        stalled = mux.sweep(float(second), 60)
    assert stalled == [dead]


def test_no_entry_point_for_long_lets_viewers_in_at_any_pes_start(turns: Turns) -> None:
    middle = key_pictures(H264)[0].offset + PACKET_SIZE
    until_next_key = H264[: key_pictures(H264)[1].offset]
    tables = H264[: key_pictures(H264)[0].offset]
    mux = make(turns)
    mux.feed(tables + until_next_key[middle:])
    assert not mux.joinable
    mux.accept_any_start()
    mux.feed(tables + until_next_key[middle:])
    assert mux.joinable


def test_a_viewer_added_without_an_entry_point_starts_at_the_next_one(turns: Turns) -> None:
    mux = make(turns)
    viewer = Viewer(1, FakeSink(), now=0.0)
    mux.add(viewer)
    assert viewer.place is Place.WAITING
    for piece in pieces(H264, 4000):
        mux.feed(piece)
    turns.run()
    assert viewer.place is Place.HEAD
    assert_clean(got(viewer))


def test_what_was_sent_is_counted_whatever_way_it_went(turns: Turns) -> None:
    chooser = random.Random(7)
    mux = make(turns, ring_bytes=188 * 1024, ring_cap_bytes=300_000, ring_seconds=1)
    mux.feed(H264[: PACKET_SIZE * 100])
    viewers = [join(mux, turns, FakeSink(), id=number) for number in range(4)]
    for piece in pieces(H264[PACKET_SIZE * 100 :], 2500):
        mux.feed(piece)
        viewer = chooser.choice(viewers)
        sink = viewer.sink
        assert isinstance(sink, FakeSink)
        sink.paused = not sink.paused
        if not sink.paused:
            mux.resumed(viewer)
        turns.run()
    for viewer in viewers:
        assert mux.snapshot(viewer, 1.0, 1e6).bytes_sent == len(got(viewer))
        assert ContinuityChecker().feed(got(viewer)) == []
    assert mux.bytes_out == sum(len(got(viewer)) for viewer in viewers)


def test_finish_ends_every_sink_after_what_waits_was_sent(turns: Turns) -> None:
    mux = make(turns)
    mux.feed(H264[: PACKET_SIZE * 400])
    viewer = join(mux, turns)
    mux.window_seconds = 0.5
    mux.feed(H264[PACKET_SIZE * 400 : PACKET_SIZE * 410])
    mux.finish()
    assert got(viewer).endswith(H264[PACKET_SIZE * 400 : PACKET_SIZE * 410])
    assert viewer.sink.finished
    assert mux.viewers == 0


def without_pcr(data: bytes) -> bytes:
    """The same stream with every PCR_flag cleared."""
    out = bytearray(data)
    for at in range(0, len(out), PACKET_SIZE):
        if out[at + 3] & 0x20 and out[at + 4]:
            out[at + 5] &= ~0x10
    return bytes(out)


def test_a_stream_without_pcr_is_timed_by_when_its_packets_came(turns: Turns) -> None:
    mux = make(turns, ring_seconds=1, ring_bytes=188 * 1024, join_seconds=0.5)
    silent = without_pcr(H264)
    for number, piece in enumerate(pieces(silent * 3, 188 * 50)):
        mux.feed(piece)
        mux.tell_time(100.0 + number * 0.1)
    lasted = (len(silent) * 3 // (188 * 50)) * 0.1
    assert mux.seconds == pytest.approx(lasted, abs=0.2)
    assert mux.ring.seconds < lasted, "old chunks go, and not only at the cap"
    entry = mux.ring.entry_near(mux.seconds - 0.5)
    assert entry is not None
    assert mux.seconds - entry.seconds < 2.5
    assert mux.bitrate > 0


def test_one_channel_waits_for_company_when_its_viewers_ask_for_more_writes_than_there_are() -> (
    None
):
    limits = Limits()
    assert batch_windows([(100, 40.0)], limits) == [0.0]
    assert batch_windows([(1000, 40.0)], limits) == [pytest.approx(0.1)]
    assert batch_windows([(50_000, 40.0)], limits) == [limits.batch_window_max_seconds]
    assert batch_windows([(1000, 5.0)], limits) == [0.0]
    assert batch_windows([], limits) == []


def test_a_small_channel_does_not_wait_because_another_is_big() -> None:
    small, big = batch_windows([(1, 40.0), (1000, 40.0)], Limits())
    assert small == 0.0
    assert big == pytest.approx(0.1, rel=0.01)


def test_the_windows_of_all_channels_keep_the_writes_within_the_budget() -> None:
    chooser = random.Random(3)
    limits = Limits(batch_window_max_seconds=100)
    for _ in range(300):
        loads = [
            (chooser.randrange(3000), chooser.uniform(0, 200)) for _ in range(chooser.randrange(12))
        ]
        windows = batch_windows(loads, limits)
        writes = sum(
            viewers / window if window else viewers * pieces
            for (viewers, pieces), window in zip(loads, windows, strict=True)
        )
        assert writes <= limits.writes_per_second * 1.000_001
