"""Events: what is told to whom, how it is taken up again, who is let go."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import orjson
import pytest
from live_show import show
from snapshots import viewer
from stage import Player, quick_contents, stage, until
from test_api import ask

from rawstream import events
from rawstream.errors import ViewerError
from rawstream.events import EventBus, frame
from rawstream.http1 import Request
from rawstream.importer import ListProgress
from rawstream.on_air import EngineView, LiveTotals, Look, Watched
from rawstream.operators import Operator
from rawstream.records import Account
from rawstream.store_credentials import Credential

ADMIN = Operator(Account(1, "admin", "x", admin=True), Credential(1, "session", 1, "d"))
TOTALS = LiveTotals(1, 0, 1, 0, 0, 0, 5, 1)
ENGINE = EngineView(1, "http://e:1", "up", False, True, "3", 0, 0, 4, 0, 0, None)


def heard(data: bytes) -> list[tuple[str, str, Any]]:
    """Each event's id, type and data; a comment's type is ':'."""
    found = []
    for block in data.decode().split("\n\n")[:-1]:
        if block.startswith(":"):
            found.append(("", ":", block))
            continue
        fields = dict(line.split(": ", 1) for line in block.split("\n"))
        found.append((fields["id"], fields["event"], orjson.loads(fields["data"])))
    return found


class FakeStage:
    """What is on air, as a test says; counts how often it is looked at."""

    def __init__(self) -> None:
        self.channels: dict[str, dict[str, Any]] = {"a": channel("a")}
        self.engines = {1: ENGINE}
        self.totals = TOTALS
        self.watching = 2
        self.looks = self.asked = 0

    def look(self) -> Look:
        self.looks += 1
        return Look(dict(self.channels), {}, dict(self.engines), self.totals)

    def viewers_of(self, key: str) -> Watched | None:
        self.asked += 1
        if key == "film":
            return Watched("films", [])
        return Watched("channels", [viewer()] * self.watching) if key in self.channels else None

    def viewer_count(self, key: str) -> int:
        return self.watching


def channel(key: str, **changes: Any) -> dict[str, Any]:
    return {"key": key, "state": "live", "viewer_count": 1, "state_seconds": 0, **changes}


class FakeSink:
    peer = ("10.0.0.9", 1)

    def __init__(self) -> None:
        self.data = b""
        self.paused = False
        self.end = ""

    def write(self, data: bytes) -> None:
        assert not self.paused, "nothing is written to one who does not read"
        self.data += data

    def finish(self) -> None:
        self.end = "finished"

    def abort(self) -> None:
        self.end = "aborted"


class FakeExchange:
    def __init__(self, method: str = "GET") -> None:
        self.request = Request(method, "/api/v1/events", {})
        self.sink = FakeSink()
        self.gone = False
        self.on_gone: Any = None
        self.head: dict[str, str] = {}

    def stream(self, headers: Any, content_type: str, *, chunked: bool) -> Any:
        assert chunked
        self.head = {**dict(headers), "Content-Type": content_type}
        return self.sink


class Hall:
    """A bus with its listeners; its rounds are the test's."""

    def __init__(self) -> None:
        self.now = 0.0
        self.stage = FakeStage()
        self.good = True
        self.bus = EventBus(self.stage, lambda _operator: self.good, clock=lambda: self.now)

    def listen(self, **more: Any) -> FakeExchange:
        exchange = FakeExchange()
        asked: Any = exchange
        self.bus.listen(asked, ADMIN, **more)
        return exchange

    def news(self, exchange: FakeExchange, seconds: float = 1.0) -> list[tuple[str, str, Any]]:
        exchange.sink.data = b""
        self.now += seconds
        self.bus.round()
        return heard(exchange.sink.data)


@pytest.fixture
async def hall(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Hall]:
    monkeypatch.setattr(events, "ROUND_SECONDS", 3600.0)
    made = Hall()
    yield made
    made.bus.close()
    await asyncio.sleep(0)


def test_an_event_is_three_lines_whatever_is_in_it() -> None:
    text = frame("r-1", "live", {"name": "a\n\r\u2028<img>"})
    assert text.count(b"\n") == 4
    assert heard(text) == [("r-1", "live", {"name": "a\n\r\u2028<img>"})]


