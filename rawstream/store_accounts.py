"""Accounts as rows: names, hashes, limits, tokens, bytes.

Owns: what a username may be, how an account lies in its table. Must not know: how a password is
checked, who is watching.
"""

from __future__ import annotations

import re
import secrets
import sqlite3
import time
from collections.abc import Mapping
from typing import Final

from rawstream.database import Database
from rawstream.errors import ConfigError, StateError
from rawstream.records import Account

_TOKEN_BYTES: Final = 18  # 24 characters of URL-safe base64
# Xtream reference §2.1: `:` and `/` break players
_NAME: Final = re.compile(r"[A-Za-z0-9._@-]{1,64}")
# the first words of our own paths, which an account's URLs could not be told from
RESERVED: Final = frozenset(
    (
        *("live", "movie", "series", "timeshift", "timeshifts", "hls", "logos", "streaming"),
        *("player_api", "playlist", "epg", "api", "ace", "webui", "status", "metrics"),
        "static",
    )
)


def check_name(name: str, *, lenient: bool = False) -> str:
    """The name, if an account may have it. `lenient`: one that was in use elsewhere.

    Raises ConfigError.
    """
    if name.lower() in RESERVED:
        raise ConfigError("username", f"'{name}' is a word of our own URLs")
    if not _NAME.fullmatch(name) and not (lenient and name and name.isprintable()):
        raise ConfigError("username", "takes 1 to 64 of A-Z a-z 0-9 . _ @ -")
    return name


class AccountStore:
    """All accounts."""

    def __init__(self, db: Database) -> None:
        self._db = db

    async def accounts(self) -> list[Account]:
        rows = await self._db.read("SELECT * FROM accounts ORDER BY username")
        return [_account(row) for row in rows]

    async def account(self, account_id: int) -> Account | None:
        return await self._one("id", account_id)

    async def by_name(self, username: str) -> Account | None:
        return await self._one("username", username)

    async def by_token(self, token: str) -> Account | None:
        return await self._one("token", token)

    async def _one(self, column: str, value: object) -> Account | None:
        rows = await self._db.read(f"SELECT * FROM accounts WHERE {column} = ?", (value,))
        return _account(rows[0]) if rows else None

    async def add(self, account: Account, *, lenient: bool = False) -> int:
        """Returns the id. Raises ConfigError for a name that is taken or that none may have."""
        check_name(account.username, lenient=lenient)
        columns = {
            **_columns(account),
            "token": account.token or secrets.token_urlsafe(_TOKEN_BYTES),
            "created_at": account.created_at or int(time.time()),
        }
        if account.id:
            columns["id"] = account.id
        try:
            async with self._db.write() as transaction:
                transaction.changed("accounts")
                return await transaction.execute(
                    f"INSERT INTO accounts ({', '.join(columns)})"
                    f" VALUES ({', '.join('?' * len(columns))})",
                    list(columns.values()),
                )
        except StateError as error:
            raise _taken(account, error) from error

    async def set(self, account: Account, *, before: Account | None = None) -> None:
        """Replace all but id, token, time of creation and of the last kick. `before`: it as it was
        read; what is the same is not written. Raises ConfigError for a name that is taken.
        """
        was = None if before is None else _columns(before)
        try:
            async with self._db.write() as transaction:
                transaction.changed("accounts")
                await transaction.update("accounts", account.id, _columns(account), was)
        except StateError as error:
            raise _taken(account, error) from error

    async def delete(self, account_id: int) -> None:
        async with self._db.write() as transaction:
            transaction.changed("accounts")
            await transaction.execute("DELETE FROM accounts WHERE id = ?", (account_id,))

    async def kick(self, account_id: int, now: int) -> None:
        """End the streams of an account, in all processes. `now`: seconds since 1970."""
        async with self._db.write() as transaction:
            transaction.changed("accounts")
            await transaction.execute(
                # a second kick within a second is one as well
                "UPDATE accounts SET kicked_at = max(kicked_at + 1, ?) WHERE id = ?",
                (now, account_id),
            )

    async def reset_token(self, account_id: int) -> str:
        """A new token; URLs with the old one are good for nothing from now on."""
        token = secrets.token_urlsafe(_TOKEN_BYTES)
        async with self._db.write() as transaction:
            transaction.changed("accounts")
            await transaction.execute(
                "UPDATE accounts SET token = ? WHERE id = ?", (token, account_id)
            )
        return token

    async def add_bytes(self, counts: Mapping[int, int]) -> None:
        """Bytes sent since the last call, by account id."""
        async with self._db.write() as transaction:
            await transaction.executemany(
                "UPDATE accounts SET bytes = bytes + ? WHERE id = ?",
                [(count, account_id) for account_id, count in counts.items()],
            )

    async def bytes_of(self) -> dict[int, int]:
        return {
            row["id"]: row["bytes"] for row in await self._db.read("SELECT id, bytes FROM accounts")
        }


def _taken(account: Account, error: StateError) -> Exception:
    """What an error is that the table of accounts gave: names are there once."""
    if isinstance(error.__cause__, sqlite3.IntegrityError):
        return ConfigError("username", f"'{account.username}' is taken")
    return error


def _columns(account: Account) -> dict[str, object]:
    categories = account.categories
    return {
        "username": account.username,
        "password_hash": account.password_hash,
        "enabled": account.enabled,
        "admin": account.admin,
        "trial": account.trial,
        "expires_at": account.expires_at,
        "max_connections": account.max_connections,
        "allowed_formats": " ".join(account.allowed_formats),
        "categories": None if categories is None else " ".join(map(str, sorted(categories))),
        "show_adult": account.show_adult,
        "notes": account.notes,
    }


def _account(row: sqlite3.Row) -> Account:
    categories: str | None = row["categories"]
    return Account(
        id=row["id"],
        username=row["username"],
        password_hash=row["password_hash"],
        token=row["token"],
        enabled=bool(row["enabled"]),
        admin=bool(row["admin"]),
        trial=bool(row["trial"]),
        expires_at=row["expires_at"],
        max_connections=row["max_connections"],
        allowed_formats=tuple(row["allowed_formats"].split()),
        categories=None if categories is None else frozenset(map(int, categories.split())),
        show_adult=bool(row["show_adult"]),
        created_at=row["created_at"],
        notes=row["notes"],
        kicked_at=row["kicked_at"],
    )
