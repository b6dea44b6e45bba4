"""What running things leave behind: bytes per account, learnt infohashes, lines of history.

Owns: when these are written down, and that a failure to write loses none of them. Must not know:
how rows are kept, who is told.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Callable
from typing import Final, Protocol

from rawstream.engine_client import ContentRef
from rawstream.errors import StateError
from rawstream.records import Activity
from rawstream.redaction import redacted
from rawstream.store import Store

logger = logging.getLogger(__name__)

_EVERY_SECONDS: Final = 5.0
_LEARNT_LIMIT: Final = 10_000  # not yet written


class ByteCounts(Protocol):
    def take_bytes(self) -> dict[int, int]: ...


class Books:
    """The books of one process. `name_of`: a channel's name by its id, '' for one that is gone."""

    def __init__(
        self,
        store: Store,
        accounts: ByteCounts,
        *,
        name_of: Callable[[str], str],
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._store = store
        self._accounts = accounts
        self._name_of = name_of
        self._clock = clock
        self._bytes: Counter[int] = Counter()
        self._learnt: dict[tuple[str, str], str] = {}
        self._writing = asyncio.Lock()
        # told of each line
        self.on_note: Callable[[Activity], None] = lambda _activity: None
        self.failures = 0  # rounds in which something could not be written

    def note(
        self, kind: str, *, account: str = "", channel: str = "", address: str = "", text: str = ""
    ) -> None:
        """A line of history, now. `channel`: its id. No secret in `text` is kept."""
        if channel:
            channel = f"{channel} {self._name_of(channel)}".rstrip()
        activity = Activity(int(self._clock()), kind, account, channel, address, redacted(text))
        self._store.note(activity)
        self.on_note(activity)

    def learnt(self, ref: ContentRef, infohash: str) -> None:
        """What a content's canonical infohash is."""
        if len(self._learnt) < _LEARNT_LIMIT:
            self._learnt[ref.kind, ref.value] = infohash

    async def write(self) -> None:
        """Write down what has come together. Raises StateError; then it stays for the next time.

        Once begun it goes on to its end, whoever is cancelled: what was committed and not crossed
        out would be written twice.
        """
        writing = asyncio.ensure_future(self._write_all())
        try:
            await asyncio.shield(writing)
        except asyncio.CancelledError:
            await asyncio.gather(writing, return_exceptions=True)
            raise

    async def _write_all(self) -> None:
        async with self._writing:
            await self._write_each()

    async def _write_each(self) -> None:
        self._bytes.update(self._accounts.take_bytes())
        if self._bytes:
            counts = dict(self._bytes)
            await self._store.accounts.add_bytes(counts)
            self._bytes.subtract(counts)
            self._bytes = +self._bytes
        if self._learnt:
            learnt = dict(self._learnt)
            await self._store.learn_infohashes(learnt)
            for key, infohash in learnt.items():
                if self._learnt.get(key) == infohash:
                    del self._learnt[key]
        await self._store.flush()

    async def watch(self) -> None:
        """Write again and again; a disk that is full is told of once and tried again."""
        told = ""
        while True:
            await asyncio.sleep(_EVERY_SECONDS)
            try:
                await self.write()
                told = ""
            except StateError as error:
                self.failures += 1
                if str(error) != told:
                    told = str(error)
                    logger.error("the books can't be written: %s", error)
            except Exception as error:  # a bug of ours is not to end all writing
                self.failures += 1
                if repr(error) != told:
                    told = repr(error)
                    logger.exception("a round of the books failed")
