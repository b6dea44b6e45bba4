"""Engines, for operators: which there are, how they do, what they may take.

Owns: what of an engine is shown and may be set. Must not know: how a request is read (`rest`), how
a change is kept and done (`engine_roster`).
"""

from __future__ import annotations

import dataclasses
from typing import Annotated, Any, Final

from pydantic import Field

from rawstream.codes import told
from rawstream.engine_roster import EngineRoster
from rawstream.on_air import EngineView, engine_view
from rawstream.rest import Call, Coded, Model, NotThere, Operation, Page, PageQuery

_TAG: Final = "engines"
# what changes without an edit
_VOLATILE: Final = frozenset(
    (
        *("state", "version", "sessions", "starting", "starts", "failures", "last_error"),
        *("code", "values"),
    )
)
Capacity = Annotated[int, Field(ge=1, le=10_000, description="Channels at a time")]
Url = Annotated[str, Field(min_length=1, max_length=300, examples=["http://127.0.0.1:6878"])]


class EngineNew(Model):
    """`url`: `http://host:port`, or what of it is not usual. `capacity` None: that of the
    configuration.
    """

    url: Url
    capacity: Capacity | None = None


class EngineChange(Model):
    """What is not named stays as it is. `draining`: it gets no new channel, and those that it has
    go on from other engines as far as these have room.
    """

    capacity: Capacity | None = None
    draining: bool | None = None


class EngineAsked(Model):
    """An address to try."""

    url: Url


class EngineAnswered(Coded):
    """What an address answers when it is asked as an engine. `error`: why it does not, with its
    code.
    """

    ok: bool
    url: str
    version: str | None
    error: str | None


class EngineOperations:
    """The handlers."""

    def __init__(self, roster: EngineRoster) -> None:
        self._roster = roster

    def table(self) -> list[Operation]:
        """All of them."""
        one = "/engines/{id}"
        edit: dict[str, Any] = {"current": self.engine, "volatile": _VOLATILE}
        return [
            Operation(
                *("GET", "/engines", self.engines, "The engines that are used", _TAG),
                query=PageQuery,
                answer=Page[EngineView],
            ),
            Operation(
                *("POST", "/engines", self.add, "Use one engine more", _TAG),
                body=EngineNew,
                answer=EngineView,
                status=201,
                description="It is kept: after the next start it is there beside those of the"
                " configuration.",
            ),
            Operation(
                *("POST", "/engines/check", self.check, "Ask whether an engine answers", _TAG),
                body=EngineAsked,
                answer=EngineAnswered,
                noted=False,
            ),
            Operation(
                *("GET", one, self.engine, "One engine", _TAG),
                answer=EngineView,
                tagged=True,
                volatile=_VOLATILE,
            ),
            Operation(
                *("PATCH", one, self.change, "Drain it, use it again, change its capacity", _TAG),
                body=EngineChange,
                answer=EngineView,
                tagged=True,
                **edit,
            ),
            Operation(
                *("DELETE", one, self.remove, "Use it no more", _TAG),
                description="Its channels go on from other engines, or until they end. One that"
                " the configuration names stays away until it is added again.",
                **edit,
            ),
        ]

    # -- handlers --

    async def engines(self, call: Call) -> Page[EngineView]:
        return Page[EngineView].of([self._view(number) for number in self._numbers()], call.query)

    async def engine(self, call: Call) -> EngineView:
        return self._view(call.ids["id"])

    async def add(self, call: Call) -> EngineView:
        entry = await self._roster.add(call.body.url, call.body.capacity)
        return self._view(entry.number)

    async def change(self, call: Call) -> EngineView:
        number = call.ids["id"]
        values = call.body.model_dump(exclude_none=True)
        if not await self._roster.change(number, **values):
            raise NotThere("engine")
        return self._view(number)

    async def remove(self, call: Call) -> None:
        if not await self._roster.remove(call.ids["id"]):
            raise NotThere("engine")

    async def check(self, call: Call) -> EngineAnswered:
        found = await self._roster.check(call.body.url)
        code, values = told(found.error or "")
        return EngineAnswered(**dataclasses.asdict(found), code=code, values=dict(values))

    # -- what they share --

    def _numbers(self) -> list[int]:
        return [entry.number for entry, _engine in self._roster.all()]

    def _view(self, number: int) -> EngineView:
        found = self._roster.find(number)
        if found is None:
            raise NotThere("engine")
        entry, engine = found
        return engine_view(entry, engine, configured=self._roster.is_configured(entry))
