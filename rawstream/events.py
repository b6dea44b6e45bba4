"""What happens, told to pages as it happens: server-sent events (HTML Standard §9.2).

Owns: the ring of what has happened, who listens, the one round per second in which all of them are
told, who is let go. Must not know: what the pages make of it, how anything came about.

Nothing runs while nobody listens; what happens then costs one place in the ring. What is on air is
looked at once per round, whoever listens, and told as what has changed; who begins to listen, or
has not read for a while, gets the whole.

A listener's backlog is bounded: while his transport takes nothing he is told nothing, and who takes
nothing for long is cut off. What he missed is in the ring, and the rest is what is so by then.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections import deque
from collections.abc import Callable, Collection
from typing import Any, Final, Protocol

import orjson

from rawstream.connection import Exchange, Sink
from rawstream.errors import ViewerError
from rawstream.http1 import Headers
from rawstream.on_air import Fields, Look, Watched, difference
from rawstream.operators import Operator

logger = logging.getLogger(__name__)

CONTENT_TYPE: Final = "text/event-stream"
_HEADERS: Final[Headers] = (("Cache-Control", "no-store"), ("X-Accel-Buffering", "no"))
ROUND_SECONDS: Final = 1.0
_REMEMBERED: Final = 1000  # of what has happened
_LATELY: Final = 50  # of these, steps of ladders, which viewers that come and go do not push out
_LISTENERS: Final = 100
_HEARTBEAT_SECONDS: Final = 15.0
_PATIENCE_SECONDS: Final = 15.0  # with one whose transport takes nothing
_VIEWERS_PER_ROUND: Final = 250  # of a channel with more they are told in fewer rounds
_KEYS: Final = 20  # whose viewers one listener may ask for


class Stage(Protocol):
    """What is on air (`on_air.OnAir`)."""

    def look(self) -> Look: ...
    def viewers_of(self, key: str) -> Watched | None: ...
    def viewer_count(self, key: str) -> int: ...


class Notice:
    """One of what happens once: a step of a ladder, a line of history. Written when it is told."""

    __slots__ = ("_frame", "data", "kind", "number")

    def __init__(self, number: int, kind: str, data: Fields) -> None:
        self.number = number
        self.kind = kind
        self.data = data
        self._frame = b""

    def frame(self, run: str) -> bytes:
        if not self._frame:
            self._frame = frame(f"{run}-{self.number}", self.kind, self.data)
        return self._frame


class Listener:
    """One page."""

    __slots__ = ("keys", "operator", "paused_since", "seen", "sink", "whole", "wrote_at")

    def __init__(self, operator: Operator, keys: tuple[str, ...], seen: int, now: float) -> None:
        self.operator = operator
        self.keys = keys
        self.seen = seen  # the last notice he was told
        self.sink: Sink
        self.whole = True  # he is to be told all that is so
        self.paused_since: float | None = None
        self.wrote_at = now


class EventBus:
    """Everything that is told. `is_good`: whether somebody still is an operator."""

    def __init__(
        self,
        stage: Stage,
        is_good: Callable[[Operator], bool],
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._stage = stage
        self._is_good = is_good
        self._clock = clock
        # numbers of another life of ours mean nothing
        self._run = secrets.token_hex(4)
        self._ring: deque[Notice] = deque(maxlen=_REMEMBERED)
        self._steps: deque[Notice] = deque(maxlen=_LATELY)
        self._number = 0
        self._listeners: set[Listener] = set()
        self._rounds: asyncio.Task[None] | None = None
        self._round_number = 0
        self._known: Look | None = None
        self._watched: dict[str, bytes] = {}  # who watches, as it is told in this round
        self._closed = False

    def __len__(self) -> int:
        return len(self._listeners)

    # -- what happens ------------------------------------------------------------------------------

    def tell(self, kind: str, data: Fields) -> None:
        """This has happened. `data`: values that JSON knows."""
        self._number += 1
        notice = Notice(self._number, kind, data)
        self._ring.append(notice)
        if kind == "ladder":
            self._steps.append(notice)

    # -- who listens -------------------------------------------------------------------------------

    def listen(
        self,
        exchange: Exchange,
        operator: Operator,
        *,
        keys: Collection[str] = (),
        last_id: str = "",
        lately: bool = False,
    ) -> None:
        """Answer with the stream. `keys`: channels and films whose viewers are told too.
        `last_id`: what was heard last; what has happened since is told first. `lately`: who has
        heard nothing yet is told the last steps of ladders first. Raises ViewerError 503.
        """
        if self._closed or len(self._listeners) >= _LISTENERS:
            raise ViewerError(503, "too many listen already", retry_after=10)
        is_head = exchange.request.method == "HEAD"
        wanted = tuple(dict.fromkeys(keys))[:_KEYS]
        listener = Listener(operator, wanted, self._seen(last_id), self._clock())
        listener.sink = exchange.stream(_HEADERS, CONTENT_TYPE, chunked=True)
        if is_head or exchange.gone:
            return
        exchange.on_gone = lambda: self._listeners.discard(listener)
        self._listeners.add(listener)
        if self._rounds is None:
            self._known = self._stage.look()
            self._rounds = asyncio.create_task(self._turn(), name="events")
        steps = self._steps if lately and not self._is_of_this_run(last_id) else ()
        earlier = b"".join(step.frame(self._run) for step in steps)
        if earlier:
            listener.sink.write(earlier)
        self._tell_all(listener, self._known, b"")

    def _is_of_this_run(self, last_id: str) -> bool:
        run, _, number = last_id.partition("-")
        return run == self._run and number.isascii() and number.isdigit() and len(number) <= 18

    def _seen(self, last_id: str) -> int:
        if not self._is_of_this_run(last_id):
            return self._number
        return min(int(last_id.partition("-")[2]), self._number)

    def close(self) -> None:
        """Let everybody go; nobody is taken any more."""
        self._closed = True
        for listener in list(self._listeners):
            self._let_go(listener)
        if self._rounds is not None:
            self._rounds.cancel()

    def _let_go(self, listener: Listener) -> None:
        self._listeners.discard(listener)
        listener.sink.finish()

    # -- the rounds --------------------------------------------------------------------------------

    async def _turn(self) -> None:
        try:
            while self._listeners:
                await asyncio.sleep(ROUND_SECONDS)
                try:
                    self.round()
                except Exception:  # a bug of ours is not to leave pages without a word for ever
                    logger.exception("a round of events failed")
        finally:
            self._rounds = self._known = None

    def round(self) -> None:
        """Tell everybody what is new."""
        now = self._clock()
        for listener in list(self._listeners):
            if not self._is_good(listener.operator):
                self._let_go(listener)
            elif self._is_stuck(listener, now):
                logger.info("a listener of %s takes nothing: let go", listener.sink.peer[0])
                self._listeners.discard(listener)
                listener.sink.abort()
        told = [one for one in self._listeners if one.paused_since is None]
        if not told:
            return
        self._round_number += 1
        self._watched.clear()
        before, look = self._known, self._stage.look()
        self._known = look
        news = self._news(before, look)
        for listener in told:
            self._tell_all(listener, look, news)

    def _is_stuck(self, listener: Listener, now: float) -> bool:
        if not listener.sink.paused:
            listener.paused_since = None
            return False
        if listener.paused_since is None:
            listener.paused_since = now
            listener.whole = True  # when he reads again
        return now - listener.paused_since >= _PATIENCE_SECONDS

    def _tell_all(self, listener: Listener, look: Look | None, news: bytes) -> None:
        """One write: what happened, what is so, who watches what he asked for."""
        parts = [one.frame(self._run) for one in self._since(listener.seen)]
        listener.seen = self._number
        if listener.whole and look is not None:
            listener.whole = False
            parts.append(self._all(look))
            first = True
        else:
            parts.append(news)
            first = False
        parts += [self._viewers(key, at_once=first) for key in listener.keys]
        data = b"".join(parts)
        now = self._clock()
        if not data and now - listener.wrote_at >= _HEARTBEAT_SECONDS:
            data = b": still here\n\n"
        if data:
            listener.wrote_at = now
            listener.sink.write(data)

    def _since(self, seen: int) -> list[Notice]:
        if seen >= self._number:
            return []
        return [one for one in self._ring if one.number > seen]

    # -- what is told ------------------------------------------------------------------------------

    @property
    def last_id(self) -> str:
        """Whoever has heard this has heard of all that has happened."""
        return f"{self._run}-{self._number}"

    def _live(self, **data: Any) -> bytes:
        return frame(self.last_id, "live", data)

    def _all(self, look: Look) -> bytes:
        engines = {"full": True, "engines": list(look.engines.values()), "gone": []}
        live = self._live(
            full=True,
            channels=list(look.channels.values()),
            films=list(look.films.values()),
            gone=[],
            totals=look.totals,
        )
        return live + frame(self.last_id, "engine", engines)

    def _news(self, before: Look | None, look: Look) -> bytes:
        if before is None:
            return self._all(look)
        change = difference(before, look)
        found = b""
        if change.channels or change.films or change.gone or change.totals is not None:
            found = self._live(
                full=False,
                channels=change.channels,
                films=change.films,
                gone=change.gone,
                totals=change.totals,
            )
        if change.engines or change.engines_gone:
            engines = {"full": False, "engines": change.engines, "gone": change.engines_gone}
            found += frame(self.last_id, "engine", engines)
        return found

    def _viewers(self, key: str, *, at_once: bool) -> bytes:
        """Of many they are told less often: what is told in a second has its bound."""
        rounds = 1 + self._stage.viewer_count(key) // _VIEWERS_PER_ROUND
        if at_once:
            return self._watching(key)
        if self._round_number % rounds:
            return b""
        if key not in self._watched:
            self._watched[key] = self._watching(key)
        return self._watched[key]

    def _watching(self, key: str) -> bytes:
        found = self._stage.viewers_of(key)
        if found is None:
            return b""
        told = {"key": key, "viewers": found.viewers, "viewer_count": len(found.viewers)}
        parts: dict[str, list[Fields]] = {"channels": [], "films": [], "gone": []}
        parts[found.kind].append(told)
        return self._live(full=False, **parts, totals=None)


def frame(id: str, kind: str, data: Any) -> bytes:
    """One event. JSON has no line breaks, so it is one line."""
    return b"id: %b\nevent: %b\ndata: %b\n\n" % (id.encode(), kind.encode(), orjson.dumps(data))
