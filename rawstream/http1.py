"""HTTP/1.0 and 1.1 as a server speaks it: request bytes to `Request`, `Response` to bytes.

Owns: which requests are understood and which are refused (RFC 9112 framing, RFC 9110 fields), the
limits on a head and a body, and how an answer's head is written. Must not know: sockets, the
loop, clocks, URLs we serve. Framing is httptools' (llhttp in its strict mode); what llhttp lets
through and we don't is in `_check_head`. httptools has no size limits, so bytes are counted here.

Callbacks of the parser only record: an exception inside one would come out of `feed_data` as a
parser error and turn a bug of ours into the peer's fault.
"""

from __future__ import annotations

import re
from collections import OrderedDict, deque
from collections.abc import Mapping, Sequence
from functools import lru_cache
from http import HTTPStatus
from urllib.parse import unquote, unquote_plus

import httptools

from rawstream.config import Limits
from rawstream.errors import ViewerError

Headers = Sequence[tuple[str, str]]

# RFC 9110 §9 and §15. CONNECT and TRACE are left out on purpose, and so is what llhttp knows
# beyond HTTP.
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
STATUS_LINES: Mapping[int, bytes] = {
    status.value: b"HTTP/1.1 %d %s\r\n" % (status.value, status.phrase.encode("ascii"))
    for status in HTTPStatus
}
CONTINUE = STATUS_LINES[100] + b"\r\n"
LAST_CHUNK = b"0\r\n\r\n"

_NOBODY = ("", 0)
_TAG = re.compile(r'(?:W/)?("[^\s"]*")')  # RFC 9110 §8.8.3
_MORE_THAN_A_HEAD = frozenset(("content-length", "transfer-encoding", "upgrade", "expect"))
_SEEN = 4096  # requests remembered, of so many bytes at most
_SEEN_BYTES = 2048
_FEED_BYTES = (
    8192  # per call of the parser: bounds how many requests one read can bring forth at once
)
_FRAMING_PER_BYTE = 8  # chunk framing a peer may spend per byte of content: "1\r\nx\r\n" is 6

_TOKEN = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")  # RFC 9110 §5.6.2
_FIELD_VALUE = re.compile(rb"[\t\x20-\x7e\x80-\xff]*")  # RFC 9110 §5.5
_TARGET = re.compile(rb"[\x21-\x7e]+")
_AUTHORITY = re.compile(r"(?:[A-Za-z0-9._~!$&'()*+,;=%-]*|\[[0-9A-Fa-f:.]+\])(?::[0-9]*)?")
_DIGITS = re.compile(r"[0-9]{1,19}")
_UNSAFE_OUT = re.compile(r"[\r\n\0]")


def is_known(etag: str, request: Request) -> bool:
    """Whether If-None-Match says so (RFC 9110 §13.1.2): a list of tags, weak or not, or any."""
    said = request.headers.get("if-none-match", "").strip()
    return said == "*" or etag in _TAG.findall(said)


def _absolute_prefix(target: str) -> str:
    """Scheme and authority of an absolute-form target, '' of any other."""
    match = re.match(r"[A-Za-z][A-Za-z0-9+.-]*://[^/?#]*", target)
    return match[0] if match else ""


