"""An import into the line-up as one transaction, and its undo.

Owns: what a plan finds, that all of it is written or nothing, what is kept to take it back. Must
not know: how a list is read, which change an import ought to make. It blocks: for a thread.
"""

from __future__ import annotations

import dataclasses
import json
import sqlite3
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, Final, TypeVar

from rawstream.database import Work, read_only
from rawstream.errors import StateError
from rawstream.lineup_rows import (
    CHANNEL_COLUMNS,
    INSERT_CATEGORY,
    INSERT_SOURCE,
    Parts,
    category_rows,
    channel_columns,
    channel_of,
    facts_of,
    facts_text,
    list_of,
    source_rows,
)
from rawstream.records import Channel, ChannelSource, ListSource

# what an import writes, and so what its undo brings back
_IMPORTED: Final = (
    *("name", "position", "number", "logo", "guide_id", "guide_name", "radio", "categories"),
    *("sources", "identity", "stale_since", "retired_at"),
    *("kind", "extension", "facts", "series_id", "season", "episode"),
)
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


_NOBODYS: Final = "c.playlist_id IS NULL AND c.identity <> ''"
_THEIRS: Final = f"(c.playlist_id = ? OR {_NOBODYS})"


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
        self._series: dict[str, int] = {}  # asked for
        self._series_there: dict[str, sqlite3.Row] | None = None
        self._wanted_series: list[tuple[int, str, str, str, int]] = []
        self._renewed_series: list[tuple[str, str, int, int]] = []
        self.series_before: list[tuple[str, str, int]] = []

    def identities(self, *, own: bool) -> Iterator[tuple[int, str]]:
        """Id and identity of each channel that is the list's own, or that is nobody's."""
        yield from map(tuple, self._of(own, "SELECT c.id, c.identity FROM channels c"))

    def brought(self, *, own: bool) -> Iterator[tuple[int, str, str]]:
        """Id of such a channel, kind and value of a source that its list brought it."""
        rows = self._of(
            own,
            "SELECT s.channel_id, s.kind, s.value FROM channels c JOIN channel_sources s"
            " ON s.channel_id = c.id AND s.playlist_id IS c.playlist_id",
        )
        yield from map(tuple, rows)

    def channels(self) -> Iterator[Channel]:
        """In the order of ids."""
        sources = Parts(self._connection, "channel_sources")
        categories = Parts(self._connection, "channel_categories")
        for row in self._rows(f"SELECT * FROM channels c WHERE {_THEIRS} ORDER BY id"):
            yield channel_of(row, sources.of(row["id"]), categories.of(row["id"]))

    def category(self, name: str, *, adult: bool = False) -> int:
        """The id of the category of that name; one that is not there is made with the
        first channel that is written.
        """
        if self._categories is None:
            # a name that a category has now goes before one that it had
            rows = self._connection.execute(
                "SELECT name, category_id AS id FROM category_names"
                " UNION ALL SELECT name, id FROM categories"
            )
            self._categories = {row["name"]: row["id"] for row in rows}
        if name not in self._categories:
            first = _next_id(self._connection, "categories")
            number = first + len(self._wanted)
            self._categories[name] = number
            self._wanted.append((number, name, adult))
        return self._categories[name]

    def series(self, identity: str, name: str, cover: str = "") -> int:
        """The id of the list's series of that identity. One that is not there is made, and one that
        is called otherwise or has another cover changed, with the first channel that is written.
        """
        found = self._series.get(identity)
        if found is None:
            found = self._series[identity] = self._series_named(identity, name, cover)
        return found

    def _series_named(self, identity: str, name: str, cover: str) -> int:
        if self._series_there is None:
            # the list's own behind those that a removed list left: they count
            rows = self._rows(
                "SELECT * FROM series WHERE identity <> ''"
                " AND (playlist_id = ? OR playlist_id IS NULL) ORDER BY playlist_id IS NOT NULL"
            )
            self._series_there = {row["identity"]: row for row in rows}
        row = self._series_there.get(identity)
        if row is None:
            number = _next_id(self._connection, "series") + len(self._wanted_series)
            self._wanted_series.append((number, name, cover, identity, self._list_id))
            return number
        number = int(row["id"])
        edited = row["edited"].split()
        name = row["name"] if "name" in edited else name
        cover = row["cover"] if "cover" in edited else cover or row["cover"]
        changed = (row["name"], row["cover"]) != (name, cover)
        if changed or row["playlist_id"] is None:
            self._renewed_series.append((name, cover, self._list_id, number))
        if changed:
            self.series_before.append((row["name"], row["cover"], number))
        return number

    def make_what_is_missing(self) -> None:
        """Make the categories and series that were asked for and are not there."""
        self._connection.executemany(
            "UPDATE series SET name = ?, cover = ?, playlist_id = ? WHERE id = ?",
            self._renewed_series,
        )
        self._connection.executemany(
            "INSERT INTO series (id, name, cover, identity, playlist_id) VALUES (?, ?, ?, ?, ?)",
            self._wanted_series,
        )
        self._renewed_series.clear()
        self._wanted_series.clear()
        self._connection.executemany(
            "INSERT INTO categories (id, name, position, adult) SELECT ?, ?,"
            " coalesce(max(position) + 1, 0), ? FROM categories",
            self._wanted,
        )
        self._wanted.clear()

    def _of(self, own: bool, select: str) -> sqlite3.Cursor:
        if own:
            return self._rows(f"{select} WHERE c.playlist_id = ?")
        return self._connection.execute(f"{select} WHERE {_NOBODYS}")

    def _rows(self, sql: str) -> sqlite3.Cursor:
        return self._connection.execute(sql, (self._list_id,))


