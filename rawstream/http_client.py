"""HTTP as a client: fetch a small document, or follow an endless body, from engines and direct
sources.

Owns: one socket per request, the reading of an answer's head and framing, the end of a body and its
kind. Must not know: what an engine is, what the bytes mean, when a silent stream has lasted too
long.

Engines answer loosely (engine reference §2.2, §8.2 no. 4): every framing is taken, the reason
phrase may be missing, a redirect is acted on by its head because its body never ends. Heads are
read here; chunked bodies go through httptools, all other bodies reach the receiver as the very
bytes that were read. Of what is live reading never pauses: a slow viewer is no reason to slow an
engine down. A film's bytes wait for theirs.
"""

from __future__ import annotations

import asyncio
import re
import ssl
import time
from collections.abc import Callable, Collection, Mapping
from enum import Enum
from typing import Any, NamedTuple, Protocol, cast

import httptools

from rawstream.config import Limits
from rawstream.errors import FormatError, UpstreamError, UpstreamTimeout
from rawstream.http1_client import (
    SECOND_STATUS_LINE,
    STATUS_LINE_OPENING,
    Headers,
    ResponseHead,
    Target,
    parse_response_head,
    parse_url,
    render_request,
)

_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_ERROR_TEXT_BYTES = 4096
_INTERIM_LIMIT = 16  # 1xx answers before the answer
_FRAMING_FREE_BYTES = 64 * 1024
_FRAMING_RATIO = 4  # bytes of a chunked body per byte of its content: more is an attack on our time
_ERROR_TEXT_CHARACTERS = 200
_CHUNKED_HEAD = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
_HEAD_END = re.compile(rb"\r?\n\r?\n")


class ClientResponse(NamedTuple):
    """A whole answer. `headers`: lower-case names, repeated ones joined by ', '."""

    status: int
    reason: str
    headers: Mapping[str, str]
    body: bytes


class Receiver(Protocol):
    """Who takes a body. Called from inside the connection: no await, nothing slow."""

    def data_received(self, data: bytes) -> None: ...


class Ending(Enum):
    EOF = "eof"  # the body is complete: its length, its last chunk, or the end of the connection
    CUT = "cut"  # the connection went in the middle of a framed body, or was reset
    MALFORMED = "malformed"  # bad chunk framing, or a second status line
    ABORTED = "aborted"  # by us


class _State(Enum):
    HEAD = "head"
    BODY = "body"
    ENDED = "ended"


_MOVES = {
    _State.HEAD: frozenset({_State.BODY, _State.ENDED}),
    _State.BODY: frozenset({_State.ENDED}),
    _State.ENDED: frozenset[_State](),
}


