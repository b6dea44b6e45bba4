"""Logos of other people's servers, fetched once and kept: in the data directory's `logo-cache`.

Owns: what counts as a picture, how long one is kept, how many, what is not asked for again. Must
not know: which channel has which logo, who wants to see it.

Pages may be HTTPS, and half of all logo hosts are dead or slow: a browser is to ask us alone.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final, NamedTuple

from rawstream.errors import StateError, UpstreamError
from rawstream.fetch import fetch
from rawstream.fetch_policy import FetchPolicy

FOLDER: Final = "logo-cache"
LIMIT_BYTES: Final = 1024 * 1024
KEPT_FILES: Final = 5000
FRESH_SECONDS: Final = 7 * 86_400
RETRY_SECONDS: Final = 3600.0  # until a URL that gave no picture is asked again
_TOTAL_SECONDS: Final = 20.0
_READ_SECONDS: Final = 10.0
_AT_ONCE: Final = 6
_FAILED_KEPT: Final = 20_000
# by their first bytes; no SVG: it may hold scripts
_MAGIC: Final = (
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"GIF87a", "image/gif"),
    (b"GIF89a", "image/gif"),
)


class Picture(NamedTuple):
    """`tag`: another one for other content, without quotes."""

    content: bytes
    content_type: str
    tag: str


class _Kept(NamedTuple):
    picture: Picture
    age_seconds: float


class LogoCache:
    """All of them. `clock`: seconds since 1970, as the file system has them."""

    def __init__(
        self,
        data: Path,
        policy: FetchPolicy,
        *,
        clock: Callable[[], float] = time.time,
        kept_files: int = KEPT_FILES,
    ) -> None:
        self._folder = data / FOLDER
        self._policy = policy
        self._clock = clock
        self._kept_files = kept_files
        self._failed: dict[str, float] = {}
        self._running: dict[str, asyncio.Task[Picture | None]] = {}
        self._slots = asyncio.Semaphore(_AT_ONCE)

    async def get(self, url: str, *, named_by: str | None = "") -> Picture | None:
        """The picture of a URL; None: it gives none. `named_by`: the URL of the list that names it,
        '' for somebody of ours, None where nobody knows any more; what comes from a public address,
        or may have, must not lead into private networks.
        """
        path = self._folder / hashlib.sha256(url.encode()).hexdigest()[:40]
        kept = await asyncio.to_thread(_read, path, self._clock())
        if kept is not None and kept.age_seconds < FRESH_SECONDS:
            return kept.picture
        old = kept.picture if kept is not None else None
        if self._failed.get(url, 0.0) > self._clock():
            return old
        task = self._running.get(url)
        if task is None:
            task = asyncio.create_task(self._fetch(url, path, named_by), name="logo")
            self._running[url] = task
            task.add_done_callback(lambda _: self._running.pop(url, None))
        # who gives up waiting takes nothing from the others who wait for the same
        return await asyncio.shield(task) or old

    async def _fetch(self, url: str, path: Path, named_by: str | None) -> Picture | None:
        async with self._slots:
            try:
                public = named_by is None or (
                    bool(named_by) and (await self._policy.check(named_by)).public
                )
                found = await fetch(
                    url,
                    policy=self._policy,
                    limit_bytes=LIMIT_BYTES,
                    total_seconds=_TOTAL_SECONDS,
                    read_seconds=_READ_SECONDS,
                    headers={"Accept": "image/png,image/jpeg,image/webp,image/gif"},
                    came_from_public=public,
                )
            except (UpstreamError, StateError):
                found = None
            picture = _picture(found.body) if found is not None and found.complete else None
            if picture is None:
                if len(self._failed) >= _FAILED_KEPT:
                    self._failed.clear()
                self._failed[url] = self._clock() + RETRY_SECONDS
                return None
            self._failed.pop(url, None)
            await asyncio.to_thread(_write, path, picture.content, self._kept_files)
            return picture

    async def close(self) -> None:
        """Stop what is being fetched."""
        running = list(self._running.values())
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)


def _picture(content: bytes) -> Picture | None:
    kind = next((kind for magic, kind in _MAGIC if content.startswith(magic)), None)
    if kind is None and content[:4] == b"RIFF" and content[8:12] == b"WEBP":
        kind = "image/webp"
    if kind is None:
        return None
    return Picture(content, kind, hashlib.sha256(content).hexdigest()[:24])


def _read(path: Path, now: float) -> _Kept | None:
    try:
        content = path.read_bytes()
        age = now - path.stat().st_mtime
    except OSError:
        return None
    picture = _picture(content)
    return _Kept(picture, age) if picture is not None else None


def _write(path: Path, content: bytes, kept_files: int) -> None:
    """Whole or not at all. A disk that is full costs no more than the cache."""
    try:
        path.parent.mkdir(exist_ok=True)
        number, name = tempfile.mkstemp(dir=path.parent)
        try:
            with os.fdopen(number, "wb") as file:
                file.write(content)
            os.replace(name, path)
        except OSError:
            os.unlink(name)
            raise
        _prune(path.parent, kept_files)
    except OSError:
        return


def _prune(folder: Path, kept_files: int) -> None:
    """A tenth at a time, the oldest first."""
    if len(os.listdir(folder)) <= kept_files:
        return
    by_age = sorted((entry.stat().st_mtime, entry.path) for entry in os.scandir(folder))
    for _at, path in by_age[: len(by_age) - kept_files + kept_files // 10]:
        os.unlink(path)
