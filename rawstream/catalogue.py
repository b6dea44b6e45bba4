"""The line-up in memory: what each kind of account sees of it, and when it changes.

Owns: one immutable catalogue per version of the line-up, views of it per class of accounts, the
look for changes made by anybody. Must not know: HTTP, how rows are kept, who is logged in.

Films stand apart from what is live: a view looks a film up by its id at once, and sorts its films
out only when somebody asks for a list of them.
"""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Collection, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final, NamedTuple, Protocol

from rawstream.errors import StateError
from rawstream.extinf import writable
from rawstream.records import Account, Category, Channel, Series
from rawstream.store import Store

logger = logging.getLogger(__name__)

LOOK_SECONDS: Final = 0.5  # design §7: a command's change is seen within two seconds
_ADDRESSED_VIEWS: Final = 64
# for channels in no category: players demand one (Xtream reference §3.3)
UNSORTED: Final = Category(2_147_483_647, "Other", position=1 << 30)


class Sorted(Protocol):
    """What is in categories."""

    @property
    def categories(self) -> Sequence[int]: ...


class ShownSeries(NamedTuple):
    """A series with those of its episodes that a view shows, by season and number. `categories`:
    those of its episodes, as in `Channel`; `added_at`: when the newest of them came.
    """

    series: Series
    categories: tuple[int, ...]
    episodes: tuple[Channel, ...]
    added_at: int


class _Shelves(NamedTuple):
    """Films as lists show them."""

    movies: tuple[Channel, ...]
    movie_categories: tuple[Category, ...]
    series: Mapping[int, ShownSeries]
    series_categories: tuple[Category, ...]


class Films(Mapping[int, Channel]):
    """The movies and episodes that a view shows, by id. To look one up costs nothing; `shelves`
    goes through all of them the first time: for a thread, where there are many.
    """

    def __init__(
        self,
        films: Mapping[int, Channel],
        series: Mapping[int, Series],
        shows: Callable[[Channel], bool],
        categories_of: Callable[[Collection[Sorted]], tuple[Category, ...]],
        base: str = "",
    ) -> None:
        self._films = films
        self._series = series
        self._shows = shows
        self._categories_of = categories_of
        self._base = base
        self._sorted: _Shelves | None = None

    def __getitem__(self, film_id: int) -> Channel:
        film = self._films[film_id]
        if not self._shows(film):
            raise KeyError(film_id)
        return _with_base(film, self._base)

    def __iter__(self) -> Iterator[int]:
        return (film.id for film in self._films.values() if self._shows(film))

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def addressed(self, base: str) -> Films:
        return Films(self._films, self._series, self._shows, self._categories_of, base)

    @property
    def are_sorted(self) -> bool:
        """Whether `shelves` costs nothing."""
        return self._sorted is not None

    def shelves(self) -> _Shelves:
        if self._sorted is None:
            movies = []
            episodes: dict[int, list[Channel]] = {}
            for film in self.values():
                if film.kind == "movie":
                    movies.append(film)
                elif film.series_id is not None and film.series_id in self._series:
                    episodes.setdefault(film.series_id, []).append(film)
            series = {number: self._shown(number, found) for number, found in episodes.items()}
            self._sorted = _Shelves(
                tuple(movies),
                self._categories_of(movies),
                series,
                self._categories_of(list(series.values())),
            )
        return self._sorted

    def _shown(self, number: int, episodes: Sequence[Channel]) -> ShownSeries:
        found = self._series[number]
        if _is_ours(found.cover):
            found = replace(found, cover=self._base + found.cover)
        return ShownSeries(
            found,
            tuple(dict.fromkeys(one for episode in episodes for one in episode.categories)),
            tuple(sorted(episodes, key=lambda episode: (episode.season, episode.episode))),
            max(episode.added_at for episode in episodes),
        )


_NO_FILMS: Final = Films({}, {}, lambda _film: False, lambda _things: ())


