"""One line of a channel list with its attributes: `#EXTINF:-1 key="value" …,Name`.

Owns: how such a line is read when quotes, commas and blanks are not where they should be, and how
one is written. Must not know: what an attribute means, which lines stand around this one. Section
signs are those of the Xtream reference.

The format has no escapes, so a line can be read in several ways. One that has the form everybody
means is read as that; of any other the longest sane reading is taken (§7). Nothing raises, and the
work grows with a line's length only.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from html.entities import html5
from typing import Final, NamedTuple

NAME_LIMIT: Final = 255  # characters
VALUE_LIMIT: Final = 4096  # characters
ATTRIBUTES_LIMIT: Final = 64  # of one line
_QUOTES_LIMIT: Final = 32  # quotes inside one value that are looked at before the first closes it

_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ufeff\ud800-\udfff]+")
_ENTITY: Final = re.compile(
    r"&(?:#([0-9]{1,7})|#[xX]([0-9a-fA-F]{1,6})|([A-Za-z][A-Za-z0-9]{1,31}));"
)

_KEY: Final = r"[A-Za-z0-9_.:-]++"
# The form everybody means. Possessive throughout: linear whatever the line.
_STRICT: Final = re.compile(
    rf'#EXTINF:(-?\d++(?:\.\d++)?+)((?:\s++{_KEY}="[^"]*+")*+)\s*+,([^"]*+)', re.IGNORECASE
)
_STRICT_PAIR: Final = re.compile(rf'({_KEY})="([^"]*+)"')
_EXTINF: Final = re.compile(r"#EXTINF[:;]?\s*+(-?\d++(?:\.\d++)?+)?+", re.IGNORECASE)
_PAIR: Final = re.compile(rf"({_KEY})\s*+=\s*+")
_COMMA_PAIR: Final = re.compile(rf'[,;\s]*+(?={_KEY}\s*+=\s*+")')
_NEXT_PAIR: Final = re.compile(rf"(?<=\s){_KEY}\s*+=")
_CLOSED: Final = re.compile(rf"\s*+(?:(,)|$|;?\s*+{_KEY}\s*+=)")
_OPENED: Final = re.compile(rf"\s{_KEY}\s*=\s*$")
_KEY_ONLY: Final = re.compile(_KEY)
_KNOWN_PAIR: Final = re.compile(
    r"""(?<![\w.:-])(?:tvg-[\w-]++|group-title|catchup[\w-]*+|timeshift|radio|logo|audio-track|channel-\w++)"""
    r"""\s*+=\s*+["']""",
    re.IGNORECASE,
)


class Extinf(NamedTuple):
    """`line`: its number. `duration` as written, '' without one. `attributes`: lower-case keys; of
    equal ones the first that says something. `left_out`: attributes over the limits. `name`: ''
    without one.
    """

    line: int
    duration: str
    attributes: dict[str, str]
    left_out: int
    name: str


def read_extinf(number: int, text: str) -> Extinf:
    """Read a whole line that begins with `#EXTINF`, in any case."""
    found = _STRICT.fullmatch(text)
    if found is not None:
        duration, inside, name = found[1], found[2], found[3]
        pairs = [(key.lower(), cleaned(value)) for key, value in _STRICT_PAIR.findall(inside)]
    else:
        begin = _EXTINF.match(text)
        assert begin is not None, "the caller saw the directive"
        duration = begin[1] or ""
        pairs, name = split_attributes(text[begin.end() :])
    attributes: dict[str, str] = {}
    left_out = max(0, len(pairs) - ATTRIBUTES_LIMIT)
    for key, value in pairs[:ATTRIBUTES_LIMIT]:
        if len(value) > VALUE_LIMIT or len(key) > NAME_LIMIT:
            left_out += 1
        elif not attributes.get(key):
            attributes[key] = value
    name = cleaned(name)
    if len(name) > 1 and name[0] == name[-1] == '"':
        name = name[1:-1].strip()
    return Extinf(number, duration, attributes, left_out, name[:NAME_LIMIT].strip())


