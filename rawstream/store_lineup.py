"""The line-up as rows: channels with their sources, categories, and the lists they come from.

Owns: how these lie in their tables, and the one transaction that an import is, with its undo. Must
not know: how a list is read, which change an import ought to make.
"""

from __future__ import annotations

import dataclasses
import json
import sqlite3
import time
from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from rawstream.database import Database, Transaction
from rawstream.errors import ConfigError, StateError
from rawstream.records import Category, Channel, ChannelSource, ListKind, ListSource

_CHANNEL_COLUMNS: Final = (
    *("name", "position", "number", "logo", "guide_id", "guide_name", "radio", "enabled", "adult"),
    *("added_at", "playlist_id", "identity", "stale_since", "retired_at"),
)
_LIST_COLUMNS: Final = (
    *("kind", "url", "name", "enabled", "interval_seconds", "priority", "user_agent"),
    *("merge_names", "retire_days", "zoneless_offset", "shift_seconds"),
)


@dataclass(frozen=True, slots=True)
class LineupChanges:
    """What an import does to the line-up, in one transaction.

    `added`: ids are 0. `changed`: complete new values. The rest are ids of channels: `stale` are
    missing in the list for the first time, `returned` are in it again, `retired` leave the line-up.
    """

    list_id: int
    added: Sequence[Channel] = ()
    changed: Sequence[Channel] = ()
    stale: Sequence[int] = ()
    returned: Sequence[int] = ()
    retired: Sequence[int] = ()
    at: int = field(default_factory=lambda: int(time.time()))


