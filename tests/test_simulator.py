"""The engine as a whole: its life, what goes wrong with all of it, services, control calls."""

from __future__ import annotations

import asyncio
import gc
import json
import weakref
from typing import Any
from urllib.parse import quote

import pytest
from sim_client import asked, get, opened, playing, running, start, until

from rawstream.errors import FormatError
from rawstream.simulator import EngineSimulator, SimContent, bundled_contents

VERSION = "/webui/api/service?method=get_version"
FILES = "/server/api?api_version=3&method=get_media_files"


async def sim(engine: EngineSimulator, call: str) -> Any:
    reply = await get(f"{engine.url}/sim/{call}")
    assert reply.status == 200, reply.body
    return reply.json


# -- life --


async def test_contents_are_found_by_every_name_they_have() -> None:
    async with running() as (engine, content):
        for name in (content.content_id, content.infohash, content.name, "rawstream one"):
            assert engine.content(name) is content
        for name in ("", "rawstream nine"):
            with pytest.raises(KeyError):
                engine.content(name)


def test_what_can_not_be_is_refused_when_the_engine_is_made(tmp_path: Any) -> None:
    one = bundled_contents()[0]
    with pytest.raises(ValueError, match="anarchy"):
        EngineSimulator([one], mode="anarchy")
    with pytest.raises(ValueError, match=one.infohash):
        EngineSimulator([one, one])
    with pytest.raises(OSError):
        EngineSimulator([SimContent("", "a" * 40, "x", tmp_path / "missing.ts")])
    junk = tmp_path / "junk.ts"
    junk.write_bytes(b"junk" * 188)
    with pytest.raises(FormatError):
        EngineSimulator([SimContent("", "a" * 40, "x", junk)])


async def test_a_taken_port_is_an_error_of_the_system() -> None:
    async with running() as (engine, _):
        with pytest.raises(OSError):
            await EngineSimulator(bundled_contents(), port=engine.port).start()


async def test_a_content_may_go_on_the_air_later() -> None:
    one, two = bundled_contents()[:2]
    two.preload_seconds = 0.0
    async with running(one) as (engine, _):
        engine.add(two)
        async with playing(engine, two) as (_, stream):
            assert await stream.body(100_000)


async def test_stopping_cuts_everything_and_leaves_nothing() -> None:
    content = bundled_contents()[0]
    content.preload_seconds = 0.0
    engine = EngineSimulator([content], speed=20, latency=0)
    await engine.start()
    async with playing(engine, content) as (_, stream):
        await stream.body(10_000)
        assert len(engine.open_sessions) == 1
        await engine.stop()
        with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
            while await stream.some():
                pass
    assert [session.station.content for session in engine.open_sessions] == [content]
    with pytest.raises(OSError):
        await get(engine.url + VERSION)
    gone = weakref.ref(engine)
    del engine, stream
    for _ in range(3):
        await asyncio.sleep(0)
    gc.collect()
    assert gone() is None


async def test_it_can_be_used_as_a_context_and_by_several_at_once() -> None:
    async with EngineSimulator(bundled_contents()) as one, EngineSimulator([]) as two:
        assert one.url != two.url
        assert (await get(two.url + VERSION)).json["result"]["version"] == "3.2.3"


# -- faults of the engine as a whole --


async def test_refused_means_no_port_and_heals_on_the_same_one() -> None:
    async with running() as (engine, content), playing(engine, content) as (_, stream):
        await engine.set_engine_fault("refuse")
        with pytest.raises(OSError):
            await get(engine.url + VERSION)
        assert await stream.body(50_000), "what runs goes on"
        await engine.set_engine_fault("ok")
        assert (await get(engine.url + VERSION)).status == 200


async def test_reset_cuts_every_request_but_the_control_calls() -> None:
    async with running() as (engine, _):
        await sim(engine, "engine?kind=reset")
        async with asked(engine.url + VERSION) as stream:
            with pytest.raises(ConnectionError):
                await stream.rest()
        assert await sim(engine, "engine?kind=ok") == {"engine_fault": "ok"}
        assert (await get(engine.url + VERSION)).status == 200


