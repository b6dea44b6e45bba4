"""A channel's segments: the window, the names, who waits, what is answered."""

from __future__ import annotations

import gc
import itertools
from collections.abc import Iterator
from typing import Any, cast

import m3u8
import pytest
from test_mux import Turns, make, pieces
from test_segmenter import body, gop, joined
from test_watchers import FakeLease

from rawstream.broadcast import Broadcast
from rawstream.config import Limits, Timeouts
from rawstream.hls_tokens import HlsTokens
from rawstream.http1 import Request, Response
from rawstream.mpegts import PacketCutter
from rawstream.mux import Mux
from rawstream.packager import Numbers, Packager, Packagers, PlaylistRequest
from rawstream.simulator import bundled_contents
from rawstream.splice import Shown, Splice
from rawstream.tally import Tally
from rawstream.watchers import WatcherKey

KEY = WatcherKey(1, 5, "10.0.0.9", "box")
CLIP = bundled_contents()[0].clip.read_bytes()


class Asked:
    """An exchange that keeps what it is answered with."""

    def __init__(self) -> None:
        self.request = Request("GET", "/live/u/p/5.m3u8", {}, peer=(KEY.address, 4000))
        self.answer: Response | None = None
        self.on_gone: Any = None
        self.gone = False

    def respond(self, response: Response) -> None:
        assert self.answer is None
        self.answer = response

    def fail(self, response: Response) -> None:
        self.answer = response


class Channel:
    """A mux that is fed a broadcast, and its packager."""

    def __init__(self, turns: Turns, *, target: float = 2.0, **limits: Any) -> None:
        self.turns = turns
        self.mux: Mux = make(turns, **limits)
        self.limits = Limits(**limits)
        self.cast = Broadcast(CLIP)
        self.position = 0
        self.wall = 1_767_225_600.0
        self.target = target
        self.numbers = Numbers()
        self.packager: Packager | None = None

    def package(self) -> Packager:
        self.packager = Packager(
            self.mux,
            HlsTokens(60),
            target_seconds=self.target,
            limits=self.limits,
            timeouts=Timeouts(),
            watcher_ids=itertools.count(1),
            call_soon=self.turns.call_soon,
            numbers=self.numbers,
            wall=lambda: self.wall,
        )
        return self.packager

    def play(self, seconds: float) -> None:
        """So much more media, a second at a time."""
        end = self.cast.position(self.cast.seconds(self.position) + seconds)
        while self.position < end:
            step = min(end - self.position, 20_000)
            self.mux.feed(self.cast.read(self.position, step))
            self.position += step
            self.turns.run()

    def ask(self, key: WatcherKey = KEY, **more: Any) -> Asked:
        asked = Asked()
        assert self.packager is not None
        request = PlaylistRequest(cast(Any, asked), key, **{"deadline": 7.0, **more})
        self.packager.ask(request)
        return asked

    def playlist(self, key: WatcherKey = KEY, **more: Any) -> Any:
        answer = self.ask(key, **{"lease": FakeLease(), **more}).answer
        assert answer is not None and answer.status == 200
        return m3u8.loads(answer.body.decode())


@pytest.fixture
def channel(turns: Turns) -> Iterator[Channel]:
    yield Channel(turns)


@pytest.fixture
def turns() -> Turns:
    return Turns()


def names(playlist: Any) -> list[str]:
    return [one.uri.partition("?")[0].rpartition("/")[2] for one in playlist.segments]


# -- first playlists --


def test_a_cold_channel_is_waited_for_and_never_answered_with_nothing(channel: Channel) -> None:
    packager = channel.package()
    asked = channel.ask(lease=FakeLease())
    channel.play(1.0)
    packager.tick(1.0)
    assert asked.answer is None
    channel.play(3.0)
    packager.tick(2.0)
    assert asked.answer is not None and asked.answer.status == 200
    assert asked.answer.body.count(b"#EXTINF") >= 1


