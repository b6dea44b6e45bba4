"""HTTP/1.1 as a client speaks it: a URL to a request's bytes, a response head's bytes to
`ResponseHead`.

Owns: how we ask, and how loosely an answer's head is read. Must not know: sockets, the loop,
clocks, bodies. Engines and small origin servers are not browsers' servers (engine reference §2.2,
§8.2 no. 4).
"""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple
from urllib.parse import quote, unquote, urlsplit

from rawstream.errors import FormatError, UpstreamError

Headers = Sequence[tuple[str, str]]

SECOND_STATUS_LINE = "second status line"  # how an engine shows that two sessions met (§8.2 no. 4)
STATUS_LINE_OPENING = b"HTTP/1."

_STATUS_LINE = re.compile(rb"HTTP/1\.([0-9])[ \t]+([1-5][0-9][0-9])(?:[ \t]+([^\r\n]*))?")
_DIGITS = re.compile(r"[0-9]{1,19}")
_UNSAFE_OUT = re.compile(r"[\r\n\0]")
_TARGET_SAFE = "!#$%&'()*+,/:;=?@[]~"  # RFC 3986 reserved, and '%': what is encoded already stays


class Target(NamedTuple):
    """Where a URL leads. `address` is what errors show: neither user nor query is in it."""

    address: str
    host: str
    port: int
    secure: bool
    authority: str
    target: str
    authorization: str


def parse_url(url: str, phase: str) -> Target:
    """Take an http:// or https:// URL apart; user and password become an Authorization header.

    Raises UpstreamError (`phase`) for anything else; the URL itself is not in it.
    """
    try:
        parts = urlsplit(url.strip())
        secure = parts.scheme == "https"
        port = parts.port or (443 if secure else 80)
        host = parts.hostname or ""
        host = host.encode("ascii" if host.isascii() else "idna").decode("ascii")
    except (ValueError, UnicodeError):
        raise UpstreamError(phase, "?", "not a usable URL") from None
    if parts.scheme not in ("http", "https") or not host:
        raise UpstreamError(phase, "?", "only http:// and https:// URLs are fetched")
    bracketed = f"[{host}]" if ":" in host else host
    default = port == (443 if secure else 80)
    target = quote(parts.path or "/", safe=_TARGET_SAFE)
    if parts.query:
        target += "?" + quote(parts.query, safe=_TARGET_SAFE)
    authorization = ""
    if parts.username is not None:
        pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        authorization = "Basic " + base64.b64encode(pair.encode()).decode("ascii")
    return Target(
        address=f"{parts.scheme}://{bracketed}:{port}",
        host=host,
        port=port,
        secure=secure,
        authority=bracketed if default else f"{bracketed}:{port}",
        target=target,
        authorization=authorization,
    )


def render_request(target: Target, method: str, headers: Headers, body: bytes) -> bytes:
    """The request's bytes. Raises ValueError for a header that would break it (a bug of ours)."""
    given = {name.lower() for name, _ in headers}
    fields: list[tuple[str, str]] = [("Host", target.authority)]
    if "user-agent" not in given:
        fields.append(("User-Agent", "rawstream"))
    fields += [("Accept", "*/*"), ("Accept-Encoding", "identity"), ("Connection", "close")]
    if target.authorization and "authorization" not in given:
        fields.append(("Authorization", target.authorization))
    if body or method not in ("GET", "HEAD"):
        fields.append(("Content-Length", str(len(body))))
    lines = [f"{method} {target.target} HTTP/1.1"]
    for name, value in (*fields, *headers):
        if _UNSAFE_OUT.search(name + value):
            raise ValueError(f"header {name!r} can't be sent")
        lines.append(f"{name}: {value}")
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + body


class ResponseHead(NamedTuple):
    """Status line and fields of an answer. `content_length`: None when it has none."""

    status: int
    reason: str
    headers: Mapping[str, str]
    chunked: bool
    content_length: int | None


def parse_response_head(head: bytes) -> ResponseHead:
    """Read the lines of a response head, leniently.

    The reason phrase may be missing, lines may end in a bare LF (RFC 9112 §2.2), lines without a
    name are read over, Transfer-Encoding wins over Content-Length (§6.3), equal repeated lengths
    are one.

    Raises FormatError: no status line, a second status line, an unknown transfer coding, a length
    that is no number or two that disagree.
    """
    lines = head.replace(b"\r\n", b"\n").split(b"\n")
    first = _STATUS_LINE.fullmatch(lines[0].rstrip())
    if first is None:
        raise FormatError("response head", "no status line", 0)
    headers: dict[str, str] = {}
    for line in lines[1:]:
        if _STATUS_LINE.fullmatch(line.strip()):
            raise FormatError("response head", SECOND_STATUS_LINE)
        raw_name, colon, raw_value = line.partition(b":")
        name = raw_name.strip().decode("latin-1").lower()
        if not colon or not name:
            continue
        value = raw_value.strip().decode("latin-1")
        headers[name] = f"{headers[name]}, {value}" if name in headers else value

    coding = headers.get("transfer-encoding", "").lower()
    if coding not in ("", "chunked", "identity"):
        raise FormatError("response head", "unknown transfer coding")
    length: int | None = None
    if coding != "chunked" and "content-length" in headers:
        lengths = {part.strip() for part in headers["content-length"].split(",")}
        text = lengths.pop()
        if lengths or not _DIGITS.fullmatch(text):
            raise FormatError("response head", "bad Content-Length")
        length = int(text)
    return ResponseHead(
        status=int(first[2]),
        reason=(first[3] or b"").decode("latin-1").strip(),
        headers=headers,
        chunked=coding == "chunked",
        content_length=length,
    )
