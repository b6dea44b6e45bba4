"""The guide: channels, programmes, XMLTV's times, and writing them down as XMLTV.

Owns: what a programme is, what its times mean, which of several languages is shown, the document
that is written. Must not know: how documents are read or fetched, which of our channels shows which
programme.

Names are those of the XMLTV DTD. Times are UTC, whole seconds since 1970.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from functools import lru_cache
from itertools import chain
from typing import Final, NamedTuple

from rawstream.xml_text import without_invalid_characters

NO_TITLE: Final = "No title"  # players drop or crash on an empty one (reference §8.2)


class LocalText(NamedTuple):
    """A text and the language it is in, as the document wrote it ('en', 'en_GB', 'ita'; '')."""

    text: str
    lang: str = ""


class EpisodeNumber(NamedTuple):
    """`system`: 'xmltv_ns' (counted from 0), 'onscreen', or a grabber's own."""

    system: str
    value: str


class Rating(NamedTuple):
    system: str
    value: str


class Credit(NamedTuple):
    """`job` is one of `JOBS`; `role` is whom an actor plays."""

    job: str
    name: str
    role: str = ""


# the children of <credits>, in the order of the DTD
JOBS: Final = (
    "director",
    "actor",
    "writer",
    "adapter",
    "producer",
    "composer",
    "editor",
    "presenter",
    "commentator",
    "guest",
)


@dataclass(frozen=True, slots=True)
class GuideChannel:
    """A channel as a guide knows it. `id` is trimmed, else exactly as written."""

    id: str
    names: tuple[LocalText, ...] = ()
    icons: tuple[str, ...] = ()
    urls: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Programme:
    """One programme; `channel` is a `GuideChannel.id`, `start` < `stop`, and there is a title."""

    channel: str
    start: int
    stop: int
    titles: tuple[LocalText, ...]
    sub_titles: tuple[LocalText, ...] = ()
    descriptions: tuple[LocalText, ...] = ()
    credits: tuple[Credit, ...] = ()
    date: str = ""  # of the production: YYYY, YYYYMM or YYYYMMDD
    categories: tuple[LocalText, ...] = ()
    icons: tuple[str, ...] = ()
    episode_numbers: tuple[EpisodeNumber, ...] = ()
    previously_shown: bool = False
    premiere: bool = False
    new: bool = False
    ratings: tuple[Rating, ...] = ()
    star_ratings: tuple[str, ...] = ()


# -- languages --

# ISO 639-2 codes that do not begin with the two letters of ISO 639-1
_TWO_LETTERS: Final = {
    "deu": "de",
    "ger": "de",
    "spa": "es",
    "por": "pt",
    "swe": "sv",
    "pol": "pl",
    "tur": "tr",
    "cze": "cs",
    "ces": "cs",
    "slk": "sk",
    "slo": "sk",
    "slv": "sl",
    "srp": "sr",
    "ell": "el",
    "gre": "el",
    "dut": "nl",
    "nld": "nl",
    "bul": "bg",
    "rum": "ro",
    "est": "et",
    "ice": "is",
    "mac": "mk",
    "mkd": "mk",
    "chi": "zh",
    "zho": "zh",
    "jpn": "ja",
    "geo": "ka",
    "kat": "ka",
    "kaz": "kk",
    "ukr": "uk",
    "ind": "id",
    "msa": "ms",
    "may": "ms",
    "per": "fa",
    "baq": "eu",
    "mlt": "mt",
    "gle": "ga",
}


def _primary(lang: str) -> str:
    """The language of a tag without its region: 'en' for 'en_GB', 'eng' and 'EN'."""
    code = re.split(r"[-_]", lang.strip().lower(), maxsplit=1)[0]
    return _TWO_LETTERS.get(code) or (code[:2] if len(code) == 3 else code)


def preferred(texts: Sequence[LocalText], languages: Sequence[str] = ()) -> str:
    """The text of the first of `languages` there is: in the very tag, else in the language; else
    the text without a language, else the first; '' when there is none.
    """
    for language in languages:
        for same in (str.lower, _primary):
            for text, lang in texts:
                if lang and same(lang) == same(language):
                    return text
    return next((text for text, lang in texts if not lang), texts[0].text if texts else "")


# -- times --

