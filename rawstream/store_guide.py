"""Guides as rows: their channels, their programmes, and which channel of ours shows which.

Owns: how these lie in their tables, generations (a document becomes visible when all of it is
there), what lies on one channel's day by several lists. Must not know: what XMLTV looks like, how
channels are matched.

A programme is kept as the children of its XMLTV element (`epg.programme_body`): what players get is
mostly copied. Times are whole seconds since 1970, UTC.
"""

from __future__ import annotations

import contextlib
import json
import sqlite3
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from rawstream.database import Database
from rawstream.epg import GuideChannel, LocalText, Programme, programme_body
from rawstream.guide_match import Match
from rawstream.store_search import LiveMapping, MappingState, find_mappings

_SWEPT_ROWS: Final = 5_000  # deleted at a time, so that no other writer waits long
_COUNTER: Final = "guide generation"
_MARK: Final = ""  # the id, which no channel has, of a row that says: this import is under way
_SHOWN: Final = "(SELECT generation FROM lists WHERE id = ?1)"


@dataclass(frozen=True, slots=True)
class Broadcast:
    """A programme as it is kept: `body` is what stands inside its element."""

    start: int
    stop: int
    body: str = field(repr=False)


class GuideStore:
    """Guides, mappings and matches."""

    def __init__(self, db: Database) -> None:
        self._db = db

    # -- writing a guide --

    async def begin(self, list_id: int) -> int:
        """A new generation of a list's guide, larger than any before. Nobody sees it yet.

        What an import that never ended has left is swept out; one that is still under way will find
        that it was overtaken when it wants to `finish`.
        """
        async with self._db.write() as transaction:
            await transaction.execute(
                "INSERT INTO settings VALUES (?, '1')"
                " ON CONFLICT (name) DO UPDATE SET value = CAST(value AS INTEGER) + 1",
                (_COUNTER,),
            )
            rows = await transaction.fetchall(
                "SELECT value FROM settings WHERE name = ?", (_COUNTER,)
            )
            generation = int(rows[0]["value"])
            await transaction.execute(
                "DELETE FROM guide_channels WHERE list_id = ? AND id = ?", (list_id, _MARK)
            )
            await transaction.execute(
                "INSERT INTO guide_channels VALUES (?, ?, ?, '[]', '')",
                (list_id, generation, _MARK),
            )
        await self._sweep(
            f"list_id = ?1 AND generation <> ?2 AND generation <> {_SHOWN}", list_id, generation
        )
        return generation

    async def add(
        self,
        list_id: int,
        generation: int,
        channels: Iterable[GuideChannel],
        programmes: Iterable[Programme],
    ) -> None:
        """A piece of a guide. What comes again replaces what was there."""
        channel_rows = [
            (
                *(list_id, generation, channel.id),
                json.dumps(channel.names, ensure_ascii=False),
                channel.icons[0] if channel.icons else "",
            )
            for channel in channels
        ]
        programme_rows = [
            (list_id, generation, one.channel, one.start, one.stop, programme_body(one))
            for one in programmes
        ]
        async with self._db.write() as transaction:
            await transaction.executemany(
                "INSERT OR REPLACE INTO guide_channels VALUES (?, ?, ?, ?, ?)", channel_rows
            )
            await transaction.executemany(
                "INSERT OR REPLACE INTO programmes VALUES (?, ?, ?, ?, ?, ?)", programme_rows
            )

    async def finish(self, list_id: int, generation: int) -> bool:
        """Show this generation, and sweep out the one before it. False: another import of the list
        has begun meanwhile, and this one is gone.
        """
        async with self._db.write() as transaction:
            marks = await transaction.fetchall(
                "SELECT 1 FROM guide_channels WHERE list_id = ? AND generation = ? AND id = ?",
                (list_id, generation, _MARK),
            )
            if marks:
                transaction.changed("guide")
                await transaction.execute(
                    "UPDATE lists SET generation = ? WHERE id = ?", (generation, list_id)
                )
                await transaction.execute(
                    "DELETE FROM guide_channels WHERE list_id = ? AND generation = ? AND id = ?",
                    (list_id, generation, _MARK),
                )
        if marks:
            await self._sweep("list_id = ? AND generation < ?", list_id, generation)
        else:
            await self.abandon(list_id, generation)
        return bool(marks)

    async def abandon(self, list_id: int, generation: int) -> None:
        """What was added of this generation goes; what was shown stays."""
        await self._sweep("list_id = ? AND generation = ?", list_id, generation)

    async def _sweep(self, where: str, list_id: int, generation: int) -> None:
        left = True
        while left:
            async with self._db.write() as transaction:
                arguments = (list_id, generation)
                await transaction.execute(
                    "DELETE FROM programmes WHERE rowid IN"
                    f" (SELECT rowid FROM programmes WHERE {where} LIMIT {_SWEPT_ROWS})",
                    arguments,
                )
                left = bool(
                    await transaction.fetchall(
                        f"SELECT 1 FROM programmes WHERE {where} LIMIT 1", arguments
                    )
                )
                if not left:
                    await transaction.execute(
                        f"DELETE FROM guide_channels WHERE {where}", arguments
                    )

    async def clear(self, list_id: int) -> None:
        """All programmes of a list go, as before its removal."""
        async with self._db.write() as transaction:
            transaction.changed("guide")
            await transaction.execute("UPDATE lists SET generation = -1 WHERE id = ?", (list_id,))
        await self._sweep("list_id = ? AND generation > ?", list_id, -1)

    async def count(self, list_id: int) -> int:
        """How many programmes the list's shown guide has."""
        rows = await self._db.read(
            "SELECT count(*) FROM programmes WHERE list_id = ?1 AND generation ="
            " (SELECT generation FROM lists WHERE id = ?1)",
            (list_id,),
        )
        return int(rows[0][0])

    # -- whose guide it is --

    async def channels(self) -> list[GuideChannel]:
        """The channels that have programmes, with the names of all lists; the preferred list's
        come first.
        """
        return await self._db.look(_read_channels)

    async def edition(self) -> Hashable:
        """Equal as long as `channels` are the same."""
        rows = await self._db.read(
            "SELECT id, generation, enabled, priority FROM lists WHERE kind = 'guide' ORDER BY id"
        )
        return tuple(tuple(row) for row in rows)

    async def mappings(self) -> dict[int, str]:
        """What the operator decided, by channel id; '' is "no guide"."""
        rows = await self._db.read("SELECT * FROM guide_mappings")
        return {row["channel_id"]: row["guide_id"] for row in rows}

    async def set_mapping(self, channel_id: int, guide_id: str | None) -> None:
        """Decide by hand which guide a channel has; None leaves it to the matching again."""
        async with self._db.write() as transaction:
            transaction.changed("guide")
            if guide_id is None:
                await transaction.execute(
                    "DELETE FROM guide_mappings WHERE channel_id = ?", (channel_id,)
                )
            else:
                await transaction.execute(
                    "INSERT INTO guide_mappings VALUES (?, ?)"
                    " ON CONFLICT (channel_id) DO UPDATE SET guide_id = excluded.guide_id",
                    (channel_id, guide_id),
                )

    async def find_mappings(
        self, q: str = "", state: MappingState = "all", offset: int = 0, limit: int = -1
    ) -> tuple[list[LiveMapping], int]:
        """A page of the live channels and their guides, and how many there are: those without one
        first, then the least sure. `limit` -1: all.
        """
        return await self._db.look(
            lambda connection: find_mappings(connection, q, state, offset, limit)
        )

    async def matches(self) -> dict[int, Match]:
        """What the matching found, by channel id."""
        rows = await self._db.read("SELECT * FROM guide_matches")
        return {row["channel_id"]: _match(row) for row in rows}

    async def set_matches(self, found: Mapping[int, Match]) -> None:
        """Replace all of them. Channels that have gone meanwhile are passed over."""
        if await self.matches() == found:
            return
        async with self._db.write() as transaction:
            transaction.changed("guide")
            await transaction.execute("DELETE FROM guide_matches")
            await transaction.executemany(
                _INSERT_MATCH, [_match_row(number, match) for number, match in found.items()]
            )

    async def set_match(self, channel_id: int, match: Match | None) -> None:
        """Replace what the matching found for one channel."""
        (known, *_) = [*await self._db.read(_MATCH_OF, (channel_id,)), None]
        if (None if known is None else _match(known)) == match:
            return
        async with self._db.write() as transaction:
            transaction.changed("guide")
            await transaction.execute(
                "DELETE FROM guide_matches WHERE channel_id = ?", (channel_id,)
            )
            if match is not None:
                await transaction.execute(_INSERT_MATCH, _match_row(channel_id, match))

    async def guide_ids(self) -> dict[int, str]:
        """The guide of each channel that has one, or was denied one ('')."""
        rows = await self._db.read(
            "SELECT channel_id, guide_id FROM guide_matches"
            " UNION ALL SELECT channel_id, guide_id FROM guide_mappings"
        )
        return dict(map(tuple, rows))

    # -- reading a guide --

    async def broadcasts(self, guide_id: str, since: int, until: int) -> list[list[Broadcast]]:
        """What each list has of a channel in a time, the preferred list first."""
        rows = await self._db.read(_BROADCASTS, (guide_id, since, until))
        found: dict[int, list[Broadcast]] = {}
        for list_id, start, stop, body in rows:
            found.setdefault(list_id, []).append(Broadcast(start, stop, body))
        return list(found.values())


