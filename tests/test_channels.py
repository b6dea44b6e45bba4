"""A channel's life against the simulator, over real sockets: one session, joins, faults, the
end.
"""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from stage import Player, Stage, quick_contents, stage, until, whole_units
from ts_clips import decode

from rawstream.config import Timeouts
from rawstream.continuity import ContinuityChecker
from rawstream.engine_answers import Granted
from rawstream.engine_client import ContentRef, Engine
from rawstream.errors import UpstreamError
from rawstream.http_client import Ending
from rawstream.mpegts import PACKET_SIZE
from rawstream.simulator import PREMIUM, dead_content, vod_content

MUCH = 400_000  # bytes: some seconds of a bundled clip
SOME = 60_000


async def refused(made: Stage, query: str) -> UpstreamError:
    with pytest.raises(UpstreamError) as info:
        await made.play(query)
    return info.value


def assert_plays_around_a_fault(player: Player) -> None:
    """No packet is missing without a mark, and FFmpeg has nothing to say but about the cut
    itself.
    """
    packets = player.packets
    assert ContinuityChecker().feed(packets) == []
    decoded = decode(whole_units(packets), torn=True)
    assert decoded.pictures
    if decoded.torn:
        assert max(decoded.torn) - min(decoded.torn) < 90_000, "only what the cut has torn"
    assert len(set(decoded.pictures)) == len(decoded.pictures), "a picture was shown twice"


# -- joining ------------------------------------------------------------------------------------


async def test_a_hundred_joins_at_once_by_id_and_infohash_open_one_session(tmp_path: Path) -> None:
    contents = quick_contents(preload_seconds=0.5)
    content = contents[0]
    async with stage(tmp_path, contents) as made:
        queries = [f"id={content.content_id}", f"infohash={content.infohash}"] * 50
        players = await asyncio.gather(*(made.play(query) for query in queries))
        await asyncio.gather(*(player.more(SOME) for player in players))
        assert content.counters.opens == 1
        assert content.counters.readers_max == 1
        assert content.counters.doubled_readers == 0
        assert len(made.snapshot.channels) == 1
        assert made.snapshot.viewers == 100
        shortest = min(len(player.packets) for player in players)
        for player in players:
            player.assert_starts_clean()
            del player.data[shortest:]
        # equal bytes decode equally: FFmpeg is asked once for each different stream
        different = {player.packets: player for player in players}
        for player in different.values():
            player.assert_plays()


@pytest.mark.parametrize("number", range(4))
async def test_each_bundled_channel_plays_for_a_late_joiner(tmp_path: Path, number: int) -> None:
    contents = quick_contents()
    async with stage(tmp_path, contents) as made:
        first = await made.play(contents[number])
        await first.more(MUCH)
        late = await made.play(contents[number])
        await late.more(SOME)
        late.assert_plays()
        first.assert_plays()
        assert contents[number].counters.opens == 1


async def test_a_slow_start_of_one_channel_delays_no_other(tmp_path: Path) -> None:
    contents = quick_contents()
    contents[0].fault("delay", where="start", seconds=600)
    async with stage(tmp_path, contents) as made:
        slow = asyncio.create_task(made.play(contents[0]))
        await until(lambda: contents[0].counters.getstream_calls == 1, "the slow start")
        quick = await made.play(contents[1])
        await quick.more(SOME)
        assert not slow.done()
        slow.cancel()
        await asyncio.gather(slow, return_exceptions=True)


async def test_head_is_answered_at_once_and_starts_nothing(tmp_path: Path) -> None:
    contents = quick_contents()
    async with stage(tmp_path, contents) as made:
        answer = await made.ask(f"/ace/getstream?id={contents[0].content_id}", method="HEAD")
        assert (answer.status, answer.headers["content-type"]) == (200, "video/mp2t")
        assert contents[0].counters.getstream_calls == 0


