"""Whole lists, built once per version of the line-up and class of accounts, off the loop.

Owns: the JSON of categories, streams, films and series, the M3U, the XMLTV and Enigma2's XML, as
bytes and packed; the threads that make them.
What depends on who asks (addresses, credentials) is joined in at the last moment. Must not know:
who asks, whether he may.

One thread makes guides, one makes all else: a guide takes seconds, and several threads at work keep
the loop waiting for the interpreter's lock.
"""

from __future__ import annotations

import asyncio
import base64
import gzip
import hashlib
import sqlite3
import threading
from array import array
from collections import OrderedDict
from collections.abc import Callable, Collection, Hashable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal, NamedTuple

import orjson

from rawstream.catalogue import Catalogue, ShownSeries, View
from rawstream.errors import StateError, ViewerError
from rawstream.guide import document
from rawstream.m3u_writer import M3uWriter
from rawstream.records import Category, Channel
from rawstream.xml_text import without_invalid_characters
from rawstream.xtream_films import (
    NO_FILM,
    NO_SERIES,
    episode_name,
    extension_of,
    film_info,
    movie_rows,
    series_info,
    series_rows,
)
from rawstream.xtream_shapes import (
    categories_of,
    category_rows,
    enigma2,
    panel_channels,
    stream_rows,
)

# stands in a built list where something of the request belongs; no name holds a control character
_STREAM, _GUIDE, _MENU, _TITLE = "\x02", "\x03", "\x04", "\x05"
_MOVIE, _EPISODE = "\x06", "\x07"
_KEPT: Final = 256  # lists; a category asked for is one more
_JOINED: Final = 8  # lists with their addresses and credentials: players ask again at once
_GUIDES_WAITING: Final = 16  # windows asked for and not made yet
_MIME_TYPES: Final = {".ts": "video/mp2t", ".m3u8": "application/vnd.apple.mpegurl"}
_PACKED_FROM: Final = 1400  # bytes: less fits one packet either way


@dataclass(slots=True)
class Built:
    """A list, packed as well, and its ETag. `starts`: where in a JSON array its rows begin."""

    body: bytes
    packed: bytes | None = None
    etag: str = field(default="")
    starts: Sequence[int] = field(default=(), repr=False)

    def page(self, first: int, last: int | None) -> bytes:
        """Some rows of an array as an array: a slice, never negative."""
        rows = len(self.starts)
        if first >= rows or (last is not None and last <= first):
            return b"[]"
        whole = last is None or last >= rows
        end = len(self.body) - 1 if whole else self.starts[last or 0] - 1
        return b"[%b]" % self.body[self.starts[first] : end]


_Build = Callable[[], bytes | list[bytes]]  # a document, or the rows of a JSON array
Kind = Literal["live", "movie", "series"]


class Prefixes(NamedTuple):
    """What stands before an id in the URLs of channels, movies and episodes."""

    live: str
    movie: str
    series: str

    @classmethod
    def of(cls, base: str, login: str) -> Prefixes:
        """`login`: the user and the password in a path, or a token."""
        return cls(*(f"{base}/{kind}/{login}/" for kind in cls._fields))

    def marks(self) -> list[tuple[str, str]]:
        return list(zip((_STREAM, _MOVIE, _EPISODE), self, strict=True))


