"""Films from their URL to the last byte: on engines, on web servers, with all that may go wrong."""

from __future__ import annotations

import asyncio
import os
import random
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import quote

import pytest
from film_origin import Origin, origin_of
from film_stage import (
    FILM_ID,
    TOKEN,
    Watcher,
    bytes_of,
    film_channel,
    film_content,
    film_timeouts,
    get,
    of_engine,
    of_web,
    path_of,
    show,
    states,
)
from stage import Stage, stage, until

from rawstream.config import Limits
from rawstream.records import ChannelSource
from rawstream.simulator import bundled_contents

WEB = os.urandom(5_000_000)


@pytest.fixture
async def origin() -> AsyncIterator[Origin]:
    async with origin_of(WEB) as found:
        yield found


def spans(length: int, seed: int, count: int) -> list[tuple[int, int]]:
    """Parts of a film as players ask for them: anywhere, of any size up to three blocks."""
    source = random.Random(seed)
    found = []
    for _ in range(count):
        begin = source.randrange(length)
        found.append((begin, min(length, begin + source.randint(1, 3_000_000))))
    return found


# -- what is answered --


@pytest.mark.parametrize("kind", ["web", "engine"])
async def test_every_form_of_range_has_its_answer(tmp_path: Path, kind: str) -> None:
    content = film_content(3)
    async with origin_of(bytes_of(content)) as origin, stage(tmp_path, [content]) as made:
        way = of_web(origin.url) if kind == "web" else of_engine(content)
        await show(made.worker, film_channel(way))
        film, path = bytes_of(content), path_of()
        length = len(film)
        async with Watcher(made.port) as watcher:  # one connection for all of it
            for range_, begin, end in (
                ("bytes=0-", 0, length),
                ("bytes=100-199", 100, 200),
                (f"bytes={length - 5}-", length - 5, length),
                ("bytes=-10", length - 10, length),
                ("bytes=10-19,20-29", 10, 30),
            ):
                answer, body = await watcher.whole(path, range_)
                assert (answer.status, body) == (206, film[begin:end])
                assert answer.headers["content-range"] == f"bytes {begin}-{end - 1}/{length}"
            for range_ in ("", "bytes=9-1", "seconds=1-2", "bytes=0-1,100-199"):
                answer, body = await watcher.whole(path, range_)
                assert (answer.status, body) == (200, film)
                assert "content-range" not in answer.headers
            for range_ in (f"bytes={length}-", "bytes=-0"):
                answer, _ = await watcher.whole(path, range_)
                assert answer.status == 416
                assert answer.headers["content-range"] == f"bytes */{length}"
            answer, _ = await watcher.whole(path, "bytes=0-0")
            assert answer.headers["accept-ranges"] == "bytes"
            assert answer.headers["content-type"] == "video/mp4"
            assert answer.headers["x-accel-buffering"] == "no"
            assert answer.headers["access-control-allow-origin"] == "*"
            etag = answer.headers["etag"]
            answer, body = await watcher.whole(path, "bytes=5-9", If_Range=etag)
            assert (answer.status, body) == (206, film[5:10])
            answer, body = await watcher.whole(path, "bytes=5-9", If_Range='"another"')
            assert (answer.status, body) == (200, film)
        assert made.engine.counters.doubled_readers == 0
        assert made.engine.counters.opens == (kind == "engine")


