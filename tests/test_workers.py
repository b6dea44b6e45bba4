"""One process's life: what stops it from starting, a crash and the next start, signals."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import signal
import socket
import sys
import weakref
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import NoReturn

import pytest
from aiohttp import web
from stage import PATIENCE_SECONDS, Player, quick_contents, until
from web import serving

from rawstream import workers
from rawstream.config import Config, Timeouts
from rawstream.errors import ConfigError, StateError, ViewerError
from rawstream.happenings import Happening
from rawstream.predecessor import EXTRA_PORT
from rawstream.simulator import EngineSimulator
from rawstream.store import Store
from rawstream.workers import Worker, raise_descriptor_limit, settle_garbage

SOME = 60_000


def config(data: Path, **values: object) -> Config:
    settings: dict[str, object] = {
        "host": "127.0.0.1",
        "port": 0,
        "engines": ("http://127.0.0.1:1",),
        "data": data,
        "timeouts": Timeouts.for_tests(),
    }
    return Config(**(settings | values))  # type: ignore[arg-type]


@asynccontextmanager
async def working(settings: Config) -> AsyncIterator[Worker]:
    worker = Worker(settings)
    await worker.start()
    try:
        yield worker
    finally:
        await worker.stop()


@asynccontextmanager
async def served(
    data: Path, engine: str, **settings: str
) -> AsyncIterator[tuple[asyncio.subprocess.Process, int]]:
    """`rawstream serve` as a process of its own; its port is read from what it prints."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "rawstream", "serve"),
        *("--host", "127.0.0.1", "--port", "0", "--engine", engine, "--data", str(data)),
        stderr=asyncio.subprocess.PIPE,
        env=os.environ | {f"RAWSTREAM_{name}": value for name, value in settings.items()},
    )
    try:
        assert process.stderr is not None
        async with asyncio.timeout(PATIENCE_SECONDS):
            while b"answers at http://" not in (line := await process.stderr.readline()):
                assert line, "it ended before it was ready"
        yield process, int(line.strip().rsplit(b":", 1)[1])
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.communicate()


async def test_a_data_directory_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError) as info:
        await Worker(config(tmp_path / "file" / "data")).start()
    assert info.value.field == "data"


async def test_a_data_directory_that_takes_no_file_is_named() -> None:
    with pytest.raises(ConfigError) as info:
        await Worker(config(Path("/proc/sys/net"))).start()
    assert info.value.field == "data"


async def test_a_port_that_is_taken_is_named(tmp_path: Path) -> None:
    first = Worker(config(tmp_path / "one"))
    await first.start()
    try:
        port = first.addresses[0][1]
        with pytest.raises(ConfigError) as info:
            await Worker(config(tmp_path / "two", port=port)).start()
        assert str(port) in str(info.value)
    finally:
        await first.stop()


async def test_several_ports_answer_alike(tmp_path: Path) -> None:
    worker = Worker(config(tmp_path, extra_ports=(0,)))
    await worker.start()
    try:
        ports = {port for _host, port in worker.addresses}
        assert len(ports) == 2
        for port in ports:
            _reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(b"GET /healthz HTTP/1.0\r\n\r\n")
            assert (await _reader.read()).startswith(b"HTTP/1.1 200")
            writer.close()
    finally:
        await worker.stop()


