"""Who operates: admins, by the session of a page or by the token of a script.

Owns: what a request shows of an operator, and whether it is good; how one logs in, and out. Must
not know: what operators do, what a page looks like.

A session is a cookie that no script of a page can read and no other site's page can make a browser
send along (HttpOnly, SameSite=Strict); where a browser sends it all the same, what it says of the
origin decides. A token goes in an Authorization header, which no foreign page can make up.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator
from typing import Final, NamedTuple
from urllib.parse import urlsplit

from rawstream.accounts import Accounts, LoginRefused
from rawstream.errors import ViewerError
from rawstream.http1 import Request
from rawstream.records import Account
from rawstream.store_credentials import Credential, CredentialStore, digest_of

COOKIE: Final = "rawstream_session"
FOREIGN: Final = "this request comes from another site's page"
_SESSION_SECONDS: Final = 14 * 86_400
_SETUP_SECONDS: Final = 86_400
_SAFE: Final = frozenset(("GET", "HEAD", "OPTIONS"))


class Operator(NamedTuple):
    """An admin, and what he showed."""

    account: Account
    credential: Credential


class Operators:
    """All credentials of this process. `calendar`: seconds since 1970."""

    def __init__(
        self,
        store: CredentialStore,
        accounts: Accounts,
        *,
        calendar: Callable[[], float] = time.time,
    ) -> None:
        self._store = store
        self._accounts = accounts
        self._calendar = calendar
        self._by_digest: dict[str, Credential] = {}

    async def reload(self) -> None:
        """Read all credentials again."""
        found = await self._store.credentials()
        self._by_digest = {credential.digest: credential for credential in found}

    # -- who asks --

    def of(self, request: Request) -> Operator | None:
        """The operator whose request it is, None for anybody else. Raises ViewerError 403 for a
        request that a foreign page has made a browser send.
        """
        scheme, _, secret = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer":
            return self._good(secret.strip(), "token")
        found = (self._good(secret, "session") for secret in _cookies(request))
        operator = next((one for one in found if one is not None), None)
        if operator is not None and request.method not in _SAFE and is_foreign(request):
            raise ViewerError(403, FOREIGN)
        return operator

    def _good(self, secret: str, kind: str) -> Operator | None:
        credential = self._by_digest.get(digest_of(secret))
        if credential is None or credential.kind != kind:
            return None
        return self._judged(credential)

    def is_good(self, operator: Operator) -> bool:
        """Whether he still is one, by what he showed."""
        credential = self._by_digest.get(operator.credential.digest)
        return credential is not None and self._judged(credential) is not None

    def _judged(self, credential: Credential) -> Operator | None:
        if credential.expires_at is not None and credential.expires_at <= self._calendar():
            return None
        account = self._accounts.by_id(credential.account_id)
        if account is None or not self._is_admin(account):
            return None
        if credential.marks and _mark(account.password_hash) not in credential.marks.split():
            return None
        return Operator(account, credential)

    def _is_admin(self, account: Account) -> bool:
        return account.admin and self._accounts.status_of(account) == "Active"

    # -- in and out --

    async def log_in(self, username: str, password: str, address: str) -> str:
        """A new session's secret. Raises LoginRefused (also for one who is no admin), Throttled,
        ViewerError 503.
        """
        account = await self._accounts.verify(username, password, address)
        if account.token and account.token == password:  # a player's, not an operator's
            raise LoginRefused
        if not self._is_admin(account):
            raise LoginRefused
        return await self._begin_session(account)

    async def _begin_session(self, account: Account) -> str:
        now = int(self._calendar())
        _made, secret = await self._store.add(
            "session",
            account.id,
            now=now,
            expires_at=now + _SESSION_SECONDS,
            marks=_mark(account.password_hash),
        )
        await self.reload()
        return secret

    async def log_out(self, operator: Operator) -> None:
        """End the session, or the token, that this is."""
        await self._store.remove(operator.credential.id)
        await self.reload()

    async def keep(self, operator: Operator, password_hash: str) -> None:
        """Let the session of who changes his own password outlast that. To be said before the
        password is changed: so there is no moment at which he is nobody.
        """
        credential = operator.credential
        if credential.kind == "session":
            marks = f"{_mark(operator.account.password_hash)} {_mark(password_hash)}"
            await self._store.mark(credential.id, marks)
            await self.reload()

    async def invite(self, account: Account) -> str:
        """The secret of a one-time link that logs this admin in: for the first start."""
        now = int(self._calendar())
        _made, secret = await self._store.add(
            "setup",
            account.id,
            now=now,
            expires_at=now + _SETUP_SECONDS,
            marks=_mark(account.password_hash),
        )
        await self.reload()
        return secret

    async def accept(self, secret: str) -> str:
        """A session for who comes with such a link; it is good for nothing afterwards. Raises
        ViewerError 403.
        """
        operator = self._good(secret, "setup")
        if operator is None or not await self._store.remove(operator.credential.id):
            raise ViewerError(403, "this link is not good any more; log in with the password")
        return await self._begin_session(operator.account)

    # -- tokens of scripts --

    def tokens(self) -> list[Credential]:
        """Those there are, the newest last."""
        found = [one for one in self._by_digest.values() if one.kind == "token"]
        return sorted(found, key=lambda one: one.id)

    async def add_token(
        self, operator: Operator, name: str, expires_at: int | None = None
    ) -> tuple[Credential, str]:
        """A token for scripts of this operator, and its secret, shown this once."""
        made = await self._store.add(
            "token",
            operator.account.id,
            now=int(self._calendar()),
            expires_at=expires_at,
            name=name,
        )
        await self.reload()
        return made

    async def remove_token(self, number: int) -> bool:
        """Whether there was one of that number."""
        known = any(one.id == number for one in self.tokens())
        if known:
            await self._store.remove(number)
            await self.reload()
        return known


def session_cookie(secret: str, *, path: str, secure: bool) -> str:
    """A Set-Cookie field (RFC 6265 §4.1). `path`: below which we are, '' at the root."""
    lasts = _SESSION_SECONDS if secret else 0
    text = f"{COOKIE}={secret}; Path={path or '/'}; Max-Age={lasts}; HttpOnly; SameSite=Strict"
    return f"{text}; Secure" if secure else text


def _cookies(request: Request) -> Iterator[str]:
    """What it shows under our name: of another path's or port's server there may be one more.

    Cookies know no ports, so those of all other programs on this host come along, in whatever form
    a browser takes (RFC 6265 §5.4), which is more than `http.cookies` reads.
    """
    for pair in request.headers.get("cookie", "").split(";"):
        name, _, value = pair.strip().partition("=")
        if name == COOKIE and value:
            yield value


def is_foreign(request: Request) -> bool:
    """Whether a browser says that a page of another origin asks (Fetch Metadata, RFC 6454 §7)."""
    site = request.headers.get("sec-fetch-site")
    if site is not None:
        return site not in ("same-origin", "none")
    origin = request.headers.get("origin")
    if origin is None:
        return False
    try:
        host = urlsplit(origin).netloc
    except ValueError:  # no browser says that
        return True
    proxied = request.headers.get("x-forwarded-host", "").partition(",")[0].strip()
    ours = {request.headers.get("host", ""), proxied} - {""}
    return host not in ours


def _mark(password_hash: str) -> str:
    return hashlib.sha256(password_hash.encode()).hexdigest()[:16]
