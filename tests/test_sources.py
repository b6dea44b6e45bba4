"""Sources and feeds: an engine session with its reader and poller, and a plain HTTP stream."""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from raw_engine import GONE, INFOHASH, STOPPED, RawEngine, granted, http, refusing, said
from stage import until

from rawstream.config import Limits, Timeouts
from rawstream.engine_client import ContentRef, EngineState
from rawstream.engine_pool import EnginePool
from rawstream.fetch_policy import Allowed, FetchPolicy
from rawstream.http_client import Ending
from rawstream.journal import StopJournal
from rawstream.simulator import EngineSimulator, SimContent, bundled_contents, vod_content
from rawstream.sources import (
    DirectFeed,
    DirectSource,
    EngineFeed,
    EngineSource,
    FeedFailed,
    NoEngineLeft,
)
from rawstream.web_resource import WebResource

QUICK = Timeouts.for_tests(
    engine_stop_seconds=0.5, engine_stat_interval_seconds=0.05, engine_preload_retry_seconds=0.02
)
LONG = (30.0, 30.0)  # of patience: the test's own time limit comes first
SHORT = (0.2, 0.2)


class Taken:
    def __init__(self) -> None:
        self.bytes = 0

    def take(self, data: bytes) -> None:
        self.bytes += len(data)


def pool_of(*urls: str, timeouts: Timeouts = QUICK, capacity: int = 4) -> EnginePool:
    return EnginePool(
        urls, capacity=capacity, timeouts=timeouts, limits=Limits(), journal=StopJournal(None)
    )


class Stage:
    """A simulated engine, a pool on it, a content, and the feeds made."""

    def __init__(self, simulator: EngineSimulator, pool: EnginePool, timeouts: Timeouts) -> None:
        self.simulator = simulator
        self.pool = pool
        self.timeouts = timeouts
        self.content = simulator.contents[0]
        self.taken = Taken()
        self.feeds: list[EngineFeed] = []

    async def feed(self, content: SimContent | None = None) -> EngineFeed:
        ref = ContentRef("infohash", (content or self.content).infohash)
        feed = await EngineSource(self.pool, [ref], self.timeouts).start(())
        self.feeds.append(feed)
        return feed

    async def opened(self, patience: tuple[float, float] = LONG) -> EngineFeed:
        feed = await self.feed()
        await feed.open(self.taken.take, patience=patience)
        return feed


@asynccontextmanager
async def on_air(timeouts: Timeouts = QUICK, **settings: Any) -> AsyncIterator[Stage]:
    contents = bundled_contents()
    for content in contents:
        content.preload_seconds = settings.pop("preload_seconds", 0.0)
    async with EngineSimulator(contents, latency=0, **settings) as simulator:
        pool = pool_of(simulator.url, timeouts=timeouts)
        made = Stage(simulator, pool, timeouts)
        try:
            yield made
        finally:
            for feed in made.feeds:
                await feed.close()
            await pool.close()


async def failure(feed: EngineFeed | DirectFeed, patience: tuple[float, float]) -> FeedFailed:
    taken = Taken()
    with pytest.raises(FeedFailed) as caught:
        await feed.open(taken.take, patience=patience)
    seen = taken.bytes
    await asyncio.sleep(0.02)
    assert taken.bytes == seen, "a reader that failed brings nothing afterwards"
    return caught.value


@asynccontextmanager
async def raw_feed(**answers: Any) -> AsyncIterator[tuple[RawEngine, EngineFeed]]:
    """A feed of an engine that says what it is told to: `r`, `stat`, `cmd`, and `granted`."""
    async with RawEngine() as raw:
        raw.answers = {
            "/ace/getstream": answers.pop("granted", granted()),
            "/ace/r": b"",
            "/ace/cmd": STOPPED,
            **{f"/ace/{name}": answer for name, answer in answers.items()},
        }
        pool = pool_of(raw.url)
        feed = await EngineSource(pool, [ContentRef("infohash", INFOHASH)], QUICK).start(())
        yield raw, feed
        await feed.close()
        await pool.close()


# -- an engine's stream --


