"""A channel list into the line-up, so that nothing is lost and ids stay (design §6, issue texts).

Owns: which entry is which channel of before, what an import adds, changes and misses, its report.
Must not know: where a list comes from, when it is read again, how rows are kept.

An entry is looked for by three keys, the surest first: its AceStream content or URL; its guide id
with its name; its name with its group. A key finds a channel only where it is one entry's and one
channel's alone, so that several ids of one name stay several channels whatever order they come in.
"""

from __future__ import annotations

import dataclasses
import json
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from rawstream.m3u import Ending, Entry, LineWarning, M3uReader
from rawstream.records import Channel, ChannelSource, ListSource
from rawstream.store import Store
from rawstream.store_lineup import LineupChanges

_DAY_SECONDS: Final = 86_400
_SHOWN: Final = 20  # names per kind of change in a report
_ADULT: Final = ("xxx", "adult", "erotic", "18+")
_HTTP: Final = ("http://", "https://")


@dataclass(frozen=True, slots=True)
class ImportReport:
    """What an import did, or would do. `names`: the first names of each kind of change."""

    entries: int
    added: int
    changed: int
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

    def to_json(self) -> str:
        return json.dumps(dataclasses.asdict(self), ensure_ascii=False)


@dataclass(frozen=True, slots=True)
class Plan:
    """The changes, and how many entries say what is known already."""

    changes: LineupChanges
    unchanged: int
    doubles: int


def read_list(
    pieces: Iterable[bytes], *, base_url: str = "", charset: str = ""
) -> tuple[list[Entry], Ending]:
    """All entries that can be played. Raises FormatError: no list, too long, badly packed."""
    reader = M3uReader(base_url=base_url, charset=charset)
    entries: list[Entry] = []
    for piece in pieces:
        entries += reader.feed(piece)
    ending = reader.finish()
    if ending.last is not None:
        entries.append(ending.last)
    return entries, ending


def plan(
    existing: Sequence[Channel],
    entries: Sequence[Entry],
    source: ListSource,
    categories: Mapping[str, int],
    *,
    now: int,
    complete: bool,
) -> Plan:
    """What importing `entries` does to the channels of this list.

    `existing`: its channels, retired ones as well. `categories`: ids by group name. `complete`:
    what is not in `entries` is really missing; without it nothing becomes stale.
    """
    wanted, doubles = _distinct(entries)
    groups = _merged(wanted) if source.merge_names else [[entry] for entry in wanted]
    found = _matched(existing, [_keys(group[0]) for group in groups])
    added, changed, returned = [], [], []
    unchanged = 0
    for position, (group, channel) in enumerate(zip(groups, found, strict=True)):
        new = _channel(group, position, source.id, categories, channel)
        if channel is None:
            added.append(new)
            continue
        if channel.stale_since is not None or channel.retired_at is not None:
            returned.append(channel.id)
            new = dataclasses.replace(new, stale_since=None, retired_at=None)
        if new != dataclasses.replace(channel, stale_since=None, retired_at=None):
            changed.append(new)
        else:
            unchanged += 1
    seen = {channel.id for channel in found if channel is not None}
    stale, retired = [], []
    for channel in existing if complete and groups else ():
        if channel.id in seen or channel.retired_at is not None:
            continue
        if channel.stale_since is None:
            stale.append(channel.id)
        elif now - channel.stale_since >= source.retire_days * _DAY_SECONDS:
            retired.append(channel.id)
    changes = LineupChanges(source.id, added, changed, stale, returned, retired, now)
    return Plan(changes, unchanged, doubles)


