"""A film as a file of which any part may be asked for; and one that lies on a web server.

Owns: the shape that both kinds of films have (`FilmHead`, `Part`), how a part is asked of a web
server and its answer judged, the bytes on their way. Must not know: viewers, engines, what is tried
when this fails.

Every part has a connection of its own, and waits for its reader: a film is not live.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple, Protocol

from rawstream.byte_range import (
    ContentRange,
    RangeSpec,
    Span,
    Unsatisfiable,
    parse_content_range,
    span_of,
)
from rawstream.errors import UpstreamError, UpstreamTimeout
from rawstream.http_client import BodyStream, Ending
from rawstream.sources import ENDLESS_BYTES, FILM_LIMIT_BYTES
from rawstream.web_resource import WebResource

_HIGH_BYTES: Final = 512 * 1024  # read ahead of a reader; above, the server waits
_LOW_BYTES: Final = 128 * 1024
_LOOK_BYTES: Final = 189  # enough to tell a transport stream by two sync bytes
_SYNC: Final = 0x47
_KNOWN_SECONDS: Final = 60.0  # a file may be exchanged
# what may be passed on in a head of ours (RFC 9110 §8.8)
_ETAG: Final = re.compile(r'(?:W/)?"[!#-~]{0,200}"')
_DATE: Final = re.compile(r"[A-Za-z0-9:, +-]{1,40}")
_MEDIA_TYPE: Final = re.compile(r"(?:video|audio|application)/[a-z0-9.+-]{1,60}")
_PLAYLIST: Final = b"#EXTM3U"
_BEFORE_TEXT: Final = b"\xef\xbb\xbf \t\r\n"
_PAGES: Final = ("text/html", "application/json", "text/xml", "application/xhtml")
_TYPES: Final = {  # by extension; Xtream reference §2.3
    "mp4": "video/mp4",
    "m4v": "video/mp4",
    "mov": "video/quicktime",
    "mkv": "video/x-matroska",
    "webm": "video/webm",
    "avi": "video/x-msvideo",
    "divx": "video/x-msvideo",
    "ts": "video/mp2t",
    "m2ts": "video/mp2t",
    "mpg": "video/mpeg",
    "mpeg": "video/mpeg",
    "vob": "video/mpeg",
    "flv": "video/x-flv",
    "wmv": "video/x-ms-wmv",
    "3gp": "video/3gpp",
    "ogv": "video/ogg",
    "mp3": "audio/mpeg",
    "m4a": "audio/mp4",
    "aac": "audio/aac",
    "flac": "audio/flac",
    "ogg": "audio/ogg",
}
_WHOLE: Final = RangeSpec(0, None)


class NotAFilm(UpstreamError):
    """What is there is no file: it is live, a playlist, or a page. Others won't find one either."""

    def __init__(self, label: str, reason: str) -> None:
        super().__init__("open", label, reason)


class FilmHead(NamedTuple):
    """What is known of a file. `length`: bytes, None where nobody says. `seekable`: any part of it
    can be had. `etag`, `last_modified`, `content_type`: '' without one.
    """

    length: int | None
    seekable: bool
    etag: str = ""
    last_modified: str = ""
    content_type: str = ""


class Asked(NamedTuple):
    """What a viewer asks for: no `specs` for the whole."""

    specs: tuple[RangeSpec, ...] = ()
    if_range: str = ""


class Part(Protocol):
    """An open part of a film: `span` of it, or all of it (None) where its length is unknown.
    `partial`: less than the whole was asked for, and is given.
    """

    head: FilmHead
    span: Span | None
    partial: bool

    async def read(self) -> bytes:
        """The next bytes; b'' at the end. Raises UpstreamError when they can't be had."""

    def hold(self) -> None:
        """The reader takes nothing for now."""

    def close(self) -> None:
        """The reader has left. Idempotent."""


class FilmFile(Protocol):
    """A film somewhere. `label` holds no secret. `head`: None until it was learnt."""

    label: str
    head: FilmHead | None

    async def open(self, asked: Asked) -> Part:
        """Raises Unsatisfiable, NotAFilm, UpstreamError."""


