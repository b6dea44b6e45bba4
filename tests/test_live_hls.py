"""Live HLS of the whole program, by the rules of `hls_rules` and as players meet it: hls.js in
Chromium, and FFmpeg.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from browser import Report, chromium
from front_door import ask, front_door, run
from hls_rules import History, Media, Playlist, Segment, check_seam, read_segment
from players import player_command
from stage import PATIENCE_SECONDS, Stage, quick_contents, stage

from rawstream.simulator import bundled_contents

MINUTE = 60
LONG = 600
APART_SECONDS = 1000.0  # of two engines: no burst reaches so far back
LOOK_SECONDS = 0.05  # between two reloads; the channels are some times faster than life


class Follower:
    """A player that reads each playlist and each segment, and finds fault with all of them."""

    def __init__(self, base: str, path: str) -> None:
        self.base = base
        self.path = path
        self.history = History()
        self.segments: dict[int, Segment] = {}
        self.complaints: list[str] = []
        self.last: tuple[Segment, Media] | None = None

    async def reload(self) -> Playlist | None:
        """Read the playlist and what is new in it; None while there is none."""
        heard = await ask(self.base + self.path)
        if heard.status == 503:
            assert "retry-after" in heard.headers
            return None
        assert heard.status == 200, heard
        playlist = self.history.feed(heard.body, self.now)
        for segment in playlist.segments:
            if segment.number not in self.segments:
                await self._read(playlist, segment)
        return playlist

    @property
    def now(self) -> float:
        return asyncio.get_running_loop().time()

    async def _read(self, playlist: Playlist, segment: Segment) -> None:
        self.segments[segment.number] = segment
        heard = await ask(self.base + segment.uri)
        assert heard.status == 200, (segment, heard.status)
        media = read_segment(heard.body, independent=playlist.independent)
        found = list(media.complaints)
        before, self.last = self.last, (segment, media)
        if before is not None and not segment.discontinuity:
            found += check_seam(before[1], before[0].seconds, media)
        self.complaints += (f"segment {segment.number}: {text}" for text in found)

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(2 * PATIENCE_SECONDS):
            while not condition():
                await self.reload()
                await asyncio.sleep(LOOK_SECONDS)

    def assert_right(self) -> None:
        assert self.history.missed == 0
        assert (self.history.complaints, self.complaints) == ([], [])


# -- by the rules --


@pytest.mark.timeout(120)
@pytest.mark.parametrize("number", range(4), ids=["h264", "hevc", "mpeg2", "aac"])
async def test_each_kind_of_channel_follows_the_rules(tmp_path: Path, number: int) -> None:
    async with front_door(tmp_path, contents=quick_contents()) as (_worker, base):
        follower = Follower(base, f"/live/demo/demo/{number + 1}.m3u8")
        await follower.until(lambda: len(follower.segments) >= 20)
    follower.assert_right()
    assert follower.history.last is not None
    assert (follower.history.last.target, follower.history.last.independent) == (4, True)
    assert not any(segment.discontinuity for segment in follower.segments.values())


async def test_what_has_left_the_playlist_is_served_as_long_as_it_must_be(tmp_path: Path) -> None:
    """The channel is faster than life, and what must be there is counted in real time."""
    async with front_door(tmp_path, contents=quick_contents()) as (_worker, base):
        follower = Follower(base, "/live/demo/demo/1.m3u8")
        await follower.until(lambda: len(follower.history.owed) >= 14)
        owed = follower.history.still_owed(follower.now)
        assert len(owed) >= 14
        for uri in owed:
            assert (await ask(base + uri, "HEAD")).status == 200, uri


@pytest.mark.parametrize(
    "form",
    ["/live/demo/demo/1.m3u8", "/demo/demo/1.m3u8", "/live/demo/demo/1.M3U8", "/ace/manifest.m3u8"],
)
async def test_every_url_answers_with_a_playlist(tmp_path: Path, form: str) -> None:
    contents = quick_contents()
    path = f"{form}?id={contents[0].content_id}" if form.startswith("/ace") else form
    async with front_door(tmp_path, contents=contents) as (_worker, base):
        head = await ask(base + path, "HEAD")
        assert (head.status, head.headers["content-type"]) == (200, "application/vnd.apple.mpegurl")
        follower = Follower(base, path)
        await follower.until(lambda: len(follower.segments) >= 2)
        follower.assert_right()
        heard = await ask(base + path)
        assert heard.headers["content-type"] == "application/vnd.apple.mpegurl"
        assert heard.headers["content-length"] == str(len(heard.body))
        assert heard.headers["cache-control"] == "no-store"
        assert heard.headers["access-control-allow-origin"] == "*"
        segment = await ask(base + next(iter(reversed(follower.segments.values()))).uri)
        assert segment.headers["content-type"] == "video/mp2t"
        assert segment.headers["content-length"] == str(len(segment.body))
        assert segment.headers["access-control-allow-origin"] == "*"
        kept, age = segment.headers["cache-control"].split(", max-age=")
        assert (kept, int(age) > 0) == ("public", True)


async def test_a_segment_is_not_sent_again_to_who_has_it(tmp_path: Path) -> None:
    """RFC 9110 13.1.2: a list, and marks made weak by whoever packed it on the way, count."""
    async with front_door(tmp_path, contents=quick_contents()) as (_worker, base):
        follower = Follower(base, "/live/demo/demo/1.m3u8")
        await follower.until(lambda: len(follower.segments) >= 2)
        url = base + follower.segments[max(follower.segments)].uri
        etag = (await ask(url)).headers["etag"]
        for given in (etag, f"W/{etag}", f'"other", {etag}', "*"):
            heard = await ask(url, if_none_match=given)
            assert (heard.status, heard.body) == (304, b""), given
            assert heard.headers["etag"] == etag
            assert "cache-control" in heard.headers
        assert (await ask(url, if_none_match='"other"')).status == 200


async def test_a_page_elsewhere_can_read_refusals(tmp_path: Path) -> None:
    """Without CORS on them a player in a browser sees a network error and not its status."""
    async with front_door(tmp_path, contents=quick_contents()) as (_worker, base):
        follower = Follower(base, "/live/demo/demo/1.m3u8")
        await follower.until(lambda: len(follower.segments) >= 2)
        bare = base + urlsplit(follower.segments[max(follower.segments)].uri).path
        for url, status in (
            (bare, 403),
            (f"{bare}?t=wrong", 403),
            (f"{bare}x", 404),
            (f"{base}/hls/run/name.ts?t=x", 404),
            (f"{base}/live/demo/wrong/1.m3u8", 403),
            (f"{base}/live/demo/demo/99.m3u8", 404),
        ):
            heard = await ask(url)
            assert heard.status == status, url
            assert heard.headers.get("access-control-allow-origin") == "*", url
            assert "public" not in heard.headers.get("cache-control", ""), url


@pytest.mark.timeout(120)
@pytest.mark.parametrize(("apart", "breaks"), [(0.0, 0), (APART_SECONDS, 1)])
async def test_another_engine_is_a_discontinuity_if_it_does_not_go_on_at_the_byte(
    tmp_path: Path, apart: float, breaks: int
) -> None:
    async with stage(tmp_path, quick_contents(), engines=2, apart_seconds=apart) as made:
        content = made.catalogues[0][0]
        follower = Follower(
            f"http://127.0.0.1:{made.port}", f"/ace/manifest.m3u8?id={content.content_id}"
        )
        await follower.until(lambda: len(follower.segments) >= 6)
        await first_engine_stops(made)
        begun = len(follower.segments)
        await follower.until(lambda: len(follower.segments) >= begun + 10)
    follower.assert_right()
    broken = [segment.number for segment in follower.segments.values() if segment.discontinuity]
    assert len(broken) == breaks


async def first_engine_stops(made: Stage) -> None:
    channel = made.channel()
    assert channel is not None
    await made.engines[0].stop()


# -- as players meet it --


def assert_played(report: Report, seconds: float) -> None:
    assert (report.errors, report.waits) == ([], [])
    assert report.played >= seconds
    assert report.decoded >= seconds * 24
    assert report.shown == list(range(report.shown[0], report.shown[-1] + 1))


async def watch_in_chromium(data: Path, seconds: float) -> None:
    async with (
        front_door(data) as (_worker, base),
        chromium() as shown,
        shown.watch(f"{base}/live/demo/demo/1.m3u8") as watch,
    ):
        report = await watch.until_played(seconds)
        assert watch.strangers() == set()
    assert_played(report, seconds)


@pytest.mark.player
@pytest.mark.timeout(240)
async def test_hls_js_plays_a_minute_without_a_stall(tmp_path: Path) -> None:
    await watch_in_chromium(tmp_path, MINUTE)


@pytest.mark.player
@pytest.mark.slow
@pytest.mark.timeout(2 * LONG)
async def test_hls_js_plays_ten_minutes_without_a_stall(tmp_path: Path) -> None:
    await watch_in_chromium(tmp_path, LONG)


@pytest.mark.player
@pytest.mark.timeout(240)
async def test_hls_js_plays_on_past_the_discontinuity_when_an_engine_dies(tmp_path: Path) -> None:
    async with (
        stage(tmp_path, bundled_contents(), engines=2, apart_seconds=APART_SECONDS) as made,
        chromium() as shown,
    ):
        content = made.catalogues[0][0]
        url = f"http://127.0.0.1:{made.port}/ace/manifest.m3u8?id={content.content_id}"
        async with shown.watch(url) as watch:
            report = await watch.until_played(5)
            newest = report.shown[-1]
            await first_engine_stops(made)
            # what was made before the engine died, and as much again behind it
            report = await watch.until(
                lambda report: bool(report.fatal) or report.shown[-1] >= newest + 12,
                4 * PATIENCE_SECONDS,
            )
    assert (report.errors, report.waits) == ([], [])
    assert report.shown == list(range(report.shown[0], report.shown[-1] + 1))
    first = report.breaks[0]
    assert report.breaks == [first, first + 1]


async def watch_in_ffmpeg(data: Path, seconds: int) -> None:
    async with front_door(data) as (_worker, base):
        process = await asyncio.create_subprocess_exec(
            *player_command("ffmpeg", "-hide_banner", "-v", "error", "-nostdin", "-re"),
            *("-i", f"{base}/live/demo/demo/1.m3u8", "-t", str(seconds), "-f", "null", "-"),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        async with asyncio.timeout(2 * (seconds + PATIENCE_SECONDS)):
            out, _ = await process.communicate()
    assert (process.returncode, out.decode()) == (0, "")


@pytest.mark.player
@pytest.mark.timeout(240)
async def test_ffmpeg_plays_a_minute_without_an_error_line(tmp_path: Path) -> None:
    await watch_in_ffmpeg(tmp_path, MINUTE)


@pytest.mark.player
@pytest.mark.slow
@pytest.mark.timeout(2 * LONG)
async def test_ffmpeg_plays_ten_minutes_without_an_error_line(tmp_path: Path) -> None:
    await watch_in_ffmpeg(tmp_path, LONG)


@pytest.mark.player
@pytest.mark.parametrize("number", range(4), ids=["h264", "hevc", "mpeg2", "aac"])
async def test_ffmpeg_decodes_each_kind_of_channel(tmp_path: Path, number: int) -> None:
    """Not much faster than life: it looks for new segments once in a target duration."""
    contents = quick_contents()
    for content in contents:
        content.speed = 2.0
    async with front_door(tmp_path, contents=contents) as (_worker, base):
        status, out, err = await run(
            *player_command("ffmpeg", "-hide_banner", "-v", "error", "-nostdin"),
            *("-i", f"{base}/live/demo/demo/{number + 1}.m3u8", "-t", "30", "-f", "null", "-"),
        )
    assert (status, out, err) == (0, "", "")
