"""Channels as an operator sees and changes them."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from guides import HOUR, NOON, add_guide, guide, show
from operators import Desk

from rawstream.api_channels import ChannelOperations
from rawstream.catalogue import LiveCatalogue
from rawstream.guide_desk import GuideDesk
from rawstream.records import Channel, ChannelSource, ListSource

HEX, OTHER = "a" * 40, "b" * 40


class LineUp:
    """A desk with channels on it."""

    def __init__(self, desk: Desk) -> None:
        self.desk = desk
        self.ask = desk.ask
        self.store = desk.store
        self.catalogue = LiveCatalogue(desk.store)
        operations = ChannelOperations(desk.store, self.catalogue, GuideDesk(desk.store))
        desk.open(operations.table())

    @property
    def shown(self) -> list[str]:
        """What players see at this moment."""
        return [one.name for one in self.catalogue.current.channels]


@pytest.fixture
def lineup(desk: Desk) -> LineUp:
    return LineUp(desk)


async def test_a_channel_from_its_making_to_its_end(lineup: LineUp) -> None:
    news = (await lineup.store.lineup.category_named("News")).id
    body = {"name": " One\n", "sources": [{"link": f"acestream://{HEX}"}], "categories": [news]}
    made = await lineup.ask("POST", "/channels", body, status=201)
    assert (made["name"], made["kind"], made["categories"]) == ("One", "live", [news])
    source = {"kind": "unknown", "value": HEX, "headers": {}, "infohash": None, "playlist_id": None}
    assert made["sources"] == [source]
    assert lineup.shown == ["One"]
    path = f"/channels/{made['id']}"
    assert await lineup.ask("GET", path) == made
    changed = await lineup.ask("PATCH", path, {"number": "5", "name": None, "logo": "/logos/a.png"})
    assert (changed["number"], changed["name"], changed["edited"]) == (
        *("5", "One"),
        ["logo", "number"],
    )
    assert await lineup.ask("PATCH", path, {}) == changed
    off = await lineup.ask("PATCH", path, {"enabled": False})
    assert (off["enabled"], off["edited"], lineup.shown) == (False, ["logo", "number"], [])
    await lineup.ask("DELETE", path, status=204)
    for method, body in (("GET", None), ("PATCH", {}), ("DELETE", None)):
        await lineup.ask(method, path, body, status=404)


async def test_an_edit_of_what_has_changed_meanwhile_is_not_done(lineup: LineUp) -> None:
    await lineup.store.lineup.add_channel(Channel(1, "One"))
    tag = dict((await lineup.desk.answer("GET", "/channels/1")).headers)["ETag"]
    mine = {"headers": {"if-match": tag}}
    after = await lineup.desk.answer("PATCH", "/channels/1", {"name": "Uno"}, **mine)
    assert after.status == 200
    for method, path, body in (
        ("PATCH", "/channels/1", {"name": "Due"}),
        ("PUT", "/channels/1/sources", {"sources": []}),
        ("DELETE", "/channels/1", None),
    ):
        await lineup.ask(method, path, body, status=412, **mine)
    assert lineup.shown == ["Uno"]
    newer = dict(after.headers)["ETag"]
    await lineup.ask("DELETE", "/channels/1", status=204, headers={"if-match": newer})


async def test_of_edits_of_the_same_thing_at_once_one_is_done(lineup: LineUp) -> None:
    await lineup.store.lineup.add_channel(Channel(1, "One"))
    mine = {"if-match": dict((await lineup.desk.answer("GET", "/channels/1")).headers)["ETag"]}
    answers = await asyncio.gather(
        lineup.desk.answer(
            "PUT", "/channels/1/sources", {"sources": [{"link": HEX}]}, headers=mine
        ),
        *(
            lineup.desk.answer("PATCH", "/channels/1", {"name": name}, headers=mine)
            for name in ("Uno", "Due", "Tre")
        ),
        lineup.desk.answer("DELETE", "/channels/1", headers=mine),
    )
    assert sorted(one.status for one in answers) in ([200, *[412] * 4], [204, *[404] * 4])


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"name": ""}, "name"),
        ({"name": "\n"}, "name"),
        ({"name": "x", "logo": "javascript:x"}, "logo"),
        ({"name": "x", "categories": [9]}, "categories"),
        ({"name": "x", "kind": "episode"}, "series"),
        ({"name": "x", "season": 1}, "kind"),
        ({"name": "x", "colour": 1}, "colour"),
        ({"name": "x", "sources": [{}]}, "sources.0"),
        ({"name": "x", "sources": [{"link": HEX}, {"link": "nonsense"}]}, "sources.1"),
        ({"name": "x", "sources": [{"kind": "direct", "value": HEX}]}, "sources.0"),
        ({"name": "x", "sources": [{"link": HEX, "kind": "direct"}]}, "sources.0"),
    ],
)
async def test_what_a_channel_can_not_be(lineup: LineUp, body: dict[str, Any], field: str) -> None:
    told = await lineup.ask("POST", "/channels", body, status=422)
    assert [one["field"] for one in told["errors"]] == [field]
    assert await lineup.store.lineup.channels() == []


async def test_sources_are_put_in_order_and_keep_what_is_known_of_them(lineup: LineUp) -> None:
    playlist = await lineup.store.lineup.add_list(ListSource(0, "playlist", "http://h/l"))
    old = (
        ChannelSource("content_id", HEX, (), OTHER, playlist),
        ChannelSource("direct", "http://h/a b", (("User-Agent", "Böx"),), None, playlist),
    )
    await lineup.store.lineup.add_channel(Channel(1, "One", sources=old))
    there = (await lineup.ask("GET", "/channels/1"))["sources"]
    wanted = [{name: one[name] for name in ("kind", "value", "headers")} for one in reversed(there)]
    wanted.append({"link": "http://h/live.ts|User-Agent=Box"})
    changed = await lineup.ask("PUT", "/channels/1/sources", {"sources": wanted})
    assert changed["sources"][:2] == there[::-1], "even what nobody could set is kept"
    assert changed["sources"][2]["headers"] == {"User-Agent": "Box"}
    assert changed["edited"] == ["sources"]
    channel = await lineup.store.lineup.channel(1)
    assert channel is not None and channel.sources[:2] == old[::-1]


async def test_a_part_of_the_line_up(lineup: LineUp) -> None:
    for number in range(1, 6):
        channel = Channel(number, f"C{number}", position=9 - number, enabled=number != 2)
        await lineup.store.lineup.add_channel(channel)
    found = await lineup.ask("GET", "/channels?offset=1&limit=2")
    assert [one["id"] for one in found["items"]] == [4, 3]
    assert (found["total"], found["offset"], found["limit"]) == (5, 1, 2)
    found = await lineup.ask("GET", "/channels?state=disabled&kind=live&q=c")
    assert [one["id"] for one in found["items"]] == [2]
    await lineup.ask("GET", "/channels?state=open", status=422)


async def test_many_are_changed_numbered_and_removed_at_once(lineup: LineUp) -> None:
    for number in (1, 2, 3):
        await lineup.store.lineup.add_channel(Channel(number, f"C{number}", position=9 - number))
    body = {"filter": {"q": "c"}, "change": {"adult": True}, "renumber": {"start": 10, "step": 5}}
    assert await lineup.ask("POST", "/channels/bulk", body) == {"changed": 3}
    found = {one.id: one for one in await lineup.store.lineup.channels()}
    assert [found[number].number for number in (3, 2, 1)] == ["10", "15", "20"]
    assert all(one.adult for one in found.values())
    body = {"ids": [1, 2, 99], "change": {"enabled": False}}
    assert await lineup.ask("POST", "/channels/bulk", body) == {"changed": 2}
    assert lineup.shown == ["C3"]
    told = await lineup.ask(
        "POST", "/channels/bulk", {"ids": [3], "change": {"categories_set": [7]}}, status=422
    )
    assert told["errors"][0]["field"] == "change"
    for wrong in (
        {"ids": [3]},
        {"delete": True},
        {"ids": [3], "filter": {}, "delete": True},
        {"ids": [3], "change": {}, "delete": True},
    ):
        await lineup.ask("POST", "/channels/bulk", wrong, status=422)
    body = {"ids": [3], "delete": True}
    assert await lineup.ask("POST", "/channels/bulk", body) == {"changed": 1}
    assert len(await lineup.store.lineup.channels()) == 2


async def test_a_channel_is_dragged(lineup: LineUp) -> None:
    for number in (1, 2, 3):
        await lineup.store.lineup.add_channel(Channel(number, f"C{number}", position=number))
    moved = await lineup.ask("POST", "/channels/3/move", {"before_id": 1})
    assert moved["edited"] == ["position"] and lineup.shown == ["C3", "C1", "C2"]
    await lineup.ask("POST", "/channels/3/move", {"before_id": None})
    assert lineup.shown == ["C1", "C2", "C3"]
    await lineup.ask("POST", "/channels/3/move", {"after_id": 1})
    assert lineup.shown == ["C1", "C3", "C2"]
    for body in ({}, {"before_id": 1, "after_id": 2}, {"after_id": 9}):
        await lineup.ask("POST", "/channels/3/move", body, status=422)
    await lineup.ask("POST", "/channels/3/move", {"before_id": 9}, status=422)
    await lineup.ask("POST", "/channels/9/move", {"before_id": 1}, status=404)


async def test_another_name_finds_another_guide_at_once(lineup: LineUp) -> None:
    await add_guide(
        lineup.store,
        guide(*(show(key, NOON, NOON + HOUR, "Film") for key in ("one.it", "two.it"))),
    )
    made = await lineup.ask("POST", "/channels", {"name": "One"}, status=201)
    assert made["guide"]["guide_id"] == "one.it" and made["guide"]["rule"] == "normalised name"
    path = f"/channels/{made['id']}"
    changed = await lineup.ask("PATCH", path, {"name": "Two"})
    assert changed["guide"]["guide_id"] == "two.it"
    assert lineup.catalogue.current.channels[0].guide_id == "two.it"
    film = await lineup.ask("PATCH", path, {"kind": "movie"})
    assert (film["guide"], film["extension"], lineup.shown) == (None, "mp4", [])


async def test_names_of_strangers_are_data(lineup: LineUp) -> None:
    name = '<img src=x onerror="alert(1)">'
    await lineup.store.lineup.add_channel(Channel(1, name))
    answer = await lineup.desk.answer("GET", "/channels/1")
    assert answer.content_type == "application/json"
    assert (await lineup.ask("GET", "/channels?q=%3CIMG"))["items"][0]["name"] == name
