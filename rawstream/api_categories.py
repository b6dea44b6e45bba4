"""What channels are sorted into, for operators: categories and their order, and series.

Owns: what of these is shown and may be set. Must not know: how a request is read (`rest`), how they
are kept.
"""

from __future__ import annotations

import dataclasses
from typing import Annotated, Any, Final

from pydantic import Field

from rawstream.catalogue import LiveCatalogue
from rawstream.lineup_edit import logo_of, name_of
from rawstream.records import Category, FilmFacts, Series
from rawstream.rest import Call, Failed, Model, NotThere, Operation, Page, PageQuery
from rawstream.store import Store

_ID_LIMIT: Final = 2_147_483_647
Id = Annotated[int, Field(ge=1, le=_ID_LIMIT)]
Name = Annotated[str, Field(min_length=1, max_length=300)]
Position = Annotated[int, Field(ge=-_ID_LIMIT, le=_ID_LIMIT)]


class CategoryView(Model):
    """A category. `adult`: all in it is for adults."""

    id: int
    name: str
    position: int
    adult: bool


class CategoryListed(CategoryView):
    """With how much of the line-up is in it."""

    channels: int
    films: int


class CategoryNew(Model):
    """The last in order."""

    name: Name
    adult: bool = False


class CategoryChange(Model):
    """What is not named, or null, stays as it is."""

    name: Name | None = None
    adult: bool | None = None
    position: Position | None = None


class CategoryQuery(PageQuery):
    """`q`: a part of the name."""

    q: str = ""
    limit: int = Field(default=1000, ge=1, le=1000)


class Merge(Model):
    """The category that the other one becomes a part of."""

    into_id: Id


class Order(Model):
    """Which come first, in this order; the others follow as they stood."""

    ids: list[Id] = Field(max_length=10_000, fail_fast=True)


class SeriesView(Model):
    """A series. `cover`: the address of a picture."""

    id: int
    name: str
    cover: str
    plot: str
    genre: str
    release_date: str
    rating: float


class SeriesChange(Model):
    """What is not named, or null, stays as it is."""

    name: Name | None = None
    cover: Annotated[str, Field(max_length=4096)] | None = None


class SeriesQuery(PageQuery):
    """`q`: a part of the name."""

    q: str = ""


