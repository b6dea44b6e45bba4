"""Accounts, for operators: who may watch, what, how long, how many at once.

Owns: what of an account is shown and may be set, the addresses that its players need. Must not
know: how a request is read (`rest`), how an account is kept.

A password is shown where it was just made, and never again; the account's token, which can be taken
back, stands in for it in the addresses that may be asked for later.
"""

from __future__ import annotations

import asyncio
import dataclasses
import secrets
import time
from typing import Annotated, Any, Final, Literal

from pydantic import Field

from rawstream.accounts import Accounts
from rawstream.logins import Doorman, Login
from rawstream.operators import Operators
from rawstream.passwords import PASSWORD_LIMIT, Passwords
from rawstream.records import Account
from rawstream.rest import Call, Failed, Model, NotThere, Operation, Page, PageQuery
from rawstream.store import Store
from rawstream.store_accounts import check_name
from rawstream.urls import Base

_PASSWORD_BYTES: Final = 9
Format = Literal["ts", "m3u8"]
Moment = Annotated[int, Field(ge=0, le=1 << 40, description="Seconds since 1970, UTC")]
Connections = Annotated[int, Field(ge=0, le=100_000, description="Players at once; 0: no limit")]
Password = Annotated[str, Field(min_length=1, max_length=PASSWORD_LIMIT)]


class AccountUrls(Model):
    """What a player is given: a server for Xtream Codes, a list, a guide."""

    server: str
    playlist: str
    playlist_hls: str
    guide: str


class AccountView(Model):
    """An account. `status`: Active, Expired or Disabled. `watching`: players that count now.
    `bytes`: what it was sent, up to the last time that was written down.
    """

    id: int
    username: str
    status: str
    enabled: bool
    admin: bool
    trial: bool
    expires_at: int | None
    max_connections: int
    allowed_formats: list[Format]
    categories: list[int] | None
    show_adult: bool
    created_at: int
    notes: str
    watching: int
    bytes: int


class AccountMade(AccountView):
    """An account with its secrets, shown this once."""

    password: str
    urls: AccountUrls


class AccountNew(Model):
    """Without a password a random one is made. `categories` None: all there are and will be."""

    username: str = Field(min_length=1, max_length=64)
    password: Password | None = None
    enabled: bool = True
    admin: bool = False
    trial: bool = False
    expires_at: Moment | None = None
    max_connections: Connections = 1
    allowed_formats: list[Format] = Field(default=["ts", "m3u8"], min_length=1)
    categories: list[int] | None = None
    show_adult: bool = True
    notes: str = Field(default="", max_length=10_000)


class AccountChange(Model):
    """What is not named stays as it is."""

    username: str | None = Field(default=None, min_length=1, max_length=64)
    password: Password | None = None
    enabled: bool | None = None
    admin: bool | None = None
    trial: bool | None = None
    expires_at: Moment | None = None
    max_connections: Connections | None = None
    allowed_formats: list[Format] | None = Field(default=None, min_length=1)
    categories: list[int] | None = None
    show_adult: bool | None = None
    notes: str | None = Field(default=None, max_length=10_000)


class AccountQuery(PageQuery):
    """`q`: a part of the name or the notes."""

    q: str = ""
    status: Literal["", "Active", "Expired", "Disabled"] = ""


class Reset(Model):
    """What is made anew: `password` (a random one) or `token`."""

    what: Literal["password", "token"]


class Kicked(Model):
    """How many streams end."""

    streams: int


# what changes without an edit
_VOLATILE: Final = frozenset(("status", "watching", "bytes"))
# None is a value for these, not "as it is"
_MAY_BE_NONE: Final = frozenset(("expires_at", "categories"))


