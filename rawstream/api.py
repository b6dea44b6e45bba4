"""The operator's interface, `/api/v1`: logging in, the table of operations, its document.

Owns: which operations there are, who they are answered to. Must not know: how a request is read
(`rest`), what any of them does (`api_*`).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from functools import cached_property
from typing import Final

import orjson
from pydantic import Field, ValidationError

from rawstream.connection import Exchange
from rawstream.errors import StateError, ViewerError
from rawstream.http1 import Headers, Request, Response
from rawstream.logins import Doorman
from rawstream.openapi import document
from rawstream.operators import FOREIGN, Operator, Operators, is_foreign, session_cookie
from rawstream.rest import (
    JSON,
    Call,
    Edit,
    Model,
    Operation,
    Resource,
    problem,
    problem_of,
    resources,
)

_NO_STORE: Headers = (("Cache-Control", "no-store"),)
UNKNOWN: Final = "log in at /api/v1/session, or show a token (Authorization: Bearer …)"


class LogIn(Model):
    """What an admin logs in with: name and password, or the secret of a one-time link."""

    username: str = Field(default="", max_length=64)
    password: str = Field(default="", max_length=256)
    link: str = Field(default="", max_length=100)


class Session(Model):
    """Who is logged in."""

    username: str
    account_id: int
    expires_at: int | None


async def _of_its_own(_call: Call) -> None:
    """Who is not logged in yet has no `Call`: see `ApiEndpoints.session`."""


# for the document
_SESSION: Final = (
    Operation("GET", "/session", _of_its_own, "Who is logged in", "session", answer=Session),
    Operation(
        *("POST", "/session", _of_its_own, "Log in", "session"),
        body=LogIn,
        open=True,
        errors=(429,),
        description="With name and password of an admin, or the secret of a one-time link. The"
        " answer sets a cookie.",
    ),
    Operation("DELETE", "/session", _of_its_own, "Log out, or give the token back", "session"),
)


class ApiEndpoints:
    """The handlers. One per server. `note`: told of each edit."""

    def __init__(
        self,
        operators: Operators,
        doorman: Doorman,
        operations: Sequence[Operation],
        note: Callable[[Edit], None] = lambda _edit: None,
    ) -> None:
        self._operators = operators
        self._doorman = doorman
        self._operations = operations
        self.resources = resources(operations, note)

    def handler(
        self, resource: Resource
    ) -> Callable[[Request, Exchange], Awaitable[Response | None] | Response]:
        """Of a resource, what its route leads to."""

        def handle(request: Request, exchange: Exchange) -> Awaitable[Response | None] | Response:
            operator = self._operators.of(request)
            if operator is None:
                return unknown()
            return resource.answer(request, operator, exchange)

        return handle

    # -- the document --

    @cached_property
    def _document(self) -> bytes:
        return document([*_SESSION, *self._operations])

    def document(self, _request: Request, _exchange: Exchange) -> Response:
        """`/api/openapi.json`."""
        return Response(200, self._document, JSON, _NO_STORE)

    # -- logging in and out --

    def session(
        self, request: Request, _exchange: Exchange
    ) -> Response | Awaitable[Response | None]:
        """`/api/v1/session`: GET who is logged in, POST log in, DELETE log out."""
        if request.method == "POST":
            if is_foreign(request):  # nobody is to be logged in as somebody else behind his back
                return problem(403, FOREIGN)
            return self._log_in(request)
        operator = self._operators.of(request)
        if operator is None:
            return unknown()
        if request.method == "DELETE":
            return self._log_out(request, operator)
        return Response(200, _shown(operator), JSON, _NO_STORE)

    async def _log_in(self, request: Request) -> Response:
        try:
            given = LogIn.model_validate(orjson.loads(request.body))
        except (orjson.JSONDecodeError, ValidationError):
            return problem(422, "send username and password, or a link's secret, as JSON")
        try:
            if given.link:
                secret = await self._operators.accept(given.link)
            else:
                secret = await self._operators.log_in(
                    given.username, given.password, request.peer[0]
                )
        except ViewerError as error:
            return problem_of(error)
        except StateError as error:  # a session that is not kept would be lost at once
            return problem(503, str(error))
        return Response(204, headers=(*_NO_STORE, ("Set-Cookie", self._cookie(request, secret))))

    async def _log_out(self, request: Request, operator: Operator) -> Response:
        try:
            await self._operators.log_out(operator)
        except StateError as error:
            return problem(503, str(error))
        return Response(204, headers=(*_NO_STORE, ("Set-Cookie", self._cookie(request, ""))))

    def _cookie(self, request: Request, secret: str) -> str:
        base = self._doorman.reached(request)
        return session_cookie(secret, path=base.prefix, secure=base.scheme == "https")


def unknown() -> Response:
    """Nobody we know as an operator."""
    return problem(401, UNKNOWN, headers=(("WWW-Authenticate", "Bearer"),))


def _shown(operator: Operator) -> bytes:
    shown = Session(
        username=operator.account.username,
        account_id=operator.account.id,
        expires_at=operator.credential.expires_at,
    )
    return shown.model_dump_json().encode()
