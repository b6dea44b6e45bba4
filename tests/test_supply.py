"""The supply alone: made-up sources, a real mux; which rung comes next, and when it is given up."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Collection, Iterator
from typing import Any

import pytest
from stage import until
from ts_clips import clip

from rawstream.config import Limits, Timeouts
from rawstream.engine_answers import Stat
from rawstream.engine_client import Engine
from rawstream.errors import UpstreamError
from rawstream.http_client import Ending
from rawstream.mux import Mux
from rawstream.sources import FeedFailed, NoEngineLeft, Take
from rawstream.supply import Supply
from rawstream.tally import Tally

H264 = clip("h264")
QUICK = Timeouts.for_tests(silence_look_seconds=0.1, silence_act_seconds=0.3, replay_seconds=0.2)


class FakeFeed:
    """A feed that plays the clip once and then stays silent, unless `script` says otherwise."""

    def __init__(self, source: FakeSource, engine: Engine | None, number: int) -> None:
        self.label = f"{source.label} {number}"
        self.engine = engine
        self.infohash: str | None = "1f" * 20
        self.stat = Stat()
        self.gone = False
        self.on_epoch: Callable[[], None] = lambda: None
        self.last_data_at = 0.0
        self.ended: asyncio.Future[tuple[Ending, str]] = asyncio.get_running_loop().create_future()
        self.number = number
        self._source = source

    async def open(self, take: Take, *, patience: tuple[float, float]) -> None:
        self._source.log.append(f"open {self.number}")
        self.ended = asyncio.get_running_loop().create_future()
        script = next(self._source.script, "silent")
        if script == "superseded":
            error = UpstreamError("open", self.label, "superseded", status=403)
            raise FeedFailed(error, self.engine)
        if script == "refuse":
            raise FeedFailed(UpstreamError("open", self.label, "refused"), self.engine)
        self.last_data_at = time.monotonic()
        take(b"no packets here\n" * 65_536 if script == "text" else H264)
        if script == "cut":
            self.ended.set_result((Ending.CUT, "cut"))

    async def look(self) -> None:
        self._source.log.append("look")

    def end_reading(self) -> None:
        pass

    async def close(self) -> None:
        self._source.log.append(f"close {self.number}")


class FakeSource:
    """A source on some engines, with a script of what each opening brings."""

    def __init__(self, *script: str, engines: int = 1, label: str = "source") -> None:
        self.label = label
        self.script: Iterator[str] = iter(script)
        self.engines = [
            Engine(f"http://192.0.2.{n}:6878", 1, timeouts=QUICK, limits=Limits())
            for n in range(engines)
        ]
        self.log: list[str] = []
        self.started: list[int] = []
        self.starts = 0
        self.full_after = 99

    def yields(self, avoid: Collection[Engine]) -> Engine | None:
        return None

    async def start(self, avoid: Collection[Engine]) -> Any:
        if self.starts >= self.full_after:
            raise NoEngineLeft("full", full=True)
        free = [n for n, engine in enumerate(self.engines) if engine not in avoid]
        if not free:
            raise NoEngineLeft("no other engine to ask")
        self.starts += 1
        self.started.append(free[0])
        self.log.append(f"start {self.starts}")
        return FakeFeed(self, self.engines[free[0]], self.starts)


class FakeOwner:
    label = "a channel"

    def __init__(self) -> None:
        self.wanted = True
        self.asked_for_room = 0
        self.told: list[str] = []

    def claim(self, feed: Any) -> None:
        pass

    async def make_room(self) -> bool:
        self.asked_for_room += 1
        return False

    def supply_lost(self) -> None:
        self.told.append("lost")

    def supply_back(self) -> None:
        self.told.append("back")


def made(timeouts: Timeouts = QUICK) -> tuple[Supply, FakeOwner]:
    loop = asyncio.get_running_loop()
    owner = FakeOwner()
    mux = Mux(Limits(), call_soon=loop.call_soon, call_later=loop.call_later)
    return Supply(owner, mux, timeouts), owner


async def closed(supply: Supply, run: asyncio.Task[None]) -> None:
    run.cancel()
    await asyncio.gather(run, return_exceptions=True)
    await supply.close()


async def test_bytes_that_are_no_stream_are_refused_with_their_reason() -> None:
    supply, _owner = made()
    source = FakeSource("text")
    with pytest.raises(UpstreamError, match="no MPEG transport stream"):
        await supply.run([source])
    await supply.close()


async def test_a_superseded_session_is_made_anew_once() -> None:
    supply, _owner = made()
    source = FakeSource("superseded", "superseded", "play")
    with pytest.raises(UpstreamError, match="superseded"):
        await supply.run([source])
    await supply.close()
    again = FakeSource("superseded", "play")
    run = asyncio.create_task(supply.run([again]))
    await until(lambda: again.log.count("open 2") == 1, "a new session")
    await closed(supply, run)


async def test_a_recovery_asks_for_room_on_a_full_engine() -> None:
    supply, owner = made()
    source = FakeSource("cut", "refuse", "play")
    source.full_after = 1
    run = asyncio.create_task(supply.run([source]))
    await until(lambda: owner.asked_for_room == 1, "room is asked for")
    source.full_after = 99
    await until(lambda: "back" in owner.told, "it is back")
    await closed(supply, run)


async def test_a_spare_session_gives_its_slot_back_when_ours_goes_on() -> None:
    supply, _owner = made()
    source = FakeSource("play")
    run = asyncio.create_task(supply.run([source]))
    await until(lambda: supply.feed is not None and source.log == ["start 1", "open 1"], "it plays")
    other = FakeFeed(source, None, 9)
    supply._spare, supply._spare_until = other, 0.0
    await until(lambda: "close 9" in source.log, "the spare is left")
    await closed(supply, run)


async def test_a_cut_is_answered_with_the_same_url_once_and_then_a_new_session() -> None:
    supply, owner = made()
    source = FakeSource("cut", "refuse", "play")
    run = asyncio.create_task(supply.run([source]))
    await until(lambda: owner.told == ["lost", "back"], "it is back")
    assert source.log[:3] == ["start 1", "open 1", "open 1"]
    assert sorted(source.log[3:5]) == ["close 1", "start 2"]
    await closed(supply, run)


async def test_silence_is_looked_at_and_then_left_for_a_new_session() -> None:
    supply, _owner = made()
    source = FakeSource("silent", "play")
    run = asyncio.create_task(supply.run([source]))
    await until(lambda: source.starts == 2, "a new session")
    assert source.log[:3] == ["start 1", "open 1", "look"]
    assert supply.last_error is not None and "silent" in supply.last_error
    await closed(supply, run)


async def test_the_next_engine_is_asked_and_then_the_next_source() -> None:
    supply, _owner = made()
    bad = FakeSource("refuse", "refuse", engines=2, label="bad")
    good = FakeSource("play", label="good")
    run = asyncio.create_task(supply.run([bad, good]))
    await until(lambda: good.starts == 1, "the second source")
    assert bad.started == [0, 1]
    await closed(supply, run)


async def test_the_first_start_tries_everything_once_and_tells_the_last_failure() -> None:
    supply, _owner = made()
    source = FakeSource("refuse", "refuse", "refuse", engines=2)
    with pytest.raises(UpstreamError, match="refused"):
        await supply.run([source])
    assert source.started == [0, 1]
    await supply.close()
    assert source.log.count("close 1") == source.log.count("close 2") == 1


async def test_each_step_of_the_ladder_is_counted_by_its_rung() -> None:
    tally = Tally()
    loop = asyncio.get_running_loop()
    mux = Mux(Limits(), call_soon=loop.call_soon, call_later=loop.call_later)
    supply = Supply(FakeOwner(), mux, QUICK, tally)
    lost = FakeSource("cut", "refuse", "refuse", "refuse", engines=2, label="lost")
    other = FakeSource("refuse", "play", label="other")
    run = asyncio.create_task(supply.run([lost, other]))
    await until(lambda: other.starts == 2, "the second source, around again")
    await closed(supply, run)
    assert tally.steps["same url"] == 1, "the first rung, once"
    assert tally.steps["session"] >= 1
    assert tally.steps["engine"] >= 1
    assert tally.steps["source"] >= 1
    assert tally.steps["pause"] >= 1


async def test_the_first_start_is_no_step_of_the_ladder() -> None:
    tally = Tally()
    loop = asyncio.get_running_loop()
    mux = Mux(Limits(), call_soon=loop.call_soon, call_later=loop.call_later)
    supply = Supply(FakeOwner(), mux, QUICK, tally)
    with pytest.raises(UpstreamError):
        await supply.run([FakeSource("refuse", "refuse", engines=2), FakeSource("refuse")])
    assert not any(tally.steps.values())
    await supply.close()


async def test_the_ladder_ends_with_its_time() -> None:
    supply, owner = made(
        Timeouts.for_tests(recover_seconds=0.5, silence_look_seconds=0.1, silence_act_seconds=0.2)
    )
    source = FakeSource("cut", *["refuse"] * 1000)
    with pytest.raises(UpstreamError, match="refused"):
        await supply.run([source])
    assert owner.told == ["lost"]
    await supply.close()


async def test_every_rung_is_told_with_its_reason() -> None:
    supply, _owner = made()
    told: list[tuple[str, str]] = []
    supply.on_step = lambda rung, text: told.append((rung, text))
    bad = FakeSource("cut", "cut", "refuse", "refuse", engines=2, label="bad")
    good = FakeSource("play", label="good")
    run = asyncio.create_task(supply.run([bad, good]))
    await until(lambda: good.starts == 1 and told[-1][0] == "back", "the second source")
    rungs = [rung for rung, _text in told]
    assert rungs[:4] == ["lost", "same url", "back", "lost"]
    assert rungs[-2:] == ["source", "back"]
    assert {"engine", "failed", "source"} <= set(rungs)
    assert ("source", "good 1") in told
    await closed(supply, run)


async def again(supply: Supply, run: asyncio.Task[None]) -> None:
    """As its channel does when the operator wants another source."""
    run.cancel()
    supply.drop()
    await asyncio.gather(run, return_exceptions=True)


async def test_onward_is_the_next_source_and_after_the_last_the_first() -> None:
    supply, owner = made()
    sources = [FakeSource("play", "play", label=name) for name in "abc"]
    run = asyncio.create_task(supply.run(sources))
    await until(lambda: supply.first_data_at is not None, "it plays")
    for wanted in (1, 2, 0):
        await again(supply, run)
        run = asyncio.create_task(supply.run(sources, onward=True))
        starts = 1 + (wanted == 0)
        await until(lambda w=wanted, n=starts: sources[w].starts == n)
        await until(lambda: owner.told.count("back") >= 1, "it is back")
        owner.told.clear()
    await again(supply, run)
    run = asyncio.create_task(supply.run(sources))
    await until(lambda: sources[0].starts == 3, "else the best")
    await closed(supply, run)
    for source in sources:
        assert sum("close" in line for line in source.log) == source.starts, "each is left"


@pytest.mark.parametrize(
    ("first", "others", "behind"),
    [
        ("abc", "acb", "c"),
        ("abc", "cab", "b"),
        ("abc", "bca", "b"),
        ("abc", "bc", "b"),
        ("rab", "rb", "b"),
        ("rab", "xyb", "y"),
        ("ab", "x", "x"),
    ],
)
async def test_other_sources_leave_the_one_in_use_and_change_what_is_behind_it(
    first: str, others: str, behind: str
) -> None:
    """`a` is in use, `r` has refused."""
    supply, owner = made()
    known = {name: FakeSource("play", "play", label=name) for name in "abcxy"}
    known["r"] = FakeSource("refuse", "play", label="r")
    run = asyncio.create_task(supply.run([known[name] for name in first]))
    await until(lambda: supply.first_data_at is not None, "it plays")
    feed, sources = supply.feed, [known[name] for name in others]
    assert supply.set_sources(sources) is ("a" in others)
    assert supply.feed is feed and owner.told == []
    if "a" not in others:
        with pytest.raises(NoEngineLeft):
            await supply.start_elsewhere(known["a"].engines[0])
    await again(supply, run)
    before = {name: source.starts for name, source in known.items()}
    run = asyncio.create_task(supply.run(sources, onward=True))
    await until(lambda: owner.told.count("back") == 1, "it is back")
    assert [name for name in known if known[name].starts > before[name]] == [behind]
    await closed(supply, run)


async def test_a_source_that_was_taken_away_is_not_tried_in_a_climb_under_way() -> None:
    supply, owner = made()
    lost, gone = FakeSource("cut", "refuse", label="lost"), FakeSource("play", label="gone")
    other = FakeSource("play", label="other")

    def on_step(rung: str, _text: str) -> None:
        if rung == "session":
            supply.set_sources([lost, other])

    supply.on_step = on_step
    run = asyncio.create_task(supply.run([lost, gone]))
    await until(lambda: owner.told[-1:] == ["back"] and other.starts, "the other one")
    assert gone.starts == 0
    await closed(supply, run)


async def test_onward_from_the_only_source_is_another_engine() -> None:
    supply, _owner = made()
    source = FakeSource("play", "play", engines=2)
    run = asyncio.create_task(supply.run([source]))
    await until(lambda: supply.first_data_at is not None, "it plays")
    await again(supply, run)
    run = asyncio.create_task(supply.run([source], onward=True))
    await until(lambda: source.starts == 2)
    assert source.started == [0, 1]
    await closed(supply, run)


@pytest.mark.parametrize("plays", [True, False])
async def test_a_source_that_was_started_elsewhere_follows_or_the_ladder_is_climbed(
    plays: bool,
) -> None:
    supply, owner = made()
    source = FakeSource("play", "play" if plays else "refuse", "play", engines=2)
    run = asyncio.create_task(supply.run([source]))
    await until(lambda: supply.first_data_at is not None, "it plays")
    engine = source.engines[0]
    feed = await supply.start_elsewhere(engine)
    assert (feed.engine, source.log.count("close 1")) == (source.engines[1], 0)
    await again(supply, run)
    supply.follow(feed)
    run = asyncio.create_task(supply.run([source]))
    await until(lambda: "back" in owner.told, "it is back")
    assert source.starts == (2 if plays else 3)
    await closed(supply, run)
    assert sum("close" in line for line in source.log) == source.starts


async def test_a_source_that_was_to_follow_is_left_with_the_rest() -> None:
    supply, _owner = made()
    source = FakeSource("play", engines=2)
    run = asyncio.create_task(supply.run([source]))
    await until(lambda: supply.first_data_at is not None, "it plays")
    supply.follow(await supply.start_elsewhere(source.engines[0]))
    await closed(supply, run)
    assert "close 2" in source.log


async def test_nothing_is_brought_back_for_nobody() -> None:
    supply, owner = made()
    owner.wanted = False
    source = FakeSource("cut")
    await supply.run([source])
    assert source.log == ["start 1", "open 1"]
    await supply.close()


async def test_a_channel_without_a_source_says_so() -> None:
    supply, _owner = made()
    with pytest.raises(UpstreamError, match="no source"):
        await supply.run([])
