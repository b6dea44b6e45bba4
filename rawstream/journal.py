"""The stop journal: which engine sessions are open, on disk, so that a crash leaves no orphan
running.

Owns: one append-only file of JSON lines in the data directory, and the one thread that writes it.
Must not know: HTTP or engines; an entry is an engine's configured URL, a path on it and the
content's infohash.

An engine session that nobody stops goes on loading (reference §2.4, §8.2.8). A line is appended
when a session opens and when it ends; at the next start whatever was opened and not ended is an
orphan. The file is made anew, with the orphans only, each time it is read. A disk that refuses
costs the protection, never the stream.
"""

from __future__ import annotations

import asyncio
import logging
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import orjson

logger = logging.getLogger(__name__)

FILE_NAME = "sessions.journal"
_COMPACT_AFTER_LINES = 10_000


class OpenSession(NamedTuple):
    """One entry: `command_path` is the path and query of the command URL, never a host."""

    engine: str
    command_path: str
    infohash: str


class StopJournal:
    """Open sessions, kept in memory and on disk. `directory` None keeps them in memory only."""

    def __init__(self, directory: Path | None) -> None:
        self._path = directory / FILE_NAME if directory is not None else None
        self._open: dict[OpenSession, None] = {}
        self._lines = 0
        self._writer: ThreadPoolExecutor | None = None
        self.write_errors = 0

    @property
    def sessions(self) -> tuple[OpenSession, ...]:
        return tuple(self._open)

    async def load(self) -> tuple[OpenSession, ...]:
        """Read the file a former life left; returns its orphans and keeps them until `ended` is
        told of each.

        Lines that can't be read (a crash cuts the last one) are passed over.
        """
        if self._path is None:
            return ()
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="rawstream-journal")
        loop = asyncio.get_running_loop()
        orphans = await loop.run_in_executor(self._writer, _read, self._path)
        self._open = dict.fromkeys(orphans)
        await self._write(self._rewrite)
        return tuple(orphans)

    async def opened(self, session: OpenSession) -> None:
        """Remember a session; returns when the line is in the file."""
        self._open[session] = None
        await self._append("open", session)

    async def ended(self, session: OpenSession) -> None:
        """Forget a session. One that is not known is no error."""
        if self._open.pop(session, _MISSING) is not _MISSING:
            await self._append("end", session)

    async def close(self) -> None:
        if self._writer is not None:
            writer, self._writer = self._writer, None
            await asyncio.get_running_loop().run_in_executor(None, writer.shutdown)

    async def _append(self, event: str, session: OpenSession) -> None:
        line = orjson.dumps({"event": event, **session._asdict()}, option=orjson.OPT_APPEND_NEWLINE)
        self._lines += 1
        if self._lines > _COMPACT_AFTER_LINES:
            await self._write(self._rewrite)
        else:
            await self._write(self._append_line, line)

    async def _write(self, job: object, *arguments: bytes) -> None:
        if self._writer is None:
            return
        assert callable(job)
        try:
            await asyncio.get_running_loop().run_in_executor(self._writer, job, *arguments)
        except OSError as error:
            self.write_errors += 1
            if self.write_errors == 1:
                logger.warning(
                    "stop journal can't be written (%s): after a crash, engine sessions stay open",
                    error,
                )

    # -- in the writer's thread --

    def _append_line(self, line: bytes) -> None:
        assert self._path is not None
        with self._path.open("ab") as file:
            file.write(line)

    def _rewrite(self) -> None:
        assert self._path is not None
        lines = b"".join(
            orjson.dumps({"event": "open", **s._asdict()}, option=orjson.OPT_APPEND_NEWLINE)
            for s in list(self._open)
        )
        new = self._path.with_suffix(".new")
        with new.open("wb") as file:
            file.write(lines)
            file.flush()
            os.fsync(file.fileno())
        new.replace(self._path)
        self._lines = len(self._open)


_MISSING = object()


def _read(path: Path) -> list[OpenSession]:
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return []
    except OSError as error:
        logger.warning("stop journal can't be read (%s): sessions of a former run stay open", error)
        return []
    found: dict[OpenSession, None] = {}
    for line in data.splitlines():
        try:
            entry = orjson.loads(line)
            session = OpenSession(
                str(entry["engine"]), str(entry["command_path"]), str(entry["infohash"])
            )
            event = entry["event"]
        except (ValueError, KeyError, TypeError):
            continue
        if event == "open":
            found[session] = None
        else:
            found.pop(session, None)
    return list(found)
