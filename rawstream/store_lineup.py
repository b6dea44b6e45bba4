"""The line-up as rows: channels with their sources, categories, and the lists they come from.

Owns: how these lie in their tables, and the one transaction that an import is, with its undo. Must
not know: how a list is read, which change an import ought to make.
"""

from __future__ import annotations

import asyncio
import dataclasses
import json
import sqlite3
import time
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, Final, NamedTuple, TypeVar

from rawstream.database import Database, Transaction, Work, read_only
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


# what an import writes, and so what its undo brings back
_IMPORTED: Final = (
    *("name", "position", "number", "logo", "guide_id", "guide_name", "radio", "categories"),
    *("sources", "identity", "stale_since", "retired_at"),
)
_INSERT_SOURCE: Final = "INSERT INTO channel_sources VALUES (?, ?, ?, ?, ?, ?, ?)"
_INSERT_CATEGORY: Final = "INSERT INTO channel_categories VALUES (?, ?, ?)"
_NOT_EDITED: Final[frozenset[str]] = frozenset()
_BATCH: Final = 1000  # channels that are made, written and let go together
_NAMED_AT_ONCE: Final = 500  # ids in one question; SQLite takes 999 in its oldest builds
_Planned = TypeVar("_Planned")


@dataclass(frozen=True, slots=True)
class LineupChanges:
    """What an import does to the line-up, in one transaction.

    `added`: ids are 0; gone through once, a batch at a time. `changed`: complete new values.
    `moved`: ids with their new positions, nothing else of them is new. The rest are ids of
    channels: `stale` are missing in the list for the first time, `returned` are in it again,
    `retired` leave the line-up.
    """

    added: Iterable[Channel] = ()
    changed: Sequence[Channel] = ()
    moved: Sequence[tuple[int, int]] = ()
    stale: Sequence[int] = ()
    returned: Sequence[int] = ()
    retired: Sequence[int] = ()
    at: int = field(default_factory=lambda: int(time.time()))


_THEIRS: Final = "(c.playlist_id = ? OR c.playlist_id IS NULL AND c.identity <> '')"


class ListContents:
    """What an import finds: a list and its channels, retired ones as well, as the transaction that
    it is planned in sees them. Of use inside that only.

    Among them are channels that came from a list which nobody knows any more, or never knew: the
    first list that has one of these takes it.

    Everything is read anew each time it is asked for, a row at a time, so that a long list never
    lies in memory as a whole. `source`: None when the list is not kept yet.
    """

    def __init__(self, connection: sqlite3.Connection, source: ListSource | None) -> None:
        self._connection = connection
        self.source = source
        self._list_id = source.id if source is not None else 0
        self._categories: dict[str, int] | None = None
        self._wanted: list[tuple[int, str, bool]] = []

    def identities(self) -> Iterator[tuple[int, str]]:
        """Id and identity of each channel."""
        yield from map(tuple, self._rows(f"SELECT id, identity FROM channels c WHERE {_THEIRS}"))

    def brought(self) -> Iterator[tuple[int, str, str]]:
        """Id of a channel, kind and value of a source that the list brought it."""
        yield from map(
            tuple,
            self._rows(
                "SELECT s.channel_id, s.kind, s.value FROM channels c JOIN channel_sources s"
                f" ON s.channel_id = c.id AND s.playlist_id IS c.playlist_id WHERE {_THEIRS}"
            ),
        )

    def channels(self) -> Iterator[Channel]:
        """In the order of ids."""
        sources = _Parts(self._connection, "channel_sources")
        categories = _Parts(self._connection, "channel_categories")
        for row in self._rows(f"SELECT * FROM channels c WHERE {_THEIRS} ORDER BY id"):
            yield _channel(row, sources.of(row["id"]), categories.of(row["id"]))

    def category(self, name: str, *, adult: bool = False) -> int:
        """The id of the category of that name; one that is not there is made with the
        first channel that is written.
        """
        if self._categories is None:
            rows = self._connection.execute("SELECT name, id FROM categories")
            self._categories = {row["name"]: row["id"] for row in rows}
        if name not in self._categories:
            first = _next_id(self._connection, "categories")
            number = first + len(self._wanted)
            self._categories[name] = number
            self._wanted.append((number, name, adult))
        return self._categories[name]

    def make_categories(self) -> None:
        """Make those that were asked for and are not there."""
        self._connection.executemany(
            "INSERT INTO categories (id, name, position, adult) SELECT ?, ?,"
            " coalesce(max(position) + 1, 0), ? FROM categories",
            self._wanted,
        )
        self._wanted.clear()

    def _rows(self, sql: str) -> sqlite3.Cursor:
        return self._connection.execute(sql, (self._list_id,))