async def test_a_feed_brings_bytes_and_ends_with_one_stop() -> None:
    async with on_air() as made:
        feed = await made.opened()
        await until(lambda: made.taken.bytes > 100_000)
        assert feed.infohash == made.content.infohash
        assert feed.engine is made.pool.engines[0]
        assert (feed.gone, feed.ended.done()) == (False, False)
        assert feed.last_data_at > 0
        await feed.close()
        await feed.close()
        assert feed.ended.result()[0] is Ending.ABORTED
        counters = made.content.counters
        assert (counters.opens, counters.stops, counters.readers_max) == (1, 1, 1)


@pytest.mark.parametrize("text", ["start timeout", "download not found", ""])
async def test_a_500_in_preload_is_asked_again(text: str) -> None:
    async with on_air() as made:
        made.content.fault("status", where="playback", status=500, text=text, times=3)
        await made.opened()
        counters = made.content.counters
        assert (counters.playback_calls, counters.opens, counters.readers_max) == (4, 1, 1)


async def test_a_500_for_ever_ends_by_the_patience_in_the_engines_words() -> None:
    async with on_air() as made:
        made.content.fault("status", where="playback", status=500, text="start timeout")
        feed = await made.feed()
        error = await failure(feed, SHORT)
        assert "start timeout" in error.reason
        assert error.phase == "first byte"
        assert error.engine is made.pool.engines[0]
        assert made.content.counters.playback_calls > 1
        await feed.close()
        assert made.content.counters.stops == 1


async def test_a_body_that_ends_before_a_byte_is_preload_too() -> None:
    async with on_air() as made:
        made.content.fault("eof", times=2)
        await made.opened()
        assert made.content.counters.reader_opens == 3


@pytest.mark.parametrize("kind", ["reset", "close", "malformed", "rst"])
async def test_a_reader_that_breaks_before_a_byte_is_opened_again(kind: str) -> None:
    async with on_air() as made:
        where = {} if kind == "rst" else {"where": "playback"}
        made.content.fault(kind, times=1, **where)
        await made.opened()
        assert made.content.counters.opens == 1


async def test_a_superseded_session_is_not_asked_again() -> None:
    async with on_air() as made:
        first = await made.feed()
        second = await made.feed()
        error = await failure(first, LONG)
        assert error.status == 403
        assert made.content.counters.playback_calls == 0
        await second.open(made.taken.take, patience=LONG)


async def test_a_second_status_line_is_a_conflict_that_passes_with_the_other_reader() -> None:
    async with on_air() as made:
        feed = await made.opened()
        session = feed.session
        taken = Taken()
        rival = EngineFeed(made.pool, session, QUICK)
        opening = asyncio.create_task(rival.open(taken.take, patience=LONG))
        await until(lambda: made.content.counters.doubled_readers >= 1)
        assert not opening.done()
        feed._leave()
        await opening
        assert taken.bytes > 0
        await rival.close()


async def test_heads_held_back_for_long_are_waited_for_while_the_engine_loads() -> None:
    async with on_air(speed=20) as made:
        made.content.fault("delay", where="content", seconds=2.5)
        feed = await made.feed()
        await feed.open(made.taken.take, patience=(1.5, 30.0))
        assert made.content.counters.reader_opens == 1, "one reader, that waited"
        assert (feed.stat.downloaded or 0) > 0


async def test_loading_extends_the_wait_no_further_than_its_limit() -> None:
    async with on_air() as made:
        made.content.fault("delay", where="content", seconds=60)
        feed = await made.feed()
        error = await failure(feed, (0.3, 0.8))
        assert "engine says dl" in error.reason


async def test_a_dead_channel_ends_the_wait_though_it_has_peers() -> None:
    async with on_air() as made:
        made.content.fault("dead", amount=3)
        feed = await made.feed()
        error = await failure(feed, (0.3, 30.0))
        assert "engine says prebuf, 3 peers" in error.reason


async def test_a_session_the_engine_does_not_know_ends_the_wait_at_once() -> None:
    async with raw_feed(stat=GONE, cmd=GONE) as (_, feed):
        error = await failure(feed, LONG)
        assert error.reason == "unknown playback session id"
        assert feed.gone


