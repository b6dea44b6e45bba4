"""What operators show instead of a password: sessions of the page, tokens of scripts, as rows.

Owns: that only a digest of each is kept, how long they live, how many sessions there are. Must not
know: HTTP, who is an admin.
"""

from __future__ import annotations

import hashlib
import secrets
import sqlite3
from dataclasses import dataclass, field
from typing import Final, Literal

from rawstream.database import Database

CredentialKind = Literal["session", "token", "setup"]
SESSIONS: Final = 100  # of one account: a script that logs in each minute is to end its oldest
_SECRET_BYTES: Final = 32


@dataclass(frozen=True, slots=True)
class Credential:
    """One of them. `digest`: of the secret, which is nowhere else. `marks`: what the account's
    password may be, as digests of its hash with spaces between; with another one a session is over.
    `expires_at` None: never. Seconds since 1970.
    """

    id: int
    kind: CredentialKind
    account_id: int
    digest: str = field(repr=False)
    marks: str = field(default="", repr=False)
    name: str = ""
    created_at: int = 0
    expires_at: int | None = None


def digest_of(secret: str) -> str:
    """Random secrets of 32 bytes need no salt and no slow hash."""
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()


class CredentialStore:
    """All credentials."""

    def __init__(self, db: Database) -> None:
        self._db = db

    async def credentials(self) -> list[Credential]:
        return [_credential(row) for row in await self._db.read("SELECT * FROM credentials")]

    async def add(
        self,
        kind: CredentialKind,
        account_id: int,
        *,
        now: int,
        expires_at: int | None = None,
        marks: str = "",
        name: str = "",
    ) -> tuple[Credential, str]:
        """A new one, and its secret, which can't be had again. Raises StateError."""
        secret = secrets.token_urlsafe(_SECRET_BYTES)
        digest = digest_of(secret)
        async with self._db.write() as transaction:
            transaction.changed("credentials")
            await transaction.execute(
                "DELETE FROM credentials WHERE expires_at IS NOT NULL AND expires_at <= ?", (now,)
            )
            number = await transaction.execute(
                "INSERT INTO credentials (kind, account_id, digest, mark, name, created_at,"
                " expires_at) VALUES (?, ?, ?, ?, ?, ?, ?)",
                (kind, account_id, digest, marks, name, now, expires_at),
            )
            await transaction.execute(
                "DELETE FROM credentials WHERE id IN (SELECT id FROM"
                " credentials WHERE kind = 'session' AND account_id = ? ORDER BY id DESC"
                " LIMIT -1 OFFSET ?)",
                (account_id, SESSIONS),
            )
        made = Credential(number, kind, account_id, digest, marks, name, now, expires_at)
        return made, secret

    async def mark(self, number: int, marks: str) -> None:
        """Let it be good with other passwords."""
        async with self._db.write() as transaction:
            transaction.changed("credentials")
            await transaction.update("credentials", number, {"mark": marks})

    async def remove(self, number: int) -> bool:
        """What is shown with it is good for nothing from now on. Whether it was there: of two who
        remove it at the same time one only hears yes.
        """
        async with self._db.write() as transaction:
            transaction.changed("credentials")
            removed = await transaction.fetchall(
                "DELETE FROM credentials WHERE id = ? RETURNING id", (number,)
            )
        return bool(removed)


def _credential(row: sqlite3.Row) -> Credential:
    return Credential(
        row["id"],
        row["kind"],
        row["account_id"],
        row["digest"],
        row["mark"],
        row["name"],
        row["created_at"],
        row["expires_at"],
    )