async def test_head_tells_what_is_known_and_opens_nothing(tmp_path: Path, origin: Origin) -> None:
    content = film_content()
    async with stage(tmp_path, [content]) as made:
        await show(
            made.worker,
            film_channel(of_web(origin.url)),
            film_channel(of_engine(content), id=901, extension="mkv"),
        )
        async with Watcher(made.port) as watcher:
            for _ in range(2):
                answer = await watcher.ask(path_of(), method="HEAD")
                assert (answer.status, answer.headers["content-length"]) == (200, "5000000")
                assert answer.headers["accept-ranges"] == "bytes"
                assert answer.headers["etag"] == '"one"'
            answer = await watcher.ask(path_of(901, "mkv"), method="HEAD")
            assert (answer.status, answer.headers["content-type"]) == (200, "video/x-matroska")
            assert "content-length" not in answer.headers
            assert await watcher.read(0) == b""
        assert origin.ranges_asked == ["bytes=0-0"]
        assert made.engine.counters.getstream_calls == 0
        assert (made.snapshot.viewers, made.snapshot.bytes_out) == (0, 0)
        await get(made, path_of(901), "bytes=0-0")
        await until(lambda: states(made) == [], "the linger is over")
        async with Watcher(made.port) as watcher:
            answer = await watcher.ask(path_of(901), method="HEAD")
            assert int(answer.headers["content-length"]) == len(bytes_of(content))


# -- the same bytes for everybody --


@pytest.mark.parametrize("kind", ["web", "engine"])
async def test_eight_viewers_at_once_get_the_files_bytes(tmp_path: Path, kind: str) -> None:
    content = film_content(8)
    film = bytes_of(content)
    async with origin_of(film) as origin, stage(tmp_path, [content]) as made:
        way = of_web(origin.url) if kind == "web" else of_engine(content)
        await show(made.worker, film_channel(way), max_connections=0)

        async def view(seed: int) -> None:
            async with Watcher(made.port) as watcher:
                for begin, end in spans(len(film), seed, 6):
                    agent = f"player {seed}"
                    answer, body = await watcher.whole(
                        path_of(), f"bytes={begin}-{end - 1}", X_Player=agent
                    )
                    assert answer.status == 206
                    assert body == film[begin:end], (seed, begin, end)

        await asyncio.gather(*(view(seed) for seed in range(8)))
        counters = made.engine.counters
        assert counters.doubled_readers == 0
        assert counters.opens == (kind == "engine")
        assert counters.readers_max <= 1


async def test_a_viewer_who_takes_nothing_holds_up_nobody_and_has_nothing_fetched(
    tmp_path: Path,
) -> None:
    content = film_content(20)
    film = bytes_of(content)
    async with stage(tmp_path, [content]) as made:
        await show(made.worker, film_channel(of_engine(content)), max_connections=0)
        async with Watcher(made.port) as slow, Watcher(made.port) as quick:
            await slow.ask(path_of(), "bytes=0-")
            slow.reader._transport.pause_reading()  # type: ignore[attr-defined]
            await until(lambda: "paused" in viewer_states(made), "he is held up")
            fetched = -1
            while fetched != made.engine.counters.bytes_sent:
                fetched = made.engine.counters.bytes_sent
                await asyncio.sleep(0.3)
            assert fetched < len(film) // 2
            for begin, end in spans(len(film), 1, 5):
                _, body = await quick.whole(path_of(), f"bytes={begin}-{end - 1}")
                assert body == film[begin:end]
            slow.reader._transport.resume_reading()  # type: ignore[attr-defined]
            assert await slow.read(len(film)) == film
        assert made.engine.counters.doubled_readers == 0


def viewer_states(made: Stage) -> list[str]:
    return [viewer.state for film in made.snapshot.films for viewer in film.viewers]


@pytest.mark.parametrize("kind", ["web", "engine"])
async def test_a_long_pause_is_normal_use_until_it_is_too_long(tmp_path: Path, kind: str) -> None:
    content = film_content(20)
    film = bytes_of(content)
    timeouts = film_timeouts(
        source_head_seconds=0.3,
        engine_first_byte_seconds=0.3,
        viewer_stall_seconds=0.3,
        linger_seconds=0.2,
        film_pause_seconds=2.0,
    )
    async with (
        origin_of(film) as origin,
        stage(tmp_path, [content], timeouts=timeouts, idle_seconds=0.5) as made,
    ):
        way = of_web(origin.url) if kind == "web" else of_engine(content)
        await show(made.worker, film_channel(way))
        async with Watcher(made.port) as watcher:
            await watcher.ask(path_of(), "bytes=0-")
            watcher.reader._transport.pause_reading()  # type: ignore[attr-defined]
            await until(lambda: "paused" in viewer_states(made), "he is held up")
            await asyncio.sleep(0.8)  # longer than every patience with what is live
            watcher.reader._transport.resume_reading()  # type: ignore[attr-defined]
            assert await watcher.read(len(film)) == film
            assert made.engine.counters.opens == (kind == "engine")
            await watcher.ask(path_of(), "bytes=0-")
            watcher.reader._transport.pause_reading()  # type: ignore[attr-defined]
            await until(lambda: made.snapshot.viewers == 0, "he paused too long")