def test_one_who_has_waited_long_enough_is_told_to_ask_again(channel: Channel) -> None:
    packager = channel.package()
    lease = FakeLease()
    asked = channel.ask(lease=lease, deadline=7.0)
    packager.tick(6.9)
    assert asked.answer is None
    packager.tick(7.0)
    assert asked.answer is not None and asked.answer.status == 503
    headers = dict(asked.answer.headers)
    assert headers["Retry-After"] == "1"
    assert headers["Access-Control-Allow-Origin"] == "*"
    assert lease.ends == [0]
    assert packager.held == 0


def test_a_burst_is_answered_with_what_it_brought(channel: Channel) -> None:
    channel.package()
    asked = channel.ask(lease=FakeLease())
    channel.play(2.5)  # one segment: a tick decides
    assert asked.answer is None
    channel.play(5.0)
    assert asked.answer is not None
    assert asked.answer.body.count(b"#EXTINF") == 3


def test_a_warm_channel_answers_at_once_with_what_the_ring_holds(channel: Channel) -> None:
    channel.play(20.0)
    channel.package()
    playlist = channel.playlist()
    assert len(playlist.segments) == 6
    assert playlist.target_duration == 2


def test_who_leaves_while_he_waits_is_forgotten(channel: Channel) -> None:
    packager = channel.package()
    lease = FakeLease()
    asked = channel.ask(lease=lease)
    asked.gone = True
    asked.on_gone()
    assert (packager.held, lease.ends) == (0, [0])
    channel.play(8.0)
    assert asked.answer is None


# -- the window --


def test_the_window_slides_and_late_readers_find_what_has_left_it(channel: Channel) -> None:
    packager = channel.package()
    seen: dict[int, str] = {}
    for turn in range(20):
        channel.play(2.0)
        packager.tick(2.0 * turn)
        if packager.held or not packager._written:
            continue
        playlist = channel.playlist()
        for number, name in enumerate(names(playlist), playlist.media_sequence):
            assert seen.setdefault(number, name) == name, "a segment keeps its name"
        assert len(playlist.segments) <= 6
        listed = range(playlist.media_sequence, playlist.media_sequence + len(playlist.segments))
        served = {number for number, name in seen.items() if packager.find(name) is not None}
        assert served == {number for number in seen if number >= listed[0] - 7}
    assert len(seen) >= 17


def test_segments_are_the_chunks_of_the_stream_itself(channel: Channel) -> None:
    """Not copies: whole chunks are the very objects that every TS viewer is sent."""
    packager = channel.package()
    channel.play(12.0)
    segments = list(packager._window)
    chunks = {id(channel.mux.ring.chunk(at).data) for at in range(channel.mux.ring.next)}
    shared = sum(id(part) in chunks for one in segments for part in one.parts)
    assert shared >= sum(len(one.parts) for one in segments) - 3 * len(segments)
    whole = joined(segments)
    stream = b"".join(channel.mux.ring.chunk(at).data for at in range(channel.mux.ring.next))
    assert whole in stream


def test_a_window_is_bounded_in_bytes(turns: Turns) -> None:
    limit = 1024 * 1024
    channel = Channel(turns, target=4.0, hls_window_bytes=limit, ring_bytes=188 * 1024)
    packager = channel.package()
    channel.cast = Broadcast(CLIP)
    for _ in range(20):
        channel.play(20.0)
        packager.tick(0.0)
        assert packager.window_bytes == sum(
            one.size for one in (*(old.segment for old in packager._expired), *packager._window)
        )
        assert packager.window_bytes <= limit
    assert names(channel.playlist())


