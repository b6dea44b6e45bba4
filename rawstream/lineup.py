"""Lists and guides, brought in step with where they come from.

Owns: getting a list's document (from the web or a file), handing it to its importer, what is noted
of that, when a list is due again. Must not know: flags, processes, what a document means.

CLI and server call the same `refresh`; the server does it in a process of its own (`importer`).
"""

from __future__ import annotations

import asyncio
import dataclasses
import os
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import BinaryIO, Final, NamedTuple, cast

from rawstream.config import Config
from rawstream.database import FILE_NAME
from rawstream.epg_elements import ReadLimits
from rawstream.errors import FormatError, StateError, UpstreamError
from rawstream.fetch import Fetched, fetch
from rawstream.fetch_policy import FetchPolicy
from rawstream.guide_import import GuideReport, import_guide, rematch, try_guide
from rawstream.list_entries import Listed, read_list
from rawstream.m3u import Ending
from rawstream.playlist_import import ImportReport, import_playlist, try_playlist
from rawstream.records import ListKind, ListSource
from rawstream.store import Store
from rawstream.store_lineup import read_names

Report = ImportReport | GuideReport
_PIECE_BYTES: Final = 1024 * 1024
_INTERVAL_HOURS: Final[Mapping[ListKind, int]] = {"playlist": 6, "guide": 12}
_RETRY_SECONDS: Final = 60  # after a first failure; twice as long after each further one


# "fetching" or "reading", the bytes so far, and of how many, where that is known
OnProgress = Callable[[str, int, int | None], None]


class _Document(NamedTuple):
    file: BinaryIO
    size: int
    got: Fetched


async def refresh(
    store: Store,
    source: ListSource,
    config: Config,
    *,
    force: bool = False,
    progress: OnProgress = lambda _step, _done, _all: None,
) -> Report | None:
    """Read a list again, and make what came of it what the list says. None: it has not changed.

    `force`: also if it says that it has not changed. Raises UpstreamError, FormatError, StateError;
    then nothing but the error was written down.
    """
    now = int(time.time())
    try:
        # only an import retires what is missing, and a list that stays as it is has none
        force = force or await store.lineup.overdue(source, now)
        with _spool(config.data) as spool:
            found = await _document(source, config, spool, force, progress)
            if found is None:
                await store.lineup.note_refresh(source.id, now=now)
                return None
            with found.file:
                report = await _taken_in(store, source, found, config, progress)
    except (UpstreamError, FormatError, StateError) as error:
        await store.lineup.note_refresh(source.id, now=now, error=str(error))
        raise
    # of what was cut the rest is wanted: nobody must answer that it has not changed
    etag, last_modified = (found.got.etag, found.got.last_modified) if report.complete else ("", "")
    await store.lineup.note_refresh(source.id, now=now, etag=etag, last_modified=last_modified)
    return report


async def try_out(
    source: ListSource,
    config: Config,
    *,
    place: str = "",
    progress: OnProgress = lambda _step, _done, _all: None,
) -> Report:
    """What `refresh` would say of the list at `source.url`; nothing is written, and there need be
    no database. `place`: where its document is, if not there. Raises UpstreamError, FormatError,
    StateError.
    """
    database = config.data / FILE_NAME
    with _spool(None) as spool:
        there = dataclasses.replace(source, url=place) if place else source
        found = await _document(there, config, spool, True, progress)
        assert found is not None, "only an unforced one may be unchanged"
        with found.file:
            if source.kind == "guide":
                line_up = await asyncio.to_thread(read_names, database)
                return await asyncio.to_thread(
                    try_guide,
                    line_up,
                    source,
                    _pieces(found, progress),
                    complete=found.got.complete,
                    limits=_read_limits(config),
                )
            entries, ending = await _entries(found, config, progress)
            return await try_playlist(
                database,
                source,
                entries,
                ending,
                complete=found.got.complete,
                announced=found.got.announced,
            )


async def _taken_in(
    store: Store, source: ListSource, found: _Document, config: Config, progress: OnProgress
) -> Report:
    if source.kind == "guide":
        return await import_guide(
            store,
            source,
            _pieces(found, progress),
            complete=found.got.complete,
            limits=_read_limits(config),
        )
    entries, ending = await _entries(found, config, progress)
    report = await import_playlist(
        store,
        source,
        entries,
        ending,
        complete=found.got.complete,
        announced=found.got.announced,
    )
    if report.added or report.changed or report.returned:
        await rematch(store)
    return report


