"""The line-up's rows and the values they stand for.

Owns: the columns of a channel and its parts, and what a row becomes. Must not know: transactions,
imports, who asks.
"""

from __future__ import annotations

import dataclasses
import json
import sqlite3
from collections import defaultdict
from collections.abc import Iterable, Sequence
from operator import attrgetter
from typing import Any, Final

from rawstream.records import Category, Channel, ChannelSource, FilmFacts, ListSource, Series

CHANNEL_COLUMNS: Final = (
    *("name", "position", "number", "logo", "guide_id", "guide_name", "radio", "enabled", "adult"),
    *("added_at", "playlist_id", "identity", "stale_since", "retired_at"),
    *("kind", "extension", "facts", "series_id", "season", "episode"),
)
# as the table has them: by name SQLite's rows are slow, and an import reads all of them
_IN_TABLE: Final = ("id", *CHANNEL_COLUMNS[:14], "edited", *CHANNEL_COLUMNS[14:])
_OF_CHANNEL: Final = attrgetter(*CHANNEL_COLUMNS)
INSERT_SOURCE: Final = "INSERT INTO channel_sources VALUES (?, ?, ?, ?, ?, ?, ?)"
INSERT_CATEGORY: Final = "INSERT INTO channel_categories VALUES (?, ?, ?)"
_NOT_EDITED: Final[frozenset[str]] = frozenset()
_NO_FACTS: Final = FilmFacts()


class Parts:
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


def channel_columns(channel: Channel) -> dict[str, Any]:
    """In the order of `CHANNEL_COLUMNS`, then `edited`."""
    values = dict(zip(CHANNEL_COLUMNS, _OF_CHANNEL(channel), strict=True))
    values["facts"] = facts_text(channel.facts)
    values["edited"] = " ".join(sorted(channel.edited))
    return values


def source_rows(channel_id: int, channel: Channel) -> list[tuple[Any, ...]]:
    return [
        (
            *(channel_id, place, source.kind, source.value),
            *(_headers_text(source.headers), source.infohash, source.playlist_id),
        )
        for place, source in enumerate(channel.sources)
    ]


def facts_text(facts: FilmFacts | None) -> str:
    """What is known, as JSON; '' where nothing is."""
    if facts is None or facts == _NO_FACTS:
        return ""
    known = {
        name: value for name, value in dataclasses.asdict(facts).items() if value not in ("", 0)
    }
    return json.dumps(known, ensure_ascii=False)


def facts_of(text: str) -> FilmFacts | None:
    return FilmFacts(**json.loads(text)) if text else None


def category_rows(channel_id: int, channel: Channel) -> list[tuple[int, int, int]]:
    return [(channel_id, place, category) for place, category in enumerate(channel.categories)]


def _headers_text(headers: Sequence[tuple[str, str]]) -> str:
    return json.dumps(headers) if headers else ""


def channels_of(
    rows: Iterable[sqlite3.Row], sources: Iterable[sqlite3.Row], categories: Iterable[sqlite3.Row]
) -> list[Channel]:
    sources_of: dict[int, list[sqlite3.Row]] = defaultdict(list)
    for row in sources:
        sources_of[row["channel_id"]].append(row)
    categories_of: dict[int, list[sqlite3.Row]] = defaultdict(list)
    for row in categories:
        categories_of[row["channel_id"]].append(row)
    return [
        channel_of(row, sources_of.get(row["id"], ()), categories_of.get(row["id"], ()))
        for row in rows
    ]


def channel_of(
    row: sqlite3.Row, sources: Iterable[sqlite3.Row], categories: Iterable[sqlite3.Row]
) -> Channel:
    """`row`: of all columns."""
    values: dict[str, Any] = dict(zip(_IN_TABLE, row, strict=True))
    for name in ("radio", "enabled", "adult"):
        values[name] = bool(values[name])
    edited = values.pop("edited")
    values["facts"] = facts_of(values["facts"])
    return Channel(
        sources=tuple(_source(source) for source in sources),
        categories=tuple(category["category_id"] for category in categories),
        edited=frozenset(edited.split()) if edited else _NOT_EDITED,
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


def category_of(row: sqlite3.Row) -> Category:
    return Category(row["id"], row["name"], row["position"], bool(row["adult"]))


def series_of(row: sqlite3.Row) -> Series:
    return Series(row["id"], row["name"], row["cover"], facts_of(row["facts"]))


def list_of(row: sqlite3.Row) -> ListSource:
    values = {field.name: row[field.name] for field in dataclasses.fields(ListSource)}
    for name in ("enabled", "merge_names", "held"):
        values[name] = bool(values[name])
    return ListSource(**values)