def test_a_burst_does_not_push_out_what_players_have_had_no_time_to_see(channel: Channel) -> None:
    """As an engine's is that takes over: else hls.js skips the segments between two reloads."""
    packager = channel.package()
    channel.play(14.5)
    packager.tick(100.0)
    before = names(channel.playlist())
    channel.play(40.0)
    packager.tick(104.0)
    assert names(channel.playlist())[: len(before)] == before
    assert len(names(channel.playlist())) == 26
    packager.tick(106.0)
    channel.play(2.0)
    assert names(channel.playlist())[0] not in before
    packager.tick(111.0)
    channel.play(2.0)
    assert len(names(channel.playlist())) == 6


def test_what_has_left_the_playlist_is_served_for_its_time_and_the_longest_playlists(
    channel: Channel,
) -> None:
    """RFC 8216 §6.2.2, in real time: a burst does not shorten it."""
    packager = channel.package()
    channel.play(14.5)
    first = names(channel.playlist())[0]
    channel.play(40.0)
    assert first not in names(channel.playlist())
    packager.tick(100.0)
    packager.tick(100.0 + 2 + 12 - 0.1)
    assert packager.find(first) is not None
    packager.tick(100.0 + 2 + 12)
    assert packager.find(first) is None
    assert packager.window_bytes == sum(one.size for one in packager._window)
    assert [packager.find(name) is None for name in names(channel.playlist())] == [False] * 6


def test_the_discontinuity_sequence_is_one_that_players_can_count_to(channel: Channel) -> None:
    """hls.js copies an array of that length for each segment."""
    channel.package()
    channel.play(14.5)
    assert channel.playlist().discontinuity_sequence < 1_000_000


def test_a_window_holds_three_target_durations_however_short_its_segments(turns: Turns) -> None:
    """RFC 8216 §6.2.2. The target is 4 s, then key pictures come at odd places."""
    channel = Channel(turns, target=4.0)
    packager = channel.package()
    for data in (gop(4, 3), gop(3, 30)):
        for piece in pieces(data, 40 * 188):
            channel.mux.feed(piece)
            turns.run()
    window = packager._window
    assert packager._segmenter.target == 4
    assert sum(one.seconds for one in window) >= 12
    assert len(window) <= 6


def test_numbers_go_on_when_a_channel_is_packaged_anew(channel: Channel) -> None:
    channel.play(20.0)
    packager = channel.package()
    channel.play(20.0)
    before = channel.playlist()
    packager.finish()
    channel.wall += 60.0
    channel.package()
    after = channel.playlist()
    assert after.media_sequence > before.media_sequence + len(before.segments)
    assert after.discontinuity_sequence >= before.discontinuity_sequence
    assert not set(names(after)) & set(names(before))


@pytest.mark.parametrize("later", [1.0, -3600.0])
def test_numbers_go_on_however_soon_and_whatever_the_clock_says(
    channel: Channel, turns: Turns, later: float
) -> None:
    """A warm channel has made a window in no time, when it ends and begins anew."""
    channel.play(60.0)
    packager = channel.package()
    before = channel.playlist()
    packager.finish()
    again = Channel(turns)
    again.numbers = channel.numbers
    again.wall = channel.wall + later
    again.play(8.0)
    again.package()
    after = again.playlist()
    assert after.media_sequence >= before.media_sequence + len(before.segments)
    assert after.discontinuity_sequence >= before.discontinuity_sequence


def test_of_a_long_ring_only_what_a_window_may_hold_is_read(turns: Turns) -> None:
    """A radio's ring may be hours long."""
    channel = Channel(turns, hls_target_max_seconds=4)
    channel.play(120.0)
    packager = channel.package()
    playlist = channel.playlist()
    assert len(playlist.segments) == 6
    assert packager._segmenter.number - int(channel.wall) <= 0
    assert playlist.media_sequence - int(channel.wall - 8 * 4) <= 11