async def test_an_infohash_given_as_an_id_plays_and_is_one_channel_with_it(tmp_path: Path) -> None:
    contents = quick_contents()
    content = contents[0]
    async with stage(tmp_path, contents) as made:
        wrong = await made.play(f"id={content.infohash}")
        right = await made.play(f"infohash={content.infohash}")
        await asyncio.gather(wrong.more(SOME), right.more(SOME))
        assert content.counters.opens == 1
        assert len(made.snapshot.channels) == 1


@pytest.mark.parametrize("mode", ["supersede", "shared"])
async def test_when_nobody_can_resolve_an_id_the_start_itself_merges_the_channels(
    tmp_path: Path, mode: str
) -> None:
    contents = quick_contents()
    content = contents[0]
    async with stage(tmp_path, contents, mode=mode) as made:
        content.fault("hang", where="files")
        by_infohash = await made.play(f"infohash={content.infohash}")
        by_id = await made.play(f"content_id={content.content_id}")
        await asyncio.gather(by_infohash.more(MUCH), by_id.more(MUCH))
        assert len(made.snapshot.channels) == 1
        assert made.snapshot.viewers == 2
        by_id.assert_starts_clean()
        assert content.counters.readers_max == 1
        assert_plays_around_a_fault(by_infohash)
        if mode == "shared":
            assert content.counters.stops == 0, "a stop of the second session would end the first"
        by_infohash.leave()
        by_id.leave()
        await until(lambda: made.channel() is None, "the end")
        await until(lambda: content.counters.stops >= 1, "the stop")
        await until(lambda: made.snapshot.engines[0].sessions == 0, "every session given back")


@pytest.mark.parametrize("mode", ["supersede", "shared"])
@pytest.mark.parametrize(("infohash_seconds", "id_seconds"), [(0.6, 0.2), (0.2, 0.6)])
async def test_two_starts_of_one_content_whose_answers_cross_end_in_one_channel_that_plays(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    mode: str,
    infohash_seconds: float,
    id_seconds: float,
) -> None:
    """The engine has both sessions before either answer arrives: no stop may end the other."""
    contents = quick_contents()
    content = contents[0]
    content.fault("status", where="files", status=500)
    late = {"infohash": infohash_seconds, "content_id": id_seconds}
    getstream = Engine.getstream

    async def answers_late(self: Engine, ref: ContentRef) -> Granted:
        granted = await getstream(self, ref)
        await asyncio.sleep(late[ref.kind])
        return granted

    monkeypatch.setattr(Engine, "getstream", answers_late)
    async with stage(tmp_path, contents, mode=mode) as made:
        players = await asyncio.gather(
            made.play(f"infohash={content.infohash}"), made.play(f"content_id={content.content_id}")
        )
        await asyncio.gather(*(player.more(MUCH) for player in players))
        assert len(made.snapshot.channels) == 1
        for player in players:
            player.leave()
        await until(lambda: made.channel() is None, "the end")
        await until(lambda: made.snapshot.engines[0].sessions == 0, "every slot is free")


# -- the end ------------------------------------------------------------------------------------


async def test_zapping_back_within_the_linger_finds_the_channel_warm(tmp_path: Path) -> None:
    contents = quick_contents()
    async with stage(tmp_path, contents, timeouts=Timeouts.for_tests(linger_seconds=60)) as made:
        player = await made.play(contents[0])
        await player.more(SOME)
        player.leave()
        await until(lambda: made.state() == "lingering", "lingering")
        again = await made.play(contents[0])
        await again.more(SOME)
        assert made.state() == "live"
        again.assert_plays()
        assert contents[0].counters.opens == 1
        assert contents[0].counters.stops == 0


async def test_the_last_viewer_gone_stops_the_session_once(tmp_path: Path) -> None:
    contents = quick_contents()
    async with stage(tmp_path, contents) as made:
        players = [await made.play(contents[0]) for _ in range(3)]
        for player in players:
            await player.more(SOME)
            player.leave()
        await until(lambda: contents[0].counters.stops == 1, "the stop")
        await until(lambda: made.channel() is None, "the channel's end")
        assert contents[0].counters.unknown_stops == 0
        assert contents[0].counters.leaked_sessions == 0
        assert made.engine.counters.stops == 1