class Request:
    """One request, complete.

    `target` is as sent and may hold a password: show `path` to nobody but its sender, and neither
    in a log. `segments`: the path split at '/', then each part percent-decoded as UTF-8 (bad
    bytes become U+FFFD), empty parts left out; so `%2F` never makes two of one. `headers`:
    lower-case names, repeated ones joined by ', ' (Cookie by '; '). `peer`: address and port,
    ('', 0) over a Unix socket. `route`: the path of the table's row that answers it, '' for none.
    """

    __slots__ = (
        "_query",
        "body",
        "connected",
        "headers",
        "http_version",
        "keep_alive",
        "method",
        "path",
        "peer",
        "query_string",
        "route",
        "segments",
        "target",
    )

    def __init__(
        self,
        method: str,
        target: str,
        headers: Mapping[str, str],
        *,
        http_version: str = "1.1",
        body: bytes = b"",
        peer: tuple[str, int] = ("", 0),
        keep_alive: bool = True,
    ) -> None:
        self.method = method
        self.target = target
        self.headers = headers
        self.http_version = http_version
        self.body = body
        self.peer = peer
        self.connected = peer  # the connection's own, also where `peer` is a proxy's client
        self.keep_alive = keep_alive
        self.route = ""
        self._query: list[tuple[str, str]] | None = None
        raw = target.partition("#")[0]
        if not raw.startswith("/"):
            raw = raw[len(_absolute_prefix(raw)) :] or "/"
        raw, _, self.query_string = raw.partition("?")
        if "%" in raw:
            self.path = unquote(raw, errors="replace")
            self.segments = tuple(unquote(s, errors="replace") for s in raw.split("/") if s)
        else:
            self.path = raw
            self.segments = tuple(s for s in raw.split("/") if s)

    def again(self) -> Request:
        """The same request, come once more: what was read of its bytes is shared."""
        new = Request.__new__(Request)
        new.method, new.target, new.headers = self.method, self.target, self.headers
        new.http_version, new.body, new.keep_alive = self.http_version, b"", self.keep_alive
        new.peer = new.connected = _NOBODY
        new.path, new.segments = self.path, self.segments
        new.query_string, new._query = self.query_string, self._query
        new.route = ""
        return new

    @property
    def query_all(self) -> list[tuple[str, str]]:
        """Every `name=value` in order; '+' and %XX decoded, a name without '=' has the value ''."""
        if self._query is None:
            pairs = [p.partition("=") for p in self.query_string.split("&") if p]
            if "%" in self.query_string or "+" in self.query_string:
                self._query = [
                    (unquote_plus(name, errors="replace"), unquote_plus(value, errors="replace"))
                    for name, _, value in pairs
                ]
            else:
                self._query = [(name, value) for name, _, value in pairs]
        return self._query

    @property
    def query(self) -> dict[str, str]:
        """The query by name; the first value of a repeated name wins."""
        found: dict[str, str] = {}
        for name, value in self.query_all:
            found.setdefault(name, value)
        return found

    def __repr__(self) -> str:
        return f"<Request {self.method} HTTP/{self.http_version}>"  # a target may hold a password


class Response:
    """One answer with its whole body. May be kept and sent any number of times; not changed once
    made. `parts`: what follows `body`, pieces that are shared and not to be copied.
    """

    __slots__ = ("body", "content_type", "headers", "length", "parts", "status")

    def __init__(
        self,
        status: int = 200,
        body: bytes = b"",
        content_type: str = "text/plain; charset=utf-8",
        headers: Headers = (),
        *,
        parts: Sequence[bytes] = (),
    ) -> None:
        self.status = status
        self.body = body
        self.parts = parts
        self.length = len(body) + sum(map(len, parts))
        self.content_type = content_type
        self.headers = headers

    @classmethod
    def text(cls, text: str, status: int = 200, headers: Headers = ()) -> Response:
        """Plain UTF-8 text."""
        return cls(status, text.encode(), headers=headers)

    @classmethod
    def json(cls, body: bytes, status: int = 200, headers: Headers = ()) -> Response:
        """`body`: JSON already encoded."""
        return cls(status, body, "application/json", headers)

    @classmethod
    def of_error(cls, error: ViewerError) -> Response:
        """A refusal as the viewer sees it: its status, its reason in one line, Retry-After if it
        has one.
        """
        headers: Headers = ()
        if error.retry_after is not None:
            headers = (("Retry-After", str(error.retry_after)),)
        return cls(error.status, f"{error.reason}\n".encode(), headers=headers)


def render_head(
    status: int,
    constant: bytes,
    *,
    content_type: str = "",
    content_length: int | None = None,
    headers: Headers = (),
    connection: str = "",
) -> bytes:
    """Write an answer's head. `constant`: header lines ready to send (Server, Date), each with
    its CRLF.

    Raises ValueError for a header that would break the head (a bug of ours, RFC 9112 §11.1).
    """
    lines = [f"Content-Type: {content_type}\r\n"] if content_type else []
    if content_length is not None:
        lines.append(f"Content-Length: {content_length}\r\n")
    lines += [_line_out(name, value) for name, value in headers]
    if connection:
        lines.append(f"Connection: {connection}\r\n")
    lines.append("\r\n")
    status_line = STATUS_LINES.get(status) or b"HTTP/1.1 %d \r\n" % status
    return status_line + constant + "".join(lines).encode("latin-1")


@lru_cache(maxsize=1024)
def _line_out(name: str, value: str) -> str:
    if _UNSAFE_OUT.search(value) or not _TOKEN.fullmatch(name.encode("latin-1", "replace")):
        raise ValueError(f"header {name!r} can't be sent")
    return f"{name}: {value}\r\n"