async def test_a_session_that_failed_ends_the_wait_in_the_engines_words() -> None:
    stat = said({"response": {"status": "err", "error_message": "cannot find peers"}})
    async with raw_feed(stat=stat) as (_, feed):
        assert (await failure(feed, LONG)).reason == "cannot find peers"


async def test_an_encrypted_content_is_named_as_such_when_no_byte_comes() -> None:
    async with raw_feed(granted=granted(is_encrypted=1)) as (_, feed):
        assert "the content is encrypted" in (await failure(feed, SHORT)).reason


async def test_a_head_without_a_body_is_let_go_when_the_patience_is_over() -> None:
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    async with raw_feed(r=head) as (raw, feed):
        raw.keep_open = {"/ace/r"}
        await failure(feed, SHORT)
        await until(lambda: raw.connected == 0, "the reader is gone before the session is")


async def test_the_same_url_can_be_opened_again_after_a_cut() -> None:
    async with on_air() as made:
        feed = await made.opened()
        made.content.fault("rst", after_bytes=1, times=1)
        await until(feed.ended.done)
        assert not feed.gone
        await feed.open(made.taken.take, patience=LONG)
        counters = made.content.counters
        assert (counters.opens, counters.readers_max) == (1, 1)


async def test_an_engine_that_was_restarted_knows_the_session_no_more() -> None:
    async with on_air() as made:
        feed = await made.opened()
        await made.simulator.restart()
        await until(lambda: feed.gone)
        assert feed.ended.done()


async def test_an_engine_that_died_is_gone() -> None:
    async with on_air() as made:
        feed = await made.opened()
        await made.simulator.restart(seconds=60)
        await until(lambda: feed.gone)
        assert made.pool.engines[0].state is EngineState.DOWN


async def test_a_film_is_refused_before_a_byte_of_it_is_taken() -> None:
    async with on_air() as made:
        film = made.simulator.add(vod_content())
        feed = await made.feed(film)
        with pytest.raises(FeedFailed, match="a film, not what is live"):
            await feed.open(made.taken.take, patience=LONG)
        assert made.taken.bytes == 0
        await feed.close()


async def test_leaving_in_the_middle_of_an_opening_leaves_no_reader() -> None:
    async with on_air() as made:
        made.content.fault("delay", where="content", seconds=60)
        feed = await made.feed()
        opening = asyncio.create_task(feed.open(made.taken.take, patience=LONG))
        await until(lambda: made.content.counters.readers_now == 1)
        opening.cancel()
        await asyncio.wait({opening})
        await feed.close()
        await until(lambda: made.content.counters.readers_now == 0)
        assert made.content.counters.stops == 1


# -- stat --


async def test_one_poller_asks_at_its_interval_whatever_else_looks() -> None:
    async with RawEngine() as raw:
        raw.answers = {"/ace/getstream": granted(), "/ace/stat": b"", "/ace/cmd": STOPPED}
        pool = pool_of(raw.url)
        feed = await EngineSource(pool, [ContentRef("infohash", INFOHASH)], QUICK).start(())
        await until(lambda: raw.asked(f"/ace/stat/{INFOHASH}/t"))
        looks = [asyncio.create_task(feed.look()) for _ in range(5)]
        await asyncio.sleep(0.2)  # four intervals, with the first question still open
        assert len(raw.asked(f"/ace/stat/{INFOHASH}/t")) == 1
        await feed.close()
        await asyncio.gather(*looks)
        await pool.close()
        asked = len(raw.heads)
        await asyncio.sleep(0.2)
        assert len(raw.heads) == asked, "nobody asks after the end"


