"""The Xtream Codes answers as values: which key has which JSON type.

Owns: names and types (Xtream reference §3; a number that players want as text is text here). Must
not know: requests, accounts' secrets beyond what is echoed, where any of it comes from. Pure.
"""

from __future__ import annotations

import base64
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, Final
from xml.sax.saxutils import escape

from rawstream.catalogue import Sorted
from rawstream.guide import Listing
from rawstream.records import Account, Category, Channel
from rawstream.urls import Base

# `null` is authentic for "never" and crashes players (§3.1); this is the largest int32
NEVER: Final = "2147483647"
NO_LISTINGS: Final[Mapping[str, Any]] = {"epg_listings": []}
_TYPE_NAMES: Final = {"live": "Live Streams", "radio_streams": "Radio", "movie": "Movies"}

# What panels' numeric actions stand for (§2.2)
ACTIONS: Final[Mapping[str, str]] = {
    "200": "get_vod_categories",
    "201": "get_live_categories",
    "202": "get_live_streams",
    "203": "get_vod_streams",
    "204": "get_series_info",
    "205": "get_short_epg",
    "206": "get_series_categories",
    "207": "get_simple_data_table",
    "208": "get_series",
    "209": "get_vod_info",
    "get_simple_date_table": "get_simple_data_table",
}


def account_object(
    account: Account,
    *,
    username: str,
    password: str,
    status: str,
    active: int,
    base: Base,
    now: float,
) -> dict[str, Any]:
    """`user_info` and `server_info` (§3.1). `username` and `password` as they were typed."""
    expires = account.expires_at
    return {
        "user_info": {
            "username": username,
            "password": password,
            "message": "",
            "auth": 1,
            "status": status,
            "exp_date": NEVER if expires is None else str(expires),
            "is_trial": str(int(account.trial)),
            "active_cons": str(active),
            "created_at": str(account.created_at),
            "max_connections": str(account.max_connections),
            "allowed_output_formats": list(account.allowed_formats),
        },
        "server_info": server_info(base, now),
    }


def server_info(base: Base, now: float) -> dict[str, Any]:
    """Host, port and scheme as the client sees them; everything in UTC."""
    port = str(base.port)
    return {
        "url": base.host,
        "port": port,
        "https_port": port if base.scheme == "https" else "0",
        "server_protocol": base.scheme,
        "rtmp_port": "0",
        "timezone": "UTC",
        "timestamp_now": int(now),
        "time_now": moment(int(now)),
        "process": True,
    }


def refusal_object(username: str, password: str, message: str) -> dict[str, Any]:
    """A failed login with every key that clients index (§5.3)."""
    return {
        "user_info": {
            "username": username,
            "password": password,
            "message": message,
            "auth": 0,
            "status": "Disabled",
            "exp_date": "0",
            "is_trial": "0",
            "active_cons": "0",
            "created_at": "0",
            "max_connections": "0",
            "allowed_output_formats": [],
        },
        "server_info": {},
    }


def category_rows(categories: Iterable[Category]) -> list[dict[str, Any]]:
    return [
        {"category_id": str(category.id), "category_name": category.name, "parent_id": 0}
        for category in categories
    ]


def categories_of(
    categories: Iterable[Category],
) -> Callable[[Sorted], list[Category]]:
    """Of a channel or a series its categories among these, its own order kept; the last of these
    for one that is in none, since players demand one (§3.3).
    """
    shown = {category.id: category for category in categories}
    other = list(shown.values())[-1:]

    def found(channel: Sorted) -> list[Category]:
        return [shown[own] for own in channel.categories if own in shown] or other

    return found


