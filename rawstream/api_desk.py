"""What an operator's desk has besides: the history, and tokens for scripts.

Owns: these operations. Must not know: who writes history, how a token is kept.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from rawstream.operators import Operators
from rawstream.rest import Call, Model, NotThere, Operation, Page, PageQuery
from rawstream.store import Store
from rawstream.store_credentials import Credential

_LOOKED_AT = 10_000  # lines of history, the newest, that a search goes through
Moment = Annotated[int, Field(ge=0, le=1 << 40, description="Seconds since 1970, UTC")]


class Line(Model):
    """A line of history. `kind`: login, login refused, play, stop, import, account, channel."""

    at: int
    kind: str
    account: str
    channel: str
    address: str
    text: str


class HistoryQuery(PageQuery):
    """`q`: a part of any field."""

    q: str = ""
    kind: str = ""
    account: str = ""


class TokenView(Model):
    """A token for scripts: all but its secret."""

    id: int
    name: str
    account_id: int
    created_at: int
    expires_at: int | None


class TokenMade(TokenView):
    """With its secret, shown this once: `Authorization: Bearer SECRET`."""

    secret: str


class TokenNew(Model):
    name: str = Field(min_length=1, max_length=100)
    expires_at: Moment | None = None


class DeskOperations:
    """The handlers."""

    def __init__(self, store: Store, operators: Operators) -> None:
        self._store = store
        self._operators = operators

    def table(self) -> list[Operation]:
        return [
            Operation(
                *("GET", "/history", self.history, "What happened, the newest first", "history"),
                query=HistoryQuery,
                answer=Page[Line],
            ),
            Operation(
                *("GET", "/tokens", self.tokens, "Tokens of scripts", "tokens"),
                query=PageQuery,
                answer=Page[TokenView],
            ),
            Operation(
                *("POST", "/tokens", self.add, "Make a token", "tokens"),
                body=TokenNew,
                answer=TokenMade,
                status=201,
            ),
            Operation("DELETE", "/tokens/{id}", self.remove, "Take a token back", "tokens"),
        ]

    async def history(self, call: Call) -> Page[Line]:
        query: HistoryQuery = call.query
        wanted, account = query.q.casefold(), query.account.casefold()
        lines = [
            Line(
                at=one.at,
                kind=one.kind,
                account=one.account,
                channel=one.channel,
                address=one.address,
                text=one.text,
            )
            for one in await self._store.history(_LOOKED_AT, query.kind or None)
            if account in one.account.casefold()
            and wanted in f"{one.account} {one.channel} {one.address} {one.text}".casefold()
        ]
        return Page[Line].of(lines, query)

    async def tokens(self, call: Call) -> Page[TokenView]:
        return Page[TokenView].of([_view(one) for one in self._operators.tokens()], call.query)

    async def add(self, call: Call) -> TokenMade:
        wanted: TokenNew = call.body
        made, secret = await self._operators.add_token(
            call.operator, wanted.name, wanted.expires_at
        )
        return TokenMade(**_view(made).model_dump(), secret=secret)

    async def remove(self, call: Call) -> None:
        if not await self._operators.remove_token(call.ids["id"]):
            raise NotThere("token")


def _view(credential: Credential) -> TokenView:
    return TokenView(
        id=credential.id,
        name=credential.name,
        account_id=credential.account_id,
        created_at=credential.created_at,
        expires_at=credential.expires_at,
    )
