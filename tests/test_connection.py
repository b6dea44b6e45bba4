"""A connection's life as a table, and the exchange that a handler holds."""

from __future__ import annotations

import asyncio
import re
from itertools import product

import pytest
from wire import Clock, FakeTransport, make_server

from rawstream import connection
from rawstream.connection import Connection, Exchange, State, StreamConnection
from rawstream.http1 import Request, Response


def make_stream(*, chunked: bool = False) -> tuple[StreamConnection, FakeTransport, Exchange]:
    """A stream under way on a fake transport."""
    server = make_server()
    waiting = Connection(server, State.ANSWERING)
    exchange = Exchange(waiting, Request("GET", "/", {}))
    transport = FakeTransport(waiting)
    stream = StreamConnection(
        server,
        transport,
        exchange,
        peer=("192.0.2.7", 1),
        user_agent="VLC",
        task=None,
        chunked=chunked,
    )
    transport.protocol = stream
    exchange.handed_to(stream)
    server.opened(stream)
    return stream, transport, exchange


def test_the_table_in_the_docstring_is_the_table_in_the_code() -> None:
    assert connection.__doc__ is not None
    told: dict[State, set[State]] = {}
    for line in connection.__doc__.splitlines():
        words = re.findall(r"\b[A-Z]{4,}\b", line)
        if len(words) > 1 and all(word in State.__members__ for word in words):
            told[State[words[0]]] = {State[word] for word in words[1:]}
    moves = {state: set(nexts) for state, nexts in connection._MOVES.items() if nexts}
    assert told == moves


@pytest.mark.parametrize(("old", "new"), list(product(State, State)))
def test_a_connection_makes_legal_moves_only(old: State, new: State) -> None:
    moving = Connection(make_server(), old)
    if new in connection._MOVES[old]:
        moving._move(new, 5.0)
        assert (moving.state, moving.deadline) == (new, Clock().now + 5.0)
    else:
        with pytest.raises(AssertionError, match="can't become"):
            moving._move(new)


def test_neither_kind_of_connection_has_a_dictionary() -> None:
    stream, _, exchange = make_stream()
    for thing in (stream, exchange):
        assert not hasattr(thing, "__dict__")


def test_pause_flips_a_flag_and_nothing_else() -> None:
    stream, transport, exchange = make_stream()
    exchange.on_gone = exchange.on_resumed = lambda: pytest.fail("nobody is called")
    stream.pause_writing()
    assert stream.paused
    assert not transport.sent and not transport.closing


def test_resume_tells_the_owner_if_there_is_one() -> None:
    stream, _, exchange = make_stream()
    calls: list[str] = []
    stream.pause_writing()
    stream.resume_writing()
    exchange.on_resumed = lambda: calls.append("resumed")
    stream.resume_writing()
    assert (stream.paused, calls) == (False, ["resumed"])


def test_an_owner_may_end_the_stream_inside_on_gone() -> None:
    stream, transport, exchange = make_stream()
    exchange.on_gone = lambda: (stream.abort(), stream.finish(), stream.write(b"x"))[-1]
    transport.lose()
    assert not transport.sent
    assert stream.state is State.CLOSED


def test_an_owner_may_end_the_stream_inside_on_resumed() -> None:
    stream, transport, exchange = make_stream()
    exchange.on_resumed = stream.finish
    stream.resume_writing()
    assert transport.closing
    stream.resume_writing()
    transport.lose()


def test_a_second_loss_changes_nothing() -> None:
    _, transport, exchange = make_stream()
    gone: list[bool] = []
    exchange.on_gone = lambda: gone.append(exchange.gone)
    transport.lose()
    transport.lose()
    assert gone == [True], "and the exchange knew it when it told"


def test_a_chunked_stream_writes_nothing_for_nothing() -> None:
    stream, transport, _ = make_stream(chunked=True)
    stream.write(b"")
    assert not transport.sent
    stream.write(b"x" * 16)
    assert transport.take() == b"10\r\n" + b"x" * 16 + b"\r\n"


def test_a_failed_handler_does_not_answer_twice() -> None:
    stream, transport, exchange = make_stream()
    stream.finish()
    exchange.fail(Response(500))
    assert not transport.aborted
    assert not transport.sent


def test_the_sink_of_nobody_discards() -> None:
    sink = StreamConnection.of_nobody()
    sink.write(b"x")
    sink.abort()
    sink.finish()
    assert (sink.paused, sink.unsent(), sink.kernel_unsent()) == (True, 0, None)


async def test_a_task_that_outlives_the_stream_is_cancelled() -> None:
    stream, transport, _ = make_stream()
    # type: ignore[assignment]
    stream._task = task = asyncio.create_task(asyncio.Event().wait(), name="feeds a stream")
    await asyncio.sleep(0)
    transport.lose()
    with pytest.raises(asyncio.CancelledError):
        await task
