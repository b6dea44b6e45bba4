"""The line-up as rows: channels with their sources, categories, and the lists they come from.

Owns: what is asked of these tables and done to them by hand. Must not know: how a list is read,
what an import is (`store_import`).
"""

from __future__ import annotations

import dataclasses
import sqlite3
import time
from collections.abc import Callable, Collection, Sequence
from operator import attrgetter
from pathlib import Path
from typing import Any, Final, NamedTuple

from rawstream.database import Database, Transaction, read_only
from rawstream.errors import ConfigError, StateError
from rawstream.lineup_rows import (
    INSERT_CATEGORY,
    INSERT_SOURCE,
    Parts,
    category_of,
    category_rows,
    channel_columns,
    channel_of,
    channels_of,
    facts_text,
    list_of,
    series_of,
    source_rows,
)
from rawstream.records import Category, Channel, ListKind, ListSource, Series
from rawstream.store_edits import (
    BulkEdit,
    edit_many,
    merge_categories,
    move,
    order_categories,
)
from rawstream.store_import import LineupChanges, ListContents, import_into, take_back
from rawstream.store_search import (
    Assigned,
    ChannelFilter,
    Found,
    Holder,
    any_unresolved,
    channel_with_guide,
    find_channels,
    holders,
)

_DAY_SECONDS: Final = 86_400
_LIST_COLUMNS: Final = (
    *("kind", "url", "name", "enabled", "interval_seconds", "priority", "user_agent"),
    *("merge_names", "retire_days", "zoneless_offset", "shift_seconds", "held"),
)


class Named(NamedTuple):
    """What of a channel says which guide it has."""

    id: int
    name: str
    guide_id: str
    guide_name: str


# films are in no guide
_LIVE: Final = "retired_at IS NULL AND kind = 'live'"
_NAMES: Final = f"SELECT id, name, guide_id, guide_name FROM channels WHERE {_LIVE}"


def read_names(path: Path) -> list[Named]:
    """`LineupStore.names` of a database that is only looked at. Blocks; raises StateError."""
    with read_only(path) as connection:
        return [Named(*row) for row in connection.execute(_NAMES)]


def read_channels(connection: sqlite3.Connection, *, retired: bool) -> list[Channel]:
    """`LineupStore.channels`, a row at a time: tens of thousands of rows at once are what collects
    garbage, and that holds up the loop whatever thread it is done in.
    """
    where = "" if retired else "WHERE retired_at IS NULL"
    sources = Parts(connection, "channel_sources")
    categories = Parts(connection, "channel_categories")
    found = [
        channel_of(row, sources.of(row["id"]), categories.of(row["id"]))
        for row in connection.execute(f"SELECT * FROM channels {where} ORDER BY id")
    ]
    found.sort(key=attrgetter("position", "id"))
    return found


