"""Which engine gets what, and that each session is stopped: the simulator, and raw answers."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from raw_engine import CONTENT_ID, GONE, INFOHASH, STOPPED, RawEngine, granted, refusing, said
from stage import until

from rawstream import engine_pool
from rawstream.config import Limits, Timeouts
from rawstream.engine_client import ContentRef, Engine, EngineState
from rawstream.engine_pool import EnginePool
from rawstream.errors import EngineError, UpstreamError
from rawstream.journal import FILE_NAME, OpenSession, StopJournal
from rawstream.simulator import EngineSimulator, SimContent, bundled_contents

SHORT = Timeouts.for_tests(
    engine_stop_seconds=0.5,
    engine_probe_seconds=0.2,
    engine_probe_interval_seconds=0.1,
)
CONTENT = ContentRef("content_id", CONTENT_ID)
BY_INFOHASH = ContentRef("infohash", INFOHASH)


def pool_of(*urls: str, journal: StopJournal | None = None, **settings: Any) -> EnginePool:
    return EnginePool(
        urls,
        capacity=settings.pop("capacity", 4),
        timeouts=settings.pop("timeouts", SHORT),
        limits=Limits(),
        journal=journal or StopJournal(None),
    )


@asynccontextmanager
async def simulated(count: int = 1, **settings: Any) -> AsyncIterator[list[EngineSimulator]]:
    engines = [EngineSimulator(bundled_contents(), latency=0, **settings) for _ in range(count)]
    for engine in engines:
        await engine.start()
    try:
        yield engines
    finally:
        for engine in engines:
            await engine.stop()


@asynccontextmanager
async def on_air(
    **settings: Any,
) -> AsyncIterator[tuple[EngineSimulator, EnginePool, Engine, SimContent]]:
    """One simulated engine, a pool on it, and a content."""
    pool_settings = {k: settings.pop(k) for k in ("capacity", "journal") if k in settings}
    async with simulated(**settings) as [simulator]:
        pool = pool_of(simulator.url, **pool_settings)
        try:
            yield simulator, pool, pool.engines[0], simulator.contents[0]
        finally:
            await pool.close()


@pytest.fixture
def dead_url() -> Iterator[str]:
    with refusing() as url:
        yield url


def by_id(content: SimContent) -> ContentRef:
    return ContentRef("content_id", content.content_id)


def by_infohash(content: SimContent) -> ContentRef:
    return ContentRef("infohash", content.infohash)


# -- identity --


async def test_both_kinds_are_asked_at_once_for_a_value_that_may_be_either() -> None:
    async with RawEngine() as raw:
        raw.answers["/server/api"] = b""
        pool = pool_of(raw.url)
        asking = asyncio.create_task(pool.resolve(ContentRef("unknown", INFOHASH)))
        await until(lambda: len(raw.heads) == 2, "both questions, while neither is answered")
        kinds = [query.keys() & {"content_id", "infohash"} for query in raw.asked("/server/api")]
        assert sorted(map(sorted, kinds)) == [["content_id"], ["infohash"]]
        asking.cancel()
        await asyncio.wait({asking})


@pytest.mark.parametrize("kind", ["content_id", "infohash"])
async def test_the_kind_that_is_known_wins_without_waiting_for_the_other(kind: str) -> None:
    async with RawEngine() as raw:
        found = said({"result": {"infohash": "b2" * 20}})
        raw.answers["/server/api"] = lambda path: found if f"{kind}=" in path else None
        pool = pool_of(raw.url)
        ref = ContentRef("unknown", INFOHASH)
        assert await pool.resolve(ref) == "b2" * 20
        raw.answers.clear()
        assert await pool.resolve(ref) == "b2" * 20, "what was learned is not asked again"


async def test_an_id_and_an_infohash_resolve_to_the_same_content_without_a_session() -> None:
    async with on_air() as (simulator, pool, _engine, content):
        for value in (content.content_id, content.infohash):
            assert await pool.resolve(ContentRef("unknown", value)) == content.infohash
        assert await pool.resolve(by_infohash(content)) == content.infohash
        assert simulator.counters.getstream_calls == 0


async def test_what_nobody_can_resolve_is_no_failure(dead_url: str) -> None:
    unknown = ContentRef("unknown", "99" * 20)
    assert await pool_of(dead_url).resolve(unknown) is None
    assert await pool_of().resolve(unknown) is None
    async with on_air() as (_simulator, pool, _engine, _content):
        assert await pool.resolve(unknown) is None
    async with RawEngine() as raw:
        raw.answers["/"] = b""
        quick = Timeouts.for_tests(engine_resolve_seconds=0.2)
        assert await pool_of(raw.url, timeouts=quick).resolve(unknown) is None


async def test_what_was_learned_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine_pool, "_REMEMBERED", 10)
    pool = pool_of("http://127.0.0.1:1")
    refs = [ContentRef("content_id", f"{number:040x}") for number in range(30)]
    for ref in refs:
        pool.learn(ref, INFOHASH)
    known = [ref for ref in refs if pool.known_infohash(ref)]
    assert known == refs[-10:]


# -- start --


async def test_a_start_is_tried_by_its_other_spelling_once_and_what_worked_is_remembered() -> None:
    async with on_air() as (simulator, pool, engine, content):
        refs = [ContentRef("content_id", content.infohash), by_infohash(content)]
        session = await pool.start(engine, refs)
        assert simulator.counters.getstream_calls == 2
        assert session.infohash == content.infohash
        await pool.stop(session)
        await pool.stop(await pool.start(engine, refs))
        assert simulator.counters.getstream_calls == 3, "the wrong spelling is not tried again"
        assert content.counters.opens == content.counters.stops == 2


async def test_what_no_spelling_loads_is_told_in_the_engines_words() -> None:
    async with on_air() as (simulator, pool, engine, _content):
        refs = [ContentRef("content_id", "99" * 20), ContentRef("infohash", "99" * 20)]
        with pytest.raises(EngineError, match="failed to load content"):
            await pool.start(engine, refs)
        assert simulator.counters.getstream_calls == 2
        assert (engine.starting, engine.sessions, engine.failures) == (0, 0, 1)
        assert engine.barren == 0, "the content is at fault, not the engine"


async def test_a_refusal_for_another_reason_is_not_asked_again_under_another_name() -> None:
    async with on_air(refusal="mod_detected") as (simulator, pool, engine, content):
        for number in range(1, 4):
            with pytest.raises(EngineError, match="mod_detected"):
                await pool.start(engine, [by_id(content), by_infohash(content)])
            assert simulator.counters.getstream_calls == number
        assert engine.aside, "an engine that refuses everything goes last"
        assert engine.last_error == "mod_detected"


async def test_a_stale_infohash_gives_way_to_what_the_engine_says_now() -> None:
    async with on_air() as (_simulator, pool, engine, content):
        pool.learn(by_id(content), "99" * 20)
        session = await pool.start(engine, [by_id(content)])
        assert session.infohash == content.infohash
        assert pool.known_infohash(by_id(content)) == content.infohash


async def test_a_session_that_can_be_stopped_but_not_played_is_stopped() -> None:
    async with RawEngine() as raw:
        raw.answers = {"/ace/getstream": granted(playback_url=None), "/ace/cmd": STOPPED}
        pool = pool_of(raw.url)
        with pytest.raises(EngineError, match="without a playback URL"):
            await pool.start(pool.engines[0], [CONTENT])
        await pool.close()
        assert raw.requests[-1] == f"GET /ace/cmd/{INFOHASH}/t?method=stop"
        assert pool.engines[0].free == 4


async def test_a_session_without_stat_and_command_urls_can_be_used_and_let_go() -> None:
    async with RawEngine() as raw:
        raw.answers = {"/ace/getstream": granted(stat_url=None, command_url=None, infohash=None)}
        pool = pool_of(raw.url)
        session = await pool.start(pool.engines[0], [BY_INFOHASH])
        assert session.infohash == INFOHASH, "known from the question"
        assert (await pool.stat(session, reading=True)).status is None
        await pool.stop(session)
        assert len(raw.heads) == 1
        assert pool.engines[0].sessions == 0


# -- a start nobody waits for any more --


async def test_a_cancelled_start_reads_its_answer_and_then_stops() -> None:
    async with on_air() as (_simulator, pool, engine, content):
        content.fault("delay", where="start", seconds=0.2)
        start = asyncio.create_task(pool.start(engine, [by_id(content)]))
        await until(lambda: content.counters.getstream_calls == 1)
        start.cancel()
        with pytest.raises(asyncio.CancelledError):
            await start
        await until(lambda: content.counters.stops == 1, "the stop")
        await until(lambda: engine.free == engine.capacity, "the slot")
        assert content.counters.opens == 1


async def test_whoever_asks_again_takes_over_the_start_that_was_given_up() -> None:
    async with on_air(capacity=1) as (_simulator, pool, engine, content):
        content.fault("delay", where="start", seconds=0.2)
        start = asyncio.create_task(pool.start(engine, [by_id(content)]))
        await until(lambda: content.counters.getstream_calls == 1)
        start.cancel()
        await asyncio.wait({start})
        assert pool.place([by_infohash(content)]) is None, "full, and not known to be the same"
        assert pool.place([by_id(content)]) is engine
        session = await pool.start(engine, [by_id(content), by_infohash(content)])
        assert (content.counters.opens, content.counters.stops) == (1, 0)
        assert engine.sessions == 1
        await pool.stop(session)
        assert content.counters.stops == 1


async def test_a_start_that_is_given_up_twice_is_stopped_once() -> None:
    async with on_air() as (_simulator, pool, engine, content):
        content.fault("delay", where="start", seconds=0.3)
        for _ in range(2):
            start = asyncio.create_task(pool.start(engine, [by_id(content)]))
            await until(lambda: content.counters.getstream_calls == 1)
            start.cancel()
            await asyncio.wait({start})
        await until(lambda: content.counters.stops == 1, "the stop")
        await pool.close()
        assert (content.counters.opens, content.counters.stops) == (1, 1)


async def test_a_given_up_start_that_fails_disturbs_nobody() -> None:
    async with on_air() as (_simulator, pool, engine, content):
        content.fault("delay", where="start", seconds=0.1)
        content.fault("malformed", where="start")
        start = asyncio.create_task(pool.start(engine, [by_id(content)]))
        await until(lambda: content.counters.getstream_calls == 1)
        start.cancel()
        await asyncio.wait({start})
        await until(lambda: engine.failures == 1)
        await until(lambda: engine.starting == 0)
        gc.collect()


async def test_the_end_waits_for_a_given_up_start_no_longer_than_it_may() -> None:
    async with RawEngine() as raw:
        raw.answers["/"] = b""
        pool = pool_of(raw.url, timeouts=Timeouts.for_tests(engine_stop_seconds=0.1))
        start = asyncio.create_task(pool.start(pool.engines[0], [CONTENT]))
        await until(lambda: raw.heads)
        start.cancel()
        await asyncio.wait({start})
        await pool.close()
        assert pool.engines[0].starting == 0


# -- stop --


async def test_a_session_is_stopped_once_however_often_it_is_asked() -> None:
    async with on_air() as (simulator, pool, engine, content):
        session = await pool.start(engine, [by_id(content)])
        await asyncio.gather(*(pool.stop(session) for _ in range(5)))
        await pool.stop(session)
        await pool.forget(session)
        assert (content.counters.stops, simulator.counters.unknown_stops) == (1, 0)
        assert (pool.sessions_opened, pool.sessions_stopped, engine.sessions) == (1, 1, 0)


async def test_a_session_the_engine_has_ended_counts_as_stopped() -> None:
    async with on_air() as (simulator, pool, engine, content):
        session = await pool.start(engine, [by_id(content)])
        await simulator.restart()
        await pool.stop(session)
        assert simulator.counters.unknown_stops == 1
        assert (pool.sessions_stopped, engine.sessions) == (1, 0)


@pytest.mark.parametrize("mode", ["shared", "supersede"])
async def test_only_the_last_owner_of_a_content_stops_it(mode: str) -> None:
    async with on_air(mode=mode) as (simulator, pool, engine, content):
        sessions = [
            await pool.start(engine, [ref]) for ref in (by_id(content), by_infohash(content))
        ]
        await pool.stop(sessions[1])
        assert (content.counters.stops, engine.sessions) == (0, 1)
        await pool.stop(sessions[0])
        assert content.counters.stops == 1, "by a token that the engine still knows"
        assert simulator.open_sessions == []
        assert engine.sessions == 0


async def test_forgetting_a_session_sends_no_stop() -> None:
    async with on_air() as (simulator, pool, engine, content):
        session = await pool.start(engine, [by_id(content)])
        await pool.forget(session)
        await pool.stop(session)
        await pool.close()
        assert content.counters.stops == simulator.counters.unknown_stops == 0
        assert engine.sessions == 0


async def test_a_stop_that_hangs_is_bounded_and_cancelling_its_caller_does_not_end_it() -> None:
    async with on_air(hang_on_stop=True) as (_simulator, pool, engine, content):
        session = await pool.start(engine, [by_id(content)])
        stop = asyncio.create_task(pool.stop(session))
        await asyncio.sleep(0)
        stop.cancel()
        await asyncio.wait({stop})
        assert engine.sessions == 1, "the engine has not answered yet"
        await until(lambda: engine.sessions == 0, "the slot is given back")


async def test_a_start_waits_for_a_stop_of_the_same_content_in_flight() -> None:
    async with RawEngine() as raw:
        raw.answers = {"/ace/getstream": granted(), "/ace/cmd": b""}
        pool = pool_of(raw.url)
        engine = pool.engines[0]
        session = await pool.start(engine, [CONTENT])
        stop = asyncio.create_task(pool.stop(session))
        await until(lambda: len(raw.heads) == 2)
        again = asyncio.create_task(pool.start(engine, [BY_INFOHASH]))
        other = ContentRef("infohash", "b2" * 20)
        await pool.start(engine, [other])
        assert not again.done()
        assert raw.asked("/ace/getstream")[-1]["infohash"] == other.value, "others do not wait"
        await again
        assert stop.done()
        await stop


async def test_a_start_on_another_engine_does_not_wait_for_a_stop() -> None:
    async with RawEngine() as one, RawEngine() as two:
        for raw in (one, two):
            raw.answers = {"/ace/getstream": granted(), "/ace/cmd": b""}
        long = Timeouts.for_tests(engine_stop_seconds=60)
        pool = pool_of(one.url, two.url, timeouts=long)
        session = await pool.start(pool.engines[0], [CONTENT])
        stop = asyncio.create_task(pool.stop(session))
        await until(lambda: len(one.heads) == 2)
        await pool.start(pool.engines[1], [CONTENT])
        stop.cancel()
        await one.__aexit__()
        await until(lambda: pool.engines[0].sessions == 0)


async def test_a_stop_that_was_not_answered_is_tried_again_when_the_engine_is_asked_next() -> None:
    async with on_air() as (simulator, pool, engine, content):
        content.fault("hang", where="stop", times=1)
        await pool.stop(await pool.start(engine, [by_id(content)]))
        assert content.counters.stops == 0
        watching = asyncio.create_task(pool.watch())
        await until(lambda: content.counters.stops == 1, "the second try")
        await until(lambda: pool.sessions_stopped == 1)
        watching.cancel()
        await asyncio.wait({watching})
        assert simulator.open_sessions == []


async def test_a_stop_that_is_never_answered_is_given_up_after_some_tries(tmp_path: Path) -> None:
    journal = StopJournal(tmp_path)
    await journal.load()
    async with on_air(hang_on_stop=True, journal=journal) as (_simulator, pool, engine, content):
        await pool.stop(await pool.start(engine, [by_id(content)]))
        assert len(journal.sessions) == 1, "it may still load"
        watching = asyncio.create_task(pool.watch())
        await until(lambda: not journal.sessions)
        watching.cancel()
        await asyncio.wait({watching})


async def test_a_bug_at_one_engine_leaves_the_probes_of_all(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async with simulated(2) as engines:
        pool = pool_of(*(one.url for one in engines))
        first, second = pool.engines

        async def broken() -> None:
            raise ZeroDivisionError

        with monkeypatch.context() as patched:
            patched.setattr(Engine, "probe", lambda engine: broken())
            watching = asyncio.create_task(pool.watch())
            await until(lambda: caplog.text.count("a look at it failed") >= 2)
        await until(lambda: first.state is second.state is EngineState.UP, "the next looks")
        watching.cancel()
        await asyncio.wait({watching})
        await pool.close()


async def test_the_end_of_the_pool_stops_what_is_still_open() -> None:
    async with on_air() as (simulator, pool, engine, content):
        await pool.start(engine, [by_id(content)])
        await pool.start(engine, [by_id(simulator.contents[1])])
        await pool.close()
        assert content.counters.stops == simulator.contents[1].counters.stops == 1
        assert engine.sessions == 0


# -- crashes --


async def test_the_orphan_of_a_killed_process_is_stopped_before_its_content_starts_again(
    tmp_path: Path,
) -> None:
    program = """
