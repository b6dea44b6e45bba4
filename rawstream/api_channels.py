"""Channels and films, for operators: the line-up with its ordered sources, one at a time and many.

Owns: what of a channel is shown and may be set, bulk edits, drag to order. Must not know: how a
request is read (`rest`), how a channel is kept, what fits together in one (`lineup_edit`).

What is set here is `edited`: no import touches it any more.
"""

from __future__ import annotations

import asyncio
from typing import Annotated, Any, Final

from pydantic import ConfigDict, Field, model_validator

from rawstream.catalogue import LiveCatalogue
from rawstream.guide_desk import GuideDesk
from rawstream.lineup_edit import (
    ChannelEdit,
    add_channel,
    change_channel,
    kept_sources,
    source_as,
    source_of,
)
from rawstream.records import Channel, ChannelKind, ChannelSource, SourceKind
from rawstream.rest import Call, Model, NotThere, Operation, Page, PageQuery
from rawstream.store import Store
from rawstream.store_edits import BulkEdit
from rawstream.store_search import Assigned, ChannelFilter, Found, KindAsked, State

_ID_LIMIT: Final = 2_147_483_647
Id = Annotated[int, Field(ge=1, le=_ID_LIMIT)]
Name = Annotated[str, Field(min_length=1, max_length=300)]
Word = Annotated[str, Field(max_length=300)]
Number = Annotated[str, Field(max_length=20)]
Address = Annotated[str, Field(max_length=4096)]
Ending = Annotated[str, Field(max_length=9)]
Season = Annotated[int, Field(ge=0, le=9999)]
Episode = Annotated[int, Field(ge=0, le=99_999)]
Categories = Annotated[list[Id], Field(max_length=100)]


class GuideView(Model):
    """The guide a channel has. `guide_id` '': none, as somebody decided. `rule`: how it was found,
    or "by hand"; `score`: how sure that is, 0 to 100.
    """

    guide_id: str
    rule: str
    score: int
    manual: bool


class SourceView(Model):
    """A way to get a channel. `infohash`: once it was learnt. `playlist_id`: the list it is of."""

    kind: SourceKind
    value: str
    headers: dict[str, str]
    infohash: str | None
    playlist_id: int | None


class ChannelView(Model):
    """A channel or a film. `sources`: best first. `guide_id`, `guide_name`: what its list calls it
    in guides; `guide`: the one it has. `edited`: fields that no import touches.
    """

    id: int
    name: str
    kind: ChannelKind
    position: int
    number: str
    logo: str
    guide_id: str
    guide_name: str
    radio: bool
    enabled: bool
    adult: bool
    categories: list[int]
    sources: list[SourceView]
    playlist_id: int | None
    stale_since: int | None
    retired_at: int | None
    added_at: int
    edited: list[str]
    extension: str
    series_id: int | None
    season: int
    episode: int
    guide: GuideView | None


class ChannelWanted(Model):
    """Which channels. `q`: a part of the name, of a guide's id, of a source, or the whole number.
    `category_id` 0: those in none. `state` retired: those taken off the line-up, which no other
    state shows.
    """

    q: Word = ""
    category_id: int | None = Field(default=None, ge=0, le=_ID_LIMIT)
    kind: KindAsked = "all"
    state: State = "all"
    playlist_id: Id | None = None
    series_id: Id | None = None

    @property
    def filter(self) -> ChannelFilter:
        return ChannelFilter(**{name: getattr(self, name) for name in ChannelWanted.model_fields})


class ChannelQuery(ChannelWanted, PageQuery):
    """A part of the line-up."""