async def test_the_port_that_the_predecessors_boxes_know_answers_too(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        store = await Store.open(tmp_path)
        await store.set_setting(EXTRA_PORT, str(port))
        await store.close()
        async with working(config(tmp_path)) as worker:
            assert len(worker.addresses) == 1
        assert "the predecessor's port is not served" in caplog.text
    async with working(config(tmp_path)) as worker:
        assert [found for _host, found in worker.addresses][1:] == [port]


async def test_stopping_twice_is_stopping_once(tmp_path: Path) -> None:
    worker = Worker(config(tmp_path))
    await worker.start()
    await asyncio.gather(worker.stop(), worker.stop())
    await worker.stop()


async def test_what_webhooks_were_not_yet_told_they_are_told_at_the_end(tmp_path: Path) -> None:
    told: list[bytes] = []

    async def answer(request: web.Request) -> web.Response:
        told.append(await request.read())
        return web.Response()

    async with serving(answer) as base:
        async with working(config(tmp_path, webhooks=(f"{base}/hook",))) as worker:
            for number in range(3):
                worker.webhooks.say(Happening("engine_down", number, engine="http://e:6878"))
        assert len([one for one in told if b"http://e:6878" in one]) == 3


async def test_no_task_is_left_when_the_worker_has_stopped(tmp_path: Path) -> None:
    before = asyncio.all_tasks()
    worker = Worker(config(tmp_path))
    await worker.start()
    assert asyncio.all_tasks() != before
    await worker.stop()
    await until(lambda: asyncio.all_tasks() == before, "only our own tasks are left")


async def test_what_a_crash_left_open_is_stopped_at_the_next_start(tmp_path: Path) -> None:
    contents = quick_contents()
    content = contents[0]
    async with EngineSimulator(contents, latency=0.0) as engine:
        async with served(tmp_path, engine.url) as (process, port):
            player = await Player(port, f"id={content.content_id}").open()
            await player.more(SOME)
            process.send_signal(signal.SIGKILL)
            await process.wait()
            player.leave()
        assert (content.counters.opens, content.counters.stops) == (1, 0)
        async with served(tmp_path, engine.url) as (_process, port):
            again = await Player(port, f"id={content.content_id}").open()
            await again.more(SOME)
            assert content.counters.stops == 1, "the orphan was stopped, and before the new start"
            assert content.counters.superseded == 0
            assert content.counters.opens == 2
            again.leave()


async def test_the_first_signal_ends_in_order(tmp_path: Path) -> None:
    contents = quick_contents()
    async with (
        EngineSimulator(contents, latency=0.0) as engine,
        served(tmp_path, engine.url) as (process, port),
    ):
        player = await Player(port, f"id={contents[0].content_id}").open()
        await player.more(SOME)
        process.send_signal(signal.SIGTERM)
        assert await asyncio.wait_for(process.wait(), PATIENCE_SECONDS) == 0
        await until(lambda: player.over, "the viewer is let go")
        assert contents[0].counters.stops == 1
        journal = tmp_path / "sessions.journal"
        assert b'"open"' not in journal.read_bytes() or b'"end"' in journal.read_bytes()


async def test_the_second_signal_cuts_what_the_first_waits_for(tmp_path: Path) -> None:
    contents = quick_contents()
    contents[0].fault("hang", where="stop")
    # only the second signal can end it in time: each wait of the first is an hour
    hours = {f"TIMEOUTS__{name}_SECONDS": "3600" for name in ("SHUTDOWN", "DRAIN", "ENGINE_STOP")}
    async with (
        EngineSimulator(contents, latency=0.0) as engine,
        served(tmp_path, engine.url, **hours) as (process, port),
    ):
        reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=4096)
        query = f"id={contents[0].content_id}"
        writer.write(f"GET /ace/getstream?{query} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        await reader.readexactly(100)
        writer.transport.pause_reading()
        process.send_signal(signal.SIGTERM)
        await until(lambda: contents[0].counters.faults == 1, "it asks the engine to stop")
        process.send_signal(signal.SIGTERM)
        assert await asyncio.wait_for(process.wait(), PATIENCE_SECONDS) == 0
        writer.transport.abort()


class _Circle:
    def __init__(self) -> None:
        self.self = self


def test_garbage_is_collected_before_and_after_what_is_there_has_settled() -> None:
    before, kept = weakref.ref(_Circle()), _Circle()
    after = []
    gc.disable()
    try:
        settle_garbage()
        assert before() is None, "it would be frozen for ever"
        assert gc.get_freeze_count() > 0 and all(one is not kept for one in gc.get_objects())
        after.append(weakref.ref(_Circle()))
        assert after[0]() is not None
        gc.collect()
        assert after[0]() is None
    finally:
        gc.enable()
        gc.unfreeze()


async def test_a_server_has_settled_when_it_is_ready(tmp_path: Path) -> None:
    frozen = []

    def ready(_worker: Worker) -> None:
        frozen.append(gc.get_freeze_count())
        os.kill(os.getpid(), signal.SIGTERM)

    try:
        assert await workers._serve(config(tmp_path), ready, None) == 0
    finally:
        gc.unfreeze()
    assert frozen[0] > 0


def test_the_descriptor_limit_is_the_highest_we_may_have() -> None:
    assert raise_descriptor_limit() >= 256
    assert os.sysconf("SC_OPEN_MAX") == raise_descriptor_limit()


async def test_a_full_disk_does_not_break_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async with working(config(tmp_path)) as worker:

        def full(*_: object) -> NoReturn:
            raise StateError("db", "database or disk is full")

        monkeypatch.setattr(worker.store.db, "write", full)
        worker.books.note("login")
    assert [record.message for record in caplog.records if "full" in record.message] == [
        "the last lines of the books are lost: db: database or disk is full"
    ]
    async with working(config(tmp_path)):
        pass  # the directory is free again


async def test_the_first_start_alone_has_a_password_and_a_link(tmp_path: Path) -> None:
    first = Worker(config(tmp_path))
    await first.start()
    try:
        assert first.first_password is not None and first.first_link is not None
        session = await first.operators.accept(first.first_link)
        assert session
        with pytest.raises(ViewerError):
            await first.operators.accept(first.first_link)
    finally:
        await first.stop()
    second = Worker(config(tmp_path))
    await second.start()
    try:
        assert (second.first_password, second.first_link) == (None, None)
    finally:
        await second.stop()
