"""Minutes in real time, with the settings that users have: `make test-slow`."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest
from hls_origin import encoded_live
from players import player_command
from stage import stage, until
from test_stalled_viewers import Laggard, place_of

from rawstream.config import Timeouts
from rawstream.continuity import ContinuityChecker
from rawstream.simulator import bundled_contents
from rawstream.viewer import Place

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

PLAY_SECONDS = 120
PAUSE_SECONDS = 50  # within the minute after which a viewer who takes nothing is let go


async def test_ffmpeg_plays_every_channel_for_minutes_without_an_error_line(tmp_path: Path) -> None:
    contents = bundled_contents()
    async with stage(tmp_path, contents, timeouts=Timeouts()) as made:

        async def play(content_id: str) -> tuple[int | None, bytes]:
            process = await asyncio.create_subprocess_exec(
                *player_command("ffmpeg", "-hide_banner", "-v", "error", "-nostdin"),
                *("-t", str(PLAY_SECONDS), "-re"),
                *("-i", f"http://127.0.0.1:{made.port}/ace/getstream?id={content_id}"),
                *("-f", "null", "-"),
                stderr=asyncio.subprocess.PIPE,
            )
            _out, errors = await process.communicate()
            return process.returncode, errors

        results = await asyncio.gather(*(play(content.content_id) for content in contents))
        assert results == [(0, b"")] * len(contents)
        for content in contents:
            assert (content.counters.opens, content.counters.readers_max) == (1, 1)


@pytest.mark.parametrize("seconds", [1, 4, 10])
async def test_hls_in_real_time_plays_for_minutes_without_a_warning(
    tmp_path: Path, seconds: int
) -> None:
    folder = tmp_path / "hls"
    folder.mkdir()
    async with encoded_live(folder, seconds) as url, stage(tmp_path, [], timeouts=Timeouts()) as on:
        process = await asyncio.create_subprocess_exec(
            *player_command("ffmpeg", "-hide_banner", "-v", "warning", "-nostdin"),
            *("-t", str(PLAY_SECONDS)),
            *("-i", f"http://127.0.0.1:{on.port}/ace/getstream?url={url}"),
            *("-f", "null", "-"),
            stderr=asyncio.subprocess.PIPE,
        )
        _out, errors = await process.communicate()
        assert (process.returncode, errors) == (0, b"")
        channel = on.channel()
        assert channel is not None
        assert (channel.recoveries, channel.opens) == (0, 1)


async def test_a_pause_of_most_of_a_minute_costs_a_viewer_nothing(tmp_path: Path) -> None:
    contents = bundled_contents()
    for content in contents:
        content.speed = 12.0  # some 4 Mbit/s, so that the kernel's buffers do not hide the pause
    async with stage(tmp_path, contents, timeouts=Timeouts()) as made:
        healthy = await made.play(contents[0])
        await healthy.more(100_000)
        laggard = Laggard(made.port, contents[0])
        port = laggard.socket.getsockname()[1]
        await until(lambda: place_of(made, port) is Place.PAUSED, "he is paused")
        paused_at = time.monotonic()
        while time.monotonic() - paused_at < PAUSE_SECONDS:
            await asyncio.sleep(1)
        assert place_of(made, port) is Place.PAUSED

        def catches_up() -> bool:
            while laggard.read(65_536) > 0:
                pass
            return place_of(made, port) is Place.HEAD

        await until(catches_up, "he is at the head again")
        channel = made.channel()
        assert channel is not None
        assert channel.stalled_viewers == 0
        assert ContinuityChecker().feed(laggard.body) == []
        assert ContinuityChecker().feed(healthy.packets) == []
        laggard.close()
