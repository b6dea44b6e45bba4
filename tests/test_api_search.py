"""The index as an operator looks through it, and what he takes from it into the line-up."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest
from operators import Desk

from rawstream.api_search import SearchOperations
from rawstream.catalogue import LiveCatalogue
from rawstream.engine_client import ContentRef
from rawstream.engine_search import Found, Hit
from rawstream.errors import UpstreamError
from rawstream.guide_desk import GuideDesk
from rawstream.logs import TextLines
from rawstream.records import Channel, ChannelSource
from rawstream.redaction import RedactingFilter

ONE, TWO, THREE = "1" * 40, "2" * 40, "3" * 40
CID = "c" * 40


class Index:
    """An engine's index."""

    def __init__(self) -> None:
        self.hits = [Hit(ONE, "One", ("sport",), available=True), Hit(TWO, "<img src=x>")]
        self.content_ids: dict[str, str] = {}
        self.asked: list[tuple[Any, ...]] = []
        self.down = False
        self.silent: set[str] = set()
        self.broken: set[str] = set()

    async def search(self, query: str, *, category: str, page: int, page_size: int) -> Found:
        self.asked.append((query, category, page, page_size))
        if self.down:
            raise UpstreamError("search", "http://e:6878", "no answer in time")
        return Found(tuple(self.hits), 77)

    async def content_id(self, infohash: str) -> str | None:
        if infohash in self.silent:
            await asyncio.Event().wait()
        if infohash in self.broken:
            raise RuntimeError("http://h/?token=canary")
        return self.content_ids.get(infohash)


class Searching:
    def __init__(self, desk: Desk) -> None:
        self.ask = desk.ask
        self.store = desk.store
        self.index: Any = Index()
        self.catalogue = LiveCatalogue(desk.store)
        self.learnt: list[tuple[ContentRef, str]] = []
        operations = SearchOperations(
            *(self.index, desk.store, self.catalogue, GuideDesk(desk.store)),
            patience_seconds=0.5,
            learn=lambda ref, infohash: self.learnt.append((ref, infohash)),
        )
        desk.open(operations.table())

    async def channel(self, name: str, kind: Any, value: str, infohash: str | None = None) -> int:
        source = ChannelSource(kind, value, infohash=infohash)
        return await self.store.lineup.add_channel(Channel(0, name, sources=(source,)))

    async def add(self, *items: dict[str, str], status: int = 200) -> Any:
        return await self.ask("POST", "/search/add", {"items": list(items)}, status)

    async def names(self) -> list[str]:
        return [one.name for one in await self.store.lineup.channels()]


@pytest.fixture
def searching(desk: Desk) -> Searching:
    return Searching(desk)


async def test_a_page_is_asked_for_and_shown(searching: Searching) -> None:
    found = await searching.ask("GET", "/search?q=a%26b&category=sport&page=2&page_size=20")
    assert searching.index.asked == [("a&b", "sport", 2, 20)]
    assert (found["total"], found["page"], found["page_size"]) == (77, 2, 20)
    first, second = found["items"]
    assert (first["infohash"], first["categories"], first["available"]) == (ONE, ["sport"], True)
    assert (second["name"], second["channels"]) == ("<img src=x>", [])


@pytest.mark.parametrize(
    "asked", ["page=-1", "page_size=0", "page_size=201", "page=x", "what=1", "q=" + "x" * 301]
)
async def test_a_question_that_is_none_is_refused(searching: Searching, asked: str) -> None:
    await searching.ask("GET", f"/search?{asked}", status=422)
    assert searching.index.asked == []


async def test_an_index_that_cannot_be_had_is_told(searching: Searching) -> None:
    searching.index.down = True
    problem = await searching.ask("GET", "/search", status=502)
    assert "no answer in time" in problem["detail"]


@pytest.mark.parametrize("kind", ["infohash", "unknown", "content_id", "magnet", "learnt", "kept"])
async def test_what_the_line_up_has_is_shown_and_not_added_again(
    searching: Searching, kind: str
) -> None:
    match kind:
        case "magnet":
            number = await searching.channel("Mine", kind, f"magnet:?xt=urn:btih:{ONE}&tr=x")
        case "learnt":
            number = await searching.channel("Mine", "content_id", CID)
            await searching.store.learn_infohashes({("content_id", CID): ONE})
        case "kept":
            number = await searching.channel("Mine", "content_id", CID, ONE)
        case "content_id":
            number = await searching.channel("Mine", "content_id", CID)
            searching.index.content_ids[ONE] = CID
        case _:
            number = await searching.channel("Mine", kind, ONE)
    mine = {"id": number, "name": "Mine"}
    found = await searching.ask("GET", "/search")
    shown = [one["channels"] for one in found["items"]]
    assert shown == [[] if kind == "content_id" else [mine], []]
    assert found["duplicates_unknown"] is (kind in ("content_id", "unknown"))
    added = await searching.add({"infohash": ONE, "name": "Again"})
    assert added == {
        "added": 0,
        "items": [
            {
                **{"infohash": ONE, "channel_id": number, "name": "Mine", "added": False},
                "duplicate_unknown": False,
            }
        ],
    }
    assert await searching.names() == ["Mine"]
    learnt = [(ContentRef("content_id", CID), ONE)] if kind == "content_id" else []
    assert searching.learnt == learnt, "the next page shows it too"


