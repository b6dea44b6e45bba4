"""A channel list into the line-up, so that nothing is lost and ids stay (design §6, issue texts).

Owns: what an import adds, changes and misses, its report. Must not know: where a list comes from,
when it is read again, which entry is which channel (`list_entries`), how rows are kept.

Long lists are planned in a thread and in little memory: of an entry only what becomes part of a
channel, of the line-up a row at a time.
"""

from __future__ import annotations

import asyncio
import dataclasses
import json
import re
import time
import unicodedata
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, NamedTuple

from rawstream.film_names import Film
from rawstream.list_entries import (
    Listed,
    distinct,
    entry_identity,
    link_key,
    matched_channels,
    merged,
)
from rawstream.m3u import Ending, LineWarning
from rawstream.records import Channel, ChannelSource, ListSource
from rawstream.store import Store
from rawstream.store_import import LineupChanges, ListContents, preview

_DAY_SECONDS: Final = 86_400
_SHOWN: Final = 20  # names per kind of change in a report
_WHOLE_SHARE: Final = 0.9  # of the entries of last time, for a list whose end nobody announced
# Whole words, in the spelling that `_plain` leaves. "Adult Swim" is a channel for everybody.
_ADULT: Final = re.compile(
    r"(?<![a-z0-9])(?:18 ?\+|\+ ?18|x ?x ?x|xxx[0-9]*|adults?(?! swim)|adult[aio]s?|adultes?"
    r"|erwachsenen?|erotic(?:[aio]|he|[ao]s)?|erotik[a-z]*|erotisch[a-z]*|erotiques?"
    r"|porno?s?|hentai)(?![a-z0-9])"
)
_NO_FILM: Final[Mapping[str, Any]] = {
    "kind": "live",
    "extension": "",
    "facts": None,
    "series_id": None,
    "season": 0,
    "episode": 0,
}
_KINDS: Final = ("added", "changed", "moved", "stale", "returned", "retired")


@dataclass(frozen=True, slots=True)
class ImportReport:
    """What an import did, or would do. `names`: the first names of each kind of change. `movies`,
    `episodes`: how many of the entries are films.
    """

    entries: int
    added: int
    changed: int
    moved: int
    unchanged: int
    stale: int
    returned: int
    retired: int
    dropped: int
    doubles: int
    complete: bool
    names: Mapping[str, Sequence[str]] = field(default_factory=dict)
    warnings: Sequence[LineWarning] = ()
    warning_count: int = 0
    movies: int = 0
    episodes: int = 0

    def to_json(self) -> str:
        return json.dumps(dataclasses.asdict(self), ensure_ascii=False)

    def summary(self) -> str:
        """One line for people."""
        cut = "" if self.complete else " (may have been cut short: nothing counts as missing)"
        films = (
            f", of them {_counted(self.movies, 'film')} and {_counted(self.episodes, 'episode')}"
            if self.movies or self.episodes
            else ""
        )
        return (
            f"{self.entries} entries{films}{cut}: {self.added} added, {self.changed} changed, "
            f"{self.moved} moved, {self.unchanged} unchanged, {self.stale} stale, "
            f"{self.returned} returned, {self.retired} retired, {self.dropped} dropped, "
            f"{self.doubles} twice"
        )


def _counted(number: int, thing: str) -> str:
    return f"{number} {thing}{'' if number == 1 else 's'}"


@dataclass(frozen=True, slots=True)
class Plan:
    """The changes, and what a report says of them. `names`: the first of each kind."""

    changes: LineupChanges
    added: int
    unchanged: int
    doubles: int
    names: Mapping[str, Sequence[str]]


