"""What users of the predecessor (unified-iptv-acestream) bring along: its database and its `.env`.

Owns: the shape of its tables and settings, and what each becomes here. Must not know: flags, how
rows of ours are kept.

Nothing there is changed. What is here already stays as it is, so that a second import adds only
what is new.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import re
import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from rawstream.acelink import read_link
from rawstream.errors import ConfigError, FormatError, StateError
from rawstream.list_entries import identity_of
from rawstream.records import Account, Channel, ChannelSource, ListKind, ListSource
from rawstream.store import Store

EXTRA_PORT: Final = "extra port"  # the setting that a server listens on besides its own
_TABLES: Final = ("users", "categories", "channels", "scraper_urls", "epg_sources")
_HASH: Final = re.compile(r"\$2[abxy]\$[0-9]{2}\$[./A-Za-z0-9]{53}")
_CONTENT: Final = re.compile(r"[0-9a-fA-F]{40}")
_LEAST_INTERVAL_SECONDS: Final = 3600
_NUMBER_MAX: Final = 2**31 - 1
_PLAYERS_MAX: Final = 100_000  # as `user add` takes


@dataclass(slots=True)
class Moved:
    """What was taken over; `notes` is what an operator should know."""

    accounts: int = 0
    categories: int = 0
    channels: int = 0
    playlists: int = 0
    guides: int = 0
    port: int | None = None
    notes: list[str] = field(default_factory=list)


async def import_predecessor(store: Store, database: Path, env: Path | None = None) -> Moved:
    """Take over accounts with their passwords, channels with their ids, categories, and the places
    of lists and guides; with `env`, the port that boxes know and the intervals.

    Raises StateError: a file that can't be read, or is not the predecessor's.
    """
    tables = await asyncio.to_thread(_read, database)
    settings = await asyncio.to_thread(_read_env, env) if env is not None else {}
    moved = Moved()
    await _accounts(store, tables["users"], moved)
    categories = await _categories(store, tables["categories"], moved)
    await _channels(store, tables["channels"], categories, moved)
    await _lists(store, tables, settings, moved)
    await _port(store, settings, moved)
    return moved


# -- reading ---------------------------------------------------------------------------------------


def _read(path: Path) -> dict[str, list[dict[str, Any]]]:
    if not path.is_file():
        raise StateError(str(path), "there is no such file")
    try:
        uri = f"{path.absolute().as_uri()}?mode=ro"
        with contextlib.closing(sqlite3.connect(uri, uri=True)) as connection:
            connection.row_factory = sqlite3.Row
            # what is no UTF-8 in a name is repaired, not refused
            connection.text_factory = lambda raw: raw.decode("utf-8", "replace")
            names = {
                row[0]
                for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
            }
            missing = sorted({"users", "channels"} - names)
            if missing:
                raise StateError(
                    str(path), f"not the predecessor's database: it has no table {missing[0]}"
                )
            return {
                table: [dict(row) for row in connection.execute(f"SELECT * FROM {table}")]
                if table in names
                else []
                for table in _TABLES
            }
    except sqlite3.Error as error:
        raise StateError(str(path), f"not a database, or a damaged one: {error}") from error


def _read_env(path: Path) -> dict[str, str]:
    """`NAME=value` lines, as dotenv files have them."""
    try:
        lines = path.read_text("utf-8", "replace").splitlines()
    except OSError as error:
        raise StateError(str(path), error.strerror or "can't be read") from error
    found = {}
    for line in lines:
        name, mark, value = line.strip().removeprefix("export ").partition("=")
        if mark and not name.startswith("#"):
            value = value.strip()
            if value[:1] in ("'", '"'):
                value = value[1:].partition(value[0])[0]
            else:
                value = value.partition(" #")[0].rstrip()
            found[name.strip()] = value
    return found


def _number(value: object, otherwise: int = 0) -> int:
    """What stands in a column that should hold a whole number, within 32 bits."""
    try:
        number = int(value)  # type: ignore[call-overload]
    except (TypeError, ValueError, OverflowError):
        return otherwise
    return max(-_NUMBER_MAX, min(int(number), _NUMBER_MAX))


def _moment(text: object) -> int | None:
    """Its times are UTC without saying so."""
    if not isinstance(text, str) or not text:
        return None
    try:
        moment = datetime.fromisoformat(text)
        return int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp())
    except (ValueError, OverflowError):
        return None


# -- taking over -----------------------------------------------------------------------------------


async def _accounts(store: Store, rows: list[dict[str, Any]], moved: Moved) -> None:
    for row in rows:
        name = str(row.get("username") or "")
        if not name:
            moved.notes.append("an account has no name and was left out")
            continue
        if await store.accounts.by_name(name) is not None:
            moved.notes.append(f"account '{name}' is here already and stays as it is")
            continue
        if not _HASH.fullmatch(str(row.get("password_hash"))):
            moved.notes.append(f"account '{name}': its password is kept in a way nobody reads")
            continue
        account = Account(
            0,
            name,
            str(row["password_hash"]),
            enabled=bool(row.get("is_active", True)),
            admin=bool(row.get("is_admin")),
            trial=bool(row.get("is_trial")),
            expires_at=_moment(row.get("expiry_date")),
            max_connections=max(0, min(_number(row.get("max_connections") or 1, 1), _PLAYERS_MAX)),
            created_at=_moment(row.get("created_at")) or 0,
            notes=str(row.get("notes") or ""),
        )
        try:
            await store.accounts.add(account, lenient=True)
        except ConfigError as error:
            moved.notes.append(f"account '{name}' can't be taken over: {error.problem}")
            continue
        moved.accounts += 1


async def _categories(store: Store, rows: list[dict[str, Any]], moved: Moved) -> dict[object, int]:
    """Our ids by the predecessor's."""
    known = {category.name for category in await store.lineup.categories()}
    found: dict[object, int] = {}
    for row in sorted(rows, key=_category_order):
        name = str(row.get("name") or "")
        if not name:
            continue
        found[row.get("id")] = (await store.lineup.category_named(name)).id
        moved.categories += name not in known
    return found


