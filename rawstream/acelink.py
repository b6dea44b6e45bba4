"""How lists spell the place of a stream, above all of an AceStream content, read as kind and value.

Owns: every spelling of the engine reference's §6 and of the Xtream reference's §7.1, Kodi's plugin
URLs and its `|` suffix. Must not know: engines, accounts, what a channel is; nothing is fetched.

The kinds are those of `engine_client.ContentRef`, which stands further down in the order. An id is
an AceStream id by its place (`/ace/getstream?id=`) or by its 40 hexadecimal digits under a name
that proxies use, never by the parameter's name alone: `live.ts?id=77` is an ordinary stream.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping
from typing import Final, Literal, NamedTuple
from urllib.parse import SplitResult, parse_qsl, quote, unquote, unquote_plus, urlsplit

from rawstream.errors import FormatError

Kind = Literal["content_id", "infohash", "url", "magnet", "direct", "unknown"]

URL_LIMIT: Final = 4096  # characters; the engine client takes no more

_HEX_ID: Final = re.compile(r"[0-9a-fA-F]{40}")
_LEADING_ID: Final = re.compile(r"([0-9a-fA-F]{40})(?:[/?#&|\s].*)?", re.DOTALL)
_BASE32_ID: Final = re.compile(r"[2-7A-Za-z]{32}")
_BTIH: Final = re.compile(r"urn:btih:(.+)", re.IGNORECASE)
_SCHEME: Final = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*+):")
_ACE_LINK: Final = re.compile(r"(?:acestream|infohash):", re.IGNORECASE)
_ACE_PREFIX: Final = re.compile(r"(?:acestream|infohash):/{0,3}", re.IGNORECASE)
_ENCODED_URL: Final = re.compile(r"[a-z]+%3a", re.IGNORECASE)
_UNPRINTABLE: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")
_HEADER_SUFFIX: Final = re.compile(r"\|\s*+[!#$%&'*+.^_`~0-9A-Za-z-]++=")

# Nearly all links: nothing in them to encode and nothing of AceStream. They are read at a glance.
_PLAIN: Final = re.compile(
    r"https?://[A-Za-z0-9.-]++(?::(?:[1-9][0-9]{0,3}|[1-5][0-9]{4})(?![0-9]))?+"
    r"(?:/[A-Za-z0-9._~/:+,=@!$*-]*+)?+(?:\?[A-Za-z0-9._~/:+,=@!$*&-]++)?+"
)
_PLAIN_BUT: Final = re.compile(
    r"[0-9a-f]{40}|/(?:ace|url|torrent)/|manifest_url=|(?:acestream|infohash):"
    r"|\.(?:acelive|acestream|acemedia|torrent)",
    re.IGNORECASE,
)
_TRANSPORT_FILES: Final = (".acelive", ".acestream", ".acemedia", ".torrent")
_KEPT: Final = "%/:=&?~#+!$,;'@()*[]"  # what is encoded stays encoded
_WRAPPERS: Final = 4  # a plugin URL inside a plugin URL …
_PARAMETERS: Final = 100
# Named in warnings; any other word before a colon may be somebody's password.
_KNOWN_SCHEME: Final = re.compile(
    "udp|rtp|rtsps?|rtmp[se]?|mms[ht]?|srt|rist|file|s?ftp|smb|nfs|dvb|pvr|data|javascript|mailto"
    "|wss?|sop|p2p|igmp|hls"
)
# The engine's precedence (reference §1.1), `id` in the place of the name it is an alias of.
_SELECTORS: Final = ("content_id", "id", "infohash", "url", "magnet", "direct_url")
# What proxies and scrapers call an id (§6); `pid` is the player's in an engine's own URL.
_ALIASES: Final[Mapping[str, Kind]] = {
    "content_id": "content_id",
    "infohash": "infohash",
    "acestream_id": "unknown",
    "id": "unknown",
    "stream_id": "unknown",
    "pid": "unknown",
}
# HTTPAceProxy's path words (§6): there `pid` is an alias of content_id.
_PATH_IDS: Final[Mapping[str, Kind]] = {
    "content_id": "content_id",
    "pid": "content_id",
    "infohash": "infohash",
    "content": "infohash",
}


class Link(NamedTuple):
    """Where a stream is: 40 hexadecimal digits in lower case of `content_id`, `infohash` or
    `unknown` (either of the two), a transport file's `url`, a `magnet` without a v1 infohash, or
    the URL of a `direct` stream, percent-encoded so that it can be sent.
    """

    kind: Kind
    value: str


def read_link(text: str) -> Link:
    """One link in any spelling. Blanks and quotes around it are passed over, `&amp;` is `&`.

    Raises FormatError when it names nothing that can be played; its text holds no part of the link.
    """
    return _read(text, _WRAPPERS)


def unwrap(text: str) -> str:
    """What a Kodi plugin URL plays (`url=`, or Horus' `id=` and `infohash=`); other text as it is.

    Apart from `read_link` because the inner URL may have a `|` suffix of its own.
    """
    for _ in range(_WRAPPERS):
        text = _tidy(text)
        if text[:9].lower() != "plugin://":
            break
        query = _query(text.partition("?")[2])
        if inner := query.get("url") or query.get("link"):
            text = unquote(inner) if _ENCODED_URL.match(inner) else inner
        elif (found := _aliased(query)) is not None:
            text = f"{'infohash' if found.kind == 'infohash' else 'acestream'}://{found.value}"
        else:
            break
    return text


def split_headers(text: str) -> tuple[str, list[tuple[str, str]]]:
    """A URL and the headers that Kodi appends to it: `URL|Name=value&Name=value`, percent-encoded.

    Names and values are as given; whether a header may be sent is for the caller to judge.
    """
    found = _HEADER_SUFFIX.search(text)
    if found is None:
        return text, []
    pairs = (part.partition("=") for part in text[found.start() + 1 :].split("&")[:_PARAMETERS])
    headers = [(unquote(name).strip(), unquote_plus(value).strip()) for name, _, value in pairs]
    return text[: found.start()].rstrip(), headers


def name_in(text: str) -> str:
    """A name for a stream that its list gives none: a plugin's `name=`, a magnet's `dn=`, else the
    last part of the path without its ending, else the host. '' if there is nothing.
    """
    text = _tidy(text)
    if text[:9].lower() != "plugin://":
        text = split_headers(text)[0]
    scheme, query = text.partition(":")[0].lower(), _query(text.partition("?")[2])
    named = query.get("name") or query.get("title") or query.get("dn")
    if named and scheme in ("plugin", "magnet", "acestream"):
        return named
    try:
        parts = urlsplit(text)
        path, host = parts.path, parts.hostname or ""
    except ValueError:
        return ""
    last = unquote(path.rstrip("/").rpartition("/")[2])
    stem, dot, ending = last.rpartition(".")
    return (stem if dot and stem and ending.isalnum() and len(ending) <= 9 else last) or host


def _read(text: str, depth: int) -> Link:
    text = _tidy(text)
    if len(text) <= URL_LIMIT and _PLAIN.fullmatch(text) and not _PLAIN_BUT.search(text):
        return Link("direct", text)
    if len(text) > URL_LIMIT:
        raise FormatError("link", f"longer than {URL_LIMIT} characters")
    if _UNPRINTABLE.search(text):
        raise FormatError("link", "control characters in it")
    if found := _LEADING_ID.fullmatch(text):
        return Link("unknown", found[1].lower())
    scheme = _SCHEME.match(text)
    match scheme[1].lower() if scheme else "":
        case "http" | "https":
            return _from_http(text, depth)
        case "acestream":
            return _from_ace(text, "unknown", depth)
        case "infohash":
            return _from_ace(text, "infohash", depth)
        case "magnet":
            return _from_magnet(text)
        case "plugin":
            inner = unwrap(text)
            if inner == text or depth <= 0:
                raise FormatError("link", "a plugin:// URL in which no stream is named")
            return _read(split_headers(inner)[0], depth - 1)
        case "":
            raise FormatError("link", "not a URL")
        case known if _KNOWN_SCHEME.fullmatch(known):
            raise FormatError("link", f"{known}: can't be played here")
        case _:
            raise FormatError("link", "a URL of an unknown kind")


def _tidy(text: str) -> str:
    return text.strip().strip("\"'<>").strip().replace("&amp;", "&")


def _query(text: str) -> dict[str, str]:
    """The first value that says anything of each parameter; names in lower case."""
    found: dict[str, str] = {}
    try:
        for name, value in parse_qsl(text.partition("#")[0], max_num_fields=_PARAMETERS):
            found.setdefault(name.strip().lower(), _tidy(value))
    except ValueError:  # more parameters than any player sends
        return {}
    return found


def _from_ace(text: str, kind: Kind, depth: int) -> Link:
    """`acestream:` in its short and its query form (§6)."""
    rest = text.partition(":")[2]
    if rest[:3].lower() == "%3f":
        rest = unquote(rest)
    rest = rest.strip("/ ")
    if rest.startswith("?"):
        return _selected(_query(rest[1:]), depth)
    if found := _LEADING_ID.fullmatch(rest):
        return Link(kind, found[1].lower())
    if "=" in rest and rest.startswith(_SELECTORS):  # the question mark was lost
        return _selected(_query(rest), depth)
    raise FormatError("link", "an AceStream link without 40 hexadecimal digits")


def _selected(query: Mapping[str, str], depth: int) -> Link:
    """The content that an engine's parameters name."""
    for name in _SELECTORS:
        value = query.get(name, "")
        if not value:
            continue
        match name:
            case "content_id" | "id" | "infohash":
                bare = _ACE_PREFIX.sub("", value, count=1)
                if found := _LEADING_ID.fullmatch(bare):
                    return Link(_ALIASES[name], found[1].lower())
                if name == "infohash" and _BASE32_ID.fullmatch(bare):
                    return Link("infohash", _from_base32(bare))
                raise FormatError("link", f"{name}= takes 40 hexadecimal digits")
            case "magnet":
                return _from_magnet(value)
            case _:
                if _ACE_LINK.match(value) and depth > 0:
                    return _read(value, depth - 1)
                # whatever its name looks like: the engine reads it as a transport file
                return _located(value, "url" if name == "url" else "direct")
    if (link := _aliased(query)) is not None:
        return link
    if "data" in query or "transport_file_data" in query:
        raise FormatError("link", "a transport file given by value")
    raise FormatError("link", "an engine's URL that names no content")


def _aliased(query: Mapping[str, str]) -> Link | None:
    for name, kind in _ALIASES.items():
        value = query.get(name, "")
        if _HEX_ID.fullmatch(bare := _ACE_PREFIX.sub("", value, count=1)):
            return Link(kind, bare.lower())
    return None


def _from_magnet(text: str) -> Link:
    """The v1 infohash of a magnet link (BEP 9), 40 hex or 32 base32 digits; without one, the link
    as it is (BEP 52 has only `urn:btmh:`).
    """
    fields = parse_qsl(text.partition("?")[2])
    for name, value in fields:
        found = _BTIH.fullmatch(value.strip()) if name.partition(".")[0].lower() == "xt" else None
        if found is None:
            continue
        if _HEX_ID.fullmatch(found[1]):
            return Link("infohash", found[1].lower())
        if _BASE32_ID.fullmatch(found[1]):
            return Link("infohash", _from_base32(found[1]))
    if text[:7].lower() == "magnet:" and any(
        name.partition(".")[0].lower() == "xt" and value.lower().startswith("urn:btmh:")
        for name, value in fields
    ):
        return Link("magnet", quote(text, safe=_KEPT))
    raise FormatError("link", "a magnet link without xt=urn:btih: and an infohash")


def _from_base32(text: str) -> str:
    return base64.b32decode(text.upper()).hex()  # 32 digits of the alphabet always decode


def _from_http(text: str, depth: int) -> Link:
    parts = _split(text)
    path = [unquote(part) for part in parts.path.split("/") if part]
    words = [part.lower() for part in path]
    query = _query(parts.query) if "=" in parts.query else {}
    for word, after, third in zip(words, (*path[1:], ""), (*words[2:], "", ""), strict=False):
        match word, after.lower():
            case "ace", "getstream" | "manifest.m3u8":
                if _HEX_ID.fullmatch(third):
                    return Link("unknown", third)
                return _selected(query, depth)
            case "ace", "r" | "m" if _HEX_ID.fullmatch(third):
                return Link("infohash", third)
            case "hls", "manifest.m3u8" | "getstream" if "manifest_url" in query:
                return _located(query["manifest_url"], "direct")
            case "url" | "torrent", _ if inner := _encoded_url(after):
                return _located(inner, "url")
            case _, hex_id if word in _PATH_IDS and _HEX_ID.fullmatch(hex_id):
                return Link(_PATH_IDS[word], hex_id)
    if (found := _aliased(query)) is not None:
        return found
    for value in query.values():
        if _ACE_LINK.match(value) and depth > 0:
            return _read(value, depth - 1)
    transport = parts.path.lower().endswith(_TRANSPORT_FILES)
    return Link("url" if transport else "direct", _sendable(parts))


def _encoded_url(text: str) -> str:
    """The URL in a path segment that was encoded once or twice, '' if there is none."""
    text = unquote(text) if _ENCODED_URL.match(text) else text
    return text if text[:8].lower().startswith(("http://", "https://")) else ""


def _located(text: str, kind: Kind) -> Link:
    scheme = _SCHEME.match(text)
    if scheme is None or scheme[1].lower() not in ("http", "https"):
        raise FormatError("link", "url= takes an address that begins with http:// or https://")
    return Link(kind, _sendable(_split(text)))


def _split(text: str) -> SplitResult:
    try:
        parts = urlsplit(text)
        usable = parts.hostname and parts.port != 0 and " " not in parts.netloc
    except ValueError:
        usable = None
    if not usable or _UNPRINTABLE.search(text):
        raise FormatError("link", "not a usable http:// URL")
    return parts


def _sendable(parts: SplitResult) -> str:
    """The URL with everything percent-encoded that can't stand in a request line."""
    netloc = parts.netloc
    if not netloc.isascii():
        user, at, host = netloc.rpartition("@")
        try:
            netloc = f"{quote(user, safe='%:')}{at}{host.encode('idna').decode('ascii')}"
        except UnicodeError:
            raise FormatError("link", "a host name that can't be written in ASCII") from None
    path, query = (quote(part, safe=_KEPT) for part in (parts.path, parts.query))
    return parts._replace(netloc=netloc, path=path, query=query, fragment="").geturl()
