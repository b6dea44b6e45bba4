"""Categories and series as an operator sees and changes them."""

from __future__ import annotations

import pytest
from operators import Desk

from rawstream.api_categories import CategoryOperations
from rawstream.catalogue import LiveCatalogue
from rawstream.records import Account, Channel, FilmFacts, Series


class Shelves:
    def __init__(self, desk: Desk) -> None:
        self.desk = desk
        self.ask = desk.ask
        self.lineup = desk.store.lineup
        self.catalogue = LiveCatalogue(desk.store)
        desk.open(CategoryOperations(desk.store, self.catalogue).table())

    @property
    def shown(self) -> list[str]:
        """The categories that players see."""
        view = self.catalogue.current.visible(Account(1, "ana", ""))
        return [one.name for one in view.categories]


@pytest.fixture
def shelves(desk: Desk) -> Shelves:
    return Shelves(desk)


async def test_a_category_from_its_making_to_its_end(shelves: Shelves) -> None:
    made = await shelves.ask("POST", "/categories", {"name": "News"}, status=201)
    await shelves.ask("POST", "/categories", {"name": " News "}, status=409)
    path = f"/categories/{made['id']}"
    await shelves.lineup.add_channel(Channel(1, "One", categories=(made["id"],)))
    await shelves.lineup.add_channel(Channel(2, "Film", categories=(made["id"],), kind="movie"))
    tag = dict((await shelves.desk.answer("GET", path)).headers)["ETag"]
    body = {"name": "Notizie", "adult": True, "position": None}
    changed = await shelves.ask("PATCH", path, body, headers={"if-match": tag})
    assert changed == {**made, "name": "Notizie", "adult": True}
    await shelves.ask("PATCH", path, {"adult": False}, status=412, headers={"if-match": tag})
    assert shelves.shown == ["Notizie"]
    found = await shelves.ask("GET", "/categories?q=NOT")
    assert found["items"] == [{**changed, "channels": 1, "films": 1}]
    await shelves.ask("DELETE", path, status=204)
    await shelves.ask("GET", path, status=404)
    assert shelves.shown == ["Other"]


async def test_a_name_is_one_categorys(shelves: Shelves) -> None:
    await shelves.ask("POST", "/categories", {"name": "News"}, status=201)
    made = await shelves.ask("POST", "/categories", {"name": "Sport"}, status=201)
    told = await shelves.ask("PATCH", f"/categories/{made['id']}", {"name": "News"}, status=422)
    assert [one["field"] for one in told["errors"]] == ["name"]
    await shelves.ask("PATCH", f"/categories/{made['id']}", {"name": "\n"}, status=422)


async def test_categories_are_put_in_order_and_merged(shelves: Shelves) -> None:
    a, b, c = [(await shelves.lineup.category_named(name)).id for name in "abc"]
    for number, categories in ((1, (a,)), (2, (b,)), (3, (c,))):
        await shelves.lineup.add_channel(Channel(number, f"C{number}", categories=categories))
    await shelves.ask("PUT", "/categories/order", {"ids": [c]}, status=204)
    assert shelves.shown == ["c", "a", "b"]
    await shelves.ask("PUT", "/categories/order", {"ids": [99]}, status=422)
    into = await shelves.ask("POST", f"/categories/{a}/merge", {"into_id": b})
    assert into["id"] == b and shelves.shown == ["c", "b"]
    await shelves.ask("POST", f"/categories/{a}/merge", {"into_id": b}, status=404)
    await shelves.ask("POST", f"/categories/{b}/merge", {"into_id": b}, status=422)
    await shelves.ask("POST", f"/categories/{b}/merge", {"into_id": 99}, status=422)


async def test_a_series_is_named_and_gets_a_cover(shelves: Shelves) -> None:
    made = await shelves.lineup.series_named("Show")
    await shelves.lineup.set_series(Series(made.id, "Show", "", FilmFacts("A plot")))
    path = f"/series/{made.id}"
    changed = await shelves.ask("PATCH", path, {"name": "Mine", "cover": "/logos/a.png"})
    assert (changed["name"], changed["cover"], changed["plot"]) == (
        *("Mine", "/logos/a.png"),
        "A plot",
    )
    assert await shelves.ask("GET", path) == changed
    assert (await shelves.ask("GET", "/series?q=min"))["items"] == [changed]
    assert (await shelves.ask("GET", "/series?q=show"))["total"] == 0
    await shelves.ask("PATCH", path, {"cover": "data:x"}, status=422)
    await shelves.ask("PATCH", "/series/9", {"name": "x"}, status=404)
