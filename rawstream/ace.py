"""The AceStream dialect: the engine's own URLs, answered by us, as acexy and pyacexy answer them.

Owns: which query parameter names which content, and the shape of the answers under `/ace` and
`/webui/api/service`. Must not know: who may ask (`routes`), how a channel lives (`channels`), any
engine's address; nothing an engine says about itself is handed to a player.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Awaitable, Mapping
from typing import Any
from urllib.parse import parse_qsl, quote, urlsplit

import orjson

from rawstream import __version__
from rawstream.channels import ChannelSnapshot
from rawstream.connection import Exchange
from rawstream.engine_client import ContentRef
from rawstream.errors import ViewerError
from rawstream.film_viewer import Film
from rawstream.films import FilmSnapshot, head_headers
from rawstream.hls_face import HlsEndpoints
from rawstream.http1 import Request, Response
from rawstream.hub import ChannelHub

# What a stream's head says besides Content-Type (xtream reference §9.1): no length, no ranges,
# nothing to cache, nothing for a proxy to gather. HEAD and GET must agree.
STREAM_HEADERS: tuple[tuple[str, str], ...] = (
    ("Cache-Control", "no-cache, no-store"),
    ("Accept-Ranges", "none"),
    ("X-Accel-Buffering", "no"),
    ("Access-Control-Allow-Origin", "*"),
)
STREAM_CONTENT_TYPE = "video/mp2t"

# The engine version whose behaviour these URLs follow. Clients compare `code` and print `version`,
# so the code is an engine's, and the text says who really answers.
_ENGINE_CODE = 3020300
_ENGINE_VERSION = f"3.2.3 (rawstream {__version__})"

_HEX_ID = re.compile(r"[0-9a-fA-F]{40}")
_BASE32_ID = re.compile(r"[2-7A-Za-z]{32}")
# People paste links where an id is asked for (reference §6).
_LINK_PREFIX = re.compile(r"(?:acestream|infohash):(?://)?", re.IGNORECASE)
_BTIH = re.compile(r"urn:btih:(.+)", re.IGNORECASE)
_TRANSPORT_FILES = (".acelive", ".acestream", ".acemedia", ".torrent")
_JSONP_CALLBACK = re.compile(r"[A-Za-z_$][\w$.]{0,63}", re.ASCII)
_NOT_RUNNING = frozenset({"idle", "stopping", "failed"})
_URL_CHARACTERS = "%/:=&?~#+!$,;'@()*[]"

_JSON = "application/json"


def content_of(query: Mapping[str, str]) -> ContentRef:
    """Which content a query asks for.

    The precedence is the engine's: content_id > infohash > url > magnet (reference §1.1). `id` is
    its old alias of content_id, but lists put infohashes there as well (§6), so it becomes the kind
    `unknown`. An empty parameter counts as absent; all others (pid, sid, format, …) say nothing
    about the content and are not looked at.

    Raises ViewerError 400 with a sentence for whoever typed the URL.
    """
    for parameter in ("content_id", "id", "infohash", "url", "magnet"):
        value = query.get(parameter, "").strip().strip("\"'").strip()
        if not value:
            continue
        match parameter:
            case "content_id":
                return ContentRef("content_id", _hex_id(parameter, value))
            case "id":
                return ContentRef("unknown", _hex_id(parameter, value))
            case "infohash":
                return ContentRef("infohash", _hex_id(parameter, value))
            case "url":
                return _from_url(value)
            case _:
                return ContentRef("infohash", _from_magnet(value))
    raise ViewerError(400, "say what to play: id=, content_id=, infohash=, url= or magnet=")


def _hex_id(parameter: str, value: str) -> str:
    text = _LINK_PREFIX.sub("", value, count=1).rstrip("/")
    if not _HEX_ID.fullmatch(text):
        raise ViewerError(400, f"{parameter}= takes 40 hexadecimal digits; this is something else")
    return text.lower()


def _from_url(value: str) -> ContentRef:
    """A transport file is the engine's to read (reference §6), any other URL is a TS of its own."""
    if " " in value or not value.isprintable():
        # decoded from the query: a line break in here would end up in a request line of ours
        raise ViewerError(400, "url= holds blanks or control characters")
    try:
        parts = urlsplit(value)
        usable = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:
        usable = False
    if not usable or not parts.netloc.isascii():
        raise ViewerError(400, "url= takes an address that begins with http:// or https://")
    path, query = (quote(part, safe=_URL_CHARACTERS) for part in (parts.path, parts.query))
    text = parts._replace(path=path, query=query, fragment="").geturl()
    return ContentRef("url" if path.lower().endswith(_TRANSPORT_FILES) else "direct", text)


def _from_magnet(value: str) -> str:
    """The infohash in a magnet link's `xt=urn:btih:…`, 40 hex or 32 base32 digits (BEP 9)."""
    scheme, _, query = value.partition("?")
    if scheme.lower() == "magnet:":
        for name, text in parse_qsl(query):
            found = _BTIH.fullmatch(text) if name.partition(".")[0] == "xt" else None
            if found is None:
                continue
            if _HEX_ID.fullmatch(found[1]):
                return found[1].lower()
            if _BASE32_ID.fullmatch(found[1]):
                try:
                    return base64.b32decode(found[1].upper()).hex()
                except binascii.Error:
                    break
    raise ViewerError(400, "magnet= takes a link with xt=urn:btih: and 40 hex or 32 base32 digits")