# -- sessions --


async def test_a_seek_finds_the_session_warm_and_it_is_stopped_after_the_linger(
    tmp_path: Path,
) -> None:
    content = film_content(4)
    async with stage(tmp_path, [content], timeouts=film_timeouts(linger_seconds=1.0)) as made:
        await show(made.worker, film_channel(of_engine(content)))
        for at in (0, 1_000_000, 500_000):
            answer, body = await get(made, path_of(), f"bytes={at}-{at + 99}")
            assert (answer.status, body) == (206, bytes_of(content)[at : at + 100])
        assert states(made) == ["lingering"]
        assert made.engine.counters.opens == 1
        await until(lambda: made.engine.counters.stops == 1, "the linger is over")
        assert states(made) == []
        assert made.engine.open_sessions == []
        await get(made, path_of(), "bytes=0-0")
        assert made.engine.counters.opens == 2


async def test_a_film_nobody_watches_gives_way_when_the_engine_is_full(tmp_path: Path) -> None:
    content = film_content()
    live = bundled_contents()[0]
    live.preload_seconds = 0.05
    timeouts = film_timeouts(linger_seconds=60.0)
    async with stage(tmp_path, [content, live], timeouts=timeouts, capacity=1) as made:
        await show(made.worker, film_channel(of_engine(content)))
        await get(made, path_of(), "bytes=0-99")
        player = await made.play(live)
        await player.more(100_000)
        assert states(made) == []
        player.leave()
        await until(lambda: made.state() == "lingering")
        answer, _ = await get(made, path_of(), "bytes=0-99")  # and the other way round
        assert answer.status == 206
        assert made.channel() is None


@pytest.mark.parametrize("fault", ["cut", "rst", "eof"])
async def test_an_engine_that_cuts_in_the_middle_is_asked_for_the_rest(
    tmp_path: Path, fault: str
) -> None:
    content = film_content(4)
    film = bytes_of(content)
    async with stage(tmp_path, [content], timeouts=film_timeouts()) as made:
        await show(made.worker, film_channel(of_engine(content)))
        for at in (0, 1_500_000, 2_000_001):
            content.fault(fault, after_bytes=at, times=1)
            _, body = await get(made, path_of())
            assert body == film
        assert made.engine.counters.faults == 3
        assert made.engine.counters.opens == 1


async def test_an_engine_that_is_killed_mid_film_does_not_end_the_viewers_connection(
    tmp_path: Path,
) -> None:
    content = film_content(30)
    film = bytes_of(content)
    async with stage(tmp_path, [content], timeouts=film_timeouts()) as made:
        await show(made.worker, film_channel(of_engine(content)), max_connections=0)
        async with Watcher(made.port) as one, Watcher(made.port) as other:
            for watcher, range_ in ((one, "bytes=0-"), (other, "bytes=1000-")):
                await watcher.ask(path_of(), range_)
            begun = await one.read(500_000)
            await made.engine.restart(0.5)
            assert begun + await one.read(len(film) - 500_000) == film
            assert await other.read(len(film) - 1000) == film[1000:]
        (shown,) = made.snapshot.films
        assert shown.opens == 2


