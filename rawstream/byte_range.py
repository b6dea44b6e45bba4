"""Parts of a file over HTTP: what a Range asks for, what a Content-Range says (RFC 9110 §14).

Owns: the two headers' text and If-Range, for one representation of a known length. Must not know:
sockets, whose file it is, how its bytes come.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple

_UNIT: Final = re.compile(r"\s*bytes\s*=(.*)", re.IGNORECASE | re.DOTALL)
_SPEC: Final = re.compile(r"([0-9]{1,19})-([0-9]{1,19})?|-([0-9]{1,19})")
_CONTENT: Final = re.compile(
    r"\s*bytes\s+(?:([0-9]{1,19})-([0-9]{1,19})|\*)/([0-9]{1,19}|\*)\s*", re.IGNORECASE
)
_SPECS: Final = 16  # more parts than a player ever asks for are an attack (§14.2), or rubbish


class Unsatisfiable(Exception):
    """No byte of what was asked for is in the file. `length`: the file's, None if unknown."""

    def __init__(self, length: int | None) -> None:
        super().__init__(length)
        self.length = length


class Span(NamedTuple):
    """Bytes `begin` to `end`, the last one not included."""

    begin: int
    end: int

    @property
    def size(self) -> int:
        return self.end - self.begin


class RangeSpec(NamedTuple):
    """One part as it was asked for: `first` to `last`, both included and `last` None for the rest;
    or, with `first` None, the `last` so many bytes.
    """

    first: int | None
    last: int | None

    def __str__(self) -> str:
        """As a Range header says it."""
        first = "" if self.first is None else self.first
        return f"bytes={first}-{'' if self.last is None else self.last}"

    def within(self, length: int) -> Span | None:
        """What of a file of this length it is; None for nothing."""
        if self.first is None:
            begin, end = max(0, length - (self.last or 0)), length
        else:
            begin, end = self.first, length if self.last is None else min(length, self.last + 1)
        return Span(begin, end) if begin < end else None


def parse_range(value: str) -> tuple[RangeSpec, ...]:
    """What a Range header asks for; none for one that is to be ignored: another unit, malformed, or
    of absurdly many parts (§14.2).
    """
    found = _UNIT.fullmatch(value)
    if found is None:
        return ()
    texts = [text.strip() for text in found[1].split(",")]
    specs = []
    for text in filter(None, texts):  # empty list elements are to be read over (§5.6.1)
        spec = _SPEC.fullmatch(text)
        if spec is None:
            return ()
        if spec[1] is None:
            specs.append(RangeSpec(None, int(spec[3])))
            continue
        first, last = int(spec[1]), int(spec[2]) if spec[2] else None
        if last is not None and last < first:
            return ()
        specs.append(RangeSpec(first, last))
    return tuple(specs) if len(specs) <= _SPECS else ()


def span_of(specs: tuple[RangeSpec, ...], length: int) -> Span | None:
    """The one part to answer with; None for the whole file.

    Parts that overlap or touch are one. Several that don't are answered by the whole file, which is
    always allowed, since no player asks for them (§14.2, §15.3.7.2). Raises Unsatisfiable.
    """
    if not specs:
        return None
    spans = sorted(filter(None, (spec.within(length) for spec in specs)))
    if not spans:
        raise Unsatisfiable(length)
    whole = spans[0]
    for span in spans[1:]:
        if span.begin > whole.end:
            return None
        whole = Span(whole.begin, max(whole.end, span.end))
    return whole


def holds(if_range: str, etag: str, last_modified: str) -> bool:
    """Whether If-Range lets a Range count: '' always does; a tag does when both are strong and the
    same, a date when it is the very one (§13.1.5).
    """
    text = if_range.strip()
    if not text:
        return True
    if text.startswith('"'):
        return text == etag
    return bool(last_modified) and text == last_modified


class ContentRange(NamedTuple):
    """What a Content-Range says. `span` None: it is not there; `length` None: '*'."""

    span: Span | None
    length: int | None

    def __str__(self) -> str:
        length = "*" if self.length is None else self.length
        part = "*" if self.span is None else f"{self.span.begin}-{self.span.end - 1}"
        return f"bytes {part}/{length}"


def parse_content_range(value: str) -> ContentRange | None:
    """None for what says nothing, or what can't be (§14.4)."""
    found = _CONTENT.fullmatch(value)
    if found is None:
        return None
    length = None if found[3] == "*" else int(found[3])
    if found[1] is None:
        return ContentRange(None, length)
    span = Span(int(found[1]), int(found[2]) + 1)
    if span.size <= 0 or (length is not None and span.end > length):
        return None
    return ContentRange(span, length)
