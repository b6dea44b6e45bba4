"""The URLs of unified-iptv-acestream that scripts of its users ask: the old shapes, our numbers.

Owns: `/api/channels`, `/api/aceproxy/streams`, `/api/aceproxy/stats`, `/api/health` and their JSON.
Must not know: who may ask (`routes`), how a channel lives.

There anybody could ask all of them. Here an admin may, a script on this machine the totals, and of
health anybody hears whether all is well and nothing else. Names and types are the old ones; what
was always 0 there is true here.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Sequence
from datetime import UTC, datetime
from typing import Any, Final

import orjson

from rawstream.catalogue import LiveCatalogue
from rawstream.channels import ChannelSnapshot
from rawstream.connection import Exchange
from rawstream.errors import StateError
from rawstream.http1 import Headers, Request, Response
from rawstream.hub import ChannelHub
from rawstream.operators import Operators
from rawstream.records import Channel
from rawstream.store import Store
from rawstream.viewer import ViewerSnapshot

_JSON: Final = "application/json"
_NO_STORE: Headers = (("Cache-Control", "no-store"),)
_LIMIT: Final = 100
_MOST: Final = 100_000
_ENGINE_KINDS: Final = frozenset(("content_id", "infohash", "unknown"))
_ON_AIR: Final = frozenset(("live", "lingering"))


class PredecessorEndpoints:
    """The handlers. `port`: where we listen. `calendar`: seconds since 1970."""

    def __init__(
        self,
        store: Store,
        catalogue: LiveCatalogue,
        hub: ChannelHub,
        operators: Operators,
        *,
        port: Callable[[], int],
        calendar: Callable[[], float] = time.time,
    ) -> None:
        self._store = store
        self._catalogue = catalogue
        self._hub = hub
        self._operators = operators
        self._port = port
        self._calendar = calendar

    async def channels(self, request: Request, _exchange: Exchange) -> Response:
        """`/api/channels?limit&offset`: what is live and shown, in its order."""
        limit, offset = _whole(request, "limit", _LIMIT), _whole(request, "offset", 0)
        if limit is None or offset is None:
            return _json({"detail": "limit and offset are whole numbers"}, 422)
        try:
            names = {one.id: one.name for one in await self._store.lineup.categories()}
        except StateError as error:
            return _json({"detail": str(error)}, 503)
        shown = self._catalogue.current.channels
        on_air = _on_air(self._counted())
        return _json([_channel(one, names, on_air) for one in shown[offset : offset + limit]])

    def streams(self, _request: Request, _exchange: Exchange) -> Response:
        """`/api/aceproxy/streams`: what is on air, and who watches."""
        found = [self._stream(one) for one in self._hub.snapshot().channels]
        return _json({"status": "success", "total_streams": len(found), "streams": found})

    def stats(self, _request: Request, _exchange: Exchange) -> Response:
        """`/api/aceproxy/stats`: how many streams and viewers."""
        shown = self._counted()
        stats = {
            "total_streams": len(shown),
            "total_clients": sum(one.viewer_count for one in shown),
            "server_type": "rawstream",
            "streaming_port": self._port(),
        }
        return _json({"status": "success", "stats": stats})

    def health(self, request: Request, _exchange: Exchange) -> Response:
        """`/api/health`: healthy, or degraded while no engine answers; to an admin with detail."""
        ready, _reason = self._hub.ready()
        told: dict[str, Any] = {"status": "healthy" if ready else "degraded"}
        if self._operators.of(request) is not None:
            told["services"] = {"aceproxy": ready, "scraper": True, "epg": True}
            told["aceproxy_streams"] = len(self._counted())
        return _json(told)

    def _counted(self) -> Sequence[ChannelSnapshot]:
        """What is on air; who watches is counted and not looked at, which is most of the work."""
        return self._hub.snapshots(time.monotonic(), kernel=False, viewers=False)

    def _stream(self, channel: ChannelSnapshot) -> dict[str, Any]:
        key = channel.infohash or channel.key
        clients = [self._client(one) for one in channel.viewers]
        began = max((channel.state_seconds, *(one.seconds for one in channel.viewers)))
        return {
            "stream_id": key,
            "channel_name": channel.name or key[:20],
            "clients": clients,
            "client_count": len(clients),
            "physical_connections": len(clients),
            "created_at": self._since(began),
            "is_active": channel.state in _ON_AIR,
        }

    def _client(self, viewer: ViewerSnapshot) -> dict[str, Any]:
        return {
            "username": viewer.account or "",
            "ip": viewer.address,
            "user_agent": viewer.user_agent,
            "connected_at": self._since(viewer.seconds),
        }

    def _since(self, seconds: float) -> str:
        return _moment(self._calendar() - seconds)


def _channel(channel: Channel, names: dict[int, str], on_air: Collection[str]) -> dict[str, Any]:
    ids = [one.value for one in channel.sources if one.kind in _ENGINE_KINDS]
    known = {*ids, *(one.infohash for one in channel.sources if one.infohash)}
    return {
        "id": channel.id,
        "name": channel.name,
        "acestream_id": ids[0] if ids else None,
        "category": names.get(channel.categories[0]) if channel.categories else None,
        "logo_url": channel.logo or None,
        "is_online": not known.isdisjoint(on_air),
        "is_active": channel.enabled,
        "created_at": _moment(channel.added_at),
    }


def _on_air(channels: Collection[ChannelSnapshot]) -> set[str]:
    """The ids of contents that are on air, in every spelling that is known."""
    found: set[str] = set()
    for channel in channels:
        if channel.state in _ON_AIR:
            found |= {text.partition(":")[2] for text in channel.content}
            found |= {channel.infohash or ""} - {""}
    return found


def _whole(request: Request, name: str, otherwise: int) -> int | None:
    text = request.query.get(name, "")
    if not text:
        return otherwise
    return min(int(text), _MOST) if text.isascii() and text.isdigit() and len(text) < 10 else None


def _moment(seconds: float) -> str:
    """As Python writes a time of UTC without saying so, which is how it was."""
    return datetime.fromtimestamp(int(seconds), UTC).replace(tzinfo=None).isoformat()


def _json(found: Any, status: int = 200) -> Response:
    return Response(status, orjson.dumps(found), _JSON, _NO_STORE)