class _Parts:
    """The rows of a table of channels' parts, asked for in the order of the channels' ids."""

    def __init__(self, connection: sqlite3.Connection, table: str) -> None:
        self._rows = connection.execute(f"SELECT * FROM {table} ORDER BY channel_id, place")
        self._next: sqlite3.Row | None = self._rows.fetchone()

    def of(self, channel_id: int) -> list[sqlite3.Row]:
        found = []
        row, rows = self._next, self._rows
        while row is not None and row["channel_id"] <= channel_id:
            if row["channel_id"] == channel_id:
                found.append(row)
            row = rows.fetchone()
        self._next = row
        return found


def preview(path: Path, url: str, plan: Callable[[ListContents], _Planned]) -> _Planned:
    """Plan an import of the list at `url` into the database at `path`, and write nothing.

    Blocks: for a thread. Raises StateError as `read_only` does, and what `plan` raises.
    """
    with read_only(path) as connection:
        row = connection.execute(
            "SELECT * FROM lists WHERE kind = 'playlist' AND url = ?", (url,)
        ).fetchone()
        return plan(ListContents(connection, _list(row) if row is not None else None))


class Named(NamedTuple):
    """What of a channel says which guide it has."""

    id: int
    name: str
    guide_id: str
    guide_name: str


_NAMES: Final = "SELECT id, name, guide_id, guide_name FROM channels WHERE retired_at IS NULL"


def read_names(path: Path) -> list[Named]:
    """`LineupStore.names` of a database that is only looked at. Blocks; raises StateError."""
    with read_only(path) as connection:
        return [Named(*row) for row in connection.execute(_NAMES)]


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
        return await asyncio.to_thread(_channels, rows, sources, categories)

    async def names(self) -> list[Named]:
        """Of the channels of the line-up, what guides are matched by."""
        return [Named(*row) for row in await self._db.read(_NAMES)]

    async def count(self) -> int:
        """How many channels the line-up has."""
        where = "WHERE retired_at IS NULL"
        return int((await self._db.read(f"SELECT count(*) FROM channels {where}"))[0][0])

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

    async def apply(self, list_id: int, plan: Callable[[ListContents], LineupChanges]) -> list[int]:
        """Plan an import on what is there, and make all its changes or none, in one transaction.

        `plan` runs in a thread. What was there before is kept for `undo_last`, unless nothing
        changes. Returns the ids of the added channels. Raises StateError, and what `plan` raises.
        """
        return await self._db.work(lambda work: _import(work, list_id, plan))

    async def undo_last(self, list_id: int) -> bool:
        """Take the list's last import back; False when there is none to take back.

        What was set by hand since stays. Its added channels are retired, not deleted: an id that
        players have seen is not lost.
        """
        return await self._db.work(lambda work: _take_back(work, list_id))


# -- an import and its undo: in a thread, in a transaction --


def _import(work: Work, list_id: int, plan: Callable[[ListContents], LineupChanges]) -> list[int]:
    connection = work.connection
    row = connection.execute("SELECT * FROM lists WHERE id = ?", (list_id,)).fetchone()
    if row is None:
        raise StateError("lists", "the list was removed meanwhile")
    there = ListContents(connection, _list(row))
    changes = plan(there)
    undo = _record(connection, changes)
    if changes.changed:
        there.make_categories()
        _write_changed(connection, changes.changed)
    connection.executemany(
        "UPDATE channels SET position = ? WHERE id = ?",
        ((position, channel_id) for channel_id, position in changes.moved),
    )
    for column, ids in (("stale_since", changes.stale), ("retired_at", changes.retired)):
        connection.executemany(
            f"UPDATE channels SET {column} = ? WHERE id = ?",
            ((changes.at, channel_id) for channel_id in ids),
        )
    connection.executemany(
        "UPDATE channels SET stale_since = NULL, retired_at = NULL WHERE id = ?",
        ((channel_id,) for channel_id in changes.returned),
    )
    undo["added"] = added = _write_added(connection, there, changes)
    if any(undo.values()):
        work.changed("lineup")
        connection.execute("UPDATE lists SET undo = ? WHERE id = ?", (json.dumps(undo), list_id))
    return added


def _record(connection: sqlite3.Connection, changes: LineupChanges) -> dict[str, list[Any]]:
    """What `_take_back` needs, of all but the added channels."""
    before = _named(connection, [channel.id for channel in changes.changed])
    moved = [channel_id for channel_id, _position in changes.moved]
    marked = dict.fromkeys((*changes.stale, *changes.returned, *changes.retired))
    return {
        "changed": [_to_json(before[channel.id]) for channel in changes.changed],
        "moved": [tuple(row) for row in _some(connection, "SELECT position, id", moved)],
        "marked": [
            tuple(row)
            for row in _some(connection, "SELECT stale_since, retired_at, id", list(marked))
        ],
    }


