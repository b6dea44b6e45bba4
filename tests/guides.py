"""Guides for tests: small XMLTV documents, and a store with one in it."""

from __future__ import annotations

from collections.abc import Sequence

from rawstream.epg import GuideChannel, LocalText, Programme, format_time, write_xmltv
from rawstream.guide_import import GuideReport, import_guide
from rawstream.records import ListSource
from rawstream.store import Store

HOUR = 3600
NOON = 1_800_000_000 // 86_400 * 86_400 + 12 * HOUR  # some day at twelve, UTC


def show(channel: str, start: int, stop: int, title: str, text: str = "") -> Programme:
    """A programme of one language."""
    described = (LocalText(text),) if text else ()
    return Programme(channel, start, stop, (LocalText(title),), descriptions=described)


def guide(*programmes: Programme, names: Sequence[tuple[str, str]] = ()) -> bytes:
    """A document; `names`: the channels it declares, as id and display-name."""
    channels = [GuideChannel(key, (LocalText(name),)) for key, name in names]
    return b"".join(write_xmltv(channels, programmes))


def bare(channel: str, start: int, title: str, *, zone: str = "+0000") -> str:
    """A programme without a stop, as grabbers write it; `start` is the local time's digits."""
    digits = format_time(start).split()[0]
    return (
        f'<programme start="{digits} {zone}" channel="{channel}"><title>{title}</title></programme>'
    )


async def add_guide(
    store: Store,
    document: bytes,
    *,
    url: str = "http://h/guide.xml",
    priority: int = 100,
    now: int = NOON,
) -> GuideReport:
    """Import a document as a list of its own, or as that list's next one."""
    number = await store.lineup.add_list(ListSource(0, "guide", url, priority=priority))
    source = await store.lineup.list_source(number)
    assert source is not None
    return await import_guide(store, source, [document], now=now)
