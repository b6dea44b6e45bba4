"""Bytes of a text nobody vouches for, to its lines: packing, charset, line ends.

Owns: UTF-8, UTF-16 and the old charsets, CRLF, LF and lone CR, the bound on a line. Must not know:
what the lines say, where the bytes come from; how they are packed is `unpack`'s.

The charset is decided line by line, since lists are pasted together out of others.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterator
from typing import Final, NamedTuple

from rawstream.unpack import Unpacker

LINE_LIMIT_BYTES: Final = 128 * 1024
TEXT_LIMIT_BYTES: Final = 512 * 1024 * 1024

_SHOWN_BYTES: Final = 256  # of a line that is too long
_BOM: Final = "\ufeff"

# Three letters in a row of windows-1251, where a Western language has at most two.
_CYRILLIC: Final = re.compile(rb"[\xc0-\xff\xa8\xb8]{3}")
_WESTERN: Final = re.compile(rb"[A-Za-z][\xc0-\xff]|[\xc0-\xff][A-Za-z]")
_REPLACED: Final = "\ufffd"
# The codecs that are charsets and have no state; Python has others under such names.
_CHARSETS: Final = re.compile(r"iso8859|cp\d|koi8|mac-|gb|big5|shift_jis|euc_|johab|tis|ptcp|kz")


class Line(NamedTuple):
    """`number` from 1; `offset`: of its first byte in the unpacked text; `text`: without NUL, and
    without blanks around it. Of a line over the limit (`whole` is False) only the beginning.
    """

    number: int
    offset: int
    text: str
    whole: bool = True


class TextLines:
    """Pieces of any size in, complete lines out. Holds no more than one line.

    `charset`: what the text is written in where it is not UTF-8, as its sender says; set it again
    when a line says so. '' or a name that is no charset stands for a guess between windows-1252 and
    windows-1251. UTF-16 is known by its first bytes.
    """

    __slots__ = (
        "_after_cr",
        "_charset",
        "_cyrillic",
        "_held",
        "_held_bytes",
        "_line_limit_bytes",
        "_number",
        "_offset",
        "_overlong",
        "_text_start",
        "_transcoder",
        "_unpacker",
    )

    def __init__(
        self,
        *,
        charset: str = "",
        line_limit_bytes: int = LINE_LIMIT_BYTES,
        text_limit_bytes: int = TEXT_LIMIT_BYTES,
    ) -> None:
        self._line_limit_bytes = line_limit_bytes
        # packing and charset; the start waits until there is enough to tell by
        self._unpacker = Unpacker(what="text", limit_bytes=text_limit_bytes)
        self._text_start: bytes | None = b""
        self._transcoder: codecs.IncrementalDecoder | None = None
        self._charset = ""
        self._cyrillic = False
        self.charset = charset
        # the line at hand
        self._held: list[bytes] = []
        self._held_bytes = 0
        self._overlong = False
        self._after_cr = False
        # what was read
        self._number = 0
        self._offset = 0

    @property
    def damage(self) -> str:
        """Why unpacking stopped before the end, '' if it didn't; what came before stands."""
        return self._unpacker.damage

    @property
    def charset(self) -> str:
        """The charset of lines that are not UTF-8 as Python names it, '' while it is guessed."""
        return self._charset

    @charset.setter
    def charset(self, name: str) -> None:
        try:
            known = codecs.lookup(name).name if name.isascii() and len(name) < 40 else ""
        except (LookupError, ValueError):
            known = ""
        self._charset = known if _CHARSETS.match(known) else ""

    def feed(self, data: bytes) -> Iterator[Line]:
        """The lines that a piece completes. The iterator must be read to its end.

        Raises FormatError as `unpack` does: a packing that isn't read, a text over the limit.
        """
        self._unpacker.feed(data)
        yield from self._unpacked()

    def finish(self) -> Iterator[Line]:
        """The text has ended: its last line, when no line end stood behind it; not one that was cut
        because unpacking stopped.

        Raises FormatError as `feed` does.
        """
        self._unpacker.finish()
        yield from self._unpacked()
        yield from self._cut(self._as_ascii_superset(b"", final=True))
        if self._held and not self.damage:
            yield self._line(b"".join(self._held))

    def _unpacked(self) -> Iterator[Line]:
        while piece := self._unpacker.read():
            yield from self._cut(self._as_ascii_superset(piece, final=False))

    # -- charset --

    def _as_ascii_superset(self, data: bytes, *, final: bool) -> bytes:
        """UTF-16 becomes UTF-8, all else stays: line ends are then single bytes."""
        if self._text_start is not None:
            self._text_start += data
            if len(self._text_start) < 4 and not final:
                return b""
            data, self._text_start = self._text_start, None
            if (codec := _utf16_codec(data)) is not None:
                self._transcoder = codecs.getincrementaldecoder(codec)("replace")
        if self._transcoder is None:
            return data
        return self._transcoder.decode(data, final).encode("utf-8", "replace")

    def _decode(self, line: bytes) -> str:
        try:
            return line.decode()
        except UnicodeDecodeError:
            pass
        mended = line.decode("utf-8", "replace")
        bad = mended.count(_REPLACED)
        if sum(character > "\x7f" for character in mended) >= 2 * bad:
            return (
                mended  # UTF-8 with a character cut in two, as lists do that limit a name's bytes
            )
        if self._charset:
            return line.decode(self._charset, "replace")
        if _CYRILLIC.search(line):
            self._cyrillic = True
            return line.decode("cp1251", "replace")
        if self._cyrillic and not _WESTERN.search(line):
            return line.decode("cp1251", "replace")
        try:
            return line.decode("cp1252")
        except UnicodeDecodeError:  # five bytes mean nothing there
            return line.decode("latin-1")

    # -- lines --

    def _cut(self, data: bytes) -> Iterator[Line]:
        if self._after_cr and data:
            self._after_cr = False
            if data.startswith(b"\n"):
                data = data[1:]
                self._offset += 1
        if b"\n" in data or b"\r" in data:
            yield from self._cut_lines(data)
        elif data and (line := self._hold(data)) is not None:
            yield line

    def _cut_lines(self, data: bytes) -> Iterator[Line]:
        lines = data.splitlines(keepends=True)
        self._after_cr = data.endswith(b"\r")
        rest = b"" if data.endswith((b"\r", b"\n")) else lines.pop()
        for raw in lines:
            if self._overlong:
                self._overlong = False
                self._offset += len(raw)
                continue
            if self._held:
                raw = b"".join((*self._held, raw))
                self._held.clear()
                self._held_bytes = 0
            yield self._line(raw)
        if rest and (line := self._hold(rest)) is not None:
            yield line

    def _hold(self, data: bytes) -> Line | None:
        """Keep a beginning; a line that has become too long is told of at once, then passed over.

        What has no line ends at all is thus noticed while it runs.
        """
        if self._overlong:
            self._offset += len(data)
            return None
        self._held.append(data)
        self._held_bytes += len(data)
        if self._held_bytes <= self._line_limit_bytes:
            return None
        self._overlong = True
        line = self._line(b"".join(self._held))
        self._held.clear()
        self._held_bytes = 0
        return line

    def _line(self, raw: bytes) -> Line:
        self._number += 1
        offset = self._offset
        self._offset += len(raw)
        raw = raw.rstrip(b"\r\n")
        whole = len(raw) <= self._line_limit_bytes
        raw = raw if whole else raw[: min(_SHOWN_BYTES, self._line_limit_bytes)]
        text = self._decode(raw.replace(b"\0", b"") if b"\0" in raw else raw)
        return Line(self._number, offset, text.replace(_BOM, "").strip(), whole)


def _utf16_codec(start: bytes) -> str | None:
    """By its byte order mark, or by two ASCII characters with their NUL bytes."""
    if start.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "utf-16"
    match [byte != 0 for byte in start[:4]]:
        case [True, False, True, False]:
            return "utf-16-le"
        case [False, True, False, True]:
            return "utf-16-be"
    return None
