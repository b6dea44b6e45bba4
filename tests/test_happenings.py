"""What is worth telling, out of what channels and engines do."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from stage import quick_contents, stage, until
from wire import Clock

from rawstream.channel_state import ChannelState as State
from rawstream.config import Timeouts
from rawstream.engine_client import ContentRef, EngineState
from rawstream.happenings import Happening, Happenings

REF = ContentRef("content_id", "c" * 40)
OTHER = ContentRef("infohash", "1" * 40)


class Shown(SimpleNamespace):
    """A channel, as far as it is looked at."""

    __hash__ = object.__hash__


class Watched:
    """A hub with one channel and two engines, and what was told of them."""

    def __init__(self) -> None:
        self.told: list[Happening] = []
        self.clock = Clock()
        self.engines = [
            SimpleNamespace(url=f"http://e{n}:6878", state=EngineState.UP, last_error="refused")
            for n in range(2)
        ]
        self.hub: Any = SimpleNamespace(
            move_listeners=[], pool=SimpleNamespace(engines=self.engines)
        )
        self.watch = Happenings(
            self.hub, self.told.append, clock=self.clock, calendar=lambda: 1_700_000_000.9
        )
        self.channel: Any = self.another()

    def another(self, *refs: ContentRef) -> Any:
        supply = SimpleNamespace(feed=SimpleNamespace(label="engine a"), last_error=None)
        return Shown(
            **{"key": "k", "name": "One", "refs": list(refs or (REF,)), "supply": supply},
            **{"state": State.IDLE, "ordered": False},
        )

    def move(self, *states: State, channel: Any = None) -> None:
        for state in states:
            moved = channel or self.channel
            moved.state = state
            for listener in self.hub.move_listeners:
                listener(moved)

    def look(self, **states: EngineState) -> None:
        for name, state in states.items():
            self.engines[int(name[1:])].state = state
        self.watch.look()

    @property
    def events(self) -> list[str]:
        return [one.event for one in self.told]


@pytest.fixture
def watched() -> Watched:
    return Watched()


def test_a_channel_that_plays_and_ends_is_nothing_to_tell(watched: Watched) -> None:
    watched.move(State.STARTING, State.LIVE, State.LINGERING, State.LIVE, State.LINGERING)
    watched.move(State.STOPPING, State.IDLE, State.STARTING, State.STOPPING, State.IDLE)
    watched.look()
    assert watched.told == []


def test_a_failover_is_told_with_both_sources_and_how_long_it_took(watched: Watched) -> None:
    watched.move(State.STARTING, State.LIVE)
    watched.channel.supply.last_error = "http://ana:pw@h/: silent for 5.5 s"
    watched.move(State.RECOVERING)
    watched.channel.supply.feed = SimpleNamespace(label="engine b")
    watched.clock.now += 2.25
    watched.move(State.LIVE)
    (told,) = watched.told
    assert told == Happening(
        *("failover", 1_700_000_000, "k", "One"),
        reason="http://***@h/: silent for 5.5 s",
        source="engine b",
        before="engine a",
        seconds=2.2,
    )
    assert told.sentence.startswith("Channel One goes on from engine b after 2.2 s: ")


def test_what_an_operator_moves_has_lost_nothing_until_it_does(watched: Watched) -> None:
    watched.move(State.STARTING, State.LIVE)
    watched.channel.ordered = True
    watched.move(State.RECOVERING, State.LIVE)
    assert watched.told == []
    watched.channel.ordered = False
    watched.move(State.RECOVERING, State.LIVE)
    watched.channel.ordered = True
    watched.move(State.RECOVERING, State.FAILED)
    assert watched.events == ["failover", "channel_down"], "where the move leads nowhere it is down"


def test_a_channel_is_down_once_and_up_once(watched: Watched) -> None:
    watched.channel.supply.last_error = "no peers"
    watched.move(State.STARTING, State.LIVE, State.RECOVERING, State.FAILED, State.IDLE)
    assert [(one.event, one.reason) for one in watched.told] == [("channel_down", "no peers")]
    for _ in range(3):
        watched.move(State.STARTING, State.FAILED, State.IDLE, channel=watched.another())
    again = watched.another(OTHER, REF)
    watched.move(State.STARTING, State.LIVE, channel=again)
    assert watched.events == ["channel_down", "channel_up"]
    assert watched.told[1].source == "engine a"
    watched.move(State.LINGERING, State.LIVE, State.RECOVERING, State.LIVE, channel=again)
    assert watched.events[2:] == ["failover"]
    watched.move(State.RECOVERING, State.FAILED, channel=again)
    assert watched.events[3:] == ["channel_down"]


def test_an_engine_is_down_once_and_up_once(watched: Watched) -> None:
    watched.look()
    watched.look(e0=EngineState.DOWN)
    watched.look(e0=EngineState.DOWN)
    assert [(one.event, one.engine, one.reason) for one in watched.told] == [
        ("engine_down", "http://e0:6878", "refused")
    ]
    watched.look(e0=EngineState.UP)
    watched.look(e0=EngineState.DRAINING, e1=EngineState.UNKNOWN)
    assert watched.events == ["engine_down", "engine_up"]
    watched.look(e1=EngineState.DOWN)
    del watched.engines[1]
    watched.look()
    assert watched.events == ["engine_down", "engine_up", "engine_down"]


def test_every_event_is_a_sentence() -> None:
    events = ("channel_down", "channel_up", "failover", "engine_down", "engine_up")
    sentences = {Happening(event, 1, name="X", source="s").sentence for event in events}
    assert len(sentences) == len(events)
    assert all("X" in sentence for sentence in sentences)


async def test_a_running_server_tells_of_a_cut_and_of_engines_that_die(tmp_path: Path) -> None:
    contents = quick_contents()
    async with stage(
        tmp_path, contents, engines=2, timeouts=Timeouts.for_tests(recover_seconds=2.0)
    ) as made:
        told: list[Happening] = []
        Happenings(made.worker.hub, told.append)
        made.worker.happenings._tell = told.append
        player = await made.play(contents[0])
        await player.more(60_000)
        channel = made.channel()
        assert channel is not None
        first = next(engine for engine in made.engines if engine.url == channel.engine)
        await first.stop()
        await until(lambda: any(one.event == "failover" for one in told), "another engine")
        failover = next(one for one in told if one.event == "failover")
        assert failover.before != failover.source and failover.reason
        await until(lambda: any(one.event == "engine_down" for one in told), "an engine is down")
        for engine in made.engines:
            await engine.stop()
        await until(lambda: any(one.event == "channel_down" for one in told), "all are gone")