@lru_cache(maxsize=1024)  # of the names there are, players use some dozens
def _name_in(raw: bytes) -> str:
    if not _TOKEN.fullmatch(raw):
        raise ViewerError(400, "bad header field")
    return raw.decode("ascii").lower()


class _Recorded:
    """What the parser's callbacks have said about one request so far."""

    __slots__ = (
        "body",
        "body_bytes",
        "body_started",
        "complete",
        "head_bytes",
        "head_complete",
        "headers",
        "keep_alive",
        "method",
        "request",
        "target",
        "version",
    )

    def __init__(self) -> None:
        self.method = b""
        self.target = b""
        self.version = ""
        self.headers: list[tuple[bytes, bytes]] = []
        self.head_bytes = 0
        self.head_complete = False
        self.keep_alive = False
        self.body_started = False
        self.body = bytearray()
        self.body_bytes = 0
        self.complete = False
        self.request: Request | None = None

    def framing(self) -> list[tuple[bytes, bytes]]:
        """The fields that announce a body."""
        return [
            (name, value)
            for name, value in self.headers
            if name.lower() in (b"content-length", b"transfer-encoding")
        ]


class SeenRequests:
    """Requests that were read before, by their bytes: players send the same ones over and over.

    Only those that are nothing but a head, come in one piece and leave the connection open.
    """

    __slots__ = ("_seen",)

    def __init__(self) -> None:
        self._seen: OrderedDict[bytes, Request] = OrderedDict()

    def get(self, data: bytes) -> Request | None:
        found = self._seen.get(data)
        return found.again() if found is not None else None

    def remember(self, data: bytes, request: Request) -> None:
        if len(data) <= _SEEN_BYTES and request.keep_alive and request.method in ("GET", "HEAD"):
            self._seen[data] = request.again()
            if len(self._seen) > _SEEN:
                self._seen.popitem(last=False)