def test_all_who_wait_are_answered_some_at_a_time(channel: Channel, turns: Turns) -> None:
    packager = channel.package()
    waiting = [
        channel.ask(KEY._replace(user_agent=str(one)), lease=FakeLease()) for one in range(300)
    ]

    def broken(_response: Response) -> None:
        raise RuntimeError("a bug")

    waiting[10].respond = broken  # type: ignore[method-assign]
    channel.play(4.0)
    packager.tick(0.0)
    assert 0 < packager.held < 300
    turns.run()
    answered = [one for one in waiting if one.answer is not None and one.answer.status == 200]
    assert (packager.held, len(answered), len(packager.watchers)) == (0, 299, 299)
    assert waiting[10].answer is not None and waiting[10].answer.status == 500


def test_a_discontinuity_that_leaves_the_window_is_counted(channel: Channel) -> None:
    packager = channel.package()
    channel.play(6.0)
    first = channel.playlist().discontinuity_sequence
    channel.mux.begin_epoch(Splice(Shown()))
    channel.cast = Broadcast(CLIP, first_ticks=9_000_000)
    channel.position = 0
    channel.play(8.0)
    playlist = channel.playlist()
    assert [one.discontinuity for one in playlist.segments].count(True) == 1
    assert playlist.discontinuity_sequence == first
    channel.play(20.0)
    packager.tick(0.0)
    playlist = channel.playlist()
    assert not any(one.discontinuity for one in playlist.segments)
    assert playlist.discontinuity_sequence == first + 1


def test_a_source_that_goes_on_at_the_byte_is_no_discontinuity(channel: Channel) -> None:
    channel.package()
    channel.play(6.0)

    class Seamless(PacketCutter):
        seamless = True  # type: ignore[misc]

    channel.mux.begin_epoch(Seamless())
    channel.play(6.0)
    assert not any(one.discontinuity for one in channel.playlist().segments)


def test_a_ring_that_has_dropped_what_was_not_read_is_a_discontinuity(turns: Turns) -> None:
    channel = Channel(turns, ring_bytes=188 * 1024, ring_cap_bytes=188 * 1024)
    packager = channel.package()
    channel.play(4.0)
    channel.turns.call_soon = lambda _callback: None  # type: ignore[method-assign]
    channel.mux.on_points = None  # nobody tells: the ring moves on by itself
    for piece in pieces(channel.cast.read(channel.position, 1_000_000), 20_000):
        channel.mux.feed(piece)
    channel.position += 1_000_000
    packager.pull()
    channel.mux.on_points = packager.pull
    channel.play(6.0)
    assert any(one.discontinuity for one in packager._window)


# -- watchers --


def test_one_watcher_is_one_lease_whatever_he_asks_for(channel: Channel) -> None:
    channel.play(20.0)
    packager = channel.package()
    lease, other = FakeLease(), FakeLease()
    first = channel.playlist(lease=lease)
    channel.playlist(lease=other)  # asked for before he was known
    assert other.ends == [0]
    (watcher,) = packager.watchers
    (claims,) = {packager.claims_of(one.uri.partition("?t=")[2]) for one in first.segments}
    assert claims is not None
    assert packager.watchers.numbered(claims.watcher) is watcher
    segment = packager.find(names(first)[2])
    assert segment is not None
    answer = packager.serve(watcher, segment)
    packager.sent(watcher, segment.size)
    assert answer.parts == segment.parts
    assert packager.serve(watcher, segment) is answer
    assert (watcher.requests, watcher.sent) == (4, segment.size)
    (shown,) = packager.snapshots(0.0)
    assert shown.seconds_behind == pytest.approx(
        channel.mux.seconds - segment.begins - segment.seconds
    )


def test_two_watchers_have_the_same_segments_under_the_same_paths(channel: Channel) -> None:
    channel.play(20.0)
    packager = channel.package()
    one = channel.playlist(prefix="/tv")
    other = channel.playlist(KEY._replace(account_id=2))
    paths = [line.uri.partition("?")[0] for line in one.segments]
    assert paths == [f"/tv/hls/{packager.run}/{name}" for name in names(other)]
    assert {line.uri for line in one.segments}.isdisjoint(line.uri for line in other.segments)


