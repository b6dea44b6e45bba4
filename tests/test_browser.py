"""The browser of the tests tells what it saw: on live HLS that FFmpeg makes of a bundled clip."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from aiohttp import web
from browser import Chromium, chromium
from hls_origin import clip_at
from hls_rules import History
from players import find_program
from stage import until
from web import serving

pytestmark = [pytest.mark.player, pytest.mark.timeout(180)]

CORS = {"Access-Control-Allow-Origin": "*"}


class Live:
    """FFmpeg's live HLS of the first clip, in real time, and what is wrong with serving it."""

    def __init__(self, folder: Path, encoder: asyncio.subprocess.Process) -> None:
        self.folder = folder
        self.encoder = encoder
        self.headers = CORS
        self.url = ""

    async def answer(self, request: web.Request) -> web.Response:
        path = self.folder / request.path.lstrip("/")
        if not path.is_file():
            return web.Response(status=404, headers=self.headers)
        return web.Response(body=path.read_bytes(), headers=self.headers)


@asynccontextmanager
async def live(folder: Path) -> AsyncIterator[Live]:
    clip = folder / "clip.ts"
    clip.write_bytes(clip_at(0))
    encoder = await asyncio.create_subprocess_exec(
        *(find_program("ffmpeg"), "-v", "quiet", "-nostdin", "-re", "-stream_loop", "-1"),
        *("-i", str(clip), "-c", "copy", "-f", "hls", "-hls_time", "2", "-hls_list_size", "6"),
        *("-hls_flags", "delete_segments+independent_segments", str(folder / "live.m3u8")),
    )
    made = Live(folder, encoder)
    try:
        async with serving(made.answer) as base:
            made.url = f"{base}/live.m3u8"
            playlist = folder / "live.m3u8"
            # three target durations and some, so that a busy machine makes no stall
            await until(lambda: playlist.exists() and playlist.read_text().count(".ts") >= 5)
            yield made
    finally:
        if encoder.returncode is None:
            encoder.kill()
        await encoder.wait()


@pytest.fixture
async def shown() -> AsyncIterator[Chromium]:
    async with chromium() as made:
        yield made


async def test_h264_and_aac_play_without_an_error_or_a_stall(
    tmp_path: Path, shown: Chromium
) -> None:
    history = History(ours=False)
    async with live(tmp_path) as made, shown.watch(made.url) as watch:
        report = await watch.until_played(12)
        history.feed((tmp_path / "live.m3u8").read_bytes())
    assert (report.errors, report.waits, report.paused) == ([], [], False)
    assert report.height == 540
    assert report.decoded >= 12 * 24
    assert (report.levels, report.breaks) == (1, [0])
    assert report.shown == sorted(set(report.shown))
    assert len(report.shown) >= 6
    assert watch.strangers() == set()
    assert history.complaints == []


async def test_a_stream_without_cors_is_a_fatal_error(tmp_path: Path, shown: Chromium) -> None:
    async with live(tmp_path) as made:
        made.headers = {}
        async with shown.watch(made.url) as watch:
            report = await watch.until(lambda report: bool(report.fatal))
    assert report.fatal[0].details == "manifestLoadError"
    assert (report.begun, report.decoded, report.played) == (None, 0, 0.0)


async def test_a_stream_that_stops_is_a_stall(tmp_path: Path, shown: Chromium) -> None:
    async with live(tmp_path) as made, shown.watch(made.url) as watch:
        await watch.until_played(1)
        made.encoder.kill()
        # it may not say that it has ended
        await made.encoder.wait()
        report = await watch.until(lambda report: bool(report.waits and report.stalls))
    assert report.fatal == []
    assert report.waits[-1] == pytest.approx(report.time, abs=0.5)


async def test_a_segment_that_is_gone_is_an_error_that_is_told(
    tmp_path: Path, shown: Chromium
) -> None:
    async with live(tmp_path) as made:
        answer = made.answer

        async def without_segments(request: web.Request) -> web.Response:
            if request.path.endswith(".ts"):
                return web.Response(status=404, headers=CORS)
            return await answer(request)

        async with serving(without_segments) as base, shown.watch(f"{base}/live.m3u8") as watch:
            report = await watch.until(lambda report: bool(report.errors))
    assert (report.errors[0].details, report.errors[0].code) == ("fragLoadError", 404)


async def test_nothing_outside_this_machine_is_reached(shown: Chromium) -> None:
    async with shown.watch("http://192.0.2.1/live.m3u8") as watch:
        report = await watch.until(lambda report: bool(report.errors))
        asked = await watch.page.evaluate(
            "Promise.allSettled(['http://example.org/', 'http://192.0.2.1/', location.href]"
            ".map(url => fetch(url))).then(all => all.map(one => one.status))"
        )
    assert report.errors[0].type == "networkError"
    assert asked == ["rejected", "rejected", "fulfilled"]
    assert watch.strangers() >= {"192.0.2.1", "example.org"}
