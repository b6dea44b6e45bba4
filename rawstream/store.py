"""All that is kept, behind one door: the line-up, guides, accounts, settings, history.

Owns: which file of a data directory it is, settings by name, learnt infohashes, history and its
bound. Must not know: what any of it is for.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import sqlite3
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from rawstream.database import FILE_NAME, Database
from rawstream.errors import StateError
from rawstream.records import Activity
from rawstream.store_accounts import AccountStore
from rawstream.store_credentials import CredentialStore
from rawstream.store_guide import GuideStore
from rawstream.store_lineup import LineupStore

_SECRET_BYTES: Final = 32
_NOTES_LIMIT: Final = 1000  # unwritten lines of history: above, the oldest are let go


class Store:
    """An open store."""

    def __init__(self, db: Database, *, history_rows: int) -> None:
        self.db = db
        self.lineup = LineupStore(db)
        self.guide = GuideStore(db)
        self.accounts = AccountStore(db)
        self.credentials = CredentialStore(db)
        self._history_rows = history_rows
        self._notes: list[Activity] = []
        self._flushing = asyncio.Lock()

    @classmethod
    async def open(
        cls, directory: Path, *, create: bool = True, history_rows: int = 10_000
    ) -> Store:
        """Raises StateError: what is there can't be used, and nothing of it was changed."""
        db = await Database.open(directory / FILE_NAME, create=create)
        return cls(db, history_rows=history_rows)

    async def close(self) -> None:
        try:
            await self.flush()
        finally:
            await self.db.close()

    # -- settings --

    async def get_setting(self, name: str) -> str | None:
        rows = await self.db.read("SELECT value FROM settings WHERE name = ?", (name,))
        return str(rows[0]["value"]) if rows else None

    async def set_setting(self, name: str, value: str) -> None:
        async with self.db.write() as transaction:
            transaction.changed("settings")
            await transaction.execute(
                "INSERT INTO settings VALUES (?, ?)"
                " ON CONFLICT (name) DO UPDATE SET value = excluded.value",
                (name, value),
            )

    async def secret(self) -> bytes:
        """Random bytes of this installation, for signatures; the same in every process."""
        async with self.db.write() as transaction:
            await transaction.execute(
                "INSERT INTO settings VALUES ('secret', ?) ON CONFLICT DO NOTHING",
                (secrets.token_hex(_SECRET_BYTES),),
            )
            rows = await transaction.fetchall("SELECT value FROM settings WHERE name = 'secret'")
            return bytes.fromhex(rows[0]["value"])

    # -- infohashes --

    async def known_infohashes(self) -> dict[tuple[str, str], str]:
        """By kind and value of the reference they were learnt for."""
        rows = await self.db.read("SELECT * FROM infohashes")
        return {(row["kind"], row["value"]): row["infohash"] for row in rows}

    async def learn_infohashes(self, found: Mapping[tuple[str, str], str]) -> None:
        async with self.db.write() as transaction:
            await transaction.executemany(
                "INSERT INTO infohashes VALUES (?, ?, ?)"
                " ON CONFLICT DO UPDATE SET infohash = excluded.infohash",
                [(kind, value, infohash) for (kind, value), infohash in found.items()],
            )

    # -- history --

    def note(self, activity: Activity) -> None:
        """Remember what happened; `flush` writes it down."""
        self._notes.append(activity)
        if len(self._notes) > _NOTES_LIMIT:
            del self._notes[0]

    async def flush(self) -> None:
        """Write what was noted, and let go of the oldest lines. Raises StateError."""
        async with self._flushing:  # two at once would write the same lines
            notes = list(self._notes)
            if not notes:
                return
            async with self.db.write() as transaction:
                await transaction.executemany(
                    "INSERT INTO activity (at, kind, account, channel, address, text)"
                    " VALUES (?, ?, ?, ?, ?, ?)",
                    [(n.at, n.kind, n.account, n.channel, n.address, n.text) for n in notes],
                )
                await transaction.execute(
                    "DELETE FROM activity WHERE id <= (SELECT max(id) FROM activity) - ?",
                    (self._history_rows,),
                )
            written = set(map(id, notes))  # a failure keeps them for the next time
            self._notes = [note for note in self._notes if id(note) not in written]

    async def history(self, limit: int = 100, kind: str | None = None) -> list[Activity]:
        """The newest lines first."""
        await self._flush_if_possible()
        rows = await self.db.read(
            "SELECT * FROM activity WHERE ?1 IS NULL OR kind = ?1 ORDER BY id DESC LIMIT ?2",
            (kind, limit),
        )
        return [_activity(row) for row in rows]

    async def _flush_if_possible(self) -> None:
        """A disk that takes nothing, of which the books tell, is to hide nobody what it has."""
        with contextlib.suppress(StateError):
            await self.flush()

    async def history_page(
        self, *, kind: str = "", account: str = "", q: str = "", offset: int = 0, limit: int = 100
    ) -> tuple[list[tuple[int, Activity]], int]:
        """A part of the lines that are so, the newest first and with their ids, and how many there
        are of them. `q`: a part of any text; its case counts beyond ASCII only.
        """
        await self._flush_if_possible()
        where = (
            "(?1 = '' OR kind = ?1) AND (?2 = '' OR account = ?2) AND (?3 = '' OR instr(lower("
            "kind || char(10) || account || char(10) || channel || char(10) || address || char(10)"
            " || text), lower(?3)) > 0)"
        )
        rows = await self.db.read(
            f"SELECT *, count(*) OVER () AS total FROM activity WHERE {where}"
            " ORDER BY id DESC LIMIT ?4 OFFSET ?5",
            (kind, account, q, limit, offset),
        )
        if rows:
            total = rows[0]["total"]
        elif offset:
            counted = await self.db.read(
                f"SELECT count(*) AS total FROM activity WHERE {where}", (kind, account, q)
            )
            total = counted[0]["total"]
        else:
            total = 0
        return [(row["id"], _activity(row)) for row in rows], total


def _activity(row: sqlite3.Row) -> Activity:
    names = ("at", "kind", "account", "channel", "address", "text")
    return Activity(*(row[name] for name in names))