_EPOCH_DAY: Final = date(1970, 1, 1).toordinal()
_DAY_SECONDS: Final = 86_400
_YEARS: Final = range(1980, 2101)  # outside, a number was no date
_TIME: Final = re.compile(
    r"(\d{4})[-/.]?(\d\d)?[-/.]?(\d\d)?[T ]?(\d\d)?:?(\d\d)?(?::?(\d\d)(?:[.,]\d+)?)?\s*(.*)"
)
_UNIX: Final = re.compile(r"1\d{9}(?:\d{3})?")  # seconds or milliseconds, 2001 to 2033
_OFFSET: Final = re.compile(r"(?:UTC|GMT)?([+-])(\d{1,2})(?::?(\d\d))?", re.IGNORECASE)
# Names in use that mean one thing. IST, CST and AST mean several, so they are unknown.
_ZONES: Final = {
    name: hours * 3600
    for hours, names in (
        (0, "Z UTC GMT UT WET"),
        (1, "BST CET MEZ WEST"),
        (2, "CEST MESZ EET SAST"),
        (3, "EEST MSK"),
        (9, "JST KST"),
        (10, "AEST"),
        (11, "AEDT"),
        (-3, "BRT ART ADT"),
        (-4, "EDT"),
        (-5, "EST CDT"),
        (-6, "MDT"),
        (-7, "MST PDT"),
        (-8, "PST"),
    )
    for name in names.split()
}


class XmltvTime(NamedTuple):
    seconds: int  # UTC since 1970
    zone: str  # 'known', 'none' (UTC was assumed, or what the caller said), 'unknown' (the same)


@lru_cache(maxsize=4096)
def parse_time(text: str, zoneless_offset: int = 0) -> XmltvTime | None:
    """An XMLTV time, whole or cut short ('202611212030', '2026'), with any spelling of its zone.

    ISO 8601 and Unix time are understood too. `zoneless_offset`: seconds east of UTC where a time
    has no zone (the DTD says UTC). None for what is no time.
    """
    text = text.strip()
    found = _TIME.fullmatch(text)
    if found is not None:
        year, month, day, hour, minute, second = (
            int(part) if part else default
            for part, default in zip(found.groups()[:6], (0, 1, 1, 0, 0, 0), strict=True)
        )
        local = _seconds(year, month, day, hour, minute, second)
        zone = found[7].strip()
        if local is not None and (not zone or zone[0] in "+-" or zone[0].isalpha()):
            offset = _offset(zone)
            if offset is not None:
                return XmltvTime(local - offset, "known")
            return XmltvTime(local - zoneless_offset, "unknown" if zone else "none")
    if _UNIX.fullmatch(text):
        return XmltvTime(int(text[:10]), "known")
    return None


def _seconds(year: int, month: int, day: int, hour: int, minute: int, second: int) -> int | None:
    midnight = hour == 24 and not minute and not second
    if year not in _YEARS or (hour > 23 and not midnight) or minute > 59 or second > 60:
        return None
    try:
        days = date(year, month, day).toordinal() - _EPOCH_DAY
    except ValueError:
        return None
    return days * _DAY_SECONDS + hour * 3600 + minute * 60 + min(second, 59)


def _offset(zone: str) -> int | None:
    """Seconds east of UTC; None for no zone and for one we don't know."""
    if found := _OFFSET.fullmatch(zone):
        seconds = int(found[2]) * 3600 + int(found[3] or 0) * 60
        return None if seconds > 15 * 3600 else -seconds if found[1] == "-" else seconds
    return _ZONES.get(zone.upper())