class SourceNew(Model):
    """`link`: an AceStream id, a link or a URL in any spelling; or `kind` and `value`."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"link": "acestream://" + "0" * 40}]})

    link: Address | None = None
    kind: SourceKind | None = None
    value: Address | None = None
    headers: dict[Annotated[str, Field(max_length=100)], Word] = Field(
        default_factory=dict, max_length=20
    )

    @model_validator(mode="after")
    def _says_which(self) -> SourceNew:
        of_kind = self.kind is not None and self.value is not None
        if (self.link is not None) == of_kind or (
            self.link is not None and (self.kind or self.value)
        ):
            raise ValueError("takes a link, or kind and value")
        return self

    def source(self, field: str, before: tuple[ChannelSource, ...]) -> ChannelSource:
        """Raises ConfigError."""
        headers = tuple(self.headers.items())
        if self.link is not None:
            found = source_of(self.link, field)
            return source_as(found.kind, found.value, headers or found.headers, field)
        assert self.kind is not None and self.value is not None, "the model says so"
        for one in before:
            if (one.kind, one.value, one.headers) == (self.kind, self.value, headers):
                return one  # whatever a list brought: it is left as it is
        return source_as(self.kind, self.value, headers, field)


Sources = Annotated[list[SourceNew], Field(max_length=50)]


class ChannelNew(Model):
    """The last of the line-up. `series`: of an episode, its name, made if there is none."""

    name: Name
    kind: ChannelKind = "live"
    number: Number = ""
    logo: Address = ""
    guide_id: Word = ""
    guide_name: Word = ""
    radio: bool = False
    enabled: bool = True
    adult: bool = False
    categories: Categories = Field(default_factory=list)
    sources: Sources = Field(default_factory=list)
    extension: Ending = ""
    series: Name | None = None
    series_id: Id | None = None
    season: Season = 0
    episode: Episode = 0


class ChannelChange(Model):
    """What is not named, or null, stays as it is."""

    name: Name | None = None
    kind: ChannelKind | None = None
    number: Number | None = None
    logo: Address | None = None
    guide_id: Word | None = None
    guide_name: Word | None = None
    radio: bool | None = None
    enabled: bool | None = None
    adult: bool | None = None
    categories: Categories | None = None
    sources: Sources | None = None
    extension: Ending | None = None
    series: Name | None = None
    series_id: Id | None = None
    season: Season | None = None
    episode: Episode | None = None


class SourcesNew(Model):
    """All sources of a channel, best first."""

    sources: Sources


class BulkChange(Model):
    """What many channels become. `categories_set` comes before what is added and removed."""

    enabled: bool | None = None
    adult: bool | None = None
    radio: bool | None = None
    categories_add: Categories = Field(default_factory=list)
    categories_remove: Categories = Field(default_factory=list)
    categories_set: Categories | None = None


class Renumber(Model):
    """Numbers in the order of the line-up."""

    start: int = Field(default=1, ge=0, le=1_000_000)
    step: int = Field(default=1, ge=1, le=1000)


class Bulk(Model):
    """What is done to many, named by `ids` or by `filter`: `change` and `renumber`, or `delete`."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"ids": [2, 3], "change": {"enabled": False}, "renumber": {"start": 100}},
                {"filter": {"state": "stale"}, "delete": True},
            ]
        }
    )

    ids: Annotated[list[Id], Field(max_length=100_000, fail_fast=True)] | None = None
    filter: ChannelWanted | None = None
    change: BulkChange | None = None
    renumber: Renumber | None = None
    delete: bool = False

    @model_validator(mode="after")
    def _says_what_and_which(self) -> Bulk:
        if (self.ids is None) == (self.filter is None):
            raise ValueError("takes ids or a filter")
        if self.delete == (self.change is not None or self.renumber is not None):
            raise ValueError("takes change and renumber, or delete")
        return self


class Changed(Model):
    """How many channels there were to change."""

    changed: int


class Move(Model):
    """Before or behind which channel; before null: to the end."""

    before_id: Id | None = None
    after_id: Id | None = None

    @model_validator(mode="after")
    def _says_one_place(self) -> Move:
        if len(self.model_fields_set) != 1:
            raise ValueError("takes before_id or after_id")
        return self


