"""Who asks: the account that a request names, in its path, query or form, or by token.

Owns: the spellings of a login (Xtream reference §2), whether it is true and may be used now. Must
not know: what is answered to whom.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple
from urllib.parse import parse_qsl, quote

from rawstream.accounts import Accounts, LoginRefused
from rawstream.config import Config
from rawstream.errors import ViewerError
from rawstream.http1 import Request
from rawstream.records import Account
from rawstream.urls import Base, base_url, parse_public_url

# Paths that hold the login (§2.1): what follows user and password, and what that is a spelling of
_PATH_FORMS: Final[Mapping[str, str]] = {"player_api": "action", "playlist": "type", "epg": "gzip"}
# as much of a credential as a URL carries unencoded (§2.1: never more than needed)
_URL_SAFE: Final = "@"


class Login(NamedTuple):
    """What a request says of itself. With a `token` the other two are empty."""

    username: str
    password: str
    token: str = ""

    @property
    def path(self) -> str:
        """How it stands in a path."""
        if self.token:
            return quote(self.token, safe="")
        return f"{quote(self.username, safe=_URL_SAFE)}/{quote(self.password, safe=_URL_SAFE)}"

    @property
    def query(self) -> str:
        if self.token:
            return f"token={quote(self.token, safe='')}"
        user, password = (quote(text, safe=_URL_SAFE) for text in self[:2])
        return f"username={user}&password={password}"


class Doorman:
    """Asks every request for a player's URL who it is. One per server."""

    def __init__(self, config: Config, accounts: Accounts) -> None:
        self._config = config
        self._accounts = accounts
        self._public = parse_public_url(config.public_url) if config.public_url else None

    def set_config(self, config: Config) -> None:
        """Tell another address from now on."""
        self._config = config
        self._public = parse_public_url(config.public_url) if config.public_url else None

    async def account(self, login: Login, request: Request) -> Account:
        """Raises LoginRefused, Throttled, ViewerError 503."""
        address = request.peer[0]
        if login.token:
            account = self._accounts.by_token(login.token, address)
            if account is None:
                raise LoginRefused
            return account
        return await self._accounts.verify(login.username, login.password, address)

    async def watcher(self, login: Login, request: Request) -> Account:
        """An account that may use what it asks for now. Raises ViewerError 403 as well."""
        account = await self.account(login, request)
        status = self._accounts.status_of(account)
        if status != "Active":
            raise ViewerError(403, f"this account is {status.lower()}")
        return account

    def base(self, request: Request) -> Base:
        """What players are told."""
        return self._base(request, self._public)

    def reached(self, request: Request) -> Base:
        """What whoever asks has asked for himself: `public_url` may be another address than his."""
        asked, public = self._base(request, None), self._public
        # a proxy in front of it may say no more than the host, and leave out its port
        if public is not None and asked.host == public.host and asked.port in (public.port, 80):
            return public
        return asked

    def _base(self, request: Request, public: Base | None) -> Base:
        return base_url(
            request.headers,
            request.connected[0],
            trusted=self._config.trusted_proxies,
            public=public,
            port=self._config.port,
        )


def parameters(request: Request) -> dict[str, str]:
    """Query and form of a request as one (§2.2); of the query wins what is not empty. What a path
    holds of them wins over both. A body that is no form says nothing, and is no error either.
    """
    first, *rest = request.segments or ("",)
    if not request.body and first.endswith(".php"):
        return request.query
    found: dict[str, str] = {}
    kind = request.headers.get("content-type", "")
    if request.body and not kind.startswith(("application/json", "multipart/")):
        try:
            pairs = parse_qsl(request.body.decode(), keep_blank_values=True, max_num_fields=100)
        except ValueError:
            pairs = []
        found = dict(reversed(pairs))
    for name, value in request.query.items():
        if value or name not in found:
            found[name] = value
    if first == "xmltv.php.gz":
        found["gzip"] = "1"
    elif first in _PATH_FORMS and len(rest) > 1:
        found.pop("token", None)
        found.update(zip(("username", "password", _PATH_FORMS[first]), rest, strict=False))
        if first == "epg":
            found["gzip"] = str(int(rest[2:] == ["gz"]))
    return found


def login_in_path(segments: Sequence[str]) -> Login:
    """Of a stream's path, whose last segment is the stream: a token, or user and password."""
    if len(segments) == 2:
        return Login("", "", segments[0])
    return Login(segments[0], segments[1])


def login_of(asked: Mapping[str, str]) -> Login:
    token = asked.get("token", "")
    if token:
        return Login("", "", token)
    return Login(asked.get("username", ""), asked.get("password", ""))
