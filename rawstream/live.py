"""A channel to watch: which channel a stream's URL names, and whether it may be had.

Owns: the spellings of a live stream's URL (Xtream reference §2.1), what is refused and how. Must
not know: who somebody is (`logins`), how a channel lives.
"""

from __future__ import annotations

import re
import time
from collections.abc import Awaitable
from typing import Final

from rawstream.accounts import Accounts
from rawstream.ace import STREAM_CONTENT_TYPE, STREAM_HEADERS
from rawstream.catalogue import LiveCatalogue
from rawstream.connection import Exchange
from rawstream.errors import ViewerError
from rawstream.hls_face import HlsEndpoints, agent_of
from rawstream.http1 import Request, Response
from rawstream.hub import ChannelHub
from rawstream.logins import Doorman, Login, login_in_path, login_of, parameters
from rawstream.records import Account

Answer = Response | Awaitable[Response | None] | None

_STREAM_NAME: Final = re.compile(r"([0-9]{1,10})(?:\.([A-Za-z0-9]{1,8}))?")
_PLAIN_EXTENSIONS: Final = frozenset(("", "ts"))
_PLAYLIST_EXTENSION: Final = "m3u8"


class LiveEndpoints:
    """The handlers of live streams. One per server."""

    def __init__(
        self,
        doorman: Doorman,
        hub: ChannelHub,
        accounts: Accounts,
        catalogue: LiveCatalogue,
        hls: HlsEndpoints,
    ) -> None:
        self._doorman = doorman
        self._hls = hls
        self._hub = hub
        self._accounts = accounts
        self._catalogue = catalogue

    def live(self, request: Request, exchange: Exchange) -> Answer:
        """`/live/U/P/ID[.EXT]`, `/live/TOKEN/ID[.EXT]`, `/U/P/ID[.EXT]`: the channel's MPEG-TS, or
        with `.m3u8` its HLS playlist.

        HEAD is answered at once: nothing is started, nobody is counted.
        """
        segments = request.segments
        rest = segments[1:] if segments[0] == "live" else segments
        return self._live(login_in_path(rest), rest[-1], request, exchange)

    def live_by_query(self, request: Request, exchange: Exchange) -> Answer:
        """The same as `username`, `password`, `stream` and `extension` (§2.1)."""
        asked = parameters(request)
        name, extension = asked.get("stream", ""), asked.get("extension", "")
        if extension:
            name = f"{name}.{extension}"
        return self._live(login_of(asked), name, request, exchange)

    def _live(self, login: Login, name: str, request: Request, exchange: Exchange) -> Answer:
        account = self._accounts.verified(login.username, login.password)
        if account is not None:
            self.play(account, name, request, exchange)
            return None
        return self._verify_and_play(login, name, request, exchange)

    async def _verify_and_play(
        self, login: Login, name: str, request: Request, exchange: Exchange
    ) -> None:
        account = await self._doorman.account(login, request)
        if not exchange.gone:
            self.play(account, name, request, exchange)

    def play(self, account: Account, name: str, request: Request, exchange: Exchange) -> None:
        """`name`: the channel's id with an extension. Raises ViewerError: 403 not allowed now, 404
        no such channel, 503 not at present.
        """
        status = self._accounts.status_of(account)
        if status != "Active":
            raise ViewerError(403, f"this account is {status.lower()}")
        found = _STREAM_NAME.fullmatch(name)
        channel = (
            self._catalogue.current.visible(account).by_id.get(int(found[1]))
            if found is not None
            else None
        )
        if found is None or channel is None:
            raise ViewerError(404, "no such channel")
        extension = (found[2] or "").lower()
        if extension == _PLAYLIST_EXTENSION:
            self._hls.playlist(channel, account, request, exchange)
            return
        if extension not in _PLAIN_EXTENSIONS:
            raise ViewerError(404, "channels are served as .ts and .m3u8")
        if "ts" not in account.allowed_formats:
            raise ViewerError(403, "this account may not play MPEG-TS")
        if request.method == "HEAD":
            exchange.stream(STREAM_HEADERS, STREAM_CONTENT_TYPE)
            return
        lease = self._accounts.lease(
            account,
            address=request.peer[0],
            user_agent=agent_of(request),
            channel=str(channel.id),
            now=time.monotonic(),
        )
        try:
            self._hub.watch_channel(
                channel, exchange, headers=STREAM_HEADERS, account=account.username, lease=lease
            )
        except BaseException:
            lease.ended()
            raise

    def nothing(self, _request: Request, _exchange: Exchange) -> Response:
        """Archives there are none of."""
        return Response(404, b"not found\n")
