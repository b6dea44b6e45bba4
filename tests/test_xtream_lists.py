"""Lists that are built once."""

from __future__ import annotations

import asyncio
import gzip
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest
from guides import HOUR, NOON, add_guide, guide, show
from lxml import etree
from stage import PATIENCE_SECONDS, until

from rawstream import xtream_lists
from rawstream.catalogue import Catalogue, Films
from rawstream.errors import StateError, ViewerError
from rawstream.m3u import M3uReader
from rawstream.records import Account, Category, Channel, Series
from rawstream.store import Store
from rawstream.xtream_lists import _GUIDES_WAITING, EnigmaMenu, Prefixes, XtreamLists

NOWHERE = Path("no-database")
CATALOGUE = Catalogue(
    1,
    [
        Channel(1, 'One "HD", the first', logo="http://l", guide_id="one.it", categories=(3,)),
        Channel(2, "Radio", radio=True),
        *(Channel(number, f"More {number}", categories=(3,)) for number in range(3, 40)),
    ],
    [Category(3, "News;Sport")],
)
VIEW = CATALOGUE.visible(Account(1, "ana", ""))


async def m3u(plus: bool = True, user: str = "ana", **more: bool) -> str:
    body = await XtreamLists(NOWHERE).m3u(
        VIEW,
        plus=plus,
        extension=".ts",
        prefixes=Prefixes.of("http://h", f"{user}/pw"),
        guide_url=f"http://h/xmltv.php?username={user}",
        **more,
    )
    return body.decode()


async def test_row_22_the_list_reads_back() -> None:
    text = await m3u()
    assert text.startswith("#EXTM3U ")
    reader = M3uReader()
    entries = reader.feed(text.encode())
    ending = reader.finish()
    assert (len(entries), ending.dropped, ending.warnings) == (39, 0, ())
    assert reader.guide_urls == ["http://h/xmltv.php?username=ana"]
    assert 'x-tvg-url="http' in text
    first, radio = entries[:2]
    assert first.url == "http://h/live/ana/pw/1.ts"
    assert (first.tvg_id, first.groups, first.name) == (
        "one.it",
        ("News Sport",),
        "One 'HD' the first",
    )
    assert radio.radio
    assert radio.groups == ("Other",)
    for line in text.splitlines():
        if line.startswith("#EXTINF"):
            assert line.rpartition('",')[0].rpartition(' group-title="')[1], "group-title is last"


async def test_lines_for_kodi_are_one_per_channel_and_may_be_left_out() -> None:
    assert (await m3u()).count("#KODIPROP:mimetype=video/mp2t\n") == 39
    assert "#KODIPROP" not in await m3u(kodi=False)


async def test_a_plain_list_has_names_and_urls_only() -> None:
    lines = (await m3u(plus=False)).splitlines()
    assert lines[:3] == ["#EXTM3U", "#EXTINF:-1,One 'HD' the first", "http://h/live/ana/pw/1.ts"]


async def test_one_build_serves_everybody_and_mixes_nobody_up() -> None:
    lists = XtreamLists(NOWHERE)

    async def of(user: str) -> bytes:
        return await lists.m3u(
            VIEW, plus=True, extension=".ts", prefixes=Prefixes.of("", user), guide_url=user
        )

    assert b"ana" not in await of("bob")
    assert b"/ana/1.ts" in await of("ana")
    first = await lists.streams(CATALOGUE, VIEW, None)
    assert await lists.streams(CATALOGUE, VIEW, None) is first


async def test_streams_are_packed_and_filtered() -> None:
    lists = XtreamLists(NOWHERE)
    everything = await lists.streams(CATALOGUE, VIEW, None)
    assert everything.packed is not None
    assert gzip.decompress(everything.packed) == everything.body
    assert len(orjson.loads(everything.body)) == 39
    assert len(orjson.loads((await lists.streams(CATALOGUE, VIEW, 3)).body)) == 38
    assert (await lists.streams(CATALOGUE, VIEW, 12345)).body == b"[]"


async def test_the_guide_is_built_once_for_all_who_ask(tmp_path: Path) -> None:
    store = await Store.open(tmp_path)
    await add_guide(store, guide(show("one.it", NOON, NOON + HOUR, "Film")))
    lists = XtreamLists(store.db.path)
    assert not lists.has_xmltv(VIEW, NOON, NOON + HOUR)
    first, second = await asyncio.gather(*(lists.xmltv(VIEW, NOON, NOON + HOUR) for _ in range(2)))
    assert first is second
    assert lists.has_xmltv(VIEW, NOON, NOON + HOUR)
    root = etree.fromstring(first.body)
    assert [(one.tag, one.get("id") or one.get("channel")) for one in root] == [
        ("channel", "one.it"),
        ("programme", "one.it"),
    ]
    await store.close()


async def test_a_guide_that_cannot_be_read_is_not_kept(tmp_path: Path) -> None:
    lists = XtreamLists(tmp_path / "gone")
    for _ in range(2):
        with pytest.raises(StateError):
            await lists.xmltv(VIEW, NOON, NOON + HOUR)


async def test_what_was_built_has_a_bound() -> None:
    lists = XtreamLists(NOWHERE, limit_bytes=1)
    first = await lists.categories(VIEW)
    assert await lists.categories(VIEW) is first, "the newest stays, however large"
    await lists.streams(CATALOGUE, VIEW, None)
    assert await lists.categories(VIEW) is not first


