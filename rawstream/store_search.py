"""The line-up as one looks through it: which channels fit a filter, a page of them, their guides.

Owns: filters as SQL, the order of what is shown. Must not know: who looks, what a row is shown as.
It blocks: for a thread that has a connection for itself.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, NamedTuple

from rawstream.lineup_rows import channels_of
from rawstream.records import Channel

State = Literal["all", "enabled", "disabled", "stale", "retired", "unmapped"]
KindAsked = Literal["live", "movie", "episode", "all"]
MappingState = Literal["all", "unmapped", "matched", "manual"]
BY_HAND: Final = "by hand"
_HEX40: Final = re.compile(r"[0-9a-fA-F]{40}")
# what a magnet holds is looked for in its text: there are few of them
_HOLDERS: Final = """
    SELECT c.id, c.name, s.kind, s.value, s.infohash, i.infohash AS learnt
    FROM channel_sources s JOIN channels c ON c.id = s.channel_id
    LEFT JOIN infohashes i ON i.kind = s.kind AND i.value = s.value
    WHERE c.retired_at IS NULL AND (s.value IN ({marks}) OR s.infohash IN ({marks})
    OR i.infohash IN ({marks}) OR s.kind = 'magnet') ORDER BY c.position, c.id, s.place
"""
_UNRESOLVED: Final = """
    SELECT EXISTS (SELECT 1 FROM channel_sources s JOIN channels c ON c.id = s.channel_id
    LEFT JOIN infohashes i ON i.kind = s.kind AND i.value = s.value
    WHERE c.retired_at IS NULL AND s.kind IN ('content_id', 'unknown')
    AND s.infohash IS NULL AND i.infohash IS NULL)
"""
_NAMED_AT_ONCE: Final = 500  # ids in one question; SQLite takes 999 in its oldest builds


@dataclass(frozen=True, slots=True)
class ChannelFilter:
    """Which channels. `q`: a part of the name, of a guide's id or name, of a source, or the whole
    number. `category_id` 0: those in no category. `state` all: those of the line-up; retired are
    those that were taken off it. `unmapped`: live, with no guide, and nobody said that it has none.
    """

    q: str = ""
    category_id: int | None = None
    kind: KindAsked = "all"
    state: State = "all"
    playlist_id: int | None = None
    series_id: int | None = None


class Holder(NamedTuple):
    """A channel that has some content as a source."""

    id: int
    name: str


@dataclass(frozen=True, slots=True)
class Assigned:
    """The guide a channel has. `guide_id` '': none, as somebody decided. `score`: 0 to 100.
    `ours`, `theirs`: the texts found alike; `others`: how many more fit as well.
    """

    guide_id: str
    rule: str
    score: int
    manual: bool = False
    ours: str = ""
    theirs: str = ""
    others: int = 0


@dataclass(frozen=True, slots=True)
class LiveMapping:
    """A live channel and its guide. `own_id`, `own_name`: what its list calls it in guides."""

    channel_id: int
    name: str
    own_id: str
    own_name: str
    guide: Assigned | None


@dataclass(frozen=True, slots=True)
class Found:
    """A page of the line-up. `total`: without the page's bounds. `guides`: by channel id."""

    channels: Sequence[Channel]
    guides: dict[int, Assigned]
    total: int


_GUIDES: Final = (
    "SELECT c.id, c.name, c.guide_id, c.guide_name, m.guide_id AS hand, g.guide_id AS found,"
    " g.rule, g.score, g.ours, g.theirs, g.others FROM channels c"
    " LEFT JOIN guide_mappings m ON m.channel_id = c.id"
    " LEFT JOIN guide_matches g ON g.channel_id = c.id"
)
_NO_GUIDE: Final = (
    "c.kind = 'live' AND c.id NOT IN (SELECT channel_id FROM guide_mappings)"
    " AND c.id NOT IN (SELECT channel_id FROM guide_matches)"
)
_STATES: Final[dict[State, str]] = {
    "all": "c.retired_at IS NULL",
    "enabled": "c.retired_at IS NULL AND c.enabled",
    "disabled": "c.retired_at IS NULL AND NOT c.enabled",
    "stale": "c.retired_at IS NULL AND c.stale_since IS NOT NULL",
    "retired": "c.retired_at IS NOT NULL",
    "unmapped": f"c.retired_at IS NULL AND {_NO_GUIDE}",
}
_MAPPING_STATES: Final[dict[MappingState, str]] = {
    "all": "1",
    "unmapped": "m.guide_id IS NULL AND g.guide_id IS NULL",
    "matched": "m.guide_id IS NULL AND g.guide_id IS NOT NULL",
    "manual": "m.guide_id IS NOT NULL",
}
_SCORE: Final = "CASE WHEN m.guide_id IS NOT NULL THEN 100 ELSE coalesce(g.score, 0) END"


def find_channels(
    connection: sqlite3.Connection, wanted: ChannelFilter, offset: int, limit: int
) -> Found:
    """A page of the channels that fit, in the order of the line-up."""
    where, arguments = _where(connection, wanted)
    (total,) = connection.execute(f"SELECT count(*) FROM channels c {where}", arguments).fetchone()
    rows = connection.execute(
        f"SELECT c.* FROM channels c {where} ORDER BY c.position, c.id LIMIT ? OFFSET ?",
        (*arguments, limit, offset),
    ).fetchall()
    return _found(connection, rows, total)


def channel_with_guide(
    connection: sqlite3.Connection, channel_id: int
) -> tuple[Channel, Assigned | None] | None:
    """One channel, retired or not; None: there is none."""
    rows = connection.execute("SELECT * FROM channels WHERE id = ?", (channel_id,)).fetchall()
    found = _found(connection, rows, len(rows))
    if not found.channels:
        return None
    return found.channels[0], found.guides.get(channel_id)