@lru_cache(maxsize=16_384)  # most programmes begin with the minute, on many channels at once
def format_time(seconds: int) -> str:
    """`YYYYMMDDhhmmss +0000`, which all players read (reference §8.1)."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y%m%d%H%M%S +0000")


# -- writing --

_PIECE_CHARACTERS: Final = 64 * 1024
_HEAD: Final = '<?xml version="1.0" encoding="UTF-8"?>\n<!DOCTYPE tv SYSTEM "xmltv.dtd">\n'


def write_xmltv(
    channels: Iterable[GuideChannel],
    programmes: Iterable[Programme],
    *,
    generator_info_name: str = "rawstream",
) -> Iterator[bytes]:
    """A whole XMLTV document, valid by its DTD, in pieces of about 64 KiB of UTF-8.

    Both arguments are read as the pieces are asked for. A channel id is written once; the first
    with it counts. Programmes come in the order given.
    """
    return write_elements(
        channels, map(programme_element, programmes), generator_info_name=generator_info_name
    )


def write_elements(
    channels: Iterable[GuideChannel],
    programme_elements: Iterable[str],
    *,
    generator_info_name: str = "rawstream",
) -> Iterator[bytes]:
    """`write_xmltv`, for programmes that are elements already."""
    pieces = [_HEAD, f"<tv{_attribute('generator-info-name', generator_info_name)}>\n"]
    size = 0
    for element in chain(_channel_elements(channels), programme_elements):
        pieces.append(element)
        size += len(element)
        if size >= _PIECE_CHARACTERS:
            yield "".join(pieces).encode()
            pieces.clear()
            size = 0
    pieces.append("</tv>\n")
    yield "".join(pieces).encode()


def _channel_elements(channels: Iterable[GuideChannel]) -> Iterator[str]:
    written: set[str] = set()
    for channel in channels:
        if channel.id not in written:
            written.add(channel.id)
            yield channel_element(channel)


def channel_element(channel: GuideChannel) -> str:
    """A `channel` element on lines of its own."""
    names = channel.names or (LocalText(channel.id),)
    return (
        f"<channel{_attribute('id', channel.id)}>\n"
        + _texts("display-name", names)
        + _icons(channel.icons)
        + "".join(_line("url", url) for url in channel.urls)
        + "</channel>\n"
    )


def programme_element(programme: Programme) -> str:
    """A `programme` element on lines of its own, its children in the order of the DTD."""
    return timed_element(
        programme.channel, programme.start, programme.stop, programme_body(programme)
    )


def timed_element(channel: str, start: int, stop: int, body: str) -> str:
    """A `programme` element of these times around a `programme_body`."""
    return (
        f'<programme start="{format_time(start)}" stop="{format_time(stop)}"'
        f"{_attribute('channel', channel)}>\n{body}</programme>\n"
    )


def programme_body(programme: Programme) -> str:
    """The children of a `programme` element: all but its channel and its times."""
    return (
        _texts("title", programme.titles or (LocalText(NO_TITLE),))
        + _texts("sub-title", programme.sub_titles)
        + _texts("desc", programme.descriptions)
        + _credits(programme.credits)
        + (_line("date", programme.date) if programme.date else "")
        + _texts("category", programme.categories)
        + _icons(programme.icons)
        + "".join(
            _line("episode-num", number.value, _attribute("system", number.system))
            for number in programme.episode_numbers
        )
        + ("<previously-shown/>\n" if programme.previously_shown else "")
        + ("<premiere/>\n" if programme.premiere else "")
        + ("<new/>\n" if programme.new else "")
        + "".join(_rating("rating", rating) for rating in programme.ratings)
        + "".join(_rating("star-rating", Rating("", value)) for value in programme.star_ratings)
    )


def _credits(credits: Sequence[Credit]) -> str:
    lines = [
        _line(job, credit.name, _attribute("role", credit.role) if job == "actor" else "")
        for job in JOBS
        for credit in credits
        if credit.job == job
    ]
    return f"<credits>\n{''.join(lines)}</credits>\n" if lines else ""


def _rating(tag: str, rating: Rating) -> str:
    system = _attribute("system", rating.system)
    return f"<{tag}{system}>\n{_line('value', rating.value)}</{tag}>\n"


def _icons(sources: Iterable[str]) -> str:
    return "".join(f"<icon{_attribute('src', source)}/>\n" for source in sources)


def _texts(tag: str, texts: Iterable[LocalText]) -> str:
    return "".join(_line(tag, text, _attribute("lang", lang)) for text, lang in texts)


def _line(tag: str, text: str, attributes: str = "") -> str:
    return f"<{tag}{attributes}>{_escaped(text)}</{tag}>\n"


def _attribute(name: str, value: str) -> str:
    """A blank, the name and the value; nothing for an empty value, except where one must be."""
    if not value and name not in ("id", "channel", "src"):
        return ""
    quoted = _escaped(value).replace('"', "&quot;").replace("\n", "&#10;").replace("\t", "&#9;")
    return f' {name}="{quoted}"'


def _escaped(text: str) -> str:
    """Character data. A carriage return would be read back as a line feed (XML 1.0, 2.11)."""
    text = without_invalid_characters(text)
    return (
        text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").replace("\r", "&#13;")
    )