class XtreamLists:
    """What was built for the newest catalogues. `database`: where programmes are read."""

    def __init__(self, database: Path, *, limit_bytes: int = 256 * 1024 * 1024) -> None:
        self._database = database
        self._limit_bytes = limit_bytes
        self._built: OrderedDict[Hashable, asyncio.Future[Built]] = OrderedDict()
        self._joined: OrderedDict[Hashable, bytes] = OrderedDict()
        self._thread = ThreadPoolExecutor(1, "lists")
        self._guide_thread = ThreadPoolExecutor(1, "guides")
        self._guides_waiting = 0
        self._closed = threading.Event()

    def close(self) -> None:
        """What is being made is given up."""
        self._closed.set()
        for thread in (self._thread, self._guide_thread):
            thread.shutdown(wait=False, cancel_futures=True)

    async def _once(self, key: Hashable, build: _Build) -> Built:
        """Build, in a thread, what all who ask at the same time wait for."""
        found = self._known(key)
        if found is None:
            found = self._begin(key, build, self._thread)
        return await asyncio.shield(found)

    def _known(self, key: Hashable) -> asyncio.Future[Built] | None:
        """What was built, or is being built."""
        found = self._built.get(key)
        if found is None or (found.done() and (found.cancelled() or found.exception())):
            return None
        self._built.move_to_end(key)
        return found

    def _begin(
        self, key: Hashable, build: _Build, thread: ThreadPoolExecutor
    ) -> asyncio.Future[Built]:
        begun = asyncio.get_running_loop().run_in_executor(thread, _finished, build)
        self._built[key] = begun
        begun.add_done_callback(self._make_room)
        return begun

    def _make_room(self, done: asyncio.Future[Built]) -> None:
        """Something was built: what nobody asked for the longest time may go. Not what is being
        built: who asks for it next would have it built again.
        """
        if not done.cancelled():
            done.exception()  # who asked for it may have gone
        finished = [key for key, built in self._built.items() if built.done()]
        held = sum(_size(self._built[key]) for key in finished)
        for key in finished[:-1]:
            if len(self._built) <= _KEPT and held <= self._limit_bytes:
                break
            held -= _size(self._built.pop(key))

    async def _sort(self, view: View) -> None:
        """Have the films of a view sorted out; from then on they cost nothing."""
        if not view.films.are_sorted:
            loop = asyncio.get_running_loop()
            await loop.run_in_executor(self._thread, view.films.shelves)

    async def categories(self, view: View, kind: Kind = "live") -> Built:
        return await self._once(
            (view.key, "categories", kind),
            lambda: orjson.dumps(category_rows(_categories(view, kind))),
        )

    def streams_at_once(
        self, view: View, category: int | None, kind: Kind = "live"
    ) -> Built | None:
        """What `streams` gives, if it is there already."""
        found = self._known((view.key, "streams", kind, category))
        return found.result() if found is not None and found.done() else None

    async def streams(
        self, catalogue: Catalogue, view: View, category: int | None, kind: Kind = "live"
    ) -> Built:
        """`get_live_streams`, `get_vod_streams` or `get_series`; `category` None: all."""

        def build() -> list[bytes]:
            if kind == "live":
                rows = stream_rows(view.channels, view.categories, catalogue.is_adult)
            elif kind == "movie":
                rows = movie_rows(view.movies, view.movie_categories)
            else:
                rows = series_rows(view.series, view.series_categories)
            return [
                orjson.dumps(row)
                for row in rows
                if category is None or category in row["category_ids"]
            ]

        if category is not None:
            if kind != "live":
                await self._sort(view)
            if all(shown.id != category for shown in _categories(view, kind)):
                return Built(b"[]")
        return await self._once((view.key, "streams", kind, category), build)

    async def film(self, view: View, film_id: int) -> bytes:
        """`get_vod_info`. Not kept: a player asks for one after the other."""
        await self._sort(view)
        found = view.films.get(film_id)
        if found is None or found.kind != "movie":
            return orjson.dumps(NO_FILM)
        return orjson.dumps(film_info(found, view.movie_categories))

    async def one_series(self, view: View, series_id: int) -> bytes:
        """`get_series_info`. Not kept either."""
        await self._sort(view)
        found = view.series_by_id.get(series_id)
        if found is None:
            return orjson.dumps(NO_SERIES)
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(
            self._thread, lambda: orjson.dumps(series_info(found, view.series_categories))
        )

    async def panel(self, catalogue: Catalogue, view: View) -> Built:
        """The two keys that panel_api.php has more than player_api.php."""

        def build() -> bytes:
            rows = stream_rows(view.channels, view.categories, catalogue.is_adult)
            rows += movie_rows(view.movies, view.movie_categories)
            kinds: tuple[Kind, ...] = ("live", "movie", "series")
            document = {
                "categories": {kind: category_rows(_categories(view, kind)) for kind in kinds},
                "available_channels": panel_channels(
                    rows, (*view.categories, *view.movie_categories)
                ),
            }
            return orjson.dumps(document)

        return await self._once((view.key, "panel"), build)

    async def m3u(
        self,
        view: View,
        *,
        plus: bool,
        extension: str,
        prefixes: Prefixes,
        guide_url: str,
        kinds: Collection[Kind] = ("live", "movie", "series"),
        kodi: bool = True,
    ) -> bytes:
        """A channel list (§6.2), films behind what is live. `kinds`: what of them is in it. `kodi`:
        with #KODIPROP lines.
        """
        key = (view.key, "m3u", plus, extension, frozenset(kinds), kodi)
        marks = (*prefixes.marks(), (_GUIDE, guide_url.replace('"', "%22")))
        return await self._join(key, lambda: _m3u(view, plus, extension, kinds, kodi), marks)

    async def enigma2(
        self, view: View, asked: EnigmaMenu, *, title: str, prefixes: Prefixes, menu_url: str
    ) -> bytes:
        """A menu of Enigma2 plugins (§3.12). `menu_url`: what more parameters are put behind."""
        await self._sort(view)
        asked = _known_menu(view, asked)
        title = without_invalid_characters(title).replace("]]>", "]]]]><![CDATA[>")
        marks = (*prefixes.marks(), (_MENU, menu_url), (_TITLE, title))
        return await self._join((view.key, "enigma2", asked), lambda: _enigma2(view, asked), marks)

    async def _join(self, key: Hashable, build: _Build, marks: Sequence[tuple[str, str]]) -> bytes:
        """What was built, with something of the request in the place of each mark."""
        whole = (key, *marks)
        joined = self._joined.get(whole)
        if joined is None:
            body = (await self._once(key, build)).body
            joined = self._joined.get(whole)  # a neighbour who waited too was faster
            if joined is None:
                for mark, text in marks:
                    body = body.replace(mark.encode(), text.encode())
                joined = self._joined[whole] = body
                if len(self._joined) > _JOINED:
                    self._joined.popitem(last=False)
        return joined

    async def xmltv(self, view: View, since: int, until: int) -> Built:
        """The guide of what the view shows, of one time. Raises StateError, and ViewerError 503
        when too many wait.
        """
        key = (view.key, "xmltv", since, until)
        found = self._known(key)
        if found is None:
            if self._guides_waiting >= _GUIDES_WAITING:
                raise ViewerError(503, "too many guides are being made", retry_after=10)
            self._guides_waiting += 1
            found = self._begin(
                key, lambda: b"".join(self._pieces(view, since, until)), self._guide_thread
            )
            found.add_done_callback(self._guide_is_done)
        try:
            return await asyncio.shield(found)
        except sqlite3.Error as error:
            raise StateError(str(self._database), str(error)) from error

    def _guide_is_done(self, _done: object) -> None:
        self._guides_waiting -= 1

    def _pieces(self, view: View, since: int, until: int) -> Iterator[bytes]:
        for piece in document(self._database, view.channels, since, until):
            if self._closed.is_set():
                raise ViewerError(503, "the server is stopping")
            yield piece

    def has_xmltv(self, view: View, since: int, until: int) -> bool:
        """Whether `xmltv` costs nothing."""
        found = self._built.get((view.key, "xmltv", since, until))
        return found is not None and found.done()