class LineupStore:
    """Channels, categories, lists."""

    def __init__(self, db: Database) -> None:
        self._db = db

    # -- channels --

    async def channels(self, *, retired: bool = False) -> list[Channel]:
        """In the order of the line-up; those taken off it only if asked for."""
        where = "" if retired else "WHERE retired_at IS NULL"
        rows = await self._db.read(f"SELECT * FROM channels {where} ORDER BY position, id")
        sources = await self._db.read("SELECT * FROM channel_sources ORDER BY channel_id, place")
        categories = await self._db.read(
            "SELECT * FROM channel_categories ORDER BY channel_id, place"
        )
        return _channels(rows, sources, categories)

    async def channel(self, channel_id: int) -> Channel | None:
        """One channel, retired or not."""
        where = (channel_id,)
        rows = await self._db.read("SELECT * FROM channels WHERE id = ?", where)
        sources = await self._db.read(
            "SELECT * FROM channel_sources WHERE channel_id = ? ORDER BY place", where
        )
        categories = await self._db.read(
            "SELECT * FROM channel_categories WHERE channel_id = ? ORDER BY place", where
        )
        found = _channels(rows, sources, categories)
        return found[0] if found else None

    async def add_channel(self, channel: Channel) -> int:
        """Returns the id, which is `channel.id` if that is not 0. Raises ConfigError if it is
        taken.
        """
        try:
            async with self._db.write() as transaction:
                transaction.changed("lineup")
                return await _insert_channel(transaction, channel)
        except StateError as error:
            if isinstance(error.__cause__, sqlite3.IntegrityError):
                raise ConfigError("channel", "the id is taken, or a category is unknown") from error
            raise

    async def set_channel(self, channel: Channel, *, edited: Collection[str] = ()) -> None:
        """Replace a channel. `edited`: fields that imports leave alone from now on."""
        edited_now = channel.edited | frozenset(edited)
        async with self._db.write() as transaction:
            transaction.changed("lineup")
            await _update_channel(transaction, dataclasses.replace(channel, edited=edited_now))

    async def delete_channel(self, channel_id: int) -> None:
        async with self._db.write() as transaction:
            transaction.changed("lineup")
            await transaction.execute("DELETE FROM channels WHERE id = ?", (channel_id,))

    # -- categories --

    async def categories(self) -> list[Category]:
        rows = await self._db.read("SELECT * FROM categories ORDER BY position, name")
        return [_category(row) for row in rows]

    async def category_named(self, name: str, *, adult: bool = False) -> Category:
        """The category of that name, made last in order if there is none."""
        found = await self._db.read("SELECT * FROM categories WHERE name = ?", (name,))
        if found:
            return _category(found[0])
        async with self._db.write() as transaction:
            transaction.changed("lineup")
            await transaction.execute(
                "INSERT INTO categories (name, position, adult) SELECT ?, coalesce(max(position)"
                " + 1, 0), ? FROM categories WHERE true ON CONFLICT DO NOTHING",
                (name, adult),
            )
            rows = await transaction.fetchall("SELECT * FROM categories WHERE name = ?", (name,))
            return _category(rows[0])

    async def set_category(self, category: Category) -> None:
        async with self._db.write() as transaction:
            transaction.changed("lineup")
            await transaction.execute(
                "UPDATE categories SET name = ?, position = ?, adult = ? WHERE id = ?",
                (category.name, category.position, category.adult, category.id),
            )

    async def delete_category(self, category_id: int) -> None:
        async with self._db.write() as transaction:
            transaction.changed("lineup")
            await transaction.execute("DELETE FROM categories WHERE id = ?", (category_id,))

    # -- lists --

    async def lists(self, kind: ListKind | None = None) -> list[ListSource]:
        rows = await self._db.read("SELECT * FROM lists ORDER BY priority, id")
        return [_list(row) for row in rows if kind is None or row["kind"] == kind]

    async def list_source(self, list_id: int) -> ListSource | None:
        rows = await self._db.read("SELECT * FROM lists WHERE id = ?", (list_id,))
        return _list(rows[0]) if rows else None

    async def add_list(self, source: ListSource) -> int:
        """Returns the id; that of the list already there when kind and URL are the same."""
        marks = ", ".join("?" * len(_LIST_COLUMNS))
        async with self._db.write() as transaction:
            transaction.changed("sources")
            await transaction.execute(
                f"INSERT INTO lists ({', '.join(_LIST_COLUMNS)}) VALUES ({marks})"
                " ON CONFLICT DO NOTHING",
                [getattr(source, name) for name in _LIST_COLUMNS],
            )
            rows = await transaction.fetchall(
                "SELECT id FROM lists WHERE kind = ? AND url = ?", (source.kind, source.url)
            )
            return int(rows[0]["id"])

    async def set_list(self, source: ListSource) -> None:
        """Replace what an operator sets; what came of refreshes stays."""
        async with self._db.write() as transaction:
            transaction.changed("sources")
            await transaction.execute(
                f"UPDATE lists SET {', '.join(f'{name} = ?' for name in _LIST_COLUMNS)}"
                " WHERE id = ?",
                [*(getattr(source, name) for name in _LIST_COLUMNS), source.id],
            )

    async def delete_list(self, list_id: int) -> None:
        """Its channels stay; nobody refreshes them any more."""
        async with self._db.write() as transaction:
            transaction.changed("sources")
            transaction.changed("lineup")
            await transaction.execute("DELETE FROM lists WHERE id = ?", (list_id,))

    async def note_refresh(
        self,
        list_id: int,
        *,
        now: int,
        error: str = "",
        result: str | None = None,
        etag: str | None = None,
        last_modified: str | None = None,
    ) -> None:
        """What came of a refresh. Only a success changes more than the time and the error."""
        async with self._db.write() as transaction:
            await transaction.execute(
                "UPDATE lists SET refreshed_at = ?, last_error = ?,"
                " succeeded_at = CASE WHEN ? = '' THEN ? ELSE succeeded_at END,"
                " last_result = coalesce(?, last_result), etag = coalesce(?, etag),"
                " last_modified = coalesce(?, last_modified) WHERE id = ?",
                (now, error, error, now, result, etag, last_modified, list_id),
            )

    # -- imports --

    async def apply(self, changes: LineupChanges) -> list[int]:
        """Make all changes or none; what was there before is kept for `undo_last`. Returns the ids
        of the added channels.
        """
        touched = [
            *(channel.id for channel in changes.changed),
            *changes.stale,
            *changes.returned,
            *changes.retired,
        ]
        before = {channel.id: channel for channel in await self.channels(retired=True)}
        async with self._db.write() as transaction:
            transaction.changed("lineup")
            added = [await _insert_channel(transaction, channel) for channel in changes.added]
            for channel in changes.changed:
                await _update_channel(transaction, channel)
            stale = [(changes.at, channel_id) for channel_id in changes.stale]
            await transaction.executemany("UPDATE channels SET stale_since = ? WHERE id = ?", stale)
            back = [(channel_id,) for channel_id in changes.returned]
            await transaction.executemany(
                "UPDATE channels SET stale_since = NULL, retired_at = NULL WHERE id = ?", back
            )
            gone = [(changes.at, channel_id) for channel_id in changes.retired]
            await transaction.executemany("UPDATE channels SET retired_at = ? WHERE id = ?", gone)
            undo = {
                "added": added,
                "before": [_to_json(before[key]) for key in dict.fromkeys(touched)],
            }
            await transaction.execute(
                "UPDATE lists SET undo = ? WHERE id = ?", (json.dumps(undo), changes.list_id)
            )
        return added

    async def undo_last(self, list_id: int) -> bool:
        """Take the list's last import back; False when there is none to take back.

        Its added channels are retired, not deleted: an id that players have seen is not lost.
        """
        rows = await self._db.read("SELECT undo FROM lists WHERE id = ?", (list_id,))
        if not rows or not rows[0]["undo"]:
            return False
        undo = json.loads(rows[0]["undo"])
        async with self._db.write() as transaction:
            transaction.changed("lineup")
            now = int(time.time())
            await transaction.executemany(
                "UPDATE channels SET retired_at = ? WHERE id = ?",
                [(now, channel_id) for channel_id in undo["added"]],
            )
            for values in undo["before"]:
                await _update_channel(transaction, _from_json(values))
            await transaction.execute(
                "UPDATE lists SET undo = '', etag = '', last_modified = '' WHERE id = ?", (list_id,)
            )
        return True


