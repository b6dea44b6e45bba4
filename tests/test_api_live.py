"""What is on air for operators, over the whole server and its engine."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import orjson
from stage import PATIENCE_SECONDS, Stage, quick_contents, stage, until
from test_api import ask
from test_hls_stage import HlsPlayer

from rawstream.config import Limits
from rawstream.http_client import open_stream


async def log_in(made: Stage) -> str:
    login = {"username": "admin", "password": made.worker.first_password}
    answer = await ask(made, "/api/v1/session", "POST", login)
    return answer.headers["set-cookie"].partition(";")[0]


async def shown(made: Stage, cookie: str, path: str = "/api/v1/live") -> Any:
    answer = await ask(made, path, cookie=cookie)
    assert answer.status == 200, answer.body
    return orjson.loads(answer.body)


async def test_a_channel_is_seen_restarted_and_stopped(tmp_path: Path) -> None:
    contents = quick_contents()
    async with stage(tmp_path, contents) as made:
        cookie = await log_in(made)
        player = await made.play(contents[0])
        await player.more(100_000)
        picture = await shown(made, cookie)
        (one,) = picture["channels"]
        assert (one["state"], len(one["viewers"])) == ("live", 1)
        assert picture["totals"]["viewers"] == 1
        path = f"/api/v1/live/{one['key']}"
        assert (await shown(made, cookie, path))["channel"]["key"] == one["key"]
        before = made.engine.counters.opens
        assert (await ask(made, f"{path}/restart", "POST", cookie=cookie)).status == 204
        await until(lambda: made.engine.counters.opens > before and made.state() == "live")
        await player.more(300_000)
        player.assert_plays()
        assert (await ask(made, f"{path}/stop", "POST", cookie=cookie)).status == 204
        await until(lambda: player.over and made.channel() is None)
        counters = made.engine.counters
        await until(lambda: counters.opens == counters.stops, "every session is stopped")
        for verb in ("stop", "restart", "next"):
            assert (await ask(made, f"{path}/{verb}", "POST", cookie=cookie)).status == 404


async def test_the_next_engine_takes_over_when_it_is_asked_for(tmp_path: Path) -> None:
    contents = quick_contents()
    async with stage(tmp_path, contents, engines=2) as made:
        cookie = await log_in(made)
        player = await made.play(contents[0])
        await player.more(100_000)
        channel = made.channel()
        assert channel is not None
        path = f"/api/v1/live/{channel.key}/next"
        assert (await ask(made, path, "POST", cookie=cookie)).status == 204

        def moved() -> bool:
            now = made.channel()
            return now is not None and now.state == "live" and now.engine != channel.engine

        await until(moved, "another engine")
        await player.more(100_000)
        player.assert_plays()


async def test_one_viewer_is_let_go_however_he_watches(tmp_path: Path) -> None:
    contents = quick_contents()
    async with stage(tmp_path, contents) as made:
        cookie = await log_in(made)
        player, other = await made.play(contents[0]), await made.play(contents[0])
        watcher = HlsPlayer(
            f"http://127.0.0.1:{made.port}", f"/ace/manifest.m3u8?id={contents[0].content_id}"
        )
        await watcher.until_pieces(3)
        (one,) = (await shown(made, cookie))["channels"]
        first, _second, hls = sorted(one["viewers"], key=lambda viewer: viewer["id"])
        assert hls["state"] == "hls"
        for viewer in (first, hls):
            path = f"/api/v1/viewers/{viewer['id']}/kick"
            assert (await ask(made, path, "POST", cookie=cookie)).status == 204
            assert (await ask(made, path, "POST", cookie=cookie)).status == 404
        await until(lambda: player.over)
        assert (await watcher.get(watcher.playlist.segments[-1].uri)).status == 403
        await other.more(50_000)
        assert made.snapshot.viewers == 1


class Heard:
    def __init__(self) -> None:
        self.data = b""

    def data_received(self, data: bytes) -> None:
        self.data += data

    def kinds(self) -> set[bytes]:
        return {line[7:] for line in self.data.splitlines() if line.startswith(b"event: ")}


async def test_events_tell_what_happens_until_the_session_ends(tmp_path: Path) -> None:
    contents = quick_contents()
    async with stage(tmp_path, contents) as made:
        cookie = await log_in(made)
        heard = Heard()
        stream = await open_stream(
            f"http://127.0.0.1:{made.port}/api/v1/events",
            heard,
            headers=[("Cookie", cookie)],
            connect_seconds=PATIENCE_SECONDS,
            head_seconds=PATIENCE_SECONDS,
            limits=Limits(),
            redirect=None,
        )
        assert stream.headers["content-type"] == "text/event-stream"
        await made.play(contents[0])
        await until(lambda: b'"state":"live"' in heard.data, "the channel on air")
        made.worker.accounts.on_activity("login", account="admin", address="10.0.0.1")
        await until(lambda: heard.kinds() == {b"live", b"history"})
        assert (await ask(made, "/api/v1/session", "DELETE", cookie=cookie)).status == 204
        made.worker.bus.heartbeat()
        async with asyncio.timeout(PATIENCE_SECONDS):
            await asyncio.wait({stream.ended})
        assert len(made.worker.bus) == 0


async def test_the_last_hour_is_there_for_charts(tmp_path: Path) -> None:
    async with stage(tmp_path, []) as made:
        cookie = await log_in(made)
        made.worker.air.look(1e6)
        made.worker.air.look(1e6 + 10)
        points = (await shown(made, cookie, "/api/v1/stats"))["points"]
        assert points and set(points[0]) == {
            *("at", "viewers", "bits_in_per_second", "bits_out_per_second"),
        }