# a channel that has gone meanwhile is passed over
_INSERT_MATCH: Final = (
    "INSERT INTO guide_matches SELECT ?1, ?2, ?3, ?4, ?5, ?6, ?7"
    " WHERE EXISTS (SELECT 1 FROM channels WHERE id = ?1)"
)
_MATCH_OF: Final = "SELECT * FROM guide_matches WHERE channel_id = ?"


def _match(row: sqlite3.Row) -> Match:
    return Match(
        row["guide_id"], row["rule"], row["score"], row["ours"], row["theirs"], row["others"]
    )


def _match_row(channel_id: int, m: Match) -> tuple[object, ...]:
    return (channel_id, m.guide_id, m.rule, m.score, m.ours, m.theirs, m.others)


def _read_channels(connection: sqlite3.Connection) -> list[GuideChannel]:
    rows = connection.execute(
        "SELECT programme.channel AS id, names, icon FROM lists"
        " JOIN (SELECT DISTINCT list_id, generation, channel FROM programmes) AS programme"
        " ON programme.list_id = lists.id AND programme.generation = lists.generation"
        " LEFT JOIN guide_channels AS own ON own.list_id = lists.id"
        " AND own.generation = lists.generation AND own.id = programme.channel"
        " WHERE lists.enabled ORDER BY lists.priority, lists.id, programme.channel"
    )
    names: dict[str, list[LocalText]] = {}
    icons: dict[str, list[str]] = {}
    for row in rows:
        texts = [LocalText(*text) for text in json.loads(row["names"] or "[]")]
        names.setdefault(row["id"], []).extend(texts)
        icons.setdefault(row["id"], []).extend([row["icon"]] if row["icon"] else [])
    return [
        GuideChannel(key, tuple(dict.fromkeys(texts)), tuple(icons[key]))
        for key, texts in names.items()
    ]


