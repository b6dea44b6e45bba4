"""HLS to players: the playlist of a channel, its segments, and who may have them.

Owns: what a playlist request needs to become a watcher, what a segment request is asked (the token
in its URL, the account or the operator behind it), the answers. Must not know: how a playlist comes
about (`packager`), which channel a URL names (`live`, `ace`).

A segment's path is the same for all watchers and can't be guessed, so that a cache may keep it by
its path alone; the token behind it is looked at when the request reaches us.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Final

from rawstream.accounts import Accounts
from rawstream.connection import Exchange
from rawstream.engine_client import ContentRef
from rawstream.errors import ViewerError
from rawstream.hls_tokens import Claims
from rawstream.hls_writer import CONTENT_TYPE
from rawstream.http1 import Request, Response, is_known
from rawstream.hub import ChannelHub, first_ref
from rawstream.logins import Doorman
from rawstream.packager import PLAYLIST_HEADERS, Packager
from rawstream.records import Account, Channel
from rawstream.watchers import RequestLease, Watcher, WatcherKey

_USER_AGENT_CHARACTERS: Final = 200
_PAGES: Final = 1000  # of operators who play, remembered
_NOT_KEPT: Final = ("Cache-Control", "no-store")


def agent_of(request: Request) -> str:
    """The User-Agent as far as it tells players apart."""
    return request.headers.get("user-agent", "")[:_USER_AGENT_CHARACTERS]


class HlsEndpoints:
    """The handlers of HLS. One per server; without accounts only for local players."""

    def __init__(
        self, hub: ChannelHub, doorman: Doorman | None = None, accounts: Accounts | None = None
    ) -> None:
        self._hub = hub
        self._doorman = doorman
        self._accounts = accounts
        # who plays in an operator's page, and whether that operator is one still
        self._pages: OrderedDict[WatcherKey, Callable[[], bool]] = OrderedDict()

    # -- playlists --

    def playlist(
        self, channel: Channel, account: Account, request: Request, exchange: Exchange
    ) -> None:
        """A channel of the line-up for one who may see it. Raises ViewerError: 403, 503."""
        if "m3u8" not in account.allowed_formats:
            raise ViewerError(403, "this account may not play HLS")
        if _is_head(request, exchange):
            return
        key = WatcherKey(account.id, channel.id, request.peer[0], agent_of(request))
        ref = first_ref(channel)
        lease: RequestLease | None = None
        if not self._hub.watches(ref, key):
            lease = self._lease(account, key)
        try:
            self._hub.watch_playlist(
                ref,
                exchange,
                key,
                prefix=self._prefix(request),
                name=channel.name,
                account=account.username,
                lease=lease,
                ways=channel.sources,
                channel_id=channel.id,
            )
        except BaseException:
            if lease is not None:
                lease.ended()
            raise

    def for_operator(
        self,
        channel: Channel,
        account: Account,
        request: Request,
        exchange: Exchange,
        *,
        is_good: Callable[[], bool],
    ) -> None:
        """A channel for an admin's page: without a lease, so in nobody's limit. `is_good`: whether
        he is one still; no longer are there segments for him. Raises ViewerError 503.
        """
        if _is_head(request, exchange):
            return
        key = WatcherKey(0, channel.id, request.peer[0], agent_of(request))
        self._pages[key] = is_good
        self._pages.move_to_end(key)
        if len(self._pages) > _PAGES:
            self._pages.popitem(last=False)
        self._hub.watch_playlist(
            first_ref(channel),
            exchange,
            key,
            prefix=self._prefix(request),
            name=channel.name,
            account=account.username,
            ways=channel.sources,
            channel_id=channel.id,
        )

    def content(self, ref: ContentRef, request: Request, exchange: Exchange) -> None:
        """A content for a local player. Raises ViewerError 503."""
        if _is_head(request, exchange):
            return
        key = WatcherKey(0, 0, request.peer[0], agent_of(request))
        self._hub.watch_playlist(ref, exchange, key, prefix=self._prefix(request))

    def _prefix(self, request: Request) -> str:
        return self._doorman.base(request).prefix if self._doorman is not None else ""

    def _lease(self, account: Account, key: WatcherKey) -> RequestLease:
        assert self._accounts is not None, "an account comes from accounts"
        return self._accounts.lease(
            account,
            address=key.address,
            user_agent=key.user_agent,
            channel=str(key.channel_id),
            now=time.monotonic(),
            by_requests=True,
        )

    # -- segments --

    def segment(self, request: Request, _exchange: Exchange) -> Response:
        """`/hls/RUN/NAME.ts?t=TOKEN`. 404 for what has expired or never was, 403 for a token that
        is not good, 503 for a watcher who had left and may not come back now. A cache that keeps
        segments by their path must keep none of these: it would tell them to everybody.
        """
        try:
            return self._segment(request)
        except ViewerError as error:
            told = Response.of_error(error)
            headers = (*told.headers, _NOT_KEPT)
            return Response(told.status, told.body, told.content_type, headers)

    def _segment(self, request: Request) -> Response:
        """Raises ViewerError."""
        _hls, run, name = request.segments
        packager = self._hub.packager(run)
        segment = packager.find(name) if packager is not None else None
        if packager is None or segment is None:
            raise ViewerError(404, "no such segment, or not any more")
        token = request.query.get("t", "")
        claims = packager.claims_of(token)
        if claims is None:
            raise ViewerError(403, "this segment's URL is not good any more; load the playlist")
        watcher = self._watcher(packager, claims, request)
        answer = packager.serve(watcher, segment)
        if is_known(dict(answer.headers)["ETag"], request):
            return Response(304, headers=answer.headers)
        if request.method != "HEAD":
            packager.sent(watcher, segment.size)
        return answer

    def _watcher(self, packager: Packager, claims: Claims, request: Request) -> Watcher:
        """Whose request it is. One who was silent so long that he counted as gone is let in anew.
        Raises ViewerError: 403 his account is over, 503.
        """
        account = self._account(claims)
        watcher = packager.watchers.numbered(claims.watcher)
        ours = claims.account_id, claims.channel_id
        key = WatcherKey(*ours, request.peer[0], agent_of(request))
        if claims.channel_id and account is None:
            self._check_page(packager, watcher.key if watcher is not None else key)
        if watcher is not None:
            return watcher
        watcher = packager.watchers.get(key)
        if watcher is not None:
            return watcher
        lease = self._lease(account, key) if account is not None else None
        return packager.watchers.add(
            key,
            time.monotonic(),
            account=account.username if account is not None else None,
            lease=lease,
            port=request.peer[1],
        )

    def _check_page(self, packager: Packager, key: WatcherKey) -> None:
        """Raises ViewerError 403: the operator whose page this is has logged out."""
        is_good = self._pages.get(key)
        if is_good is not None and is_good():
            return
        self._pages.pop(key, None)
        watcher = packager.watchers.get(key)
        if watcher is not None:
            packager.watchers.end(watcher)
        raise ViewerError(403, "whoever played this is no operator any more")

    def _account(self, claims: Claims) -> Account | None:
        """None for a local player. Raises ViewerError 403."""
        if not claims.account_id:
            return None
        assert self._accounts is not None, "an account comes from accounts"
        account = self._accounts.by_id(claims.account_id)
        status = self._accounts.status_of(account) if account is not None else "Disabled"
        if status != "Active":
            raise ViewerError(403, f"this account is {status.lower()}")
        return account


def _is_head(request: Request, exchange: Exchange) -> bool:
    """HEAD is answered at once: nothing is started, nobody is counted."""
    if request.method == "HEAD":
        exchange.stream(PLAYLIST_HEADERS, CONTENT_TYPE)
        return True
    return False