async def test_a_viewer_who_leaves_during_the_start_leaves_no_session_behind(
    tmp_path: Path,
) -> None:
    contents = quick_contents()
    contents[0].fault("delay", where="start", seconds=1.0, times=1)
    async with stage(tmp_path, contents, timeouts=Timeouts.for_tests(linger_seconds=0.05)) as made:
        asking = asyncio.create_task(made.play(contents[0]))
        await until(lambda: contents[0].counters.getstream_calls == 1, "the start")
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)
        await until(lambda: contents[0].counters.opens == 1, "the answer is still read")
        await until(lambda: contents[0].counters.stops == 1, "and its session stopped")


async def test_a_channel_asked_for_again_while_it_stops_waits_for_the_stop(tmp_path: Path) -> None:
    contents = quick_contents()
    contents[0].fault("delay", where="stop", seconds=0.5)
    async with stage(tmp_path, contents, timeouts=Timeouts.for_tests(linger_seconds=0)) as made:
        player = await made.play(contents[0])
        await player.more(SOME)
        player.leave()
        await until(lambda: made.channel() is None, "the stop begins")
        again = await made.play(contents[0])
        await again.more(MUCH)
        again.assert_plays()
        assert contents[0].counters.opens == 2
        assert contents[0].counters.superseded == 0


async def test_closing_the_server_ends_the_streams_and_stops_the_sessions(tmp_path: Path) -> None:
    contents = quick_contents()
    async with stage(tmp_path, contents) as made:
        players = [await made.play(contents[number]) for number in (0, 1)]
        for player in players:
            await player.more(SOME)
        await made.worker.stop()
        await until(lambda: all(player.over for player in players), "the streams' end")
        assert [content.counters.stops for content in contents[:2]] == [1, 1]


async def test_a_film_is_handed_over_with_those_who_wait_for_it(tmp_path: Path) -> None:
    film = vod_content()
    async with stage(tmp_path, [film], engines=2) as made:
        players = await asyncio.gather(*(made.play(film) for _ in range(3)))
        await until(lambda: all(player.over for player in players), "the film's end")
        assert {bytes(player.data) for player in players} == {film.clip.read_bytes()}
        assert made.channel() is None
        opens = [engine.counters.opens for engine in made.engines]
        assert sorted(opens) in ([0, 2], [1, 1])  # to see what it is, and as a film
        (engine,) = (engine for engine in made.engines if engine.open_sessions)
        assert engine.counters.doubled_readers == 0


# -- refusals -----------------------------------------------------------------------------------


async def test_a_dead_content_is_503_with_the_engines_words(tmp_path: Path) -> None:
    async with stage(tmp_path, quick_contents()) as made:
        error = await refused(made, "id=" + "ab" * 20)
        assert error.status == 503
        assert "failed to load content" in error.reason


async def test_a_failure_is_remembered_for_a_moment(tmp_path: Path) -> None:
    async with stage(
        tmp_path, quick_contents(), timeouts=Timeouts.for_tests(failure_memory_seconds=60)
    ) as made:
        await refused(made, "id=" + "ab" * 20)
        calls = made.engine.counters.getstream_calls
        error = await refused(made, "id=" + "ab" * 20)
        assert "failed to load content" in error.reason
        assert made.engine.counters.getstream_calls == calls


@pytest.mark.parametrize(
    ("kind", "options", "words"),
    [
        ("error", {"text": PREMIUM}, "activate premium"),
        ("html_500", {}, "500"),
        ("empty_500", {}, "500"),
        ("half_body", {}, ""),
        ("malformed", {}, ""),
        ("reset", {}, ""),
        ("close", {}, ""),
        ("empty_response", {}, "playback URL"),
        ("huge", {}, ""),
    ],
)
async def test_a_start_that_goes_wrong_is_503_with_a_reason(
    tmp_path: Path, kind: str, options: dict[str, str], words: str
) -> None:
    contents = quick_contents()
    contents[0].fault(kind, **options)
    async with stage(tmp_path, contents) as made:
        error = await refused(made, f"infohash={contents[0].infohash}")
        assert error.status == 503
        assert error.reason and words in error.reason