def plan(
    there: ListContents,
    entries: Sequence[Listed],
    source: ListSource,
    *,
    now: int,
    complete: bool,
) -> Plan:
    """What importing `entries` does to the channels of this list.

    `complete`: what is not in `entries` is really missing; without it nothing becomes stale.
    """
    wanted = list(distinct(entries))
    groups = merged(wanted) if source.merge_names else [(entry,) for entry in wanted]
    shelves = _Shelves(_Categories(there), _Series(there, groups))
    places = {channel_id: place for place, channel_id in matched_channels(there, groups).items()}
    changed: list[Channel] = []
    moved, stale, returned, retired = [], [], [], []
    names: dict[str, list[str]] = defaultdict(list)
    for channel in there.channels():
        place = places.get(channel.id)
        fate = ""
        if place is not None:
            values = _values(groups[place], place, source.id, shelves, channel)
            new = {name: value for name, value in values.items() if getattr(channel, name) != value}
            if channel.stale_since is not None or channel.retired_at is not None:
                returned.append(channel.id)
                names["returned"].append(channel.name)
            if new.keys() == {"position"}:
                moved.append((channel.id, place))
                fate = "moved"
            elif new:
                new |= {"stale_since": None, "retired_at": None}
                changed.append(dataclasses.replace(channel, **new))
                fate = "changed"
        elif channel.playlist_id != source.id:
            pass  # of no list: none can miss it
        elif complete and groups and channel.retired_at is None:
            if channel.stale_since is None:
                stale.append(channel.id)
                fate = "stale"
            elif now - channel.stale_since >= source.retire_days * _DAY_SECONDS:
                retired.append(channel.id)
                fate = "retired"
        if fate and len(names[fate]) < _SHOWN:
            names[fate].append(channel.name)
    known = set(places.values())
    new_places = [place for place in range(len(groups)) if place not in known]
    names["added"] = [groups[place][0].name for place in new_places[:_SHOWN]]
    names["returned"] = names["returned"][:_SHOWN]
    added = (
        Channel(0, **_values(groups[place], place, source.id, shelves)) for place in new_places
    )
    return Plan(
        LineupChanges(added, changed, moved, stale, returned, retired, now),
        added=len(new_places),
        unchanged=len(places) - len(changed) - len(moved),
        doubles=len(entries) - len(wanted),
        names={kind: names[kind] for kind in _KINDS},
    )


async def import_playlist(
    store: Store,
    source: ListSource,
    entries: Sequence[Listed],
    ending: Ending,
    *,
    complete: bool = True,
    announced: bool = True,
    dry_run: bool = False,
    now: int | None = None,
) -> ImportReport:
    """Make the line-up's part of this list what the list says, or only say what that would do.

    `entries`, `ending`: of `read_list`. `complete`: the whole list has come, as far as its sender
    said where it ends; `announced`: he did. Raises StateError.
    """
    if dry_run:
        return await try_playlist(
            store.db.path, source, entries, ending, complete=complete, announced=announced, now=now
        )
    work = _Import(source, entries, ending, complete, announced, now)
    await store.lineup.apply(source.id, lambda there: work.plan(there).changes)
    report = work.report()
    await store.lineup.note_refresh(source.id, now=work.now, result=report.to_json())
    return report


async def try_playlist(
    database: Path,
    source: ListSource,
    entries: Sequence[Listed],
    ending: Ending,
    *,
    complete: bool = True,
    announced: bool = True,
    now: int | None = None,
) -> ImportReport:
    """What `import_playlist` would say of the list at `source.url`; `database` is only read, and
    need not be there. Raises StateError.
    """
    work = _Import(source, entries, ending, complete, announced, now)
    await asyncio.to_thread(preview, database, source.url, work.plan)
    return work.report()


class _Import:
    """One list on its way into the line-up."""

    def __init__(
        self,
        source: ListSource,
        entries: Sequence[Listed],
        ending: Ending,
        complete: bool,
        announced: bool,
        now: int | None,
    ) -> None:
        self.now = int(time.time()) if now is None else now
        self._source = source
        self._entries = entries
        self._ending = ending
        self._complete = complete and not ending.truncated
        self._announced = announced
        self._plan: Plan | None = None

    def plan(self, there: ListContents) -> Plan:
        source = self._source
        if there.source is not None:
            merge = source.merge_names or there.source.merge_names
            source = dataclasses.replace(there.source, merge_names=merge)
        if self._complete and not self._announced:
            self._complete = self._seems_whole(there, source)
        if not self._complete and self._ending.last is not None:
            self._entries = self._entries[:-1]  # its URL may have been cut
        self._plan = plan(there, self._entries, source, now=self.now, complete=self._complete)
        return self._plan

    def _seems_whole(self, there: ListContents, source: ListSource) -> bool:
        """Whether to believe a list that ended with its connection, as every cut would end it.

        Many panels send theirs so; if none were believed, nothing would ever leave their line-up.
        """
        if self._ending.last is not None:
            return False
        entries = len(self._entries)
        before = json.loads(source.last_result) if source.last_result else {}
        if before.get("complete", True):
            return bool(entries >= _WHOLE_SHARE * before.get("entries", 0))
        # what was cut is no measure; only what is cut at one place each time looks like this
        known = sum(1 for _ in there.brought(own=True))
        return bool(entries == before["entries"] or entries >= _WHOLE_SHARE * known)

    def report(self) -> ImportReport:
        assert self._plan is not None, "planned before it is told of"
        changes = self._plan.changes
        return ImportReport(
            entries=len(self._entries),
            added=self._plan.added,
            changed=len(changes.changed),
            moved=len(changes.moved),
            unchanged=self._plan.unchanged,
            stale=len(changes.stale),
            returned=len(changes.returned),
            retired=len(changes.retired),
            dropped=self._ending.dropped,
            doubles=self._plan.doubles,
            complete=self._complete,
            names=self._plan.names,
            warnings=self._ending.warnings,
            warning_count=self._ending.warning_count,
            movies=self._count("movie"),
            episodes=self._count("episode"),
        )

    def _count(self, kind: str) -> int:
        return sum(one.film is not None and one.film.kind == kind for one in self._entries)


