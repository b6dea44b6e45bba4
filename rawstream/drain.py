"""Engines that are drained: their channels go on from other engines, one after the other.

Owns: which channel moves next, and which is left in peace for a while. Must not know: how a channel
moves (`channels`), who wants the engine drained.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable
from typing import Final

from rawstream.channel_state import ChannelState
from rawstream.channels import LiveChannel
from rawstream.engine_client import EngineState
from rawstream.engine_pool import EnginePool

_STAYS_SECONDS: Final = 60.0  # a channel that no other engine took, before one is asked again


class Drain:
    """Of all engines. `channels`: those there are, at any time."""

    def __init__(self, pool: EnginePool, channels: Iterable[LiveChannel]) -> None:
        self._pool = pool
        self._channels = channels
        self._moving: asyncio.Task[None] | None = None
        self._stay: dict[LiveChannel, float] = {}  # until when

    def look(self, now: float) -> None:
        """Once a second: a channel on an engine that is to get none goes on from another one, if
        that has room: one at a time, so that the room is counted.
        """
        if self._moving is not None and not self._moving.done():
            return
        for channel in self._channels:
            engine = channel.engine
            if engine is None or engine.state is not EngineState.DRAINING:
                continue
            if channel.state is not ChannelState.LIVE or self._stay.get(channel, 0.0) > now:
                continue
            if self._pool.spare_engine(avoid=[engine]) is not None:
                self._moving = asyncio.create_task(self._move(channel), name="move a channel")
            return

    async def _move(self, channel: LiveChannel) -> None:
        if not await channel.move() and channel.running:
            self._stay[channel] = time.monotonic() + _STAYS_SECONDS

    def forget(self, channel: LiveChannel) -> None:
        """It is over."""
        self._stay.pop(channel, None)

    async def close(self) -> None:
        """Move nothing any more."""
        if self._moving is not None:
            self._moving.cancel()
            await asyncio.gather(self._moving, return_exceptions=True)