async def test_who_begins_to_listen_is_told_all_that_is_so(hall: Hall) -> None:
    exchange = hall.listen()
    assert exchange.head["Content-Type"] == "text/event-stream"
    assert exchange.head["X-Accel-Buffering"] == "no"
    (_, kind, live), (_, other, engine) = heard(exchange.sink.data)
    assert (kind, live["full"], [c["key"] for c in live["channels"]]) == ("live", True, ["a"])
    assert live["totals"]["uptime_seconds"] == 5
    assert (other, engine["full"]) == ("engine", True)
    assert [one["url"] for one in engine["engines"]] == [ENGINE.url]


async def test_a_round_tells_what_has_changed_once(hall: Hall) -> None:
    exchange = hall.listen()
    assert hall.news(exchange) == [], "nothing is new"
    hall.stage.channels = {
        "a": channel("a", viewer_count=2, state_seconds=9),
        "b": channel("b"),
    }
    ((_, kind, live),) = hall.news(exchange)
    assert (kind, live["full"], live["totals"]) == ("live", False, None)
    assert live["channels"] == [
        {"key": "a", "state_seconds": 9, "viewer_count": 2},
        channel("b"),
    ]
    hall.stage.channels = {"b": channel("b", state_seconds=7)}
    ((_, _, live),) = hall.news(exchange)
    assert (live["channels"], live["gone"]) == ([], ["a"])
    hall.stage.engines = {}
    ((_, kind, engine),) = hall.news(exchange)
    assert (kind, engine) == ("engine", {"full": False, "engines": [], "gone": [1]})


async def test_what_happens_is_told_in_order_and_in_one_write(hall: Hall) -> None:
    exchange = hall.listen()
    hall.bus.tell("ladder", {"rung": "lost"})
    hall.bus.tell("history", {"kind": "login"})
    found = hall.news(exchange)
    assert [(kind, data) for _, kind, data in found] == [
        ("ladder", {"rung": "lost"}),
        ("history", {"kind": "login"}),
    ]
    assert hall.news(exchange) == []


async def test_who_comes_late_hears_of_the_last_steps_of_ladders(hall: Hall) -> None:
    hall.bus.tell("ladder", {"rung": "lost"})
    for number in range(2000):  # viewers come and go
        hall.bus.tell("history", {"n": number})
    hall.bus.tell("ladder", {"rung": "back"})

    def told(**more: Any) -> list[str]:
        found = heard(hall.listen(**more).sink.data)
        return [data.get("rung", kind) for _, kind, data in found]

    assert told(lately=True) == ["lost", "back", "live", "engine"]
    assert told(lately=True, last_id="another-1") == ["lost", "back", "live", "engine"]
    assert told(lately=True, last_id=hall.bus.last_id) == ["live", "engine"]
    assert told() == ["live", "engine"]


async def test_a_stream_is_taken_up_where_it_was_left(hall: Hall) -> None:
    first = hall.listen()
    for number in range(3):
        hall.bus.tell("history", {"n": number})
    ids = [id for id, _, _ in hall.news(first)]
    hall.bus.tell("history", {"n": 3})

    def numbers(**more: str) -> list[int]:
        told = heard(hall.listen(**more).sink.data)
        assert [kind for _, kind, _ in told if kind != "history"] == ["live", "engine"]
        return [data["n"] for _, kind, data in told if kind == "history"]

    assert numbers(last_id=ids[0]) == [1, 2, 3]
    assert numbers(last_id=ids[2]) == [3]
    assert numbers() == [], "who was never here is told what is so"
    for wrong in ("other-1", "x", f"{ids[0].split('-')[0]}-99999", f"{ids[0]}x", "-", "1" * 99):
        assert numbers(last_id=wrong) == []


async def test_what_is_remembered_is_bounded(hall: Hall) -> None:
    first = hall.listen()
    hall.bus.tell("history", {"n": -1})
    ((id, _, _),) = hall.news(first)
    for number in range(5000):
        hall.bus.tell("history", {"n": number})
    told = [data["n"] for _, kind, data in heard(hall.listen(last_id=id).sink.data) if "n" in data]
    assert told == list(range(4000, 5000))