async def test_what_is_new_becomes_channels_with_their_category(searching: Searching) -> None:
    added = await searching.add(
        {"infohash": ONE.upper(), "name": " One\n", "category": "Sport"},
        {"infohash": TWO, "name": "Two"},
        {"infohash": ONE, "name": "The same"},
    )
    assert (added["added"], [one["added"] for one in added["items"]]) == (2, [True, True, False])
    assert added["items"][2]["channel_id"] == added["items"][0]["channel_id"]
    one, two = await searching.store.lineup.channels()
    assert (one.name, two.name) == ("One", "Two")
    (sport,) = await searching.store.lineup.categories()
    assert (sport.name, one.categories, two.categories) == ("Sport", (sport.id,), ())
    assert [(s.kind, s.value, s.infohash) for s in one.sources] == [("infohash", ONE, ONE)]
    assert [shown.name for shown in searching.catalogue.current.channels] == ["One", "Two"]


async def test_an_engine_that_is_silent_keeps_nothing_from_being_added(
    searching: Searching,
) -> None:
    number = await searching.channel("Mine", "content_id", CID)
    searching.index.content_ids[ONE] = CID
    searching.index.silent = {TWO}
    added = await searching.add({"infohash": TWO, "name": "Two"}, {"infohash": ONE, "name": "One"})
    assert [one["added"] for one in added["items"]] == [True, False]
    assert added["items"][1]["channel_id"] == number


@pytest.mark.parametrize(
    ("kind", "learnt", "unknown"),
    [("content_id", None, True), ("content_id", THREE, False), ("infohash", None, False)],
)
async def test_what_may_be_a_duplicate_is_said_to_be(
    kind: str, learnt: str | None, unknown: bool, searching: Searching
) -> None:
    await searching.channel("Mine", kind, CID, learnt)
    assert (await searching.ask("GET", "/search"))["duplicates_unknown"] is unknown
    searching.index.content_ids[ONE] = "d" * 40
    added = await searching.add({"infohash": ONE, "name": "One"}, {"infohash": TWO, "name": "Two"})
    assert [one["added"] for one in added["items"]] == [True, True]
    told = [one["duplicate_unknown"] for one in added["items"]]
    assert told == [False, unknown], "an engine knows the first one's id, of no channel"


async def test_a_bug_in_a_look_up_is_logged_and_keeps_nothing_from_being_added(
    searching: Searching, caplog: pytest.LogCaptureFixture
) -> None:
    number = await searching.channel("Mine", "content_id", CID)
    searching.index.content_ids[ONE] = CID
    searching.index.broken = {TWO}
    added = await searching.add({"infohash": TWO, "name": "Two"}, {"infohash": ONE, "name": "One"})
    assert [one["added"] for one in added["items"]] == [True, False]
    assert added["items"][1]["channel_id"] == number
    (record,) = [one for one in caplog.records if one.name == "rawstream.api_search"]
    assert TWO in record.getMessage() and record.exc_info is not None
    assert "canary" not in TextLines().format(_filtered(record))


def _filtered(record: logging.LogRecord) -> logging.LogRecord:
    RedactingFilter().filter(record)
    return record


async def test_two_who_add_the_same_at_once_have_it_once(searching: Searching) -> None:
    answers = await asyncio.gather(
        *(searching.add({"infohash": THREE, "name": f"N{n}"}) for n in range(4))
    )
    assert sum(one["added"] for one in answers) == 1
    assert len(await searching.names()) == 1


@pytest.mark.parametrize(
    ("item", "field"),
    [
        ({"infohash": "x", "name": "One"}, "items.0.infohash"),
        ({"infohash": ONE, "name": ""}, "items.0.name"),
        ({"infohash": ONE, "name": " \n"}, "items.0.name"),
        ({"infohash": ONE, "name": "One", "category": " "}, "items.0.category"),
        ({"infohash": ONE, "name": "One", "url": "x"}, "items.0.url"),
    ],
)
async def test_what_can_be_no_channel_is_refused_by_its_field(
    searching: Searching, item: dict[str, str], field: str
) -> None:
    problem = await searching.add(item, status=422)
    assert [one["field"] for one in problem["errors"]] == [field]
    assert await searching.names() == []
    assert await searching.store.lineup.categories() == []


async def test_a_channel_that_was_taken_off_the_line_up_does_not_count(
    searching: Searching,
) -> None:
    number = await searching.channel("Old", "infohash", ONE)
    async with searching.store.db.write() as transaction:
        await transaction.execute("UPDATE channels SET retired_at = 1 WHERE id = ?", (number,))
    assert (await searching.add({"infohash": ONE, "name": "New"}))["added"] == 1
