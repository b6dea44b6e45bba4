"""One programme after the other: what guides leave unsaid or say twice about a channel's day.

Owns: where a programme without a stop ends, what gives way when two are on at once, how several
sources fill each other's gaps. Must not know: what a document looks like, where it came from.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any, ClassVar, Protocol, TypeVar

from rawstream.epg import LocalText, Programme


class Slot(Protocol):
    """A dataclass with a time on air: a `Programme`, or what else is kept of one."""

    __dataclass_fields__: ClassVar[dict[str, Any]]

    @property
    def start(self) -> int: ...
    @property
    def stop(self) -> int: ...


_Slot = TypeVar("_Slot", bound=Slot)


def in_order(programmes: Iterable[_Slot]) -> list[_Slot]:
    """The programmes of one channel by their start, none twice, none over the next.

    Of several with one start the last given stays; one that is still on when the next begins ends
    there.
    """
    by_start = {programme.start: programme for programme in programmes}
    ordered = [by_start[start] for start in sorted(by_start)]
    for at, following in enumerate(ordered[1:]):
        if ordered[at].stop > following.start:
            ordered[at] = replace(ordered[at], stop=following.start)
    return ordered


def fill_gaps(sources: Sequence[Iterable[_Slot]], *, least_seconds: int = 300) -> list[_Slot]:
    """One channel's programmes out of several sources, the most trusted first.

    A later source's programme is taken where no earlier one has any, cut to the gap; remains
    shorter than `least_seconds` are left out. The result is `in_order`.
    """
    joined: list[_Slot] = []
    for source in sources:
        if not joined:
            joined = in_order(source)
            continue
        taken: list[_Slot] = []
        following = 0
        for programme in in_order(source):
            while following < len(joined) and joined[following].stop <= programme.start:
                following += 1
            taken.extend(_cut_to_gaps(programme, joined, following, least_seconds))
        joined = sorted(joined + taken, key=lambda programme: programme.start)
    return joined


def _cut_to_gaps(
    programme: _Slot, kept: Sequence[_Slot], at: int, least_seconds: int
) -> Iterator[_Slot]:
    """What of `programme` lies between those of `kept`, of which `at` is the first not before."""
    start, least = programme.start, min(least_seconds, programme.stop - programme.start)
    while start < programme.stop:
        stop = min(programme.stop, kept[at].start) if at < len(kept) else programme.stop
        if stop - start >= least:
            yield replace(programme, start=start, stop=stop)
        if at == len(kept):
            return
        start = max(start, kept[at].stop)
        at += 1


class RunningOrder:
    """Puts the programmes of a document in order as they come, one held back per channel.

    What comes out is sorted, without overlap and closed, as long as the programmes of each channel
    come by their start. One that comes late is passed on as it is, cut to end where the latest one
    begins; `in_order` over the whole channel then puts it where it belongs.
    """

    def __init__(self, *, open_seconds: int, last_seconds: int) -> None:
        """A programme without a stop lasts until the next, but `open_seconds` at most; the last one
        of a channel lasts `last_seconds`.
        """
        self._open_seconds = open_seconds
        self._last_seconds = last_seconds
        self._last: dict[str, Programme] = {}  # of each channel, the one with the latest start
        self._open: set[str] = set()  # channels whose last has no stop of its own
        self._clumped: set[str] = set()  # channels whose last shares its time with others

        self.overlaps = 0  # programmes cut where the next one began
        self.repeats = 0  # programmes replaced by a later one with their start
        self.late = 0  # programmes that came behind a later one

    def __len__(self) -> int:
        return len(self._last)

    def __contains__(self, channel: object) -> bool:
        return channel in self._last

    def __iter__(self) -> Iterator[str]:
        return iter(self._last)

    def add(
        self, programme: Programme, *, is_open: bool = False, clumped: bool = False
    ) -> Programme | None:
        """Take a programme; returns the one that is complete by it, if any.

        `is_open`: its stop is not known, whatever it says. `clumped`: it shares its time with
        others of the same start, in an unknown division (`clumpidx` in the DTD): they become one.
        """
        channel = programme.channel
        last = self._last.get(channel)
        complete = None
        if last is not None:
            if programme.start < last.start:
                self.late += 1
                stop = programme.start + self._open_seconds if is_open else programme.stop
                return replace(programme, stop=min(stop, last.start))
            if programme.start > last.start:
                complete = self._closed(last, programme.start)
            elif clumped and channel in self._clumped:
                programme = _clump(last, programme)
            else:
                self.repeats += 1
                if is_open and channel not in self._open:
                    programme, is_open = replace(programme, stop=last.stop), False
        self._last[channel] = programme
        (self._open.add if is_open else self._open.discard)(channel)
        (self._clumped.add if clumped else self._clumped.discard)(channel)
        return complete

    def rest(self) -> Iterator[Programme]:
        """What was held back, at the end of the document."""
        for channel, programme in self._last.items():
            if channel in self._open:
                programme = replace(programme, stop=programme.start + self._last_seconds)
            yield programme

    def _closed(self, programme: Programme, next_start: int) -> Programme:
        if programme.channel in self._open:
            stop = min(next_start, programme.start + self._open_seconds)
        elif programme.stop > next_start:
            self.overlaps += 1
            stop = next_start
        else:
            return programme
        return replace(programme, stop=stop)


def _clump(first: Programme, second: Programme) -> Programme:
    """Both in one; details other than texts are the first one's."""
    return replace(
        first,
        stop=max(first.stop, second.stop),
        titles=_side_by_side(first.titles, second.titles, " / "),
        sub_titles=_side_by_side(first.sub_titles, second.sub_titles, " / "),
        descriptions=_side_by_side(first.descriptions, second.descriptions, "\n"),
        categories=tuple(dict.fromkeys(first.categories + second.categories)),
    )


def _side_by_side(
    first: tuple[LocalText, ...], second: tuple[LocalText, ...], between: str
) -> tuple[LocalText, ...]:
    texts = {text.lang: text.text for text in reversed(first)}
    for text, lang in second:
        texts[lang] = f"{texts[lang]}{between}{text}" if lang in texts else text
    return tuple(LocalText(text, lang) for lang, text in texts.items())
