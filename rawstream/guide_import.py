"""A guide document into the store, and which channel of ours it belongs to.

Owns: what of a document is kept, when a new guide takes the old one's place, the run of the
matching over the whole line-up, the report. Must not know: where a document comes from, when it is
read again, how rows are kept.

It blocks between its writes: run it in a process of its own (design §8).
"""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

from rawstream.epg import GuideChannel, Programme
from rawstream.epg_elements import ReadLimits
from rawstream.epg_reader import XmltvReader
from rawstream.errors import FormatError
from rawstream.guide_match import GuideIndex, Match
from rawstream.records import Channel, ListSource
from rawstream.store import Store

PAST_DAYS: Final = 3  # of programmes that are over, for those who look back
FUTURE_DAYS: Final = 21
_DAY_SECONDS: Final = 86_400
_ROWS_AT_ONCE: Final = 2_000  # of one transaction
_POORER: Final = 0.8  # a document that was cut replaces one that it has at least this much of


@dataclass(frozen=True, slots=True)
class GuideReport:
    """What a guide brought. `kept`: programmes inside the days that are kept; `matched`: channels
    of the line-up that have a guide now, by any list. `names`: some of those, and by which rule.
    """

    channels: int
    programmes: int
    kept: int
    left_out: int
    complete: bool
    matched: int
    line_up: int
    names: Mapping[str, str] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    warning_count: int = 0

    def to_json(self) -> str:
        return json.dumps(dataclasses.asdict(self), ensure_ascii=False)


async def import_guide(
    store: Store,
    source: ListSource,
    pieces: Iterable[bytes],
    *,
    charset: str = "",
    complete: bool = True,
    dry_run: bool = False,
    now: int | None = None,
    limits: ReadLimits | None = None,
    on_programmes: Callable[[int], None] = lambda _count: None,
) -> GuideReport:
    """Make this document the list's guide. `complete`: all of it has come. `on_programmes` is told
    now and then how many have been read.

    Raises FormatError: no XMLTV, no programmes, cut so short that the guide before it is better;
    StateError. What was shown before then stays.
    """
    now = int(time.time()) if now is None else now
    reader = XmltvReader(
        charset=charset,
        zoneless_offset=source.zoneless_offset,
        shift_seconds=source.shift_seconds,
        limits=limits,
    )
    since, until = now - PAST_DAYS * _DAY_SECONDS, now + FUTURE_DAYS * _DAY_SECONDS
    channels: dict[str, GuideChannel] = {}
    kept = 0
    with_programmes: set[str] = set()
    generation = 0 if dry_run else await store.guide.begin(source.id)
    try:
        new_channels: dict[str, GuideChannel] = {}
        new_programmes: list[Programme] = []
        for items in _batches(reader, pieces):
            for item in items:
                if isinstance(item, GuideChannel):
                    channels[item.id] = new_channels[item.id] = item
                elif item.stop > since and item.start < until:
                    new_programmes.append(item)
                    with_programmes.add(item.channel)
            if len(new_programmes) + len(new_channels) >= _ROWS_AT_ONCE:
                kept += len(new_programmes)
                if not dry_run:
                    await store.guide.add(
                        source.id, generation, new_channels.values(), new_programmes
                    )
                new_channels, new_programmes = {}, []
                on_programmes(kept)
        kept += len(new_programmes)
        complete = complete and reader.report.complete
        if not kept:
            raise FormatError("guide", "it has no programme of these days")
        if not dry_run:
            await store.guide.add(source.id, generation, new_channels.values(), new_programmes)
            if not complete and kept < _POORER * await store.guide.count(source.id):
                raise FormatError("guide", f"cut short after {kept} programmes; the last one stays")
            await store.guide.finish(source.id, generation)
    except BaseException:
        if not dry_run:
            await store.guide.abandon(source.id, generation)
        raise
    if dry_run:
        guide = [channels.get(key) or GuideChannel(key) for key in with_programmes]
        found = matches(await store.lineup.channels(), guide)
    else:
        found = await rematch(store)
    report = reader.report
    shown = GuideReport(
        channels=report.channels,
        programmes=report.programmes,
        kept=kept,
        left_out=report.left_out,
        complete=complete,
        matched=len(found),
        line_up=len(await store.lineup.channels()),
        names=_some(found),
        warnings=report.warnings,
        warning_count=sum(report.warning_counts.values()),
    )
    if not dry_run:
        await store.lineup.note_refresh(source.id, now=now, result=shown.to_json())
    return shown


def _batches(
    reader: XmltvReader, pieces: Iterable[bytes]
) -> Iterable[Iterable[GuideChannel | Programme]]:
    for piece in pieces:
        yield reader.feed(piece)
    yield reader.finish()


def _some(found: Mapping[int, Match], limit: int = 20) -> dict[str, str]:
    """The least sure matches: these are the ones an operator should look at."""
    doubtful = sorted(found.values(), key=lambda match: match.score)[:limit]
    return {m.ours: f"{m.theirs} ({m.rule}, {m.score})" for m in doubtful if m.rule != "id"}


# -- matching --


def matches(line_up: Iterable[Channel], guide: Iterable[GuideChannel]) -> dict[int, Match]:
    """The guide's channel of each channel of the line-up, for those that have one."""
    index = GuideIndex(guide)
    found = {}
    for channel in line_up:
        match = index.match(channel.guide_id, [channel.guide_name, channel.name])
        if match is not None:
            found[channel.id] = match
    return found


async def rematch(store: Store) -> dict[int, Match]:
    """Match the whole line-up against all guides. To be done when either has changed; what was
    mapped by hand is not touched. Raises StateError.
    """
    found = matches(await store.lineup.channels(), await store.guide.channels())
    await store.guide.set_matches(found)
    return found
