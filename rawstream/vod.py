"""A film to watch: which film or episode a URL names, and whether it may be had.

Owns: the spellings of a film's URL (Xtream reference §2.1), what is refused and how. Must not know:
who somebody is (`logins`), where a film's bytes come from.
"""

from __future__ import annotations

import re
import time
from collections.abc import Awaitable
from typing import Final

from rawstream.accounts import Accounts
from rawstream.catalogue import LiveCatalogue
from rawstream.config import Timeouts
from rawstream.connection import Exchange
from rawstream.errors import ViewerError
from rawstream.film_viewer import Film
from rawstream.films import Films, head_headers
from rawstream.http1 import Request
from rawstream.live import Answer
from rawstream.logins import Doorman, Login, login_in_path, login_of, parameters
from rawstream.records import Account, Channel
from rawstream.waiting_room import hold_seconds

_FILE_NAME: Final = re.compile(r"([0-9]{1,10})(?:\.[A-Za-z0-9]{1,8})?")


class VodEndpoints:
    """The handlers of films and episodes. One per server."""

    def __init__(
        self,
        doorman: Doorman,
        films: Films,
        accounts: Accounts,
        catalogue: LiveCatalogue,
        timeouts: Timeouts,
    ) -> None:
        self._doorman = doorman
        self._films = films
        self._accounts = accounts
        self._catalogue = catalogue
        self._timeouts = timeouts

    def film(self, request: Request, exchange: Exchange) -> Answer:
        """`/movie/U/P/ID[.EXT]`, `/movie/TOKEN/ID[.EXT]`, and the same under `/series/`: the file,
        or the part of it that Range asks for.

        HEAD counts nobody and opens no engine session.
        """
        rest = request.segments[1:]
        return self._film(login_in_path(rest), rest[-1], request, exchange)

    def film_by_query(self, request: Request, exchange: Exchange) -> Answer:
        """The same as `username`, `password`, `stream` and `extension` (§2.1)."""
        asked = parameters(request)
        return self._film(login_of(asked), asked.get("stream", ""), request, exchange)

    def _film(self, login: Login, name: str, request: Request, exchange: Exchange) -> Answer:
        account = self._accounts.verified(login.username, login.password)
        if account is not None:
            return self.play(account, name, request, exchange)
        return self._verify_and_play(login, name, request, exchange)

    async def _verify_and_play(
        self, login: Login, name: str, request: Request, exchange: Exchange
    ) -> None:
        account = await self._doorman.account(login, request)
        if not exchange.gone:
            answer = self.play(account, name, request, exchange)
            if answer is not None:
                await answer

    def play(
        self, account: Account, name: str, request: Request, exchange: Exchange
    ) -> Awaitable[None] | None:
        """Raises ViewerError: 403 not allowed now, 404 no such film, 503 not at present."""
        status = self._accounts.status_of(account)
        if status != "Active":
            raise ViewerError(403, f"this account is {status.lower()}")
        found = _FILE_NAME.fullmatch(name)
        films = self._catalogue.current.visible(account).films
        channel = films.get(int(found[1])) if found is not None else None
        if channel is None:
            raise ViewerError(404, "no such film")
        film = film_of(channel)
        if request.method == "HEAD":
            return self._head(film, exchange)
        lease = self._accounts.lease(
            account,
            address=request.peer[0],
            user_agent=request.headers.get("user-agent", "")[:200],
            channel=str(channel.id),
            now=time.monotonic(),
            film=True,
        )
        try:
            self._films.watch(
                film,
                exchange,
                hold_seconds=hold_seconds(request, self._timeouts),
                account=account.username,
                lease=lease,
            )
        except BaseException:
            lease.ended()
            raise
        return None

    async def _head(self, film: Film, exchange: Exchange) -> None:
        head = await self._films.head(film)
        headers, content_type, length = head_headers(film, head)
        exchange.stream(headers, content_type, content_length=length)


def film_of(channel: Channel) -> Film:
    """A film or an episode of the line-up, as one that may be watched."""
    return Film(str(channel.id), channel.name, channel.sources, channel.extension)
