"""Edits by hand of many rows of the line-up at once: each one transaction, whole or not at all.

Owns: the order of channels and categories, merging, bulk edits, which of their fields no import
touches then. Must not know: who edits, what a request looks like. It blocks: for a thread.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from rawstream.database import Work
from rawstream.errors import ConfigError
from rawstream.store_search import ChannelFilter, matching_ids

_FLAGS: Final = ("enabled", "adult", "radio")
_ON_THE_LINE_UP: Final = "SELECT id, position FROM channels WHERE retired_at IS NULL"
_CHOSEN: Final = "(SELECT id FROM chosen)"


@dataclass(frozen=True, slots=True)
class BulkEdit:
    """What many channels become; None and () leave a field as it is. `categories_set` comes before
    what is added and removed. `numbers`: the first, and the step to the next.
    """

    enabled: bool | None = None
    adult: bool | None = None
    radio: bool | None = None
    categories_set: tuple[int, ...] | None = None
    categories_add: tuple[int, ...] = ()
    categories_remove: tuple[int, ...] = ()
    numbers: tuple[int, int] | None = None
    delete: bool = False

    @property
    def of_categories(self) -> bool:
        return self.categories_set is not None or bool(
            self.categories_add or self.categories_remove
        )


class _Place(NamedTuple):
    """Where a channel stands: the order of the line-up is the order of these."""

    position: int
    id: int


def edit_many(work: Work, which: ChannelFilter | Sequence[int], edit: BulkEdit) -> int:
    """Returns how many channels there were to edit. Raises ConfigError: an unknown category."""
    connection = work.connection
    wanted = (*(edit.categories_set or ()), *edit.categories_add)
    _check_categories(connection, wanted, "change")
    ids = _chosen(connection, which)
    if not ids:
        return 0
    work.changed("lineup")
    if edit.delete:
        work.changed("guide")
        connection.execute(f"DELETE FROM channels WHERE id IN {_CHOSEN}")
        return len(ids)
    _teach_marking(connection)
    for name in _FLAGS:
        if (value := getattr(edit, name)) is not None:
            # whether a channel is on is never a list's to say: there is nothing to mark
            marked = "" if name == "enabled" else f", edited = marked(edited, '{name}')"
            connection.execute(
                f"UPDATE channels SET {name} = ?{marked} WHERE id IN {_CHOSEN}", (value,)
            )
    if edit.of_categories:
        _sort_into(connection, ids, edit)
    if edit.numbers is not None:
        first, step = edit.numbers
        connection.executemany(
            "UPDATE channels SET number = ?, edited = marked(edited, 'number') WHERE id = ?",
            ((str(first + step * place), one) for place, one in enumerate(ids)),
        )
    return len(ids)


def _chosen(connection: sqlite3.Connection, which: ChannelFilter | Sequence[int]) -> list[int]:
    """The ids of those that are there, in the order of the line-up; also as the table `chosen`."""
    connection.execute("CREATE TEMP TABLE chosen (id INTEGER PRIMARY KEY)")
    wanted = matching_ids(connection, which) if isinstance(which, ChannelFilter) else which
    connection.executemany("INSERT OR IGNORE INTO chosen VALUES (?)", ((one,) for one in wanted))
    rows = connection.execute(
        f"SELECT id FROM channels WHERE id IN {_CHOSEN} ORDER BY position, id"
    )
    return [row["id"] for row in rows]


def _sort_into(connection: sqlite3.Connection, ids: Sequence[int], edit: BulkEdit) -> None:
    before: dict[int, list[int]] = {one: [] for one in ids}
    for row in connection.execute(
        f"SELECT * FROM channel_categories WHERE channel_id IN {_CHOSEN} ORDER BY channel_id, place"
    ):
        before[row["channel_id"]].append(row["category_id"])
    start = None if edit.categories_set is None else list(edit.categories_set)
    removed = set(edit.categories_remove)
    after = {
        one: tuple(
            number
            for number in dict.fromkeys((*(had if start is None else start), *edit.categories_add))
            if number not in removed
        )
        for one, had in before.items()
    }
    connection.execute(f"DELETE FROM channel_categories WHERE channel_id IN {_CHOSEN}")
    connection.executemany(
        "INSERT INTO channel_categories VALUES (?, ?, ?)",
        (
            (one, place, number)
            for one, numbers in after.items()
            for place, number in enumerate(numbers)
        ),
    )
    connection.executemany(
        "UPDATE channels SET edited = marked(edited, 'categories') WHERE id = ?",
        ((one,) for one, numbers in after.items() if list(numbers) != before[one]),
    )


def move(work: Work, channel_id: int, before_id: int | None, after_id: int | None = None) -> bool:
    """Put a channel before or behind another one, or last. As few others as can be are moved with
    it, and no import moves any of these again. False: the channel is not on the line-up. Raises
    ConfigError: the other one is not.
    """
    connection = work.connection
    rows = connection.execute(f"{_ON_THE_LINE_UP} ORDER BY position, id")
    places = [_Place(row["position"], row["id"]) for row in rows]
    ranks = {one.id: rank for rank, one in enumerate(places)}
    if channel_id not in ranks:
        return False
    for field, other in (("before_id", before_id), ("after_id", after_id)):
        if other is not None and other not in ranks:
            raise ConfigError(field, "there is no such channel on the line-up")
    stood = ranks[channel_id]
    at = len(places)
    if before_id is not None:
        at = ranks[before_id]
    elif after_id is not None:
        at = ranks[after_id] + 1
    if at in (stood, stood + 1):
        return True
    del places[stood]
    at -= stood < at
    changed = list(_placed(channel_id, places[:at], places[at:]))
    work.changed("lineup")
    _teach_marking(connection)
    connection.executemany(
        "UPDATE channels SET position = ?, edited = marked(edited, 'position') WHERE id = ?",
        changed,
    )
    return True


def _placed(moved: int, before: Sequence[_Place], after: Sequence[_Place]) -> Iterable[_Place]:
    """The moved channel between these, and those that have to make room."""
    if before:
        last = _next_to(before[-1], moved)
    elif after:
        first = after[0]
        last = _Place(first.position - (moved > first.id), moved)
    else:
        last = _Place(0, moved)
    yield last
    for one in after:
        if one > last:
            return
        last = _next_to(last, one.id)
        yield last


def _next_to(last: _Place, number: int) -> _Place:
    """The first place for this channel behind that one."""
    return _Place(last.position + (number < last.id), number)


# -- categories --


def merge_categories(work: Work, category_id: int, into_id: int) -> bool:
    """What is in the one is in the other then, and the one is gone: lists that name it mean the
    other, accounts that were given it have the other. If one of them is for adults, the other is
    then. False: one of them is not there.
    """
    connection = work.connection
    found = connection.execute(
        "SELECT name, adult FROM categories WHERE id IN (?, ?) ORDER BY id = ?",
        (category_id, into_id, into_id),
    ).fetchall()
    if len(found) != 2:
        return False
    work.changed("lineup")
    pair = (into_id, category_id)
    connection.execute(
        "DELETE FROM channel_categories WHERE category_id = ?2 AND channel_id IN"
        " (SELECT channel_id FROM channel_categories WHERE category_id = ?1)",
        pair,
    )
    connection.execute("UPDATE channel_categories SET category_id = ? WHERE category_id = ?", pair)
    connection.execute(
        "UPDATE categories SET adult = max(adult, ?) WHERE id = ?", (found[0]["adult"], into_id)
    )
    connection.execute("UPDATE category_names SET category_id = ? WHERE category_id = ?", pair)
    connection.execute("DELETE FROM categories WHERE id = ?", (category_id,))
    connection.execute(
        "INSERT OR REPLACE INTO category_names VALUES (?, ?)", (found[0]["name"], into_id)
    )
    for row in connection.execute(
        "SELECT id, categories FROM accounts WHERE categories IS NOT NULL"
    ).fetchall():
        given = set(map(int, row["categories"].split()))
        if category_id in given:
            work.changed("accounts")
            given = given - {category_id} | {into_id}
            connection.execute(
                "UPDATE accounts SET categories = ? WHERE id = ?",
                (" ".join(map(str, sorted(given))), row["id"]),
            )
    return True


def order_categories(work: Work, ids: Sequence[int]) -> None:
    """These first, in this order; the others behind them as they stood. Raises ConfigError."""
    connection = work.connection
    _check_categories(connection, ids, "ids")
    rows = connection.execute("SELECT id FROM categories ORDER BY position, name")
    wanted = dict.fromkeys((*ids, *(row["id"] for row in rows)))
    work.changed("lineup")
    connection.executemany("UPDATE categories SET position = ? WHERE id = ?", enumerate(wanted))


def _check_categories(connection: sqlite3.Connection, wanted: Iterable[int], field: str) -> None:
    known = {row["id"] for row in connection.execute("SELECT id FROM categories")}
    for number in wanted:
        if number not in known:
            raise ConfigError(field, f"there is no category {number}")


def _teach_marking(connection: sqlite3.Connection) -> None:
    def marked(edited: str, name: str) -> str:
        return " ".join(sorted({*edited.split(), name}))

    connection.create_function("marked", 2, marked, deterministic=True)
