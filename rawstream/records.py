"""What is kept: channels, categories, accounts, lists, as values.

Owns: the shape of a row once it has left the database, and what its fields may hold. Must not know:
SQL, files, how any of it is shown. Times are whole seconds since 1970, UTC.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

# The kinds of `acelink.Link`, and "hls": a direct URL known to be an HLS playlist.
SourceKind = Literal["content_id", "infohash", "unknown", "url", "magnet", "direct", "hls"]
ListKind = Literal["playlist", "guide"]
ChannelKind = Literal["live", "movie", "episode"]


@dataclass(frozen=True, slots=True)
class Category:
    """`id` is a positive int32, never given twice. Ordered by `position`, then name."""

    id: int
    name: str
    position: int = 0
    adult: bool = False


@dataclass(frozen=True, slots=True)
class ChannelSource:
    """One way to get a channel. `value` and `headers` may hold secrets of a provider.

    `infohash`: the canonical one once it was learnt, for the engine kinds. `playlist_id`: the list
    that brought it, None for one that was made by hand.
    """

    kind: SourceKind
    value: str = field(repr=False)
    headers: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    infohash: str | None = None
    playlist_id: int | None = None


@dataclass(frozen=True, slots=True)
class FilmFacts:
    """What is known of a film or a series, each '' or 0 where nothing is. `duration`: seconds.
    `rating`: 0 to 10. `release_date`: `YYYY-MM-DD` or a year. `backdrop`: a URL.
    """

    plot: str = ""
    cast: str = ""
    director: str = ""
    genre: str = ""
    release_date: str = ""
    rating: float = 0.0
    duration: int = 0
    trailer: str = ""
    backdrop: str = ""
    tmdb_id: int = 0


@dataclass(frozen=True, slots=True)
class Series:
    """`id`: a positive int32, never given twice. `cover`: a URL, '' without one."""

    id: int
    name: str
    cover: str = ""
    facts: FilmFacts | None = None


@dataclass(frozen=True, slots=True)
class Channel:
    """`id` is the Xtream stream_id: a positive int32, never given twice.

    `number`: as the operator or a list wrote it ('5', '5.1', ''). `guide_id`: what its list calls
    it in guides (tvg-id), '' without one; players see it through `catalogue`. `categories`: the
    first is the one that players show. `sources`: best first. `identity`: how its list knows it
    again, '' when made by hand. `stale_since`: when its list first came without it; `retired_at`:
    when it was taken off the line-up (kept, so that its id comes back with it).
    `edited`: names of fields that the operator set by hand; no import touches these.

    A film is one too: of `kind` movie, or an episode of a series (`season` and `episode` 0 where
    unknown). `extension`: what its file is, without a dot ('mp4'); '' for what is live.
    """

    id: int
    name: str
    position: int = 0
    number: str = ""
    logo: str = ""
    guide_id: str = ""
    guide_name: str = ""  # tvg-name
    radio: bool = False
    enabled: bool = True
    adult: bool = False
    added_at: int = 0
    categories: tuple[int, ...] = ()
    sources: tuple[ChannelSource, ...] = ()
    playlist_id: int | None = None
    identity: str = ""
    stale_since: int | None = None
    retired_at: int | None = None
    edited: frozenset[str] = frozenset()
    kind: ChannelKind = "live"
    extension: str = ""
    facts: FilmFacts | None = None
    series_id: int | None = None
    season: int = 0
    episode: int = 0


@dataclass(frozen=True, slots=True)
class Account:
    """`password_hash`: argon2 (PHC string), or the predecessor's bcrypt. `token` stands in for user
    and password in URLs. `max_connections` 0: no limit. `categories` None: all of them.
    `kicked_at`: streams that began before end.
    """

    id: int
    username: str
    password_hash: str = field(repr=False)
    token: str = field(default="", repr=False)
    enabled: bool = True
    admin: bool = False
    trial: bool = False
    expires_at: int | None = None
    max_connections: int = 1
    allowed_formats: tuple[str, ...] = ("ts", "m3u8")
    categories: frozenset[int] | None = None
    show_adult: bool = True
    created_at: int = 0
    notes: str = ""
    kicked_at: int = 0


@dataclass(frozen=True, slots=True)
class ListSource:
    """A playlist or a guide that is refreshed: where it is, how often, what came of it.

    `url`: http(s):// or a path; may hold a password. `priority`: of guides, the smaller wins.
    `zoneless_offset`, `shift_seconds`: see `epg_reader`. `merge_names`: channels of one name become
    one channel with several sources. `held`: its last import was taken back, so it is not read by
    itself until somebody reads it. `last_result`: the report of the last import as JSON, '' until
    there is one; `last_error`: '' when the last refresh went well.
    """

    id: int
    kind: ListKind
    url: str = field(repr=False)
    name: str = ""
    enabled: bool = True
    interval_seconds: int = 6 * 3600
    priority: int = 100
    user_agent: str = ""
    merge_names: bool = False
    retire_days: int = 7
    zoneless_offset: int = 0
    shift_seconds: int = 0
    held: bool = False
    etag: str = ""
    last_modified: str = ""
    refreshed_at: int | None = None  # the last attempt
    succeeded_at: int | None = None
    last_error: str = ""
    last_result: str = ""


@dataclass(frozen=True, slots=True)
class Activity:
    """One line of history. `kind`: login, login refused, play, stop, import, edit."""

    at: int
    kind: str
    account: str = ""
    channel: str = ""
    address: str = ""
    text: str = ""