@pytest.mark.parametrize(("kind", "version_hangs"), [("hang", True), ("hang_ace", False)])
async def test_a_hanging_engine_accepts_and_says_nothing(kind: str, version_hangs: bool) -> None:
    async with running() as (engine, content):
        await engine.set_engine_fault(kind, seconds=0.6)
        hanging = [f"/ace/getstream?infohash={content.infohash}&format=json"]
        if version_hangs:
            hanging.append(VERSION)
        else:
            assert (await get(engine.url + VERSION)).status == 200
        for path in hanging:
            async with asked(engine.url + path) as stream:
                with pytest.raises(TimeoutError):
                    await asyncio.wait_for(stream.rest(), 0.1)
        await until(lambda: engine.engine_fault == "ok")
        await start(engine, content)


async def test_an_engine_that_denies_does_so_on_all_paths() -> None:
    async with running() as (engine, content):
        await engine.set_engine_fault("deny")
        for path in (VERSION, f"/ace/getstream?id={content.content_id}&format=json", "/search"):
            reply = await get(engine.url + path)
            assert (reply.status, reply.body) == (500, b"Internal server error")


async def test_a_restart_forgets_all_sessions_and_resets_all_sockets() -> None:
    async with running() as (engine, content), playing(engine, content) as (old, stream):
        await stream.body(10_000)
        await engine.restart()
        with pytest.raises(ConnectionError):
            while await stream.some():
                pass
        assert (await old.stat())["error"] == "unknown playback session id"
        assert (await get(old.playback_url)).status == 500
        async with playing(engine, content, pid="new") as (_, again):
            assert await again.body(10_000)


async def test_a_restart_may_take_time() -> None:
    async with running() as (engine, _):
        assert await sim(engine, "restart?seconds=0.2") == {"restarting": True}
        await until(lambda: engine.engine_fault == "refuse")
        with pytest.raises(OSError):
            await get(engine.url + VERSION)
        await until(lambda: engine.engine_fault == "ok")
        assert (await get(engine.url + VERSION)).status == 200


async def test_an_engine_fault_that_does_not_exist_is_refused() -> None:
    async with running() as (engine, _):
        with pytest.raises(ValueError, match="meteor"):
            await engine.set_engine_fault("meteor")


# -- services --


async def test_services_answer_on_their_paths() -> None:
    async with running() as (engine, content):
        assert (await get(engine.url + VERSION)).json["result"]["platform"] == "linux"
        jsonp = await get(engine.url + VERSION + "&format=jsonp&callback=cb")
        assert jsonp.body.startswith(b"cb({") and jsonp.body.endswith(b"});")
        files = (await get(f"{engine.url}{FILES}&content_id={content.content_id}")).json
        assert files["result"]["infohash"] == content.infohash
        assert content.counters.media_files_calls == 1
        unknown = (await get(f"{engine.url}{FILES}&content_id={'0' * 40}")).json
        assert unknown == {"error": {"message": "cannot get transport file", "code": 0}}
        assert engine.counters.media_files_calls == 2 and engine.counters.opens == 0
        assert (await get(f"{engine.url}/search?query=two")).json["result"]["total"] == 1
        for path in ("/nothing", "/", "/ace/what/is/this"):
            assert (await get(engine.url + path)).status == 404


async def test_services_and_look_ups_can_be_spoilt_too() -> None:
    async with running() as (engine, content):
        await sim(engine, f"fault?kind=html_500&where=files&content={content.content_id}&times=1")
        url = f"{engine.url}{FILES}&infohash={content.infohash}"
        assert (await get(url)).headers["content-type"] == "text/html"
        assert (await get(url)).status == 200
        await sim(engine, "fault?kind=status&where=api&status=503&text=busy")
        assert (await get(engine.url + VERSION)).body == b"busy"


# -- control calls --


