"""Events to listeners: once written, resumable, and never kept for one who does not read."""

from __future__ import annotations

from typing import Any, cast

import orjson
import pytest

from rawstream.events import EventBus, Listener


class FakeSink:
    def __init__(self) -> None:
        self.data = b""
        self.backlog = 0
        self.ends: list[str] = []

    def write(self, data: bytes) -> None:
        self.data += data

    def unsent(self) -> int:
        return self.backlog

    def finish(self) -> None:
        self.ends.append("finish")

    def abort(self) -> None:
        self.ends.append("abort")

    @property
    def events(self) -> list[tuple[str, str, Any]]:
        """Id, type and data of each."""
        found = []
        for block in self.data.decode().split("\n\n"):
            lines = dict(line.split(": ", 1) for line in block.splitlines() if ": " in line)
            if "data" in lines:
                found.append((lines.get("id", ""), lines["event"], orjson.loads(lines["data"])))
        return found


class FakeExchange:
    gone = False

    def __init__(self) -> None:
        self.sink = FakeSink()
        self.on_gone: Any = None

    def stream(self, headers: Any, content_type: str, *, chunked: bool) -> FakeSink:
        assert (content_type, chunked) == ("text/event-stream", True)
        assert ("Cache-Control", "no-store") in headers
        return self.sink


@pytest.fixture
def bus() -> EventBus:
    return EventBus()


def listen(bus: EventBus, **more: Any) -> tuple[FakeExchange, Listener]:
    exchange = FakeExchange()
    return exchange, bus.listen(cast(Any, exchange), **more)


def test_all_hear_what_is_published_with_its_number(bus: EventBus) -> None:
    one, other = listen(bus)[0], listen(bus)[0]
    bus.publish("history", {"text": "line\nbreak"})
    assert one.sink.events == other.sink.events == [("1", "history", {"text": "line\nbreak"})]
    one.on_gone()
    bus.publish("import", {"n": 2})
    assert len(one.sink.events) == 1
    assert len(bus) == 1


def test_who_comes_back_is_told_what_he_missed(bus: EventBus) -> None:
    for number in range(1, 6):
        bus.publish("history", number)
    found = listen(bus, last_id="3")[0].sink.events
    assert [one[2] for one in found] == [4, 5]
    assert listen(bus)[0].sink.events == []
    assert listen(bus, last_id="nonsense")[0].sink.events == []


def test_how_things_stand_is_told_to_those_who_are_there_or_asked(bus: EventBus) -> None:
    asked, other = listen(bus, keys=frozenset({"a"}))[0], listen(bus)[0]
    bus.tell("live", 1)
    bus.tell("live", 2, key="a")
    assert [one[2] for one in asked.sink.events] == [1, 2]
    assert [one[2] for one in other.sink.events] == [1]
    assert bus.keys == {"a"}
    assert listen(bus, last_id="0")[0].sink.events == []


def test_one_who_does_not_read_is_let_go_and_the_others_hear_on(bus: EventBus) -> None:
    slow, quick = listen(bus)[0], listen(bus)[0]
    slow.sink.backlog = 5_000_000
    bus.publish("history", 1)
    assert (slow.sink.ends, slow.sink.events) == (["abort"], [])
    assert len(quick.sink.events) == 1
    assert len(bus) == 1


def test_one_who_may_not_listen_any_more_is_ended(bus: EventBus) -> None:
    good = [True]
    exchange, _ = listen(bus, is_good=lambda: good[0])
    bus.heartbeat()
    assert exchange.sink.data.endswith(b": here\n\n")
    good[0] = False
    bus.heartbeat()
    assert (exchange.sink.ends, len(bus)) == (["finish"], 0)


def test_the_end_lets_all_go(bus: EventBus) -> None:
    exchange, _ = listen(bus)
    bus.close()
    assert (exchange.sink.ends, len(bus)) == (["finish"], 0)