def _size(built: asyncio.Future[Built]) -> int:
    if not built.done() or built.cancelled() or built.exception() is not None:
        return 0
    found = built.result()
    return len(found.body) + len(found.packed or b"")


def _finished(build: _Build) -> Built:
    made = build()
    starts: Sequence[int] = ()
    if isinstance(made, list):
        starts, at = array("Q"), 1
        for row in made:
            starts.append(at)
            at += len(row) + 1
        made = b"[%b]" % b",".join(made)
    packed = gzip.compress(made, 6, mtime=0) if len(made) >= _PACKED_FROM else None
    return Built(made, packed, f'"{hashlib.sha256(made).hexdigest()[:32]}"', starts)


def _categories(view: View, kind: Kind) -> tuple[Category, ...]:
    if kind == "live":
        return view.categories
    return view.movie_categories if kind == "movie" else view.series_categories


# -- M3U --


def _m3u(view: View, plus: bool, extension: str, kinds: Collection[Kind], kodi: bool) -> bytes:
    writer = M3uWriter(plus=plus)
    # not by the writer: it would blank the mark
    parts = [f'#EXTM3U url-tvg="{_GUIDE}" x-tvg-url="{_GUIDE}"\n' if plus else "#EXTM3U\n"]
    if "live" in kinds:
        parts += _live_entries(view, writer, extension, kodi)
    if "movie" in kinds:
        shown = categories_of(view.movie_categories)
        for movie in view.movies:
            group = [category.name for category in shown(movie)][:1]
            parts.append(_film_entry(writer, movie, movie.name, group, _MOVIE))
    if "series" in kinds:
        shown = categories_of(view.series_categories)
        for one in view.series:
            group = [category.name for category in shown(one)][:1]
            parts += (
                _film_entry(writer, part, episode_name(part, one.series.name), group, _EPISODE)
                for part in one.episodes
            )
    return "".join(parts).encode()


