"""What happens, told to who listens: server-sent events (the HTML standard, §9.2).

Owns: the events of the last while with their ids, the listeners, what a listener that does not read
costs. Must not know: what an event is about, who may listen.

An event is written once for all listeners. Who comes back says which he heard last, and is told
what he missed, as far as it is kept. Without a listener nothing is written at all.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any, Final

import orjson

from rawstream.protocol import Exchange, Sink

CONTENT_TYPE: Final = "text/event-stream"
HEADERS: Final = (("Cache-Control", "no-store"), ("X-Accel-Buffering", "no"))
_KEPT: Final = 500
_BACKLOG_BYTES: Final = 4 * 1024 * 1024  # of one listener; above, he is let go and comes back
_HEARTBEAT: Final = b": here\n\n"


def written(kind: str, told: Any, number: int | None = None) -> bytes:
    """One event as it goes over the wire. `told`: anything that JSON can hold."""
    line = b"" if number is None else b"id: %d\n" % number
    return line + b"event: %b\ndata: %b\n\n" % (kind.encode(), orjson.dumps(told))


class Listener:
    """One page that listens. `keys`: channels whose viewers it wants to be told of."""

    __slots__ = ("is_good", "keys", "sink")

    def __init__(self, sink: Sink, keys: frozenset[str], is_good: Callable[[], bool]) -> None:
        self.sink = sink
        self.keys = keys
        self.is_good = is_good  # whether he may listen still


class EventBus:
    """All listeners of this process."""

    def __init__(self) -> None:
        self._number = 0
        self._kept: deque[tuple[int, bytes]] = deque(maxlen=_KEPT)
        self._listeners: set[Listener] = set()
        self.joined = 0  # listeners so far

    def __len__(self) -> int:
        return len(self._listeners)

    @property
    def keys(self) -> frozenset[str]:
        """The channels whose viewers somebody wants to be told of."""
        return frozenset().union(*(listener.keys for listener in self._listeners))

    def listen(
        self,
        exchange: Exchange,
        *,
        last_id: str = "",
        keys: frozenset[str] = frozenset(),
        is_good: Callable[[], bool] = lambda: True,
    ) -> Listener:
        """Make this exchange a stream of events, those after `last_id` first."""
        sink = exchange.stream(HEADERS, CONTENT_TYPE, chunked=True)
        listener = Listener(sink, keys, is_good)
        exchange.on_gone = lambda: self._listeners.discard(listener)
        sink.write(b"retry: 2000\n\n")
        if last_id.isdigit():
            missed = [data for number, data in self._kept if number > int(last_id)]
            if missed:
                sink.write(b"".join(missed))
        if not exchange.gone:
            self._listeners.add(listener)
            self.joined += 1
        return listener

    def publish(self, kind: str, told: Any) -> None:
        """Tell all, and keep it for those who come back."""
        self._number += 1
        data = written(kind, told, self._number)
        self._kept.append((self._number, data))
        self._send(data, self._listeners)

    def tell(self, kind: str, told: Any, key: str = "") -> None:
        """Tell all, or those who asked for `key`, of how things stand; nobody misses it later."""
        listeners = self._listeners
        if key:
            listeners = {one for one in listeners if key in one.keys}
        if listeners:
            self._send(written(kind, told), listeners)

    def heartbeat(self) -> None:
        """So that proxies keep the connections, and dead ones are found. Ends those that may not
        listen any more.
        """
        for listener in [one for one in self._listeners if not one.is_good()]:
            self._listeners.discard(listener)
            listener.sink.finish()
        self._send(_HEARTBEAT, self._listeners)

    def close(self) -> None:
        """Let all go."""
        listeners, self._listeners = self._listeners, set()
        for listener in listeners:
            listener.sink.finish()

    def _send(self, data: bytes, listeners: set[Listener]) -> None:
        for listener in list(listeners):
            if listener.sink.unsent() > _BACKLOG_BYTES:
                self._listeners.discard(listener)
                listener.sink.abort()
            else:
                listener.sink.write(data)