def test_a_watcher_who_was_cut_has_no_good_token_any_more(channel: Channel) -> None:
    channel.play(20.0)
    packager = channel.package()
    lease = FakeLease()
    playlist = channel.playlist(lease=lease)
    token = playlist.segments[0].uri.partition("?t=")[2]
    channel.playlist(lease=FakeLease())
    assert packager.claims_of(token) is not None
    assert lease.cut is not None
    lease.cut()
    assert packager.claims_of(token) is None
    assert packager.claims_of(channel.playlist().segments[0].uri.partition("?t=")[2]) is not None


def test_a_segments_answer_may_be_kept_by_a_cache_as_long_as_the_window(channel: Channel) -> None:
    channel.play(30.0)
    packager = channel.package()
    playlist = channel.playlist()
    (watcher,) = packager.watchers
    segment = packager.find(names(playlist)[0])
    assert segment is not None
    answer = packager.serve(watcher, segment)
    headers = dict(answer.headers)
    assert headers["ETag"] == f'"{names(playlist)[0]}"'
    assert headers["Cache-Control"] == f"public, max-age={6 * 2 + 2 + 6 * 2}"
    assert (answer.content_type, answer.length) == ("video/mp2t", segment.size)
    assert body(segment)[:1] == b"\x47"


def test_a_packager_is_over_some_time_after_its_last_watcher(
    channel: Channel, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [1000.0]
    monkeypatch.setattr("rawstream.packager.time.monotonic", lambda: now[0])
    channel.play(20.0)
    packager = channel.package()
    channel.playlist()
    for _ in range(3):
        now[0] += 29.0
        channel.playlist()
        packager.tick(now[0])
        assert not packager.is_over(now[0])
    now[0] += 30.0
    packager.tick(now[0])
    assert len(packager.watchers) == 0
    assert not packager.is_over(now[0] - 1)
    assert packager.is_over(now[0] + 30.0)


def test_the_end_tells_all_who_wait_and_serves_nothing_more(channel: Channel) -> None:
    packager = channel.package()
    waiting = channel.ask()
    packager.finish("no source came back", 5)
    assert waiting.answer is not None
    assert (waiting.answer.status, waiting.answer.body) == (503, b"no source came back\n")
    packager = channel.package()
    channel.play(20.0)
    name = names(channel.playlist())[0]
    packager.finish()
    assert packager.find(name) is None
    assert channel.mux.on_points is None


def test_what_comes_after_the_end_is_not_taken(channel: Channel, turns: Turns) -> None:
    """The last chunk's point was told, and was not read yet."""
    channel.play(20.0)
    packager = channel.package()
    channel.playlist()
    for piece in pieces(channel.cast.read(channel.position, 400_000), 20_000):
        channel.mux.feed(piece)
    packager.finish()
    turns.run()
    assert not packager._by_name
    assert packager._segmenter.open_bytes == 0


def test_of_those_who_were_cut_a_bounded_number_is_kept(
    channel: Channel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rawstream.packager._CUT_REMEMBERED", 5)
    channel.play(20.0)
    packager = channel.package()
    for number in range(20):
        key = KEY._replace(user_agent=str(number))
        channel.playlist(key)
        channel.playlist(key, lease=None)
        watcher = packager.watchers.get(key)
        assert watcher is not None
        packager.watchers.cut(watcher)
    assert len(packager._cut) == 5


async def test_a_packager_is_found_by_its_run_as_long_as_its_channel_has_it(turns: Turns) -> None:
    made = Packagers(
        Limits(), Timeouts(), target_seconds=2.0, watcher_ids=itertools.count(1), tally=Tally()
    )
    one, other = made.package(make(turns)), made.package(make(turns))
    run = one.run
    assert (made.find(run), made.find(other.run)) == (one, other)
    one.finish("over", 1)
    del one
    gc.collect()
    assert made.find(run) is None
    assert made.find(other.run) is other
