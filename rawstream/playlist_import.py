"""A channel list into the line-up, so that nothing is lost and ids stay (design §6, issue texts).

Owns: which entry is which channel of before, what an import adds, changes and misses, its report.
Must not know: where a list comes from, when it is read again, how rows are kept.

An entry is looked for by what it had when it was seen last, the surest first: all of it; its
AceStream content or URL; its guide id with its name; its name with its group. Of entries that are
one channel any may be the one that is known. A key finds a channel only where it is one entry's and
one channel's alone, so that several ids of one name stay several channels whatever order they come
in.

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
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import Any, Final, NamedTuple, cast

from rawstream.acelink import Kind
from rawstream.film_names import Film, film_of
from rawstream.m3u import Ending, Entry, LineWarning, M3uReader
from rawstream.records import Channel, ChannelSource, ListSource
from rawstream.store import Store
from rawstream.store_import import LineupChanges, ListContents, preview
from rawstream.textlines import TEXT_LIMIT_BYTES

_DAY_SECONDS: Final = 86_400
_SHOWN: Final = 20  # names per kind of change in a report
_WHOLE_SHARE: Final = 0.9  # of the entries of last time, for a list whose end nobody announced
_HTTP: Final = ("http://", "https://")
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


class Listed(NamedTuple):
    """What of an entry becomes part of a channel. `kind`, `value`: its link. `film`: None for what
    is live.
    """

    name: str
    kind: Kind
    value: str
    headers: tuple[tuple[str, str], ...]
    groups: tuple[str, ...]
    guide_id: str
    guide_name: str
    logo: str
    number: str
    radio: bool
    film: Film | None = None


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


def read_list(
    pieces: Iterable[bytes],
    *,
    base_url: str = "",
    charset: str = "",
    limit_bytes: int = TEXT_LIMIT_BYTES,
) -> tuple[list[Listed], Ending]:
    """All entries that can be played. Blocks for seconds on a long list: for a thread.

    Raises FormatError: no list, unpacks to more than `limit_bytes`, badly packed.
    """
    reader = M3uReader(base_url=base_url, charset=charset, list_limit_bytes=limit_bytes)
    groups: dict[tuple[str, ...], tuple[str, ...]] = {}
    entries: list[Listed] = []
    for piece in pieces:
        entries += [_listed(entry, groups) for entry in reader.feed(piece)]
    ending = reader.finish()
    if ending.last is not None:
        entries.append(_listed(ending.last, groups))
    return entries, ending


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
    wanted = list(_distinct(entries))
    groups = _merged(wanted) if source.merge_names else [(entry,) for entry in wanted]
    shelves = _Shelves(_Categories(there), _Series(there, groups))
    places = {channel_id: place for place, channel_id in _matched(there, groups).items()}
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


# -- entries --


def is_adult(name: str) -> bool:
    """Whether a group of this name is for adults, in the spellings that lists have."""
    return _ADULT.search(_plain(name)) is not None


def _plain(name: str) -> str:
    """Lower case, no accents, a blank for an underscore."""
    split = unicodedata.normalize("NFKD", name.casefold())
    return "".join(one for one in split if not unicodedata.combining(one)).replace("_", " ")


def _listed(entry: Entry, groups: dict[tuple[str, ...], tuple[str, ...]]) -> Listed:
    """`groups`: those seen so far, kept once."""
    logo = entry.tvg_logo
    return Listed(
        entry.name,
        entry.link.kind,
        entry.link.value,
        entry.headers,
        groups.setdefault(entry.groups, entry.groups),
        entry.tvg_id,
        entry.name if entry.tvg_name == entry.name else entry.tvg_name,
        logo if logo[:8].lower().startswith(_HTTP) else "",
        entry.number,
        entry.radio,
        film_of(entry),
    )


def _distinct(entries: Sequence[Listed]) -> Iterable[Listed]:
    """One entry per content or URL; the first with it counts."""
    found: dict[str, Listed] = {}
    for entry in entries:
        found.setdefault(_link_key(entry.kind, entry.value), entry)
    return found.values()


def _merged(entries: Sequence[Listed]) -> list[tuple[Listed, ...]]:
    groups: dict[tuple[str, str], list[Listed]] = defaultdict(list)
    for entry in entries:
        kind = entry.film.kind if entry.film is not None else ""
        groups[kind, _normalised(entry.name)].append(entry)
    return [tuple(group) for group in groups.values()]


# -- which entry is which channel --


def _normalised(name: str) -> str:
    return " ".join(name.casefold().split())


def _link_key(kind: str, value: str) -> str:
    if kind in ("content_id", "infohash", "unknown"):
        kind = "ace"
    return f"{'direct' if kind == 'hls' else kind}:{value}"


def _keys(entry: Listed) -> tuple[str, str, str]:
    name = _normalised(entry.name)
    group = entry.groups[0] if entry.groups else ""
    return (
        _link_key(entry.kind, entry.value),
        f"{entry.guide_id}\t{name}" if entry.guide_id else "",
        f"{name}\t{group}",
    )


def identity_of(kind: str, value: str, name: str, guide_id: str, group: str) -> str:
    """The identity under which a list finds a channel that did not come from it."""
    entry = Listed(name, cast(Kind, kind), value, (), (group,), guide_id, "", "", "", False)
    return _identity(entry)


def _identity(entry: Listed) -> str:
    return "\n".join(_keys(entry))


def _kept_keys(identity: str) -> tuple[str, str, str]:
    keys = identity.split("\n")
    return (keys[0], keys[1], keys[2]) if len(keys) == 3 else (identity, "", "")


def _matched(there: ListContents, groups: Sequence[Sequence[Listed]]) -> dict[int, int]:
    """By place in `groups` the id of the channel it is, by the surest key that only the two
    have.
    """

    def links(own: bool) -> Iterator[tuple[int, str]]:
        for channel_id, kind, value in there.brought(own=own):
            yield channel_id, _link_key(kind, value)

    def kept(level: int, own: bool) -> Iterator[tuple[int, str]]:
        for channel_id, identity in there.identities(own=own):
            yield channel_id, _kept_keys(identity)[level]

    looks: tuple[tuple[Callable[[Listed], str], Callable[[bool], Iterator[tuple[int, str]]]], ...]
    looks = (
        (_identity, lambda own: there.identities(own=own)),
        (lambda entry: _keys(entry)[0], lambda own: kept(0, own)),
        (lambda entry: _keys(entry)[0], links),
        (lambda entry: _keys(entry)[1], lambda own: kept(1, own)),
        (lambda entry: _keys(entry)[2], lambda own: kept(2, own)),
    )
    found: dict[int, int] = {}
    matched: set[int] = set()
    # a removed list may have left the same channels: those stand back behind the list's own
    for (key_of, known), own in product(looks, (True, False)):
        if len(found) == len(groups):
            break
        theirs = _owners(
            (channel_id, key) for channel_id, key in known(own) if channel_id not in matched
        )
        if not theirs:
            continue
        ours = _owners(
            (place, key_of(entry))
            for place, group in enumerate(groups)
            if place not in found
            for entry in group
        )
        for key, place in ours.items():
            channel_id = theirs.get(key)
            if channel_id is None or place is None or place in found or channel_id in matched:
                continue
            found[place] = channel_id
            matched.add(channel_id)
    return found


def _owners(pairs: Iterable[tuple[int, str]]) -> dict[int, int | None]:
    """By key who has it, None where several have. Keys are hashed: of a long list there are many
    megabytes of them, and no two in all lists of the world share 64 bits.
    """
    owners: dict[int, int | None] = {}
    for owner, key in pairs:
        if key and owners.setdefault(hash(key), owner) != owner:
            owners[hash(key)] = None
    return owners


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
        "identity": _identity(entry),
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
    keys = {_link_key(one.kind, one.value) for one in listed}
    others = [
        (rank, one)
        for rank, one in enumerate(before)
        if one.playlist_id != list_id and _link_key(one.kind, one.value) not in keys
    ]
    return (
        *(one for rank, one in others if rank < first),
        *listed,
        *(one for rank, one in others if rank >= first),
    )
