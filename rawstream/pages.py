"""The dashboard's files: pages, scripts and styles, read once and answered from memory.

Owns: which page is where, what a browser may do with it (CSP), how long it keeps it. Must not know:
what the pages do; they ask `/api/v1` as any script does.

Everything a page needs stands below `/static/STAMP/`, where STAMP is made of all files together: a
browser keeps these for good, and a new version has new addresses. All addresses in pages are
relative, so they work below any prefix of a proxy.
"""

from __future__ import annotations

import functools
import gzip
import hashlib
from collections.abc import Mapping
from importlib.resources import files
from importlib.resources.abc import Traversable
from typing import Final, NamedTuple

from rawstream.connection import Exchange
from rawstream.http1 import Headers, Request, Response, is_known
from rawstream.operators import Operators

POLICY: Final = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' data: blob:",
        "media-src 'self' blob:",
        "connect-src 'self'",
        "worker-src 'self' blob:",
        "frame-ancestors 'none'",
        "base-uri 'none'",
        "form-action 'self'",
    )
)
_TYPES: Final = {
    "html": "text/html; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "css": "text/css; charset=utf-8",
    "svg": "image/svg+xml",
    "json": "application/json",
    "txt": "text/plain; charset=utf-8",
}
_GUARDED: Final[Headers] = (
    ("Content-Security-Policy", POLICY),
    ("X-Content-Type-Options", "nosniff"),
    ("Referrer-Policy", "no-referrer"),
)
_FOR_GOOD: Final = ("Cache-Control", "public, max-age=31536000, immutable")
_ASK_AGAIN: Final = ("Cache-Control", "no-cache")
_STAMP: Final = b"{stamp}"  # in a page, where the stamp goes
_NOT_THERE: Final = Response(404, b"no such page\n", headers=_GUARDED)
_TO_LOGIN: Final = Response(302, headers=(("Location", "login"), ("Cache-Control", "no-store")))


class File(NamedTuple):
    """One file as it is sent. `packed`: gzip, b'' where that saves nothing."""

    content: bytes
    packed: bytes
    content_type: str
    etag: str

    @classmethod
    def of(cls, name: str, content: bytes) -> File:
        packed = gzip.compress(content, 9, mtime=0)
        tag = hashlib.sha256(content).hexdigest()[:24]
        saves = len(packed) < len(content) * 0.9
        return cls(content, packed if saves else b"", _TYPES[name.rpartition(".")[2]], tag)


class Site(NamedTuple):
    """All files by their path below `static`, and the stamp of them all."""

    files: Mapping[str, File]
    stamp: str


@functools.cache
def read_site() -> Site:
    """From the package. Blocks: call it in a thread."""
    found = dict(sorted(_walk(files("rawstream") / "static", "")))
    stamp = hashlib.sha256()
    for name, content in found.items():
        stamp.update(b"%s %d\n%s" % (name.encode(), len(content), content))
    text = stamp.hexdigest()[:16]
    return Site(
        {
            name: File.of(
                name,
                content.replace(_STAMP, text.encode()) if name.endswith(".html") else content,
            )
            for name, content in found.items()
        },
        text,
    )


def _walk(folder: Traversable, under: str) -> list[tuple[str, bytes]]:
    found: list[tuple[str, bytes]] = []
    for entry in folder.iterdir():
        if entry.is_dir():
            found += _walk(entry, f"{under}{entry.name}/")
        elif entry.name.rpartition(".")[2] in _TYPES:
            found.append((f"{under}{entry.name}", entry.read_bytes()))
    return found


class PageEndpoints:
    """The handlers."""

    def __init__(self, operators: Operators, site: Site) -> None:
        self._operators = operators
        self._site = site

    def home(self, request: Request, _exchange: Exchange) -> Response:
        """`/`: the dashboard; who has not logged in is sent to where he can."""
        if self._operators.of(request) is None:
            return _TO_LOGIN
        return self._file("index.html", request)

    def door(self, request: Request, _exchange: Exchange) -> Response:
        """`/login`, and `/setup` with the secret of a one-time link behind its `#`."""
        return self._file("door.html", request)

    def icon(self, request: Request, _exchange: Exchange) -> Response:
        """`/favicon.svg`."""
        return self._file("favicon.svg", request)

    def static(self, request: Request, _exchange: Exchange) -> Response:
        """`/static/NAME`, and the same below the stamp, where it never changes."""
        parts = request.segments[1:]
        stamped = parts[0] == self._site.stamp
        return self._file("/".join(parts[1:] if stamped else parts), request, for_good=stamped)

    def _file(self, name: str, request: Request, *, for_good: bool = False) -> Response:
        file = self._site.files.get(name)
        if file is None:
            return _NOT_THERE
        packs = bool(file.packed) and _takes_gzip(request.headers.get("accept-encoding", ""))
        tag = f'"{file.etag}-gzip"' if packs else f'"{file.etag}"'
        keep = _FOR_GOOD if for_good else _ASK_AGAIN
        headers: Headers = (*_GUARDED, keep, ("ETag", tag), ("Vary", "Accept-Encoding"))
        if is_known(tag, request):
            return Response(304, headers=headers)
        if packs:
            headers = (*headers, ("Content-Encoding", "gzip"))
            return Response(200, file.packed, file.content_type, headers)
        return Response(200, file.content, file.content_type, headers)


def _takes_gzip(said: str) -> bool:
    """RFC 9110 §12.5.3, of which only gzip and its refusal matter here."""
    for one in said.lower().split(","):
        coding, _, weight = one.partition(";")
        if coding.strip() in ("gzip", "*"):
            return weight.replace(" ", "") not in ("q=0", "q=0.0", "q=0.00", "q=0.000")
    return False
