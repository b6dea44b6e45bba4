"""Channel logos that are ours: files in the data directory's `logos`, served under `/logos/`.

Owns: which files are served, and as what. Must not know: which channel has which logo.

A channel's logo is `/logos/NAME` then; players get it with the address they know us by.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable
from pathlib import Path
from typing import Final

from rawstream.connection import Exchange
from rawstream.http1 import Request, Response

FOLDER: Final = "logos"
_TYPES: Final = {
    "png": "image/png",
    "jpg": "image/jpeg",
    "jpeg": "image/jpeg",
    "gif": "image/gif",
    "webp": "image/webp",
}
_NAME: Final = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,99}\.([A-Za-z]{3,4})")
_LIMIT_BYTES: Final = 1024 * 1024
_NOT_THERE: Final = Response(404, b"no such logo\n")


class LogoEndpoint:
    """The handler of `/logos/{name}`."""

    def __init__(self, data: Path) -> None:
        self._folder = data / FOLDER

    def logo(self, request: Request, _exchange: Exchange) -> Response | Awaitable[Response]:
        """A picture of at most 1 MiB; 404 for anything else."""
        found = _NAME.fullmatch(request.segments[-1])
        content_type = _TYPES.get(found[1].lower()) if found is not None else None
        if content_type is None:
            return _NOT_THERE
        known = request.headers.get("if-none-match", "")
        return asyncio.to_thread(_read, self._folder / request.segments[-1], content_type, known)


def _read(path: Path, content_type: str, known: str) -> Response:
    try:
        with path.open("rb") as file:
            data = file.read(_LIMIT_BYTES + 1)
        etag = f'"{path.stat().st_mtime_ns:x}-{len(data):x}"'
    except OSError:
        return _NOT_THERE
    if len(data) > _LIMIT_BYTES:
        return _NOT_THERE
    headers = (("Cache-Control", "public, max-age=86400"), ("ETag", etag))
    if etag in known:
        return Response(304, headers=headers)
    nosniff = ("X-Content-Type-Options", "nosniff")
    return Response(200, data, content_type, (*headers, nosniff))
