"""Films by every spelling of their URL, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest
from door import LOGIN, Door

from rawstream.catalogue import Catalogue
from rawstream.errors import ViewerError
from rawstream.film_web import FilmHead
from rawstream.records import Category, Channel, ChannelSource
from rawstream.vod import film_of

SOURCE = ChannelSource("direct", "http://films/one.mkv")


@pytest.fixture
def films(door: Door) -> Any:
    """A film and an episode on the line-up; what is done with them is noted."""
    shown = (
        Channel(7, "One", categories=(1,), sources=(SOURCE,), kind="movie", extension="mkv"),
        Channel(8, "Two", categories=(1,), sources=(SOURCE,), kind="episode", extension="mp4"),
        Channel(9, "Live", categories=(1,), sources=(SOURCE,)),
    )
    door.catalogue.current = Catalogue("films", shown, (Category(1, "All"),))
    return door.hub.films


SPELLINGS = (
    "/movie/ana/pw/7.mkv",
    "/movie/ana/pw/7.mp4",
    "/movie/ana/pw/7",
    "/movie/tok3n/7.mkv",
    "/series/tok3n/7",
    "//series//ana/pw/7.mkv/",
    "/movie/ana/tok3n/7.mkv",
)


@pytest.mark.parametrize("target", SPELLINGS)
async def test_every_spelling_plays(door: Door, films: Any, target: str) -> None:
    assert (await door.ask(door.vod.film, target)).status == 0
    assert films.watched == [("One", "ana", 30.0)]


async def test_an_episode_plays_as_a_film_does(door: Door, films: Any) -> None:
    assert (await door.ask(door.vod.film, "/series/ana/pw/8.mp4")).status == 0
    assert films.watched == [("Two", "ana", 30.0)]


@pytest.mark.parametrize("login", [LOGIN, "token=tok3n"])
async def test_a_query_plays_as_a_path_does(door: Door, films: Any, login: str) -> None:
    for query in ("&stream=7&extension=mkv", "&stream=7", "&stream=7.mkv"):
        target = f"/streaming/vod.php?{login}{query}"
        assert (await door.ask(door.vod.film_by_query, target)).status == 0
    assert len(films.watched) == 3
    target = f"/streaming/vod.php?{login}"
    assert (await door.ask(door.vod.film_by_query, target)).status == 404


async def test_players_that_ask_again_are_held_for_less(door: Door, films: Any) -> None:
    agent = {"user-agent": "ExoPlayer"}
    assert (await door.ask(door.vod.film, "/movie/ana/pw/7", headers=agent)).status == 0
    assert films.watched == [("One", "ana", 6.5)]


@pytest.mark.parametrize(
    ("target", "status"),
    [
        ("/movie/ana/no/7.mkv", 403),
        ("/movie/nobody/pw/7.mkv", 403),
        ("/movie/badtoken/7.mkv", 403),
        ("/movie/old/pw/7.mkv", 403),
        ("/movie/ana/pw/9.ts", 404),
        ("/movie/ana/pw/1.mkv", 404),
        ("/movie/ana/pw/x.mkv", 404),
        ("/movie/ana/pw/7.m.kv", 404),
        ("/movie/ana/pw/99999999999.mkv", 404),
    ],
)
async def test_what_does_not_play(door: Door, films: Any, target: str, status: int) -> None:
    for method in ("GET", "HEAD"):
        assert (await door.ask(door.vod.film, target, method)).status == status
    assert films.watched == []


@pytest.mark.parametrize("target", SPELLINGS)
async def test_head_tells_the_length_and_counts_nobody(door: Door, films: Any, target: str) -> None:
    films.known = FilmHead(5, True, '"a"')
    await door.ask(door.vod.film, target, "HEAD")
    ((headers, content_type, length),) = door.exchange.streamed
    assert (content_type, length) == ("video/x-matroska", 5)
    assert (headers["Accept-Ranges"], headers["ETag"]) == ("bytes", '"a"')
    assert films.watched == []
    assert door.accounts._leases == {}


async def test_head_of_what_nobody_knows_yet_tells_no_length(door: Door, films: Any) -> None:
    await door.ask(door.vod.film, "/movie/ana/pw/7.mkv", "HEAD")
    ((headers, _, length),) = door.exchange.streamed
    assert length is None
    assert "Accept-Ranges" not in headers


async def test_a_film_that_fails_gives_its_lease_back(door: Door, films: Any) -> None:
    films.failure = ViewerError(503, "no", retry_after=1)
    for _ in range(20):  # more than the sockets one player may have
        assert (await door.ask(door.vod.film, "/movie/ana/pw/7")).status == 503
    films.failure = None
    assert (await door.ask(door.vod.film, "/movie/ana/pw/7")).status == 0


def test_a_film_is_told_by_its_number() -> None:
    film = film_of(Channel(7, "One", sources=(SOURCE,), kind="movie", extension="mkv"))
    assert film == ("7", "One", (SOURCE,), "mkv")