def matching_ids(connection: sqlite3.Connection, wanted: ChannelFilter) -> list[int]:
    """All channels that fit, in the order of the line-up."""
    where, arguments = _where(connection, wanted)
    rows = connection.execute(
        f"SELECT c.id FROM channels c {where} ORDER BY c.position, c.id", arguments
    )
    return [row[0] for row in rows]


def find_mappings(
    connection: sqlite3.Connection, q: str, state: MappingState, offset: int, limit: int
) -> tuple[list[LiveMapping], int]:
    """A page of the live channels and their guides, and how many there are: those without one
    first, then the least sure.
    """
    tests = ["c.retired_at IS NULL", "c.kind = 'live'", _MAPPING_STATES[state]]
    arguments: list[Any] = []
    if q.strip():
        _teach_folding(connection)
        own = ("c.name", "c.guide_id", "c.guide_name", "coalesce(m.guide_id, g.guide_id, '')")
        tests.append(f"({' OR '.join(f'instr(folded({one}), ?)' for one in own)})")
        arguments += [q.strip().casefold()] * len(own)
    sql = f"{_GUIDES} WHERE {' AND '.join(tests)}"
    (total,) = connection.execute(f"SELECT count(*) FROM ({sql})", arguments).fetchone()
    rows = connection.execute(
        f"{sql} ORDER BY {_SCORE}, c.id LIMIT ? OFFSET ?", (*arguments, limit, offset)
    )
    found = [
        LiveMapping(row["id"], row["name"], row["guide_id"], row["guide_name"], _assigned(row))
        for row in rows
    ]
    return found, total


def holders(connection: sqlite3.Connection, values: Sequence[str]) -> dict[str, list[Holder]]:
    """Which channels of the line-up have these as a source, in its order. `values`: infohashes and
    content ids, lower case. Those that nobody has are left out.
    """
    found: dict[str, list[Holder]] = {}
    for at in range(0, len(values), _NAMED_AT_ONCE):
        batch = values[at : at + _NAMED_AT_ONCE]
        marks = ", ".join(f"?{place}" for place in range(1, len(batch) + 1))
        for row in connection.execute(_HOLDERS.format(marks=marks), batch):
            ways = {row["value"], row["infohash"], row["learnt"]}
            if row["kind"] == "magnet":
                ways = {*ways, *map(str.lower, _HEX40.findall(row["value"]))}
            holder = Holder(row["id"], row["name"])
            for value in ways.intersection(batch):
                if holder not in found.setdefault(value, []):
                    found[value].append(holder)
    return found


def any_unresolved(connection: sqlite3.Connection) -> bool:
    """Whether the line-up has content ids of which nobody has learnt yet what they are: `holders`
    finds their channels by the id alone.
    """
    return bool(connection.execute(_UNRESOLVED).fetchone()[0])


def _where(connection: sqlite3.Connection, wanted: ChannelFilter) -> tuple[str, list[Any]]:
    tests = [_STATES[wanted.state]]
    arguments: list[Any] = []
    if wanted.kind != "all":
        tests.append("c.kind = ?")
        arguments.append(wanted.kind)
    if wanted.playlist_id is not None:
        tests.append("c.playlist_id = ?")
        arguments.append(wanted.playlist_id)
    if wanted.series_id is not None:
        tests.append("c.series_id = ?")
        arguments.append(wanted.series_id)
    if wanted.category_id == 0:
        tests.append("c.id NOT IN (SELECT channel_id FROM channel_categories)")
    elif wanted.category_id is not None:
        tests.append("c.id IN (SELECT channel_id FROM channel_categories WHERE category_id = ?)")
        arguments.append(wanted.category_id)
    if text := wanted.q.strip():
        _teach_folding(connection)
        tests.append(
            "(instr(folded(c.name), ?) OR instr(folded(c.guide_name), ?)"
            " OR instr(folded(c.guide_id), ?) OR c.number = ? OR c.id IN"
            " (SELECT channel_id FROM channel_sources WHERE instr(lower(value), ?)"
            " OR instr(infohash, ?)))"
        )
        folded = text.casefold()
        arguments += [folded, folded, folded, text, text.lower(), text.lower()]
    return f"WHERE {' AND '.join(tests)}", arguments


def _teach_folding(connection: sqlite3.Connection) -> None:
    """SQLite itself folds the case of ASCII alone."""
    connection.create_function("folded", 1, str.casefold, deterministic=True)


def _found(connection: sqlite3.Connection, rows: Sequence[sqlite3.Row], total: int) -> Found:
    ids = [row["id"] for row in rows]
    parts: dict[str, list[sqlite3.Row]] = {"channel_sources": [], "channel_categories": []}
    guides: dict[int, Assigned] = {}
    for at in range(0, len(ids), _NAMED_AT_ONCE):
        batch = ids[at : at + _NAMED_AT_ONCE]
        marks = ", ".join("?" * len(batch))
        for table, found in parts.items():
            found += connection.execute(
                f"SELECT * FROM {table} WHERE channel_id IN ({marks}) ORDER BY channel_id, place",
                batch,
            )
        for row in connection.execute(f"{_GUIDES} WHERE c.id IN ({marks})", batch):
            if (guide := _assigned(row)) is not None:
                guides[row["id"]] = guide
    return Found(
        channels_of(rows, parts["channel_sources"], parts["channel_categories"]), guides, total
    )


def _assigned(row: sqlite3.Row) -> Assigned | None:
    if row["hand"] is not None:
        return Assigned(row["hand"], BY_HAND, 100, manual=True)
    if row["found"] is None:
        return None
    return Assigned(
        row["found"], row["rule"], row["score"], False, row["ours"], row["theirs"], row["others"]
    )