@pytest.mark.parametrize("kind", ["odd_types", "string_response"])
async def test_an_answer_of_odd_shape_plays(tmp_path: Path, kind: str) -> None:
    contents = quick_contents()
    contents[0].fault(kind)
    async with stage(tmp_path, contents) as made:
        player = await made.play(contents[0])
        await player.more(SOME)
        player.assert_plays()


async def test_a_session_superseded_while_it_starts_is_made_anew(tmp_path: Path) -> None:
    contents = quick_contents()
    contents[0].fault("status", where="playback", status=403, text="Forbidden", times=1)
    async with stage(tmp_path, contents) as made:
        player = await made.play(f"infohash={contents[0].infohash}")
        await player.more(SOME)
        assert contents[0].counters.opens == 2
        player.assert_plays()


async def test_a_refusal_answers_the_next_request_of_the_same_connection_too(
    tmp_path: Path,
) -> None:
    async with stage(tmp_path, quick_contents()) as made:
        reader, writer = await asyncio.open_connection("127.0.0.1", made.port)
        request = f"GET /ace/getstream?id={'ab' * 20} HTTP/1.1\r\nHost: x\r\n\r\n"
        writer.write(request.encode() * 3)
        for _ in range(3):
            async with asyncio.timeout(20):
                head = await reader.readuntil(b"\r\n\r\n")
                assert head.startswith(b"HTTP/1.1 503 ")
                length = int(head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0])
                assert b"failed to load content" in await reader.readexactly(length)
        assert made.snapshot.held == 0
        writer.close()


async def test_a_held_viewer_is_told_503_in_time_and_the_start_goes_on(tmp_path: Path) -> None:
    contents = quick_contents()
    contents[0].fault("delay", where="playback", seconds=2.0, times=1)
    timeouts = Timeouts.for_tests(hold_impatient_seconds=0.3, linger_seconds=30)
    async with stage(tmp_path, contents, timeouts=timeouts) as made:
        player = made.player(
            contents[0],
            Accept_Encoding="identity",
            Icy_MetaData="1",
            User_Agent="ExoPlayerLib/2.19",
        )
        with pytest.raises(UpstreamError) as info:
            await player.open()
        assert info.value.status == 503
        assert "starting" in info.value.reason
        patient = await made.play(contents[0])
        await patient.more(SOME)
        assert contents[0].counters.opens == 1


async def test_a_channel_that_never_gets_beyond_prebuf_ends_with_503(tmp_path: Path) -> None:
    dead = dead_content(peers=3)
    timeouts = Timeouts.for_tests(
        engine_first_byte_seconds=1.0, engine_first_byte_limit_seconds=2.0
    )
    async with stage(tmp_path, [dead], timeouts=timeouts) as made:
        error = await refused(made, f"id={dead.content_id}")
        assert error.status == 503
        assert "prebuf" in error.reason and "3 peers" in error.reason
        await until(lambda: dead.counters.stops == 1, "the session's stop")


# -- recovery -----------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["eof", "cut", "rst", "bad_chunk"])
async def test_a_cut_keeps_the_viewers_and_is_answered_at_once(tmp_path: Path, kind: str) -> None:
    contents = quick_contents()
    contents[0].fault(kind, after_bytes=700_000, times=1)
    async with stage(tmp_path, contents) as made:
        player = await made.play(contents[0])
        await player.more(2_000_000)
        assert not player.over
        channel = made.channel()
        assert channel is not None and channel.recoveries == 1
        assert contents[0].counters.faults == 1
        assert contents[0].counters.readers_max == 1
        player.assert_plays()  # the replay holds all that was missing: the cut can't be seen


