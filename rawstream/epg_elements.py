"""The elements of an XMLTV document, out of bytes of any packing and charset, however damaged.

Owns: where channels and programmes begin and end, and getting them past a strict parser. Must not
know: what they mean, where documents come from.

A document is never parsed as one. It is cut behind whole elements into batches, and each batch is
given to the parser as a small document of its own. So memory is flat, no DTD and no entity ever
reaches the parser, and damage costs the elements that have it: a batch that is refused is mended as
text and tried again, then taken apart element by element.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, Literal

from lxml import etree

from rawstream.errors import FormatError
from rawstream.unpack import Unpacker
from rawstream.xml_text import TextDecoder, is_html, mended_markup, only_elements, sections

# What can be wrong with a document whose rest is good.
WarningKind = Literal[
    "charset",  # bytes are not what was declared
    "packing",  # damaged or cut off
    "markup",  # an element was mended; or left out, for there was nothing to mend
    "truncated",  # the document has no end
    "size",  # an element, a text or a number of things above its limit
    "channel",  # a channel without an id, declared twice or not at all
    "time",  # a start, stop or zone that can't be read
    "order",  # programmes over each other, twice, or not by their start
]

_WHAT: Final = "guide"

_ROOT_OR_COMMENT: Final = re.compile(
    r"<!--.*?(?:-->|\Z)|<tv(?=[\s/>])[^>]*>|<programme(?=\s)|<channel(?=\s+id\s*=)", re.I | re.S
)
_END: Final = re.compile(r"</tv\s*>", re.I)
_FIRST_ELEMENT: Final = re.compile(r"<([A-Za-z_][\w.:-]*)")
_ELEMENT: Final = re.compile(r"<(programme|channel)(?=[\s/>])")
_EMPTY_ELEMENT: Final = re.compile(r"<\w+(?:\s+[^<>]*)?/>")
_ELEMENT_START_CHARACTERS: Final = len("<programme")
_ELEMENT_END: Final = re.compile(r"</(?:programme|channel)\s*>")

# a text whose end tag is missing: another one begins before it
_UNCLOSED: Final = re.compile(
    r"<(title|sub-title|desc|category|date|episode-num|display-name|url|value)"
    r"(?=[\s>])([^<>]*)(?<!/)>([^<]*)(?=<)(?!</\1)"
)
# what a strict parser takes and we don't: elements between ours, in each other, or in a text
_MISPLACED: Final = etree.XPath(
    "boolean(/tv/*[not(self::programme or self::channel)]"
    "| /tv/*//programme | /tv/*//channel"
    "| /tv/*/title/* | /tv/*/sub-title/* | /tv/*/desc/* | /tv/*/category/* | /tv/*/date/*"
    "| /tv/*/episode-num/* | /tv/*/display-name/*)"
)


@dataclass(frozen=True, slots=True)
class ReadLimits:
    """The bounds of one document. Not in `config.Limits`: a child process that only reads a guide
    should not pay for loading the settings.
    """

    document_bytes: int = 2 * 1024**3  # unpacked; FormatError above
    head_characters: int = 64 * 1024  # before <tv>: room for a DTD inside; FormatError above
    element_characters: int = 1024 * 1024  # a longer channel or programme is left out
    batch_characters: int = 64 * 1024  # given to the parser at once
    channels: int = 50_000  # further ones are left out with their programmes
    values: int = 50  # of one kind in one element: titles, icons, actors...
    title_characters: int = 255
    text_characters: int = 10_000
    warnings: int = 100  # kept in words; all are counted
    # a programme without a stop lasts until the next one of its channel, but not longer than this
    open_programme_seconds: int = 6 * 3600
    last_programme_seconds: int = 2 * 3600  # and this if there is no next one
    programme_seconds: int = 7 * 86_400  # a longer one is cut: a placeholder, or a mistake


class Findings:
    """What was wrong with a document: all of it counted, the first of it in words."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._noted: set[str] = set()
        self.warnings: list[str] = []
        self.counts: Counter[WarningKind] = Counter()
        self.left_out = 0  # elements

    def warn(self, kind: WarningKind, text: str, *, count: int = 1) -> None:
        self.counts[kind] += count
        if len(self.warnings) < self._limit:
            self.warnings.append(text)

    def note(self, kind: WarningKind, text: str, example: str = "") -> None:
        """Warn once of what may be all over a document; `text` must be one of a few."""
        if text not in self._noted:
            self._noted.add(text)
            self.warn(kind, f"{text}, {example}" if example else text)

    def leave_out(self, kind: WarningKind, text: str) -> None:
        """Warn of an element that is passed over."""
        self.left_out += 1
        self.warn(kind, text)


class _Refused(Exception):
    """The parser, or we, will not take this piece as it is."""


