"""Rows and values: what is written is read back."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator

import pytest

from rawstream.database import MIGRATIONS
from rawstream.lineup_rows import (
    _IN_TABLE,
    CHANNEL_COLUMNS,
    INSERT_CATEGORY,
    INSERT_SOURCE,
    Parts,
    category_rows,
    channel_columns,
    channel_of,
    channels_of,
    facts_of,
    facts_text,
    series_of,
    source_rows,
)
from rawstream.records import Channel, ChannelSource, FilmFacts, Series

CHANNELS = (
    Channel(3, "Bare"),
    Channel(
        5,
        "Full",
        7,
        "5.1",
        "http://l",
        "one.it",
        radio=True,
        enabled=False,
        adult=True,
        added_at=9,
        categories=(2, 1),
        sources=(
            ChannelSource("hls", "http://h/x", (("User-Agent", "Box"), ("Referer", "http://r"))),
            ChannelSource("unknown", "a" * 40, infohash="b" * 40),
        ),
        identity="i",
        stale_since=1,
        retired_at=2,
        edited=frozenset({"name", "logo"}),
    ),
    Channel(6, "Film", kind="movie", extension="mp4", facts=FilmFacts("Plot", rating=6.5)),
    Channel(8, "S01E02", kind="episode", extension="mkv", series_id=4, season=1, episode=2),
)
EXPECTED = sorted(CHANNELS, key=lambda channel: channel.id)


@pytest.fixture
def tables() -> Iterator[sqlite3.Connection]:
    with contextlib.closing(sqlite3.connect(":memory:")) as connection:
        connection.row_factory = sqlite3.Row
        for script in MIGRATIONS:
            connection.executescript(script)
        columns = ("id", *CHANNEL_COLUMNS, "edited")
        marks = ", ".join("?" * len(columns))
        for channel in CHANNELS:
            connection.execute(
                f"INSERT INTO channels ({', '.join(columns)}) VALUES ({marks})",
                (channel.id, *channel_columns(channel).values()),
            )
            connection.executemany(INSERT_SOURCE, source_rows(channel.id, channel))
            connection.executemany(INSERT_CATEGORY, category_rows(channel.id, channel))
        yield connection


def test_all_at_once_and_one_by_one_are_the_same(tables: sqlite3.Connection) -> None:
    rows = tables.execute("SELECT * FROM channels ORDER BY id").fetchall()
    parts = [
        tables.execute(f"SELECT * FROM {table} ORDER BY channel_id, place").fetchall()
        for table in ("channel_sources", "channel_categories")
    ]
    assert channels_of(rows, *parts) == EXPECTED
    sources, categories = Parts(tables, "channel_sources"), Parts(tables, "channel_categories")
    found = [channel_of(row, sources.of(row["id"]), categories.of(row["id"])) for row in rows]
    assert found == EXPECTED


def test_the_columns_are_known_in_the_order_of_the_table(tables: sqlite3.Connection) -> None:
    columns = [row["name"] for row in tables.execute("PRAGMA table_info(channels)")]
    assert columns == list(_IN_TABLE)


def test_of_facts_only_what_is_known_is_kept() -> None:
    assert facts_text(None) == facts_text(FilmFacts()) == ""
    assert facts_of("") is None
    facts = FilmFacts("Plot", duration=5400, rating=6.5)
    assert facts_text(facts) == '{"plot": "Plot", "rating": 6.5, "duration": 5400}'
    assert facts_of(facts_text(facts)) == facts


def test_a_series_is_read_back(tables: sqlite3.Connection) -> None:
    facts = FilmFacts(genre="Drama")
    tables.execute(
        "INSERT INTO series (id, name, cover, facts) VALUES (4, 'Show', 'http://c', ?)",
        (facts_text(facts),),
    )
    (row,) = tables.execute("SELECT * FROM series")
    assert series_of(row) == Series(4, "Show", "http://c", facts)