class WebFile:
    """A file on a web server."""

    def __init__(self, resource: WebResource) -> None:
        self.label = resource.label
        self.head: FilmHead | None = None
        self._learnt_at = 0.0
        self._resource = resource

    async def open(self, asked: Asked) -> WebPart:
        specs, if_range = self._one(asked.specs), asked.if_range if asked.specs else ""
        spec = specs[0] if specs else _WHOLE
        part = await self._opened(spec, if_range)
        try:
            part.judge(spec if specs else None, if_range)
            await part.begun()
        except BaseException:
            part.close()
            raise
        self.head, self._learnt_at = part.head, time.monotonic()
        return part

    async def look(self) -> FilmHead | None:
        """Asked by a part of one byte: many servers answer HEAD with something else."""
        if self.head is not None and time.monotonic() - self._learnt_at < _KNOWN_SECONDS:
            return self.head
        try:
            (await self.open(Asked((RangeSpec(0, 0),)))).close()
        except Unsatisfiable as error:
            self.head = FilmHead(error.length, seekable=True)
        return self.head

    def _one(self, specs: tuple[RangeSpec, ...]) -> tuple[RangeSpec, ...]:
        """Of several parts the one they are together, where that can be told."""
        if len(specs) < 2:
            return specs
        length = self.head.length if self.head is not None else None
        span = span_of(specs, length) if length is not None else None
        return (RangeSpec(span.begin, span.end - 1),) if span is not None else ()

    async def _opened(self, spec: RangeSpec, if_range: str) -> WebPart:
        part = WebPart(self.label, self._resource.timeouts.source_head_seconds)
        more: list[tuple[str, str]] = [("Range", str(spec))]
        if if_range:
            more.append(("If-Range", if_range))
        try:
            part.stream = await self._resource.open(part, more, accepted=(416,))
        except UpstreamError as error:
            part.close()
            raise self._resource.shown(error) from None
        except BaseException:
            part.close()
            raise
        part.flow()
        return part


