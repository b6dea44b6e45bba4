"""What the demo shows: accounts and a line-up over the simulated engine's channels and films.

Owns: these few made-up things. Must not know: how they are served.
"""

from __future__ import annotations

import asyncio
import dataclasses
import secrets
import struct
import time
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final, NamedTuple

from rawstream.epg import GuideChannel, LocalText, Programme, write_xmltv
from rawstream.film_names import read_name
from rawstream.guide_import import import_guide
from rawstream.logos import FOLDER
from rawstream.passwords import Passwords
from rawstream.records import Account, Channel, ChannelSource, FilmFacts, ListSource
from rawstream.simulator import SimContent
from rawstream.store import Store

_CATEGORIES: Final = ("Pictures", "Sounds")
_FILMS: Final = "Films"
_FILM_SECONDS: Final = 16  # what a bundled clip takes
_HOUR_SECONDS: Final = 3600
_SHOWS: Final = ("Morning", "Noon", "Afternoon", "Evening", "Night")
_GUIDE_HOURS: Final = range(-24, 8 * 24)  # from now


class DemoAccounts(NamedTuple):
    """Passwords that were made for this run; the viewer's name is `demo`, the admin's `admin`."""

    viewer_password: str
    admin_password: str


async def furnish(
    store: Store,
    contents: Sequence[SimContent],
    films: Sequence[SimContent] = (),
    *,
    public: bool,
) -> DemoAccounts:
    """Put accounts, channels and films into an empty store. `films`: one that is called as an
    episode is one. `public`: others than this machine can reach it, so that the viewer's password
    must not be one that everybody knows.
    """
    viewer = secrets.token_urlsafe(9) if public else "demo"
    admin = secrets.token_urlsafe(12)
    passwords = Passwords()
    try:
        await store.accounts.add(Account(0, "demo", await passwords.hash(viewer)))
        await store.accounts.add(Account(0, "admin", await passwords.hash(admin), admin=True))
    finally:
        passwords.close()
    folder = store.db.path.parent / FOLDER
    await asyncio.to_thread(_draw_logos, folder, len(contents) + len(films))
    for position, content in enumerate(contents):
        radio = content.clip.name.startswith("four")
        category = await store.lineup.category_named(_CATEGORIES[radio])
        await store.lineup.add_channel(
            Channel(
                0,
                content.name,
                position,
                str(position + 1),
                f"/{FOLDER}/{position + 1}.png",
                guide_id=_guide_id(content),
                categories=(category.id,),
                sources=_sources(content),
            )
        )
    for position, content in enumerate(films, len(contents)):
        await store.lineup.add_channel(await _film(store, content, position))
    await _add_guide(store, contents)
    return DemoAccounts(viewer, admin)


def _draw_logos(folder: Path, count: int) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(1, count + 1):
        (folder / f"{number}.png").write_bytes(logo(number))


def logo(number: int) -> bytes:
    """A square of its own colour with so many bars, as PNG (RFC 2083)."""
    size, bar = 96, 8
    red, green, blue = (80 + number * factor % 150 for factor in (67, 101, 139))
    line = bytearray()
    for x in range(size):
        left = (size - (2 * number - 1) * bar) // 2
        inside = 0 <= x - left < (2 * number - 1) * bar and (x - left) // bar % 2 == 0
        line += b"\xff\xff\xff" if inside else bytes((red, green, blue))
    plain = bytes((red, green, blue)) * size
    rows = b"".join(b"\0" + (line if 24 <= y < size - 24 else plain) for y in range(size))
    parts = (
        (b"IHDR", struct.pack(">IIBBBBB", size, size, 8, 2, 0, 0, 0)),
        (b"IDAT", zlib.compress(rows)),
        (b"IEND", b""),
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in parts
    )


def _sources(content: SimContent) -> tuple[ChannelSource, ...]:
    return (
        ChannelSource("content_id", content.content_id),
        ChannelSource("infohash", content.infohash),
    )


async def _film(store: Store, content: SimContent, position: int) -> Channel:
    name = read_name(content.name)
    picture = f"/{FOLDER}/{position + 1}.png"
    film = Channel(
        0,
        content.name,
        position,
        logo=picture,
        categories=((await store.lineup.category_named(_FILMS)).id,),
        sources=_sources(content),
        kind="movie",
        extension=content.clip.suffix.removeprefix("."),
        facts=FilmFacts(f"The demonstration of {name.title}.", duration=_FILM_SECONDS),
    )
    if name.season is None:
        return film
    series = await store.lineup.series_named(name.title)
    if not series.cover:
        facts = FilmFacts(f"All there is of {name.title}.", genre="Demonstration")
        await store.lineup.set_series(dataclasses.replace(series, cover=picture, facts=facts))
    return dataclasses.replace(
        film, kind="episode", series_id=series.id, season=name.season, episode=name.episode
    )


def _guide_id(content: SimContent) -> str:
    return f"{content.clip.stem}.demo"


async def _add_guide(store: Store, contents: Sequence[SimContent]) -> None:
    """A programme every hour, around the clock."""
    now = int(time.time())
    url = "demo:guide"  # nowhere: nobody reads it again
    number = await store.lineup.add_list(ListSource(0, "guide", url, "Demo", interval_seconds=0))
    source = await store.lineup.list_source(number)
    assert source is not None, "just added"
    channels = [
        GuideChannel(_guide_id(content), (LocalText(content.name, "en"),)) for content in contents
    ]
    programmes = (one for content in contents for one in _programmes(content, now))
    await import_guide(store, source, write_xmltv(channels, programmes), now=now)


def _programmes(content: SimContent, now: int) -> Iterator[Programme]:
    first = now // _HOUR_SECONDS
    for hour in (first + offset for offset in _GUIDE_HOURS):
        show = _SHOWS[(hour % 24 - 6) // 4 if hour % 24 >= 6 else -1]
        yield Programme(
            _guide_id(content),
            hour * _HOUR_SECONDS,
            (hour + 1) * _HOUR_SECONDS,
            (LocalText(f"{show}: {hour % 24:02}:00 UTC", "en"),),
            descriptions=(
                LocalText(f"The {hour % 24}th hour of the day on {content.name}.", "en"),
            ),
            categories=(LocalText("Demonstration", "en"),),
        )