async def _entries(
    found: _Document, config: Config, progress: OnProgress
) -> tuple[list[Listed], Ending]:
    return await asyncio.to_thread(
        read_list,
        _pieces(found, progress),
        base_url=found.got.url,
        charset=found.got.charset,
        limit_bytes=config.limits.list_bytes,
    )


def _read_limits(config: Config) -> ReadLimits:
    return dataclasses.replace(ReadLimits(), document_bytes=config.limits.guide_bytes)


def _spool(directory: Path | None) -> BinaryIO:
    """A file that holds a document while it is read, and is gone behind it. Raises StateError."""
    try:
        return cast(BinaryIO, tempfile.TemporaryFile(dir=directory))
    except OSError as error:
        raise StateError(str(directory), error.strerror or "can't be written") from error


def _pieces(found: _Document, progress: OnProgress) -> Iterator[bytes]:
    read = 0
    while piece := found.file.read(_PIECE_BYTES):
        yield piece
        read += len(piece)
        progress("reading", read, found.size)


async def _document(
    source: ListSource, config: Config, spool: BinaryIO, force: bool, progress: OnProgress
) -> _Document | None:
    """Where the document is now; None where it has not changed."""
    if "://" not in source.url:
        return await asyncio.to_thread(_file, Path(source.url), "" if force else source.etag)
    got = await fetch(
        source.url,
        policy=FetchPolicy(
            config.engines, lambda: (config.port, *config.extra_ports), config.fetch_networks
        ),
        limit_bytes=config.limits.list_bytes,
        total_seconds=config.timeouts.fetch_total_seconds,
        read_seconds=config.timeouts.fetch_read_seconds,
        user_agent=source.user_agent,
        etag="" if force else source.etag,
        last_modified="" if force else source.last_modified,
        into=spool,
        progress=partial(progress, "fetching"),
    )
    if got.not_modified:
        return None
    spool.seek(0)
    return _Document(spool, got.size_bytes, got)


def _file(path: Path, etag: str) -> _Document | None:
    try:
        file = path.open("rb")
        status = os.fstat(file.fileno())  # of what was opened: its name may be another file's now
    except OSError as error:
        raise StateError(str(path), error.strerror or "can't be read") from error
    tag = f"{status.st_mtime_ns}-{status.st_size}"
    if tag == etag:
        file.close()
        return None
    return _Document(file, status.st_size, Fetched(b"", True, "", etag=tag))


def usual_interval(kind: ListKind, url: str) -> int:
    """Seconds between two readings of a list of which nobody says how often. 0, never, for files:
    who changes one knows it.
    """
    return _INTERVAL_HOURS[kind] * 3600 if "://" in url else 0


async def remove_list(store: Store, source: ListSource) -> None:
    """Read it no more. A playlist's channels stay, a guide's programmes go. Raises StateError."""
    await store.guide.clear(source.id)
    await store.lineup.delete_list(source.id)
    await rematch(store)


async def undo_import(store: Store, source: ListSource) -> bool:
    """Take the last import of a playlist back; False when there is none. The list is held from then
    on: it would come again by itself. Raises StateError.
    """
    done = await store.lineup.undo_last(source.id)
    await rematch(store)
    return done


async def release(store: Store, source: ListSource) -> None:
    """Somebody reads a list whose import was taken back: it counts again. Raises StateError."""
    if source.held:
        await store.lineup.set_list(dataclasses.replace(source, held=False), before=source)


def due_at(source: ListSource, failures: int, now: float) -> float | None:
    """When a list is to be read again, in seconds since 1970; None: not by itself.

    One that was read in the future is due: the clock was wrong then, and may have been by years.

    `failures`: in a row, since the server started. A list that failed is tried again sooner, then
    ever later, but never later than one that is well.
    """
    if not source.enabled or source.held or source.interval_seconds <= 0:
        return None
    if source.refreshed_at is None or source.refreshed_at > now + 1:
        return 0.0
    wait = retry_seconds(source, failures) if source.last_error else source.interval_seconds
    return float(source.refreshed_at + wait)


def retry_seconds(source: ListSource, failures: int) -> int:
    """How long a list is left alone after so many failures in a row."""
    return min(source.interval_seconds, _RETRY_SECONDS << min(max(failures, 1) - 1, 16))