async def test_who_watches_is_looked_up_once_for_all_who_ask(hall: Hall) -> None:
    hall.stage.watching = 3
    pages = [hall.listen(keys=["a"]) for _ in range(5)]
    before = hall.stage.asked
    hall.news(pages[0])
    assert hall.stage.asked == before + 1
    told = [heard(page.sink.data)[-1][2]["channels"][0] for page in pages]
    assert all(len(one["viewers"]) == 3 for one in told)
    hall.stage.watching = 4
    ((_, _, live),) = hall.news(pages[0])
    assert len(live["channels"][0]["viewers"]) == 4


async def test_viewers_are_told_where_they_are_asked_for(hall: Hall) -> None:
    plain = hall.listen()
    asking = hall.listen(keys=["a", "nothing", "film", "a"])
    told = [data for _, kind, data in heard(asking.sink.data) if kind == "live"]
    assert [(c["key"], c["viewer_count"]) for c in told[1]["channels"]] == [("a", 2)]
    assert told[1]["channels"][0]["viewers"][0]["user_agent"] == viewer().user_agent
    assert told[2]["films"] == [{"key": "film", "viewers": [], "viewer_count": 0}]
    asked = hall.stage.asked
    assert hall.news(plain) == []
    assert hall.stage.asked == asked + 3, "of no other, and each once"


async def test_many_viewers_are_told_less_often(hall: Hall) -> None:
    hall.stage.watching = 1000
    asking = hall.listen(keys=["a"])
    told = [bool(hall.news(asking)) for _ in range(10)]
    assert told.count(True) == 2


async def test_without_a_listener_nothing_is_looked_at(hall: Hall) -> None:
    hall.bus.tell("history", {})
    assert (hall.stage.looks, len(hall.bus)) == (0, 0)
    exchange = hall.listen()
    others = [hall.listen() for _ in range(5)]
    hall.bus.round()
    assert hall.stage.looks == 2, "once to begin, and once a round however many listen"
    for one in (exchange, *others):
        one.on_gone()
    hall.bus.round()
    assert (hall.stage.looks, len(hall.bus)) == (2, 0)


async def test_one_who_does_not_read_is_told_nothing_then_all_or_let_go(hall: Hall) -> None:
    slow, stuck, other = hall.listen(), hall.listen(), hall.listen()
    slow.sink.paused = stuck.sink.paused = True
    hall.bus.tell("history", {"n": 1})
    for number in range(10):
        hall.stage.channels = {"a": channel("a", viewer_count=number + 5)}
        assert hall.news(slow) == []
    slow.sink.paused = False
    told = hall.news(slow)
    assert [kind for _, kind, _ in told] == ["history", "live", "engine"]
    assert told[1][2]["full"]
    assert hall.news(slow) == [], "and from then on what is new"
    hall.now += 5
    hall.bus.round()
    assert (stuck.sink.end, slow.sink.end, other.sink.end) == ("aborted", "", "")
    assert len(hall.bus) == 2


async def test_a_silence_is_filled_with_comments(hall: Hall) -> None:
    exchange = hall.listen()
    told = [kind for _ in range(31) for _, kind, _ in hall.news(exchange)]
    assert told == [":", ":"]


async def test_one_who_is_no_operator_any_more_is_let_go(hall: Hall) -> None:
    exchange = hall.listen()
    hall.good = False
    hall.bus.round()
    assert (exchange.sink.end, len(hall.bus)) == ("finished", 0)


