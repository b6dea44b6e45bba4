"""The doctor's verdicts, on this machine and against simulated engines."""

from __future__ import annotations

import asyncio
import resource
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from rawstream import doctor
from rawstream.config import Config, Timeouts
from rawstream.doctor import (
    Verdict,
    check_clock,
    check_data,
    check_descriptors,
    check_port,
    examine,
)
from rawstream.engine_client import ContentRef
from rawstream.simulator import EngineSimulator, bundled_contents, dead_content
from rawstream.workers import Worker

CONTENTS = bundled_contents()
ONE = ContentRef("unknown", CONTENTS[0].content_id)


@pytest.fixture
async def engine() -> AsyncIterator[EngineSimulator]:
    simulator = EngineSimulator([*bundled_contents(), dead_content()], latency=0.0)
    await simulator.start()
    yield simulator
    await simulator.stop()


def settings(data: Path, *engines: str, **changes: Any) -> Config:
    timeouts = Timeouts.for_tests(
        engine_connect_seconds=1.0,
        engine_probe_seconds=1.0,
        engine_first_byte_seconds=1.0,
        engine_first_byte_limit_seconds=1.0,
    )
    values = {"host": "127.0.0.1", "port": 0, "timeouts": timeouts, **changes}
    return Config(data=data, engines=engines, **values)


async def verdicts(config: Config, content: ContentRef | None = None) -> dict[str, Verdict]:
    return {v.question.strip(): v async for v in examine(config, content)}


# -- the machine --


def test_a_clock_before_this_versions_year_is_wrong() -> None:
    assert check_clock(0.0).ok is False
    assert "1970" in check_clock(0.0).found
    assert check_clock(2e9).ok


@pytest.mark.parametrize(("hard", "ok"), [(1024, False), (65_536, True), (-1, True)])
def test_descriptors_are_counted_against_the_hard_limit(
    monkeypatch: pytest.MonkeyPatch, hard: int, ok: bool
) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _which: (256, hard))
    verdict = check_descriptors(20_000)
    assert verdict.ok == ok
    assert bool(verdict.remedy) != ok
    assert ("room for 924 connections" in verdict.found) == (hard == 1024)


def test_a_data_directory_is_tried_and_left_as_it_was(tmp_path: Path) -> None:
    assert check_data(tmp_path).ok
    assert check_data(tmp_path / "not" / "yet").ok
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "kept").write_text("x")
    assert check_data(tmp_path).ok
    assert [path.name for path in tmp_path.iterdir()] == ["kept"]


def test_a_data_directory_that_cannot_be_used_is_a_failure_with_a_remedy(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("")
    for directory in (file, file / "below", Path("/proc/rawstream")):
        verdict = check_data(directory)
        assert verdict.ok is False
        assert "--data" in verdict.remedy


async def test_a_port_is_free_or_taken_or_ours_already(tmp_path: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        verdict = await check_port(settings(tmp_path), port)
        assert verdict.ok is False
        assert "in use" in verdict.found
    assert (await check_port(settings(tmp_path), 0)).found == "free"
    worker = Worker(settings(tmp_path))
    await worker.start()
    try:
        verdict = await check_port(settings(tmp_path), worker.addresses[0][1])
        assert verdict.ok
        assert "rawstream that is running" in verdict.found
    finally:
        await worker.stop()


# -- engines --


async def test_an_engine_that_answers_is_not_said_to_play(
    tmp_path: Path, engine: EngineSimulator
) -> None:
    found = await verdicts(settings(tmp_path, engine.url))
    assert found[f"engine {engine.url}"].ok
    assert found["plays"].ok is None
    assert "--content" in found["plays"].found


@pytest.mark.parametrize("ref", [ONE, ContentRef("unknown", CONTENTS[3].infohash)])
async def test_an_engine_that_plays_is_watched_for_a_moment_and_stopped(
    tmp_path: Path, engine: EngineSimulator, ref: ContentRef
) -> None:
    found = await verdicts(settings(tmp_path, engine.url), ref)
    assert found["plays"].ok, found["plays"]
    assert "aac" in found["plays"].found
    assert engine.counters.opens == engine.counters.stops == 1
    assert engine.counters.readers_now == engine.counters.unknown_stops == 0


async def test_an_engine_that_answers_and_plays_nothing_fails_with_its_words(
    tmp_path: Path, engine: EngineSimulator
) -> None:
    found = await verdicts(settings(tmp_path, engine.url), ContentRef("unknown", "0" * 40))
    assert found["plays"].ok is False
    assert "failed to load content" in found["plays"].found
    dead = ContentRef("content_id", dead_content().content_id)
    found = await verdicts(settings(tmp_path, engine.url), dead)
    assert found["plays"].ok is False
    assert found["plays"].remedy


async def test_an_engine_that_is_not_there_is_one_failure_and_the_next_is_asked(
    tmp_path: Path, engine: EngineSimulator
) -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        absent = f"http://127.0.0.1:{nobody.getsockname()[1]}"
        found = await verdicts(settings(tmp_path, absent, engine.url))
    assert found[f"engine {absent}"].ok is False
    assert "--engine" in found[f"engine {absent}"].remedy
    assert found[f"engine {engine.url}"].ok


async def test_no_engine_at_all_is_a_failure(tmp_path: Path) -> None:
    assert (await verdicts(settings(tmp_path)))["engine"].ok is False


async def test_a_content_that_is_on_air_here_is_left_alone(
    tmp_path: Path, engine: EngineSimulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def live(_config: Config, content: ContentRef) -> str:
        assert content == ONE
        return "live"

    monkeypatch.setattr(doctor, "_on_air", live)
    found = await verdicts(settings(tmp_path, engine.url), ONE)
    assert found["plays"].ok is None
    assert engine.counters.opens == 0


async def test_whether_a_content_is_on_air_is_asked_of_the_rawstream_on_our_port(
    tmp_path: Path, engine: EngineSimulator
) -> None:
    worker = Worker(settings(tmp_path, engine.url))
    await worker.start()
    try:
        config = settings(tmp_path, port=worker.addresses[0][1])
        assert await doctor._on_air(config, ONE) is None
        host, port = worker.addresses[0]
        reader, writer = await asyncio.open_connection(host, port)
        target = f"/ace/getstream?id={ONE.value}"
        writer.write(f"GET {target} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
        assert b" 200 " in await reader.readline()
        assert await doctor._on_air(config, ONE) == "live"
        writer.close()
    finally:
        await worker.stop()
    assert await doctor._on_air(config, ONE) is None