class RequestParser:
    """Bytes in, requests out, in order; one per connection.

    After each `feed` look at `requests` (take them with `next_request`), then at `failure`: the
    first request that is refused, as the ViewerError to answer with; nothing behind it is read.
    The same bytes give the same requests however they are split.
    """

    __slots__ = (
        "_fed",
        "_limits",
        "_parser",
        "_pieces",
        "_recorded",
        "_resuming",
        "_seen",
        "continue_due",
        "failure",
        "requests",
    )

    def __init__(self, limits: Limits, seen: SeenRequests | None = None) -> None:
        self._limits = limits
        self._seen = seen
        self._parser: httptools.HttpRequestParser | None = httptools.HttpRequestParser(self)
        self._pieces: deque[bytes] = deque()  # read from the socket, not yet parsed
        self._recorded: deque[_Recorded] = deque()
        self._resuming = False  # inside the head that `_resume_body` made up
        self._fed = 0  # bytes since the last complete request or the end of a head

        self.requests: deque[Request] = deque()
        self.failure: ViewerError | None = None
        self.continue_due = False  # the peer waits for `100 Continue` before it sends the body

    def feed(self, data: bytes) -> None:
        """Take bytes as they came. Raises only for bugs of ours (HttpParserCallbackError)."""
        if self.failure is not None:
            return
        seen = self._seen
        if seen is None or self._pieces or self._recorded or self.requests:
            self._pieces.append(data)
            self._pump()
            return
        request = seen.get(data)
        if request is not None:
            self.requests.append(request)
            return
        self._pieces.append(data)
        self._pump()
        # a message that ended where the bytes did, and had no body and no framing
        if len(self.requests) == 1 and not (self._recorded or self._pieces or self.failure):
            request = self.requests[0]
            if data.endswith(b"\r\n\r\n") and _MORE_THAN_A_HEAD.isdisjoint(request.headers):
                seen.remember(data, request)

    def next_request(self) -> Request | None:
        """The oldest complete request, or None. Parses on when it hands out the last one."""
        if not self.requests:
            return None
        request = self.requests.popleft()
        if not self.requests and self._pieces:
            self._pump()
        return request

    @property
    def full(self) -> bool:
        """As many requests wait as may: the connection stops reading."""
        return len(self.requests) >= self._limits.pipelined_requests

    @property
    def phase(self) -> str:
        """'idle': between two requests; 'head' or 'body': in the middle of one."""
        if not self._recorded:
            return "idle"
        return "body" if self._recorded[0].head_complete else "head"

    def close(self) -> None:
        """Drop everything; parser and recorder refer to each other, and this parts them."""
        self._parser = None
        self._pieces.clear()
        self._recorded.clear()
        self.requests.clear()
        self.failure = ViewerError(400, "closed")

    def _pump(self) -> None:
        while self._pieces and self.failure is None and not self.full:
            data = self._pieces.popleft()
            if len(data) > _FEED_BYTES:
                self._pieces.appendleft(data[_FEED_BYTES:])
                data = data[:_FEED_BYTES]
            error = self._parse(data)
            self._collect()
            if self.failure is None:
                self.failure = error or self._oversize()
        if self.failure is not None:
            self._pieces.clear()

    def _parse(self, data: bytes) -> ViewerError | None:
        self._fed += len(data)
        while data:
            assert self._parser is not None, "fed after close"
            try:
                self._parser.feed_data(data)
                return None
            except httptools.HttpParserUpgrade as upgrade:
                # Upgrade is an offer that we ignore (RFC 9110 §7.8): what follows is HTTP/1.1 as
                # before. CONNECT comes here too; its head is refused by `_check_head`.
                data = data[upgrade.args[0] :]
                if self._recorded and not self._recorded[-1].complete:
                    try:
                        self._resume_body(self._recorded[-1])
                    except httptools.HttpParserError as error:
                        return ViewerError(400, f"bad request: {error}")
            except httptools.HttpParserCallbackError:
                raise
            except httptools.HttpParserInvalidMethodError:
                return ViewerError(501, "no such method here")
            except httptools.HttpParserError as error:
                return ViewerError(400, f"bad request: {error}")
        return None

    def _resume_body(self, recorded: _Recorded) -> None:
        """httptools takes a request that offers an upgrade for one without a body, and would read
        its body as the next request. Java's client and curl send such requests. So a fresh
        parser, told the framing and nothing else, reads on.
        """
        self._parser = httptools.HttpRequestParser(self)
        self._resuming = True
        framing = b"\r\n".join(b"%b: %b" % field for field in recorded.framing())
        self._parser.feed_data(b"POST / HTTP/1.1\r\n%b\r\n\r\n" % framing)

    def _collect(self) -> None:
        """Check what the callbacks recorded and move what is complete to `requests`."""
        while self._recorded and self.failure is None:
            recorded = self._recorded[0]
            if not recorded.head_complete:
                return
            if recorded.request is None:
                self._fed = 0
                try:
                    recorded.request = _check_head(recorded, self._limits)
                except ViewerError as error:
                    self.failure = error
                    return
                expects = recorded.request.headers.get("expect", "").lower() == "100-continue"
                self.continue_due = expects and recorded.request.http_version == "1.1"
            if recorded.body_started or recorded.complete:
                self.continue_due = False
            if recorded.body_bytes > self._limits.request_body_bytes:
                self.failure = ViewerError(413, "the body is too large")
                return
            if not recorded.complete:
                return
            recorded.request.body = bytes(recorded.body)
            self.requests.append(recorded.request)
            self._recorded.popleft()
            self._fed = 0
            if not recorded.request.keep_alive:
                # Nothing behind the last request of a connection is a request (RFC 9112 §9.6).
                self._recorded.clear()
                self.failure = ViewerError(400, "a request behind the last one")

    def _oversize(self) -> ViewerError | None:
        """Judge a message that has not ended: it may be too large already."""
        limits = self._limits
        if self.phase == "body":
            spent = self._fed - self._recorded[0].body_bytes
            allowed = limits.request_head_bytes + _FRAMING_PER_BYTE * self._recorded[0].body_bytes
            return ViewerError(413, "the body's framing is too large") if spent > allowed else None
        if self._recorded:
            if len(self._recorded[0].target) > limits.request_target_bytes:
                return ViewerError(414, "the request target is too long")
            if len(self._recorded[0].headers) > limits.request_header_count:
                return ViewerError(431, "too many header fields")
        if self._fed > limits.request_head_bytes + _FEED_BYTES:
            return ViewerError(431, "the request head is too large")
        return None

    # -- httptools callbacks: record, decide nothing --

    def on_message_begin(self) -> None:
        if not self._resuming:
            self._recorded.append(_Recorded())

    def on_url(self, piece: bytes) -> None:
        if not self._resuming:
            self._recorded[-1].target += piece

    def on_header(self, name: bytes, value: bytes) -> None:
        recorded = self._recorded[-1]
        if not recorded.head_complete:  # else a trailer field: read over (RFC 9112 §7.1.2)
            recorded.headers.append((name, value))
            recorded.head_bytes += len(name) + len(value) + 4

    def on_headers_complete(self) -> None:
        recorded, parser = self._recorded[-1], self._parser
        if self._resuming:
            self._resuming = False
            return
        assert parser is not None, "a parser that calls us exists"
        recorded.method = parser.get_method()
        recorded.version = parser.get_http_version()
        recorded.keep_alive = parser.should_keep_alive()
        recorded.head_bytes += (
            len(recorded.method) + len(recorded.target) + len(" HTTP/1.1\r\n\r\n") + 1
        )
        recorded.head_complete = True

    def on_chunk_header(self) -> None:
        self._recorded[-1].body_started = True

    def on_body(self, piece: bytes) -> None:
        recorded = self._recorded[-1]
        recorded.body_started = True
        recorded.body_bytes += len(piece)
        if recorded.body_bytes <= self._limits.request_body_bytes:
            recorded.body += piece

    def on_message_complete(self) -> None:
        recorded, parser = self._recorded[-1], self._parser
        assert parser is not None, "a parser that calls us exists"
        recorded.complete = not (parser.should_upgrade() and recorded.framing())


