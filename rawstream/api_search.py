"""The index of AceStream contents, for operators: looked through, and taken into the line-up.

Owns: what of a result is shown, which results are in the line-up already. Must not know: how an
engine is asked (`engine_search`), how a channel is kept.

A content is in the line-up already when a channel has it as a source, by its infohash, by what it
was learnt to be, or by its content id, which engines are asked for before anything is added.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Collection, Sequence
from typing import Annotated, Final, NamedTuple

from pydantic import Field

from rawstream.catalogue import LiveCatalogue
from rawstream.engine_client import ContentRef
from rawstream.engine_search import PAGE_SIZE_LIMIT, EngineSearch, Hit
from rawstream.guide_desk import GuideDesk
from rawstream.lineup_edit import ChannelEdit, add_channel, name_of
from rawstream.records import ChannelSource
from rawstream.rest import Call, Model, Operation
from rawstream.store import Store
from rawstream.store_search import Holder

logger = logging.getLogger(__name__)

_TAG: Final = "search"
_ITEMS: Final = 100
_ASKED_AT_ONCE: Final = 8
Infohash = Annotated[
    str, Field(pattern=r"^[0-9a-fA-F]{40}$", examples=["0123456789abcdef0123456789abcdef01234567"])
]
Name = Annotated[str, Field(min_length=1, max_length=300)]


class ChannelName(Model):
    """A channel of the line-up."""

    id: int
    name: str


class SearchItem(Model):
    """A content. `available`, `availability` (0 to 1, null where unknown): the catalogue's word,
    no proof. `checked_at`: when it was found so. `logo`: an address, or ''. `channels`: those that
    have it as a source.
    """

    infohash: str
    name: str
    categories: list[str]
    languages: list[str]
    countries: list[str]
    available: bool
    availability: float | None
    checked_at: int | None
    logo: str
    channels: list[ChannelName]


class SearchResults(Model):
    """One page. `total`: results on all pages, as the engine counts them: one may be several items
    here. `duplicates_unknown`: the line-up has content ids of which nobody knows yet what they are,
    so an item without channels may be in it all the same; adding it asks.
    """

    items: list[SearchItem]
    total: int
    page: int
    page_size: int
    duplicates_unknown: bool


class SearchQuery(Model):
    """`q` empty: all there is. `category`: as engines call it, like sport. `page`: from 0."""

    q: str = Field(default="", max_length=300)
    category: str = Field(default="", max_length=40)
    page: int = Field(default=0, ge=0, le=100_000)
    page_size: int = Field(default=50, ge=1, le=PAGE_SIZE_LIMIT)


class ItemWanted(Model):
    """`category`: a name, made if there is none; '' for none."""

    infohash: Infohash
    name: Name
    category: str = Field(default="", max_length=300)


class Wanted(Model):
    """What is to be added."""

    items: list[ItemWanted] = Field(min_length=1, max_length=_ITEMS)


class ItemAdded(Model):
    """`added` false: the channel had it already. `duplicate_unknown`: it was added though another
    channel may have it by its content id, which no engine told.
    """

    infohash: str
    channel_id: int
    name: str
    added: bool
    duplicate_unknown: bool


class Added(Model):
    """`added`: how many are new. `items`: in the order that was asked for."""

    added: int
    items: list[ItemAdded]


class _Content(NamedTuple):
    """What is to be added, read."""

    infohash: str
    name: str
    category: str


class SearchOperations:
    """The handlers. `patience_seconds`: how long engines are asked for content ids. `learn(ref,
    infohash)`: told of what one turned out to be.
    """

    def __init__(
        self,
        search: EngineSearch,
        store: Store,
        catalogue: LiveCatalogue,
        guides: GuideDesk,
        *,
        patience_seconds: float,
        learn: Callable[[ContentRef, str], None] = lambda _ref, _infohash: None,
    ) -> None:
        self._search = search
        self._store = store
        self._catalogue = catalogue
        self._guides = guides
        self._patience_seconds = patience_seconds
        self._learn = learn
        self._adding = asyncio.Lock()

    def table(self) -> list[Operation]:
        """All of them."""
        return [
            Operation(
                *("GET", "/search", self.search, "Look through the index of AceStream", _TAG),
                query=SearchQuery,
                answer=SearchResults,
                errors=(502,),
                description="Asked of the engines, one after the other. 502: none answers.",
            ),
            Operation(
                *("POST", "/search/add", self.add, "Make channels of what was found", _TAG),
                body=Wanted,
                answer=Added,
                description="What a channel has as a source already is not added again.",
            ),
        ]

    # -- handlers --

    async def search(self, call: Call) -> SearchResults:
        query: SearchQuery = call.query
        found = await self._search.search(
            query.q, category=query.category, page=query.page, page_size=query.page_size
        )
        having = await self._store.lineup.having([hit.infohash for hit in found.hits])
        return SearchResults(
            items=[_item(hit, having.get(hit.infohash, ())) for hit in found.hits],
            total=found.total,
            page=query.page,
            page_size=query.page_size,
            duplicates_unknown=await self._store.lineup.any_unresolved(),
        )

    async def add(self, call: Call) -> Added:
        wanted: Wanted = call.body
        contents = [
            _Content(
                one.infohash.lower(),
                name_of(one.name, f"items.{place}.name"),
                name_of(one.category, f"items.{place}.category") if one.category else "",
            )
            for place, one in enumerate(wanted.items)
        ]
        async with self._adding:  # two who add the same at once are to have it once
            return await self._add(contents)

    # -- what they share --

    async def _add(self, contents: Sequence[_Content]) -> Added:
        hashes = list(dict.fromkeys(one.infohash for one in contents))
        unresolved = await self._store.lineup.any_unresolved()
        there, sure = await self._there(hashes)
        items = []
        for one in contents:
            known = there.get(one.infohash)
            if known is None:
                number = await add_channel(self._store, await self._edit(one))
                await self._guides.rematch(number)
                there[one.infohash] = known = Holder(number, one.name)
                unknown = unresolved and one.infohash not in sure
                items.append(_added(one, known, added=True, duplicate_unknown=unknown))
            else:
                items.append(_added(one, known, added=False, duplicate_unknown=False))
        added = sum(one.added for one in items)
        if added:
            await self._catalogue.look()
        return Added(added=added, items=items)

    async def _edit(self, content: _Content) -> ChannelEdit:
        categories: tuple[int, ...] = ()
        if content.category:
            categories = ((await self._store.lineup.category_named(content.category)).id,)
        source = ChannelSource("infohash", content.infohash, infohash=content.infohash)
        return ChannelEdit(name=content.name, categories=categories, sources=(source,))

    async def _there(self, hashes: Sequence[str]) -> tuple[dict[str, Holder], Collection[str]]:
        """The channel of each content that is in the line-up already, under whatever name; and the
        contents whose content id is known.
        """
        having = await self._store.lineup.having(hashes)
        unknown = [one for one in hashes if one not in having]
        content_ids = await self._content_ids(unknown)
        by_id = await self._store.lineup.having(list(content_ids.values()))
        found = {infohash: channels[0] for infohash, channels in having.items()}
        for infohash, content_id in content_ids.items():
            if content_id in by_id:
                self._learn(ContentRef("content_id", content_id), infohash)
                found[infohash] = by_id[content_id][0]
        return found, content_ids.keys()

    async def _content_ids(self, hashes: Sequence[str]) -> dict[str, str]:
        """Those that engines tell in time: of a content they don't know they take seconds to say
        so.
        """
        if not hashes:
            return {}
        turns = asyncio.Semaphore(_ASKED_AT_ONCE)
        told: dict[str, str] = {}

        async def ask(infohash: str) -> None:
            async with turns:
                try:
                    content_id = await self._search.content_id(infohash)
                except Exception:  # a bug of ours is to keep nothing from being added
                    logger.exception("the content id of %s could not be asked for", infohash)
                    return
                if content_id is not None:
                    told[infohash] = content_id

        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._patience_seconds), asyncio.TaskGroup() as group:
                for one in hashes:
                    group.create_task(ask(one), name=f"content id of {one}")
        return told


def _item(hit: Hit, channels: Sequence[Holder]) -> SearchItem:
    return SearchItem(
        **{
            **hit._asdict(),
            "categories": list(hit.categories),
            "languages": list(hit.languages),
            "countries": list(hit.countries),
        },
        channels=[ChannelName(id=one.id, name=one.name) for one in channels],
    )


def _added(
    content: _Content, channel: Holder, *, added: bool, duplicate_unknown: bool
) -> ItemAdded:
    return ItemAdded(
        infohash=content.infohash,
        channel_id=channel.id,
        name=channel.name,
        added=added,
        duplicate_unknown=duplicate_unknown,
    )
