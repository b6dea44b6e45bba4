"""The stop journal: which engine sessions are open, on disk, so that a crash leaves no orphan
running.

Owns: one append-only file of JSON lines in the data directory, the lock that keeps a second process
off it, and the one thread that touches either. Must not know: HTTP or engines; an entry is an
engine's configured URL, a path on it and the content's infohash.

An engine session that nobody stops goes on loading (engine reference §2.4, §8.2 no. 8). A line is
appended when a session opens and when it ends; at the next start whatever was opened and not ended
is an orphan. Nobody waits for the disk: a line is on its way at once, and a disk that is slow, full
or gone costs the protection, never the stream.
"""

from __future__ import annotations

import asyncio
import fcntl
import logging
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import orjson

logger = logging.getLogger(__name__)

FILE_NAME = "sessions.journal"
LOCK_NAME = "sessions.lock"
_COMPACT_AFTER_LINES = 10_000
_WAITING_LINES = 1_000  # for a disk that hangs; above, the file is written whole once it is back
_LARGEST_BYTES = 64 * 1024 * 1024  # such a file is not ours


class OpenSession(NamedTuple):
    """One entry: `command_path` is the path and query of the command URL, never a host. `infohash`
    is empty where the engine did not say.
    """

    engine: str
    command_path: str
    infohash: str


class StopJournal:
    """Open sessions, kept in memory and, between `load` and `close`, on disk. `directory` None
    keeps them in memory only.
    """

    def __init__(self, directory: Path | None) -> None:
        # config
        self._path = directory / FILE_NAME if directory is not None else None
        # content
        self._open: dict[OpenSession, None] = {}
        # the file, and what is on its way there
        self._writer: ThreadPoolExecutor | None = None
        self._lock = -1
        self._waiting: list[bytes] = []
        self._whole = False  # the file is to be written anew, from memory
        self._failing = False  # the last write failed: the file may end in half a line
        self._lines = 0
        self._writing: asyncio.Task[None] | None = None
        # counters
        self.write_errors = 0

    @property
    def sessions(self) -> tuple[OpenSession, ...]:
        """Those open now, and the orphans nobody has told the end of."""
        return tuple(self._open)

    async def load(self) -> tuple[OpenSession, ...]:
        """Read the file a former life left; returns its orphans and keeps them until `ended` is
        told of each.

        Lines that can't be read (a crash cuts the last one) are passed over. While another process
        uses the directory its sessions are no orphans: then nothing is read and nothing written.
        """
        if self._path is None:
            return ()
        writer = ThreadPoolExecutor(1, thread_name_prefix="rawstream-journal")
        loop = asyncio.get_running_loop()
        try:
            self._lock = await loop.run_in_executor(writer, _lock, self._path.with_name(LOCK_NAME))
        except BlockingIOError:
            writer.shutdown(wait=False)
            logger.warning(
                "another rawstream uses %s: after a crash of this one, engine sessions stay open",
                self._path.parent,
            )
            return ()
        except OSError as error:
            logger.info("no lock in %s: %s", self._path.parent, error.strerror)
        orphans = await loop.run_in_executor(writer, _read, self._path)
        # a session may have been opened while we read
        self._open = dict.fromkeys((*orphans, *self._open))
        self._writer = writer
        self._whole = True
        self._write_soon()
        await self.settled()
        return tuple(orphans)

    def opened(self, session: OpenSession) -> None:
        """Remember a session."""
        self._open[session] = None
        self._note("open", session)

    def ended(self, session: OpenSession) -> None:
        """Forget a session. One that is not known is no error."""
        if session in self._open:
            del self._open[session]
            self._note("end", session)

    async def settled(self) -> None:
        """Wait until the disk has taken, or refused, all that was told so far."""
        while self._writing is not None:
            await asyncio.wait({self._writing})

    async def close(self) -> None:
        """Write what is left and let the file go. Idempotent."""
        await self.settled()
        if self._writer is not None:
            writer, self._writer = self._writer, None
            if self._lock >= 0:
                lock, self._lock = self._lock, -1
                await asyncio.get_running_loop().run_in_executor(writer, os.close, lock)
            writer.shutdown(wait=False)

    def _note(self, event: str, session: OpenSession) -> None:
        if self._writer is None:
            return
        self._waiting.append(_line(event, session))
        self._lines += 1
        if len(self._waiting) > _WAITING_LINES or self._lines > _COMPACT_AFTER_LINES:
            self._whole = True
            self._waiting.clear()
        self._write_soon()

    def _write_soon(self) -> None:
        if self._writing is None:
            self._writing = asyncio.create_task(self._write(), name="stop journal")

    async def _write(self) -> None:
        """Give the thread what waits, one piece of work at a time, until nothing does."""
        loop = asyncio.get_running_loop()
        try:
            while self._waiting or self._whole:
                assert self._path is not None and self._writer is not None, "loaded"
                whole = self._whole or self._failing
                lines = [_line("open", one) for one in self._open] if whole else self._waiting
                self._whole, self._waiting = False, []
                try:
                    await loop.run_in_executor(
                        self._writer, _replace if whole else _append, self._path, b"".join(lines)
                    )
                except OSError as error:
                    self._failed(error)
                    return  # the next event tries again
                if whole:
                    self._lines = len(lines)
                if self._failing:
                    self._failing = False
                    logger.info("stop journal is written again")
        finally:
            self._writing = None

    def _failed(self, error: OSError) -> None:
        self.write_errors += 1
        if not self._failing:
            self._failing = True
            logger.warning(
                "stop journal can't be written (%s): after a crash, engine sessions stay open",
                error.strerror,
            )


def _line(event: str, session: OpenSession) -> bytes:
    return orjson.dumps({"event": event, **session._asdict()}, option=orjson.OPT_APPEND_NEWLINE)


# -- in the journal's thread -----------------------------------------------------------------------


def _lock(path: Path) -> int:
    """Hold the directory until the descriptor is closed or we die. Raises BlockingIOError when
    another process holds it.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


def _read(path: Path) -> list[OpenSession]:
    try:
        if path.stat().st_size > _LARGEST_BYTES:
            raise OSError(0, "too large to be one")
        data = path.read_bytes()
    except FileNotFoundError:
        return []
    except OSError as error:
        logger.warning(
            "stop journal can't be read (%s): sessions of a former run stay open", error.strerror
        )
        return []
    found: dict[OpenSession, None] = {}
    for line in data.splitlines():
        try:
            entry = orjson.loads(line)
            fields = [entry[name] for name in OpenSession._fields]
            event = entry["event"]
        except (ValueError, KeyError, TypeError):
            continue
        if not all(isinstance(field, str) for field in fields):
            continue
        session = OpenSession(*fields)
        if event == "open":
            found[session] = None
        else:
            found.pop(session, None)
    return list(found)


def _append(path: Path, data: bytes) -> None:
    with open(path, "ab", opener=_private) as file:
        file.write(data)


def _replace(path: Path, data: bytes) -> None:
    """Write the file anew, so that at any moment either the old or the new one is there, whole."""
    new = path.with_suffix(".new")
    with open(new, "wb", opener=_private) as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    new.replace(path)


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)
