"""Whole lists, built once per version of the line-up and class of accounts, off the loop.

Owns: the JSON of categories and streams, the M3U and the XMLTV, as bytes and packed.
What depends on who asks (addresses, credentials) is joined in at the last moment. Must not know:
who asks, whether he may.
"""

from __future__ import annotations

import asyncio
import gzip
import hashlib
import sqlite3
from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import orjson

from rawstream.catalogue import Catalogue, View
from rawstream.errors import StateError
from rawstream.guide import document
from rawstream.m3u_writer import M3uWriter
from rawstream.xtream_shapes import categories_of, category_rows, panel_channels, stream_rows

# stands in a built list where something of the request belongs; no name holds a control character
_STREAM, _GUIDE = "\x02", "\x03"
_KEPT: Final = 256  # lists; a category asked for is one more
_PACKED_FROM: Final = 1400  # bytes: less fits one packet either way


@dataclass(slots=True)
class Built:
    """A list, packed as well, and its ETag."""

    body: bytes
    packed: bytes | None = None
    etag: str = field(default="")


class XtreamLists:
    """What was built for the newest catalogues. `database`: where programmes are read."""

    def __init__(self, database: Path, *, limit_bytes: int = 256 * 1024 * 1024) -> None:
        self._database = database
        self._limit_bytes = limit_bytes
        self._built: OrderedDict[Hashable, asyncio.Task[Built]] = OrderedDict()

    async def _once(self, key: Hashable, build: Callable[[], bytes]) -> Built:
        """Build, in a thread, what all who ask at the same time wait for."""
        task = self._built.get(key)
        if task is None or (task.done() and (task.cancelled() or task.exception())):
            task = asyncio.create_task(asyncio.to_thread(_finished, build), name="list")
            self._built[key] = task
            task.add_done_callback(self._make_room)
        else:
            self._built.move_to_end(key)
        return await asyncio.shield(task)

    def _make_room(self, _task: asyncio.Task[Built]) -> None:
        """Something was built: what nobody asked for the longest time may go."""
        held = sum(map(_size, self._built.values()))
        while len(self._built) > _KEPT or (held > self._limit_bytes and len(self._built) > 1):
            held -= _size(self._built.popitem(last=False)[1])

    async def categories(self, view: View) -> Built:
        return await self._once(
            (view.key, "categories"), lambda: orjson.dumps(category_rows(view.categories))
        )

    def streams_at_once(self, view: View, category: int | None) -> Built | None:
        """What `streams` gives, if it is there already."""
        key = (view.key, "streams", category)
        task = self._built.get(key)
        if task is None or not task.done() or task.cancelled() or task.exception() is not None:
            return None
        self._built.move_to_end(key)
        return task.result()

    async def streams(self, catalogue: Catalogue, view: View, category: int | None) -> Built:
        """`get_live_streams`; `category` None: all."""

        def build() -> bytes:
            rows = stream_rows(view.channels, view.categories, catalogue.is_adult)
            if category is not None:
                rows = [row for row in rows if category in row["category_ids"]]
            return orjson.dumps(rows)

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
        built = await self._once(
            (view.key, "m3u", plus, extension, kodi), lambda: _m3u(view, plus, extension, kodi)
        )
        return built.body.replace(_STREAM.encode(), stream_prefix.encode()).replace(
            _GUIDE.encode(), guide_url.replace('"', "%22").encode()
        )

    async def xmltv(self, view: View, since: int, until: int) -> Built:
        """The guide of what the view shows, of one time. Raises StateError."""
        try:
            return await self._once(
                (view.key, "xmltv", since, until),
                lambda: b"".join(document(self._database, view.channels, since, until)),
            )
        except sqlite3.Error as error:
            raise StateError(str(self._database), str(error)) from error

    def has_xmltv(self, view: View, since: int, until: int) -> bool:
        """Whether `xmltv` costs nothing."""
        task = self._built.get((view.key, "xmltv", since, until))
        return task is not None and task.done()


def _size(task: asyncio.Task[Built]) -> int:
    if not task.done() or task.cancelled() or task.exception() is not None:
        return 0
    built = task.result()
    return len(built.body) + len(built.packed or b"")


def _finished(build: Callable[[], bytes]) -> Built:
    body = build()
    packed = gzip.compress(body, 6, mtime=0) if len(body) >= _PACKED_FROM else None
    return Built(body, packed, f'"{hashlib.sha256(body).hexdigest()[:32]}"')


def _m3u(view: View, plus: bool, extension: str, kodi: bool) -> bytes:
    writer = M3uWriter(plus=plus)
    shown = categories_of(view.categories)
    # spares Kodi its probes (§9.4)
    properties = {"mimetype": "video/mp2t"} if kodi else {}
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
