"""Tokens of scripts, for operators: made, listed, taken back.

Owns: what of a token is shown. Must not know: how a request shows one, how it is kept.
"""

from __future__ import annotations

import time
from typing import Annotated

from pydantic import Field

from rawstream.accounts import Accounts
from rawstream.operators import Operators
from rawstream.rest import Call, Failed, FieldProblem, Model, NotThere, Operation, Page, PageQuery
from rawstream.store_credentials import Credential

_MOST = 1000


class TokenView(Model):
    """A token without its secret, which is nowhere. `username`: the admin it stands for; with his
    account it ends. `expires_at` None: never.
    """

    id: int
    name: str
    account_id: int
    username: str
    created_at: int
    expires_at: int | None
    expired: bool


class TokenMade(TokenView):
    """With its secret, shown this once: `Authorization: Bearer SECRET`."""

    secret: str


class TokenNew(Model):
    """`name`: what it is for."""

    name: str = Field(min_length=1, max_length=100)
    expires_at: Annotated[int, Field(ge=0, le=1 << 40)] | None = None


class TokenOperations:
    """The handlers. A token made with one is of the same admin."""

    def __init__(self, operators: Operators, accounts: Accounts) -> None:
        self._operators = operators
        self._accounts = accounts

    def table(self) -> list[Operation]:
        tag = "tokens"
        return [
            Operation(
                *("GET", "/tokens", self.list, "All tokens", tag),
                query=PageQuery,
                answer=Page[TokenView],
            ),
            Operation(
                *("POST", "/tokens", self.add, "Make a token for a script", tag),
                body=TokenNew,
                answer=TokenMade,
                status=201,
                errors=(409,),
            ),
            Operation(*("DELETE", "/tokens/{id}", self.remove, "Take a token back", tag)),
        ]

    async def list(self, call: Call) -> Page[TokenView]:
        shown = [self._view(one) for one in self._operators.tokens()]
        return Page[TokenView].of(shown, call.query)

    async def add(self, call: Call) -> TokenMade:
        wanted: TokenNew = call.body
        if wanted.expires_at is not None and wanted.expires_at <= time.time():
            told = FieldProblem.of("expires_at", "that is over")
            raise Failed(422, "expires_at: that is over", [told])
        if len(self._operators.tokens()) >= _MOST:
            raise Failed(409, f"there are {_MOST} tokens; take some back first")
        made, secret = await self._operators.add_token(
            call.operator, wanted.name, wanted.expires_at
        )
        return TokenMade(**self._view(made).model_dump(), secret=secret)

    async def remove(self, call: Call) -> None:
        if not await self._operators.remove_token(call.ids["id"]):
            raise NotThere("token")

    def _view(self, token: Credential) -> TokenView:
        account = self._accounts.by_id(token.account_id)
        return TokenView(
            id=token.id,
            name=token.name,
            account_id=token.account_id,
            username=account.username if account is not None else "",
            created_at=token.created_at,
            expires_at=token.expires_at,
            expired=token.expires_at is not None and token.expires_at <= time.time(),
        )