async def test_a_silent_stall_is_left_for_a_new_session(tmp_path: Path) -> None:
    contents = quick_contents()
    contents[0].fault("silent_stall", after_bytes=700_000, times=1)
    async with stage(tmp_path, contents) as made:
        player = await made.play(contents[0])
        await player.more(2_000_000)
        assert contents[0].counters.opens == 2
        assert contents[0].counters.stops == 1, "the stalled session is stopped before the next"
        assert contents[0].counters.superseded == 0
        assert_plays_around_a_fault(player)


async def test_a_session_that_was_superseded_is_made_anew(tmp_path: Path) -> None:
    contents = quick_contents()
    async with stage(tmp_path, contents) as made:
        player = await made.play(contents[0])
        await player.more(MUCH)
        stranger = await made.ask_engine(
            f"/ace/getstream?infohash={contents[0].infohash}&format=json&pid=x"
        )
        assert stranger.status == 200
        await until(lambda: contents[0].counters.superseded == 1, "the stranger takes over")
        await player.more(MUCH)
        assert not player.over


async def test_an_engine_that_restarts_brings_the_channel_back(tmp_path: Path) -> None:
    contents = quick_contents()
    async with stage(tmp_path, contents) as made:
        player = await made.play(contents[0])
        await player.more(MUCH)
        await made.engine.restart(1.0)
        await player.more(MUCH)
        assert not player.over
        assert_plays_around_a_fault(player)


async def test_a_killed_engine_hands_its_channel_to_the_next_one(tmp_path: Path) -> None:
    async with stage(tmp_path, quick_contents(), engines=2) as made:
        contents = [catalogue[0] for catalogue in made.catalogues]
        player = await made.play(contents[0])
        await player.more(MUCH)
        number = 0 if contents[0].counters.opens else 1
        carrying, other = made.engines[number], contents[1 - number]
        await carrying.set_engine_fault("refuse")
        await carrying.restart()
        await player.more(2_000_000)
        assert other.counters.opens == 1
        assert_plays_around_a_fault(player)


async def test_a_source_that_does_not_come_back_ends_the_channel_within_its_time(
    tmp_path: Path,
) -> None:
    contents = quick_contents()
    async with stage(tmp_path, contents, timeouts=Timeouts.for_tests(recover_seconds=1.0)) as made:
        player = await made.play(contents[0])
        await player.more(MUCH)
        await made.engine.set_engine_fault("refuse")
        await made.engine.restart()
        await until(lambda: player.over, "the end of the stream")
        assert player.ending is Ending.EOF
        assert made.channel() is None


async def test_hundred_bytes_and_an_end_again_and_again_is_a_failure_in_the_end(
    tmp_path: Path,
) -> None:
    contents = quick_contents()
    async with stage(tmp_path, contents, timeouts=Timeouts.for_tests(recover_seconds=2.0)) as made:
        player = await made.play(contents[0])
        await player.more(MUCH)
        contents[0].fault("eof", after_bytes=100)
        await made.engine.restart()
        await until(lambda: player.over, "the end of the stream")
        assert made.channel() is None


async def test_garbage_in_the_middle_is_cut_out_and_the_stream_goes_on(tmp_path: Path) -> None:
    contents = quick_contents()
    contents[0].fault("garbage", after_bytes=700_000, amount=1000, times=1)
    async with stage(tmp_path, contents) as made:
        player = await made.play(contents[0])
        await player.more(2_000_000)
        packets = player.packets
        assert set(packets[0::PACKET_SIZE]) == {0x47}
        channel = made.channel()
        assert channel is not None
        assert (channel.resyncs, channel.recoveries, channel.opens) == (1, 0, 1)


async def test_a_trickle_is_no_stream_and_is_left(tmp_path: Path) -> None:
    contents = quick_contents()
    contents[0].fault("trickle", after_bytes=700_000, amount=100, times=1)
    async with stage(tmp_path, contents) as made:
        player = await made.play(contents[0])
        await player.more(2_000_000)
        assert contents[0].counters.opens == 2
        assert_plays_around_a_fault(player)