def _category_order(row: Mapping[str, Any]) -> tuple[int, str]:
    return _number(row.get("display_order")), str(row.get("name"))


async def _channels(
    store: Store, rows: list[dict[str, Any]], categories: Mapping[object, int], moved: Moved
) -> None:
    names = {category.id: category.name for category in await store.lineup.categories()}
    here = {channel.id: channel for channel in await store.lineup.channels(retired=True)}
    last = len(here)
    known = {source.value for channel in here.values() for source in channel.sources}
    ordered = sorted(rows, key=_channel_order)
    for position, row in enumerate(ordered, last):
        number = _number(row.get("id"))
        name = str(row.get("name") or f"Channel {number}")
        sources = _sources(row)
        if not sources:
            moved.notes.append(f"channel {number} '{name}' has no source that can be read")
            continue
        if sources[0].value in known:
            continue  # it was taken over before
        category = categories.get(row.get("category_id"))
        guide_id = str(row.get("epg_id") or "").strip()
        channel = Channel(
            number,
            name,
            position,
            logo=_http(row.get("logo_url")),
            guide_id=guide_id,
            enabled=bool(row.get("is_active", True)),
            added_at=_moment(row.get("created_at")) or 0,
            categories=() if category is None else (category,),
            sources=sources,
            # the list that brought it was not written down: it is whichever one has it
            identity=identity_of(
                sources[0].kind,
                sources[0].value,
                name,
                guide_id,
                "" if category is None else names[category],
            ),
        )
        try:
            await store.lineup.add_channel(channel)
        except ConfigError:
            moved.notes.append(
                f"channel {number} '{name}': its id is taken here, it gets a new one"
            )
            await store.lineup.add_channel(dataclasses.replace(channel, id=0))
        moved.channels += 1


def _channel_order(row: Mapping[str, Any]) -> tuple[int, int]:
    return _number(row.get("display_order")), _number(row.get("id"))


def _sources(row: Mapping[str, Any]) -> tuple[ChannelSource, ...]:
    """Its one key was a content id or an infohash, and it did not know which."""
    found = []
    content = str(row.get("acestream_id") or "").strip()
    if _CONTENT.fullmatch(content):
        found.append(ChannelSource("unknown", content.lower()))
    try:
        link = read_link(str(row.get("stream_url") or ""))
    except FormatError:
        return tuple(found)
    if all(source.value != link.value for source in found):
        found.append(ChannelSource(link.kind, link.value))
    return tuple(found)


def _http(url: object) -> str:
    text = str(url or "").strip()
    return text if text.lower().startswith(("http://", "https://")) else ""


async def _lists(
    store: Store,
    tables: Mapping[str, list[dict[str, Any]]],
    settings: Mapping[str, str],
    moved: Moved,
) -> None:
    sources: tuple[tuple[ListKind, str, str, str], ...] = (
        ("playlist", "scraper_urls", "SCRAPER_URLS", "SCRAPER_UPDATE_INTERVAL"),
        ("guide", "epg_sources", "EPG_SOURCES", "EPG_UPDATE_INTERVAL"),
    )
    for kind, table, urls_name, interval_name in sources:
        interval = settings.get(interval_name, "")
        seconds = _number(interval, 86_400)
        wanted = {
            str(row.get("url") or ""): bool(row.get("is_enabled", True)) for row in tables[table]
        }
        for url in settings.get(urls_name, "").split(","):
            wanted.setdefault(url.strip(), True)
        known = {source.url for source in await store.lineup.lists(kind)}
        for url, enabled in wanted.items():
            if url in known or not url:
                continue
            if not _http(url):
                moved.notes.append(f"a {kind} is at no web address and was left out")
                continue
            await store.lineup.add_list(
                ListSource(
                    0,
                    kind,
                    url,
                    enabled=enabled,
                    interval_seconds=max(seconds, _LEAST_INTERVAL_SECONDS),
                )
            )
            if kind == "playlist":
                moved.playlists += 1
            else:
                moved.guides += 1


async def _port(store: Store, settings: Mapping[str, str], moved: Moved) -> None:
    text = settings.get("SERVER_PORT", "")
    port = _number(text) if text.isascii() and text.isdigit() else 0
    if 0 < port < 65_536:
        moved.port = port
        await store.set_setting(EXTRA_PORT, str(port))
    elif text:
        moved.notes.append("SERVER_PORT is no port")
    host = settings.get("ACESTREAM_ENGINE_HOST", "")
    engine_port = settings.get("ACESTREAM_ENGINE_PORT", "6878")
    if host and (host, engine_port) not in (("127.0.0.1", "6878"), ("localhost", "6878")):
        moved.notes.append(
            f"its engine was http://{host}:{engine_port}: give that to serve as --engine"
        )
