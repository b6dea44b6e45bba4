"""Who waits for a channel's first picture: viewers on hold, who have been answered nothing yet.

Owns: how long each of them is kept, at what pace they are let in, what those are told who waited in
vain. Must not know: why there is no picture yet, how one is let in.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Final

from rawstream.config import Timeouts
from rawstream.connection import Exchange
from rawstream.errors import ChannelUnavailable
from rawstream.http1 import Headers, Request, Response
from rawstream.viewer import Lease

_RELEASED_PER_TURN: Final = 64  # let in per turn of the loop

# Players that give up after 8 s and ask again (xtream reference §9.3), by what their requests say.
_IMPATIENT_AGENTS = ("exoplayer", "media3", "tivimate", "smarters", "okhttp", "dalvik")


class Waiting:
    """A viewer on hold: his head has been read, and nothing has been answered yet. `headers`: those
    of the stream he waits for. `deadline` is on the clock of `time.monotonic`.
    """

    __slots__ = ("account", "asked_at", "deadline", "exchange", "headers", "lease")

    def __init__(
        self,
        exchange: Exchange,
        headers: Headers,
        deadline: float,
        account: str | None,
        lease: Lease | None = None,
    ) -> None:
        self.exchange = exchange
        self.headers = headers
        self.deadline = deadline
        self.account = account
        self.lease = lease
        self.asked_at = time.monotonic()

    def refuse(self, reason: str, retry_after: int) -> None:
        """503, which a page may read where it might have read the stream."""
        self.exchange.on_gone = None
        if self.lease is not None:
            self.lease.ended()
        told = Response.of_error(ChannelUnavailable(reason, retry_after=retry_after))
        cors = [header for header in self.headers if header[0].startswith("Access-Control-")]
        self.exchange.respond(
            Response(told.status, told.body, told.content_type, (*told.headers, *cors))
        )


class WaitingRoom:
    """Those who wait for one channel, the first come first. `let_in` gets one who waits no more,
    who may have gone in that moment; `on_left` is told when one has gone by himself.
    """

    def __init__(self, let_in: Callable[[Waiting], None], *, on_left: Callable[[], None]) -> None:
        self._let_in = let_in
        self._on_left = on_left
        self._waiting: deque[Waiting] = deque()
        self._releasing = False

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, waiting: Waiting) -> None:
        self._waiting.append(waiting)
        waiting.exchange.on_gone = partial(self._left, waiting)

    def _left(self, waiting: Waiting) -> None:
        if waiting.lease is not None:
            waiting.lease.ended()
        try:
            self._waiting.remove(waiting)
        except ValueError:
            return
        self._on_left()

    def release_soon(self) -> None:
        """Let all in who wait now, some per turn of the loop."""
        if not self._releasing and self._waiting:
            self._releasing = True
            asyncio.get_running_loop().call_soon(self._release)

    def _release(self) -> None:
        self._releasing = False
        try:
            for _ in range(min(_RELEASED_PER_TURN, len(self._waiting))):
                self._let_in(self._waiting.popleft())
        finally:
            self.release_soon()

    def take_all(self) -> tuple[Waiting, ...]:
        """Whoever waits is the caller's now."""
        taken = tuple(self._waiting)
        self._waiting.clear()
        return taken

    def take_late(self, now: float) -> list[Waiting]:
        """Those who have waited as long as they may are the caller's now."""
        late = [waiting for waiting in self._waiting if waiting.deadline <= now]
        if late:
            self._waiting = deque(one for one in self._waiting if one.deadline > now)
        return late


def hold_seconds(request: Request, timeouts: Timeouts) -> float:
    """How long this player may be kept without an answer."""
    return timeouts.hold_impatient_seconds if asks_again(request) else timeouts.hold_seconds


def asks_again(request: Request) -> bool:
    """Whether this player gives up after 8 s and asks again: then a 503 before that loses
    nothing.
    """
    headers = request.headers
    if (
        headers.get("accept-encoding", "").strip().lower() == "identity"
        and headers.get("icy-metadata") == "1"
        and "range" not in headers
    ):
        return True
    agent = headers.get("user-agent", "").lower()
    return any(name in agent for name in _IMPATIENT_AGENTS)