async def test_there_is_a_bound_on_listeners_and_none_after_the_end(
    hall: Hall, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(events, "_LISTENERS", 2)
    ones = [hall.listen(), hall.listen()]
    with pytest.raises(ViewerError) as info:
        hall.listen()
    assert info.value.status == 503
    hall.bus.close()
    assert [one.sink.end for one in ones] == ["finished", "finished"]
    with pytest.raises(ViewerError):
        hall.listen()


async def test_head_begins_nothing(hall: Hall) -> None:
    exchange: Any = FakeExchange("HEAD")
    hall.bus.listen(exchange, ADMIN)
    assert (len(hall.bus), hall.stage.looks, exchange.sink.data) == (0, 0, b"")


# -- over the whole server --


class Ear(Player):
    """Listens to the events of a server."""

    def heard(self, kind: str) -> list[Any]:
        text = bytes(self.data)
        whole = text[: text.rfind(b"\n\n") + 2]
        return [data for _, name, data in heard(whole) if name == kind]

    @property
    def picture(self) -> dict[str, dict[str, Any]]:
        """The channels, as a page puts them together."""
        found: dict[str, dict[str, Any]] = {}
        for live in self.heard("live"):
            if live["full"]:
                found.clear()
            for one in live["channels"]:
                found[one["key"]] = {**found.get(one["key"], {}), **one}
            for key in live["gone"]:
                found.pop(key, None)
        return found


async def test_a_channels_life_is_heard_from_its_start_to_its_end(tmp_path: Path) -> None:
    contents = quick_contents()
    async with show(tmp_path, contents) as desk:
        ear = Ear(desk.made.port, "/api/v1/events", [("Cookie", desk.cookie)])
        desk.made.players.append(ear)
        await ear.open()
        await until(lambda: ear.heard("engine") and ear.heard("live"), "all that is so")
        viewer = await desk.made.play(contents[0])
        await viewer.more(60_000)

        def is_shown() -> bool:
            return [(c["state"], c["viewer_count"]) for c in ear.picture.values()] == [("live", 1)]

        await until(is_shown, "the channel and its viewer")
        (key,) = ear.picture
        asking = f"/api/v1/events?viewers={key}"
        close = Ear(desk.made.port, asking, [("Cookie", desk.cookie)])
        desk.made.players.append(close)
        await close.open()
        await until(lambda: close.picture.get(key, {}).get("viewers"), "who watches")
        assert close.picture[key]["viewers"][0]["seconds_behind"] >= 0
        await desk.ask("POST", f"/live/{key}/restart", status=204)
        await until(lambda: len(ear.heard("ladder")) >= 3, "each rung")
        assert [(one["rung"], one["key"]) for one in ear.heard("ladder")][:3] == [
            *[("moved", key), ("session", key), ("back", key)]
        ]
        assert all(abs(one["at"] - time.time()) < 60 for one in ear.heard("ladder"))
        await desk.ask("POST", "/engines", {"url": "http://127.0.0.1:9"}, status=201)
        await until(lambda: any("127.0.0.1:9" in str(e) for e in ear.heard("engine")), "added")
        viewer.leave()
        await until(lambda: not ear.picture, "it is gone")
        desk.worker.refresher.on_progress(ListProgress(3, "done", text="a list: 3 added"))
        await until(lambda: ear.heard("import"), "how far it is")
        assert ear.heard("import")[-1]["step"] == "done"
        desk.worker.books.note("import", text="a list: 3 added")
        await until(lambda: any(h["kind"] == "import" for h in ear.heard("history")), "noted")


async def test_the_end_of_a_session_ends_its_events(tmp_path: Path) -> None:
    async with show(tmp_path, []) as desk:
        ear = await desk.page("/events").open()
        assert (await ask(desk.made, "/api/v1/events", cookie="rawstream_session=x")).status == 401
        await desk.ask("DELETE", "/session", status=204)
        await until(lambda: ear.over, "the stream ends")
        await until(lambda: len(desk.worker.events) == 0, "nobody listens")


async def test_a_server_that_stops_lets_its_listeners_go(tmp_path: Path) -> None:
    async with stage(tmp_path, []) as made:
        login = {"username": "admin", "password": made.worker.first_password}
        answer = await ask(made, "/api/v1/session", "POST", login)
        cookie = answer.headers["set-cookie"].partition(";")[0]
        ear = await made.play("/api/v1/events", cookie=cookie)
        stopping = asyncio.create_task(made.worker.stop(grace_seconds=600))
        await until(lambda: ear.over, "the stream ends")
        await stopping
