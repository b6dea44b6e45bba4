"""Each file once, by whatever it is called."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from raw_engine import CONTENT_ID, INFOHASH, granted
from stage import until
from theatre import Theatre, asked, opened

from rawstream.config import Limits
from rawstream.engine_client import ContentRef
from rawstream.errors import UpstreamError
from rawstream.fetch_policy import FetchPolicy
from rawstream.film_engine import EngineFile
from rawstream.film_files import _WEB_REMEMBERED, FilmFiles, on_engine
from rawstream.film_viewer import Film
from rawstream.film_web import NotAFilm
from rawstream.records import ChannelSource

BY_ID, BY_INFOHASH = ChannelSource("content_id", CONTENT_ID), ChannelSource("infohash", INFOHASH)
FILM, SAME_FILM = Film("1", "A film", (BY_ID,)), Film("2", "The same", (BY_INFOHASH,))
HEADERS = (("User-Agent", "box"),)


@pytest.fixture
async def theatre(tmp_path: Path) -> AsyncIterator[Theatre]:
    async with opened(tmp_path) as made:
        yield made


@pytest.fixture
def on_air() -> set[ContentRef]:
    return set()


@pytest.fixture
async def files(theatre: Theatre, on_air: set[ContentRef]) -> AsyncIterator[FilmFiles]:
    async def no_room() -> bool:
        return False

    policy = FetchPolicy([theatre.engine.url], lambda: [], ())
    made = FilmFiles(
        theatre.pool,
        policy,
        theatre.timeouts,
        Limits(),
        make_room=no_room,
        on_air=lambda ref: ref in on_air,
    )
    yield made
    await made.close()


async def of(files: FilmFiles, way: ChannelSource, film: Film = FILM) -> EngineFile:
    file = await files.opened(way, film)
    assert isinstance(file, EngineFile)
    return file


async def test_the_second_name_of_a_content_is_the_same_file(
    theatre: Theatre, files: FilmFiles
) -> None:
    theatre.pool.learn(ContentRef("content_id", CONTENT_ID), INFOHASH)
    file = await of(files, BY_ID)
    assert await of(files, BY_INFOHASH, SAME_FILM) is file
    assert files.open == {file: SAME_FILM}
    assert files.has(ContentRef("content_id", CONTENT_ID))
    assert files.has(ContentRef("infohash", INFOHASH))


async def test_two_that_turn_out_to_be_one_content_open_one_session(
    theatre: Theatre, files: FilmFiles
) -> None:
    first = await of(files, BY_INFOHASH)
    (await first.open(asked("bytes=0-0"))).close()
    second = await of(files, BY_ID)
    if second is not first:  # nobody could tell before
        with pytest.raises(UpstreamError, match="another name"):
            await second.open(asked("bytes=0-0"))
    assert await of(files, BY_ID) is first
    assert theatre.pool.sessions_stopped == 0


async def test_what_is_over_is_opened_anew(theatre: Theatre, files: FilmFiles) -> None:
    theatre.engine.answers["/ace/getstream"] = granted()
    file = await of(files, BY_ID)
    with pytest.raises(NotAFilm):
        await file.open(asked())
    await until(lambda: not files.open, "it is over")
    assert not files.has(ContentRef("content_id", CONTENT_ID))
    assert await of(files, BY_ID) is not file


async def test_what_is_on_air_is_no_film(files: FilmFiles, on_air: set[ContentRef]) -> None:
    on_air.add(ContentRef("content_id", CONTENT_ID))
    with pytest.raises(NotAFilm, match="on air"):
        await files.opened(BY_ID, FILM)
    assert not files.open


async def test_one_that_nobody_reads_may_give_way(theatre: Theatre, files: FilmFiles) -> None:
    file = await of(files, BY_ID)
    part = await file.open(asked("bytes=0-0"))
    assert files.lingering() == []
    part.close()
    ((since, stop),) = files.lingering()
    assert since == file.empty_since
    await asyncio.wait({stop()})
    assert (files.lingering(), files.open) == ([], {})
    assert theatre.pool.sessions_stopped == 1


async def test_the_linger_ends_in_a_tick(theatre: Theatre, files: FilmFiles) -> None:
    file = await of(files, BY_ID)
    (await file.open(asked("bytes=0-0"))).close()
    assert file.empty_since is not None
    files.tick(file.empty_since + theatre.timeouts.linger_seconds - 0.01)
    assert files.open
    files.tick(file.empty_since + theatre.timeouts.linger_seconds)
    assert not files.open


async def test_a_file_on_the_web_is_one_per_address_with_a_bound(files: FilmFiles) -> None:
    way = ChannelSource("direct", "http://h/0.mp4", HEADERS)
    file = await files.opened(way, FILM)
    assert files.on_web(way) is file
    for number in range(1, _WEB_REMEMBERED):
        files.on_web(ChannelSource("direct", f"http://h/{number}.mp4"))
    assert files.on_web(way) is file
    files.on_web(ChannelSource("direct", "http://h/more.mp4"))
    assert files.on_web(way) is file, "the one that was asked for last stays"
    assert len(files._web) == _WEB_REMEMBERED
    assert not files.open


async def test_a_playlist_is_no_file(files: FilmFiles) -> None:
    way = ChannelSource("hls", "http://h/film.m3u8")
    assert not on_engine(way)
    with pytest.raises(NotAFilm):
        await files.opened(way, FILM)
