"""Guides as an operator sees them: mappings, what there is, what is on."""

from __future__ import annotations

import pytest
from guides import HOUR, NOON, add_guide, guide, show
from operators import Desk

from rawstream.api_guide import GuideOperations
from rawstream.catalogue import LiveCatalogue
from rawstream.guide_desk import GuideDesk
from rawstream.guide_import import rematch
from rawstream.records import Channel


class Guides:
    def __init__(self, desk: Desk) -> None:
        self.desk = desk
        self.ask = desk.ask
        self.catalogue = LiveCatalogue(desk.store)
        operations = GuideOperations(desk.store, self.catalogue, GuideDesk(desk.store))
        desk.open(operations.table())


@pytest.fixture
async def guides(desk: Desk) -> Guides:
    for number, name in ((1, "One"), (2, "Sekond"), (3, "Nothing")):
        await desk.store.lineup.add_channel(Channel(number, name, position=number))
    programmes = (
        show("one.it", NOON, NOON + HOUR, "Film & more"),
        show("one.it", NOON + HOUR, NOON + 2 * HOUR, "Later"),
        show("two", NOON - HOUR, NOON + HOUR, "News"),
    )
    await add_guide(desk.store, guide(*programmes, names=[("two", "Second")]))
    await rematch(desk.store)
    made = Guides(desk)
    await made.catalogue.look()
    return made


async def test_who_has_no_guide_comes_first_with_what_there_is_to_choose(guides: Guides) -> None:
    found = await guides.ask("GET", "/guide/mappings")
    assert found["total"] == 3
    first, second, third = found["items"]
    assert (first["name"], first["guide"], second["name"]) == ("Sekond", None, "Nothing")
    assert first["candidates"] == [{"guide_id": "two", "name": "Second", "score": 83}]
    assert third["guide"] == {
        **{"guide_id": "one.it", "rule": "normalised name", "score": 95},
        "manual": False,
    }
    assert (third["ours"], third["theirs"], third["candidates"]) == ("One", "one.it", [])
    found = await guides.ask("GET", "/guide/mappings?state=unmapped&q=SEK&limit=1")
    assert [one["channel_id"] for one in found["items"]] == [2]


async def test_a_guide_is_chosen_denied_and_left_to_the_matching_again(guides: Guides) -> None:
    path = "/channels/1/guide"
    chosen = await guides.ask("PUT", path, {"guide_id": "two"})
    assert chosen["guide"] == {
        **{"guide_id": "two", "rule": "by hand", "score": 100},
        "manual": True,
    }
    assert guides.catalogue.current.channels[0].guide_id == "two"
    denied = await guides.ask("PUT", path, {"guide_id": None})
    assert (denied["guide"]["guide_id"], denied["guide"]["manual"]) == ("", True)
    (shown,) = (await guides.ask("GET", "/guide/mappings?state=manual"))["items"]
    assert shown["theirs"] == ""
    await guides.ask("PUT", path, {"guide_id": "two"})
    (shown,) = (await guides.ask("GET", "/guide/mappings?state=manual"))["items"]
    assert shown["theirs"] == "Second"
    left = await guides.ask("PUT", path, {"auto": True})
    assert (left["guide"]["guide_id"], left["guide"]["manual"]) == ("one.it", False)
    assert guides.catalogue.current.channels[0].guide_id == "one.it"
    await guides.ask("PUT", path, {"auto": True, "guide_id": "two"}, status=422)
    await guides.ask("PUT", "/channels/9/guide", {"auto": True}, status=404)
    await guides.desk.store.lineup.add_channel(Channel(7, "Film", kind="movie"))
    await guides.ask("PUT", "/channels/7/guide", {"guide_id": "two"}, status=422)
    stale = {"headers": {"if-match": '"other"'}}
    await guides.ask("PUT", path, {"guide_id": "two"}, status=412, **stale)


async def test_the_guides_there_are(guides: Guides) -> None:
    found = await guides.ask("GET", "/guide/channels?q=SECOND")
    assert found["items"] == [{"id": "two", "names": ["Second"], "icon": ""}]
    assert (await guides.ask("GET", "/guide/channels"))["total"] == 2


async def test_what_is_on_by_channel_and_hour(guides: Guides) -> None:
    found = await guides.ask("GET", f"/guide/grid?start={NOON}&hours=1")
    assert (found["start"], found["stop"], found["total"]) == (NOON, NOON + HOUR, 3)
    one, two, nothing = found["items"]
    assert [item["title"] for item in one["programmes"]] == ["Film & more"]
    assert (one["guide_id"], two["guide_id"], nothing["programmes"]) == ("one.it", "", [])
    await guides.ask("PUT", "/channels/2/guide", {"guide_id": "two"})
    found = await guides.ask("GET", f"/guide/grid?start={NOON}&hours=2&q=sek")
    (row,) = found["items"]
    assert row["programmes"] == [{"start": NOON - HOUR, "stop": NOON + HOUR, "title": "News"}]
    paged = await guides.ask("GET", f"/guide/grid?start={NOON}&offset=1&limit=1")
    assert [row["channel_id"] for row in paged["items"]] == [2]
    empty = await guides.ask("GET", "/guide/grid")
    assert empty["start"] % 1800 == 0 and empty["stop"] - empty["start"] == 3 * HOUR