class ChannelOperations:
    """The handlers."""

    def __init__(self, store: Store, catalogue: LiveCatalogue, guides: GuideDesk) -> None:
        self._store = store
        self._catalogue = catalogue
        self._guides = guides

    def table(self) -> list[Operation]:
        tag, one = "channels", "/channels/{id}"
        edit: dict[str, Any] = {"answer": ChannelView, "current": self.read, "tagged": True}
        return [
            Operation(
                *("GET", "/channels", self.list, "The line-up", tag),
                query=ChannelQuery,
                answer=Page[ChannelView],
            ),
            Operation(
                *("POST", "/channels", self.add, "Add a channel or a film", tag),
                body=ChannelNew,
                answer=ChannelView,
                status=201,
            ),
            Operation(
                *("POST", "/channels/bulk", self.bulk, "Change many at once", tag),
                body=Bulk,
                answer=Changed,
            ),
            Operation(
                *("GET", one, self.read, "One channel", tag), answer=ChannelView, tagged=True
            ),
            Operation(
                *("PATCH", one, self.change, "Change a channel", tag), body=ChannelChange, **edit
            ),
            Operation(
                *("DELETE", one, self.remove, "Remove a channel", tag),
                current=self.read,
                description="A list that has it brings it back under a new id; one that is not"
                " enabled stays away.",
            ),
            Operation(
                *("PUT", f"{one}/sources", self.set_sources, "Its sources, best first", tag),
                body=SourcesNew,
                **edit,
            ),
            Operation(
                *("POST", f"{one}/move", self.move, "Put it before another", tag),
                body=Move,
                answer=ChannelView,
                current=self.read,
            ),
        ]

    async def list(self, call: Call) -> Page[ChannelView]:
        query: ChannelQuery = call.query
        found = await self._store.lineup.find(query.filter, query.offset, query.limit)
        # a thousand are thirty milliseconds
        shown = await asyncio.to_thread(_views, found)
        return Page[ChannelView](
            items=shown, total=found.total, offset=query.offset, limit=query.limit
        )

    async def read(self, call: Call) -> ChannelView:
        return await read_channel(self._store, call)

    async def add(self, call: Call) -> ChannelView:
        wanted: ChannelNew = call.body
        number = await add_channel(self._store, _edit(wanted, ()))
        await self._guides.rematch(number)
        await self._catalogue.look()
        found = await self._store.lineup.channel_with_guide(number)
        if found is None:
            raise NotThere("channel")  # somebody was quicker
        return channel_view(*found)

    async def change(self, call: Call) -> ChannelView:
        channel = await self._found(call)
        edit = _edit(call.body, channel.sources)
        if edit.given:
            await change_channel(self._store, channel, edit)
            if edit.touches_guide:
                await self._guides.rematch(channel.id)
            await self._catalogue.look()
        return await self.read(call)

    async def remove(self, call: Call) -> None:
        channel = await self._found(call)
        await self._store.lineup.delete_channel(channel.id)
        await self._catalogue.look()

    async def set_sources(self, call: Call) -> ChannelView:
        wanted: SourcesNew = call.body
        channel = await self._found(call)
        edit = ChannelEdit(sources=_sources(wanted.sources, channel.sources))
        await change_channel(self._store, channel, edit)
        await self._catalogue.look()
        return await self.read(call)

    async def move(self, call: Call) -> ChannelView:
        wanted: Move = call.body
        if not await self._store.lineup.move(call.ids["id"], wanted.before_id, wanted.after_id):
            raise NotThere("channel on the line-up")
        await self._catalogue.look()
        return await self.read(call)

    async def bulk(self, call: Call) -> Changed:
        wanted: Bulk = call.body
        change = wanted.change or BulkChange()
        numbers = wanted.renumber
        edit = BulkEdit(
            *(change.enabled, change.adult, change.radio),
            categories_set=None if change.categories_set is None else tuple(change.categories_set),
            categories_add=tuple(change.categories_add),
            categories_remove=tuple(change.categories_remove),
            numbers=None if numbers is None else (numbers.start, numbers.step),
            delete=wanted.delete,
        )
        which = wanted.filter.filter if wanted.filter is not None else (wanted.ids or [])
        changed = await self._store.lineup.edit_many(which, edit)
        await self._catalogue.look()
        return Changed(changed=changed)

    async def _found(self, call: Call) -> Channel:
        channel = await self._store.lineup.channel(call.ids["id"])
        if channel is None:
            raise NotThere("channel")
        return channel


async def read_channel(store: Store, call: Call) -> ChannelView:
    """The channel that a path names. Raises NotThere."""
    found = await store.lineup.channel_with_guide(call.ids["id"])
    if found is None:
        raise NotThere("channel")
    return channel_view(*found)


def channel_view(channel: Channel, guide: Assigned | None) -> ChannelView:
    """As operators see it."""
    # a list of a thousand is checked already, and checking it again is most of what it costs
    plain = {name: getattr(channel, name) for name in _PLAIN}
    return ChannelView.model_construct(
        **plain,
        categories=list(channel.categories),
        sources=[_source_view(one) for one in channel.sources],
        edited=sorted(channel.edited),
        guide=guide_view(guide),
    )


def _views(found: Found) -> list[ChannelView]:
    return [channel_view(one, found.guides.get(one.id)) for one in found.channels]


def guide_view(guide: Assigned | None) -> GuideView | None:
    if guide is None:
        return None
    return GuideView.model_construct(
        guide_id=guide.guide_id, rule=guide.rule, score=guide.score, manual=guide.manual
    )


_PLAIN: Final = tuple(
    name
    for name in ChannelView.model_fields
    if name not in ("categories", "sources", "edited", "guide")
)


def _source_view(source: ChannelSource) -> SourceView:
    return SourceView.model_construct(
        kind=source.kind,
        value=source.value,
        headers=dict(source.headers),
        infohash=source.infohash,
        playlist_id=source.playlist_id,
    )


def _edit(wanted: ChannelNew | ChannelChange, before: tuple[ChannelSource, ...]) -> ChannelEdit:
    """What was said. Raises ConfigError."""
    values = {name: getattr(wanted, name) for name in wanted.model_fields_set}
    if values.get("sources") is not None:
        values["sources"] = _sources(values["sources"], before)
    if values.get("categories") is not None:
        values["categories"] = tuple(values["categories"])
    return ChannelEdit(**values)


def _sources(
    wanted: list[SourceNew], before: tuple[ChannelSource, ...]
) -> tuple[ChannelSource, ...]:
    found = [one.source(f"sources.{place}", before) for place, one in enumerate(wanted)]
    return kept_sources(before, found)