async def test_faults_are_set_and_taken_back_by_call() -> None:
    async with running() as (engine, content):
        call = "fault?kind=silent_stall&after_bytes=1000&seconds=2.5&times=1&content="
        told = await sim(engine, call + quote("rawstream one"))
        assert told["fault"]["kind"] == "silent_stall"
        (fault,) = content.faults
        assert (fault.after_bytes, fault.seconds, fault.times) == (1000, 2.5, 1)
        await sim(engine, f"fault?kind=eof&content={content.infohash}")
        await sim(engine, f"clear?kind=eof&content={content.infohash}")
        assert [fault.kind for fault in content.faults] == ["silent_stall"]
        await sim(engine, "clear")
        assert list(content.faults) == []


async def test_switches_counters_sessions_and_events_have_calls() -> None:
    async with running() as (engine, content):
        name = f"content={content.content_id}"
        assert await sim(engine, f"set?{name}&name=framing&value=close") == {"framing": "close"}
        await sim(engine, f"set?{name}&name=jitter&value=1")
        await sim(engine, f"set?{name}&name=preload_seconds&value=0.25")
        assert (content.framing, content.jitter, content.preload_seconds) == ("close", True, 0.25)
        started = await start(engine, content, more="&use_api_events=1")
        (session,) = (await sim(engine, "sessions"))["sessions"]
        assert session["infohash"] == content.infohash and session["readers"] == 0
        await sim(engine, f"event?{name}&name=download_stopped&reason=missing_option")
        event = (await get(started.event_url)).json["response"]
        assert event == {"name": "download_stopped", "params": {"reason": "missing_option"}}
        assert (await sim(engine, f"counters?{name}"))["opens"] == 1
        assert (await sim(engine, "counters"))["getstream_calls"] == 1
        await sim(engine, "reset")
        assert engine.open_sessions == [] and content.counters.opens == 0


@pytest.mark.parametrize(
    "call",
    [
        "fault?kind=meteor",
        "fault?kind=eof&times=often",
        "fault?kind=eof&colour=red",
        "fault?kind=eof&content=nobody",
        "set?name=framing&value=close",
        "set?content=rawstream%20one&name=framing&value=pigeons",
        "set?content=rawstream%20one&name=infohash&value=1",
        "engine?kind=meteor",
        "event?name=x",
        "dance",
    ],
)
async def test_a_wrong_control_call_is_refused_in_words(call: str) -> None:
    async with running() as (engine, _):
        reply = await get(f"{engine.url}/sim/{call}")
        assert reply.status == 400 and json.loads(reply.body)["error"]


async def test_counters_tell_what_a_client_did() -> None:
    async with running() as (engine, content):
        async with playing(engine, content) as (started, stream):
            await stream.body(100_000)
            await started.stat()
            counters = content.counters
            assert counters.readers_now == counters.readers_max == counters.opens == 1
            assert counters.bytes_sent >= 100_000
        await started.stop()
        await until(lambda: counters.readers_now == 0)
        assert (counters.stops, counters.stat_polls, counters.playback_calls) == (1, 1, 1)
        assert engine.counters == counters


async def test_a_burst_to_one_reader_leaves_the_loop_to_others() -> None:
    """While megabytes go out, other requests are answered between the pieces."""
    async with running(speed=500.0) as (engine, content):
        content.burst_seconds = 59.0
        async with playing(engine, content) as (_, stream):
            taken = asyncio.create_task(stream.body(5_000_000))
            answered = 0
            while not taken.done():
                assert (await get(engine.url + VERSION)).status == 200
                answered += 1
            assert answered > 10 and len(await taken) >= 5_000_000


async def test_the_whole_sequence_of_a_good_client_leaves_no_trace() -> None:
    async with running() as (engine, content):
        files = (await get(f"{engine.url}{FILES}&content_id={content.content_id}")).json
        assert files["result"]["infohash"] == content.infohash
        started = await start(engine, content)
        async with opened(await started.media_url()) as stream:
            await stream.body(200_000)
        assert (await started.stop())["response"] == "ok"
        assert engine.open_sessions == [] and content.counters.leaked_sessions == 0
