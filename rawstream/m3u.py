"""Channel lists in M3U, read as they are found.

Owns: lines and their charset, `#EXTINF` and its attributes, the directives that bear on an entry,
what is a channel list at all. Must not know: sockets, the loop, files, accounts, which channels
exist. Links are `acelink`'s, the form in which we write a list `m3u_writer`'s. Section signs are
those of the Xtream reference.

A list is read line by line and its entries come out as they are complete, so that memory doesn't
grow with it. Nothing in a list raises, however broken; only what is no channel list is refused.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal, NamedTuple
from urllib.parse import urljoin

from rawstream.acelink import Link, name_in, read_link, split_headers, unwrap
from rawstream.errors import FormatError
from rawstream.extinf import (
    ATTRIBUTES_LIMIT,
    NAME_LIMIT,
    VALUE_LIMIT,
    Extinf,
    cleaned,
    read_extinf,
    split_attributes,
    without_controls,
)
from rawstream.textlines import LINE_LIMIT_BYTES, TEXT_LIMIT_BYTES, Line, TextLines

PROOF_LIMIT_BYTES: Final = 64 * 1024  # §7: by here a list has shown that it is one
GROUPS_LIMIT: Final = 16  # per entry
GUIDES_LIMIT: Final = 64
WARNINGS_LIMIT: Final = 200

Found = Literal["hls", "html", "xml", "json", "binary", "text", "empty"]

_FOUND: Final[Mapping[Found, str]] = {
    "hls": "an HLS playlist: the stream of one channel, not a list of channels",
    "html": "a web page",
    "xml": "an XML document",
    "json": "a JSON document",
    "binary": "binary data",
    "text": "text without a channel in it",
    "empty": "nothing in it",
}

# -- lines --
_SCHEME: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*+:")
_HEX_ID: Final = re.compile(r"[0-9a-fA-F]{40}(?![0-9a-zA-Z])")
_ACE_INSIDE: Final = re.compile(r"\b(?:acestream|infohash):(?://|\?|%3f)\S++", re.IGNORECASE)
_LINK_BEGINS: Final = re.compile(
    r"[a-z][a-z0-9+.-]*+://|acestream:|infohash:|magnet:\?", re.IGNORECASE
)
_HLS_TAG: Final = re.compile(
    r"#EXT-X-(?:TARGETDURATION|STREAM-INF|MEDIA-SEQUENCE|MEDIA:|I-FRAME)", re.IGNORECASE
)
_OPTION: Final = re.compile(r"#(EXTVLCOPT|KODIPROP)[:\s-]*+([^=]++)=(.*)", re.IGNORECASE)
_GUIDE_SPLIT: Final = re.compile(r"(?<![,;\s])[,;\s]++(?=https?://)", re.IGNORECASE)
_NUMBER: Final = re.compile(r"[+-]?\d{1,6}(?:[.,]\d{1,6})?")
_HTTP: Final = re.compile(r"https?://", re.IGNORECASE)
_NO_TEXT: Final = re.compile(r"[\x00-\x08\x0e-\x1a\ufffd]")
_JSON: Final = re.compile(r'(?:\{|\[)\s*(?:["{}\[\]]|$)')

_GUIDE_KEYS: Final = ("x-tvg-url", "url-tvg", "tvg-url")  # in the order in which Kodi asks for them

# -- headers --
_HEADER_NAME: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,64}")
_HEADER_VALUE: Final = re.compile(r"[\t\x20-\x7e\xa0-\xff]{1,2048}")
_HEADER_NAMES: Final = {
    "user-agent": "User-Agent",
    "http-user-agent": "User-Agent",
    "referer": "Referer",
    "referrer": "Referer",
    "http-referer": "Referer",
    "http-referrer": "Referer",
    "http-origin": "Origin",
    "http-cookie": "Cookie",
}
_VLC_HEADERS: Final = (
    "http-user-agent",
    "http-referrer",
    "http-referer",
    "http-origin",
    "http-cookie",
)
_ATTRIBUTE_HEADERS: Final = (
    "http-user-agent",
    "user-agent",
    "http-referrer",
    "http-referer",
    "referrer",
)
_KODI_HEADERS: Final = (
    "inputstream.adaptive.common_headers",
    "inputstream.adaptive.manifest_headers",
    "inputstream.adaptive.stream_headers",
)
# Ours to write, since they frame the request and its answer.
_OUR_HEADERS: Final = frozenset(
    {"host", "content-length", "transfer-encoding", "connection", "keep-alive", "te", "trailer"}
    | {"upgrade", "expect", "range", "accept-encoding", "proxy-connection", "proxy-authorization"}
)
# What stands among the headers of a Kodi URL and is a switch of its curl.
_KODI_SWITCHES: Final = frozenset(
    {"seekable", "verifypeer", "verifyhost", "sslcipherlist", "connection-timeout", "failonerror"}
    | {"redirect-limit", "postdata", "active-remote", "noshout", "acceptencoding", "auth"}
    | {"customrequest", "mimetype"}
)


class NotAList(FormatError):
    """What was given is no channel list; `found` says what it is instead."""

    def __init__(self, found: Found, offset: int = -1) -> None:
        super().__init__("channel list", _FOUND[found], offset)
        self.found: Found = found


class LineWarning(NamedTuple):
    """What was wrong with a line, counted from 1 (0: the whole); `reason` has nothing of a URL."""

    line: int
    reason: str


@dataclass(frozen=True, slots=True)
class Entry:
    """One channel of a list.

    `name`: never empty; `named` is whether the list gave it (else it is `tvg-name`, `tvg-id` or
    made of the URL). `link`: where it plays. `url`: as given, without the header suffix; it may
    hold a password. `attributes`: all of them, keys in lower case. `groups`: of `group-title`, else
    of the `#EXTGRP` in force. `number`: '5' or '5.1', '' without one. `tvg_shift`: hours.
    `catchup`, `catchup_source`, `catchup_days`: its own or the list's; `catchup` is Kodi's mode.
    `headers`: to be sent for the stream, fit to be sent. `duration`: whole seconds, 0 where none is
    given, as of what is live. `line`: where its URL stood.
    """

    name: str
    link: Link = field(repr=False)
    url: str = field(repr=False)
    attributes: Mapping[str, str] = field(default_factory=dict, repr=False)
    groups: tuple[str, ...] = ()
    tvg_id: str = ""
    tvg_name: str = ""
    tvg_logo: str = field(default="", repr=False)
    number: str = ""
    tvg_shift: float = 0.0
    catchup: str = ""
    catchup_source: str = field(default="", repr=False)
    catchup_days: int = 0
    radio: bool = False
    headers: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    vlc_options: Mapping[str, str] = field(default_factory=dict, repr=False)
    kodi_properties: Mapping[str, str] = field(default_factory=dict, repr=False)
    named: bool = True
    duration: int = 0
    line: int = field(default=0, compare=False)


@dataclass(frozen=True, slots=True)
class Ending:
    """What the end of a list tells.

    `last`: the entry whose URL was the last line and had no line end, to be thrown away by whoever
    knows that the transfer was cut. `truncated`: the list stops inside an entry, or could not be
    unpacked to its end. `entries` counts all, `last` included; `dropped`: what had no URL, or none
    that can be played. `warnings`: the first of them; `warning_count`: how many there were.
    """

    last: Entry | None
    truncated: bool
    entries: int
    dropped: int
    warnings: tuple[LineWarning, ...]
    warning_count: int
    title: str
    attributes: Mapping[str, str] = field(repr=False)
    guide_urls: tuple[str, ...] = field(repr=False)


class M3uReader:
    """Bytes of one channel list in, entries out.

    `base_url`: the list's own address, for relative URLs. `charset`: what its sender said it is
    written in; `textlines` says what is made of that. gzip and xz are unpacked.

    `attributes`, `guide_urls` and `title` are those read so far, of the `#EXTM3U` lines and
    `#PLAYLIST`.
    """

    __slots__ = (
        "_base_url",
        "_binary",
        "_extinf",
        "_failure",
        "_group",
        "_hls",
        "_http_headers",
        "_kodi",
        "_lines",
        "_opening",
        "_proven",
        "_vlc",
        "_warnings",
        "attributes",
        "dropped",
        "entries",
        "guide_urls",
        "title",
        "warning_count",
    )

    def __init__(
        self, *, base_url: str = "", charset: str = "", list_limit_bytes: int = TEXT_LIMIT_BYTES
    ) -> None:
        self._base_url = base_url
        self._lines = TextLines(charset=charset, text_limit_bytes=list_limit_bytes)
        # whether it is a list
        self._opening = ""  # the first line with something in it
        self._binary = False
        self._proven = False
        self._hls = False
        self._failure: FormatError | None = None
        # the entry at hand
        self._extinf: Extinf | None = None
        self._group = ""
        self._vlc: dict[str, str] = {}
        self._kodi: dict[str, str] = {}
        self._http_headers: dict[str, str] = {}
        # what was read
        self.attributes: dict[str, str] = {}
        self.guide_urls: list[str] = []
        self.title = ""
        self.entries = 0
        self.dropped = 0
        self._warnings: list[LineWarning] = []
        self.warning_count = 0

    def feed(self, data: bytes) -> list[Entry]:
        """Take any piece of the list; the entries that it completes.

        Raises NotAList when this is no channel list; FormatError when it is longer than
        `list_limit_bytes` or packed in a way that isn't read. Once raised, it is raised again.
        """
        return self._read(self._lines.feed(data))

    def finish(self) -> Ending:
        """The list has ended. Raises what `feed` raises, and NotAList of a list without a line."""
        last = self._read(self._lines.finish())
        truncated = bool(self._lines.damage)
        if truncated:
            self._warn(0, f"unpacking stopped before the end: {self._lines.damage}")
        if self._extinf is not None:
            truncated = True
            self._drop(self._extinf.line, "the list ends before the URL of this #EXTINF")
            self._extinf = None
        if not self.entries and (self._hls or not self._proven):
            raise self._refused()
        return Ending(
            last=last[0] if last else None,
            truncated=truncated,
            entries=self.entries,
            dropped=self.dropped,
            warnings=tuple(self._warnings),
            warning_count=self.warning_count,
            title=self.title,
            attributes=dict(self.attributes),
            guide_urls=tuple(self.guide_urls),
        )

    def _read(self, lines: Iterator[Line]) -> list[Entry]:
        if self._failure is not None:
            raise self._failure
        found: list[Entry] = []
        try:
            for number, offset, text, whole in lines:
                if not self._proven and text:
                    self._opening = self._opening or text[:NAME_LIMIT]
                    self._binary = self._binary or _NO_TEXT.search(text) is not None
                if not whole:
                    self._warn(number, f"longer than {LINE_LIMIT_BYTES} bytes, left out")
                elif text[:1] == "#":
                    self._directive(number, text)
                elif text and (entry := self._location(number, text)) is not None:
                    self.entries += 1
                    found.append(entry)
                if not self._proven and (offset > PROOF_LIMIT_BYTES or not whole):
                    raise self._refused()
        except FormatError as failure:
            self._failure = failure
            raise
        return found

    # -- whether it is a list --

    def _refused(self) -> NotAList:
        opening = self._opening
        if self._hls:
            return NotAList("hls")
        if not opening:
            return NotAList("empty")
        if opening[:1] == "<":
            xml = opening[:5].lower() == "<?xml" and "html" not in opening.lower()
            return NotAList("xml" if xml or opening[:3] == "<tv" else "html")
        if _JSON.match(opening):
            return NotAList("json")
        return NotAList("binary" if self._binary else "text")

    def _is_foreign(self) -> bool:
        """Whether this began as another kind of document.

        A page holds lines that look like links; only a directive shows that a list follows, behind
        a server's warnings for instance.
        """
        return self._opening[:1] == "<" or _JSON.match(self._opening) is not None

    # -- lines --

    def _directive(self, number: int, text: str) -> None:
        head = text[:11].upper()
        if head.startswith("#EXTINF"):
            self._proven = True
            if self._extinf is not None:
                self._drop(self._extinf.line, "no URL follows this #EXTINF")
                self._forget_entry()
            self._extinf = read_extinf(number, text)
            if self._extinf.left_out:
                self._warn(number, "too many attributes, or one that is too long")
        elif head.startswith(("#EXTVLCOPT", "#KODIPROP")):
            self._option(number, text)
        elif head.startswith("#EXTGRP"):
            self._group = cleaned(text[8:])[:VALUE_LIMIT]
        elif head.startswith("#EXTM3U"):
            self._proven = True
            self._header(number, text[7:])
        elif head.startswith("#EXT-X-"):
            if not self.entries and _HLS_TAG.match(text):
                self._hls = True
        elif head.startswith("#EXTHTTP"):
            self._json_headers(number, text.partition(":")[2])
        elif head.startswith("#EXTENC"):
            self._lines.charset = text[8:].strip()
        elif head.startswith("#PLAYLIST"):
            self.title = self.title or cleaned(text[10:])[:NAME_LIMIT]

    def _header(self, number: int, text: str) -> None:
        pairs, _ = split_attributes(text)
        for key, value in pairs:
            if key in _GUIDE_KEYS:
                continue
            if value and (key in self.attributes or len(self.attributes) < ATTRIBUTES_LIMIT):
                self.attributes[key] = value
        for guide_key in _GUIDE_KEYS:
            for key, value in pairs:
                if key == guide_key and value:
                    self._guides(number, value)

    def _guides(self, number: int, value: str) -> None:
        for url in _GUIDE_SPLIT.split(value):
            if not _HTTP.match(url):
                self._warn(number, "a guide that is not given by an http:// URL")
            elif url not in self.guide_urls and len(self.guide_urls) < GUIDES_LIMIT:
                self.guide_urls.append(url)

    def _option(self, number: int, text: str) -> None:
        found = _OPTION.match(text)
        if found is None:
            self._warn(number, "an option without a value")
            return
        options = self._vlc if found[1].upper() == "EXTVLCOPT" else self._kodi
        key, value = found[2].strip().lower(), found[3].strip()
        if len(value) > 1 and value[0] == value[-1] and value[0] in "\"'":
            value = value[1:-1]
        if len(options) >= ATTRIBUTES_LIMIT or len(key) > NAME_LIMIT or len(value) > VALUE_LIMIT:
            self._warn(number, "too many options, or one that is too long")
        else:
            options[without_controls(key)] = without_controls(value)

    def _json_headers(self, number: int, text: str) -> None:
        try:
            found = json.loads(text)
        except (ValueError, RecursionError):
            found = None
        if not isinstance(found, dict) or len(found) > ATTRIBUTES_LIMIT:
            self._warn(number, "#EXTHTTP takes an object of headers")
            return
        for name, value in found.items():
            if isinstance(value, str):
                self._http_headers[name] = value

    def _location(self, number: int, text: str) -> Entry | None:
        if not self._proven and self._is_foreign():
            return None
        extinf = self._extinf
        if self._hls and not self.entries:
            # a channel's #EXTINF has attributes, or no length
            if extinf is None or not (extinf.attributes or extinf.duration in ("", "0", "-1")):
                raise NotAList("hls")
            self._hls = False
        given = text = text.strip("\"'<>").strip()
        name = ""
        if not _LINK_BEGINS.match(text) and (found := _ACE_INSIDE.search(text)) is not None:
            name, given = cleaned(text[: found.start()].rstrip(" \t:=|,;>-")), found[0]
        elif not _SCHEME.match(text) and not _HEX_ID.match(text):
            if extinf is None or (" " in text and text[:1] not in "./"):
                self._passed_over(number)
                return None
            if not self._base_url:
                self._unusable(number, "a relative URL, and the list has no address")
                return None
            try:
                given = urljoin(self._base_url, text)
            except ValueError:
                self._unusable(number, "a relative URL that leads nowhere")
                return None
        url, suffix = split_headers(unwrap(given))
        try:
            link = read_link(url)
        except FormatError as error:
            if not _LINK_BEGINS.match(given) and (extinf is None or " " in given):
                self._passed_over(number)  # prose with a colon in it
                return None
            self._unusable(number, error.reason)
            return None
        self._proven = True
        return self._entry(number, link, given, url, name, suffix)

    def _entry(
        self,
        number: int,
        link: Link,
        given: str,
        url: str,
        name: str,
        suffix: Sequence[tuple[str, str]],
    ) -> Entry:
        extinf = self._extinf
        attributes = extinf.attributes if extinf is not None else {}
        get = attributes.get
        defaults = self.attributes.get
        tvg_id = get("tvg-id") or get("channel-id") or get("cuid") or ""
        tvg_name = get("tvg-name") or ""
        name = (extinf.name if extinf is not None else "") or name
        grouping = get("group-title") or self._group
        parts = (part.strip()[:NAME_LIMIT] for part in grouping.split(";"))
        groups = tuple(dict.fromkeys(filter(None, parts)))[:GROUPS_LIMIT]
        shown = name or tvg_name or tvg_id or cleaned(name_in(given)) or link.value
        entry = Entry(
            name=shown[:NAME_LIMIT].strip(),
            link=link,
            url=url,
            attributes=attributes,
            groups=groups,
            tvg_id=tvg_id,
            tvg_name=tvg_name,
            tvg_logo=get("tvg-logo") or get("logo") or "",
            number=_number(get("tvg-chno") or get("ch-number") or get("channel-number") or ""),
            tvg_shift=_hours(get("tvg-shift") or defaults("tvg-shift") or ""),
            catchup=(get("catchup") or get("catchup-type") or defaults("catchup") or "").lower(),
            catchup_source=get("catchup-source") or defaults("catchup-source") or "",
            catchup_days=_days(
                get("catchup-days")
                or get("timeshift")
                or get("tvg-rec")
                or defaults("catchup-days")
                or ""
            ),
            radio=(get("radio") or "").lower() in ("true", "1", "yes"),
            headers=self._headers(number, attributes, suffix),
            vlc_options=self._vlc,
            kodi_properties=self._kodi,
            named=bool(name),
            duration=_whole_seconds(extinf.duration) if extinf is not None else 0,
            line=number,
        )
        self._forget_entry()
        return entry

    def _headers(
        self, number: int, attributes: Mapping[str, str], suffix: Sequence[tuple[str, str]]
    ) -> tuple[tuple[str, str], ...]:
        """The headers of an entry; what stands nearer to the URL counts more."""
        if not (suffix or self._vlc or self._kodi or self._http_headers) and (
            attributes.keys().isdisjoint(_ATTRIBUTE_HEADERS)
        ):
            return ()
        given = [(key, attributes[key]) for key in _ATTRIBUTE_HEADERS if attributes.get(key)]
        given += [(key, self._vlc[key]) for key in _VLC_HEADERS if self._vlc.get(key)]
        for key in _KODI_HEADERS:
            if value := self._kodi.get(key):
                given += split_headers(f"|{value}")[1]
        given += [*self._http_headers.items(), *suffix]
        headers: dict[str, tuple[str, str]] = {}
        for name, value in given:
            lower = name.lower()
            if lower in _KODI_SWITCHES:
                continue
            name = _HEADER_NAMES.get(lower, name)
            if (
                lower in _OUR_HEADERS
                or not _HEADER_NAME.fullmatch(name)
                or not _HEADER_VALUE.fullmatch(value)
            ):
                self._warn(number, "a header that can't be sent")
            elif len(headers) < ATTRIBUTES_LIMIT:
                headers[name.lower()] = (name, value)
        return tuple(headers.values())

    def _passed_over(self, number: int) -> None:
        if self._proven:
            self._warn(number, "neither a URL nor a directive")

    def _unusable(self, number: int, reason: str) -> None:
        self._drop(number, reason)
        self._forget_entry()

    def _forget_entry(self) -> None:
        self._extinf = None
        self._vlc, self._kodi, self._http_headers = {}, {}, {}

    def _drop(self, number: int, reason: str) -> None:
        self.dropped += 1
        self._warn(number, reason)

    def _warn(self, number: int, reason: str) -> None:
        self.warning_count += 1
        if len(self._warnings) < WARNINGS_LIMIT:
            self._warnings.append(LineWarning(number, reason))


# -- values --


def _number(text: str) -> str:
    found = _NUMBER.fullmatch(text)
    return text.lstrip("+").replace(",", ".") if found and not text.startswith("-") else ""


def _hours(text: str) -> float:
    return float(text.replace(",", ".")) if _NUMBER.fullmatch(text) else 0.0


def _whole_seconds(text: str) -> int:
    return 0 if text in ("-1", "0", "") else max(0, int(_hours(text)))


def _days(text: str) -> int:
    return max(0, int(_hours(text)))
