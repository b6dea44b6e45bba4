"""The AceStream dialect for players with an account, from wherever they ask.

Owns: what an account may ask for under these URLs: contents of its own line-up, under its limits.
Must not know: how an address alone lets somebody in (`routes`), how a channel or a film is played.

At home anybody plays any content (`ace`). A stranger with an account is somebody's guest: he plays
what he would find in his list, spelled as he likes, and nothing else; so no account is a way round
its categories, and none has us fetch an address of his choice.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Hashable, Mapping
from itertools import chain
from typing import Final

from rawstream.ace import AceEndpoints, content_of
from rawstream.catalogue import LiveCatalogue, View
from rawstream.connection import Exchange
from rawstream.errors import ViewerError
from rawstream.http1 import Request, Response
from rawstream.live import LiveEndpoints
from rawstream.logins import Doorman, login_of
from rawstream.records import Account, Channel
from rawstream.sources import ref_of
from rawstream.vod import VodEndpoints

_INDEXES: Final = 16  # classes of accounts whose contents are kept at hand

_Index = Mapping[str, Channel]


class AceAccountEndpoints:
    """The handlers; each raises ViewerError 403 for a login that is not good. One per server."""

    def __init__(
        self,
        doorman: Doorman,
        catalogue: LiveCatalogue,
        ace: AceEndpoints,
        live: LiveEndpoints,
        vod: VodEndpoints,
    ) -> None:
        self._doorman = doorman
        self._catalogue = catalogue
        self._ace = ace
        self._live = live
        self._vod = vod
        self._indexes: OrderedDict[Hashable, _Index] = OrderedDict()

    async def getstream(self, request: Request, exchange: Exchange) -> None:
        """`/ace/getstream`: the channel's MPEG-TS, or the film's file. Raises ViewerError: 400,
        403, 404, 503.
        """
        account = await self._account(request)
        channel = await self._channel(account, request)
        if exchange.gone:
            return
        if channel.kind == "live":
            self._live.play(account, f"{channel.id}.ts", request, exchange)
            return
        answer = self._vod.play(account, str(channel.id), request, exchange)
        if answer is not None:
            await answer

    async def manifest(self, request: Request, exchange: Exchange) -> None:
        """`/ace/manifest.m3u8`: the channel's HLS playlist. Raises ViewerError: 400, 403, 404,
        503.
        """
        account = await self._account(request)
        channel = await self._channel(account, request)
        if not exchange.gone:
            self._live.play(account, f"{channel.id}.m3u8", request, exchange)

    async def status(self, request: Request, exchange: Exchange) -> Response:
        """`/ace/status`: how many channels run, or how one of his does. Raises ViewerError: 400,
        403, 404.
        """
        account = await self._account(request)
        if any(request.query.get(name) for name in _CONTENT):
            await self._channel(account, request)
        return self._ace.status(request, exchange)

    async def service(self, request: Request, exchange: Exchange) -> Response:
        """`/webui/api/service`."""
        await self._account(request)
        return self._ace.service(request, exchange)

    # -- what they share --

    async def _account(self, request: Request) -> Account:
        return await self._doorman.watcher(login_of(request.query), request)

    async def _channel(self, account: Account, request: Request) -> Channel:
        """What of his line-up has this content among its sources. Raises ViewerError 400, 404."""
        ref = content_of(request.query)
        view = self._catalogue.current.visible(account)
        index = self._indexes.get(view.key)
        if index is None:
            index = await asyncio.to_thread(_index_of, view)
            self._indexes[view.key] = index
            if len(self._indexes) > _INDEXES:
                self._indexes.popitem(last=False)
        channel = index.get(ref.value)
        if channel is None:
            raise ViewerError(404, "no such channel or film in this account's line-up")
        return channel


_CONTENT: Final = ("content_id", "id", "infohash", "url", "magnet")


def _index_of(view: View) -> _Index:
    """Channels and films by what their sources are called; of two the first counts."""
    found: dict[str, Channel] = {}
    for channel in chain(view.channels, view.films.values()):
        for source in channel.sources:
            for name in (ref_of(source).value, source.value, source.infohash):
                if name:
                    found.setdefault(name, channel)
    return found
