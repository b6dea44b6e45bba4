"""Reading XMLTV: what its elements say, as channels and programmes.

Owns: what is kept of an element, what is made of values that are missing or wrong. Must not know:
how elements are found in bytes, where documents come from, what becomes of what was read, which
process this runs in.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, TypeVar

from lxml import etree

from rawstream.epg import (
    JOBS,
    NO_TITLE,
    Credit,
    EpisodeNumber,
    GuideChannel,
    LocalText,
    Programme,
    Rating,
    parse_time,
)
from rawstream.epg_elements import ElementReader, Findings, ReadLimits, WarningKind
from rawstream.epg_order import RunningOrder
from rawstream.xml_text import unescaped_again, without_html

GuideItem = GuideChannel | Programme

_NO_TITLES: Final = (LocalText(NO_TITLE),)
_CLUMP: Final = re.compile(r"\s*\d+\s*/\s*\d+\s*")

_Value = TypeVar("_Value")


@dataclass(frozen=True, slots=True)
class ReadReport:
    """What came of a document. Counts are of what was returned."""

    channels: int
    programmes: int
    left_out: int  # elements that were not returned, though wanted
    complete: bool  # the document had its end; what it held before is returned in any case
    packing: str  # '', 'gzip', 'xz', 'gzip+gzip'...
    charset: str  # the one it was read in
    unpacked_bytes: int
    warnings: tuple[str, ...]  # the first of them
    warning_counts: Mapping[WarningKind, int]  # all of them


class XmltvReader:
    """Reads one document:

        for item in reader.feed(data): ...   # any number of times
        for item in reader.finish(): ...
        reader.report

    A `GuideChannel` comes again, with all its names, when the document declares it again. The
    programmes of a channel come by their start and not over each other as long as the document has
    them so; else the last with one (channel, start) counts, and `epg_order.in_order` mends the
    rest. A programme comes when the next of its channel is known.
    """

    def __init__(
        self,
        *,
        charset: str = "",
        zoneless_offset: int = 0,
        shift_seconds: int = 0,
        wanted: Callable[[str], bool] | None = None,
        limits: ReadLimits | None = None,
    ) -> None:
        """`charset`: in spite of what the document says. `zoneless_offset`: seconds east of UTC of
        times without a zone. `shift_seconds`: added to all times, for a source known to be off.
        `wanted`: tells by its id whether the programmes of a channel are read at all.
        """
        self._limits = limits or ReadLimits()
        self._zoneless_offset = zoneless_offset
        self._shift_seconds = shift_seconds
        self._wanted = wanted

        self._findings = Findings(self._limits.warnings)
        self._elements = ElementReader(self._findings, self._limits, charset=charset)
        self._order = RunningOrder(
            open_seconds=self._limits.open_programme_seconds,
            last_seconds=self._limits.last_programme_seconds,
        )
        self._current: Iterator[etree._Element] = iter(())  # asked for, and maybe not to its end
        self._channels: dict[str, GuideChannel] = {}
        self._programme_count = 0

    def feed(self, data: bytes) -> Iterator[GuideItem]:
        """Take the next piece; gives what it completes, as it is asked for.

        What is not asked for now comes with the next call. Raises FormatError, here or in `finish`:
        no XMLTV, a packing that isn't read, more than the limits allow.
        """
        self._elements.feed(data)
        return self._items()

    def finish(self) -> list[GuideItem]:
        """The rest, when there is no more to feed. Raises FormatError as `feed` does."""
        items = list(self._items())
        items.extend(self._read(self._elements.finish()))
        items.extend(self._emitted(programme) for programme in self._order.rest())
        self._judge_the_whole()
        return items

    @property
    def report(self) -> ReadReport:
        return ReadReport(
            channels=len(self._channels),
            programmes=self._programme_count,
            left_out=self._findings.left_out,
            complete=self._elements.complete,
            packing=self._elements.packing,
            charset=self._elements.charset,
            unpacked_bytes=self._elements.unpacked_bytes,
            warnings=tuple(self._findings.warnings),
            warning_counts=dict(self._findings.counts),
        )

    def _items(self) -> Iterator[GuideItem]:
        while True:
            yield from self._read(self._current)
            elements = self._elements.read()
            if elements is None:
                return
            self._current = elements

    def _read(self, elements: Iterator[etree._Element]) -> Iterator[GuideItem]:
        for element in elements:
            if element.tag == "programme":
                programme = self._programme(element)
                if programme is not None:
                    yield self._emitted(programme)
            else:
                channel = self._channel(element)
                if channel is not None:
                    yield channel

    def _emitted(self, programme: Programme) -> Programme:
        self._programme_count += 1
        return programme

    def _judge_the_whole(self) -> None:
        undeclared = [channel for channel in self._order if channel not in self._channels]
        if undeclared:
            some = ", ".join(map(_quoted, undeclared[:5]))
            self._findings.warn("channel", f"{len(undeclared)} channels are not declared: {some}")
        for count, fault in (
            (self._order.overlaps, "cut where the next one begins"),
            (self._order.repeats, "replaced by a later one of the same start"),
            (self._order.late, "behind a later one in the document"),
        ):
            if count:
                self._findings.warn("order", f"{count} programmes {fault}", count=count)

    # -- elements --

    def _channel(self, element: etree._Element) -> GuideChannel | None:
        channel_id = (element.get("id") or "").strip()
        if not channel_id:
            self._findings.leave_out("channel", "a channel without an id")
            return None
        if not self._has_room(channel_id):
            return None
        names: list[LocalText] = []
        icons: list[str] = []
        urls: list[str] = []
        if before := self._channels.get(channel_id):
            text = "channels are declared twice; all their names count"
            self._findings.note("channel", text, f"as for {_quoted(channel_id)}")
            names.extend(before.names)
            icons.extend(before.icons)
            urls.extend(before.urls)
        for child in element:
            if child.tag == "display-name":
                names.extend(self._local_line(child))
            elif child.tag == "icon":
                icons.append((child.get("src") or "").strip())
            elif child.tag == "url":
                urls.append(_one_line(child.text))
        channel = GuideChannel(
            channel_id, self._values(names), self._values(icons), self._values(urls)
        )
        self._channels[channel_id] = channel
        return channel

    def _programme(self, element: etree._Element) -> Programme | None:
        """Take a programme; returns the one of its channel that is complete by it, if any."""
        channel = (element.get("channel") or "").strip()
        if not channel:
            where = _quoted(element.get("start"))
            self._findings.leave_out("channel", f"a programme without a channel, at {where}")
            return None
        if (self._wanted is not None and not self._wanted(channel)) or not self._has_room(channel):
            return None
        start = self._time(channel, "start", element.get("start") or "")
        if start is None:
            self._findings.left_out += 1
            return None
        stop = self._stop(channel, start, element.get("stop") or "")
        if stop is None:
            likely_stop = start + self._limits.open_programme_seconds
        else:
            likely_stop = min(stop, start + self._limits.programme_seconds)
        return self._order.add(
            self._described(element, channel, start, likely_stop),
            is_open=stop is None,
            clumped=_CLUMP.fullmatch(element.get("clumpidx") or "") is not None,
        )

    def _described(self, element: etree._Element, channel: str, start: int, stop: int) -> Programme:
        titles: list[LocalText] = []
        sub_titles: list[LocalText] = []
        descriptions: list[LocalText] = []
        categories: list[LocalText] = []
        people: list[Credit] = []
        icons: list[str] = []
        numbers: list[EpisodeNumber] = []
        ratings: list[Rating] = []
        stars: list[str] = []
        date = ""
        others: set[str] = set()
        for child in element:
            match child.tag:
                case "title":
                    titles.extend(self._local_line(child))
                case "desc":
                    if text := self._paragraphs(child):
                        descriptions.append(LocalText(text, child.get("lang") or ""))
                case "category":
                    categories.extend(self._local_line(child))
                case "sub-title":
                    sub_titles.extend(self._local_line(child))
                case "icon":
                    icons.append((child.get("src") or "").strip())
                case "episode-num":
                    if value := self._line(child):
                        # the DTD's default for the system
                        numbers.append(EpisodeNumber(child.get("system") or "onscreen", value))
                case "credits":
                    people.extend(self._credits(child))
                case "date":
                    date = date or self._line(child)
                case "rating":
                    if value := _value(child):
                        ratings.append(Rating(child.get("system") or "", value))
                case "star-rating":
                    stars.append(_value(child))
                case other:
                    others.add(other)
        return Programme(
            channel=channel,
            start=start,
            stop=stop,
            titles=self._values(titles) or _NO_TITLES,
            sub_titles=self._values(sub_titles),
            descriptions=self._values(descriptions),
            credits=self._values(people),
            date=date,
            categories=self._values(categories),
            icons=self._values(icons),
            episode_numbers=self._values(numbers),
            previously_shown="previously-shown" in others,
            premiere="premiere" in others,
            new="new" in others,
            ratings=self._values(ratings),
            star_ratings=self._values(stars),
        )

    def _credits(self, element: etree._Element) -> Iterator[Credit]:
        for person in element:
            # an actor may hold pictures and links behind the name
            name = _one_line(_plain(person.text or ""))
            if name and person.tag in JOBS:
                yield Credit(person.tag, name, _one_line(person.get("role")))

    # -- values --

    def _local_line(self, element: etree._Element) -> Iterator[LocalText]:
        if text := self._line(element):
            yield LocalText(text, element.get("lang") or "")

    def _line(self, element: etree._Element) -> str:
        return self._cut(_one_line(_plain(_text(element))), self._limits.title_characters)

    def _paragraphs(self, element: etree._Element) -> str:
        lines = map(_one_line, _plain(_text(element)).splitlines())
        return self._cut("\n".join(filter(None, lines)), self._limits.text_characters)

    def _cut(self, text: str, characters: int) -> str:
        if len(text) <= characters:
            return text
        self._findings.note("size", f"texts of more than {characters} characters are cut")
        return text[: characters - 1].rstrip() + "…"

    def _values(self, values: Sequence[_Value]) -> tuple[_Value, ...]:
        """Each once, none empty."""
        if not values:
            return ()
        unique = tuple(dict.fromkeys(value for value in values if value))
        if len(unique) > self._limits.values:
            text = f"more than {self._limits.values} values of one kind are cut"
            self._findings.note("size", text)
        return unique[: self._limits.values]

    def _stop(self, channel: str, start: int, text: str) -> int | None:
        if not text.strip():
            return None
        stop = self._time(channel, "stop", text)
        if stop is not None and stop <= start:
            self._findings.warn("time", f"{_quoted(channel)}: stop {_quoted(text)} not after start")
            return None
        return stop

    def _time(self, channel: str, what: str, text: str) -> int | None:
        time = parse_time(text, self._zoneless_offset)
        if time is None:
            self._findings.warn("time", f"{_quoted(channel)}: {what} {_quoted(text)} is no time")
            return None
        if time.zone == "unknown":
            example = f"as in {_quoted(text)}"
            self._findings.note("time", "time zones nobody knows are not counted", example)
        return time.seconds + self._shift_seconds

    def _has_room(self, channel: str) -> bool:
        if channel in self._channels or channel in self._order:
            return True
        if max(len(self._channels), len(self._order)) < self._limits.channels:
            return True
        self._findings.left_out += 1
        text = f"more than {self._limits.channels} channels; the others are left out"
        self._findings.note("size", text)
        return False


def _text(element: etree._Element) -> str:
    # only an element that was mended has elements in its text
    return "".join(map(str, element.itertext())) if len(element) else element.text or ""


def _value(element: etree._Element) -> str:
    """What a rating says: in its <value>, or bare, as some grabbers write it."""
    value = element.find("value")
    return _one_line(element.text if value is None else value.text)


def _plain(text: str) -> str:
    """Without a second layer of escapes and without HTML, which many grabbers leave in."""
    if "&" in text:
        text = unescaped_again(text)
    return without_html(text)


def _one_line(text: str | None) -> str:
    return " ".join(text.split()) if text else ""


def _quoted(text: str | None) -> str:
    return repr((text or "")[:40])