def _take_back(work: Work, list_id: int) -> bool:
    connection = work.connection
    row = connection.execute("SELECT undo FROM lists WHERE id = ?", (list_id,)).fetchone()
    if row is None or not row["undo"]:
        return False
    undo = json.loads(row["undo"])
    work.changed("lineup")
    now = int(time.time())
    connection.executemany(
        "UPDATE channels SET retired_at = ? WHERE id = ?",
        [(now, channel_id) for channel_id in undo["added"]],
    )
    connection.executemany(
        "UPDATE channels SET position = ? WHERE id = ? AND ' ' || edited || ' '"
        " NOT LIKE '% position %'",
        undo["moved"],
    )
    connection.executemany(
        "UPDATE channels SET stale_since = ?, retired_at = ? WHERE id = ?", undo["marked"]
    )
    current = _named(connection, [values["id"] for values in undo["changed"]])
    categories = {row["id"] for row in connection.execute("SELECT id FROM categories")}
    lists = {row["id"] for row in connection.execute("SELECT id FROM lists")}
    _write_changed(
        connection,
        [
            _restored(current[values["id"]], values, categories, lists)
            for values in undo["changed"]
            if values["id"] in current
        ],
    )
    connection.execute(
        "UPDATE lists SET undo = '', etag = '', last_modified = '' WHERE id = ?", (list_id,)
    )
    return True


def _restored(
    channel: Channel, before: Mapping[str, Any], categories: Collection[int], lists: Collection[int]
) -> Channel:
    """The channel with what an import changed of it as before, but for what was set by hand."""
    values = {name: before[name] for name in _IMPORTED if name not in channel.edited}
    if "categories" in values:
        values["categories"] = tuple(one for one in values["categories"] if one in categories)
    if "sources" in values:
        learnt = {(one.kind, one.value): one.infohash for one in channel.sources}
        values["sources"] = tuple(
            ChannelSource(
                *(one["kind"], one["value"], tuple(map(tuple, one["headers"]))),
                learnt.get((one["kind"], one["value"])) or one["infohash"],
                one["playlist_id"] if one["playlist_id"] in lists else None,
            )
            for one in values["sources"]
        )
    return dataclasses.replace(channel, **values)


def _some(connection: sqlite3.Connection, select: str, ids: Sequence[int]) -> Iterator[sqlite3.Row]:
    """The rows of `channels` with these ids."""
    for at in range(0, len(ids), _NAMED_AT_ONCE):
        batch = ids[at : at + _NAMED_AT_ONCE]
        marks = ", ".join("?" * len(batch))
        yield from connection.execute(f"{select} FROM channels WHERE id IN ({marks})", batch)


def _named(connection: sqlite3.Connection, ids: Sequence[int]) -> dict[int, Channel]:
    """The channels with these ids that are there."""
    if not ids:
        return {}
    found = {row["id"]: row for row in _some(connection, "SELECT *", ids)}
    sources = _Parts(connection, "channel_sources")
    categories = _Parts(connection, "channel_categories")
    return {
        number: _channel(found[number], sources.of(number), categories.of(number))
        for number in sorted(found)
    }


def _next_id(connection: sqlite3.Connection, table: str) -> int:
    """An id that was never given: AUTOINCREMENT's own next one."""
    row = connection.execute("SELECT seq FROM sqlite_sequence WHERE name = ?", (table,)).fetchone()
    return (row["seq"] if row is not None else 0) + 1


def _write_added(
    connection: sqlite3.Connection, there: ListContents, changes: LineupChanges
) -> list[int]:
    first = number = _next_id(connection, "channels")
    channels = iter(changes.added)
    columns = ("id", *_CHANNEL_COLUMNS, "edited")
    insert = f"INSERT INTO channels ({', '.join(columns)}) VALUES ({', '.join('?' * len(columns))})"
    while batch := list(islice(channels, _BATCH)):
        there.make_categories()
        made = list(enumerate(batch, number))
        number += len(batch)
        rows = []
        for channel_id, channel in made:
            values = _channel_columns(channel)
            values["added_at"] = channel.added_at or changes.at
            rows.append((channel_id, *values.values()))
        connection.executemany(insert, rows)
        _write_parts(connection, made)
    return list(range(first, number))


