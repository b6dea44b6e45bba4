"""The entries of a channel list, and which of them is which channel of before.

Owns: what of an entry becomes part of a channel, the keys by which it is known again. Must not
know: what becomes of a channel, where a list comes from, how rows are kept.

An entry is looked for by what it had when it was seen last, the surest first: all of it; its
AceStream content or URL; its guide id with its name; its name with its group. Of entries that are
one channel any may be the one that is known. A key finds a channel only where it is one entry's and
one channel's alone, so that several ids of one name stay several channels whatever order they come
in.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import product
from typing import Final, NamedTuple, cast

from rawstream.acelink import Kind
from rawstream.film_names import Film, film_of
from rawstream.m3u import Ending, Entry, M3uReader
from rawstream.store_import import ListContents
from rawstream.textlines import TEXT_LIMIT_BYTES

_HTTP: Final = ("http://", "https://")


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


def distinct(entries: Sequence[Listed]) -> Iterable[Listed]:
    """One entry per content or URL; the first with it counts."""
    found: dict[str, Listed] = {}
    for entry in entries:
        found.setdefault(link_key(entry.kind, entry.value), entry)
    return found.values()


def merged(entries: Sequence[Listed]) -> list[tuple[Listed, ...]]:
    """Entries of one name as one channel, a film apart from what is live."""
    groups: dict[tuple[str, str], list[Listed]] = defaultdict(list)
    for entry in entries:
        kind = entry.film.kind if entry.film is not None else ""
        groups[kind, _normalised(entry.name)].append(entry)
    return [tuple(group) for group in groups.values()]


def _normalised(name: str) -> str:
    return " ".join(name.casefold().split())


def link_key(kind: str, value: str) -> str:
    """One for all spellings of one link."""
    if kind in ("content_id", "infohash", "unknown"):
        kind = "ace"
    return f"{'direct' if kind == 'hls' else kind}:{value}"


def _keys(entry: Listed) -> tuple[str, str, str]:
    name = _normalised(entry.name)
    group = entry.groups[0] if entry.groups else ""
    return (
        link_key(entry.kind, entry.value),
        f"{entry.guide_id}\t{name}" if entry.guide_id else "",
        f"{name}\t{group}",
    )


def identity_of(kind: str, value: str, name: str, guide_id: str, group: str) -> str:
    """The identity under which a list finds a channel that did not come from it."""
    entry = Listed(name, cast(Kind, kind), value, (), (group,), guide_id, "", "", "", False)
    return entry_identity(entry)


def entry_identity(entry: Listed) -> str:
    """What is kept of it, to know it again."""
    return "\n".join(_keys(entry))


def _kept_keys(identity: str) -> tuple[str, str, str]:
    keys = identity.split("\n")
    return (keys[0], keys[1], keys[2]) if len(keys) == 3 else (identity, "", "")


def matched_channels(there: ListContents, groups: Sequence[Sequence[Listed]]) -> dict[int, int]:
    """By place in `groups` the id of the channel it is, by the surest key that only the two
    have.
    """

    def links(own: bool) -> Iterator[tuple[int, str]]:
        for channel_id, kind, value in there.brought(own=own):
            yield channel_id, link_key(kind, value)

    def kept(level: int, own: bool) -> Iterator[tuple[int, str]]:
        for channel_id, identity in there.identities(own=own):
            yield channel_id, _kept_keys(identity)[level]

    looks: tuple[tuple[Callable[[Listed], str], Callable[[bool], Iterator[tuple[int, str]]]], ...]
    looks = (
        (entry_identity, lambda own: there.identities(own=own)),
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