async def test_missing_seconds_in_the_source_are_passed_on_as_they_are(tmp_path: Path) -> None:
    contents = quick_contents()
    contents[0].fault("skip", after_bytes=700_000, seconds=3, times=1)
    async with stage(tmp_path, contents) as made:
        player = await made.play(contents[0])
        await player.more(2_000_000)
        channel = made.channel()
        assert channel is not None
        assert (channel.opens, channel.recoveries) == (1, 0)


async def test_a_broadcast_that_loops_its_end_keeps_its_viewers(tmp_path: Path) -> None:
    contents = quick_contents()
    contents[0].fault("loop_window", after_bytes=700_000, seconds=5)
    async with stage(tmp_path, contents) as made:
        player = await made.play(contents[0])
        await player.more(2_500_000)
        assert not player.over
        assert contents[0].counters.opens == 1


@pytest.mark.parametrize("kind", ["hang", "freeze"])
async def test_an_engine_that_hangs_hands_its_channel_to_the_next_one(
    tmp_path: Path, kind: str
) -> None:
    timeouts = Timeouts.for_tests(engine_start_seconds=1.0, engine_stop_seconds=0.5)
    async with stage(tmp_path, quick_contents(), engines=2, timeouts=timeouts) as made:
        contents = [catalogue[0] for catalogue in made.catalogues]
        player = await made.play(contents[0])
        await player.more(MUCH)
        number = 0 if contents[0].counters.opens else 1
        await made.engines[number].set_engine_fault(kind)
        contents[number].fault("silent_stall")
        await player.more(2_000_000)
        assert contents[1 - number].counters.opens == 1
        assert_plays_around_a_fault(player)


async def test_an_engine_that_answers_probes_and_starts_nothing_gives_way(tmp_path: Path) -> None:
    timeouts = Timeouts.for_tests(engine_start_seconds=0.5)
    async with stage(tmp_path, quick_contents(), engines=2, timeouts=timeouts) as made:
        for number in (0, 1):
            contents = [catalogue[number] for catalogue in made.catalogues]
            await made.engines[number].set_engine_fault("hang_ace")
            player = await made.play(f"infohash={contents[0].infohash}")
            await player.more(SOME)
            assert contents[1 - number].counters.opens == 1
            await made.engines[number].set_engine_fault("ok")


async def test_an_engine_that_refuses_our_address_is_named_with_a_remedy(tmp_path: Path) -> None:
    contents = quick_contents()
    async with stage(tmp_path, contents) as made:
        await made.engine.set_engine_fault("deny")
        error = await refused(made, f"infohash={contents[0].infohash}")
        assert error.status == 503
        assert "--bind-all" in error.reason


async def test_a_stop_that_hangs_delays_nobody(tmp_path: Path) -> None:
    contents = quick_contents()
    contents[0].fault("hang", where="stop")
    timeouts = Timeouts.for_tests(linger_seconds=0, engine_stop_seconds=600)
    async with stage(tmp_path, contents, timeouts=timeouts) as made:
        player = await made.play(contents[0])
        await player.more(SOME)
        player.leave()
        await until(lambda: made.channel() is None, "the channel's end")
        other = await made.play(contents[1])
        await other.more(SOME)
        contents[0].faults.clear()
        await made.engine.restart()  # ends the stop that hangs


async def test_a_media_answer_that_redirects_to_itself_is_503(tmp_path: Path) -> None:
    contents = quick_contents()
    contents[0].fault("redirect_loop")
    timeouts = Timeouts.for_tests(
        engine_first_byte_seconds=1.0, engine_first_byte_limit_seconds=1.0
    )
    async with stage(tmp_path, contents, timeouts=timeouts) as made:
        error = await refused(made, f"infohash={contents[0].infohash}")
        assert error.status == 503
        assert "redirect" in error.reason


async def test_500_for_ever_is_503_with_the_engines_words(tmp_path: Path) -> None:
    contents = quick_contents()
    contents[0].fault("status", where="playback", status=500, text="start timeout")
    timeouts = Timeouts.for_tests(
        engine_first_byte_seconds=1.0, engine_first_byte_limit_seconds=1.0
    )
    async with stage(tmp_path, contents, timeouts=timeouts) as made:
        error = await refused(made, f"infohash={contents[0].infohash}")
        assert error.status == 503
        assert "start timeout" in error.reason