class CategoryOperations:
    """The handlers."""

    def __init__(self, store: Store, catalogue: LiveCatalogue) -> None:
        self._store = store
        self._catalogue = catalogue

    def table(self) -> list[Operation]:
        return [*self._of_categories(), *self._of_series()]

    def _of_categories(self) -> list[Operation]:
        tag, one = "categories", "/categories/{id}"
        edit: dict[str, Any] = {"answer": CategoryView, "current": self.read, "tagged": True}
        return [
            Operation(
                *("GET", "/categories", self.list, "All categories, in order", tag),
                query=CategoryQuery,
                answer=Page[CategoryListed],
            ),
            Operation(
                *("POST", "/categories", self.add, "Make a category", tag),
                body=CategoryNew,
                answer=CategoryView,
                status=201,
                errors=(409,),
            ),
            Operation(
                *("PUT", "/categories/order", self.order, "Put them in order", tag), body=Order
            ),
            Operation(
                *("GET", one, self.read, "One category", tag), answer=CategoryView, tagged=True
            ),
            Operation(
                *("PATCH", one, self.change, "Change a category", tag), body=CategoryChange, **edit
            ),
            Operation(
                *("DELETE", one, self.remove, "Remove a category", tag),
                current=self.read,
                description="Its channels stay. A list that names it brings it back.",
            ),
            Operation(
                *("POST", f"{one}/merge", self.merge, "Make it a part of another", tag),
                body=Merge,
                answer=CategoryView,
                current=self.read,
                description="Its channels, the accounts that were given it, and the lists that name"
                " it have the other one then.",
            ),
        ]

    def _of_series(self) -> list[Operation]:
        tag, one = "series", "/series/{id}"
        return [
            Operation(
                *("GET", "/series", self.list_series, "All series", tag),
                query=SeriesQuery,
                answer=Page[SeriesView],
            ),
            Operation(
                *("GET", one, self.read_series, "One series", tag), answer=SeriesView, tagged=True
            ),
            Operation(
                *("PATCH", one, self.change_series, "Change a series", tag),
                body=SeriesChange,
                answer=SeriesView,
                current=self.read_series,
                tagged=True,
            ),
        ]

    # -- categories --

    async def list(self, call: Call) -> Page[CategoryListed]:
        query: CategoryQuery = call.query
        sizes = await self._store.lineup.category_sizes()
        wanted = query.q.casefold()
        shown = []
        for one in await self._store.lineup.categories():
            if wanted in one.name.casefold():
                channels, films = sizes.get(one.id, (0, 0))
                values = dataclasses.asdict(one)
                shown.append(CategoryListed(**values, channels=channels, films=films))
        return Page[CategoryListed].of(shown, query)

    async def read(self, call: Call) -> CategoryView:
        return _view(await self._found(call.ids["id"]))

    async def add(self, call: Call) -> CategoryView:
        wanted: CategoryNew = call.body
        name = name_of(wanted.name)
        if any(one.name == name for one in await self._store.lineup.categories()):
            raise Failed(409, "there is a category of that name")
        made = await self._store.lineup.category_named(name, adult=wanted.adult)
        await self._catalogue.look()
        return _view(made)

    async def change(self, call: Call) -> CategoryView:
        category = await self._found(call.ids["id"])
        wanted: CategoryChange = call.body
        values = wanted.model_dump(exclude_none=True)
        if "name" in values:
            values["name"] = name_of(values["name"])
        changed = dataclasses.replace(category, **values)
        if changed != category:
            await self._store.lineup.set_category(changed, before=category)
            await self._catalogue.look()
        return await self.read(call)

    async def remove(self, call: Call) -> None:
        category = await self._found(call.ids["id"])
        await self._store.lineup.delete_category(category.id)
        await self._catalogue.look()

    async def order(self, call: Call) -> None:
        wanted: Order = call.body
        await self._store.lineup.order_categories(wanted.ids)
        await self._catalogue.look()

    async def merge(self, call: Call) -> CategoryView:
        wanted: Merge = call.body
        category = await self._found(call.ids["id"])
        if category.id == wanted.into_id:
            raise Failed(422, "into_id: a category can't become a part of itself")
        if not await self._store.lineup.merge_categories(category.id, wanted.into_id):
            raise Failed(422, "into_id: there is no such category")
        await self._catalogue.look()
        return _view(await self._found(wanted.into_id))

    async def _found(self, category_id: int) -> Category:
        for one in await self._store.lineup.categories():
            if one.id == category_id:
                return one
        raise NotThere("category")

    # -- series --

    async def list_series(self, call: Call) -> Page[SeriesView]:
        query: SeriesQuery = call.query
        wanted = query.q.casefold()
        found = [one for one in await self._store.lineup.series() if wanted in one.name.casefold()]
        part = found[query.offset : query.offset + query.limit]
        return Page[SeriesView](
            items=[_series_view(one) for one in part],
            total=len(found),
            offset=query.offset,
            limit=query.limit,
        )

    async def read_series(self, call: Call) -> SeriesView:
        return _series_view(await self._one_series(call))

    async def change_series(self, call: Call) -> SeriesView:
        series = await self._one_series(call)
        wanted: SeriesChange = call.body
        values = wanted.model_dump(exclude_none=True)
        if "name" in values:
            values["name"] = name_of(values["name"])
        if "cover" in values:
            values["cover"] = logo_of(values["cover"], "cover")
        changed = dataclasses.replace(series, **values)
        if values:
            await self._store.lineup.set_series(changed, edited=values, before=series)
            await self._catalogue.look()
        return await self.read_series(call)

    async def _one_series(self, call: Call) -> Series:
        for one in await self._store.lineup.series():
            if one.id == call.ids["id"]:
                return one
        raise NotThere("series")


def _view(category: Category) -> CategoryView:
    return CategoryView(**dataclasses.asdict(category))


def _series_view(series: Series) -> SeriesView:
    facts = series.facts or FilmFacts()
    return SeriesView(
        id=series.id,
        name=series.name,
        cover=series.cover,
        plot=facts.plot,
        genre=facts.genre,
        release_date=facts.release_date,
        rating=facts.rating,
    )