async def test_a_session_that_somebody_else_takes_is_opened_anew(tmp_path: Path) -> None:
    content = film_content(30)
    film = bytes_of(content)
    async with stage(tmp_path, [content], timeouts=film_timeouts()) as made:
        await show(made.worker, film_channel(of_engine(content)))
        async with Watcher(made.port) as watcher:
            await watcher.ask(path_of(), "bytes=0-")
            begun = await watcher.read(100_000)
            query = f"id={content.content_id}&format=json&pid=stranger"
            await made.ask_engine(f"/ace/getstream?{query}")
            assert begun + await watcher.read(len(film) - 100_000) == film
        assert made.engine.counters.superseded >= 1


async def test_the_next_engine_takes_over_with_the_place_kept(tmp_path: Path) -> None:
    content = film_content(30)
    film = bytes_of(content)
    async with stage(tmp_path, [content], engines=2, timeouts=film_timeouts()) as made:
        for own in made.catalogues[1]:
            own.live, own.repeats = False, content.repeats
            station = made.engines[1].stations[own.infohash]
            station.film = film
        await show(made.worker, film_channel(of_engine(content)))
        async with Watcher(made.port) as watcher:
            await watcher.ask(path_of(), "bytes=0-")
            begun = await watcher.read(100_000)
            used = next(e for e in made.engines if e.counters.opens)
            await used.restart(60.0)
            assert begun + await watcher.read(len(film) - 100_000) == film
        assert sorted(engine.counters.opens for engine in made.engines) == [1, 1]


async def test_preload_and_a_slow_swarm_are_waited_for(tmp_path: Path) -> None:
    content = film_content(2, preload_seconds=1.0)
    content.fault("status", where="playback", text="start timeout", times=2)
    content.fault("silent_stall", after_bytes=100_000, seconds=1.0, times=1)
    async with stage(tmp_path, [content], timeouts=film_timeouts()) as made:
        await show(made.worker, film_channel(of_engine(content)))
        _, body = await get(made, path_of())
        assert body == bytes_of(content)
        assert made.engine.counters.opens == 1


async def test_an_engine_without_ranges_serves_one_viewer_from_the_start(tmp_path: Path) -> None:
    content = film_content(30, ranges=False)
    film = bytes_of(content)
    async with stage(tmp_path, [content], timeouts=film_timeouts()) as made:
        await show(made.worker, film_channel(of_engine(content)), max_connections=0)
        async with Watcher(made.port) as watcher:
            answer = await watcher.ask(path_of(), "bytes=1000-")
            assert (answer.status, answer.headers["accept-ranges"]) == (200, "none")
            begun = await watcher.read(1000)
            refused, text = await get(made, path_of())
            assert refused.status == 503
            assert b"serves no parts of this film" in text
            assert begun + await watcher.read(len(film) - 1000) == film
        assert made.engine.counters.opens == 1


async def test_the_second_name_of_a_content_is_the_same_session(tmp_path: Path) -> None:
    content = film_content(4)
    async with stage(tmp_path, [content], timeouts=film_timeouts()) as made:
        await show(
            made.worker,
            film_channel(of_engine(content)),
            film_channel(ChannelSource("infohash", content.infohash), id=901),
            max_connections=0,
        )
        found = await asyncio.gather(
            *(get(made, path_of(id), "bytes=7-1000006") for id in (900, 901) * 4)
        )
        assert {body for _, body in found} == {bytes_of(content)[7:1000007]}
        assert (made.engine.counters.opens, made.engine.counters.doubled_readers) == (1, 0)


async def test_a_seek_away_from_a_place_the_swarm_does_not_have_is_not_held_up(
    tmp_path: Path,
) -> None:
    content = film_content(20)
    film = bytes_of(content)
    content.fault("silent_stall", after_bytes=5_000_000)
    async with stage(tmp_path, [content], timeouts=film_timeouts()) as made:
        await show(made.worker, film_channel(of_engine(content)))
        async with Watcher(made.port) as stuck:
            await stuck.ask(path_of(), "bytes=0-0")
            await stuck.read(1)
            stuck.writer.write(
                f"GET {path_of()} HTTP/1.1\r\nHost: a\r\nRange: bytes=5000000-\r\n\r\n".encode()
            )
            await until(lambda: made.engine.counters.readers_now == 1 and made.snapshot.held == 1)
        _, body = await get(made, path_of(), "bytes=1000-1999")
        assert body == film[1000:2000]


