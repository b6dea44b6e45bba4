"""What is on air, for operators: looking, stopping, moving on, ending one viewer's stream, events.

Owns: these operations. Must not know: how a channel lives (`channels`), how changes are found
(`air`), how a request is read (`rest`).
"""

from __future__ import annotations

import time
from typing import Any

from pydantic import Field

from rawstream.accounts import Accounts, Lease
from rawstream.air import Air
from rawstream.channels import LiveChannel
from rawstream.events import CONTENT_TYPE, EventBus
from rawstream.hub import ChannelHub
from rawstream.operators import Operators
from rawstream.rest import Call, Failed, Model, NotThere, Operation


class Picture(Model):
    """All that is on air: channels, films and engines as `/status` shows them, and totals."""

    channels: list[dict[str, Any]]
    films: list[dict[str, Any]]
    engines: list[dict[str, Any]]
    totals: dict[str, Any]


class OneChannel(Model):
    """A channel on air with its viewers."""

    channel: dict[str, Any]


class PointView(Model):
    """`at`: seconds since 1970."""

    at: int
    viewers: int
    bits_in_per_second: int
    bits_out_per_second: int


class Stats(Model):
    """The last hour, one point in ten seconds, the oldest first."""

    points: list[PointView]


class EventsQuery(Model):
    """`viewers`: keys of channels whose viewers are wanted too. `last_event_id`: what was heard
    last, for those who can't send the header.
    """

    viewers: list[str] = Field(default_factory=list, max_length=50)
    last_event_id: str = Field(default="", max_length=20)


class LiveOperations:
    """The handlers."""

    def __init__(
        self,
        hub: ChannelHub,
        accounts: Accounts,
        operators: Operators,
        air: Air,
        bus: EventBus,
    ) -> None:
        self._hub = hub
        self._accounts = accounts
        self._operators = operators
        self._air = air
        self._bus = bus

    def table(self) -> list[Operation]:
        tag, one = "live", "/live/{key}"
        return [
            Operation("GET", "/live", self.all, "What is on air", tag, answer=Picture),
            Operation("GET", one, self.read, "One channel and its viewers", tag, answer=OneChannel),
            Operation("POST", f"{one}/stop", self.stop, "End a channel", tag, errors=(409,)),
            Operation(
                *("POST", f"{one}/restart", self.restart, "A new session; viewers stay", tag),
                errors=(409,),
            ),
            Operation(
                *("POST", f"{one}/next", self.next, "The next engine or source", tag),
                errors=(409,),
            ),
            Operation("POST", "/viewers/{id}/kick", self.kick, "End a viewer's stream", tag),
            Operation("GET", "/stats", self.stats, "Figures of the last hour", tag, answer=Stats),
            Operation(
                *("GET", "/events", self.events, "What happens, as it happens", tag),
                query=EventsQuery,
                raw=CONTENT_TYPE,
                description="Server-sent events: `live` (what has changed on air), `history` (a"
                " line of it), `import` (what came of a list).",
            ),
        ]

    async def all(self, _call: Call) -> Picture:
        return Picture(**self._air.picture())

    async def read(self, call: Call) -> OneChannel:
        found = self._air.channel(call.ids["key"])
        if found is None:
            raise NotThere("channel on air")
        return OneChannel(channel=found)

    async def stop(self, call: Call) -> None:
        channel = self._found(call)
        if not channel.running:
            raise Failed(409, "the channel is ending already")
        channel.stop()

    async def restart(self, call: Call) -> None:
        self._leave(call, next_source=False)

    async def next(self, call: Call) -> None:
        self._leave(call, next_source=True)

    def _leave(self, call: Call, *, next_source: bool) -> None:
        channel = self._found(call)
        if not channel.running or not channel.supply.leave_source(next_source=next_source):
            raise Failed(409, "the channel has no source to leave just now")

    def _found(self, call: Call) -> LiveChannel:
        channel = self._hub.on_air(call.ids["key"])
        if channel is None:
            raise NotThere("channel on air")
        return channel

    async def kick(self, call: Call) -> None:
        """A player with an account can't come back to this channel at once."""
        try:
            lease = self._hub.kick(call.ids["id"])
        except KeyError:
            raise NotThere("viewer") from None
        if isinstance(lease, Lease):
            self._accounts.kick_from(lease, time.monotonic())

    async def stats(self, _call: Call) -> Stats:
        return Stats(points=[PointView(**point._asdict()) for point in self._air.points])

    async def events(self, call: Call) -> None:
        assert call.exchange is not None, "a stream needs a connection"
        query: EventsQuery = call.query
        operator = call.operator
        self._bus.listen(
            call.exchange,
            last_id=call.request.headers.get("last-event-id", "") or query.last_event_id,
            keys=frozenset(query.viewers),
            is_good=lambda: self._operators.is_good(operator),
        )