class WebPart:
    """One connection to a web server, and what has come and was not read yet."""

    def __init__(self, label: str, silence_seconds: float) -> None:
        # -- what it is: known once it was judged --
        self.head = FilmHead(None, seekable=False)
        self.span: Span | None = None
        self.partial = False
        # -- on its way --
        self.stream: BodyStream | None = None
        self._label = label
        self._silence_seconds = silence_seconds
        self._pieces: deque[bytes] = deque()
        self._buffered = 0
        self._read = 0
        self._came = asyncio.Event()

    # -- the connection's side --

    def data_received(self, data: bytes) -> None:
        self._pieces.append(data)
        self._buffered += len(data)
        self._came.set()
        if self._buffered >= _HIGH_BYTES and self.stream is not None:
            self.stream.pause()

    def flow(self) -> None:
        """The stream is there: its end is noticed from here on."""
        assert self.stream is not None, "opened"
        self.stream.ended.add_done_callback(lambda _: self._came.set())
        if self._buffered >= _HIGH_BYTES:
            self.stream.pause()

    # -- judging --

    def judge(self, spec: RangeSpec | None, if_range: str) -> None:
        """What the answer's head says. `spec`: the part that was asked for, None for the whole.
        Raises Unsatisfiable, NotAFilm, UpstreamError.
        """
        assert self.stream is not None, "opened"
        headers = self.stream.headers
        kind = media_type(headers)
        etag, modified = headers.get("etag", ""), headers.get("last-modified", "")
        etag = etag if _ETAG.fullmatch(etag) else ""
        modified = modified if _DATE.fullmatch(modified) else ""
        told = parse_content_range(headers.get("content-range", ""))
        if self.stream.status == 416:
            length = told.length if told is not None else None
            if spec is None and length == 0:  # an empty file has no part, and is one all the same
                self.head, self.span = FilmHead(0, True, etag, modified, kind), Span(0, 0)
                self.stream.abort()
                self._pieces.clear()
                return
            raise Unsatisfiable(length)
        if headers.get("content-encoding", "identity").lower() not in ("", "identity"):
            raise self._failure("answers in a coding that was not asked for")
        if "mpegurl" in kind.lower():
            raise NotAFilm(self._label, "an HLS playlist, not a file")
        if kind.startswith(_PAGES):
            raise NotAFilm(self._label, "answers a page instead of a file")
        said = headers.get("content-length", "")
        size = int(said) if said.isdigit() and _can_be(int(said)) else None
        if self.stream.status == 206:
            self._judge_part(spec, told, size)
            self.head = self.head._replace(etag=etag, last_modified=modified, content_type=kind)
            return
        # all of it: parts are not to be had, unless it was If-Range that said so
        seekable = bool(if_range) and headers.get("accept-ranges", "").lower() == "bytes"
        self.head = FilmHead(size, seekable, etag, modified, kind)
        self.span = Span(0, size) if size is not None else None

    def _judge_part(
        self,
        spec: RangeSpec | None,
        told: ContentRange | None,
        size: int | None,
    ) -> None:
        if told is None or told.span is None or told.length is None:
            raise self._failure("answers a part and does not say which")
        wanted = (spec or _WHOLE).within(told.length)
        if wanted is None or told.span.begin != wanted.begin or told.span.end > wanted.end:
            raise self._failure("answers another part than was asked for")
        if size is not None and size != told.span.size:
            raise self._failure("answers a part of another size than it says")
        if spec is None and told.span.size != told.length:
            raise self._failure("answers a part where all was asked for")
        self.head = FilmHead(told.length, seekable=True)
        self.span, self.partial = told.span, spec is not None

    async def begun(self) -> None:
        """The first bytes are here, and may be a film's. Raises NotAFilm, UpstreamError."""
        endless = self.span is None
        await self._fill(_LOOK_BYTES if endless else 1)
        start = b"".join(self._pieces)
        from_start = endless or (self.span is not None and self.span.begin == 0)
        if from_start and start.lstrip(_BEFORE_TEXT).startswith(_PLAYLIST):
            raise NotAFilm(self._label, "an HLS playlist, not a file")
        stream_like = len(start) >= _LOOK_BYTES and start[0] == start[188] == _SYNC
        if endless and stream_like:
            raise NotAFilm(self._label, "it is live, not a film: add it as a channel")

    async def _fill(self, size: int) -> None:
        """Until so many bytes are here, or all there are. Silence counts while somebody waits, not
        while the server was made to. Raises UpstreamError.
        """
        begun = time.monotonic()
        if self.span is not None:
            size = min(size, self.span.size - self._read)
        while self._buffered < size:
            assert self.stream is not None, "opened"
            if self.stream.ended.done():
                self._ended()
                return
            self._came.clear()
            silent = time.monotonic() - max(begun, self.stream.last_data_at)
            try:
                async with asyncio.timeout(max(0.001, self._silence_seconds - silent)):
                    await self._came.wait()
            except TimeoutError:
                reason = f"silent for {self._silence_seconds:.0f} s"
                raise UpstreamTimeout("read", self._label, reason) from None

    def _ended(self) -> None:
        """The server has ended the body. Raises UpstreamError for one that is not complete."""
        assert self.stream is not None, "opened"
        ending, reason = self.stream.ended.result()
        if ending is not Ending.EOF:
            raise self._failure(f"cut off ({reason or ending.value})")
        if self.span is not None and self._read + self._buffered != self.span.size:
            raise self._failure("ended before its end")

    def _failure(self, reason: str) -> UpstreamError:
        return UpstreamError("read", self._label, reason)

    # -- the reader's side --

    async def read(self) -> bytes:
        if not self._pieces:
            if self.span is not None and self._read == self.span.size:
                return b""
            await self._fill(1)
            if not self._pieces:
                return b""
        data = self._pieces.popleft()
        self._buffered -= len(data)
        self._read += len(data)
        if self._buffered <= _LOW_BYTES and self.stream is not None:
            self.stream.resume()
        return data

    def hold(self) -> None:
        """Nothing to do: what comes is held by what was read ahead."""

    def close(self) -> None:
        if self.stream is not None:
            self.stream.abort()
        self._pieces.clear()
        self._buffered = 0


def media_type(headers: Mapping[str, str]) -> str:
    """Of an answer, in lower case and without parameters; '' without one."""
    return headers.get("content-type", "").partition(";")[0].strip().lower()


def _can_be(length: int) -> bool:
    """Whether it can be a file's length: live servers announce absurd ones (see `sources`)."""
    return length < FILM_LIMIT_BYTES and length not in ENDLESS_BYTES


def type_of(head: FilmHead, extension: str) -> str:
    """The Content-Type of a film: by its extension, else what its server says."""
    known = _TYPES.get(extension.lower(), "")
    if known:
        return known
    said = head.content_type
    return said if _MEDIA_TYPE.fullmatch(said) else "application/octet-stream"


def known_headers(head: FilmHead) -> Sequence[tuple[str, str]]:
    """What every answer about a film says of it (RFC 9110 §8.8, §14.3)."""
    found = [("Accept-Ranges", "bytes" if head.seekable else "none")]
    if head.etag:
        found.append(("ETag", head.etag))
    if head.last_modified:
        found.append(("Last-Modified", head.last_modified))
    return found
