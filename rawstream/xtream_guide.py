"""The guide as players ask for it a channel at a time: player_api's EPG actions.

Owns: which programmes each action means, one channel or several (Xtream reference §3.8 to §3.10).
Must not know: accounts, HTTP; the names of keys are `xtream_shapes`'s.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

from rawstream.catalogue import View
from rawstream.guide import DAYS_LIMIT, listings
from rawstream.records import Channel
from rawstream.store_guide import GuideStore
from rawstream.xtream_shapes import listing_row

ACTIONS: Final = frozenset(("get_short_epg", "get_simple_data_table", "get_epg", "get_epg_batch"))
_SHORT: Final = 4  # programmes, where `limit` is not given
_SHORT_LIMIT: Final = 500
_DAY_SECONDS: Final = 86_400
_CHANNELS_LIMIT: Final = 100  # of one request
_WHOLE: Final = re.compile(r"[0-9]{1,10}")


async def answer(
    action: str, asked: Mapping[str, str], view: View, guide: GuideStore, now: int
) -> Any:
    """What an action answers; a channel that nobody knows has no programmes. Raises StateError."""
    key = "stream_ids" if action == "get_epg_batch" else "stream_id"
    names = [name.strip() for name in asked.get(key, "").split(",")][:_CHANNELS_LIMIT]
    several = len(names) > 1 or "multi" in asked or action == "get_epg_batch"
    rows = {}
    for name in names:
        channel = view.by_id.get(int(name)) if _WHOLE.fullmatch(name) else None
        if channel is not None or not several:
            found = [] if channel is None else await _rows(action, asked, channel, guide, now)
            rows[name] = found
    if action == "get_epg_batch":
        return {name: {"epg_listings": found} for name, found in rows.items()}
    found_all: Any = rows if several else rows[names[0]]
    return found_all if action == "get_epg" else {"epg_listings": found_all}


async def _rows(
    action: str, asked: Mapping[str, str], channel: Channel, guide: GuideStore, now: int
) -> list[dict[str, Any]]:
    since, until = now - DAYS_LIMIT * _DAY_SECONDS, now + DAYS_LIMIT * _DAY_SECONDS
    short = action == "get_short_epg"
    if short or asked.get("from_now") == "1":
        since = now
    if action == "get_epg_batch":
        since, until = _day(asked.get("date", ""), now)
    most = None
    if short:
        limit = asked.get("limit", "")
        wanted = int(limit) if _WHOLE.fullmatch(limit) else 0
        most = min(wanted or _SHORT, _SHORT_LIMIT)
    found = await listings(guide, channel.guide_id, since, until, limit=most)
    rows = [listing_row(one, channel, now) for one in found]
    if short:
        for row in rows:
            row["stop"] = row["end"]
    if action == "get_epg":
        for row, one in zip(rows, found, strict=True):
            row["start"], row["end"] = one.start, one.stop
    return rows


def _day(text: str, now: int) -> tuple[int, int]:
    """A day in UTC; today, where there is none."""
    try:
        start = int(datetime.strptime(text, "%Y-%m-%d").replace(tzinfo=UTC).timestamp())
    except ValueError:
        start = now // _DAY_SECONDS * _DAY_SECONDS
    return start, start + _DAY_SECONDS