def _live_entries(view: View, writer: M3uWriter, extension: str, kodi: bool) -> Iterator[str]:
    shown = categories_of(view.categories)
    # spares Kodi its probes (§9.4)
    properties = {"mimetype": _MIME_TYPES[extension]} if kodi else {}
    for number, channel in enumerate(view.channels, 1):
        groups = [category.name for category in shown(channel)]
        attributes = {
            "tvg-id": channel.guide_id,
            "tvg-name": channel.name,
            "tvg-logo": channel.logo,
            "tvg-chno": channel.number or str(number),
        }
        if channel.radio:
            attributes["radio"] = "true"
        yield writer.head(
            channel.name,
            attributes,
            groups=groups[:1],
            kodi_properties=properties,
        )
        yield f"{_STREAM}{channel.id}{extension}\n"


def _film_entry(
    writer: M3uWriter, film: Channel, name: str, groups: Sequence[str], mark: str
) -> str:
    attributes = {"tvg-id": "", "tvg-name": name, "tvg-logo": film.logo}
    seconds = film.facts.duration if film.facts is not None and film.facts.duration else -1
    head = writer.head(name, attributes, groups=groups, seconds=seconds)
    return f"{head}{mark}{film.id}.{extension_of(film)}\n"


# -- Enigma2 --


class EnigmaMenu(NamedTuple):
    """What a menu was asked for: its `type`, and the category, series and season as they came."""

    type: str = ""
    category: str = ""
    series: str = ""
    season: str = ""


_NOTHING: Final = EnigmaMenu("nothing")
_MENUS: Final[Mapping[str, tuple[Kind, str]]] = {
    "get_live_categories": ("live", "get_live_streams"),
    "get_vod_categories": ("movie", "get_vod_streams"),
    "get_series_categories": ("series", "get_series"),
}
_Item = tuple[str, str, str, str, str, str]


