"""Live bodies over real sockets: pace, timeline, back-pressure, and what each media fault does."""

from __future__ import annotations

import asyncio
import contextlib
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from sim_client import Stream, asked, decode, get, opened, playing, running, start, until

from rawstream.broadcast import Broadcast
from rawstream.continuity import ContinuityChecker
from rawstream.mpegts import PACKET_SIZE, PacketCutter, TsScanner
from rawstream.restamp import pes_timestamps
from rawstream.simulator import SimContent, bundled_contents, vod_content
from rawstream.simulator_media import byte_range

CLIP = bundled_contents()[0].clip.read_bytes()


def whole(data: bytes) -> bytes:
    return data[: len(data) // PACKET_SIZE * PACKET_SIZE]


async def broken_end(stream: Stream) -> str:
    """How a body ends: "clean", "cut" in its framing, or "reset"."""
    try:
        while await stream.some():
            pass
    except ConnectionError:
        return "reset"
    except (asyncio.IncompleteReadError, ValueError):
        return "cut"
    return "clean"


async def test_a_session_brings_a_burst_and_then_real_time() -> None:
    async with running(speed=1.0) as (engine, content):
        content.burst_seconds = 20.0
        async with playing(engine, content) as (_, stream):
            data = await stream.body(20 * 300_000 // 8)
            assert len(data) >= 20 * 300_000 // 8
            at_once = content.counters.bytes_sent
            await stream.body(3 * content.piece_bytes)
        # more than a burst and some GOPs never comes at once
        assert at_once < 27 * 310_000 // 8


async def test_media_is_cut_at_packets_counts_on_and_does_not_begin_with_an_entry() -> None:
    for content in bundled_contents()[:3]:
        content.preload_seconds = 0.0
        async with running(content) as (engine, _), playing(engine, content) as (_, stream):
            data = whole(await stream.body(1_500_000))
        assert data[::PACKET_SIZE] == b"\x47" * (len(data) // PACKET_SIZE)
        assert ContinuityChecker().feed(data) == []
        scanner = TsScanner()
        points = scanner.scan(data).random_access
        first, last = points[0], points[-1]  # the stream's end cuts the last picture in two
        assert first.offset > 50 * PACKET_SIZE
        assert decode(first.tables + data[first.offset : last.offset])[1] == []


async def test_every_session_sees_the_same_bytes_for_the_same_moment() -> None:
    async with running() as (engine, content):
        async with playing(engine, content, pid="first") as (_, stream):
            first = await stream.body(1_200_000)
        async with playing(engine, content, pid="second") as (_, stream):
            second = await stream.body(1_200_000)
    assert first[: 188 * 4] in second or second[: 188 * 4] in first
    begin = first.find(second[: 188 * 4])
    common = min(len(first) - begin, len(second))
    assert begin >= 0 and common > 100_000
    assert first[begin : begin + common] == second[:common]


async def test_two_engines_of_one_epoch_broadcast_the_same() -> None:
    epoch = asyncio.get_running_loop().time()
    bodies = []
    for _ in range(2):
        async with (
            running(epoch=epoch) as (engine, content),
            playing(engine, content) as (_, stream),
        ):
            bodies.append(await stream.body(1_000_000))
    begin = bodies[0].find(bodies[1][: 188 * 4])
    assert begin >= 0
    common = min(len(bodies[0]) - begin, len(bodies[1]))
    assert bodies[0][begin : begin + common] == bodies[1][:common]


async def test_a_slow_reader_holds_the_writer_and_is_thrown_forward_out_of_the_window() -> None:
    async with running(speed=200.0) as (engine, content):
        content.window_seconds = 30.0
        started = await start(engine, content)
        url = await started.media_url()
        async with asked(url) as stream:
            await stream.head()
            stream.writer.transport.pause_reading()  # type: ignore[attr-defined]
            held = -1
            while held != content.counters.bytes_sent:
                held = content.counters.bytes_sent
                await asyncio.sleep(0.2)  # an unheld writer would have gone on by then
            stream.writer.transport.resume_reading()  # type: ignore[attr-defined]
            data = b""
            while content.counters.overruns == 0 or len(data) < held + 500_000:
                data += await stream.some()
    cutter = PacketCutter()
    gaps = ContinuityChecker().feed(cutter.feed(data))
    assert gaps and cutter.resyncs == 0


async def test_a_jump_may_be_told_to_land_amid_a_packet() -> None:
    async with running() as (engine, content):
        content.aligned_jumps = False
        content.piece_bytes = 188 * 100
        content.fault("silent_stall", after_bytes=188 * 500, seconds=0.3, times=1)
        content.window_seconds = 1.0
        content.burst_seconds = 0.5
        async with playing(engine, content) as (_, stream):
            data = await stream.body(600_000)
    assert content.counters.overruns >= 1
    cutter = PacketCutter()
    cutter.feed(data)
    assert cutter.resyncs >= 1


@pytest.mark.parametrize(
    ("kind", "framing", "ending"),
    [
        ("eof", "chunked", "clean"),
        ("eof", "close", "clean"),
        ("cut", "chunked", "cut"),
        ("rst", "chunked", "reset"),
        ("rst", "close", "reset"),
        ("bad_chunk", "chunked", "cut"),
    ],
)
async def test_an_ending_comes_after_its_bytes_in_its_way(
    kind: str, framing: str, ending: str
) -> None:
    async with running() as (engine, content):
        content.framing = framing
        content.fault(kind, after_bytes=123_456, times=1)
        async with playing(engine, content) as (_, stream):
            assert stream.chunked is (framing == "chunked")
            assert await broken_end(stream) == ending
            assert content.counters.bytes_sent == 123_456
        async with playing(engine, content, pid="again") as (_, stream):
            assert len(await stream.body(500_000)) >= 500_000, "it struck once"
    assert content.counters.faults == 1


async def test_http_1_0_is_answered_until_close() -> None:
    async with running() as (engine, content):
        content.fault("eof", after_bytes=10_000)
        async with playing(engine, content, version="1.0") as (_, stream):
            assert not stream.chunked and len(await stream.rest()) == 10_000


@pytest.mark.parametrize("size", [0, 100])
async def test_the_empty_and_the_short_200_end_cleanly(size: int) -> None:
    async with running() as (engine, content):
        content.fault("eof", after_bytes=size)
        async with playing(engine, content) as (_, stream):
            assert len(await stream.body(1 << 30)) == size


async def test_an_end_may_come_by_the_clock() -> None:
    async with running() as (engine, content):
        content.fault("eof", after_seconds=0.1)
        async with playing(engine, content) as (_, stream):
            assert len(await stream.body(1 << 30)) > 0


async def test_a_silent_stall_keeps_the_socket_and_freezes_downloaded_until_it_is_cleared() -> None:
    async with running() as (engine, content):
        content.fault("silent_stall", after_bytes=200_000)
        async with playing(engine, content) as (started, stream):
            await stream.body(200_000)
            await until(lambda: content.counters.faults)
            first = (await started.stat())["response"]
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(stream.some(), 0.1)
            second = (await started.stat())["response"]
            assert first["status"] == second["status"] == "dl"
            assert first["downloaded"] == second["downloaded"] > 0
            assert second["peers"] == 1 and 2 <= second["speed_down"] <= 19
            content.faults.clear()
            assert await stream.body(100_000)
            await until(lambda: not engine.open_sessions[0].frozen)


async def test_a_stall_set_in_the_middle_of_the_stream_ends_by_itself() -> None:
    async with running() as (engine, content), playing(engine, content) as (_, stream):
        await stream.body(100_000)
        content.fault("silent_stall", seconds=0.2)
        await until(lambda: content.counters.faults)
        assert len(await stream.body(1_000_000)) >= 1_000_000
        assert content.counters.faults == 1, "one reader is struck once by one fault"


async def test_a_trickle_is_hardly_any_bytes() -> None:
    async with running() as (engine, content):
        content.fault("trickle", after_bytes=100_000, amount=7)
        async with playing(engine, content) as (_, stream):
            await stream.body(100_000)
            await until(lambda: content.counters.faults)
            sizes = [len(await stream.some()) for _ in range(3)]
            assert sizes == [7, 7, 7]
            content.faults.clear()
            assert await stream.body(50_000)


async def test_garbage_stands_between_packets() -> None:
    async with running() as (engine, content):
        content.fault("garbage", after_bytes=188 * 500, amount=500)
        async with playing(engine, content) as (_, stream):
            data = await stream.body(400_000)
    cutter = PacketCutter()
    packets = cutter.feed(data)
    assert cutter.resyncs == 1 and cutter.lost_bytes >= 500
    assert len(packets) > 188 * 1000


async def test_a_skip_takes_seconds_out_of_the_timeline() -> None:
    async with running() as (engine, content):
        content.fault("skip", after_bytes=188 * 1000, seconds=5.0)
        async with playing(engine, content) as (_, stream):
            data = whole(await stream.body(188 * 3000))
    video = [each.pts for each in pes_timestamps(data) if each.pid == 0x100]
    steps = [after - before for before, after in pairwise(video)]
    assert 4.5 < max(steps) / 90_000 < 5.5
    assert ContinuityChecker().feed(data)


async def test_the_last_window_loops_when_the_broadcast_has_ended() -> None:
    async with running() as (engine, content):
        content.burst_seconds = 4.0
        content.fault("loop_window", seconds=4.0)
        async with playing(engine, content) as (started, stream):
            data = whole(await stream.body(1_500_000))
            first = (await started.stat())["response"]["livepos"]["live_last"]
            video = {each.pts for each in pes_timestamps(data) if each.pid == 0x100}
            spread = (max(video) - min(video)) / 90_000
            assert spread < 14, "38 s of media, all of it the same window"
            assert engine.stations[content.infohash].ended_at is not None
            await stream.body(500_000)
            assert (await started.stat())["response"]["livepos"]["pos"] >= first
            content.faults.clear()
        await start(engine, content, pid="later")
        assert engine.stations[content.infohash].ended_at is None


async def test_a_frozen_engine_sends_nothing_and_goes_on_when_it_is_well() -> None:
    async with running() as (engine, content), playing(engine, content) as (_, stream):
        await stream.body(100_000)
        await engine.set_engine_fault("freeze")
        with contextlib.suppress(TimeoutError):
            while True:
                await asyncio.wait_for(stream.some(), 0.1)
        sent = content.counters.bytes_sent
        await engine.set_engine_fault("ok")
        await stream.body(100_000)
        assert content.counters.bytes_sent > sent


async def film(content: SimContent, engine: Any) -> str:
    started = await start(engine, content)
    return await started.media_url()


async def part_of(url: str, value: str) -> bytes:
    """What comes of this part of a film, however it ends."""
    async with opened(url, headers=f"Range: bytes={value}\r\n") as stream:
        length = int(stream.headers["content-length"])
        try:
            return await stream.reader.readexactly(length)
        except asyncio.IncompleteReadError as error:
            return error.partial
        except ConnectionError:
            return b""


@pytest.mark.parametrize("kind", ["eof", "cut", "rst"])
async def test_a_fault_of_a_film_strikes_at_its_byte(kind: str) -> None:
    content = vod_content()
    content.repeats = 3
    async with running(content) as (engine, _):
        url = await film(content, engine)
        content.fault(kind, after_bytes=1_000_000, times=1)
        got = await part_of(url, "900000-")
        assert len(got) <= 100_000
        assert await part_of(url, "900000-1999999") == (CLIP * 3)[900_000:2_000_000]
        assert content.counters.faults == 1


async def test_a_film_without_ranges_is_answered_whole() -> None:
    content = vod_content()
    content.ranges = False
    async with running(content) as (engine, _):
        url = await film(content, engine)
        assert await part_of(url, "5-9") == CLIP


async def test_a_second_reader_of_a_film_gets_two_status_lines() -> None:
    content = vod_content()
    content.fault("silent_stall", after_bytes=10)
    async with running(content) as (engine, _):
        url = await film(content, engine)
        async with opened(url):
            async with asked(url) as second:
                assert (await second.rest()).count(b"HTTP/1.1 200 OK") == 2
            assert content.counters.doubled_readers == 1


async def test_a_film_may_be_any_file(tmp_path: Path) -> None:
    content = vod_content()
    content.file = tmp_path / "film.mp4"
    content.file.write_bytes(b"no transport stream")
    async with running(content) as (engine, _):
        url = await film(content, engine)
        assert await part_of(url, "3-") == b"transport stream"


async def test_a_film_has_a_length_and_ranges() -> None:
    content = vod_content()
    async with running(content, head_supported=True) as (engine, _):
        url = await film(content, engine)
        async with opened(url) as stream:
            assert stream.headers["content-length"] == str(len(CLIP))
            assert stream.headers["accept-ranges"] == "bytes"
            assert await stream.body(len(CLIP)) == CLIP
        for value, begin, end in (("100-299", 100, 300), ("600000-", 600_000, len(CLIP))):
            async with opened(url, headers=f"Range: bytes={value}\r\n") as stream:
                assert stream.status == 206
                told = f"bytes {begin}-{end - 1}/{len(CLIP)}"
                assert stream.headers["content-range"] == told
                assert await stream.body(end - begin) == CLIP[begin:end]
        late = await get(url, headers=f"Range: bytes={len(CLIP)}-\r\n")
        assert late.status == 416 and late.headers["content-range"] == f"bytes */{len(CLIP)}"
        assert content.counters.rejected_ranges == 1
        head = await get(url, method="HEAD")
        assert head.status == 200 and head.headers["content-length"] == str(len(CLIP))


@pytest.mark.parametrize("reject", [False, True])
async def test_a_range_on_live_is_counted_and_ignored_or_refused(reject: bool) -> None:
    async with running(reject_live_ranges=reject) as (engine, content):
        started = await start(engine, content)
        url = await started.media_url()
        async with opened(url, headers="Range: bytes=0-\r\n") as stream:
            assert stream.status == (416 if reject else 200)
        assert content.counters.rejected_ranges == 1


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("bytes=0-0", (0, 1)),
        ("bytes=5-", (5, 100)),
        ("bytes=-7", (93, 100)),
        ("bytes=-700", (0, 100)),
        ("bytes=90-900", (90, 100)),
        ("bytes=100-", None),
        ("bytes=9-3", None),
        ("bytes=-0", None),
        ("bytes=-", None),
        ("bytes=1-2,4-5", None),
        ("lines=1-2", None),
    ],
)
def test_a_single_range_is_read_and_others_are_not(
    value: str, expected: tuple[int, int] | None
) -> None:
    assert byte_range(value, 100) == expected


def test_the_clip_behind_these_tests_is_the_broadcasts_first_loop() -> None:
    assert Broadcast(CLIP).read(0, 188 * 50) == CLIP[: 188 * 50]