def _parser(*, recover: bool) -> etree.XMLParser:
    return etree.XMLParser(
        encoding="utf-8",
        recover=recover,
        resolve_entities=False,
        no_network=True,
        load_dtd=False,
        huge_tree=False,
        collect_ids=False,
        remove_comments=True,
        remove_pis=True,
    )


class ElementReader:
    """Takes a document in pieces, gives its `channel` and `programme` elements.

    `feed` it, then `read` until that gives nothing; at the end `finish`. All raise FormatError: no
    XMLTV, a packing that isn't read, more than the limits allow.
    """

    def __init__(self, findings: Findings, limits: ReadLimits, *, charset: str = "") -> None:
        self._findings = findings
        self._limits = limits
        self._unpacker = Unpacker(what=_WHAT, limit_bytes=limits.document_bytes)
        self._decoder = TextDecoder(charset)
        self._strict = _parser(recover=False)
        self._forgiving = _parser(recover=True)

        self._in_body = False  # behind <tv>
        self._skipping = False  # inside an element that is too long
        self._text: list[str] = []  # not yet parsed
        self._text_characters = 0
        self.complete = False  # the document had its end

    @property
    def packing(self) -> str:
        """'', 'gzip', 'xz', 'gzip+gzip'..."""
        return self._unpacker.packing

    @property
    def charset(self) -> str:
        """The one the document is read in, as far as was read."""
        return self._decoder.used

    @property
    def unpacked_bytes(self) -> int:
        return self._unpacker.unpacked_bytes

    def feed(self, data: bytes) -> None:
        """Take the next piece of the document."""
        self._unpacker.feed(data)

    def read(self) -> Iterator[etree._Element] | None:
        """The elements of the next piece of text; None when more has to be fed.

        They are to be read before the next call.
        """
        data = self._unpacker.read()
        if not data:
            return None
        self._take(self._decoder.feed(data))
        return self._whole_elements()

    def finish(self) -> Iterator[etree._Element]:
        """The rest, when nothing more is fed. `complete` is known when all of it was read."""
        self._unpacker.finish()
        while (elements := self.read()) is not None:
            yield from elements
        self._take(self._decoder.finish())
        if not self._in_body:
            self._look_for_root(final=True)
        if self._skipping:
            self._skip()
        text = self._joined()
        self._keep("")
        end = _end_of_elements(text)
        yield from self._parsed(text[:end])
        rest = self._mended(text[end:])
        yield from self._parsed_apart(rest, final=True)
        self._judge_the_end(rest)

    def _judge_the_end(self, rest: str) -> None:
        self.complete = bool(_END.search(rest)) and not self._unpacker.damage
        if self._unpacker.damage:
            self._findings.warn("packing", f"{self.packing}: {self._unpacker.damage}")
        if not self.complete:
            self._findings.warn("truncated", "the document has no end; what it held before is kept")
        if self._decoder.mended:
            declared = self._decoder.declared or "utf-8"
            self._findings.warn("charset", f"not all of it is {declared}; read as {self.charset}")

    # -- text --

    def _take(self, text: str) -> None:
        if text:
            self._text.append(text)
            self._text_characters += len(text)
            if not self._in_body:
                self._look_for_root(final=False)

    def _joined(self) -> str:
        text = "".join(self._text)
        self._keep(text)
        return text

    def _keep(self, text: str) -> None:
        self._text = [text]
        self._text_characters = len(text)

    def _look_for_root(self, *, final: bool) -> None:
        """Drop what stands before the root: declaration, DTD, a web server's complaints."""
        text = self._joined()
        matches = _ROOT_OR_COMMENT.finditer(text)
        # a comment that has not ended yet may go on and speak of <tv>
        found = next((match for match in matches if not match[0].endswith("-->")), None)
        if found is not None and found[0].startswith("<!--"):
            found = None
        if is_html(text if found is None else text[: found.start()]):
            raise FormatError(_WHAT, "an HTML page")
        if found is not None:
            self._in_body = True
            if found[0][:3].lower() == "<tv":
                self._keep("</tv>" if found[0].endswith("/>") else text[found.end() :])
            else:
                self._findings.warn("markup", "the document has no <tv> element")
                self._keep(text[found.start() :])
        elif final or self._text_characters > self._limits.head_characters:
            raise FormatError(_WHAT, self._what_it_is(text))

    def _what_it_is(self, text: str) -> str:
        text = text.strip()
        if self._unpacker.damage:
            return f"{self.packing}: {self._unpacker.damage}"
        if not text:
            return "the document is empty"
        if text.startswith("#EXTM3U"):
            return "a playlist, not a guide"
        if text[0] in "{[":
            return "JSON, not XMLTV"
        if element := _FIRST_ELEMENT.search(text):
            return f"the root is <{element[1][:40]}>, not <tv>"
        return "the document ends before <tv>" if text.startswith("<") else "not XML"

    def _whole_elements(self) -> Iterator[etree._Element]:
        if not self._in_body or self._text_characters < self._limits.batch_characters:
            return
        if self._skipping:
            self._skip()
        text = self._joined()
        end = _end_of_elements(text)
        if not end and len(text) > self._limits.element_characters:
            end = self._end_of_too_long(text)
        if end:
            self._keep(text[end:])
            yield from self._parsed(text[:end])

    def _end_of_too_long(self, text: str) -> int:
        """Where to cut when no element ended within the limit; 0 when one was given up."""
        starts = [found.start() for found in _ELEMENT.finditer(text)]
        if len(starts) > 1:
            return starts[-1]  # empty elements, or such whose end is missing
        if starts:
            self._findings.leave_out("size", f"{text[starts[0] :][:80]!r}: too long an element")
        self._skipping = True
        self._skip(starts[0] + 1 if starts else 0)
        return 0

    def _skip(self, at: int = 0) -> None:
        """Drop the text up to the next element that begins at `at` or behind it."""
        text = self._joined()
        found = _ELEMENT.search(text, at)
        if found is not None:
            self._skipping = False
            self._keep(text[found.start() :])
        else:
            # a start tag may lie across the cut; the end of the document must not be forgotten
            end = "</tv>" if _END.search(text) else ""
            self._keep(end + text[-_ELEMENT_START_CHARACTERS:])

    # -- elements --

    def _mended(self, text: str) -> str:
        plain = only_elements(text)
        mended = mended_markup(plain)
        if mended != plain:
            self._findings.note("markup", "characters, references or tags not of XML were mended")
        return mended

    def _parsed(self, text: str) -> Iterator[etree._Element]:
        """A run of whole elements, the fastest way that works."""
        if not text:
            return
        try:
            root = self._strictly_parsed(text)
        except _Refused:
            text = self._mended(text)
            try:
                root = self._strictly_parsed(text)
            except _Refused:
                yield from self._parsed_apart(text)
                return
        yield from root

    def _strictly_parsed(self, text: str) -> etree._Element:
        """The elements of `text` under one root. Raises _Refused: not well-formed, or misplaced,
        which means that something between them is missing.
        """
        try:
            root = etree.fromstring(f"<tv>{text}</tv>".encode(), self._strict)
        except etree.XMLSyntaxError as error:
            raise _Refused from error
        if _MISPLACED(root):
            raise _Refused
        return root

    def _parsed_apart(self, text: str, *, final: bool = False) -> Iterator[etree._Element]:
        """Mended text one element at a time; at the end of the document, the last only if whole."""
        starts = list(_ELEMENT.finditer(text))
        for at, found in enumerate(starts):
            last = at + 1 == len(starts)
            part = text[found.start() : None if last else starts[at + 1].start()]
            tag = found[1]
            fault = ""
            if end := re.search(rf"</{tag}\s*>", part):
                part = part[: end.end()]
            elif empty := _EMPTY_ELEMENT.match(part):
                part = empty[0]
            elif final and last and not _END.search(part):
                self._findings.left_out += 1  # the document is truncated, which is warned of
                return
            else:
                part = f"{_END.split(part)[0]}</{tag}>"
                fault = f"<{tag}> is not closed"
            element = self._forgivingly_parsed(part, fault)
            if element is not None:
                yield element

    def _forgivingly_parsed(self, part: str, fault: str) -> etree._Element | None:
        """The element in `part`; warns of `fault`, if there is one, or of what the parser finds."""
        closed, count = _UNCLOSED.subn(r"<\1\2>\3</\1>", part)
        try:
            element = etree.fromstring(closed.encode(), self._forgiving)
        except etree.XMLSyntaxError:
            element = None
        if element is None:
            self._findings.leave_out("markup", f"{part[:80]!r}: nothing to be read")
            return None
        if count:
            fault = fault or "a text is not closed"
        elif len(self._forgiving.error_log):
            fault = fault or str(self._forgiving.error_log[0].message)
        if fault:
            self._findings.warn("markup", f"{part[:80]!r}: {fault}")
        return element


def _end_of_elements(text: str) -> int:
    """Behind the last end of a channel or programme that is in no comment, CDATA section or PI."""
    ends = [found.end() for found in _ELEMENT_END.finditer(text)]
    hidden = []
    for section in sections(text):
        hidden.append(section)
        if section.stop < 0:
            break  # it may end in text to come, and hide all from here on
    while ends:
        while hidden and hidden[-1].start > ends[-1]:
            hidden.pop()
        if not hidden or 0 <= hidden[-1].stop < ends[-1]:
            return ends[-1]
        ends.pop()
    return 0