class AceEndpoints:
    """The handlers of the AceStream URLs. One per server."""

    __slots__ = ("_hls", "_hub")

    def __init__(self, hub: ChannelHub, hls: HlsEndpoints) -> None:
        self._hub = hub
        self._hls = hls

    def getstream(self, request: Request, exchange: Exchange) -> Awaitable[None] | None:
        """`/ace/getstream`: the content's MPEG-TS, or its file when it is a film. HEAD starts
        nothing; only what has turned out to be a film is told of as one.

        Raises ViewerError (400) for a query that names no content.
        """
        ref = content_of(request.query)
        if request.method != "HEAD":
            self._hub.watch(ref, exchange, headers=STREAM_HEADERS)
            return None
        film = self._hub.film(ref)
        if film is not None:
            return self._film_head(film, exchange)
        exchange.stream(STREAM_HEADERS, STREAM_CONTENT_TYPE)  # to HEAD the head is the answer
        return None

    async def _film_head(self, film: Film, exchange: Exchange) -> None:
        headers, content_type, length = head_headers(film, await self._hub.films.head(film))
        exchange.stream(headers, content_type, content_length=length)

    def manifest(self, request: Request, exchange: Exchange) -> None:
        """`/ace/manifest.m3u8`: the content's HLS playlist. Raises ViewerError (400, 503)."""
        self._hls.content(content_of(request.query), request, exchange)

    def status(self, request: Request, _exchange: Exchange) -> Response:
        """`/ace/status`: pyacexy's two answers.

        Without a content: `{"streams": n}`, the channels that run. With one: `clients`,
        `stream_id`, `stat_url` and more about that channel, or 404 `{"error": …}` when it does not
        run.

        Raises ViewerError (400) for a content that can't be read.
        """
        if not any(
            request.query.get(name) for name in ("content_id", "id", "infohash", "url", "magnet")
        ):
            running = self._hub.running
            return _json(200, {"streams": running})
        ref = content_of(request.query)
        film = self._hub.find_film(ref)
        if film is not None:
            return _json(200, _describe_film(ref, film))
        channel = self._hub.find(ref)
        if channel is None or channel.state in _NOT_RUNNING:
            return _json(404, {"error": "stream not found"})
        return _json(200, _describe(ref, channel))

    def service(self, request: Request, _exchange: Exchange) -> Response:
        """`/webui/api/service`: get_version, the question whether an engine is there (§5.1)."""
        answer: dict[str, Any] = {"result": None, "error": "unknown method"}
        if request.query.get("method") == "get_version":
            version = {"code": _ENGINE_CODE, "platform": "linux", "version": _ENGINE_VERSION}
            answer = {"result": version, "error": None}
        callback = request.query.get("callback", "")
        if request.query.get("format") == "jsonp" and callback:
            if not _JSONP_CALLBACK.fullmatch(callback):
                raise ViewerError(400, "callback= takes the name of a function")
            body = b"%s(%s);" % (callback.encode("ascii"), orjson.dumps(answer))
            headers = (("X-Content-Type-Options", "nosniff"),)
            return Response(200, body, "application/javascript", headers)
        return _json(200, answer)


def _describe(ref: ContentRef, channel: ChannelSnapshot) -> dict[str, Any]:
    """One channel for scripts. Keys before the comment are pyacexy's, those after it ours."""
    key, value = (
        ("infohash", channel.infohash) if channel.infohash else (_parameter(ref), ref.value)
    )
    assert value is not None, "a content has a value"
    return {
        "clients": len(channel.viewers) + channel.held,
        "stream_id": ref.value,
        # our own page: an engine's address is nobody's business, and its stat URL wants one poller
        "stat_url": f"/ace/status?{key}={quote(value, safe='')}",
        # -- ours --
        "waiting": channel.held,
        "state": channel.state,
        "state_seconds": round(channel.state_seconds, 1),
        "infohash": channel.infohash,
        "bitrate": round(channel.bitrate),
        "peers": channel.peers,
        "speed_down": channel.speed_down,
        "speed_up": channel.speed_up,
        "codecs": channel.codecs,
    }


def _describe_film(ref: ContentRef, film: FilmSnapshot) -> dict[str, Any]:
    """The same of a film."""
    return {
        "clients": len(film.viewers) + film.held,
        "stream_id": ref.value,
        "stat_url": f"/ace/status?{_parameter(ref)}={quote(ref.value, safe='')}",
        # -- ours --
        "waiting": film.held,
        "state": film.state,
        "infohash": film.infohash,
        "length": film.length,
        "peers": film.peers,
        "speed_down": film.speed_down,
    }


def _parameter(ref: ContentRef) -> str:
    return {"unknown": "id", "direct": "url"}.get(ref.kind, ref.kind)


def _json(status: int, value: dict[str, Any]) -> Response:
    return Response(status, orjson.dumps(value) + b"\n", _JSON, (("Cache-Control", "no-store"),))