def split_attributes(text: str) -> tuple[list[tuple[str, str]], str]:
    """The attributes of a line that is not written as it should be, and the name behind them.

    Keys in lower case. The name begins behind the first comma that is neither in a value nor
    between two attributes; without a comma it is what is left over.
    """
    pairs: list[tuple[str, str]] = []
    last_key = max((found.start() for found in _KNOWN_PAIR.finditer(text)), default=-1)
    loose: list[str] = []
    at, end = 0, len(text)
    while at < end:
        if text[at] == ";" or text[at].isspace():
            at += 1
        elif (between := _COMMA_PAIR.match(text, at)) and between.end() > at:
            at = between.end()
        elif text[at] == ",":
            return pairs, text[at + 1 :]
        elif len(pairs) < ATTRIBUTES_LIMIT and (found := _PAIR.match(text, at)):
            value, at = _value(text, found.end(), last_key)
            pairs.append((found[1].lower(), cleaned(value)))
        else:
            comma = text.find(",", at)
            stop = comma if comma >= 0 else end
            key = _NEXT_PAIR.search(text, at, stop) if len(pairs) < ATTRIBUTES_LIMIT else None
            stop = key.start() if key is not None else stop
            loose.append(text[at:stop].strip())
            at = stop
    return pairs, " ".join(loose)


def _value(text: str, at: int, last_key: int) -> tuple[str, int]:
    """The value that begins at `at`, and where what follows it begins.

    A quote closes a value if a comma, another attribute or the end follows: so quotes inside a
    value stay in it, pairs of them with their commas too. `last_key`: where the last attribute of a
    known name stands; before it no comma begins the name.
    """
    mark = text[at : at + 1]
    if mark not in ('"', "'"):
        comma = text.find(",", at)
        stop = comma if comma >= 0 else len(text)
        following = _NEXT_PAIR.search(text, at, stop)
        stop = following.start() if following is not None else stop
        return text[at:stop].strip(), stop
    begin = at + 1
    first = closing = text.find(mark, begin)
    nested = -1  # where the value ends unless a later quote ends it better
    for inside in range(_QUOTES_LIMIT):
        if closing < 0:
            break
        opened = _OPENED.search(text, max(begin, closing - 80), closing)
        if opened is not None:  # it opens the next value: this one was never closed
            return text[begin : opened.start()], opened.start()
        closed = _CLOSED.match(text, closing + 1)
        if closed is None or text[closing - 1] == "\\":
            pass
        elif closed[1] is None or _COMMA_PAIR.match(text, closing + 1) is not None:
            return _unquoted(text[begin:closing], mark), closing + 1
        elif last_key < closing:
            if inside % 2 == 0:
                return _unquoted(text[begin:closing], mark), closing + 1
            nested = closing if nested < 0 else nested  # it may close one inside the value
        closing = text.find(mark, closing + 1)
    if nested >= 0:
        return _unquoted(text[begin:nested], mark), nested + 1
    if first >= 0:
        return text[begin:first], first + 1
    comma = text.find(",", begin)
    stop = comma if comma >= 0 else len(text)
    return text[begin:stop], stop


def _unquoted(text: str, mark: str) -> str:
    return text.replace("\\" + mark, mark)


def cleaned(text: str) -> str:
    """Entities read once, control characters as a blank, no blanks around it."""
    if "&" in text:
        text = _ENTITY.sub(_unescaped, text)
    if not text.isprintable():
        text = without_controls(text)
    return text.strip()


def without_controls(text: str) -> str:
    """A blank for each run of what breaks lines or can't be shown."""
    return _CONTROL.sub(" ", text)


def _unescaped(found: re.Match[str]) -> str:
    decimal, hexadecimal, name = found.groups()
    if name is not None:
        return html5.get(f"{name};", found[0])
    code = int(decimal) if decimal is not None else int(hexadecimal, 16)
    return chr(code) if code <= 0x10FFFF else " "


def writable(text: str) -> str:
    """What of a name or a value can be written at all."""
    return without_controls(text).strip().replace('"', "'")


def written(text: str) -> str:
    """Text that looks like an entity, so that it is read back as itself."""
    return _ENTITY.sub(lambda found: f"&amp;{found[0][1:]}", text) if "&" in text else text


def is_key(text: str) -> bool:
    """Whether this can be the name of an attribute."""
    return _KEY_ONLY.fullmatch(text) is not None


def written_attributes(attributes: Mapping[str, str]) -> str:
    """` key="value"` of each. Raises ValueError for a key that is no attribute's name."""
    for key in attributes:
        if not is_key(key):
            raise ValueError(f"no attribute has the name {key!r}")
    return "".join(f' {key}="{written(writable(value))}"' for key, value in attributes.items())
