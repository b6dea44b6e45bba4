"""What is on: one channel's programmes out of all guides, and the document of many channels.

Owns: how several lists become one day, which text of a programme is shown, the window of a
document. Must not know: HTTP, JSON, accounts, where guides come from.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from lxml import etree

from rawstream.epg import GuideChannel, LocalText, preferred, timed_element, write_elements
from rawstream.epg_order import fill_gaps
from rawstream.errors import StateError
from rawstream.records import Channel
from rawstream.store_guide import Broadcast, GuideStore, read_broadcasts

_DAY_SECONDS: Final = 86_400
_HOUR_SECONDS: Final = 3_600
DAYS_LIMIT: Final = 30
_FEW: Final = 20  # programmes read faster than a thread is asked to

Read = Callable[[Path, Sequence[str], int, int], Iterator[tuple[str, list[list[Broadcast]]]]]


@dataclass(frozen=True, slots=True)
class Listing:
    """A programme as players list it. Times are whole seconds since 1970, UTC."""

    start: int
    stop: int
    title: str
    description: str
    lang: str


async def listings(
    guide: GuideStore, guide_id: str, since: int, until: int, *, limit: int | None = None
) -> list[Listing]:
    """A channel's programmes that are on in this time, in order, `limit` of them at most. Raises
    StateError.
    """
    if not guide_id:
        return []
    found = fill_gaps(await guide.broadcasts(guide_id, since, until))[:limit]
    if len(found) <= _FEW:
        return [_listing(one) for one in found]
    return await asyncio.to_thread(lambda: [_listing(one) for one in found])


def listings_of(
    path: Path, guide_ids: Sequence[str], since: int, until: int
) -> dict[str, list[Listing]]:
    """`listings` of many channels, by guide, for a thread. `path`: of the database. Raises
    StateError.
    """
    try:
        return {
            guide_id: [_listing(one) for one in fill_gaps(by_list)]
            for guide_id, by_list in read_broadcasts(path, guide_ids, since, until)
        }
    except sqlite3.Error as error:
        raise StateError(str(path), str(error)) from error


def _listing(broadcast: Broadcast) -> Listing:
    element = etree.fromstring(f"<programme>{broadcast.body}</programme>")
    titles = [LocalText(one.text or "", one.get("lang", "")) for one in element.iter("title")]
    texts = [LocalText(one.text or "", one.get("lang", "")) for one in element.iter("desc")]
    title = preferred(titles)
    lang = next((text.lang for text in titles if text.text == title), "")
    return Listing(broadcast.start, broadcast.stop, title, preferred(texts), lang)


def window(now: int, past_days: int, next_days: int) -> tuple[int, int]:
    """The time a document covers. It moves by the hour, so that one may be kept for so long."""
    hour = now // _HOUR_SECONDS * _HOUR_SECONDS
    return (
        hour - min(past_days, DAYS_LIMIT) * _DAY_SECONDS,
        hour + min(next_days, DAYS_LIMIT) * _DAY_SECONDS + _HOUR_SECONDS,
    )


def document(
    path: Path,
    channels: Sequence[Channel],
    since: int,
    until: int,
    *,
    read: Read = read_broadcasts,
) -> Iterator[bytes]:
    """The XMLTV of these channels, in pieces, for a thread. `path`: of the database.

    Channels that share a guide are one in it, under all their names. Raises sqlite3.Error.
    """
    names: dict[str, list[LocalText]] = {}
    icons: dict[str, list[str]] = {}
    for channel in channels:
        if channel.guide_id:
            names.setdefault(channel.guide_id, []).append(LocalText(channel.name))
            icons.setdefault(channel.guide_id, []).extend(filter(None, [channel.logo]))
    heads = (
        GuideChannel(key, tuple(dict.fromkeys(texts)), tuple(icons[key][:1]))
        for key, texts in names.items()
    )
    elements = (
        timed_element(guide_id, one.start, one.stop, one.body)
        for guide_id, by_list in read(path, list(names), since, until)
        for one in fill_gaps(by_list)
    )
    return write_elements(heads, elements)