async def test_500_in_preload_is_asked_again_on_the_same_session(tmp_path: Path) -> None:
    contents = quick_contents()
    contents[0].fault("status", where="playback", status=500, text="start timeout", times=3)
    async with stage(tmp_path, contents) as made:
        player = await made.play(contents[0])
        await player.more(SOME)
        assert contents[0].counters.opens == 1
        assert contents[0].counters.playback_calls == 4


async def test_a_redirect_off_the_engine_is_asked_of_the_engine(tmp_path: Path) -> None:
    contents = quick_contents()
    contents[0].fault("foreign_redirect", text="http://192.0.2.1:9/elsewhere", times=1)
    timeouts = Timeouts.for_tests(engine_first_byte_seconds=2, engine_first_byte_limit_seconds=2)
    async with stage(tmp_path, contents, timeouts=timeouts) as made:
        error = await refused(made, f"infohash={contents[0].infohash}")
        assert error.status == 503
        assert "192.0.2.1" not in error.reason


async def test_a_full_engine_lets_a_lingering_channel_give_way(tmp_path: Path) -> None:
    contents = quick_contents()
    timeouts = Timeouts.for_tests(linger_seconds=600)
    async with stage(tmp_path, contents, timeouts=timeouts, capacity=1) as made:
        player = await made.play(contents[0])
        await player.more(SOME)
        error = await refused(made, f"infohash={contents[1].infohash}")
        assert error.status == 503 and "engines" in error.reason
        player.leave()
        await until(lambda: made.state() == "lingering", "lingering")
        other = await made.play(contents[2])
        await other.more(SOME)
        assert contents[0].counters.stops == 1


async def test_a_zap_is_held_until_the_old_channels_slot_is_free(tmp_path: Path) -> None:
    contents = quick_contents()
    timeouts = Timeouts.for_tests(linger_seconds=0, slot_wait_seconds=20)
    async with stage(tmp_path, contents, timeouts=timeouts, capacity=1) as made:
        old = await made.play(contents[0])
        await old.more(SOME)
        zap = asyncio.create_task(made.play(f"infohash={contents[1].infohash}"))
        await until(lambda: made.snapshot.held == 1, "the new one is held")
        old.leave()
        await (await zap).more(SOME)
        assert contents[0].counters.stops == 1


async def test_a_start_that_hangs_gives_way_while_another_engine_is_free(tmp_path: Path) -> None:
    timeouts = Timeouts.for_tests(engine_yield_seconds=0.3, engine_start_seconds=600)
    async with stage(tmp_path, quick_contents(), engines=2, timeouts=timeouts) as made:
        await until(lambda: {e.state for e in made.snapshot.engines} == {"up"}, "both are up")
        contents = [catalogue[0] for catalogue in made.catalogues]
        await made.engines[0].set_engine_fault("hang_ace")
        player = await made.play(f"infohash={contents[0].infohash}")
        await player.more(SOME)
        assert contents[1].counters.opens == 1
        await made.engines[0].set_engine_fault("ok")


async def test_a_source_of_a_few_bytes_is_not_asked_again_at_once(tmp_path: Path) -> None:
    """A panel that is full answers 200, some packets, and ends: asking on would be an attack."""
    clip = quick_contents()[0].clip.read_bytes()[: 188 * 300]
    asked = 0

    async def panel(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal asked
        asked += 1
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.0 200 OK\r\n\r\n" + clip)
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(panel, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with (
        server,
        stage(tmp_path, timeouts=Timeouts.for_tests(recover_seconds=3.0)) as made,
    ):
        player = await made.play(f"url=http%3A%2F%2F127.0.0.1%3A{port}%2Ftv")
        await until(lambda: player.over, "it is given up")
        assert asked <= 6, "pauses of 1 and 2 s stand between"