@dataclass(frozen=True, slots=True)
class View:
    """What one class of accounts sees. `key` is equal for equal views of one version.

    `channels`, `categories` and `by_id` are of what is live; `films` is all else. Every channel has
    a category here: the first that the view shows, or `UNSORTED`. `categories` have at least one
    channel each. A channel's `guide_id` is the guide it really has, by hand or by matching; its
    list's own only where no guide of ours is known (reference §13 row 13: `epg_channel_id` =
    `tvg-id` = XMLTV id).
    """

    key: Hashable
    channels: tuple[Channel, ...]
    categories: tuple[Category, ...]
    by_id: Mapping[int, Channel] = field(repr=False)
    own_logos: bool = False  # some are ours, and have no address yet
    films: Films = field(default_factory=lambda: _NO_FILMS, repr=False)

    @property
    def movies(self) -> tuple[Channel, ...]:
        return self.films.shelves().movies

    @property
    def movie_categories(self) -> tuple[Category, ...]:
        return self.films.shelves().movie_categories

    @property
    def series(self) -> tuple[ShownSeries, ...]:
        """In the order of their first episodes."""
        return tuple(self.films.shelves().series.values())

    @property
    def series_by_id(self) -> Mapping[int, ShownSeries]:
        return self.films.shelves().series

    @property
    def series_categories(self) -> tuple[Category, ...]:
        return self.films.shelves().series_categories


def _with_guide(channel: Channel, guide_id: str) -> Channel:
    return channel if channel.guide_id == guide_id else replace(channel, guide_id=guide_id)


def _is_ours(logo: str) -> bool:
    return logo.startswith("/")


def _with_base(channel: Channel, base: str) -> Channel:
    if not base or not _is_ours(channel.logo):
        return channel
    return replace(channel, logo=base + channel.logo)


class Catalogue:
    """The line-up and its guides at one version."""

    def __init__(
        self,
        version: Hashable,
        channels: Collection[Channel] = (),
        categories: Collection[Category] = (),
        *,
        series: Collection[Series] = (),
        guide_ids: Mapping[int, str] | None = None,
        adult_hidden: bool = False,
    ) -> None:
        self.version = version
        # an id is written the same in every list (Xtream reference §1), so as M3U can hold it
        own = guide_ids or {}
        self.channels = tuple(
            _with_guide(channel, own.get(channel.id, writable(channel.guide_id)))
            for channel in channels
            if channel.enabled and channel.kind == "live"
        )
        self._films = {one.id: one for one in channels if one.enabled and one.kind != "live"}
        self._series = {one.id: one for one in series}
        self._own_pictures = any(_is_ours(film.logo) for film in self._films.values()) or any(
            _is_ours(one.cover) for one in series
        )
        self.names = {one.id: one.name for one in (*self.channels, *self._films.values())}
        self._categories = tuple(categories)
        self._adult = {category.id for category in categories if category.adult}
        self.adult_hidden = adult_hidden
        self._views: dict[Hashable, View] = {}
        self._addressed_views: OrderedDict[Hashable, View] = OrderedDict()

    def visible(self, account: Account, base: str = "") -> View:
        """The part of the line-up that this account may see and watch. `base`: what stands before
        the path of logos that are ours, for lists that name them.
        """
        hidden = self.adult_hidden or not account.show_adult
        key = (self.version, account.categories, hidden)
        view = self._views.get(key)
        if view is None:
            view = self._views[key] = self._made(key, account.categories, hidden)
        return self._addressed(view, base) if base and view.own_logos else view

    def _addressed(self, view: View, base: str) -> View:
        key = (view.key, base)
        found = self._addressed_views.get(key)
        if found is None:
            channels = tuple(_with_base(channel, base) for channel in view.channels)
            by_id = {channel.id: channel for channel in channels}
            films = view.films.addressed(base)
            found = View(key, channels, view.categories, by_id, films=films)
            self._addressed_views[key] = found
            if len(self._addressed_views) > _ADDRESSED_VIEWS:  # anybody can make up a Host
                self._addressed_views.popitem(last=False)
        return found

    def is_adult(self, channel: Channel) -> bool:
        return channel.adult or not self._adult.isdisjoint(channel.categories)

    def _made(self, key: Hashable, allowed: frozenset[int] | None, hidden: bool) -> View:
        # nothing in a view may lead back here: a catalogue that is replaced would stay, with all
        # its channels, until garbage is collected, and that holds up the loop
        adult, ordered = self._adult, self._categories

        def shows(channel: Channel) -> bool:
            return (allowed is None or not allowed.isdisjoint(channel.categories)) and not (
                hidden and (channel.adult or not adult.isdisjoint(channel.categories))
            )

        def categories_of(things: Collection[Sorted]) -> tuple[Category, ...]:
            used = {category for thing in things for category in thing.categories}
            categories = [
                category
                for category in ordered
                if category.id in used
                and (allowed is None or category.id in allowed)
                and not (hidden and category.id in adult)
            ]
            if any(not thing.categories for thing in things):
                categories.append(UNSORTED)
            return tuple(categories)

        shown = tuple(channel for channel in self.channels if shows(channel))
        return View(
            key,
            shown,
            categories_of(shown),
            {channel.id: channel for channel in shown},
            self._own_pictures or any(_is_ours(channel.logo) for channel in shown),
            Films(self._films, self._series, shows, categories_of),
        )