@pytest.mark.parametrize(
    ("first", "last"), [(0, 10), (5, None), (38, 39), (38, 99), (39, None), (7, 7), (9, 3)]
)
async def test_a_page_is_a_slice_of_the_rows(first: int, last: int | None) -> None:
    built = await XtreamLists(NOWHERE).streams(CATALOGUE, VIEW, None)
    assert orjson.loads(built.page(first, last)) == orjson.loads(built.body)[first:last]


async def test_what_one_player_asks_for_again_is_not_made_again() -> None:
    """Thousands of equal requests at once hold one list, and cost the loop one."""
    lists = XtreamLists(NOWHERE)

    async def enigma(title: str) -> bytes:
        return await lists.enigma2(
            VIEW,
            EnigmaMenu("get_live_streams", "3"),
            title=title,
            prefixes=Prefixes.of("", "a"),
            menu_url="/m?",
        )

    async def channels(user: str) -> bytes:
        return await lists.m3u(
            VIEW, plus=True, extension=".ts", prefixes=Prefixes.of("", user), guide_url=user
        )

    for of in (enigma, channels):
        first, *others = await asyncio.gather(*(of("ana") for _ in range(20)))
        assert all(other is first for other in others)
        assert await of("ana") is first
        assert await of("bob") != first


class Press:
    """A guide that takes as long as the test wants."""

    def __init__(self) -> None:
        self.go = threading.Event()
        self.pieces = 1
        self.begun: list[int] = []
        self.at_work = self.most_at_work = 0

    def document(self, _path: Path, _channels: Any, since: int, _until: int) -> Iterator[bytes]:
        self.begun.append(since)
        self.at_work += 1
        self.most_at_work = max(self.most_at_work, self.at_work)
        for _ in range(self.pieces):
            self.go.wait(PATIENCE_SECONDS)
            yield b"x"
        self.at_work -= 1


@pytest.fixture
def press(monkeypatch: pytest.MonkeyPatch) -> Iterator[Press]:
    made = Press()
    monkeypatch.setattr(xtream_lists, "document", made.document)
    yield made
    made.go.set()


async def test_guides_are_made_one_at_a_time_and_keep_nobody_else_waiting(press: Press) -> None:
    lists = XtreamLists(NOWHERE)
    asked = [
        asyncio.create_task(lists.xmltv(VIEW, since, HOUR)) for since in range(_GUIDES_WAITING)
    ]
    await until(lambda: press.begun)
    with pytest.raises(ViewerError) as refused:
        await lists.xmltv(VIEW, 99, HOUR)
    assert refused.value.status == 503
    assert refused.value.retry_after
    assert (await lists.categories(VIEW)).body
    press.go.set()
    await asyncio.gather(*asked, lists.xmltv(VIEW, 0, HOUR))
    assert press.most_at_work == 1
    assert (await lists.xmltv(VIEW, 99, HOUR)).body == b"x"


async def test_what_is_being_made_is_not_forgotten_for_want_of_room(press: Press) -> None:
    lists = XtreamLists(NOWHERE, limit_bytes=1)
    first = asyncio.create_task(lists.xmltv(VIEW, 0, HOUR))
    await until(lambda: press.begun)
    await lists.categories(VIEW)
    await lists.streams(CATALOGUE, VIEW, None)
    second = asyncio.create_task(lists.xmltv(VIEW, 0, HOUR))
    await asyncio.sleep(0)
    press.go.set()
    assert await first is await second
    assert press.begun == [0]


async def test_a_guide_that_is_being_made_does_not_hold_up_the_end(press: Press) -> None:
    press.pieces = 1 << 40
    lists = XtreamLists(NOWHERE)
    asked = asyncio.create_task(lists.xmltv(VIEW, 0, HOUR))
    await until(lambda: press.begun)
    press.go.set()
    lists.close()
    with pytest.raises(ViewerError):
        await asked


# -- films --

SHELVES = Catalogue(
    2,
    [
        *(Channel(number, f"Film {number}", categories=(3,), kind="movie") for number in (1, 2)),
        Channel(5, "Show S01E01", categories=(3,), kind="episode", series_id=7, season=1),
    ],
    [Category(3, "Films")],
    series=[Series(7, "Show")],
)


async def test_films_are_sorted_out_off_the_loop_and_once(monkeypatch: pytest.MonkeyPatch) -> None:
    view, lists = SHELVES.visible(Account(1, "ana", "")), XtreamLists(NOWHERE)
    sorting: list[threading.Thread] = []
    real = Films.shelves

    def shelves(films: Films) -> Any:
        if not films.are_sorted:
            sorting.append(threading.current_thread())
        return real(films)

    monkeypatch.setattr(Films, "shelves", shelves)
    made = await asyncio.gather(
        lists.film(view, 1),
        lists.one_series(view, 7),
        lists.streams(SHELVES, view, 3, "movie"),
        lists.streams(SHELVES, view, 3, "series"),
        lists.categories(view, "series"),
    )
    assert b'"stream_id":1' in made[0]
    assert b'"id":"5"' in made[1]
    assert len(orjson.loads(made[2].body)) == 2
    assert sorting
    assert threading.main_thread() not in sorting
    assert len(sorting) == 1
    lists.close()


async def test_single_films_and_unknown_categories_push_no_list_out() -> None:
    view, lists = SHELVES.visible(Account(2, "bob", "")), XtreamLists(NOWHERE)
    await lists.streams(SHELVES, view, None, "movie")
    for number in range(400):
        await lists.film(view, number)
        await lists.one_series(view, number)
        assert (await lists.streams(SHELVES, view, 1000 + number, "movie")).body == b"[]"
    assert len(lists._built) == 1
    assert lists.streams_at_once(view, None, "movie") is not None
    lists.close()
