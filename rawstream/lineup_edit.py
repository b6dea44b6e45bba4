"""Channels and films as set by hand: what may be said of them, and what fits together.

Owns: the checks of what is set, which fields no import touches afterwards. Must not know: who sets
it (command line, REST), flags, bodies.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from rawstream.acelink import Kind, read_link, split_headers, unwrap
from rawstream.errors import ConfigError, FormatError
from rawstream.extinf import without_controls, writable
from rawstream.film_names import DEFAULT_EXTENSION, extension_in
from rawstream.records import Channel, ChannelKind, ChannelSource, SourceKind
from rawstream.store import Store

_EXTENSION: Final = re.compile(r"[a-z0-9]{1,8}")
_LOGO: Final = re.compile(r"(?:https?://|/logos/)\S+", re.IGNORECASE)
_HEADER: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,100}")  # RFC 9110 §5.6.2
# which kinds of link a source of a kind may be written as
_SPELLINGS: Final[dict[SourceKind, frozenset[Kind]]] = {
    "content_id": frozenset(("content_id", "infohash", "unknown")),
    "infohash": frozenset(("content_id", "infohash", "unknown")),
    "unknown": frozenset(("content_id", "infohash", "unknown")),
    "url": frozenset(("url", "direct")),
    "direct": frozenset(("url", "direct")),
    "hls": frozenset(("url", "direct")),
    "magnet": frozenset(("magnet",)),
}
# no import touches these in any case
_NOT_OF_LISTS: Final = frozenset(("enabled",))
_OF_GUIDES: Final = frozenset(("name", "guide_id", "guide_name", "kind"))


@dataclass(frozen=True, slots=True)
class ChannelEdit:
    """What somebody says of a channel, None where nothing. `categories`: ids. `series`: a name,
    made if there is none; `series_id`: one that there is.
    """

    name: str | None = None
    number: str | None = None
    logo: str | None = None
    guide_id: str | None = None
    guide_name: str | None = None
    radio: bool | None = None
    enabled: bool | None = None
    adult: bool | None = None
    categories: tuple[int, ...] | None = None
    sources: tuple[ChannelSource, ...] | None = None
    kind: ChannelKind | None = None
    extension: str | None = None
    series: str | None = None
    series_id: int | None = None
    season: int | None = None
    episode: int | None = None

    @property
    def given(self) -> frozenset[str]:
        """The fields of a channel that were named."""
        names = {
            one.name for one in dataclasses.fields(self) if getattr(self, one.name) is not None
        }
        return frozenset("series_id" if name == "series" else name for name in names)

    @property
    def touches_guide(self) -> bool:
        """Whether another guide may belong to the channel afterwards."""
        return not _OF_GUIDES.isdisjoint(self.given)

    @property
    def of_films(self) -> bool:
        return bool(self.extension or self.season or self.episode or self.of_series)

    @property
    def of_series(self) -> bool:
        return self.series is not None or self.series_id is not None


async def add_channel(store: Store, edit: ChannelEdit) -> int:
    """A channel of these values, the last of the line-up; returns its id. No import touches it.
    Raises ConfigError.
    """
    if edit.name is None:
        raise ConfigError("name", "a channel has one")
    position = await store.lineup.next_position()
    channel = await _edited(store, Channel(0, "", position=position), edit)
    # whose word a logo is decides where it may be fetched from
    edited = frozenset({"logo"}) if channel.logo else frozenset()
    return await store.lineup.add_channel(dataclasses.replace(channel, edited=edited))


async def change_channel(store: Store, channel: Channel, edit: ChannelEdit) -> None:
    """The channel with what was said, kept; no import changes that any more. Raises ConfigError."""
    changed = await _edited(store, channel, edit)
    await store.lineup.set_channel(changed, edited=edit.given - _NOT_OF_LISTS, before=channel)


async def _edited(store: Store, channel: Channel, edit: ChannelEdit) -> Channel:
    plain = ("number", "guide_name", "radio", "enabled", "adult", "sources")
    values: dict[str, Any] = {name: getattr(edit, name) for name in plain}
    for name in ("number", "guide_name"):
        if values[name] is not None:
            values[name] = without_controls(values[name]).strip()
    if edit.name is not None:
        values["name"] = name_of(edit.name)
    if edit.guide_id is not None:
        values["guide_id"] = writable(edit.guide_id)
    if edit.logo is not None:
        values["logo"] = logo_of(edit.logo)
    if edit.categories is not None:
        values["categories"] = await known_categories(store, edit.categories)
    said = {name: value for name, value in values.items() if value is not None}
    return await _as_kind(store, dataclasses.replace(channel, **said), edit)


async def _as_kind(store: Store, channel: Channel, edit: ChannelEdit) -> Channel:
    """The channel as what it is said to be: live, a film, an episode. Raises ConfigError."""
    kind = edit.kind or channel.kind
    if kind == "live":
        if edit.of_films:
            raise ConfigError("kind", "what is live has no file, series or number: say movie")
        return dataclasses.replace(
            channel, kind=kind, extension="", facts=None, series_id=None, season=0, episode=0
        )
    values: dict[str, Any] = {"kind": kind, "extension": _extension(channel, edit)}
    if kind == "movie":
        if edit.of_series or edit.season or edit.episode:
            raise ConfigError("series", "only an episode is of a series: let its kind be episode")
        return dataclasses.replace(channel, **values, series_id=None, season=0, episode=0)
    if edit.of_series:
        values["series_id"] = await _series(store, edit)
    elif channel.series_id is None:
        raise ConfigError("series", "an episode is of a series: give its name")
    for name in ("season", "episode"):
        if getattr(edit, name) is not None:
            values[name] = getattr(edit, name)
    return dataclasses.replace(channel, **values)


async def _series(store: Store, edit: ChannelEdit) -> int:
    if edit.series is not None:
        return (await store.lineup.series_named(name_of(edit.series, "series"))).id
    if edit.series_id not in {one.id for one in await store.lineup.series()}:
        raise ConfigError("series_id", "there is no such series")
    assert edit.series_id is not None, "it was found"
    return edit.series_id


def _extension(channel: Channel, edit: ChannelEdit) -> str:
    if edit.extension:
        given = edit.extension.lower().removeprefix(".")
        if not _EXTENSION.fullmatch(given):
            raise ConfigError("extension", f"'{given}' is no ending like mp4")
        return given
    urls = (one.value for one in channel.sources if one.kind == "direct")
    return channel.extension or next(filter(None, map(extension_in, urls)), DEFAULT_EXTENSION)


# -- what may be said --


def name_of(text: str, field: str = "name") -> str:
    """A name that every list can hold. Raises ConfigError: nothing is left of it."""
    found = without_controls(text).strip()
    if not found:
        raise ConfigError(field, "takes a name")
    return found


def logo_of(text: str, field: str = "logo") -> str:
    """'' or an address of a picture. Raises ConfigError."""
    found = text.strip()
    if found and not _LOGO.fullmatch(found):
        raise ConfigError(field, "takes an address (http://…), or /logos/NAME of a file of ours")
    return found


async def known_categories(
    store: Store, wanted: Sequence[int], field: str = "categories"
) -> tuple[int, ...]:
    """Each of them once. Raises ConfigError: there is no such category."""
    known = {one.id for one in await store.lineup.categories()}
    for number in wanted:
        if number not in known:
            raise ConfigError(field, f"there is no category {number}")
    return tuple(dict.fromkeys(wanted))


def source_of(link: str, field: str = "sources") -> ChannelSource:
    """A source out of a link in any spelling, with the headers that Kodi appends to one. Raises
    ConfigError, which holds no part of the link.
    """
    url, headers = split_headers(unwrap(link))
    try:
        found = read_link(url)
    except FormatError as error:
        raise ConfigError(field, error.reason) from error
    return ChannelSource(found.kind, found.value, checked_headers(headers, field))


def source_as(
    kind: SourceKind, value: str, headers: Sequence[tuple[str, str]] = (), field: str = "sources"
) -> ChannelSource:
    """A source of which is said what it is. Raises ConfigError."""
    try:
        found = read_link(value)
    except FormatError as error:
        raise ConfigError(field, error.reason) from error
    if found.kind not in _SPELLINGS[kind]:
        raise ConfigError(field, f"the value is no {kind}")
    return ChannelSource(kind, found.value, checked_headers(headers, field))


def checked_headers(
    headers: Sequence[tuple[str, str]], field: str = "sources"
) -> tuple[tuple[str, str], ...]:
    """Raises ConfigError: a request can't hold these."""
    for name, value in headers:
        if not _HEADER.fullmatch(name) or not value.isprintable() or not value.isascii():
            raise ConfigError(field, "a header is a name and one line of ASCII")
    return tuple((name, value) for name, value in headers)


def kept_sources(
    before: Sequence[ChannelSource], now: Sequence[ChannelSource]
) -> tuple[ChannelSource, ...]:
    """The new sources, with what is known of those that were there: their list, their infohash."""
    known = {(one.kind, one.value): one for one in before}
    found: dict[tuple[str, str], ChannelSource] = {}
    for one in now:
        old = known.get((one.kind, one.value))
        if old is not None:
            one = dataclasses.replace(one, infohash=old.infohash, playlist_id=old.playlist_id)
        found.setdefault((one.kind, one.value), one)
    return tuple(found.values())
