"""Channels leave drained engines one at a time, and stay where nobody takes them."""

from __future__ import annotations

import asyncio
from typing import Any, cast

from stage import until

from rawstream.channel_state import ChannelState
from rawstream.config import Limits, Timeouts
from rawstream.drain import Drain
from rawstream.engine_client import Engine
from rawstream.engine_pool import EnginePool
from rawstream.journal import StopJournal


class FakeChannel:
    """On an engine, and moved when the test says so."""

    def __init__(self, engine: Engine | None, state: ChannelState = ChannelState.LIVE) -> None:
        self.engine = engine
        self.state = state
        self.running = True
        self.moves: list[asyncio.Future[bool]] = []

    async def move(self) -> bool:
        self.moves.append(asyncio.get_running_loop().create_future())
        return await self.moves[-1]


def drain_of(*channels: FakeChannel) -> Drain:
    return Drain(POOL, cast(Any, channels))


POOL = EnginePool(
    ["http://10.0.0.1", "http://10.0.0.2"],
    capacity=4,
    timeouts=Timeouts(),
    limits=Limits(),
    journal=StopJournal(None),
)
DRAINED, OTHER = POOL.engines
OTHER.answered()
DRAINED.drain()


async def test_one_channel_moves_at_a_time() -> None:
    first, second = FakeChannel(DRAINED), FakeChannel(DRAINED)
    drain = drain_of(FakeChannel(OTHER), FakeChannel(None), first, second)
    drain.look(0.0)
    drain.look(0.0)
    await until(lambda: first.moves, "the first one's turn")
    assert not second.moves
    first.engine = OTHER
    first.moves[0].set_result(True)
    await until(lambda: drain._moving is not None and drain._moving.done())
    drain.look(0.0)
    await until(lambda: second.moves, "the second one's turn")
    await drain.close()
    assert second.moves[0].cancelled()


async def test_one_that_is_not_live_stays_till_it_is() -> None:
    channel = FakeChannel(DRAINED, ChannelState.RECOVERING)
    drain = drain_of(channel)
    drain.look(0.0)
    assert drain._moving is None
    channel.state = ChannelState.LIVE
    drain.look(0.0)
    await until(lambda: channel.moves)
    await drain.close()


async def test_one_that_no_other_engine_takes_is_left_in_peace_for_a_while() -> None:
    channel = FakeChannel(DRAINED)
    drain = drain_of(channel)
    drain.look(0.0)
    await until(lambda: channel.moves)
    now = asyncio.get_running_loop().time()
    channel.moves[0].set_result(False)
    await until(lambda: len(drain._stay) == 1)
    drain.look(now + 59)
    await asyncio.sleep(0)
    assert len(channel.moves) == 1
    drain.look(now + 90)
    await until(lambda: len(channel.moves) == 2, "another try")
    drain.forget(cast(Any, channel))
    assert len(drain._stay) == 0
    await drain.close()


async def test_one_that_ended_while_it_moved_is_not_remembered() -> None:
    channel = FakeChannel(DRAINED)
    drain = drain_of(channel)
    drain.look(0.0)
    await until(lambda: channel.moves)
    channel.running = False
    channel.moves[0].set_result(False)
    await until(lambda: drain._moving is not None and drain._moving.done())
    assert len(drain._stay) == 0


async def test_without_room_elsewhere_nothing_moves() -> None:
    channel = FakeChannel(DRAINED)
    drain = drain_of(channel)
    OTHER.sessions = OTHER.capacity
    try:
        drain.look(0.0)
        assert drain._moving is None
    finally:
        OTHER.sessions = 0