# -- web servers --


async def test_a_server_that_cuts_is_asked_for_the_rest(tmp_path: Path, origin: Origin) -> None:
    async with stage(tmp_path, timeouts=film_timeouts()) as made:
        await show(made.worker, film_channel(of_web(origin.url)))
        origin.cut_at, origin.cuts = 2_000_000, 2
        _, body = await get(made, path_of(), "bytes=10-")
        assert body == WEB[10:]
        assert origin.ranges_asked[0] == "bytes=10-"
        assert origin.ranges_asked[1].endswith("-4999999")


@pytest.mark.parametrize("other", ["bytes", "length", "tail"])
async def test_two_files_are_never_mixed(tmp_path: Path, origin: Origin, other: str) -> None:
    """A file that was exchanged is not gone on with: the viewer is cut, and sees that he was."""
    async with stage(tmp_path, timeouts=film_timeouts(recover_seconds=1.0)) as made:
        await show(made.worker, film_channel(of_web(origin.url)))
        origin.stalls_at = 2_000_000
        async with Watcher(made.port) as watcher:
            await watcher.ask(path_of())
            assert await watcher.read(2_000_000) == WEB[:2_000_000]
            changed = os.urandom(len(WEB)) if other == "bytes" else WEB + b"more"
            origin.film = WEB[:1_999_999] + b"?" + WEB[2_000_000:] if other == "tail" else changed
            origin.stalls_at = None
            origin.cut_all()
            with pytest.raises((asyncio.IncompleteReadError, ConnectionResetError)):
                await watcher.read(3_000_000)


async def test_a_server_without_ranges_that_cuts_ends_the_viewer_by_a_reset(
    tmp_path: Path, origin: Origin
) -> None:
    origin.ranges = False
    origin.cut_at = 500_000
    async with stage(tmp_path, timeouts=film_timeouts()) as made:
        await show(made.worker, film_channel(of_web(origin.url)))
        async with Watcher(made.port) as watcher:
            answer = await watcher.ask(path_of(), "bytes=5-")
            assert (answer.status, answer.headers["accept-ranges"]) == (200, "none")
            with pytest.raises((asyncio.IncompleteReadError, ConnectionResetError)):
                await watcher.read(5_000_000)
        origin.length = False  # and a body without a length has no last chunk then
        async with Watcher(made.port) as watcher:
            answer = await watcher.ask(path_of())
            assert answer.headers["transfer-encoding"] == "chunked"
            with pytest.raises((asyncio.IncompleteReadError, ConnectionResetError)):
                await watcher.reader.readuntil(b"\r\n0\r\n\r\n")


async def test_a_film_of_unknown_length_ends_by_its_last_chunk(
    tmp_path: Path, origin: Origin
) -> None:
    origin.ranges = origin.length = False
    origin.film = b"a film"
    async with stage(tmp_path) as made:
        await show(made.worker, film_channel(of_web(origin.url)))
        async with Watcher(made.port) as watcher:
            await watcher.ask(path_of())
            assert await watcher.reader.readuntil(b"0\r\n\r\n") == b"6\r\na film\r\n0\r\n\r\n"


async def test_the_next_source_has_it_and_is_remembered(tmp_path: Path, origin: Origin) -> None:
    content = film_content(2)
    async with origin_of(b"<html>" * 99) as wrong, stage(tmp_path, [content]) as made:
        wrong.content_type = "text/html"
        await show(made.worker, film_channel(of_web(wrong.url), of_engine(content)))
        for _ in range(3):
            _, body = await get(made, path_of(), "bytes=100-199")
            assert body == bytes_of(content)[100:200]
        assert len(wrong.heads) == 1


