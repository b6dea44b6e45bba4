"""Guides, for operators: which channel has which, by which rule, and what is on.

Owns: what of a mapping and of the grid is shown, deciding a mapping by hand. Must not know: how a
request is read (`rest`), how channels are matched, how guides are kept.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from typing import Annotated, Final

from pydantic import Field, model_validator

from rawstream.api_channels import ChannelView, GuideView, guide_view, read_channel
from rawstream.catalogue import LiveCatalogue
from rawstream.errors import ConfigError
from rawstream.extinf import writable
from rawstream.guide import Listing, listings_of
from rawstream.guide_desk import Candidate, GuideDesk, Wanted
from rawstream.rest import Call, Model, NotThere, Operation, Page, PageQuery
from rawstream.store import Store
from rawstream.store_search import LiveMapping, MappingState

_HALF_HOUR: Final = 1800
_HOUR_SECONDS: Final = 3600
_SURE: Final = 90  # at and above this score nobody looks for another guide


class CandidateView(Model):
    """A guide that a channel might have. `score`: how alike they are, 0 to 100."""

    guide_id: str
    name: str
    score: int


class MappingView(Model):
    """A live channel and its guide. `guide_id`, `guide_name`: what its list calls it in guides.
    `ours`, `theirs`: the texts found alike; of a guide chosen by hand `theirs` is its name.
    `others`: how many more fit as well. `candidates`: the likeliest first, of what is not sure.
    """

    channel_id: int
    name: str
    guide_id: str
    guide_name: str
    guide: GuideView | None
    ours: str
    theirs: str
    others: int
    candidates: list[CandidateView]


class MappingQuery(PageQuery):
    """`q`: a part of a channel's name or of a guide's id. `manual`: decided by hand."""

    q: str = ""
    state: MappingState = "all"


class GuideChannelView(Model):
    """A channel of the guides there are."""

    id: str
    names: list[str]
    icon: str


class GuideChannelQuery(PageQuery):
    """`q`: a part of an id or a name."""

    q: str = ""


class GuideChoice(Model):
    """`guide_id`: of a guide; null: the channel has none. `auto`: leave it to the matching."""

    guide_id: Annotated[str, Field(max_length=300)] | None = None
    auto: bool = False

    @model_validator(mode="after")
    def _one_of_them(self) -> GuideChoice:
        if self.auto and self.guide_id is not None:
            raise ValueError("takes a guide_id, or auto")
        return self


class ProgrammeView(Model):
    """Times: seconds since 1970, UTC."""

    start: int
    stop: int
    title: str


class GridRow(Model):
    """A channel and what is on it. `guide_id` '': it has no guide."""

    channel_id: int
    name: str
    number: str
    logo: str
    guide_id: str
    programmes: list[ProgrammeView]


class Grid(Page[GridRow]):
    """The channels that players see, in their order, from `start` to `stop`."""

    start: int
    stop: int


class GridQuery(PageQuery):
    """`start`: seconds since 1970, the last half hour without it. `q`: a part of the name."""

    start: int | None = Field(default=None, ge=0, le=1 << 40)
    hours: int = Field(default=3, ge=1, le=24)
    q: str = ""
    limit: int = Field(default=50, ge=1, le=200)


class GuideOperations:
    """The handlers."""

    def __init__(self, store: Store, catalogue: LiveCatalogue, guides: GuideDesk) -> None:
        self._store = store
        self._catalogue = catalogue
        self._guides = guides

    def table(self) -> list[Operation]:
        tag = "guide"
        return [
            Operation(
                *("GET", "/guide/mappings", self.mappings, "Which guide each channel has", tag),
                query=MappingQuery,
                answer=Page[MappingView],
                description="Those without one first, then the least sure.",
            ),
            Operation(
                *("GET", "/guide/channels", self.channels, "The guides there are", tag),
                query=GuideChannelQuery,
                answer=Page[GuideChannelView],
            ),
            Operation(
                *("GET", "/guide/grid", self.grid, "What is on", tag), query=GridQuery, answer=Grid
            ),
            Operation(
                *("PUT", "/channels/{id}/guide", self.choose, "Decide which guide it has", tag),
                body=GuideChoice,
                answer=ChannelView,
                current=self.read,
                tagged=True,
            ),
        ]

    async def mappings(self, call: Call) -> Page[MappingView]:
        query: MappingQuery = call.query
        found, total = await self._store.guide.find_mappings(
            query.q, query.state, query.offset, query.limit
        )
        unsure = [one for one in found if one.guide is None or one.guide.score < _SURE]
        wanted = [Wanted(one.own_id, [one.own_name, one.name]) for one in unsure]
        # without anything to look for, no index is made
        others = await self._guides.candidates(wanted) if wanted else []
        candidates = {one.channel_id: theirs for one, theirs in zip(unsure, others, strict=True)}
        by_hand = any(one.guide is not None and one.guide.manual for one in found)
        names = await self._guides.names() if by_hand else {}
        items = [_mapping_view(one, candidates.get(one.channel_id, ()), names) for one in found]
        return Page[MappingView](items=items, total=total, offset=query.offset, limit=query.limit)

    async def channels(self, call: Call) -> Page[GuideChannelView]:
        query: GuideChannelQuery = call.query
        wanted = query.q.casefold()
        found = [
            one
            for one in await self._guides.channels()
            if wanted in one.id.casefold()
            or any(wanted in name.text.casefold() for name in one.names)
        ]
        part = found[query.offset : query.offset + query.limit]
        return Page[GuideChannelView](
            items=[
                GuideChannelView(
                    id=one.id,
                    names=[name.text for name in one.names],
                    icon=one.icons[0] if one.icons else "",
                )
                for one in part
            ],
            total=len(found),
            offset=query.offset,
            limit=query.limit,
        )

    async def read(self, call: Call) -> ChannelView:
        return await read_channel(self._store, call)

    async def choose(self, call: Call) -> ChannelView:
        wanted: GuideChoice = call.body
        channel = await self._store.lineup.channel(call.ids["id"])
        if channel is None:
            raise NotThere("channel")
        if channel.kind != "live":
            raise ConfigError("guide_id", "films are in no guide")
        chosen = None if wanted.auto else writable(wanted.guide_id or "")
        await self._store.guide.set_mapping(channel.id, chosen)
        if wanted.auto:
            await self._guides.rematch(channel.id)
        await self._catalogue.look()
        return await self.read(call)

    async def grid(self, call: Call) -> Grid:
        query: GridQuery = call.query
        start = query.start
        if start is None:
            start = int(time.time()) // _HALF_HOUR * _HALF_HOUR
        stop = start + query.hours * _HOUR_SECONDS
        wanted = query.q.casefold()
        found = [
            one
            for one in self._catalogue.current.channels
            if not wanted or wanted in one.name.casefold()
        ]
        part = found[query.offset : query.offset + query.limit]
        keys = list(dict.fromkeys(one.guide_id for one in part if one.guide_id))
        shown = await asyncio.to_thread(listings_of, self._store.db.path, keys, start, stop)
        rows = [
            GridRow(
                channel_id=one.id,
                name=one.name,
                number=one.number,
                logo=one.logo,
                guide_id=one.guide_id,
                programmes=[_programme(item) for item in shown.get(one.guide_id, ())],
            )
            for one in part
        ]
        return Grid(
            items=rows,
            total=len(found),
            offset=query.offset,
            limit=query.limit,
            start=start,
            stop=stop,
        )


def _programme(listing: Listing) -> ProgrammeView:
    return ProgrammeView.model_construct(
        start=listing.start, stop=listing.stop, title=listing.title
    )


def _mapping_view(
    mapping: LiveMapping, candidates: Sequence[Candidate], names: Mapping[str, str]
) -> MappingView:
    """`names`: of guides, by id."""
    guide = mapping.guide
    theirs = guide.theirs if guide is not None else ""
    if guide is not None and guide.manual:
        theirs = names.get(guide.guide_id, "")
    return MappingView(
        channel_id=mapping.channel_id,
        name=mapping.name,
        guide_id=mapping.own_id,
        guide_name=mapping.own_name,
        guide=guide_view(guide),
        ours=guide.ours if guide is not None else "",
        theirs=theirs,
        others=guide.others if guide is not None else 0,
        candidates=[
            CandidateView(guide_id=one.guide_id, name=one.name, score=one.score)
            for one in candidates
        ],
    )