# CROSS: lists come first. Left to itself SQLite reads all programmes for each channel.
_BROADCASTS: Final = (
    "SELECT programmes.list_id, start, stop, body FROM lists CROSS JOIN programmes"
    " ON programmes.list_id = lists.id AND programmes.generation = lists.generation"
    " WHERE lists.enabled AND channel = ?1 AND stop > ?2 AND start < ?3"
    " ORDER BY lists.priority, lists.id, start"
)


def read_broadcasts(
    path: Path, guide_ids: Sequence[str], since: int, until: int
) -> Iterator[tuple[str, list[list[Broadcast]]]]:
    """`GuideStore.broadcasts` of many channels, one after the other, for a thread: it blocks.

    All of it is of one moment, whatever is imported meanwhile. Raises sqlite3.Error.
    """
    uri = f"{path.absolute().as_uri()}?mode=ro"
    with contextlib.closing(sqlite3.connect(uri, uri=True, isolation_level=None)) as connection:
        connection.execute("BEGIN")
        for guide_id in guide_ids:
            found: dict[int, list[Broadcast]] = {}
            for list_id, start, stop, body in connection.execute(
                _BROADCASTS, (guide_id, since, until)
            ):
                found.setdefault(list_id, []).append(Broadcast(start, stop, body))
            if found:
                yield guide_id, list(found.values())
