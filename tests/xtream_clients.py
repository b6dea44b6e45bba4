"""Xtream client libraries as programs: log in, list, read the guide, print what they understood.

    python tests/xtream_clients.py CLIENT URL USERNAME PASSWORD CACHE_DIR

Run in a process of its own, since these libraries block, print, and keep files.
"""

from __future__ import annotations

import contextlib
import json
import sys
from typing import Any


def pyxtream(url: str, username: str, password: str, cache: str) -> dict[str, Any]:
    """The library of Hypnotix: the strictest reader of types among those that run here."""
    from pyxtream import XTream

    client = XTream(
        "test", username, password, url, cache_path=cache, reload_time_sec=0, validate_json=True
    )
    loaded = client.state["authenticated"]
    if loaded:
        client.load_iptv()
    return {
        "in": client.state["authenticated"],
        "groups": sorted(group.name for group in client.groups if group.channels),
        "channels": sorted(channel.name for channel in client.channels),
        "urls": sorted(channel.url for channel in client.channels),
        "films": sorted(film.name for film in client.movies),
        "film_urls": [film.url for film in client.movies],
        "series": {serie.name: _episodes(client, serie) for serie in client.series},
        "guide": client.liveEpgByStream(client.channels[0].id) if client.channels else None,
    }


def _episodes(client: Any, serie: Any) -> dict[str, str]:
    """The URL of each episode by its title."""
    client.get_series_info_by_id(serie)
    return {
        episode.title: episode.url
        for season in serie.seasons.values()
        for episode in season.episodes.values()
    }


def hours(url: str, username: str, password: str, cache: str) -> dict[str, Any]:
    """What is on now, at the local time that a player in this zone shows."""
    import base64
    import time

    from pyxtream import XTream

    client = XTream("hours", username, password, url, cache_path=cache, reload_time_sec=0)
    client.load_iptv()
    rows = client.liveEpgByStreamAndLimit(client.channels[0].id, 1)["epg_listings"]
    start = int(rows[0]["start_timestamp"])
    local = time.localtime(start)
    title = base64.b64decode(rows[0]["title"]).decode()
    return {"title": title, "start": start, "hour": local.tm_hour, "minute": local.tm_min}


def xtream_api_client(url: str, username: str, password: str, _cache: str) -> dict[str, Any]:
    """The second reader of logins, categories and lists."""
    from xtream_api_client import XtreamAuthenticationError, XtreamClient

    client = XtreamClient(url, username, password)
    try:
        account = client.get_account_info_parsed()
    except XtreamAuthenticationError:
        return {"in": False}
    return {
        "in": True,
        "status": account.status,
        "max_connections": account.max_connections,
        "groups": sorted(category["category_name"] for category in client.get_live_categories()),
        "channels": sorted(channel["name"] for channel in client.get_live_streams()),
        "films": len(client.get_vod_streams()),
    }


def ipytv(url: str, username: str, password: str, _cache: str) -> dict[str, Any]:
    """A reader of channel lists."""
    import urllib.request

    from ipytv import playlist

    address = f"{url}/get.php?username={username}&password={password}&type=m3u_plus&output=ts"
    with urllib.request.urlopen(address) as answer:
        found = playlist.loads(answer.read().decode())
    return {
        "channels": sorted(channel.name for channel in found),
        "urls": [channel.url for channel in found],
        "groups": sorted({channel.attributes["group-title"] for channel in found}),
    }


if __name__ == "__main__":
    with contextlib.redirect_stdout(sys.stderr):
        result = globals()[sys.argv[1]](*sys.argv[2:6])
    print(json.dumps(result))