class LiveCatalogue:
    """The newest catalogue of a store. `on_change(kinds)` is awaited after others' changes too."""

    def __init__(
        self,
        store: Store,
        *,
        adult_hidden: bool = False,
        on_change: Callable[[Collection[str]], Awaitable[None]] | None = None,
    ) -> None:
        self._store = store
        self._adult_hidden = adult_hidden
        self._on_change = on_change
        self._kinds: Mapping[str, int] = {}
        self._data_version = -1
        self._looking = asyncio.Lock()
        self.current = Catalogue(0)

    def hide_adult(self, hidden: bool) -> None:
        """Hide adult categories from every account, or from those that don't show them."""
        self._adult_hidden = self.current.adult_hidden = hidden

    async def reload(self) -> None:
        """Read the line-up again. Raises StateError."""
        kinds = await self._store.db.kinds()
        version = (kinds.get("lineup", 0), kinds.get("guide", 0))
        channels = await self._store.lineup.channels()
        categories = await self._store.lineup.categories()
        series = await self._store.lineup.series()
        guide_ids = await self._store.guide.guide_ids()
        # tens of thousands of channels are a fifth of a second
        made = await asyncio.to_thread(
            Catalogue,
            version,
            channels,
            categories,
            series=series,
            guide_ids=guide_ids,
        )
        made.adult_hidden = self._adult_hidden  # as it is by now
        self.current = made

    async def look(self) -> None:
        """Read again what has changed since the last look. Raises StateError.

        Who has changed something sees it in `current` afterwards.
        """
        async with self._looking:  # of two at once the older reading might stay
            await self._look()

    async def _look(self) -> None:
        data_version = await self._store.db.data_version()
        if data_version == self._data_version:
            return
        kinds = await self._store.db.kinds()
        changed = {kind for kind, version in kinds.items() if self._kinds.get(kind) != version}
        if changed & {"lineup", "guide"}:
            await self.reload()
        if changed and self._on_change is not None:
            await self._on_change(changed)
        self._kinds, self._data_version = kinds, data_version

    async def watch(self) -> None:
        """Look again and again; a database that can't be read for a while is only logged."""
        told = ""
        while True:
            try:
                await self.look()
                told = ""
            except StateError as error:
                if str(error) != told:
                    told = str(error)
                    logger.error("the line-up can't be read: %s", error)
            except Exception as error:  # one row we can't read is not to end all looking
                if repr(error) != told:
                    told = repr(error)
                    logger.exception("a look for changes failed")
            await asyncio.sleep(LOOK_SECONDS)