class AccountOperations:
    """The handlers."""

    def __init__(
        self,
        store: Store,
        accounts: Accounts,
        operators: Operators,
        passwords: Passwords,
        doorman: Doorman,
    ) -> None:
        self._store = store
        self._accounts = accounts
        self._operators = operators
        self._passwords = passwords
        self._doorman = doorman
        self._changing = asyncio.Lock()  # two who end each other at once leave one

    def table(self) -> list[Operation]:
        tag, one = "accounts", "/accounts/{id}"
        edit: dict[str, Any] = {"current": self.read, "volatile": _VOLATILE}
        return [
            Operation(
                *("GET", "/accounts", self.list, "All accounts", tag),
                query=AccountQuery,
                answer=Page[AccountView],
            ),
            Operation(
                *("POST", "/accounts", self.add, "Make an account", tag),
                body=AccountNew,
                answer=AccountMade,
                status=201,
                errors=(409,),
            ),
            Operation(
                *("GET", one, self.read, "One account", tag),
                answer=AccountView,
                tagged=True,
                volatile=_VOLATILE,
            ),
            Operation(
                *("PATCH", one, self.change, "Change an account", tag),
                body=AccountChange,
                answer=AccountView,
                tagged=True,
                errors=(409,),
                **edit,
            ),
            Operation(
                *("DELETE", one, self.remove, "Remove an account", tag),
                errors=(409,),
                **edit,
            ),
            Operation(
                *("GET", f"{one}/urls", self.urls, "Its addresses, by its token", tag),
                answer=AccountUrls,
            ),
            Operation(
                *("POST", f"{one}/reset", self.reset, "A new password or token", tag),
                body=Reset,
                answer=AccountMade,
                **edit,
            ),
            Operation(*("POST", f"{one}/kick", self.kick, "End its streams", tag), answer=Kicked),
        ]

    async def list(self, call: Call) -> Page[AccountView]:
        query: AccountQuery = call.query
        wanted = query.q.casefold()
        used = await self._store.accounts.bytes_of()
        found = [
            one
            for one in await self._store.accounts.accounts()
            if (wanted in one.username.casefold() or wanted in one.notes.casefold())
            and query.status in ("", self._accounts.status_of(one))
        ]
        part = found[query.offset : query.offset + query.limit]
        return Page[AccountView](
            items=[self._view(one, used) for one in part],
            total=len(found),
            offset=query.offset,
            limit=query.limit,
        )

    async def read(self, call: Call) -> AccountView:
        account = await self._found(call)
        return self._view(account, await self._store.accounts.bytes_of())

    async def add(self, call: Call) -> AccountMade:
        wanted: AccountNew = call.body
        check_name(wanted.username)
        await self._check_free(wanted.username)
        password = wanted.password or secrets.token_urlsafe(_PASSWORD_BYTES)
        values = _columns(wanted.model_dump(exclude={"password"}))
        hashed = await self._passwords.hash(password)
        number = await self._store.accounts.add(Account(0, password_hash=hashed, **values))
        return await self._made(number, password, call)

    async def change(self, call: Call) -> AccountView:
        account = await self._found(call)
        wanted: AccountChange = call.body
        given = {
            name: getattr(wanted, name)
            for name in wanted.model_fields_set - {"password"}
            if name in _MAY_BE_NONE or getattr(wanted, name) is not None
        }
        if given.get("username", account.username) != account.username:
            check_name(given["username"])
            await self._check_free(given["username"])
        if wanted.password is not None:
            given["password_hash"] = await self._hashed(wanted.password, account, call)
        changed = dataclasses.replace(account, **_columns(given))
        async with self._changing:
            await self._keep_an_admin(account, changed)
            await self._store.accounts.set(changed, before=account)
            await self._accounts.reload()
        return await self.read(call)

    async def remove(self, call: Call) -> None:
        account = await self._found(call)
        async with self._changing:
            await self._keep_an_admin(account, None)
            await self._store.accounts.delete(account.id)
            await self._accounts.reload()

    async def urls(self, call: Call) -> AccountUrls:
        account = await self._found(call)
        return _urls(self._doorman.base(call.request), Login("", "", account.token))

    async def reset(self, call: Call) -> AccountMade:
        account = await self._found(call)
        wanted: Reset = call.body
        if wanted.what == "token":
            token = await self._store.accounts.reset_token(account.id)
            await self._accounts.reload()
            used = await self._store.accounts.bytes_of()
            shown = self._view(account, used).model_dump()
            urls = _urls(self._doorman.base(call.request), Login("", "", token))
            return AccountMade(**shown, password="", urls=urls)
        password = secrets.token_urlsafe(_PASSWORD_BYTES)
        hashed = await self._hashed(password, account, call)
        changed = dataclasses.replace(account, password_hash=hashed)
        await self._store.accounts.set(changed, before=account)
        return await self._made(account.id, password, call)

    async def kick(self, call: Call) -> Kicked:
        account = await self._found(call)
        streams = self._accounts.active(account.id)
        await self._store.accounts.kick(account.id, int(time.time()))
        await self._accounts.reload()
        return Kicked(streams=streams)

    # -- what they share --

    async def _hashed(self, password: str, account: Account, call: Call) -> str:
        """The hash of the password that this account is to have."""
        hashed = await self._passwords.hash(password)
        if account.id == call.operator.account.id:
            await self._operators.keep(call.operator, hashed)
        return hashed

    async def _found(self, call: Call) -> Account:
        account = await self._store.accounts.account(call.ids["id"])
        if account is None:
            raise NotThere("account")
        return account

    async def _check_free(self, username: str) -> None:
        if await self._store.accounts.by_name(username) is not None:
            raise Failed(409, f"username: '{username}' is taken")

    async def _keep_an_admin(self, account: Account, changed: Account | None) -> None:
        """Nobody locks everybody out. Raises Failed 409."""
        if not (account.admin and account.enabled):
            return
        if changed is not None and changed.admin and changed.enabled and not changed.expires_at:
            return
        others = [
            one
            for one in await self._store.accounts.accounts()
            if one.id != account.id and one.admin and self._accounts.status_of(one) == "Active"
        ]
        if not others:
            raise Failed(409, "this is the only admin; make another one first")

    async def _made(self, number: int, password: str, call: Call) -> AccountMade:
        await self._accounts.reload()
        account = await self._store.accounts.account(number)
        assert account is not None, "it was just written"
        shown = self._view(account, await self._store.accounts.bytes_of()).model_dump()
        urls = _urls(self._doorman.base(call.request), Login(account.username, password))
        return AccountMade(**shown, password=password, urls=urls)

    def _view(self, account: Account, used: dict[int, int]) -> AccountView:
        kept = {name: getattr(account, name) for name in _SHOWN}
        kept["categories"] = None if account.categories is None else sorted(account.categories)
        return AccountView(
            **kept,
            status=self._accounts.status_of(account),
            watching=self._accounts.active(account.id),
            bytes=used.get(account.id, 0),
        )


_SHOWN: Final = tuple(
    name for name in AccountView.model_fields if name not in ("status", "watching", "bytes")
)


def _columns(values: dict[str, Any]) -> dict[str, Any]:
    """As an account holds them."""
    if "allowed_formats" in values:
        values["allowed_formats"] = tuple(dict.fromkeys(values["allowed_formats"]))
    if values.get("categories") is not None:
        values["categories"] = frozenset(values["categories"])
    return values


def _urls(base: Base, login: Login) -> AccountUrls:
    where = base.url
    listed = f"{where}/get.php?{login.query}&type=m3u_plus"
    return AccountUrls(
        server=where,
        playlist=f"{listed}&output=ts",
        playlist_hls=f"{listed}&output=m3u8",
        guide=f"{where}/xmltv.php?{login.query}",
    )
