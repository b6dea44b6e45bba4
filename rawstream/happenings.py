"""What happens that an operator is to hear of: a channel is down or up again, goes on from another
source, an engine is down or up.

Owns: when each of these is so, and that it is said once. Must not know: who is told, over what.

A channel is down when no source brought it, not when nobody wants it any more. One that is asked
for again and again meanwhile is down once. A source that an operator wanted to be left was not
lost.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Literal, NamedTuple

from rawstream.channel_state import ChannelState
from rawstream.channels import LiveChannel
from rawstream.engine_client import ContentRef, EngineState
from rawstream.hub import ChannelHub
from rawstream.redaction import redacted

logger = logging.getLogger(__name__)

LOOK_SECONDS: Final = 1.0  # at engines
_DOWN_REMEMBERED: Final = 5000  # names of contents
Event = Literal["channel_down", "channel_up", "failover", "engine_down", "engine_up"]


@dataclass(frozen=True, slots=True)
class Happening:
    """`at`: seconds since 1970. `channel`, `name`: its key and its name. `reason`: why, in words
    without secrets. `source`: what is shown now, `before`: what was. `seconds`: how long it was
    without a source, None where that says nothing. What does not belong to an event is ''.
    """

    event: Event
    at: int
    channel: str = ""
    name: str = ""
    engine: str = ""
    reason: str = ""
    source: str = ""
    before: str = ""
    seconds: float | None = None

    @property
    def sentence(self) -> str:
        """In one line, for people."""
        what = self.name or self.channel or self.engine
        why = f": {self.reason}" if self.reason else ""
        match self.event:
            case "channel_down":
                return f"Channel {what} is down{why}"
            case "channel_up":
                return f"Channel {what} is up again, from {self.source}"
            case "failover":
                spent = f" after {self.seconds:.1f} s" if self.seconds is not None else ""
                return f"Channel {what} goes on from {self.source}{spent}{why}"
            case "engine_down":
                return f"Engine {what} is down{why}"
            case "engine_up":
                return f"Engine {what} is up again"


class _Lost(NamedTuple):
    """A channel without a source. `at`: on the clock of `time.monotonic`."""

    at: float
    before: str
    reason: str


class Happenings:
    """The watch over one hub. `tell` is called where it happens, so it must not take long."""

    def __init__(
        self,
        hub: ChannelHub,
        tell: Callable[[Happening], None],
        *,
        clock: Callable[[], float] = time.monotonic,
        calendar: Callable[[], float] = time.time,
    ) -> None:
        self._hub = hub
        self._tell = tell
        self._clock = clock
        self._calendar = calendar
        self._lost: dict[LiveChannel, _Lost] = {}
        self._down: dict[ContentRef, None] = {}  # contents of channels that are down
        self._engines_down: set[str] = set()
        hub.move_listeners.append(self.moved)

    # -- channels --

    def moved(self, channel: LiveChannel) -> None:
        """It has another state."""
        match channel.state:
            case ChannelState.RECOVERING if channel.ordered:
                self._lost.pop(channel, None)
            case ChannelState.RECOVERING:
                self._lost[channel] = _Lost(
                    self._clock(), _source_of(channel), channel.supply.last_error or ""
                )
            case ChannelState.LIVE:
                self._note_live(channel)
            case ChannelState.FAILED:
                self._lost.pop(channel, None)
                self._note_down(channel)
            case _:
                self._lost.pop(channel, None)

    def _note_live(self, channel: LiveChannel) -> None:
        lost = self._lost.pop(channel, None)
        known = [ref for ref in channel.refs if ref in self._down]
        for ref in known:
            del self._down[ref]
        if known:
            self._say("channel_up", channel, source=_source_of(channel))
        elif lost is not None:
            self._say(
                "failover",
                channel,
                source=_source_of(channel),
                before=lost.before,
                reason=lost.reason,
                seconds=round(self._clock() - lost.at, 1),
            )

    def _note_down(self, channel: LiveChannel) -> None:
        told = any(ref in self._down for ref in channel.refs)
        for ref in channel.refs:
            self._down.pop(ref, None)
            self._down[ref] = None
        while len(self._down) > _DOWN_REMEMBERED:
            del self._down[next(iter(self._down))]
        if not told:
            self._say("channel_down", channel, reason=channel.supply.last_error or "")

    def _say(
        self,
        event: Event,
        channel: LiveChannel,
        *,
        reason: str = "",
        source: str = "",
        before: str = "",
        seconds: float | None = None,
    ) -> None:
        self._tell(
            Happening(
                event,
                int(self._calendar()),
                channel=channel.key,
                name=channel.name,
                reason=redacted(reason),
                source=source,
                before=before,
                seconds=seconds,
            )
        )

    # -- engines --

    def look(self) -> None:
        """At the engines: which of them went down or came back since the last time. One that is
        drained or taken away is neither.
        """
        engines = {engine.url: engine for engine in self._hub.pool.engines}
        self._engines_down &= engines.keys()
        for url, engine in engines.items():
            if engine.state is EngineState.DOWN and url not in self._engines_down:
                self._engines_down.add(url)
                reason = redacted(engine.last_error or "")
                at = int(self._calendar())
                self._tell(Happening("engine_down", at, engine=url, reason=reason))
            elif engine.state is EngineState.UP and url in self._engines_down:
                self._engines_down.discard(url)
                self._tell(Happening("engine_up", int(self._calendar()), engine=url))

    async def watch(self) -> None:
        """For ever."""
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            try:
                self.look()
            except Exception:  # a bug of ours is not to end all looking
                logger.exception("a look at the engines failed")


def _source_of(channel: LiveChannel) -> str:
    feed = channel.supply.feed
    return feed.label if feed is not None else ""
