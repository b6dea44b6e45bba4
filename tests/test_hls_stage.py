"""HLS from the whole program: beside TS on one session, over failures, within limits."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import m3u8
import pytest
from front_door import front_door
from stage import PATIENCE_SECONDS, Stage, quick_contents, stage, until
from ts_clips import decode, key_pictures

from rawstream.config import Limits, Timeouts
from rawstream.http_client import ClientResponse, request
from rawstream.mpegts import PACKET_SIZE, PTS_HZ
from rawstream.simulator import SimContent, bundled_contents, dead_content
from rawstream.workers import Worker


class Piece(NamedTuple):
    number: int
    body: bytes
    seconds: float
    discontinuity: bool


class HlsPlayer:
    """Loads a playlist, and its segments as they appear, each once."""

    def __init__(self, base: str, path: str, agent: str = "box") -> None:
        self.base = base
        self.path = path
        self.headers = [("User-Agent", agent)]
        self.pieces: list[Piece] = []
        self.playlist: Any = None

    @classmethod
    def of(cls, show: Stage, content: SimContent, agent: str = "box") -> HlsPlayer:
        """Who watches a content of the engines."""
        path = f"/ace/manifest.m3u8?id={content.content_id}"
        return cls(f"http://127.0.0.1:{show.port}", path, agent)

    async def get(self, path: str, **more: Any) -> ClientResponse:
        return await request(
            self.base + path,
            connect_seconds=PATIENCE_SECONDS,
            total_seconds=PATIENCE_SECONDS,
            limits=Limits(response_body_bytes=1 << 26),
            headers=self.headers,
            **more,
        )

    async def load(self) -> ClientResponse:
        answer = await self.get(self.path)
        if answer.status == 200:
            self.playlist = m3u8.loads(answer.body.decode())
        return answer

    async def step(self) -> None:
        """A playlist, and what is new in it."""
        answer = await self.load()
        assert answer.status == 200, answer.body
        for number, line in enumerate(self.playlist.segments, self.playlist.media_sequence):
            if self.pieces and number <= self.pieces[-1].number:
                continue
            segment = await self.get(line.uri)
            assert segment.status == 200, segment.body
            self.pieces.append(Piece(number, segment.body, line.duration, line.discontinuity))

    async def until_pieces(self, count: int) -> None:
        async with asyncio.timeout(2 * PATIENCE_SECONDS):
            while len(self.pieces) < count:
                await self.step()
                await asyncio.sleep(0.05)

    @property
    def numbers(self) -> list[int]:
        return [piece.number for piece in self.pieces]


async def account_of(worker: Worker, **changes: Any) -> None:
    """Change the demo's account, as another process would."""
    demo = await worker.store.accounts.by_name("demo")
    assert demo is not None
    await worker.store.accounts.set(replace(demo, **changes))
    await worker.accounts.reload()


def without_tables(segment: bytes) -> bytes:
    """A segment without the PAT and PMT in front of it."""
    return segment[2 * PACKET_SIZE :]


async def test_ts_and_hls_share_one_session_and_are_the_same_packets(tmp_path: Path) -> None:
    contents = quick_contents()
    async with stage(tmp_path, contents) as show:
        viewer = await show.play(contents[0])
        await viewer.more(200_000)
        watcher = HlsPlayer.of(show, contents[0])
        await watcher.until_pieces(12)
        channel = show.channel()
        assert channel is not None and channel.opens == 1
        assert {(one.state, one.user_agent) for one in channel.viewers} >= {("hls", "box")}
        assert show.snapshot.viewers == 2
        assert show.engine.counters.opens == 1
        assert watcher.numbers == list(range(watcher.numbers[0], watcher.numbers[0] + 12))
        whole = b"".join(without_tables(piece.body) for piece in watcher.pieces)
        await until(lambda: whole[-PACKET_SIZE * 20 :] in viewer.packets, "the same at the viewer")
        seen = viewer.packets[2 * PACKET_SIZE :]  # he was given the tables first, too
        end = seen.find(whole[-PACKET_SIZE * 20 :]) + PACKET_SIZE * 20
        common = min(end, len(whole))
        assert common > len(whole) // 2
        assert seen[end - common : end] == whole[-common:]
        assert decode(whole).complaints == []
        status = await show.ask("/status")
        assert b"hls" in status.body


@pytest.mark.slow
@pytest.mark.timeout(900)
async def test_five_minutes_of_segments_are_the_stream_and_last_as_long_as_its_pictures(
    tmp_path: Path,
) -> None:
    """Packet by packet, and each duration within one picture of what FFmpeg says."""
    content = bundled_contents()[0]
    async with stage(tmp_path, [content]) as show:
        viewer = await show.play(content)
        watcher = HlsPlayer.of(show, content)
        async with asyncio.timeout(600):
            while sum(piece.seconds for piece in watcher.pieces) < 300:
                await watcher.step()
                await asyncio.sleep(1)
        whole = b"".join(without_tables(piece.body) for piece in watcher.pieces)
        await until(lambda: whole[-PACKET_SIZE * 20 :] in viewer.packets, "the same at the viewer")
        seen = viewer.packets[2 * PACKET_SIZE :]
        common = seen.find(whole[-PACKET_SIZE * 20 :]) + PACKET_SIZE * 20
        assert common > len(whole) * 0.95
        assert seen[:common].endswith(whole[-common:])
        keys = {picture.offset: picture.pts for picture in key_pictures(whole)}
        at, begins = 0, []
        for piece in watcher.pieces:
            begins.append(keys[at])
            at += len(without_tables(piece.body))
        lasted = [(b - a) / PTS_HZ for a, b in pairwise(begins)]
        said = [piece.seconds for piece in watcher.pieces[:-1]]
        assert said == pytest.approx(lasted, abs=1 / 25)
        assert sum(said) == pytest.approx(sum(lasted), abs=1 / 25)


