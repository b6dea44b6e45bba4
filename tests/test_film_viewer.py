"""A viewer's place in a film, and what is told of him."""

from __future__ import annotations

from typing import Any, cast

import pytest
from test_watchers import FakeLease

from rawstream.byte_range import Span
from rawstream.film_viewer import TAIL_BYTES, Film, FilmViewer
from rawstream.film_web import FilmHead
from rawstream.http1 import Request, Response

FILM = Film("film", "A film", ())


class FakeSink:
    def __init__(self) -> None:
        self.paused = False
        self.written = b""
        self.ends: list[str] = []

    def write(self, data: bytes) -> None:
        self.written += data

    def finish(self) -> None:
        self.ends.append("finish")

    def abort(self) -> None:
        self.ends.append("abort")


class FakeExchange:
    def __init__(self) -> None:
        self.request = Request("GET", "/movie/u/p/5.mp4", {"user-agent": "box"}, peer=("h", 7))
        self.on_gone: Any = None
        self.on_resumed: Any = None
        self.answers: list[Response] = []

    def respond(self, response: Response) -> None:
        self.answers.append(response)


class FakePart:
    def __init__(self, span: Span | None, length: int | None = 1000) -> None:
        self.head = FilmHead(length, seekable=True)
        self.span = span


def viewer(lease: FakeLease | None = None) -> tuple[FilmViewer, FakeExchange]:
    exchange = FakeExchange()
    return FilmViewer(1, FILM, cast(Any, exchange), "ana", cast(Any, lease)), exchange


async def test_his_place_goes_on_with_what_he_is_sent() -> None:
    lease = FakeLease()
    one, _ = viewer(lease)
    assert one.snapshot(one.joined_at).state == "waiting"
    one.part = cast(Any, FakePart(Span(400, 900)))
    sink = FakeSink()
    one.start(cast(Any, sink), one.joined_at)
    assert lease.cut is not None
    one.write(b"x" * 100)
    shown = one.snapshot(one.joined_at + 2)
    assert (shown.state, shown.position, shown.percent) == ("playing", 500, 50.0)
    assert (shown.bytes_sent, shown.seconds, shown.user_agent) == (100, 2.0, "box")
    one.measure(one.joined_at + 4)
    assert one.rate == pytest.approx(200.0)
    sink.paused = True
    assert one.snapshot(one.joined_at).state == "paused"
    one.finish()
    assert (sink.ends, lease.ends) == (["finish"], [100])


async def test_the_last_bytes_are_kept_to_be_shown_again() -> None:
    one, _ = viewer()
    one.part = cast(Any, FakePart(None, None))
    one.start(cast(Any, FakeSink()), one.joined_at)
    sent = bytes(range(256)) * 40
    for at in range(0, len(sent), 1000):
        one.write(sent[at : at + 1000])
        assert sent[: at + 1000].endswith(one.tail[-TAIL_BYTES:])
    assert len(one.tail) >= TAIL_BYTES
    assert one.snapshot(one.joined_at).percent is None


async def test_a_refusal_is_an_answer_before_the_head_and_a_cut_after_it() -> None:
    one, exchange = viewer()
    one.answer(Response(503))
    one.answer(Response(503))
    assert [answer.status for answer in exchange.answers] == [503]
    other, exchange = viewer()
    other.part = cast(Any, FakePart(Span(0, 10)))
    sink = FakeSink()
    other.start(cast(Any, sink), other.joined_at)
    other.answer(Response(503))
    assert (exchange.answers, sink.ends) == ([], ["abort"])


async def test_one_whose_lease_is_withdrawn_is_cut_and_his_task_told() -> None:
    lease = FakeLease()
    one, _ = viewer(lease)
    told: list[bool] = []
    one.gone = lambda: told.append(True)
    one.part = cast(Any, FakePart(Span(0, 10)))
    sink = FakeSink()
    one.start(cast(Any, sink), one.joined_at)
    assert lease.cut is not None
    lease.cut()
    assert (sink.ends, lease.ends, told) == (["abort"], [0], [True])