async def test_looks_are_counted_as_activity_only_while_somebody_reads() -> None:
    async with RawEngine() as raw:
        stat = f"/ace/stat/{INFOHASH}/t"
        raw.answers = {
            "/ace/getstream": granted(),
            "/ace/stat": said({"response": {}}),
            "/ace/r": http(b"G" * 188, length=False),
            "/ace/cmd": STOPPED,
        }
        raw.keep_open = {"/ace/r"}
        pool = pool_of(raw.url, timeouts=Timeouts.for_tests(engine_stat_interval_seconds=60))
        feed = await EngineSource(
            pool, [ContentRef("infohash", INFOHASH)], QUICK_BUT_NO_POLLS
        ).start(())
        await feed.look()  # nobody reads yet
        await feed.open(lambda _data: None, patience=LONG)
        await feed.look()
        raw.cut()
        await until(feed.ended.done)
        await feed.look()
        assert [sorted(query) for query in raw.asked(stat)] == [
            ["skip_player_activity"],
            [],
            ["skip_player_activity"],
        ]
        raw.answers["/ace/r"] = b""
        opening = asyncio.create_task(feed.open(lambda _data: None, patience=LONG))
        await until(lambda: raw.requests.count(f"GET /ace/r/{INFOHASH}/t") == 2)
        await feed.look()
        assert raw.asked(stat)[-1] == {}, "whoever waits for the first byte is a player too"
        opening.cancel()
        await asyncio.wait({opening})
        await feed.close()
        await pool.close()


QUICK_BUT_NO_POLLS = Timeouts.for_tests(engine_stat_interval_seconds=60)


async def test_what_the_engine_tells_is_kept_as_it_changes() -> None:
    async with on_air(preload_seconds=0.5) as made:
        feed = await made.feed()
        seen: list[str | None] = []

        def played() -> bool:
            if not seen or seen[-1] != feed.stat.status:
                seen.append(feed.stat.status)
            return feed.stat.status == "dl"

        await until(played)
        assert seen[0] is None
        assert seen[-2:] == ["prebuf", "dl"]
        assert isinstance(feed.stat.live_last, int)
        made.content.fault("odd_types", where="stat")
        peers = feed.stat.peers
        await feed.look()
        assert feed.stat.peers == peers == made.content.peers


async def test_a_stat_that_fails_now_and_then_changes_nothing() -> None:
    async with on_air() as made:
        feed = await made.opened()
        for kind in ("half_body", "html_500", "reset", "malformed", "empty_response"):
            made.content.faults.clear()
            made.content.fault(kind, where="stat")
            await feed.look()
        assert not feed.gone
        assert made.pool.engines[0].state is EngineState.UP


# -- what bytes say of an engine --


async def test_an_engine_that_plays_is_proven_and_kept_for_the_content() -> None:
    async with on_air() as made:
        engine = made.pool.engines[0]
        for _ in range(3):
            engine.brought_nothing()
        await made.opened()
        await until(lambda: made.taken.bytes > 100_000)
        await until(lambda: not engine.aside)
        assert engine.barren == 0


async def test_a_start_that_ends_after_a_hundred_bytes_is_as_barren_as_none() -> None:
    async with on_air() as made:
        engine = made.pool.engines[0]
        made.content.fault("eof", after_bytes=100)
        for number in range(1, 4):
            feed = await made.opened()
            await until(feed.ended.done)
            await feed.close()
            assert engine.barren == number
        assert engine.aside


async def test_leaving_early_is_not_the_engines_fault() -> None:
    async with on_air() as made:
        made.content.fault("trickle")
        feed = await made.opened()
        await feed.close()
        assert made.taken.bytes < 10_000
        assert made.pool.engines[0].barren == 0


async def test_granted_starts_without_a_byte_put_the_engine_behind_the_others() -> None:
    async with on_air() as made:
        made.content.fault("dead")
        for _ in range(3):
            feed = await made.feed()
            await failure(feed, (0.05, 0.05))
            await feed.close()
        assert made.pool.engines[0].aside


# -- which engine --


async def test_a_refused_connection_names_the_engine_so_that_the_next_one_is_asked() -> None:
    async with on_air() as made:
        with refusing() as dead:
            pool = pool_of(dead, made.simulator.url)
            ref = ContentRef("infohash", made.content.infohash)
            source = EngineSource(pool, [ref], QUICK)
            with pytest.raises(FeedFailed) as caught:
                await source.start(())
            assert caught.value.engine is pool.engines[0]
            feed = await source.start([pool.engines[0]])
            assert feed.engine is pool.engines[1]
            await feed.close()
            with pytest.raises(NoEngineLeft) as nobody:
                await source.start(pool.engines)
            assert not nobody.value.full
            await pool.close()


