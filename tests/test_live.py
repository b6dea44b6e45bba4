"""Live streams by every spelling of their URL, and what is refused."""

from __future__ import annotations

import pytest
from door import LOGIN, Door

from rawstream.errors import ViewerError
from rawstream.records import Channel

SIX = (
    "/live/ana/pw/1.ts",
    "/live/ana/pw/1",
    "//live//ana/pw/1.ts/",
    "/ana/pw/1",
    "/ana/pw/1.ts",
    "/live/tok3n/1.ts",
    "/live/tok3n/1",
)


@pytest.mark.parametrize("target", SIX)
async def test_row_4_every_spelling_plays(door: Door, target: str) -> None:
    assert await door.play(target) == 0
    assert door.hub.watched == [("One", "ana")]


@pytest.mark.parametrize(
    "query", ["&stream=1", "&stream=1&extension=ts", "&stream=1.ts", "&stream=1&extension="]
)
@pytest.mark.parametrize("login", [LOGIN, "token=tok3n"])
async def test_a_query_plays_as_a_path_does(door: Door, query: str, login: str) -> None:
    target = f"/streaming/live.php?{login}{query}"
    assert (await door.ask(door.live.live_by_query, target)).status == 0
    assert door.hub.watched == [("One", "ana")]
    for wrong, status in (("&stream=1&extension=mkv", 404), ("&stream=", 404), ("", 404)):
        target = f"/streaming/live.php?{login}{wrong}"
        assert (await door.ask(door.live.live_by_query, target)).status == status


@pytest.mark.parametrize("target", ["/live/ana/pw/1.m3u8", "/ana/pw/1.M3U8", "/live/tok3n/1.m3u8"])
async def test_row_24_a_playlists_name_is_answered_as_hls(door: Door, target: str) -> None:
    assert await door.play(target) == 0
    assert door.hub.watched == [("One as HLS", "ana")]
    assert await door.play(target, "HEAD") == 0
    ((headers, content_type),) = door.exchange.streamed
    assert (content_type, headers["Cache-Control"]) == ("application/vnd.apple.mpegurl", "no-store")


@pytest.mark.parametrize("target", SIX)
async def test_row_6_head_is_answered_and_starts_nothing(door: Door, target: str) -> None:
    assert await door.play(target, "HEAD") == 0
    assert door.hub.watched == []
    ((headers, content_type),) = door.exchange.streamed
    assert (content_type, headers["Accept-Ranges"]) == ("video/mp2t", "none")


@pytest.mark.parametrize(
    ("target", "status"),
    [
        ("/live/ana/no/1.ts", 403),
        ("/live/nobody/pw/1.ts", 403),
        ("/live/badtoken/1.ts", 403),
        ("/live/sam/pw/1.ts", 403),
        ("/live/sam/pw/1", 403),
        ("/live/tom/pw/1.m3u8", 403),
        ("/live/old/pw/1.m3u8", 403),
        ("/live/ana/pw/99.ts", 404),
        ("/live/ana/pw/x.ts", 404),
        ("/live/ana/pw/99.m3u8", 404),
        ("/live/ana/pw/1.mp4", 404),
        ("/live/ana/pw/99999999999999.ts", 404),
    ],
)
async def test_rows_24_32_what_does_not_play(door: Door, target: str, status: int) -> None:
    assert await door.play(target) == status


async def test_a_channel_that_fails_gives_its_lease_back(door: Door) -> None:
    door.hub.failure = ViewerError(503, "no", retry_after=1)
    for _ in range(20):  # more than the sockets one player may have
        assert await door.play("/live/ana/pw/1.ts") == 503
    door.hub.failure = None
    assert await door.play("/live/ana/pw/1.ts") == 0


async def test_a_film_is_not_played_as_a_channel(door: Door) -> None:
    number = await door.store.lineup.add_channel(Channel(0, "Film", kind="movie", extension="ts"))
    await door.catalogue.reload()
    for target in (f"/live/ana/pw/{number}.ts", f"/ana/pw/{number}"):
        assert await door.play(target) == 404