class LineupStore:
    """Channels, categories, lists."""

    def __init__(self, db: Database) -> None:
        self._db = db

    # -- channels --

    async def channels(self, *, retired: bool = False) -> list[Channel]:
        """In the order of the line-up; those taken off it only if asked for."""
        return await self._db.look(lambda connection: read_channels(connection, retired=retired))

    async def names(self) -> list[Named]:
        """Of the live channels of the line-up, what guides are matched by."""
        return [Named(*row) for row in await self._db.read(_NAMES)]

    async def count(self) -> int:
        """How many live channels the line-up has."""
        return int((await self._db.read(f"SELECT count(*) FROM channels WHERE {_LIVE}"))[0][0])

    async def next_position(self) -> int:
        """Behind all channels of the line-up."""
        rows = await self._db.read(
            "SELECT coalesce(max(position) + 1, 0) FROM channels WHERE retired_at IS NULL"
        )
        return int(rows[0][0])

    async def find(self, wanted: ChannelFilter, offset: int, limit: int) -> Found:
        """A page of the channels that fit, in the order of the line-up, with their guides."""
        return await self._db.look(
            lambda connection: find_channels(connection, wanted, offset, limit)
        )

    async def channel_with_guide(self, channel_id: int) -> tuple[Channel, Assigned | None] | None:
        """One channel, retired or not, and the guide it has."""
        return await self._db.look(lambda connection: channel_with_guide(connection, channel_id))

    async def having(self, values: Sequence[str]) -> dict[str, list[Holder]]:
        """Which channels of the line-up have these contents, by infohash or content id, lower
        case, as a source. Those that none has are left out.
        """
        return await self._db.look(lambda connection: holders(connection, values))

    async def any_unresolved(self) -> bool:
        """Whether `having` may miss a channel of an infohash: see `store_search`."""
        return await self._db.look(any_unresolved)

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
        found = channels_of(rows, sources, categories)
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

    async def set_channel(
        self, channel: Channel, *, edited: Collection[str] = (), before: Channel | None = None
    ) -> None:
        """Replace a channel. `edited`: fields that imports leave alone from now on. `before`: it as
        it was read; what is the same is not written.
        """
        async with self._db.write() as transaction:
            transaction.changed("lineup")
            rows = await transaction.fetchall(
                "SELECT edited FROM channels WHERE id = ?", (channel.id,)
            )
            marked = {*edited, *(word for row in rows for word in row["edited"].split())}
            changed = dataclasses.replace(channel, edited=channel.edited | marked)
            await _update_channel(transaction, changed, before)

    async def delete_channel(self, channel_id: int) -> None:
        async with self._db.write() as transaction:
            transaction.changed("lineup")
            await transaction.execute("DELETE FROM channels WHERE id = ?", (channel_id,))

    async def edit_many(self, which: ChannelFilter | Sequence[int], edit: BulkEdit) -> int:
        """Many channels, in one transaction; returns how many. Raises ConfigError."""
        return await self._db.work(lambda work: edit_many(work, which, edit))

    async def move(
        self, channel_id: int, before_id: int | None, after_id: int | None = None
    ) -> bool:
        """Put a channel before or behind another one, or last; see `store_edits`."""
        return await self._db.work(lambda work: move(work, channel_id, before_id, after_id))

    # -- series --

    async def series(self) -> list[Series]:
        """All there are, also those that have no episode now."""
        return [series_of(row) for row in await self._db.read("SELECT * FROM series ORDER BY id")]

    async def cover_of(self, series_id: int) -> tuple[str, bool, int | None] | None:
        """A series' cover, whether it was set by hand, and the list that brought the series, as
        long as there is that; None without such a series.
        """
        rows = await self._db.read(
            "SELECT cover, playlist_id, edited FROM series WHERE id = ?", (series_id,)
        )
        if not rows:
            return None
        row = rows[0]
        return row["cover"], "cover" in row["edited"].split(), row["playlist_id"]

    async def series_named(self, name: str) -> Series:
        """A series of that name, the oldest of several; made if there is none."""
        async with self._db.write() as transaction:
            select = "SELECT * FROM series WHERE name = ? ORDER BY id LIMIT 1"
            found = await transaction.fetchall(select, (name,))
            if not found:
                transaction.changed("lineup")
                await transaction.execute("INSERT INTO series (name) VALUES (?)", (name,))
                found = await transaction.fetchall(select, (name,))
            return series_of(found[0])

    async def set_series(
        self, series: Series, *, edited: Collection[str] = (), before: Series | None = None
    ) -> None:
        """Replace a series. `edited`: of name and cover, what imports leave alone from now on.
        `before`: it as it was read; what is the same is not written.
        """
        was = None if before is None else _series_columns(before)
        async with self._db.write() as transaction:
            transaction.changed("lineup")
            rows = await transaction.fetchall(
                "SELECT edited FROM series WHERE id = ?", (series.id,)
            )
            marked = {*edited, *(word for row in rows for word in row["edited"].split())}
            await transaction.update("series", series.id, _series_columns(series), was)
            await transaction.update("series", series.id, {"edited": " ".join(sorted(marked))})

    # -- categories --

    async def categories(self) -> list[Category]:
        rows = await self._db.read("SELECT * FROM categories ORDER BY position, name")
        return [category_of(row) for row in rows]

    async def category_named(self, name: str, *, adult: bool = False) -> Category:
        """The category of that name, made last in order if there is none."""
        found = await self._db.read("SELECT * FROM categories WHERE name = ?", (name,))
        if found:
            return category_of(found[0])
        async with self._db.write() as transaction:
            transaction.changed("lineup")
            await transaction.execute(
                "INSERT INTO categories (name, position, adult) SELECT ?, coalesce(max(position)"
                " + 1, 0), ? FROM categories WHERE true ON CONFLICT DO NOTHING",
                (name, adult),
            )
            rows = await transaction.fetchall("SELECT * FROM categories WHERE name = ?", (name,))
            return category_of(rows[0])

    async def set_category(self, category: Category, *, before: Category | None = None) -> None:
        """Replace a category. Lists that call it as before still mean it. `before`: it as it was
        read; what is the same is not written. Raises ConfigError: the name is another one's.
        """
        was = None if before is None else _category_columns(before)
        async with self._db.write() as transaction:
            transaction.changed("lineup")
            if before is None or category.name != before.name:
                await _take_name(transaction, category)
            await transaction.update("categories", category.id, _category_columns(category), was)

    async def delete_category(self, category_id: int) -> None:
        async with self._db.write() as transaction:
            transaction.changed("lineup")
            await transaction.execute("DELETE FROM categories WHERE id = ?", (category_id,))

    async def merge_categories(self, category_id: int, into_id: int) -> bool:
        """See `store_edits`."""
        return await self._db.work(lambda work: merge_categories(work, category_id, into_id))

    async def order_categories(self, ids: Sequence[int]) -> None:
        """These first, in this order. Raises ConfigError."""
        await self._db.work(lambda work: order_categories(work, ids))

    async def category_sizes(self) -> dict[int, tuple[int, int]]:
        """How many live channels and films of the line-up each category has, by id."""
        rows = await self._db.read(
            "SELECT category_id, sum(kind = 'live') AS live, sum(kind <> 'live') AS films"
            " FROM channel_categories JOIN channels ON channels.id = channel_id"
            " WHERE retired_at IS NULL GROUP BY category_id"
        )
        return {row["category_id"]: (row["live"], row["films"]) for row in rows}

    # -- lists --

    async def lists(self, kind: ListKind | None = None) -> list[ListSource]:
        rows = await self._db.read("SELECT * FROM lists ORDER BY priority, id")
        return [list_of(row) for row in rows if kind is None or row["kind"] == kind]

    async def list_source(self, list_id: int) -> ListSource | None:
        rows = await self._db.read("SELECT * FROM lists WHERE id = ?", (list_id,))
        return list_of(rows[0]) if rows else None

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

    async def set_list(self, source: ListSource, *, before: ListSource | None = None) -> None:
        """Replace what an operator sets; what came of refreshes stays. `before`: it as it was read;
        what is the same is not written.
        """
        was = None if before is None else _list_columns(before)
        async with self._db.write() as transaction:
            transaction.changed("sources")
            await transaction.update("lists", source.id, _list_columns(source), was)

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

    async def undoable(self) -> set[int]:
        """The lists whose last import can be taken back."""
        rows = await self._db.read("SELECT id FROM lists WHERE undo <> ''")
        return {row["id"] for row in rows}

    async def overdue(self, source: ListSource, now: int) -> bool:
        """Whether a list has channels that its next import would retire."""
        rows = await self._db.read(
            "SELECT 1 FROM channels WHERE playlist_id = ? AND retired_at IS NULL"
            " AND stale_since <= ? LIMIT 1",
            (source.id, now - source.retire_days * _DAY_SECONDS),
        )
        return bool(rows)

    # -- imports --

    async def apply(self, list_id: int, plan: Callable[[ListContents], LineupChanges]) -> list[int]:
        """Plan an import on what is there, and make all its changes or none, in one transaction.

        `plan` runs in a thread. What was there before is kept for `undo_last`, unless nothing
        changes. Returns the ids of the added channels. Raises StateError, and what `plan` raises.
        """
        return await self._db.work(lambda work: import_into(work, list_id, plan))

    async def undo_last(self, list_id: int) -> bool:
        """Take the list's last import back; False when there is none to take back.

        What was set by hand since stays. Its added channels are retired, not deleted: an id that
        players have seen is not lost. The list is `held` from then on.
        """
        return await self._db.work(lambda work: take_back(work, list_id))


