"""Whole lists, built once per version of the line-up and class of accounts, off the loop.

Owns: the JSON of categories and streams, the M3U, the XMLTV and Enigma2's XML, as bytes and packed;
the threads that make them.
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
from collections.abc import Callable, Hashable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import orjson

from rawstream.catalogue import Catalogue, View
from rawstream.errors import StateError, ViewerError
from rawstream.guide import document
from rawstream.m3u_writer import M3uWriter
from rawstream.xml_text import without_invalid_characters
from rawstream.xtream_shapes import (
    categories_of,
    category_rows,
    enigma2,
    panel_channels,
    stream_rows,
)

# stands in a built list where something of the request belongs; no name holds a control character
_STREAM, _GUIDE, _MENU, _TITLE = "\x02", "\x03", "\x04", "\x05"
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

    async def categories(self, view: View) -> Built:
        return await self._once(
            (view.key, "categories"), lambda: orjson.dumps(category_rows(view.categories))
        )

    def streams_at_once(self, view: View, category: int | None) -> Built | None:
        """What `streams` gives, if it is there already."""
        found = self._known((view.key, "streams", category))
        return found.result() if found is not None and found.done() else None

    async def streams(self, catalogue: Catalogue, view: View, category: int | None) -> Built:
        """`get_live_streams`; `category` None: all."""

        def build() -> list[bytes]:
            rows = stream_rows(view.channels, view.categories, catalogue.is_adult)
            return [
                orjson.dumps(row)
                for row in rows
                if category is None or category in row["category_ids"]
            ]

        known = category is None or any(shown.id == category for shown in view.categories)
        return await self._once((view.key, "streams", category), build) if known else Built(b"[]")

    async def panel(self, catalogue: Catalogue, view: View) -> Built:
        """The two keys that panel_api.php has more than player_api.php."""

        def build() -> bytes:
            rows = stream_rows(view.channels, view.categories, catalogue.is_adult)
            document = {
                "categories": {"live": category_rows(view.categories), "movie": [], "series": []},
                "available_channels": panel_channels(rows, view.categories),
            }
            return orjson.dumps(document)

        return await self._once((view.key, "panel"), build)

    async def m3u(
        self,
        view: View,
        *,
        plus: bool,
        extension: str,
        stream_prefix: str,
        guide_url: str,
        kodi: bool = True,
    ) -> bytes:
        """A channel list (§6.2). `stream_prefix`: what stands before an id in its URL. `kodi`:
        with #KODIPROP lines.
        """
        key = (view.key, "m3u", plus, extension, kodi)
        marks = ((_STREAM, stream_prefix), (_GUIDE, guide_url.replace('"', "%22")))
        return await self._join(key, lambda: _m3u(view, plus, extension, kodi), marks)

    async def enigma2(
        self, view: View, category: str | None, *, title: str, stream_prefix: str, menu_url: str
    ) -> bytes:
        """Channels of a category ('' and '0': all of them), or with None the categories (§3.12).
        `menu_url`: what more parameters are put behind.
        """
        if category in ("", "0"):
            category = ""
        elif category is not None and category not in {str(one.id) for one in view.categories}:
            view, category = View((view.key, "nothing"), (), (), {}), ""
        key = (view.key, "enigma2", category)
        title = without_invalid_characters(title).replace("]]>", "]]]]><![CDATA[>")
        marks = ((_STREAM, stream_prefix), (_MENU, menu_url), (_TITLE, title))
        return await self._join(key, lambda: _enigma2(view, category), marks)

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


def _enigma2(view: View, category: str | None) -> bytes:
    items: list[tuple[str, str, str, str, str, str]] = []
    if category is None:
        for shown in view.categories:
            url = f"{_MENU}&type=get_live_streams&cat_id={shown.id}"
            items.append((shown.name, "", "", str(shown.id), "playlist_url", url))
    else:
        categories = categories_of(view.categories)
        for channel in view.channels:
            own = [str(shown.id) for shown in categories(channel)] or ["0"]
            if not category or category in own:
                url = f"{_STREAM}{channel.id}.ts"
                logo = without_invalid_characters(channel.logo)
                items.append((channel.name, "", logo, category or own[0], "stream_url", url))
    return enigma2(_TITLE, items, lambda text: base64.b64encode(text.encode()).decode()).encode()


def _m3u(view: View, plus: bool, extension: str, kodi: bool) -> bytes:
    writer = M3uWriter(plus=plus)
    shown = categories_of(view.categories)
    # spares Kodi its probes (§9.4)
    properties = {"mimetype": _MIME_TYPES[extension]} if kodi else {}
    # not by the writer: it would blank the mark
    parts = [f'#EXTM3U url-tvg="{_GUIDE}" x-tvg-url="{_GUIDE}"\n' if plus else "#EXTM3U\n"]
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
        parts.append(
            writer.head(
                channel.name,
                attributes,
                groups=groups[:1],
                kodi_properties=properties,
            )
        )
        parts.append(f"{_STREAM}{channel.id}{extension}\n")
    return "".join(parts).encode()