def _known_menu(view: View, asked: EnigmaMenu) -> EnigmaMenu:
    """The same for all that have the same answer: who makes up ids has nothing built for him."""
    kinds = {listed: kind for kind, listed in _MENUS.values()}
    if asked.type == "":
        return EnigmaMenu("" if view.movies or view.series else "get_live_categories")
    if asked.type in _MENUS:
        return EnigmaMenu(asked.type)
    if asked.type in kinds:
        if asked.category in ("", "0"):
            return EnigmaMenu(asked.type)
        ids = {str(one.id) for one in _categories(view, kinds[asked.type])}
        return EnigmaMenu(asked.type, asked.category) if asked.category in ids else _NOTHING
    if asked.type in ("get_seasons", "get_series_streams"):
        found = _series_named(view, asked.series)
        if found is None:
            return _NOTHING
        if asked.type == "get_seasons":
            return EnigmaMenu(asked.type, series=asked.series)
        if any(str(part.season) == asked.season for part in found.episodes):
            return EnigmaMenu(asked.type, series=asked.series, season=asked.season)
    return _NOTHING


def _series_named(view: View, text: str) -> ShownSeries | None:
    return view.series_by_id.get(int(text)) if text.isascii() and text.isdigit() else None


def _enigma2(view: View, asked: EnigmaMenu) -> bytes:
    items = list(_items(view, asked))
    return enigma2(_TITLE, items, lambda text: base64.b64encode(text.encode()).decode()).encode()


def _items(view: View, asked: EnigmaMenu) -> Iterator[_Item]:
    match asked.type:
        case "":
            for name, below in (
                ("Live Streams", "get_live_categories"),
                ("Movies", "get_vod_categories"),
                ("TV Series", "get_series_categories"),
            ):
                if _categories(view, _MENUS[below][0]):
                    yield _menu(name, "0", f"{_MENU}&type={below}")
        case kind if kind in _MENUS:
            of, below = _MENUS[kind]
            for shown in _categories(view, of):
                url = f"{_MENU}&type={below}&cat_id={shown.id}"
                yield _menu(shown.name, str(shown.id), url)
        case "get_live_streams":
            yield from _streams(view.channels, view.categories, asked.category, _STREAM)
        case "get_vod_streams":
            yield from _streams(view.movies, view.movie_categories, asked.category, _MOVIE)
        case "get_series":
            categories = categories_of(view.series_categories)
            for one in view.series:
                own = [str(shown.id) for shown in categories(one)] or ["0"]
                if not asked.category or asked.category in own:
                    url = f"{_MENU}&type=get_seasons&series_id={one.series.id}"
                    yield _menu(one.series.name, asked.category or own[0], url, one.series.cover)
        case "get_seasons":
            found = _series_named(view, asked.series)
            assert found is not None, "it was known"
            for season in dict.fromkeys(part.season for part in found.episodes):
                url = f"{_MENU}&type=get_series_streams&series_id={asked.series}&season={season}"
                yield _menu(f"Season {season}", "0", url, found.series.cover)
        case "get_series_streams":
            found = _series_named(view, asked.series)
            assert found is not None, "it was known"
            for part in found.episodes:
                if str(part.season) == asked.season:
                    name = episode_name(part, found.series.name)
                    yield _stream(part, name, "0", _EPISODE)


def _streams(
    channels: Iterable[Channel], categories: Iterable[Category], category: str, mark: str
) -> Iterator[_Item]:
    shown = categories_of(categories)
    for channel in channels:
        own = [str(one.id) for one in shown(channel)] or ["0"]
        if not category or category in own:
            yield _stream(channel, channel.name, category or own[0], mark)


def _stream(channel: Channel, name: str, category: str, mark: str) -> _Item:
    extension = "ts" if channel.kind == "live" else extension_of(channel)
    plot = channel.facts.plot if channel.facts is not None else ""
    logo = without_invalid_characters(channel.logo)
    return (name, plot, logo, category, "stream_url", f"{mark}{channel.id}.{extension}")


def _menu(name: str, category: str, url: str, picture: str = "") -> _Item:
    return (name, "", without_invalid_characters(picture), category, "playlist_url", url)