# -- rows and values --


async def _insert_channel(transaction: Transaction, channel: Channel) -> int:
    columns = {**_channel_columns(channel), "edited": " ".join(sorted(channel.edited))}
    columns["added_at"] = channel.added_at or int(time.time())
    if channel.id:
        columns["id"] = channel.id
    channel_id = await transaction.execute(
        f"INSERT INTO channels ({', '.join(columns)}) VALUES ({', '.join('?' * len(columns))})",
        list(columns.values()),
    )
    await _set_parts(transaction, channel_id, channel)
    return channel_id


async def _update_channel(transaction: Transaction, channel: Channel) -> None:
    columns = {**_channel_columns(channel), "edited": " ".join(sorted(channel.edited))}
    await transaction.execute(
        f"UPDATE channels SET {', '.join(f'{name} = ?' for name in columns)} WHERE id = ?",
        [*columns.values(), channel.id],
    )
    for table in ("channel_sources", "channel_categories"):
        await transaction.execute(f"DELETE FROM {table} WHERE channel_id = ?", (channel.id,))
    await _set_parts(transaction, channel.id, channel)


async def _set_parts(transaction: Transaction, channel_id: int, channel: Channel) -> None:
    await transaction.executemany(
        "INSERT INTO channel_sources VALUES (?, ?, ?, ?, ?, ?, ?)",
        [
            (
                *(channel_id, place, source.kind, source.value),
                *(_headers_text(source.headers), source.infohash, source.playlist_id),
            )
            for place, source in enumerate(channel.sources)
        ],
    )
    await transaction.executemany(
        "INSERT INTO channel_categories VALUES (?, ?, ?)",
        [(channel_id, place, category) for place, category in enumerate(channel.categories)],
    )


def _channel_columns(channel: Channel) -> dict[str, Any]:
    return {name: getattr(channel, name) for name in _CHANNEL_COLUMNS}


def _headers_text(headers: Sequence[tuple[str, str]]) -> str:
    return json.dumps(headers) if headers else ""


def _channels(
    rows: Iterable[sqlite3.Row], sources: Iterable[sqlite3.Row], categories: Iterable[sqlite3.Row]
) -> list[Channel]:
    sources_of: dict[int, list[ChannelSource]] = defaultdict(list)
    for row in sources:
        headers = tuple((name, value) for name, value in json.loads(row["headers"] or "[]"))
        sources_of[row["channel_id"]].append(
            ChannelSource(row["kind"], row["value"], headers, row["infohash"], row["playlist_id"])
        )
    categories_of: dict[int, list[int]] = defaultdict(list)
    for row in categories:
        categories_of[row["channel_id"]].append(row["category_id"])
    found = []
    for row in rows:
        values: dict[str, Any] = {name: row[name] for name in _CHANNEL_COLUMNS}
        for name in ("radio", "enabled", "adult"):
            values[name] = bool(values[name])
        found.append(
            Channel(
                id=row["id"],
                sources=tuple(sources_of.get(row["id"], ())),
                categories=tuple(categories_of.get(row["id"], ())),
                edited=frozenset(row["edited"].split()),
                **values,
            )
        )
    return found


def _to_json(channel: Channel) -> dict[str, Any]:
    return {**dataclasses.asdict(channel), "edited": sorted(channel.edited)}


def _from_json(values: dict[str, Any]) -> Channel:
    sources = [
        ChannelSource(**{**source, "headers": tuple(map(tuple, source["headers"]))})
        for source in values["sources"]
    ]
    return Channel(
        **{
            **values,
            "sources": tuple(sources),
            "categories": tuple(values["categories"]),
            "edited": frozenset(values["edited"]),
        }
    )


def _category(row: sqlite3.Row) -> Category:
    return Category(row["id"], row["name"], row["position"], bool(row["adult"]))


def _list(row: sqlite3.Row) -> ListSource:
    values = {field.name: row[field.name] for field in dataclasses.fields(ListSource)}
    for name in ("enabled", "merge_names"):
        values[name] = bool(values[name])
    return ListSource(**values)