async def test_a_refusal_keeps_the_engines_words() -> None:
    async with on_air(refusal="mod_detected") as made:
        with pytest.raises(FeedFailed, match="mod_detected") as caught:
            await made.feed()
        assert caught.value.phase == "start"


async def test_full_engines_are_told_from_none() -> None:
    async with on_air() as made:
        made.pool.engines[0].sessions = 4
        with pytest.raises(NoEngineLeft) as caught:
            await made.feed()
        assert caught.value.full
        made.pool.engines[0].sessions = 0


# -- plain HTTP --


def direct(url: str, policy: FetchPolicy | None = None) -> DirectSource:
    policy = policy or FetchPolicy((), lambda: ())
    return DirectSource(WebResource(url, policy, QUICK, Limits()))


async def test_a_direct_source_brings_bytes_until_it_ends() -> None:
    async with RawEngine() as raw:
        raw.answers["/tv.ts"] = http(b"G" * 188 * 5, length=False)
        feed = await direct(raw.url + "/tv.ts?x=1").start(())
        taken = Taken()
        await feed.open(taken.take, patience=LONG)
        assert (await feed.ended)[0] is Ending.EOF
        assert (taken.bytes, feed.engine, feed.infohash) == (940, None, None)
        assert raw.requests == ["GET /tv.ts?x=1"]
        await feed.look()
        await feed.close()


@pytest.mark.parametrize("length", [188, 1 << 39])
async def test_a_direct_source_with_a_length_is_a_film_and_refused(length: int) -> None:
    async with RawEngine() as raw:
        head = f"HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n".encode()
        raw.answers["/film.ts"] = head + b"G" * 188
        taken = Taken()
        with pytest.raises(FeedFailed, match="a film, not what is live"):
            feed = await direct(raw.url + "/film.ts").start(())
            await feed.open(taken.take, patience=LONG)
        assert taken.bytes == 0


async def test_a_live_server_that_announces_an_absurd_length_is_live() -> None:
    async with RawEngine() as raw:
        head = f"HTTP/1.1 200 OK\r\nContent-Length: {(1 << 63) - 1}\r\n\r\n".encode()
        raw.answers["/live.ts"] = head + b"G" * 188
        taken = Taken()
        feed = await direct(raw.url + "/live.ts").start(())
        await feed.open(taken.take, patience=LONG)
        assert taken.bytes == 188


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (http("SECRET not found, USER", "404 Not Found"), "answered 404"),
        (http("", "200 OK", length=False), "ended before a byte"),
        (b"", "no byte within"),
        (b"nonsense\r\n\r\n", "HTTP|status line"),
    ],
)
async def test_a_direct_source_that_fails_says_why_and_tells_no_secret(
    answer: bytes, words: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    async with RawEngine() as raw:
        raw.answers["/live"] = answer
        address = raw.url.removeprefix("http://")
        source = direct(f"http://USER:SECRET@{address}/live/USER/SECRET/7.ts?token=SECRET")
        feed = await source.start(())
        error = await failure(feed, (0.3, 0.3))
        assert re.search(words, error.reason)
        assert error.engine is None
        told = [source.label, feed.label, str(error), repr(error), caplog.text]
        chain: BaseException | None = error
        while chain is not None:
            told.append(repr(chain))
            chain = chain.__cause__
        for text in told:
            assert "SECRET" not in text
            assert "USER" not in text
        assert "Authorization: Basic" in raw.heads[0]
        assert source.label.startswith(f"http://{address}/…/7.ts")
        await feed.close()


async def test_a_name_that_resolves_slowly_is_part_of_the_patience() -> None:
    class Slow(FetchPolicy):
        async def check(self, url: str, *, came_from_public: bool = False) -> Allowed:
            await asyncio.Event().wait()
            raise AssertionError

    feed = await direct("http://tv.example/a", Slow((), lambda: ())).start(())
    assert "no byte within" in (await failure(feed, SHORT)).reason


@pytest.mark.parametrize("url", ["http://[bad/x", "ftp://h/x", "http://h:99999/x"])
async def test_a_url_that_cannot_be_used_fails_as_a_source_does(url: str) -> None:
    feed = await direct(url).start(())
    assert "not an http or https URL" in (await failure(feed, LONG)).reason
    await feed.close()