async def import_playlist(
    store: Store,
    source: ListSource,
    entries: Sequence[Entry],
    ending: Ending,
    *,
    complete: bool = True,
    dry_run: bool = False,
    now: int | None = None,
) -> ImportReport:
    """Make the line-up's part of this list what the list says, or only say what that would do.

    `complete`: the whole list has come. Raises StateError.
    """
    now = int(time.time()) if now is None else now
    complete = complete and not ending.truncated
    if not complete and ending.last is not None and entries and entries[-1] is ending.last:
        entries = entries[:-1]  # its URL may have been cut
    categories = {category.name: category.id for category in await store.lineup.categories()}
    for name in dict.fromkeys(group for entry in entries for group in entry.groups):
        if name not in categories:
            if dry_run:
                categories[name] = -1 - len(categories)
            else:
                adult = any(word in name.lower() for word in _ADULT)
                made = await store.lineup.category_named(name, adult=adult)
                categories[name] = made.id
    everything = await store.lineup.channels(retired=True)
    existing = [channel for channel in everything if channel.playlist_id == source.id]
    planned = plan(existing, entries, source, categories, now=now, complete=complete)
    changes = planned.changes
    names = {channel.id: channel.name for channel in existing}
    report = ImportReport(
        entries=len(entries),
        added=len(changes.added),
        changed=len(changes.changed),
        unchanged=planned.unchanged,
        stale=len(changes.stale),
        returned=len(changes.returned),
        retired=len(changes.retired),
        dropped=ending.dropped,
        doubles=planned.doubles,
        complete=complete,
        names={
            "added": [channel.name for channel in changes.added[:_SHOWN]],
            "changed": [names[channel.id] for channel in changes.changed[:_SHOWN]],
            "stale": [names[number] for number in changes.stale[:_SHOWN]],
            "returned": [names[number] for number in changes.returned[:_SHOWN]],
            "retired": [names[number] for number in changes.retired[:_SHOWN]],
        },
        warnings=ending.warnings,
        warning_count=ending.warning_count,
    )
    if not dry_run:
        await store.lineup.apply(changes)
        await store.lineup.note_refresh(source.id, now=now, result=report.to_json())
    return report


# -- which entry is which channel --


def _normalised(name: str) -> str:
    return " ".join(name.casefold().split())


def _link_key(kind: str, value: str) -> str:
    return f"{'ace' if kind in ('content_id', 'infohash', 'unknown') else kind}:{value}"


def _keys(entry: Entry) -> tuple[str, str, str]:
    name = _normalised(entry.name)
    group = entry.groups[0] if entry.groups else ""
    return (
        _link_key(entry.link.kind, entry.link.value),
        f"{entry.tvg_id}\t{name}" if entry.tvg_id else "",
        f"{name}\t{group}",
    )


def _distinct(entries: Sequence[Entry]) -> tuple[list[Entry], int]:
    """One entry per content or URL; the first with it counts."""
    found: dict[str, Entry] = {}
    for entry in entries:
        found.setdefault(_keys(entry)[0], entry)
    return list(found.values()), len(entries) - len(found)


def _merged(entries: Sequence[Entry]) -> list[list[Entry]]:
    groups: dict[str, list[Entry]] = defaultdict(list)
    for entry in entries:
        groups[_normalised(entry.name)].append(entry)
    return list(groups.values())


def _matched(
    existing: Sequence[Channel], wanted: Sequence[tuple[str, str, str]]
) -> list[Channel | None]:
    """For each of `wanted` the channel it is, by the surest key that only the two have."""
    found: list[Channel | None] = [None] * len(wanted)
    left = {channel.id: channel for channel in existing}
    known = {channel.id: _kept_keys(channel) for channel in existing}
    for level in range(3):
        asking = [place for place, channel in enumerate(found) if channel is None]
        ours = Counter(wanted[place][level] for place in asking)
        theirs: dict[str, list[Channel]] = defaultdict(list)
        for channel in left.values():
            theirs[known[channel.id][level]].append(channel)
        for place in asking:
            key = wanted[place][level]
            candidates = theirs.get(key, [])
            if key and ours[key] == 1 and len(candidates) == 1:
                found[place] = candidates[0]
                del left[candidates[0].id]
    return found


def _kept_keys(channel: Channel) -> tuple[str, str, str]:
    keys = channel.identity.split("\n")
    return (keys[0], keys[1], keys[2]) if len(keys) == 3 else (channel.identity, "", "")


def _channel(
    group: Sequence[Entry],
    position: int,
    list_id: int,
    categories: Mapping[str, int],
    before: Channel | None,
) -> Channel:
    entry = group[0]
    sources = tuple(
        ChannelSource(one.link.kind, one.link.value, one.headers, None, list_id) for one in group
    )
    values: dict[str, Any] = {
        "name": entry.name,
        "position": position,
        "number": entry.number,
        "logo": entry.tvg_logo if entry.tvg_logo.lower().startswith(_HTTP) else "",
        "guide_id": entry.tvg_id,
        "guide_name": entry.tvg_name,
        "radio": entry.radio,
        "categories": tuple(dict.fromkeys(categories[name] for name in entry.groups)),
        "sources": sources,
    }
    identity = "\n".join(_keys(entry))
    if before is None:
        return Channel(0, playlist_id=list_id, identity=identity, **values)
    values = {name: value for name, value in values.items() if name not in before.edited}
    if "sources" in values:
        own = tuple(source for source in before.sources if source.playlist_id != list_id)
        values["sources"] = sources + own
    return dataclasses.replace(before, identity=identity, **values)
