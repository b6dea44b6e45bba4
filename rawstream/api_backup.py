"""A copy of the database to take away, for operators.

Owns: making a copy beside the database while the server runs, and sending it. Must not know: what
is in it, how a copy is put back (`rawstream restore`).
"""

from __future__ import annotations

import asyncio
import shutil
import tempfile
import time
from pathlib import Path
from typing import BinaryIO, Final

from rawstream.connection import Exchange, Sink
from rawstream.database import backup
from rawstream.errors import StateError
from rawstream.http1 import Headers
from rawstream.rest import Call, Failed, Operation, Raw
from rawstream.store import Store

_KIND: Final = "application/vnd.sqlite3"
_PIECE_BYTES: Final = 256 * 1024


class BackupOperations:
    """The handler. `patience_seconds`: how long one may take nothing of a copy."""

    def __init__(self, store: Store, *, patience_seconds: float) -> None:
        self._store = store
        self._patience_seconds = patience_seconds
        self._busy = False

    def table(self) -> list[Operation]:
        return [
            Operation(
                *("GET", "/backup", self.take, "A copy of the database", "backup"),
                answer=Raw((_KIND,)),
                errors=(409,),
                description="All accounts, channels and lists, with password hashes and tokens: to"
                " be kept as safe as the original. `rawstream restore` puts it back.",
            )
        ]

    async def take(self, call: Call) -> None:
        exchange = call.exchange
        assert exchange is not None, "a download has somebody to send it to"
        name = time.strftime("rawstream-%Y%m%d-%H%M%S.db", time.gmtime())
        headers = (
            ("Cache-Control", "no-store"),
            ("Content-Disposition", f'attachment; filename="{name}"'),
        )
        if call.request.method == "HEAD":
            exchange.stream(headers, _KIND)  # to HEAD the head is the answer
            return
        if self._busy:
            raise Failed(409, "a copy is being taken already")
        self._busy = True
        copying = asyncio.ensure_future(asyncio.to_thread(_copy, self._store.db.path))
        try:
            file, size = await asyncio.shield(copying)
            await self._send(exchange, headers, file, size)
        finally:
            # its end is the thread's, whoever is cancelled: a large file takes long to vanish
            copying.add_done_callback(self._over)

    def _over(self, copying: asyncio.Future[tuple[BinaryIO, int]]) -> None:
        self._busy = False
        if not copying.cancelled() and copying.exception() is None:
            asyncio.get_running_loop().run_in_executor(None, copying.result()[0].close)

    async def _send(self, exchange: Exchange, headers: Headers, file: BinaryIO, size: int) -> None:
        """At the pace of who takes it; nothing of it is kept in memory."""
        takes = asyncio.Event()
        exchange.on_resumed = exchange.on_gone = takes.set
        sink: Sink = exchange.stream(headers, _KIND, content_length=size)
        try:
            while not exchange.gone and (piece := await asyncio.to_thread(file.read, _PIECE_BYTES)):
                while sink.paused and not exchange.gone:
                    takes.clear()
                    await asyncio.wait_for(takes.wait(), self._patience_seconds)
                sink.write(piece)
        except BaseException as error:
            sink.abort()
            if not isinstance(error, TimeoutError):
                raise
            return
        sink.finish()


def _copy(path: Path) -> tuple[BinaryIO, int]:
    """A copy that has no name any more, and its size. Raises StateError."""
    try:
        directory = Path(tempfile.mkdtemp(prefix="backup-", dir=path.parent))
    except OSError as error:
        raise StateError(str(path.parent), error.strerror or "can't be written") from error
    try:
        copy = directory / path.name
        backup(path, copy)
        return copy.open("rb"), copy.stat().st_size
    except OSError as error:
        raise StateError(str(path), error.strerror or "can't be copied") from error
    finally:
        shutil.rmtree(directory, ignore_errors=True)