async def test_a_lost_source_is_followed_by_another_with_the_same_file(
    tmp_path: Path, origin: Origin
) -> None:
    async with origin_of(WEB) as second, stage(tmp_path, timeouts=film_timeouts()) as made:
        await show(made.worker, film_channel(of_web(origin.url), of_web(second.url)))
        origin.stalls_at = 2_000_000
        async with Watcher(made.port) as watcher:
            await watcher.ask(path_of())
            begun = await watcher.read(2_000_000)
            origin.status, origin.stalls_at = 404, None
            origin.cut_all()
            assert begun + await watcher.read(3_000_000) == WEB
        assert len(second.heads) == 1


async def test_a_redirect_gets_the_range_and_not_the_secrets(
    tmp_path: Path, origin: Origin
) -> None:
    async with origin_of(b"") as first, stage(tmp_path) as made:
        first.status, first.extra = 302, [("Location", origin.url)]
        way = of_web(first.url, ("Authorization", "Basic s3cret"), ("X-Plain", "1"))
        await show(made.worker, film_channel(way))
        _, body = await get(made, path_of(), "bytes=5-9")
        assert body == WEB[5:10]
        assert "authorization" in first.heads[0]
        assert "authorization" not in origin.heads[0]
        assert (origin.heads[0]["x-plain"], origin.heads[0]["range"]) == ("1", "bytes=5-9")


async def test_our_own_port_is_no_film(tmp_path: Path) -> None:
    async with stage(tmp_path) as made:
        url = f"http://127.0.0.1:{made.port}/movie/{TOKEN}/900.mp4"
        await show(made.worker, film_channel(of_web(url)))
        answer, text = await get(made, path_of())
        assert (answer.status, b"our own port" in text) == (503, True)


# -- refusals --


async def test_what_fails_says_why_and_is_remembered(tmp_path: Path) -> None:
    live = bundled_contents()[0]
    live.preload_seconds = 0.05
    async with (
        origin_of(WEB) as origin,
        stage(tmp_path, [live], timeouts=film_timeouts(failure_memory_seconds=30.0)) as made,
    ):
        origin.status = 403
        await show(
            made.worker,
            film_channel(of_engine(live)),
            film_channel(of_web(origin.url), id=901),
            film_channel(id=902),
            film_channel(ChannelSource("hls", origin.url), id=903),
        )
        for id, status, words in (
            (900, 404, b"it is live, not a film: add it as a channel\n"),
            (901, 503, b"answered 403\n"),
            (902, 503, b"this film has no source\n"),
            (903, 404, b"an HLS playlist, not a file\n"),
        ):
            for _ in range(2):
                answer, text = await get(made, path_of(id))
                assert (answer.status, text) == (status, words)
            assert ("retry-after" in answer.headers) == (status == 503)
        assert len(origin.heads) == 1
        await until(lambda: made.engine.open_sessions == [], "it was stopped")
        assert made.engine.counters.opens == 1
        assert made.snapshot.failures == 3


async def test_a_viewer_is_held_only_so_long(tmp_path: Path, origin: Origin) -> None:
    origin.silent = True
    content = film_content(preload_seconds=60.0)
    timeouts = film_timeouts(hold_seconds=0.4, hold_impatient_seconds=0.1)
    async with stage(tmp_path, [content], timeouts=timeouts) as made:
        await show(
            made.worker, film_channel(of_engine(content)), film_channel(of_web(origin.url), id=901)
        )
        for id in (900, 901):
            answer, text = await get(made, path_of(id))
            assert (answer.status, answer.headers["retry-after"]) == (503, "1")
            assert b"still being opened" in text
        assert made.snapshot.held == 0
        await until(lambda: origin.open == 0, "nobody waits for it")