@pytest.mark.parametrize("apart", [0.0, 1000.0])
async def test_a_killed_engine_does_not_end_a_playlist(tmp_path: Path, apart: float) -> None:
    """Where the next engine repeats the bytes nothing is to be told; another clock is."""
    contents = quick_contents()
    async with stage(tmp_path, contents, engines=2, apart_seconds=apart) as show:
        watcher = HlsPlayer.of(show, contents[0])
        await watcher.until_pieces(6)
        channel = show.channel()
        assert channel is not None
        (used,) = (engine for engine in show.engines if engine.url == channel.engine)
        await used.stop()
        await until(lambda: (now := show.channel()) is not None and now.recoveries > 0, "a cut")
        await watcher.until_pieces(16)
        assert watcher.numbers == list(range(watcher.numbers[0], watcher.numbers[0] + 16))
        told = [piece.number for piece in watcher.pieces if piece.discontinuity]
        assert len(told) == (1 if apart else 0)
        parts: list[bytes] = [b""]
        for piece in watcher.pieces:
            if piece.discontinuity:
                parts.append(b"")
            parts[-1] += piece.body
        for part in parts[1:]:
            assert decode(part).complaints == []


async def test_a_channel_that_does_not_come_is_refused_in_time(tmp_path: Path) -> None:
    timeouts = Timeouts.for_tests(hls_hold_seconds=0.5)
    content = dead_content()
    async with stage(tmp_path, [content], timeouts=timeouts) as show:
        answer = await HlsPlayer.of(show, content).load()
        assert answer.status == 503
        assert answer.headers["retry-after"] == "1"
        assert answer.headers["access-control-allow-origin"] == "*"


async def test_who_watches_is_not_refused_because_others_wait(tmp_path: Path) -> None:
    contents = [*quick_contents(), dead_content()]
    async with stage(tmp_path, contents, limits=Limits(held_viewers=1)) as show:
        watcher = HlsPlayer.of(show, contents[0])
        await watcher.until_pieces(2)
        waiting = HlsPlayer.of(show, contents[-1], "late")
        held = asyncio.create_task(waiting.load())
        await until(lambda: show.snapshot.held == 1, "one who waits")
        assert (await watcher.load()).status == 200
        other = HlsPlayer.of(show, contents[0], "other")
        assert (await other.load()).status == 503
        held.cancel()


async def test_a_packager_that_fails_takes_neither_the_channel_nor_the_next_one_with_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    contents = quick_contents()
    async with stage(tmp_path, contents) as show:
        watcher = HlsPlayer.of(show, contents[0])
        await watcher.until_pieces(3)
        (channel,) = show.worker.hub._channels
        broken = channel.packager
        assert broken is not None

        def fail(_now: float) -> None:
            raise RuntimeError("a bug")

        monkeypatch.setattr(broken, "tick", fail)
        await until(lambda: channel.packager is not broken, "its end")
        assert len(broken.watchers) == 0
        before = watcher.pieces[-1].number
        await watcher.load()
        assert watcher.playlist.media_sequence > before
        assert show.engine.counters.opens == 1


async def test_one_who_comes_back_by_a_segment_keeps_the_channel(tmp_path: Path) -> None:
    contents = quick_contents()
    timeouts = Timeouts.for_tests(linger_seconds=0.5)
    async with stage(tmp_path, contents, timeouts=timeouts) as show:
        watcher = HlsPlayer.of(show, contents[0])
        await watcher.until_pieces(3)
        (channel,) = show.worker.hub._channels
        assert channel.packager is not None
        channel.packager.watchers.end_all()
        await until(lambda: show.state() == "lingering", "the linger")
        line = watcher.playlist.segments[-1]
        assert (await watcher.get(line.uri)).status == 200
        await until(lambda: show.state() == "live", "the linger's end")


async def test_the_last_watcher_leaves_by_his_silence(tmp_path: Path) -> None:
    contents = quick_contents()
    timeouts = Timeouts.for_tests(hls_lease_seconds=0.6)
    async with stage(tmp_path, contents, timeouts=timeouts) as show:
        watcher = HlsPlayer.of(show, contents[0])
        await watcher.until_pieces(3)
        (line, *_) = watcher.playlist.segments
        assert show.state() == "live"
        await until(lambda: show.channel() is None, "the channel's end")
        await until(lambda: show.engine.counters.stops == 1, "its session's")
        assert (await watcher.get(line.uri)).status == 404


