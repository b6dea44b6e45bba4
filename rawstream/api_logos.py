"""Logos of channels, for the operator's pages, whoever's server they are on.

Owns: whose logo is asked for, and how it is answered. Must not know: how a picture is fetched and
kept (`logo_cache`).
"""

from __future__ import annotations

from typing import Final

from rawstream.http1 import Headers, Response, is_known
from rawstream.logo_cache import LogoCache
from rawstream.records import Channel
from rawstream.rest import Call, Model, NotThere, Operation, Raw
from rawstream.store import Store

# what a stranger's bytes may do, should a browser show them as a page of their own
_GUARDED: Final[Headers] = (
    ("Cache-Control", "private, max-age=86400"),
    ("Content-Security-Policy", "default-src 'none'"),
    ("X-Content-Type-Options", "nosniff"),
)


class LogoQuery(Model):
    """`of`: anything; a page puts a checksum of the logo's address there, so that a new logo is
    asked for.
    """

    of: str = ""


class LogoOperations:
    """The handlers."""

    def __init__(self, store: Store, cache: LogoCache) -> None:
        self._store = store
        self._cache = cache

    def table(self) -> list[Operation]:
        return [
            Operation(
                *("GET", "/channels/{id}/logo", self.logo, "Its logo, as a picture", "channels"),
                query=LogoQuery,
                answer=Raw(("image/*",), (304,)),
                description="Fetched from where it is and kept. Logos below /logos/ are asked for"
                " there.",
            )
        ]

    async def logo(self, call: Call) -> Response:
        channel = await self._store.lineup.channel(call.ids["id"])
        if channel is None:
            raise NotThere("channel")
        if "://" not in channel.logo:
            raise NotThere("logo")
        picture = await self._cache.get(channel.logo, named_by=await self._named_by(channel))
        if picture is None:
            raise NotThere("logo")
        headers = (*_GUARDED, ("ETag", f'"{picture.tag}"'))
        if is_known(f'"{picture.tag}"', call.request):
            return Response(304, headers=headers)
        return Response(200, picture.content, picture.content_type, headers)

    async def _named_by(self, channel: Channel) -> str:
        """The URL of the list that its logo is of, '' where somebody of ours has set it."""
        if channel.playlist_id is None or "logo" in channel.edited:
            return ""
        source = await self._store.lineup.list_source(channel.playlist_id)
        return source.url if source is not None and "://" in source.url else ""