def _write_changed(connection: sqlite3.Connection, channels: Sequence[Channel]) -> None:
    ids = [(channel.id,) for channel in channels]
    # two of them may change places; for a moment both would have one identity
    connection.executemany("UPDATE channels SET identity = '' WHERE id = ?", ids)
    columns = (*_CHANNEL_COLUMNS, "edited")
    connection.executemany(
        f"UPDATE channels SET {', '.join(f'{name} = ?' for name in columns)} WHERE id = ?",
        ((*_channel_columns(channel).values(), channel.id) for channel in channels),
    )
    for table in ("channel_sources", "channel_categories"):
        connection.executemany(f"DELETE FROM {table} WHERE channel_id = ?", ids)
    _write_parts(connection, [(channel.id, channel) for channel in channels])


def _write_parts(connection: sqlite3.Connection, channels: Sequence[tuple[int, Channel]]) -> None:
    connection.executemany(
        _INSERT_SOURCE,
        (row for number, channel in channels for row in _source_rows(number, channel)),
    )
    connection.executemany(
        _INSERT_CATEGORY,
        (row for number, channel in channels for row in _category_rows(number, channel)),
    )


# -- rows and values --


async def _insert_channel(transaction: Transaction, channel: Channel) -> int:
    columns = _channel_columns(channel)
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
    columns = _channel_columns(channel)
    await transaction.execute(
        f"UPDATE channels SET {', '.join(f'{name} = ?' for name in columns)} WHERE id = ?",
        [*columns.values(), channel.id],
    )
    for table in ("channel_sources", "channel_categories"):
        await transaction.execute(f"DELETE FROM {table} WHERE channel_id = ?", (channel.id,))
    await _set_parts(transaction, channel.id, channel)


async def _set_parts(transaction: Transaction, channel_id: int, channel: Channel) -> None:
    await transaction.executemany(_INSERT_SOURCE, _source_rows(channel_id, channel))
    await transaction.executemany(_INSERT_CATEGORY, _category_rows(channel_id, channel))


def _channel_columns(channel: Channel) -> dict[str, Any]:
    """In the order of `_CHANNEL_COLUMNS`, then `edited`."""
    values = {name: getattr(channel, name) for name in _CHANNEL_COLUMNS}
    values["edited"] = " ".join(sorted(channel.edited))
    return values


def _source_rows(channel_id: int, channel: Channel) -> list[tuple[Any, ...]]:
    return [
        (
            *(channel_id, place, source.kind, source.value),
            *(_headers_text(source.headers), source.infohash, source.playlist_id),
        )
        for place, source in enumerate(channel.sources)
    ]


def _category_rows(channel_id: int, channel: Channel) -> list[tuple[int, int, int]]:
    return [(channel_id, place, category) for place, category in enumerate(channel.categories)]


def _headers_text(headers: Sequence[tuple[str, str]]) -> str:
    return json.dumps(headers) if headers else ""


def _channels(
    rows: Iterable[sqlite3.Row], sources: Iterable[sqlite3.Row], categories: Iterable[sqlite3.Row]
) -> list[Channel]:
    sources_of: dict[int, list[sqlite3.Row]] = defaultdict(list)
    for row in sources:
        sources_of[row["channel_id"]].append(row)
    categories_of: dict[int, list[sqlite3.Row]] = defaultdict(list)
    for row in categories:
        categories_of[row["channel_id"]].append(row)
    return [
        _channel(row, sources_of.get(row["id"], ()), categories_of.get(row["id"], ()))
        for row in rows
    ]


def _channel(
    row: sqlite3.Row, sources: Iterable[sqlite3.Row], categories: Iterable[sqlite3.Row]
) -> Channel:
    values: dict[str, Any] = {name: row[name] for name in _CHANNEL_COLUMNS}
    for name in ("radio", "enabled", "adult"):
        values[name] = bool(values[name])
    return Channel(
        id=row["id"],
        sources=tuple(_source(source) for source in sources),
        categories=tuple(category["category_id"] for category in categories),
        edited=frozenset(row["edited"].split()) if row["edited"] else _NOT_EDITED,
        **values,
    )


def _source(row: sqlite3.Row) -> ChannelSource:
    headers = row["headers"]
    return ChannelSource(
        row["kind"],
        row["value"],
        tuple((name, value) for name, value in json.loads(headers)) if headers else (),
        row["infohash"],
        row["playlist_id"],
    )


def _to_json(channel: Channel) -> dict[str, Any]:
    values = {name: getattr(channel, name) for name in ("id", *_IMPORTED)}
    values["sources"] = [dataclasses.asdict(source) for source in channel.sources]
    return values


def _category(row: sqlite3.Row) -> Category:
    return Category(row["id"], row["name"], row["position"], bool(row["adult"]))


def _list(row: sqlite3.Row) -> ListSource:
    values = {field.name: row[field.name] for field in dataclasses.fields(ListSource)}
    for name in ("enabled", "merge_names"):
        values[name] = bool(values[name])
    return ListSource(**values)
