"""Logos of channels, for the operator's pages, whoever's server they are on.

Owns: whose logo is asked for, and how it is answered. Must not know: how a picture is fetched and
kept (`logo_cache`).
"""

from __future__ import annotations

from typing import Final

from rawstream.http1 import Headers, Request, Response, is_known
from rawstream.logo_cache import LogoCache
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
            ),
            Operation(
                *("GET", "/series/{id}/cover", self.cover, "Its cover, as a picture", "series"),
                query=LogoQuery,
                answer=Raw(("image/*",), (304,)),
                description="As the logo of a channel.",
            ),
        ]

    async def logo(self, call: Call) -> Response:
        channel = await self._store.lineup.channel(call.ids["id"])
        if channel is None:
            raise NotThere("channel")
        by_hand = "logo" in channel.edited
        named_by = "" if by_hand else await self._url_of(channel.playlist_id)
        return await self._picture(call.request, channel.logo, named_by)

    async def cover(self, call: Call) -> Response:
        found = await self._store.lineup.cover_of(call.ids["id"])
        if found is None:
            raise NotThere("series")
        cover, by_hand, playlist_id = found
        named_by = "" if by_hand else await self._url_of(playlist_id)
        return await self._picture(call.request, cover, named_by)

    async def _picture(self, request: Request, url: str, named_by: str | None) -> Response:
        if "://" not in url:
            raise NotThere("logo")
        picture = await self._cache.get(url, named_by=named_by)
        if picture is None:
            raise NotThere("logo")
        headers = (*_GUARDED, ("ETag", f'"{picture.tag}"'))
        if is_known(f'"{picture.tag}"', request):
            return Response(304, headers=headers)
        return Response(200, picture.content, picture.content_type, headers)

    async def _url_of(self, playlist_id: int | None) -> str | None:
        """The URL of the list that names a picture, '' for a file of ours, None for a list that is
        no more.
        """
        source = None
        if playlist_id is not None:
            source = await self._store.lineup.list_source(playlist_id)
        if source is None:
            return None
        return source.url if "://" in source.url else ""