import asyncio, pathlib, sys
from rawstream.config import Limits, Timeouts
from rawstream.engine_client import ContentRef
from rawstream.engine_pool import EnginePool
from rawstream.journal import StopJournal
async def main():
    journal = StopJournal(pathlib.Path(sys.argv[1]))
    settings = dict(capacity=4, timeouts=Timeouts(), limits=Limits())
    pool = EnginePool((sys.argv[2],), journal=journal, **settings)
    await pool.stop_orphans()
    await pool.start(pool.engines[0], [ContentRef("infohash", sys.argv[3])])
    await journal.settled()
    print("open", flush=True)
    await asyncio.Event().wait()
asyncio.run(main())
"""
    async with simulated() as [simulator]:
        content = simulator.contents[0]
        child = await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", program, str(tmp_path), simulator.url, content.infohash),
            stdout=asyncio.subprocess.PIPE,
        )
        assert child.stdout is not None
        assert await child.stdout.readline() == b"open\n"
        os.kill(child.pid, signal.SIGKILL)
        await child.wait()
        assert len(simulator.open_sessions) == 1
        orphan = simulator.open_sessions[0]
        content.fault("delay", where="stop", seconds=0.2)
        pool = pool_of(simulator.url, journal=StopJournal(tmp_path))
        assert await pool.stop_orphans() == 1
        session = await pool.start(pool.engines[0], [by_infohash(content)])
        assert orphan.ended == "stopped", "and not superseded by the new one"
        assert content.counters.stops == 1
        await pool.stop(session)
        await pool.close()
        assert simulator.open_sessions == []
        assert (tmp_path / FILE_NAME).read_bytes().count(b'"open"') <= 2
        again = StopJournal(tmp_path)
        assert await again.load() == ()
        await again.close()


async def journal_with(directory: Path, *sessions: OpenSession) -> StopJournal:
    journal = StopJournal(directory)
    await journal.load()
    for session in sessions:
        journal.opened(session)
    await journal.close()
    return StopJournal(directory)


async def test_an_orphan_that_can_not_be_stopped_yet_is_left_alone_once_its_content_plays(
    tmp_path: Path,
) -> None:
    async with RawEngine() as raw:
        raw.answers = {
            "/ace/getstream": granted(),
            "/ace/cmd": b"",
            "/webui": said({"result": {"version": "3"}}),
        }
        orphan = OpenSession(raw.url, "/ace/cmd/old", INFOHASH)
        journal = await journal_with(tmp_path, orphan)
        pool = pool_of(raw.url, journal=journal)
        await pool.stop_orphans()
        session = await pool.start(pool.engines[0], [BY_INFOHASH])
        raw.answers["/ace/cmd"] = STOPPED
        raw.heads.clear()
        assert [entry.command_path for entry in journal.sessions] == [f"/ace/cmd/{INFOHASH}/t"]
        watching = asyncio.create_task(pool.watch())
        await until(lambda: len(raw.heads) >= 3)
        watching.cancel()
        await asyncio.wait({watching})
        assert not any("/ace/cmd" in line for line in raw.requests), "it would end the new one"
        await pool.stop(session)
        assert raw.asked(f"/ace/cmd/{INFOHASH}/t") == [{"method": "stop"}]
        await pool.close()


async def test_orphans_of_engines_that_are_dead_or_no_longer_ours_are_dropped(
    tmp_path: Path, dead_url: str
) -> None:
    journal = await journal_with(
        tmp_path,
        OpenSession(dead_url, "/ace/cmd/1", INFOHASH),
        OpenSession("http://elsewhere.example:6878", "/ace/cmd/2", INFOHASH),
    )
    pool = pool_of(dead_url, journal=journal)
    assert await pool.stop_orphans() == 2
    await until(lambda: not journal.sessions)
    await pool.close()


async def test_very_many_orphans_are_stopped_a_few_at_a_time(tmp_path: Path) -> None:
    async with RawEngine() as raw:
        raw.answers["/ace/cmd"] = b""
        many = [OpenSession(raw.url, f"/ace/cmd/{n}", f"{n:040x}") for n in range(60)]
        journal = await journal_with(tmp_path, *many)
        long = Timeouts.for_tests(engine_stop_seconds=60)
        pool = pool_of(raw.url, journal=journal, timeouts=long)
        assert await pool.stop_orphans() == 60
        await until(lambda: len(raw.heads) == 8)
        await asyncio.sleep(0.1)
        assert len(raw.heads) == 8
        raw.answers["/ace/cmd"] = GONE
        raw.cut()
        await until(lambda: len(raw.heads) >= 60)
        await until(lambda: pool.sessions_stopped == 52)
        assert len(journal.sessions) == 8, "those that were not answered"
        await pool.close()


async def test_streaming_goes_on_without_a_disk(tmp_path: Path) -> None:
    journal = StopJournal(tmp_path / "missing")
    async with on_air(journal=journal) as (_simulator, pool, engine, content):
        await pool.stop_orphans()
        await pool.stop(await pool.start(engine, [by_id(content)]))
        assert content.counters.stops == 1


# -- placement --


def loaded_pool(count: int, capacity: int = 2) -> EnginePool:
    return pool_of(*(f"http://127.0.0.1:{n + 1}" for n in range(count)), capacity=capacity)


async def test_the_least_loaded_engine_is_chosen_and_a_full_one_is_not() -> None:
    pool = loaded_pool(2)
    one, two = pool.engines
    one.sessions = 1
    assert pool.place([CONTENT]) is two
    two.starting = 2
    assert pool.place([CONTENT]) is one
    one.starting = 1
    assert pool.place([CONTENT]) is None
    assert pool.full()


async def test_engines_that_have_just_failed_are_avoided_and_do_not_count_as_room() -> None:
    pool = loaded_pool(2)
    one, two = pool.engines
    assert pool.place([CONTENT], avoid=[one]) is two
    two.sessions = 2
    assert pool.place([CONTENT], avoid=[one]) is None
    assert pool.full(avoid=[one])
    assert not pool.full()
    assert not pool.full(avoid=[one, two]), "then there is no engine at all"


async def test_a_draining_engine_gets_nothing_new() -> None:
    pool = loaded_pool(2)
    one, two = pool.engines
    one.drain()
    two.sessions = 1
    assert pool.place([CONTENT]) is two
    two.drain()
    assert pool.place([CONTENT]) is None
    assert not pool.full()


async def test_a_drained_engine_is_not_even_given_back_a_start_of_its_own() -> None:
    async with on_air() as (simulator, pool, engine, content):
        content.fault("delay", where="start", seconds=0.5)
        start = asyncio.create_task(pool.start(engine, [by_id(content)]))
        await until(lambda: simulator.counters.getstream_calls == 1, "it is asked")
        start.cancel()
        await asyncio.wait({start})
        assert pool.place([by_id(content)]) is engine
        engine.drain()
        assert pool.place([by_id(content)]) is None
        await until(lambda: pool.sessions_stopped == 1, "what nobody wanted is stopped")


async def test_an_engine_that_comes_while_others_are_probed_is_probed_too() -> None:
    async with simulated(2) as simulators:
        pool = pool_of()
        watching = asyncio.create_task(pool.watch())
        engines = [pool.add(simulator.url, 3) for simulator in simulators]
        await until(lambda: all(e.state is EngineState.UP for e in engines), "both answer")
        assert [engine.free for engine in engines] == [3, 3]
        pool.remove(engines[0])
        assert pool.engines == engines[1:]
        await until(lambda: not any(engines[0].url in t.get_name() for t in asyncio.all_tasks()))
        assert not watching.done(), "the other one is probed on"
        watching.cancel()
        await asyncio.wait({watching})
        await pool.close()


async def test_a_removed_engine_that_comes_back_still_counts_what_runs_on_it() -> None:
    async with on_air(capacity=2) as (simulator, pool, engine, content):
        session = await pool.start(engine, [by_id(content)])
        pool.remove(engine)
        assert pool.place([CONTENT]) is None
        again = pool.add(simulator.url, 2)
        assert (again is engine, again.free, again.usable) == (True, 1, True)
        pool.remove(engine)
        await pool.stop(session)
        assert (engine.sessions, content.counters.stops) == (0, 1)


async def test_a_session_that_a_removed_engine_does_not_stop_is_not_waited_for(
    tmp_path: Path,
) -> None:
    journal = StopJournal(tmp_path)
    async with on_air(journal=journal) as (_simulator, pool, engine, content):
        content.fault("hang", where="stop")
        first = await pool.start(engine, [by_id(content)])
        await pool.stop(first)
        assert pool._orphans, "tried again when it is asked next"
        pool.remove(engine)
        await until(lambda: not pool._orphans, "nobody asks it again")
    assert not await StopJournal(tmp_path).load()


async def test_an_engine_that_looks_down_or_brings_nothing_is_the_last_but_is_tried() -> None:
    pool = loaded_pool(3)
    one, two, three = pool.engines
    one.missed("gone", certain=True)
    for _ in range(3):
        two.brought_nothing()
    three.sessions = 1
    assert pool.place([CONTENT]) is three
    three.sessions = 2
    assert pool.place([CONTENT]) is two
    two.sessions = 2
    assert pool.place([CONTENT]) is one


async def test_a_content_goes_back_to_the_engine_that_played_it() -> None:
    async with simulated(2) as simulators:
        pool = pool_of(*(simulator.url for simulator in simulators))
        content = simulators[0].contents[0]
        session = await pool.start(pool.engines[1], [by_id(content)])
        pool.brought_bytes(session)
        await pool.stop(session)
        pool.engines[1].sessions = 2
        assert pool.place([by_infohash(content)]) is pool.engines[1]
        assert pool.place([by_id(content)]) is pool.engines[1]
        assert pool.place([by_id(simulators[0].contents[1])]) is pool.engines[0]
        pool.engines[1].missed("gone", certain=True)
        assert pool.place([by_id(content)]) is pool.engines[0]
        await pool.close()


async def test_slots_are_taken_at_once_so_that_a_crowd_does_not_overfill_an_engine() -> None:
    async with simulated(2) as simulators:
        pool = pool_of(*(simulator.url for simulator in simulators), capacity=2)

        async def one(ref: ContentRef) -> Engine | None:
            engine = pool.place([ref])
            if engine is not None:
                await pool.start(engine, [ref])
            return engine

        refs = [by_id(content) for content in simulators[0].contents]
        placed = await asyncio.gather(*map(one, refs))
        assert placed.count(pool.engines[0]) == placed.count(pool.engines[1]) == 2
        assert pool.full()
        await pool.close()


async def test_a_dead_channel_is_not_held_against_an_engine_that_plays_another() -> None:
    async with on_air() as (simulator, pool, engine, content):
        playing = await pool.start(engine, [by_id(content)])
        pool.brought_bytes(playing)
        dead = await pool.start(engine, [by_id(simulator.contents[1])])
        for _ in range(5):
            pool.brought_nothing(dead)
        assert not engine.aside
        await pool.stop(playing)
        for _ in range(3):
            pool.brought_nothing(dead)
        assert engine.aside


async def test_an_engine_that_is_gone_is_known_to_be_so(dead_url: str) -> None:
    pool = pool_of(dead_url)
    with pytest.raises(UpstreamError):
        await pool.start(pool.engines[0], [CONTENT])
    assert pool.engines[0].state is EngineState.DOWN
    assert (pool.engines[0].free, pool.engines[0].failures) == (4, 1)


# -- probes --


async def test_probes_see_an_engine_go_and_come_back() -> None:
    async with on_air() as (simulator, pool, engine, _content):
        watching = asyncio.create_task(pool.watch())
        await until(lambda: engine.state is EngineState.UP)
        assert engine.version == "3.2.3"
        await simulator.set_engine_fault("hang")
        await until(lambda: engine.state is EngineState.DOWN)
        await simulator.set_engine_fault("ok")
        await until(lambda: engine.state is EngineState.UP)
        await simulator.set_engine_fault("refuse")
        await until(lambda: engine.state is EngineState.DOWN)
        await simulator.set_engine_fault("deny")
        await until(lambda: "bind-all" in (engine.last_error or ""))
        assert engine.state is EngineState.DOWN
        watching.cancel()
        await asyncio.wait({watching})


async def test_an_engine_whose_api_lives_while_its_playback_hangs_goes_last() -> None:
    async with simulated(2) as simulators:
        quick = Timeouts.for_tests(engine_start_seconds=0.1)
        pool = pool_of(*(simulator.url for simulator in simulators), timeouts=quick)
        ill, well = pool.engines
        await simulators[0].set_engine_fault("hang_ace")
        ref = by_id(simulators[0].contents[0])
        well.sessions = 1
        for _ in range(3):
            assert pool.place([ref]) is ill
            assert await pool.probe(ill) is not None
            with pytest.raises(UpstreamError):
                await pool.start(ill, [ref])
        assert ill.state is EngineState.UP
        assert pool.place([ref]) is well
        well.sessions = 0
        await pool.close()


async def test_engines_are_not_all_asked_in_the_same_moment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pauses: list[float] = []
    sleep = asyncio.sleep

    async def noted(seconds: float) -> None:
        if seconds:
            pauses.append(seconds)
        await sleep(0)

    async with RawEngine() as raw:
        raw.answers["/webui"] = said({"result": {"version": "3"}})
        long = Timeouts.for_tests(engine_probe_interval_seconds=100)
        pool = pool_of(raw.url, timeouts=long)
        monkeypatch.setattr(engine_pool.asyncio, "sleep", noted)
        watching = asyncio.create_task(pool.watch())
        while len(pauses) < 20:
            await sleep(0.001)
        watching.cancel()
        await asyncio.wait({watching})
    assert len(set(pauses)) > 10
    assert all(80 <= pause <= 120 for pause in pauses)


async def test_ending_the_watch_leaves_no_task() -> None:
    async with on_air() as (_simulator, pool, engine, _content):
        before = asyncio.all_tasks()
        watching = asyncio.create_task(pool.watch())
        await until(lambda: engine.state is EngineState.UP)
        watching.cancel()
        await asyncio.wait({watching})
        assert watching.cancelled()
        ours = {task for task in asyncio.all_tasks() - before if "probe" in task.get_name()}
        assert not ours
