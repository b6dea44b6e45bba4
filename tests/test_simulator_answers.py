"""Answers that are spoilt on purpose, over real sockets: each fault is what a client then sees."""

from __future__ import annotations

import asyncio
import json

import pytest
from sim_client import asked, running, start

from rawstream.simulator import EngineSimulator, SimContent


async def start_raw(engine: EngineSimulator, content: SimContent) -> bytes:
    async with asked(
        f"{engine.url}/ace/getstream?infohash={content.infohash}&format=json&pid=p",
        headers="Connection: close\r\n",
    ) as stream:
        return await stream.rest()


async def test_an_error_of_the_engine_has_its_words_and_may_name_an_option() -> None:
    async with running() as (engine, content):
        content.fault("error", text="got newer download", option="proxyServer")
        body = (await start_raw(engine, content)).partition(b"\r\n\r\n")[2]
        assert json.loads(body) == {
            "response": None,
            "error": "got newer download",
            "extra_data": {"reason": "missing_option", "option": "proxyServer"},
        }
        assert content.counters.opens == 0


async def test_json_can_be_odd_empty_a_string_half_or_huge() -> None:
    async with running() as (engine, content):
        bodies: dict[str, bytes] = {}
        for kind in ("odd_types", "empty_response", "string_response", "half_body", "huge"):
            content.fault(kind, times=1)
            bodies[kind] = (await start_raw(engine, content)).partition(b"\r\n\r\n")[2]
        odd = json.loads(bodies["odd_types"])["response"]
        assert odd["client_session_id"] == "-1" and isinstance(odd["is_live"], float)
        assert json.loads(bodies["empty_response"]) == {"response": {}, "error": None}
        inner = json.loads(bodies["string_response"])["response"]
        assert isinstance(inner, str) and "playback_url" in json.loads(inner)
        with pytest.raises(ValueError):
            json.loads(bodies["half_body"])
        assert len(bodies["huge"]) > 1_000_000
        assert content.counters.opens == 5, "the engine had started each of them"


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("html_500", b"<html>"),
        ("empty_500", b"Content-Length: 0"),
        ("malformed", b"HTTP/x.y"),
        ("close", b""),
    ],
)
async def test_an_answer_can_be_spoilt(kind: str, expected: bytes) -> None:
    async with running() as (engine, content):
        content.fault(kind)
        raw = await start_raw(engine, content)
        assert expected in raw and (expected or not raw)


async def test_a_start_can_be_reset_hang_or_come_late() -> None:
    async with running() as (engine, content):
        content.fault("reset", times=1)
        with pytest.raises(ConnectionError):
            await start_raw(engine, content)
        content.fault("hang", where="start", times=1)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(start_raw(engine, content), 0.1)
        content.fault("delay", where="start", seconds=0.3, times=1)
        waiting = asyncio.create_task(start_raw(engine, content))
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(asyncio.shield(waiting), 0.1)
        assert b"playback_url" in await waiting


async def test_a_redirect_can_lead_off_the_engine_or_in_a_circle() -> None:
    async with running() as (engine, content):
        content.fault("foreign_redirect", text="http://169.254.1.1/secret", times=1)
        started = await start(engine, content)
        assert await started.media_url() == "http://169.254.1.1/secret"
        content.fault("redirect_loop")
        assert await started.media_url() == started.playback_url