def stream_rows(
    channels: Sequence[Channel],
    categories: Iterable[Category],
    is_adult: Callable[[Channel], bool],
) -> list[dict[str, Any]]:
    """One row per channel (§3.3). `num` counts from 1 in the order of the line-up."""
    shown = categories_of(categories)
    rows = []
    for number, channel in enumerate(channels, 1):
        own = [category.id for category in shown(channel)] or [0]
        rows.append(
            {
                "num": number,
                "name": channel.name,
                "stream_type": "radio_streams" if channel.radio else "live",
                "stream_id": channel.id,
                "stream_icon": channel.logo,
                "epg_channel_id": channel.guide_id or None,
                "added": str(channel.added_at),
                "is_adult": str(int(is_adult(channel))),
                "category_id": str(own[0]),
                "category_ids": own,
                "custom_sid": "",
                "tv_archive": 0,
                "direct_source": "",
                "tv_archive_duration": 0,
                "thumbnail": "",
            }
        )
    return rows


def listing_row(listing: Listing, channel: Channel, now: int) -> dict[str, Any]:
    """A programme of `get_simple_data_table` (§3.9); `get_short_epg` has a `stop` besides.

    Ids are text that fits an int32, the same at every import. There is no archive yet.
    """
    key = f"{channel.guide_id}\0{listing.start}".encode()
    return {
        "id": str(zlib.crc32(key) & 0x7FFFFFFF),
        "epg_id": str(channel.id),
        "title": encoded(listing.title),
        "lang": listing.lang,
        "start": moment(listing.start),
        "end": moment(listing.stop),
        "description": encoded(listing.description),
        "channel_id": channel.guide_id,
        "start_timestamp": str(listing.start),
        "stop_timestamp": str(listing.stop),
        "now_playing": int(listing.start <= now < listing.stop),
        "has_archive": 0,
    }


@lru_cache(maxsize=4096)
def moment(seconds: int) -> str:
    """`YYYY-MM-DD HH:MM:SS`, UTC as everything here."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S")


def encoded(text: str) -> str:
    """Base64 of UTF-8, as titles and descriptions always are."""
    return base64.b64encode(text.encode()).decode()


def panel_channels(
    rows: Iterable[Mapping[str, Any]], categories: Iterable[Category]
) -> dict[str, Any]:
    """`available_channels` of panel_api.php (§3.11), by stream id; here the id is text. `rows`:
    those of channels and of movies, `categories` of both.
    """
    names = {str(category.id): category.name for category in categories}
    found = {}
    for row in rows:
        key = str(row["stream_id"])
        movie = row["stream_type"] == "movie"
        found[key] = {
            **{name: row[name] for name in ("num", "name", "stream_type")},
            "type_name": _TYPE_NAMES[row["stream_type"]],
            "stream_id": key,
            "stream_icon": row["stream_icon"],
            "epg_channel_id": row.get("epg_channel_id"),
            "added": row["added"],
            "category_name": names.get(row["category_id"], ""),
            "category_id": row["category_id"],
            "series_no": None,
            "live": str(int(not movie)),
            "container_extension": row.get("container_extension"),
            "custom_sid": row["custom_sid"],
            "tv_archive": row.get("tv_archive", 0),
            "direct_source": row["direct_source"],
            "tv_archive_duration": row.get("tv_archive_duration", 0),
        }
    return found


def enigma2(
    title: str, items: Iterable[tuple[str, str, str, str, str, str]], encode: Callable[[str], str]
) -> str:
    """The XML of old Enigma2 plugins (§3.12).

    `items`: name, description, logo ('' without one), category id, then the tag (`playlist_url`:
    descend, `stream_url`: play) and its URL. `encode`: base64.
    """
    parts = [
        '<?xml version="1.0" encoding="UTF-8"?>\n<items>\n',
        f"<playlist_name><![CDATA[{_cdata(title)}]]></playlist_name>\n",
    ]
    for name, description, logo, category, tag, url in items:
        image = f"<desc_image><![CDATA[{_cdata(logo)}]]></desc_image>" if logo else ""
        parts.append(
            f"<channel><title>{encode(name)}</title><description>{encode(description)}"
            f"</description>{image}<category_id>{escape(category)}</category_id>"
            f"<{tag}><![CDATA[{_cdata(url)}]]></{tag}></channel>\n"
        )
    parts.append("</items>\n")
    return "".join(parts)


def _cdata(text: str) -> str:
    return text.replace("]]>", "]]]]><![CDATA[>")
