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
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from rawstream.epg import GuideChannel, Programme
from rawstream.epg_elements import ReadLimits
from rawstream.epg_reader import XmltvReader
from rawstream.errors import FormatError
from rawstream.extinf import writable
from rawstream.guide_match import GuideIndex, Match
from rawstream.records import ListSource
from rawstream.store import Store
from rawstream.store_lineup import Named

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

    def summary(self) -> str:
        """One line for people."""
        cut = "" if self.complete else " (cut short)"
        return (
            f"{self.programmes} programmes of {self.channels} channels{cut}, {self.kept} of these "
            f"days; {self.matched} of {self.line_up} channels have a guide"
        )


class _Guide:
    """One document on its way in: what it has, counted, and what of it is to be kept."""

    def __init__(
        self, source: ListSource, now: int, charset: str, limits: ReadLimits | None
    ) -> None:
        self.reader = XmltvReader(
            charset=charset,
            zoneless_offset=source.zoneless_offset,
            shift_seconds=source.shift_seconds,
            limits=limits,
        )
        self.kept = 0
        self._since = now - PAST_DAYS * _DAY_SECONDS
        self._until = now + FUTURE_DAYS * _DAY_SECONDS
        self._channels: dict[str, GuideChannel] = {}
        self._shown: set[str] = set()

    def pieces(
        self, pieces: Iterable[bytes]
    ) -> Iterator[tuple[Collection[GuideChannel], Sequence[Programme]]]:
        """What to keep, a bounded number at a time. Raises FormatError."""
        channels: dict[str, GuideChannel] = {}
        programmes: list[Programme] = []
        for items in _batches(self.reader, pieces):
            for found in items:
                item = _with_a_writable_id(found)
                if isinstance(item, GuideChannel):
                    channels[item.id] = self._channels[item.id] = item
                elif item.stop > self._since and item.start < self._until:
                    programmes.append(item)
                    self._shown.add(item.channel)
                if len(channels) + len(programmes) >= _ROWS_AT_ONCE:
                    self.kept += len(programmes)
                    yield channels.values(), programmes
                    channels, programmes = {}, []
        self.kept += len(programmes)
        yield channels.values(), programmes
        if not self.kept:
            raise FormatError("guide", "it has no programme of these days")

    @property
    def channels(self) -> list[GuideChannel]:
        """Those with programmes."""
        return [self._channels.get(key) or GuideChannel(key) for key in self._shown]

    def report(self, complete: bool, found: Mapping[int, Match], line_up: int) -> GuideReport:
        read = self.reader.report
        return GuideReport(
            channels=read.channels,
            programmes=read.programmes,
            kept=self.kept,
            left_out=read.left_out,
            complete=complete and read.complete,
            matched=len(found),
            line_up=line_up,
            names=_some(found),
            warnings=read.warnings,
            warning_count=sum(read.warning_counts.values()),
        )


async def import_guide(
    store: Store,
    source: ListSource,
    pieces: Iterable[bytes],
    *,
    charset: str = "",
    complete: bool = True,
    now: int | None = None,
    limits: ReadLimits | None = None,
) -> GuideReport:
    """Make this document the list's guide. `complete`: all of it has come.

    Raises FormatError: no XMLTV, no programmes, cut so short that the guide before it is better;
    StateError. What was shown before then stays.
    """
    now = int(time.time()) if now is None else now
    guide = _Guide(source, now, charset, limits)
    generation = await store.guide.begin(source.id)
    try:
        for channels, programmes in guide.pieces(pieces):
            await store.guide.add(source.id, generation, channels, programmes)
        whole = complete and guide.reader.report.complete
        if not whole and guide.kept < _POORER * await store.guide.count(source.id):
            raise FormatError(
                "guide", f"cut short after {guide.kept} programmes; the last one stays"
            )
        if not await store.guide.finish(source.id, generation):
            raise FormatError("guide", "another import of it has begun meanwhile; that one counts")
    except BaseException:
        await store.guide.abandon(source.id, generation)
        raise
    found = await rematch(store)
    report = guide.report(complete, found, await store.lineup.count())
    await store.lineup.note_refresh(source.id, now=now, result=report.to_json())
    return report


def try_guide(
    line_up: Sequence[Named],
    source: ListSource,
    pieces: Iterable[bytes],
    *,
    complete: bool = True,
    now: int | None = None,
    limits: ReadLimits | None = None,
) -> GuideReport:
    """What `import_guide` would say if this were the only guide. Raises FormatError."""
    guide = _Guide(source, int(time.time()) if now is None else now, "", limits)
    for _ in guide.pieces(pieces):
        pass
    return guide.report(complete, matches(line_up, guide.channels), len(line_up))


def _with_a_writable_id(item: GuideChannel | Programme) -> GuideChannel | Programme:
    """An id is the same text in every list that players get (Xtream reference §1 no. 13), and M3U
    has no way to write a quote.
    """
    own = item.id if isinstance(item, GuideChannel) else item.channel
    shown = writable(own)
    if shown == own:
        return item
    if isinstance(item, GuideChannel):
        return dataclasses.replace(item, id=shown)
    return dataclasses.replace(item, channel=shown)


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


def matches(line_up: Iterable[Named], guide: Collection[GuideChannel]) -> dict[int, Match]:
    """The guide's channel of each channel of the line-up, for those that have one."""
    if not guide:
        return {}
    index = GuideIndex(guide)
    found = {}
    for channel in line_up:
        match = index.match(writable(channel.guide_id), [channel.guide_name, channel.name])
        if match is not None:
            found[channel.id] = match
    return found


async def rematch(store: Store) -> dict[int, Match]:
    """Match the whole line-up against all guides. To be done when either has changed; what was
    mapped by hand is not touched. Raises StateError.
    """
    guide = await store.guide.channels()
    found = matches(await store.lineup.names() if guide else (), guide)
    await store.guide.set_matches(found)
    return found