def preview(path: Path, url: str, plan: Callable[[ListContents], _Planned]) -> _Planned:
    """Plan an import of the list at `url` into the database at `path`, and write nothing.

    Blocks: for a thread. Raises StateError as `read_only` does, and what `plan` raises.
    """
    with read_only(path) as connection:
        row = connection.execute(
            "SELECT * FROM lists WHERE kind = 'playlist' AND url = ?", (url,)
        ).fetchone()
        return plan(ListContents(connection, list_of(row) if row is not None else None))


def import_into(
    work: Work, list_id: int, plan: Callable[[ListContents], LineupChanges]
) -> list[int]:
    connection = work.connection
    row = connection.execute("SELECT * FROM lists WHERE id = ?", (list_id,)).fetchone()
    if row is None:
        raise StateError("lists", "the list was removed meanwhile")
    if row["held"]:  # whoever wants it read has released it
        raise StateError("lists", "its last import was taken back meanwhile")
    there = ListContents(connection, list_of(row))
    changes = plan(there)
    undo = _record(connection, changes)
    there.make_what_is_missing()
    if changes.changed:
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
    undo["series"] = there.series_before
    if any(undo.values()):
        work.changed("lineup")
        connection.execute("UPDATE lists SET undo = ? WHERE id = ?", (json.dumps(undo), list_id))
    return added


def _record(connection: sqlite3.Connection, changes: LineupChanges) -> dict[str, list[Any]]:
    """What `take_back` needs, of all but the added channels."""
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


def take_back(work: Work, list_id: int) -> bool:
    """Undo the list's last import; False when there is none to take back."""
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
    connection.executemany(
        "UPDATE series SET name = CASE WHEN instr(edited, 'name') THEN name ELSE ?1 END,"
        " cover = CASE WHEN instr(edited, 'cover') THEN cover ELSE ?2 END WHERE id = ?3",
        undo.get("series", ()),
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
    work.changed("sources")
    connection.execute(
        "UPDATE lists SET undo = '', etag = '', last_modified = '', held = 1 WHERE id = ?",
        (list_id,),
    )
    return True


def _restored(
    channel: Channel, before: Mapping[str, Any], categories: Collection[int], lists: Collection[int]
) -> Channel:
    """The channel with what an import changed of it as before, but for what was set by hand."""
    # what an older version kept says nothing of films
    known = (name for name in _IMPORTED if name in before and name not in channel.edited)
    values = {name: before[name] for name in known}
    if "facts" in values:
        values["facts"] = facts_of(values["facts"])
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
    sources = Parts(connection, "channel_sources")
    categories = Parts(connection, "channel_categories")
    return {
        number: channel_of(found[number], sources.of(number), categories.of(number))
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
    columns = ("id", *CHANNEL_COLUMNS, "edited")
    insert = f"INSERT INTO channels ({', '.join(columns)}) VALUES ({', '.join('?' * len(columns))})"
    while batch := list(islice(channels, _BATCH)):
        there.make_what_is_missing()
        made = list(enumerate(batch, number))
        number += len(batch)
        rows = []
        for channel_id, channel in made:
            values = channel_columns(channel)
            values["added_at"] = channel.added_at or changes.at
            rows.append((channel_id, *values.values()))
        connection.executemany(insert, rows)
        _write_parts(connection, made)
    return list(range(first, number))


def _write_changed(connection: sqlite3.Connection, channels: Sequence[Channel]) -> None:
    ids = [(channel.id,) for channel in channels]
    # two of them may change places; for a moment both would have one identity
    connection.executemany("UPDATE channels SET identity = '' WHERE id = ?", ids)
    columns = (*CHANNEL_COLUMNS, "edited")
    connection.executemany(
        f"UPDATE channels SET {', '.join(f'{name} = ?' for name in columns)} WHERE id = ?",
        ((*channel_columns(channel).values(), channel.id) for channel in channels),
    )
    for table in ("channel_sources", "channel_categories"):
        connection.executemany(f"DELETE FROM {table} WHERE channel_id = ?", ids)
    _write_parts(connection, [(channel.id, channel) for channel in channels])


def _write_parts(connection: sqlite3.Connection, channels: Sequence[tuple[int, Channel]]) -> None:
    connection.executemany(
        INSERT_SOURCE,
        (row for number, channel in channels for row in source_rows(number, channel)),
    )
    connection.executemany(
        INSERT_CATEGORY,
        (row for number, channel in channels for row in category_rows(number, channel)),
    )


def _to_json(channel: Channel) -> dict[str, Any]:
    values = {name: getattr(channel, name) for name in ("id", *_IMPORTED)}
    values["sources"] = [dataclasses.asdict(source) for source in channel.sources]
    values["facts"] = facts_text(channel.facts)
    return values