class ClientConnection(asyncio.Protocol):
    """One request's socket, from the request to the end of its answer.

    `choose`: asked once, when the head is there, who takes the body. `head` is done with the head;
    `ended` with the ending and, for the log, a reason. Neither ever holds an exception nobody
    awaits: a failure before the head is told by `head` being None and `ended` done.
    """

    __slots__ = (
        "_chunks",
        "_clock",
        "_decoded",
        "_framed_bytes",
        "_head_bytes",
        "_head_limit_bytes",
        "_held",
        "_interim",
        "_opening",
        "_payload",
        "_receiver",
        "_remaining",
        "_state",
        "_transport",
        "bodiless",
        "bytes_received",
        "choose",
        "complete",
        "ended",
        "head",
        "head_arrived",
        "last_data_at",
        "peer",
    )

    def __init__(
        self,
        payload: bytes,
        choose: Callable[[ResponseHead], Receiver],
        *,
        head_limit_bytes: int,
        bodiless: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        loop = asyncio.get_running_loop()
        # config
        self.choose = choose
        self.bodiless = bodiless  # the answer to HEAD
        self._payload = payload
        self._head_limit_bytes = head_limit_bytes
        self._clock = clock
        # transport
        self._transport: asyncio.Transport | None = None
        self._state = _State.HEAD
        self._held = False  # reading is paused
        self.peer: tuple[str, int] = ("", 0)
        # answer
        self._head_bytes = bytearray()
        self.head: ResponseHead | None = None
        self.head_arrived: asyncio.Future[None] = loop.create_future()
        self._receiver: Receiver | None = None
        self._opening: bytes | None = b""  # body bytes too few to tell a status line; then None
        self._remaining: int | None = None  # of a Content-Length
        self._chunks: httptools.HttpResponseParser | None = None
        self._decoded: list[bytes] = []
        self.complete = False  # the last chunk has come
        self.ended: asyncio.Future[tuple[Ending, str]] = loop.create_future()
        # counters
        self.bytes_received = 0
        self._framed_bytes = 0
        self._interim = 0
        self.last_data_at = 0.0

    # -- asyncio.Protocol --

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        if self._state is _State.ENDED:
            self._transport.abort()
            return
        peer = transport.get_extra_info("peername")
        if isinstance(peer, tuple):
            self.peer = peer[:2]
        self._transport.write(self._payload)
        self._payload = b""

    def data_received(self, data: bytes) -> None:
        self.last_data_at = self._clock()
        if self._state is _State.BODY:
            if self._chunks is None and self._remaining is None and self._opening is None:
                self.bytes_received += len(data)
                receiver = self._receiver
                assert receiver is not None, "a body has a receiver"
                receiver.data_received(data)
            else:
                self._body_received(data)
        elif self._state is _State.HEAD:
            self._head_received(data)

    def eof_received(self) -> bool:
        if self._state is _State.HEAD:
            self._end(Ending.CUT, "closed before its answer was there")
        elif self._state is _State.BODY:
            if self._chunks is None and self._remaining is None:
                self._flush_opening()
                self._end(Ending.EOF, "closed")
            else:
                self._end(Ending.CUT, "closed in the middle of the body")
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        self._end(Ending.CUT, _words(exc) if exc is not None else "connection lost")
        self._transport = None

    # -- the answer --

    def _head_received(self, data: bytes) -> None:
        buffer = self._head_bytes
        look_from = max(0, len(buffer) - 3)
        buffer += data
        while True:
            if buffer.startswith(
                (b"\r", b"\n")
            ):  # empty lines before the status line (RFC 9112 §2.2)
                buffer[:] = buffer.lstrip(b"\r\n")
                look_from = 0
            if not buffer.startswith(STATUS_LINE_OPENING[: len(buffer)]):
                self._end(Ending.MALFORMED, "the answer is not HTTP/1")
                return
            end = _HEAD_END.search(buffer, look_from)
            if end is None:
                break
            try:
                head = parse_response_head(bytes(buffer[: end.start()]))
            except FormatError as error:
                self._end(Ending.MALFORMED, error.reason)
                return
            if head.status >= 200:
                rest = bytes(buffer[end.end() :])
                self._head_bytes = bytearray()
                self._begin_body(head, rest)
                return
            del buffer[: end.end()]  # 1xx: the answer is still to come (RFC 9110 §15.2)
            look_from = 0
            self._interim += 1
            if self._interim > _INTERIM_LIMIT:
                self._end(Ending.MALFORMED, "the answer never comes: 1xx and again 1xx")
                return
        if len(buffer) > self._head_limit_bytes:
            self._end(Ending.MALFORMED, "the answer's head is too large")

    def _begin_body(self, head: ResponseHead, rest: bytes) -> None:
        self.head = head
        self._move(_State.BODY)
        self._receiver = self.choose(head)
        if not self.head_arrived.done():
            self.head_arrived.set_result(None)
        if self.bodiless or head.status in (204, 304) or head.content_length == 0:
            self._end(Ending.EOF, "no body")
            return
        if head.chunked:
            self._chunks = httptools.HttpResponseParser(self)
            # Sloppy and harmless towards a client: padded chunk sizes, lines that end in LF.
            self._chunks.set_dangerous_leniencies(
                lenient_optional_cr_before_lf=True, lenient_spaces_after_chunk_size=True
            )
            self._chunks.feed_data(_CHUNKED_HEAD)
        else:
            self._remaining = head.content_length
        if rest:
            self._body_received(rest)

    def _body_received(self, data: bytes) -> None:
        """Any framing; `data_received` has the short way for a body that ends with its
        connection.
        """
        if self._chunks is not None:
            try:
                self._chunks.feed_data(data)
            except httptools.HttpParserCallbackError:
                raise
            except httptools.HttpParserError as error:
                if not self.complete:  # else what follows the last chunk, which nobody reads
                    self._deliver_decoded()
                    second = not self.bytes_received and data.startswith(STATUS_LINE_OPENING)
                    self._end(Ending.MALFORMED, SECOND_STATUS_LINE if second else str(error))
                    return
            self._deliver_decoded()
            self._framed_bytes += len(data)
            if self._framed_bytes > _FRAMING_FREE_BYTES + _FRAMING_RATIO * self.bytes_received:
                self._end(Ending.MALFORMED, "more chunk framing than content")
                return
            if self.complete:
                self._flush_opening()
                self._end(Ending.EOF, "last chunk")
        elif self._remaining is not None:
            piece = data[: self._remaining]  # all of it, uncopied, unless garbage trails
            self._remaining -= len(piece)
            self._deliver(piece)
            if self._remaining == 0:
                self._flush_opening()
                self._end(Ending.EOF, "complete")
        else:
            self._deliver(data)

    def _deliver_decoded(self) -> None:
        pieces, self._decoded = self._decoded, []
        if pieces:  # many small chunks are one piece: what follows costs per piece
            self._deliver(pieces[0] if len(pieces) == 1 else b"".join(pieces))

    def _deliver(self, data: bytes) -> None:
        if self._opening is not None:
            data = self._opening + data
            if len(data) < len(STATUS_LINE_OPENING) and STATUS_LINE_OPENING.startswith(data):
                self._opening = data
                return
            self._opening = None
            if data.startswith(STATUS_LINE_OPENING):
                self._end(Ending.MALFORMED, SECOND_STATUS_LINE)
        receiver = self._receiver
        if receiver is not None:
            self.bytes_received += len(data)
            receiver.data_received(data)

    def _flush_opening(self) -> None:
        """The body ends before it could be told from a status line: it is none."""
        opening, self._opening = self._opening, None
        if opening and self._receiver is not None:
            self.bytes_received += len(opening)
            self._receiver.data_received(opening)

    # -- httptools callbacks: record, decide nothing --

    def on_body(self, piece: bytes) -> None:
        self._decoded.append(piece)

    def on_message_complete(self) -> None:
        self.complete = True

    def pause_reading(self, *, paused: bool) -> None:
        """Take no more bytes off the socket for a while; its end is not noticed meanwhile."""
        if self._transport is None or self._state is not _State.BODY or paused is self._held:
            return
        self._held = paused
        if paused:
            self._transport.pause_reading()
        else:
            self._transport.resume_reading()

    # -- the end --

    def abort(self) -> None:
        """End at once, by us. Idempotent."""
        self._end(Ending.ABORTED, "")

    def _move(self, state: _State) -> None:
        if state not in _MOVES[self._state]:
            raise AssertionError(f"{self._state} can't become {state}")
        self._state = state

    def _end(self, ending: Ending, reason: str) -> None:
        """The one end, whatever led to it; the second call does nothing."""
        if self._state is _State.ENDED:
            return
        self._move(_State.ENDED)
        self._receiver = None
        self._chunks = None  # it and we refer to each other
        self._decoded = []
        if not self.ended.done():
            self.ended.set_result((ending, reason))
        if not self.head_arrived.done():
            self.head_arrived.set_result(None)
        if self._transport is not None:
            self._transport.abort()


class BodyStream:
    """An endless body under way. Its bytes go to the receiver; this tells how it fares.

    `status`, `headers`: of the last hop's answer; `url`: that hop's (may hold a password).
    `peer`: address and port. `ended`: done with (Ending, reason) when the body is over, whatever
    ended it.
    """

    __slots__ = ("_connection", "headers", "status", "url")

    def __init__(self, connection: ClientConnection, head: ResponseHead, url: str) -> None:
        self._connection = connection
        self.status = head.status
        self.headers = head.headers
        self.url = url

    @property
    def bytes_received(self) -> int:
        """Body bytes given to the receiver."""
        return self._connection.bytes_received

    @property
    def last_data_at(self) -> float:
        """When bytes last came (the head's, to begin with), on the monotonic clock."""
        return self._connection.last_data_at

    @property
    def ended(self) -> asyncio.Future[tuple[Ending, str]]:
        return self._connection.ended

    @property
    def peer(self) -> tuple[str, int]:
        return self._connection.peer

    def pause(self) -> None:
        """Let the other side wait: nothing more is read off the socket. Never for what is live."""
        self._connection.pause_reading(paused=True)

    def resume(self) -> None:
        self._connection.pause_reading(paused=False)

    def abort(self) -> None:
        """End now; the receiver gets nothing more. Idempotent."""
        self._connection.abort()


class _Document:
    """Collects a bounded body. `overflow`: it was larger than `limit`, and was cut there."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.body = bytearray()
        self.overflow: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def data_received(self, data: bytes) -> None:
        self.body += data[: self.limit - len(self.body)]
        if len(data) and len(self.body) >= self.limit and not self.overflow.done():
            self.overflow.set_result(None)

    def first_line(self) -> str:
        """The first line with anything on it, fit to be shown."""
        for line in self.body.decode("utf-8", "replace").splitlines():
            text = "".join(c if c.isprintable() else " " for c in line).strip()
            if text:
                return text[:_ERROR_TEXT_CHARACTERS]
        return ""


async def request(
    url: str,
    *,
    method: str = "GET",
    headers: Headers = (),
    body: bytes = b"",
    connect_seconds: float,
    total_seconds: float,
    limits: Limits,
    phase: str = "request",
    error_text_seconds: float = 1.0,
) -> ClientResponse:
    """Fetch a document on a connection of its own; any status is an answer, no redirect is
    followed.

    A redirect's body is not read (an engine never ends it); an error's body that has no length is
    read for `error_text_seconds` at most. May be cancelled at any time.

    Raises UpstreamTimeout (phase 'connect' or `phase`), UpstreamError for everything else that is
    no whole HTTP answer of at most `limits.response_body_bytes`.
    """
    target = parse_url(url, phase)
    document = _Document(limits.response_body_bytes + 1)
    connection = ClientConnection(
        render_request(target, method, headers, body),
        lambda _head: document,
        head_limit_bytes=limits.response_head_bytes,
        bodiless=method == "HEAD",
    )
    try:
        async with asyncio.timeout(total_seconds):
            await _connect(connection, target, connect_seconds)
            head = await _head(connection, target, phase)
            if (head.content_length or 0) > limits.response_body_bytes:
                raise UpstreamError(
                    phase, target.address, "the answer is too large", status=head.status
                )
            if head.status not in _REDIRECTS:
                endless = head.status >= 400 and not head.chunked and head.content_length is None
                await _enough(connection, document, error_text_seconds if endless else None)
    except TimeoutError as error:
        raise UpstreamTimeout(phase, target.address, "no answer in time") from error
    finally:
        connection.abort()
    if document.overflow.done():
        raise UpstreamError(phase, target.address, "the answer is too large", status=head.status)
    ending, reason = connection.ended.result()
    if ending in (Ending.CUT, Ending.MALFORMED):
        raise UpstreamError(phase, target.address, reason, status=head.status)
    return ClientResponse(head.status, head.reason, head.headers, bytes(document.body))


async def open_stream(
    url: str,
    receiver: Receiver,
    *,
    headers: Headers = (),
    connect_seconds: float,
    head_seconds: float,
    limits: Limits,
    redirect: Callable[[str, str], str] | None,
    phase: str = "open",
    unix_path: str | None = None,
    connect_to: str | None = None,
    accepted: Collection[int] = (),
    error_text_seconds: float = 1.0,
) -> BodyStream:
    """GET `url` and give its body to `receiver` as it comes; returns when a 2xx head is there.

    The first bytes may reach the receiver just before this returns. A redirect is acted on by its
    head and its socket closed: `redirect(current_url, location)` gives the next URL, or raises
    UpstreamError; None refuses every redirect. At most `limits.redirects`, each on a fresh
    socket. `head_seconds` is one budget for all heads. `unix_path`: connect there instead of to
    the URL's host. May be cancelled at any time: no socket is left behind. How long a body may be
    silent is the caller's affair (`last_data_at`). `connect_to`: the address the URL's host was
    resolved to, so that what was judged is what is connected to. `accepted`: statuses that are
    answers as well as every 2xx is.

    Raises UpstreamTimeout (phase 'connect' or `phase`); UpstreamError for everything else, with
    `status` set when there was an answer, and the first line of an error's body as its reason.
    """
    loop = asyncio.get_running_loop()
    left = head_seconds
    for _ in range(limits.redirects + 1):
        target = parse_url(url, phase)
        refused = _Document(_ERROR_TEXT_BYTES)
        connection = ClientConnection(
            render_request(target, "GET", headers, b""),
            _chooser(receiver, refused, accepted),
            head_limit_bytes=limits.response_head_bytes,
        )
        done = False
        try:
            await _connect(connection, target, connect_seconds, unix_path, connect_to)
            started = loop.time()
            try:
                async with asyncio.timeout(max(left, 0)):
                    head = await _head(connection, target, phase)
            except TimeoutError as error:
                raise UpstreamTimeout(phase, target.address, "no answer in time") from error
            left -= loop.time() - started
            if 200 <= head.status < 300 or head.status in accepted:
                done = True
                return BodyStream(connection, head, url)
            location = head.headers.get("location", "")
            if head.status in _REDIRECTS and location and redirect is not None:
                connection.abort()
                url = redirect(url, location)
                continue
            await _enough(connection, refused, error_text_seconds)
            told = refused.first_line() or f"{head.status} {head.reason}".strip()
            raise UpstreamError(phase, target.address, told, status=head.status)
        finally:
            if not done:
                connection.abort()
    raise UpstreamError(phase, target.address, "too many redirects")


def _chooser(
    receiver: Receiver, refused: Receiver, accepted: Collection[int]
) -> Callable[[ResponseHead], Receiver]:
    return lambda head: receiver if 200 <= head.status < 300 or head.status in accepted else refused


async def _enough(connection: ClientConnection, document: _Document, seconds: float | None) -> None:
    """Wait for a body's end, or until it is too large, or for so long."""
    waits: set[asyncio.Future[Any]] = {connection.ended, document.overflow}
    await asyncio.wait(waits, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)


async def _connect(
    connection: ClientConnection,
    target: Target,
    seconds: float,
    unix_path: str | None = None,
    connect_to: str | None = None,
) -> None:
    loop = asyncio.get_running_loop()
    host = connect_to or target.host
    try:
        async with asyncio.timeout(seconds):
            if unix_path is not None:
                await loop.create_unix_connection(lambda: connection, unix_path)
            elif target.secure:
                context = await asyncio.to_thread(_tls_context)
                await loop.create_connection(
                    lambda: connection,
                    host,
                    target.port,
                    ssl=context,
                    server_hostname=target.host,
                )
            else:
                await loop.create_connection(lambda: connection, host, target.port)
    except TimeoutError as error:
        raise UpstreamTimeout("connect", target.address, "no connection in time") from error
    except (OSError, UnicodeError) as error:
        raise UpstreamError("connect", target.address, _words(error)) from error


_context: ssl.SSLContext | None = None


def _tls_context() -> ssl.SSLContext:
    """One for all: making it reads the system's certificates, some 20 ms."""
    global _context
    if _context is None:
        _context = ssl.create_default_context()
    return _context


async def _head(connection: ClientConnection, target: Target, phase: str) -> ResponseHead:
    await asyncio.shield(connection.head_arrived)
    if connection.head is None:
        raise UpstreamError(phase, target.address, connection.ended.result()[1])
    return connection.head


def _words(error: BaseException) -> str:
    """A system error in the operator's words; nothing of a URL can be in it."""
    if isinstance(error, ssl.SSLError):
        return f"TLS: {error.reason or 'handshake failed'}".lower()
    if isinstance(error, OSError) and error.strerror:
        return error.strerror.lower()
    return str(error) or type(error).__name__