def _check_head(recorded: _Recorded, limits: Limits) -> Request:
    """Turn a recorded head into a Request, or refuse it with ViewerError 4xx or 5xx.

    The order is: size, version, method, fields, framing, host, target. llhttp refuses most of the
    bad shapes by itself; the ones it lets through, and the ones that older versions did, are
    refused here.
    """
    if len(recorded.target) > limits.request_target_bytes:
        raise ViewerError(414, "the request target is too long")
    if len(recorded.headers) > limits.request_header_count:
        raise ViewerError(431, "too many header fields")
    if recorded.head_bytes > limits.request_head_bytes:
        raise ViewerError(431, "the request head is too large")
    if recorded.version not in ("1.0", "1.1"):
        raise ViewerError(505, "HTTP/1.0 and HTTP/1.1 are spoken here")
    method = recorded.method.decode("ascii", "replace")
    if method not in METHODS:
        raise ViewerError(501, "no such method here")

    headers: dict[str, str] = {}
    for raw_name, raw_value in recorded.headers:
        name = _name_in(raw_name)
        if not _FIELD_VALUE.fullmatch(raw_value):
            raise ViewerError(400, "bad header field")
        value = raw_value.strip(b" \t").decode("latin-1")
        if name not in headers:
            headers[name] = value
        elif name in ("host", "content-length", "transfer-encoding", "expect"):
            raise ViewerError(400, f"repeated {name}")
        else:
            headers[name] += ("; " if name == "cookie" else ", ") + value

    _check_framing(headers, recorded.version, limits)
    target = _check_target(recorded.target, method, recorded.version, headers)
    return Request(
        method,
        target,
        headers,
        http_version=recorded.version,
        keep_alive=recorded.keep_alive,
    )


def _check_framing(headers: Mapping[str, str], version: str, limits: Limits) -> None:
    """RFC 9112 §6: one way only to tell where the body ends."""
    length, coding = headers.get("content-length"), headers.get("transfer-encoding")
    if coding is not None:
        if length is not None:
            raise ViewerError(400, "both Content-Length and Transfer-Encoding")
        if version == "1.0" or coding.lower() != "chunked":
            raise ViewerError(400, "unknown transfer coding")
    if length is not None:
        if not _DIGITS.fullmatch(length):
            raise ViewerError(400, "bad Content-Length")
        if int(length) > limits.request_body_bytes:
            raise ViewerError(413, "the body is too large")
    if version == "1.1" and headers.get("expect", "100-continue").lower() != "100-continue":
        raise ViewerError(417, "only 100-continue can be expected")


def _check_target(raw: bytes, method: str, version: str, headers: dict[str, str]) -> str:
    """RFC 9112 §3.2: origin-form, absolute-form (its authority replaces Host), `*` for OPTIONS."""
    host = headers.get("host")
    if host is None and version == "1.1":
        raise ViewerError(400, "no Host")
    if host is not None and not _AUTHORITY.fullmatch(host):
        raise ViewerError(400, "bad Host")
    if not _TARGET.fullmatch(raw):
        raise ViewerError(400, "bad request target")
    target = raw.decode("ascii")
    if target.startswith("/") or (target == "*" and method == "OPTIONS"):
        return target
    scheme, _, authority = _absolute_prefix(target).partition("://")
    if scheme.lower() not in ("http", "https"):
        raise ViewerError(400, "bad request target")
    if not authority or not _AUTHORITY.fullmatch(authority):
        raise ViewerError(400, "bad request target")
    headers["host"] = authority
    return target