async def test_a_watcher_who_takes_a_segment_too_slowly_is_aborted(tmp_path: Path) -> None:
    """What he does not take would be kept for him alone."""
    contents = quick_contents()
    timeouts = Timeouts.for_tests(hls_send_seconds=0.5)
    async with stage(tmp_path, contents, timeouts=timeouts) as show:
        watcher = HlsPlayer.of(show, contents[2])
        await watcher.until_pieces(3)
        line = watcher.playlist.segments[-1]
        reader, writer = await asyncio.open_connection("127.0.0.1", show.port, limit=4096)
        writer.write(f"GET {line.uri} HTTP/1.1\r\nHost: x\r\n\r\n".encode() * 14)
        await writer.drain()
        server = show.worker.server
        before = server.timed_out
        with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
            async with asyncio.timeout(PATIENCE_SECONDS):
                while True:  # never idle, never fast
                    await reader.readexactly(2000)
                    await asyncio.sleep(0.02)
        assert server.timed_out > before
        writer.close()


# -- accounts --


async def test_zapping_by_playlists_is_never_refused_and_never_counted_twice(
    tmp_path: Path,
) -> None:
    timeouts = Timeouts.for_tests(count_after_seconds=0.2, zap_overlap_seconds=0.3)
    async with front_door(tmp_path, contents=quick_contents(), timeouts=timeouts) as (worker, url):
        await account_of(worker, max_connections=1)
        demo = await worker.store.accounts.by_name("demo")
        assert demo is not None
        for zap in range(50):
            player = HlsPlayer(url, f"/live/demo/demo/{zap % 4 + 1}.m3u8")
            for _ in range(zap % 3 + 1):
                await player.step()
            assert worker.accounts.active(demo.id) <= 1
        await until(lambda: worker.accounts.active(demo.id) == 1, "the last one counts")


async def test_the_newest_player_takes_over_and_the_other_is_told(tmp_path: Path) -> None:
    timeouts = Timeouts.for_tests(count_after_seconds=0.1)
    async with front_door(tmp_path, contents=quick_contents(), timeouts=timeouts) as (worker, url):
        await account_of(worker, max_connections=1)
        first = HlsPlayer(url, "/live/demo/demo/1.m3u8", "first")
        await first.until_pieces(4)
        second = HlsPlayer(url, "/live/demo/demo/1.m3u8", "second")
        await second.until_pieces(2)
        old = first.playlist.segments[-1].uri

        async def is_cut() -> bool:
            await second.step()
            return (await first.get(old)).status == 403

        async with asyncio.timeout(PATIENCE_SECONDS):
            while not await is_cut():
                await asyncio.sleep(0.05)
        refused = await first.load()
        assert refused.status == 503
        assert b"another player" in refused.body
        await second.step()


@pytest.mark.parametrize("change", [{"enabled": False}, {"expires_at": 1}])
async def test_an_account_that_ends_has_no_more_playlists_and_segments(
    tmp_path: Path, change: dict[str, Any]
) -> None:
    async with front_door(tmp_path, contents=quick_contents()) as (worker, url):
        player = HlsPlayer(url, "/live/demo/demo/1.m3u8")
        await player.until_pieces(3)
        await account_of(worker, **change)
        (line, *_) = player.playlist.segments

        async with asyncio.timeout(PATIENCE_SECONDS):
            while (await player.get(line.uri)).status == 200:
                await asyncio.sleep(0.05)
        assert (await player.load()).status == 403
        await until(lambda: worker.hub.snapshot().viewers == 0, "nobody counts")


async def test_ts_in_place_of_hls_is_one_player(tmp_path: Path) -> None:
    """A player that was given both: it leaves the playlist without a word."""
    timeouts = Timeouts.for_tests(count_after_seconds=0.1)
    async with front_door(tmp_path, contents=quick_contents(), timeouts=timeouts) as (worker, url):
        player = HlsPlayer(url, "/live/demo/demo/1.m3u8")
        await player.until_pieces(4)
        assert worker.hub.snapshot().viewers == 1
        port = int(url.rpartition(":")[2])
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET /live/demo/demo/1.ts HTTP/1.1\r\nHost: x\r\nUser-Agent: box\r\n\r\n")
        await reader.readexactly(10_000)
        (viewer,) = worker.hub.snapshot().channels[0].viewers
        assert viewer.state != "hls"
        writer.close()


async def test_no_password_is_in_a_playlist_or_told_of_a_watcher(tmp_path: Path) -> None:
    async def with_password(store: Any) -> None:
        account = await store.accounts.by_name("demo")
        await store.accounts.reset_token(account.id)

    async with front_door(tmp_path, contents=quick_contents(), prepare=with_password) as (
        worker,
        url,
    ):
        account = await worker.store.accounts.by_name("demo")
        assert account is not None
        player = HlsPlayer(url, f"/live/{account.token}/1.m3u8")
        answer = await player.load()
        assert account.token.encode() not in answer.body
        status = await player.get("/status?format=json")
        assert account.token.encode() not in status.body