async def test_a_viewer_who_leaves_while_it_opens_leaves_nothing(
    tmp_path: Path, origin: Origin
) -> None:
    origin.silent = True
    async with stage(tmp_path) as made:
        await show(made.worker, film_channel(of_web(origin.url)))
        async with Watcher(made.port) as watcher:
            watcher.writer.write(f"GET {path_of()} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
            await until(lambda: made.snapshot.held == 1)
        await until(lambda: made.snapshot.held == 0 and origin.open == 0)
        assert made.worker.accounts._leases == {}


async def test_caps_hold_for_films(tmp_path: Path, origin: Origin) -> None:
    async with stage(tmp_path, limits=Limits(held_viewers=1)) as made:
        origin.silent = True
        await show(made.worker, film_channel(of_web(origin.url)), max_connections=0)
        async with Watcher(made.port) as watcher:
            watcher.writer.write(f"GET {path_of()} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
            await until(lambda: made.snapshot.held == 1)
            answer, text = await get(made, path_of())
            assert (answer.status, b"waiting for films" in text) == (503, True)


async def test_what_films_take_counts_for_the_bandwidth(tmp_path: Path, origin: Origin) -> None:
    async with stage(tmp_path, limits=Limits(bandwidth_bits_per_second=1000)) as made:
        await show(made.worker, film_channel(of_web(origin.url)), max_connections=0)
        origin.stalls_at = 4_000_000
        await until(lambda: made.worker.hub._bandwidth.measured, "the rate is measured")
        async with Watcher(made.port) as watcher:
            await watcher.ask(path_of())
            await watcher.read(3_000_000)
            await until(lambda: made.worker.hub.crowded)
            answer, text = await get(made, path_of(), X_Else="1", User_Agent="another box")
            assert (answer.status, b"bandwidth" in text) == (503, True)
            answer, _ = await get(made, path_of(), "bytes=0-9")  # who watches may seek
            assert answer.status == 206
        origin.stalls_at = None


# -- accounts --


async def test_a_seek_storm_is_one_player(tmp_path: Path, origin: Origin) -> None:
    timeouts = film_timeouts(count_after_seconds=0.05, player_burst_seconds=0.05)
    async with stage(tmp_path, timeouts=timeouts) as made:
        await show(made.worker, film_channel(of_web(origin.url)), max_connections=1)
        account = await made.worker.store.accounts.by_name("viewer")
        assert account is not None
        async with Watcher(made.port) as first:
            origin.stalls_at = 2_500_000
            await first.ask(path_of(), "bytes=0-")
            await first.read(1000)
            for at in range(0, 2_000_000, 100_000):
                answer, _ = await get(made, path_of(), f"bytes={at}-{at + 9}")
                assert answer.status == 206
                await asyncio.sleep(0.03)
            async with Watcher(made.port) as second:  # VLC's second connection
                await second.ask(path_of(), "bytes=1000000-")
                await second.read(1000)
                await until(lambda: made.snapshot.viewers == 2)
                await asyncio.sleep(0.3)  # some ticks of the limit
                assert made.worker.accounts.active(account.id) == 1
                await first.read(1000)
                await second.read(1000)
        assert made.worker.accounts.taken_over == 0
        origin.stalls_at = None


async def test_a_kicked_viewer_is_cut_and_his_bytes_are_his_accounts(
    tmp_path: Path, origin: Origin
) -> None:
    async with stage(tmp_path) as made:
        await show(made.worker, film_channel(of_web(origin.url)))
        origin.stalls_at = 1_000_000
        async with Watcher(made.port) as watcher:
            await watcher.ask(path_of(), "bytes=0-")
            await watcher.read(1_000_000)
            (leases,) = made.worker.accounts._leases.values()
            (lease,) = leases
            made.worker.accounts.kick(lease.key, asyncio.get_running_loop().time())
            with pytest.raises((asyncio.IncompleteReadError, ConnectionResetError)):
                await watcher.read(1_000_000)
        assert made.worker.accounts.take_bytes() == {lease.account.id: 1_000_000}
        await until(lambda: made.snapshot.viewers == 0 and origin.open == 0)


# -- by /ace/getstream --


@pytest.mark.parametrize("kind", ["web", "engine"])
async def test_a_content_that_is_a_film_is_served_as_one(
    tmp_path: Path, origin: Origin, kind: str
) -> None:
    content = film_content(3)
    async with stage(tmp_path, [content], timeouts=film_timeouts(linger_seconds=30.0)) as made:
        film = WEB if kind == "web" else bytes_of(content)
        asked = f"url={quote(origin.url)}" if kind == "web" else f"id={content.content_id}"
        path = f"/ace/getstream?{asked}"
        async with Watcher(made.port) as watcher:
            assert "content-length" not in (await watcher.ask(path, method="HEAD")).headers
        async with Watcher(made.port) as watcher:
            for begin, end in spans(len(film), 3, 4):
                answer, body = await watcher.whole(path, f"bytes={begin}-{end - 1}")
                assert (answer.status, body) == (206, film[begin:end])
            answer = await watcher.ask(path, method="HEAD")
            assert answer.headers["content-length"] == str(len(film))
            if kind == "engine":
                assert answer.headers["content-type"] == "video/mp2t"
                found = (await made.ask(f"/ace/status?{asked}")).body
                assert b'"state":"lingering"' in found
                assert (await made.ask("/ace/status")).body == b'{"streams":1}\n'
        assert made.engine.counters.opens == (2 if kind == "engine" else 0)
        assert made.engine.counters.doubled_readers == 0


async def test_a_film_that_is_open_is_not_started_as_a_channel(tmp_path: Path) -> None:
    content = film_content(3)
    async with stage(tmp_path, [content], timeouts=film_timeouts(linger_seconds=30.0)) as made:
        await show(made.worker, film_channel(of_engine(content)))
        await get(made, path_of(), "bytes=0-0")
        _, body = await get(made, f"/ace/getstream?infohash={content.infohash}", "bytes=5-9")
        assert body == bytes_of(content)[5:10]
        assert made.engine.counters.opens == 1


# -- the end, and what is shown --


async def test_stopping_ends_films_and_their_sessions(tmp_path: Path, origin: Origin) -> None:
    content = film_content(30)
    async with stage(tmp_path, [content]) as made:
        await show(
            made.worker,
            film_channel(of_engine(content)),
            film_channel(of_web(origin.url), id=901),
            max_connections=0,
        )
        async with Watcher(made.port) as one, Watcher(made.port) as other:
            for watcher, id in ((one, 900), (other, 901)):
                await watcher.ask(path_of(id), "bytes=0-")
                watcher.reader._transport.pause_reading()  # type: ignore[attr-defined]
            await until(lambda: made.snapshot.viewers == 2)
            await made.worker.stop(1.0)
        assert made.engine.open_sessions == []
        assert made.engine.counters.stops == 1


async def test_films_are_shown_as_what_they_are(tmp_path: Path) -> None:
    content = film_content(20)
    async with stage(tmp_path, [content]) as made:
        await show(made.worker, film_channel(of_engine(content)))
        async with Watcher(made.port) as watcher:
            await watcher.ask(path_of(), "bytes=1000000-")
            watcher.reader._transport.pause_reading()  # type: ignore[attr-defined]
            await until(lambda: viewer_states(made) == ["paused"])
            snapshot = made.snapshot
            (film,) = snapshot.films
            (viewer,) = film.viewers
            length = len(bytes_of(content))
            assert (film.name, film.state, film.length) == (f"Film {FILM_ID}", "playing", length)
            assert (film.engine, film.infohash) == (made.engine.url, content.infohash)
            assert (viewer.account, viewer.user_agent) == ("viewer", "VLC/3.0")
            assert viewer.position == 1_000_000 + viewer.bytes_sent
            assert viewer.percent == pytest.approx(100 * viewer.position / length)
            assert (snapshot.viewers, snapshot.bytes_out) == (1, viewer.bytes_sent)