class _Categories(dict[str, int]):
    """Ids by group name; asked for when a channel needs one."""

    def __init__(self, there: ListContents) -> None:
        super().__init__()
        self._there = there

    def __missing__(self, name: str) -> int:
        self[name] = number = self._there.category(name, adult=is_adult(name))
        return number


class _Series(dict[str, int]):
    """Ids by the key of a series; asked for when an episode needs one. A series is called as its
    first entry calls it, and shows the picture of that.
    """

    def __init__(self, there: ListContents, groups: Sequence[Sequence[Listed]]) -> None:
        super().__init__()
        self._there = there
        self._first: dict[str, Listed] = {}
        for group in groups:
            if (film := group[0].film) is not None and film.kind == "episode":
                self._first.setdefault(film.series_key, group[0])

    def __missing__(self, key: str) -> int:
        first = self._first[key]
        assert first.film is not None, "only films are among them"
        self[key] = number = self._there.series(key, first.film.series, first.logo)
        return number


class _Shelves(NamedTuple):
    """Where a list's channels belong: ids of categories by name, of series by key."""

    categories: Mapping[str, int]
    series: Mapping[str, int]


# -- groups --


def is_adult(name: str) -> bool:
    """Whether a group of this name is for adults, in the spellings that lists have."""
    return _ADULT.search(_plain(name)) is not None


def _plain(name: str) -> str:
    """Lower case, no accents, a blank for an underscore."""
    split = unicodedata.normalize("NFKD", name.casefold())
    return "".join(one for one in split if not unicodedata.combining(one)).replace("_", " ")


# -- what a channel becomes --


def _values(
    group: Sequence[Listed],
    place: int,
    list_id: int,
    shelves: _Shelves,
    before: Channel | None = None,
) -> dict[str, Any]:
    """The fields that a list sets, but for those that were set by hand."""
    entry = group[0]
    edited = before.edited if before is not None else frozenset()
    values: dict[str, Any] = {
        "name": entry.name,
        "position": place,
        "number": entry.number,
        "logo": entry.logo,
        "guide_id": entry.guide_id,
        "guide_name": entry.guide_name,
        "radio": entry.radio,
        "sources": _sources(group, list_id, before.sources if before is not None else ()),
        "identity": entry_identity(entry),
        "playlist_id": list_id,
    }
    if "categories" not in edited:
        categories = shelves.categories
        values["categories"] = tuple([categories[name] for name in entry.groups])
    if entry.film is None and (before is None or before.kind == "live"):
        pass  # nearly all of them are and stay live
    elif before is None or not _is_sorted_by_hand(before, entry):
        values |= _film_values(entry.film, shelves, edited)
    for name in edited - {"identity", "playlist_id"}:
        values.pop(name, None)
    return values


def _is_sorted_by_hand(channel: Channel, entry: Listed) -> bool:
    """Whether somebody decided that it is of another kind than its list says."""
    kind = entry.film.kind if entry.film is not None else "live"
    return "kind" in channel.edited and channel.kind != kind


def _film_values(
    film: Film | None, shelves: _Shelves, edited: Collection[str]
) -> Mapping[str, Any]:
    if film is None:
        return _NO_FILM
    values: dict[str, Any] = {
        **_NO_FILM,
        "kind": film.kind,
        "extension": film.extension,
        "facts": film.facts,
        "season": film.season,
        "episode": film.episode,
    }
    if film.kind == "episode" and "series_id" not in edited:
        values["series_id"] = shelves.series[film.series_key]
    return values


def _sources(
    group: Sequence[Listed], list_id: int, before: Sequence[ChannelSource]
) -> tuple[ChannelSource, ...]:
    """Those of the list, with what was learnt of them. Others' and those made by hand stay: before
    them what stood before the list's first, behind them the rest.
    """
    learnt = {(one.kind, one.value): one.infohash for one in before}
    listed = [
        ChannelSource(
            entry.kind, entry.value, entry.headers, learnt.get((entry.kind, entry.value)), list_id
        )
        for entry in group
    ]
    ranks = [rank for rank, one in enumerate(before) if one.playlist_id == list_id]
    first = ranks[0] if ranks else 0
    keys = {link_key(one.kind, one.value) for one in listed}
    others = [
        (rank, one)
        for rank, one in enumerate(before)
        if one.playlist_id != list_id and link_key(one.kind, one.value) not in keys
    ]
    return (
        *(one for rank, one in others if rank < first),
        *listed,
        *(one for rank, one in others if rank >= first),
    )