async def _insert_channel(transaction: Transaction, channel: Channel) -> int:
    columns = channel_columns(channel)
    columns["added_at"] = channel.added_at or int(time.time())
    if channel.id:
        columns["id"] = channel.id
    channel_id = await transaction.execute(
        f"INSERT INTO channels ({', '.join(columns)}) VALUES ({', '.join('?' * len(columns))})",
        list(columns.values()),
    )
    await transaction.executemany(INSERT_SOURCE, source_rows(channel_id, channel))
    await transaction.executemany(INSERT_CATEGORY, category_rows(channel_id, channel))
    return channel_id


async def _update_channel(
    transaction: Transaction, channel: Channel, before: Channel | None
) -> None:
    was = None if before is None else channel_columns(before)
    await transaction.update("channels", channel.id, channel_columns(channel), was)
    if before is None or before.sources != channel.sources:
        await _replace(transaction, "sources", channel.id)
        await transaction.executemany(INSERT_SOURCE, source_rows(channel.id, channel))
    if before is None or before.categories != channel.categories:
        await _replace(transaction, "categories", channel.id)
        await transaction.executemany(INSERT_CATEGORY, category_rows(channel.id, channel))


async def _replace(transaction: Transaction, parts: str, channel_id: int) -> None:
    await transaction.execute(f"DELETE FROM channel_{parts} WHERE channel_id = ?", (channel_id,))


async def _take_name(transaction: Transaction, category: Category) -> None:
    """A category's name is this one from now on. Raises ConfigError."""
    known = await transaction.fetchall(
        "SELECT id, name FROM categories WHERE id = ?1 OR name = ?2", (category.id, category.name)
    )
    if any(row["id"] != category.id for row in known):
        raise ConfigError("name", f"there is a category '{category.name}' already")
    await transaction.executemany(
        "INSERT OR REPLACE INTO category_names VALUES (?, ?)",
        [(row["name"], row["id"]) for row in known if row["name"] != category.name],
    )
    await transaction.execute("DELETE FROM category_names WHERE name = ?", (category.name,))


def _category_columns(category: Category) -> dict[str, Any]:
    return {name: getattr(category, name) for name in ("name", "position", "adult")}


def _series_columns(series: Series) -> dict[str, Any]:
    return {"name": series.name, "cover": series.cover, "facts": facts_text(series.facts)}


def _list_columns(source: ListSource) -> dict[str, Any]:
    return {name: getattr(source, name) for name in _LIST_COLUMNS}
