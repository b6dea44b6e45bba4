"""The server on a wire: bytes in and out on a fake transport, then a socket pair, then a real
port.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import random
import socket
from collections.abc import Awaitable
from pathlib import Path
from typing import Any

import httptools
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_http1 import REFUSED, SPLITS, at_random, mutated
from wire import (
    HOST,
    Clock,
    accept_pair,
    connect,
    dial,
    eventually,
    hello,
    listening,
    make_server,
    receive,
    send,
    split_answers,
)

from rawstream.config import Limits, Timeouts
from rawstream.connection import State, StreamConnection
from rawstream.errors import ChannelUnavailable, ConfigError, ViewerError
from rawstream.http1 import RequestParser
from rawstream.protocol import Exchange, Request, Response, ServerConnection, Sink

GET = b"GET /x HTTP/1.1\r\n" + HOST + b"\r\n"


class Held:
    """A handler that keeps every exchange."""

    def __init__(self) -> None:
        self.exchanges: list[Exchange] = []
        self.gone = 0

    def __call__(self, request: Request, exchange: Exchange) -> None:
        exchange.on_gone = self.count
        self.exchanges.append(exchange)

    def count(self) -> None:
        self.gone += 1


# -- requests and answers --


async def test_an_answer_has_status_constant_headers_length_and_body() -> None:
    transport = connect(make_server())
    transport.feed(GET)
    assert transport.take() == (
        b"HTTP/1.1 200 OK\r\nServer: test\r\nContent-Type: text/plain; charset=utf-8\r\n"
        b"Content-Length: 6\r\n\r\nGET /x"
    )
    assert not transport.closing


async def test_requests_follow_each_other_on_one_connection() -> None:
    server = make_server()
    transport = connect(server)
    for _ in range(3):
        transport.feed(GET)
        assert split_answers(transport.take())[0][0] == 200
    assert (server.requests, server.accepted) == (3, 1)


async def test_answers_are_counted_by_the_route_that_the_handler_found() -> None:
    def handler(request: Request, exchange: Exchange) -> Response | None:
        if request.segments:
            request.route = "/{what}"
        if request.target == "/stream":
            exchange.stream()
        elif request.target == "/sized":
            exchange.stream(status=206, content_length=2).write(b"ok")
        elif request.target == "/fails":
            raise RuntimeError("a bug")
        else:
            return Response(404)
        return None

    server = make_server(handler)
    for target in (b"/", b"/secret", b"/other", b"/fails", b"/sized", b"/stream"):
        connect(server).feed(b"GET " + target + b" HTTP/1.1\r\nHost: h\r\n\r\n")
    assert server.answers == {("", 4): 1, ("/{what}", 4): 2, ("/{what}", 5): 1, ("/{what}", 2): 2}


async def test_the_peer_is_in_the_request() -> None:
    seen: list[tuple[str, int]] = []

    def handler(request: Request, exchange: Exchange) -> Response:
        seen.append(request.peer)
        return Response()

    connect(make_server(handler)).feed(GET)
    assert seen == [("192.0.2.7", 4242)]


async def test_an_answer_to_head_has_the_same_headers_and_no_body() -> None:
    transport = connect(make_server(lambda request, exchange: Response.text("hello")))
    transport.feed(GET)
    with_body = transport.take()
    transport.feed(GET.replace(b"GET", b"HEAD"))
    assert transport.take() == with_body.removesuffix(b"hello")
    assert not transport.closing


@pytest.mark.parametrize(
    ("line", "told", "closes"),
    [
        (b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", None, False),
        (b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", "close", True),
        (b"GET / HTTP/1.0\r\n\r\n", "close", True),
        (b"GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n", "keep-alive", False),
    ],
)
async def test_the_connection_is_kept_or_closed_as_the_version_says(
    line: bytes, told: str | None, closes: bool
) -> None:
    transport = connect(make_server())
    transport.feed(line)
    ((_, headers, _),) = split_answers(transport.take())
    assert headers.get("Connection") == told
    assert transport.closing is closes


async def test_a_204_has_neither_length_nor_body() -> None:
    transport = connect(make_server(lambda request, exchange: Response(204)))
    transport.feed(GET)
    assert transport.take() == b"HTTP/1.1 204 No Content\r\nServer: test\r\n\r\n"


async def test_a_large_body_is_sent_whole() -> None:
    body = random.Random(1).randbytes(300_000)
    transport = connect(make_server(lambda request, exchange: Response(200, body, "a/b")))
    transport.feed(GET)
    assert split_answers(transport.take())[0][2] == body


async def test_a_viewer_error_becomes_its_status_and_the_connection_goes_on() -> None:
    def handler(request: Request, exchange: Exchange) -> Response:
        raise ChannelUnavailable("no peers", retry_after=5)

    transport = connect(make_server(handler))
    transport.feed(GET)
    ((status, headers, body),) = split_answers(transport.take())
    assert (status, headers["Retry-After"], body) == (503, "5", b"no peers\n")
    assert not transport.closing


async def test_a_bug_in_a_handler_is_500_and_logged_without_the_target(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def handler(request: Request, exchange: Exchange) -> Response:
        raise KeyError("a bug")

    server = make_server(handler)
    transport = connect(server)
    with caplog.at_level(logging.ERROR):
        transport.feed(b"GET /live/ana/s3cret/1 HTTP/1.1\r\n" + HOST + b"\r\n")
    assert split_answers(transport.take())[0][0] == 500
    assert server.failed_requests == 1
    assert "KeyError" in caplog.text
    assert "s3cret" not in caplog.text


async def test_a_header_that_can_not_be_sent_is_500(caplog: pytest.LogCaptureFixture) -> None:
    transport = connect(
        make_server(lambda request, exchange: Response(200, headers=(("X", "a\r\nb"),)))
    )
    transport.feed(GET)
    assert split_answers(transport.take())[0][0] == 500


async def test_an_exchange_is_answered_once() -> None:
    held = Held()
    transport = connect(make_server(held))
    transport.feed(GET)
    held.exchanges[0].respond(Response())
    with pytest.raises(RuntimeError, match="answered"):
        held.exchanges[0].respond(Response())
    with pytest.raises(RuntimeError, match="answered"):
        held.exchanges[0].stream()
    assert len(split_answers(transport.take())) == 1


async def test_a_coroutine_answers_later() -> None:
    waits: asyncio.Event = asyncio.Event()

    async def later(request: Request) -> Response:
        await waits.wait()
        return Response.text(request.target)

    transport = connect(make_server(lambda request, exchange: later(request)))
    transport.feed(GET)
    await asyncio.sleep(0)
    assert not transport.sent
    waits.set()
    await eventually(lambda: transport.sent)
    assert split_answers(transport.take())[0][2] == b"/x"


@pytest.mark.parametrize(
    ("error", "status"), [(ViewerError(404, "nothing here"), 404), (KeyError("a bug"), 500)]
)
async def test_a_coroutine_that_fails_is_told_like_a_function(
    error: Exception, status: int, caplog: pytest.LogCaptureFixture
) -> None:
    async def later() -> Response:
        raise error

    transport = connect(make_server(lambda request, exchange: later()))
    transport.feed(GET)
    await eventually(lambda: transport.sent)
    assert split_answers(transport.take())[0][0] == status


async def test_a_coroutine_is_cancelled_when_its_viewer_leaves() -> None:
    cancelled: list[str] = []

    async def later() -> Response:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            task = asyncio.current_task()
            assert task is not None
            cancelled.append(task.get_name())
            raise
        return Response()

    transport = connect(make_server(lambda request, exchange: later()))
    transport.feed(GET)
    await asyncio.sleep(0)
    transport.lose()
    await eventually(lambda: cancelled)
    assert cancelled == ["request of 192.0.2.7:4242"]


# -- pipelining --


async def test_pipelined_requests_are_answered_in_order() -> None:
    order: list[asyncio.Future[Response]] = []

    def handler(request: Request, exchange: Exchange) -> Awaitable[Response]:
        future: asyncio.Future[Response] = asyncio.get_running_loop().create_future()
        order.append(future)
        return future

    transport = connect(make_server(handler))
    transport.feed(b"".join(b"GET /%d HTTP/1.1\r\n%b\r\n" % (i, HOST) for i in range(3)))
    await asyncio.sleep(0)
    assert len(order) == 1, "the second waits for the first"
    for i in range(3):
        await eventually(lambda i=i: len(order) == i + 1)
        order[i].set_result(Response.text(str(i)))
    await eventually(lambda: transport.sent.endswith(b"2"))
    assert [body for _, _, body in split_answers(transport.take())] == [b"0", b"1", b"2"]


async def test_reading_pauses_above_the_bound_and_goes_on_below() -> None:
    held = Held()
    transport = connect(make_server(held, limits=Limits(pipelined_requests=2)))
    transport.feed(GET)
    assert transport.reading
    transport.feed(GET * 2)
    assert not transport.reading
    held.exchanges[0].respond(Response())
    assert transport.reading
    assert len(held.exchanges) == 2


async def test_a_long_pipeline_takes_turns_with_others() -> None:
    transport = connect(make_server())
    transport.feed(GET * 1000)
    first = transport.sent.count(b"HTTP/1.1 200")
    assert 0 < first < 100
    await eventually(lambda: transport.sent.count(b"HTTP/1.1 200") == 1000)


async def test_the_next_request_waits_until_the_peer_has_taken_the_last_answer() -> None:
    server = make_server(lambda request, exchange: Response(200, b"x" * 1000))
    transport = connect(server, room=500)
    transport.feed(GET * 3)
    assert transport.sent.count(b"HTTP/1.1 200") == 1
    assert transport.protocol.state is State.FLUSHING
    transport.take()
    assert transport.sent.count(b"HTTP/1.1 200") == 1
    transport.take()
    assert server.requests == 3


async def test_requests_behind_a_last_one_are_not_answered() -> None:
    transport = connect(make_server())
    transport.feed(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n" + GET)
    assert len(split_answers(transport.take())) == 1
    assert transport.closing


# -- refusals --


@pytest.mark.parametrize("split", SPLITS)
@pytest.mark.parametrize("path", REFUSED, ids=lambda path: path.stem)
async def test_bad_bytes_get_their_status_and_no_handler_sees_them(path: Path, split: Any) -> None:
    server = make_server()
    transport = connect(server)
    for piece in split(path.read_bytes()):
        transport.feed(piece)
    ((status, headers, _),) = split_answers(transport.take())
    assert status == int(path.stem.partition("-")[0])
    assert headers["Connection"] == "close"
    assert (server.requests, server.bad_requests) == (0, 1)
    assert transport.eof_written, "the peer can read the answer before the end"
    transport.feed(b"more")
    assert not transport.sent
    assert not transport.protocol.eof_received()


async def test_good_requests_before_bad_bytes_are_answered_first() -> None:
    held = Held()
    transport = connect(make_server(held))
    transport.feed(GET + b"rubbish\r\n\r\n")
    assert not transport.sent
    held.exchanges[0].respond(Response.text("good"))
    assert [status for status, _, _ in split_answers(transport.take())] == [200, 501]


@settings(max_examples=300, deadline=None)
@given(raw=mutated(), seed=st.integers(0, 1000))
def test_whatever_comes_the_server_answers_waits_or_closes(raw: bytes, seed: int) -> None:
    async def play() -> None:
        clock = Clock()
        server = make_server(clock=clock)
        transport = connect(server)
        for piece in at_random(raw, seed):
            transport.feed(piece)
        await asyncio.sleep(0)
        answered = transport.take()
        for status, _, _ in split_answers(answered.replace(b"HTTP/1.1 100 Continue\r\n\r\n", b"")):
            assert status in (200, 400, 408, 413, 414, 417, 431, 501, 505)
        assert transport.closing or transport.protocol.state in (
            State.IDLE,
            State.HEAD,
            State.BODY,
            State.DRAINING,
        )
        clock.now += 1000
        server.sweep(clock.now)
        clock.now += 1000
        server.sweep(clock.now)
        assert transport.closing, "nobody stays for ever"
        transport.lose()
        assert not server.connections

    asyncio.run(play())


# -- bodies --


async def test_a_client_that_expects_100_is_told_to_continue_once() -> None:
    transport = connect(make_server(lambda request, exchange: Response(200, request.body)))
    transport.feed(
        b"POST / HTTP/1.1\r\n" + HOST + b"Expect: 100-continue\r\nContent-Length: 4\r\n\r\n"
    )
    assert transport.take() == b"HTTP/1.1 100 Continue\r\n\r\n"
    transport.feed(b"ab")
    assert not transport.sent
    transport.feed(b"cd")
    assert split_answers(transport.take())[0][2] == b"abcd"


async def test_a_body_too_large_is_refused_instead_of_continued() -> None:
    transport = connect(make_server(limits=Limits(request_body_bytes=3)))
    transport.feed(
        b"POST / HTTP/1.1\r\n" + HOST + b"Expect: 100-continue\r\nContent-Length: 4\r\n\r\n"
    )
    assert split_answers(transport.take())[0][0] == 413


# -- on hold --


async def test_a_viewer_on_hold_is_answered_later() -> None:
    held = Held()
    transport = connect(make_server(held))
    transport.feed(GET)
    assert transport.protocol.state is State.ANSWERING
    assert transport.protocol.deadline == float("inf")
    held.exchanges[0].respond(Response(503))
    assert split_answers(transport.take())[0][0] == 503
    transport.lose()
    assert held.gone == 0, "a finished answer can't be lost"


@pytest.mark.parametrize("ending", ["eof", "reset", "close"])
async def test_a_viewer_who_leaves_on_hold_is_gone_once(ending: str) -> None:
    held = Held()
    server = make_server(held)
    transport = connect(server)
    transport.feed(GET)
    if ending == "eof":
        assert not transport.protocol.eof_received()
        assert transport.aborted
    transport.lose(ConnectionResetError() if ending == "reset" else None)
    exchange = held.exchanges[0]
    assert (held.gone, exchange.gone) == (1, True)
    exchange.respond(Response())
    sink = exchange.stream()
    sink.write(b"x")
    sink.finish()
    sink.abort()
    assert (sink.paused, sink.unsent(), sink.kernel_unsent()) == (True, 0, None)
    assert not transport.sent
    assert not server.connections


@pytest.mark.parametrize("leaves", ["before the task ends", "after it"])
async def test_a_coroutine_may_put_its_viewer_on_hold(leaves: str) -> None:
    held = Held()
    ready = asyncio.Event()

    async def later(request: Request, exchange: Exchange) -> None:
        held(request, exchange)
        await ready.wait()

    server = make_server(later)
    transport = connect(server)
    transport.feed(GET)
    await eventually(lambda: held.exchanges)
    if leaves == "before the task ends":
        assert transport.protocol.eof_received()
    ready.set()
    await eventually(lambda: not server._tasks)
    if leaves == "after it":
        assert held.gone == 0
        assert not transport.protocol.eof_received()
    assert (held.gone, transport.aborted) == (1, True)
    assert not server.connections


async def test_a_half_close_behind_a_whole_request_still_gets_the_answer() -> None:
    future: asyncio.Future[Response] = asyncio.get_running_loop().create_future()
    transport = connect(make_server(lambda request, exchange: future))
    transport.feed(GET)
    assert transport.protocol.eof_received(), "our side stays open"
    future.set_result(Response.text("late"))
    await eventually(lambda: transport.closing)
    assert split_answers(transport.take())[0][2] == b"late"


async def test_a_half_close_between_requests_closes() -> None:
    transport = connect(make_server())
    transport.feed(GET)
    assert not transport.protocol.eof_received()


# -- streams --


class Streams(Held):
    """A handler that opens a stream at once."""

    def __init__(self, **options: Any) -> None:
        super().__init__()
        self.options = options
        self.sinks: list[Sink] = []
        self.resumed = 0

    def __call__(self, request: Request, exchange: Exchange) -> None:
        super().__call__(request, exchange)
        exchange.on_resumed = self.count_resumed
        self.sinks.append(exchange.stream(**self.options))

    def count_resumed(self) -> None:
        self.resumed += 1


async def test_a_stream_is_raw_until_the_end() -> None:
    streams = Streams(headers=(("Cache-Control", "no-store"),))
    transport = connect(make_server(streams))
    transport.feed(GET)
    sink = streams.sinks[0]
    sink.write(b"G" * 188)
    assert transport.take() == (
        b"HTTP/1.1 200 OK\r\nServer: test\r\nContent-Type: video/mp2t\r\n"
        b"Cache-Control: no-store\r\nConnection: close\r\n\r\n" + b"G" * 188
    )
    assert sink.write == transport.write, "no frame of ours lies in between"
    sink.finish()
    sink.finish()
    sink.write(b"late")
    transport.lose()
    assert transport.closing
    assert not transport.sent
    assert streams.gone == 0, "the owner ended it himself"


async def test_a_stream_knows_its_viewer() -> None:
    streams = Streams()
    transport = connect(make_server(streams))
    transport.feed(b"GET / HTTP/1.1\r\n" + HOST + b"User-Agent: VLC\r\n\r\n")
    assert (streams.sinks[0].user_agent, streams.sinks[0].peer) == ("VLC", ("192.0.2.7", 4242))


async def test_a_chunked_stream_is_framed_and_ended_for_http_1_1() -> None:
    streams = Streams(chunked=True, content_type="text/event-stream")
    transport = connect(make_server(streams))
    transport.feed(GET)
    assert b"Transfer-Encoding: chunked\r\n" in transport.take()
    streams.sinks[0].write(b"hello world")
    streams.sinks[0].write(b"")
    streams.sinks[0].finish()
    assert transport.take() == b"b\r\nhello world\r\n0\r\n\r\n"


async def test_a_chunked_stream_is_raw_for_http_1_0() -> None:
    streams = Streams(chunked=True)
    transport = connect(make_server(streams))
    transport.feed(b"GET / HTTP/1.0\r\n\r\n")
    assert b"chunked" not in transport.take()
    streams.sinks[0].write(b"hello")
    assert transport.take() == b"hello"


async def test_head_of_a_stream_is_its_head_and_lets_the_owner_go() -> None:
    streams = Streams()
    transport = connect(make_server(streams))
    transport.feed(GET)
    head = transport.take()
    transport = connect(make_server(streams))
    transport.feed(GET.replace(b"GET", b"HEAD"))
    assert transport.take() == head
    streams.sinks[1].write(b"x")
    assert not transport.sent
    assert streams.sinks[1].paused
    assert transport.closing
    transport.lose()
    assert streams.gone == 1


async def test_pause_flips_a_flag_and_resume_tells_the_owner() -> None:
    streams = Streams()
    transport = connect(make_server(streams), room=1000)
    transport.feed(GET)
    sink = streams.sinks[0]
    assert not sink.paused
    sink.write(b"x" * 2000)
    assert sink.paused
    assert sink.unsent() > 1000
    assert streams.resumed == 0
    transport.take()
    assert (sink.paused, streams.resumed) == (False, 1)


@pytest.mark.parametrize("ending", ["eof", "reset", "abort"])
async def test_a_streaming_viewer_is_gone_once(ending: str) -> None:
    streams = Streams()
    server = make_server(streams)
    transport = connect(server)
    transport.feed(GET)
    sink = streams.sinks[0]
    if ending == "eof":
        assert not transport.protocol.eof_received()
        assert streams.gone == 1
    elif ending == "abort":
        sink.abort()
        sink.abort()
        assert transport.aborted
        assert streams.gone == 0, "told in a later turn, not inside the owner's own call"
    transport.lose(ConnectionResetError() if ending == "reset" else None)
    assert streams.gone == 1
    transport.sent.clear()
    sink.write(b"late")
    sink.finish()
    assert not transport.sent
    assert not server.connections


async def test_what_a_streaming_viewer_sends_is_discarded_and_bounded() -> None:
    streams = Streams()
    server = make_server(streams, limits=Limits(request_body_bytes=1000))
    transport = connect(server)
    transport.feed(GET + GET)
    transport.feed(GET)
    assert server.requests == 1
    assert not transport.closing
    transport.feed(b"x" * 1000)
    assert transport.aborted


async def test_reading_goes_on_when_a_stream_begins_behind_a_full_pipeline() -> None:
    held = Held()
    transport = connect(make_server(held, limits=Limits(pipelined_requests=1)))
    transport.feed(GET * 3)
    assert not transport.reading
    held.exchanges[0].stream()
    assert transport.reading, "else the viewer's end would not be seen"


async def test_a_handler_that_fails_behind_its_stream_cuts_it(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def handler(request: Request, exchange: Exchange) -> None:
        exchange.stream()
        raise KeyError("a bug")

    transport = connect(make_server(handler))
    transport.feed(GET)
    assert transport.aborted
    assert transport.sent.count(b"HTTP/1.1") == 1


async def test_the_request_is_dropped_when_the_stream_begins() -> None:
    held = Held()
    transport = connect(make_server(held))
    transport.feed(GET)
    held.exchanges[0].stream()
    assert isinstance(transport.protocol, StreamConnection)
    with pytest.raises(AssertionError, match="dropped"):
        _ = held.exchanges[0].request


# -- bodies of a known length --


class Sized(Held):
    """Answers each request with the head of ten bytes and keeps the sink."""

    def __init__(self, **more: Any) -> None:
        super().__init__()
        self.more = {"status": 206, "content_length": 10, **more}
        self.sinks: list[Sink] = []
        self.resumed = 0

    def __call__(self, request: Request, exchange: Exchange) -> None:
        super().__call__(request, exchange)
        exchange.on_resumed = self.resume
        self.sinks.append(exchange.stream((("X-A", "b"),), "video/mp4", **self.more))

    def resume(self) -> None:
        self.resumed += 1


async def test_a_body_of_a_known_length_leaves_the_connection_for_the_next_request() -> None:
    films = Sized()
    server = make_server(films)
    transport = connect(server)
    for _ in range(2):
        transport.feed(GET)
        (sink,) = films.sinks
        sink.write(b"01234")
        sink.write(b"56789")
        sink.finish()
        sink.finish()
        assert transport.take() == (
            b"HTTP/1.1 206 Partial Content\r\nServer: test\r\nContent-Type: video/mp4\r\n"
            b"Content-Length: 10\r\nX-A: b\r\n\r\n0123456789"
        )
        assert not transport.closing
        films.sinks.clear()
    assert films.gone == 0
    (connection,) = server.connections
    assert connection.state is State.IDLE


async def test_the_next_request_waits_for_the_end_of_the_body() -> None:
    films = Sized()
    transport = connect(make_server(films))
    transport.feed(GET + GET[:10])
    transport.feed(GET[10:])
    assert len(films.sinks) == 1
    films.sinks[0].write(b"0" * 10)
    assert len(films.sinks) == 1
    films.sinks[0].finish()
    assert len(films.sinks) == 2


async def test_a_body_that_ends_short_is_a_reset_and_one_that_is_too_long_a_bug() -> None:
    films = Sized()
    transport = connect(make_server(films))
    transport.feed(GET)
    films.sinks[0].write(b"0" * 9)
    with pytest.raises(ValueError, match="more than the length"):
        films.sinks[0].write(b"12")
    films.sinks[0].finish()
    assert transport.aborted
    transport.lose()
    assert films.gone == 1
    films.sinks[0].write(b"0" * 99)  # to nobody


@pytest.mark.parametrize("ending", ["eof", "lost", "abort"])
async def test_a_viewer_of_a_known_length_is_gone_once(ending: str) -> None:
    films = Sized()
    server = make_server(films)
    transport = connect(server)
    transport.feed(GET)
    match ending:
        case "eof":
            transport.protocol.eof_received()
        case "lost":
            transport.protocol.connection_lost(None)
        case _:
            films.sinks[0].abort()
            transport.lose()
    assert films.gone == 1
    films.sinks[0].write(b"x")
    films.sinks[0].finish()
    assert films.sinks[0].paused
    assert (films.gone, server.connections) == (1, set())


async def test_a_known_length_pauses_resumes_and_flushes() -> None:
    films = Sized()
    server = make_server(films)
    transport = connect(server)
    transport.feed(GET)
    (connection,) = server.connections
    connection.pause_writing()
    assert films.sinks[0].paused
    transport.protocol.resume_writing()
    assert (films.sinks[0].paused, films.resumed) == (False, 1)
    films.sinks[0].write(b"0" * 10)
    connection.pause_writing()
    films.sinks[0].finish()
    assert connection.state is State.FLUSHING
    transport.feed(GET)
    assert len(films.sinks) == 1
    transport.protocol.resume_writing()
    assert (connection.state, films.resumed, len(films.sinks)) == (State.SENDING, 1, 2)


async def test_head_of_a_known_length_tells_it_and_goes_on() -> None:
    films = Sized()
    transport = connect(make_server(films))
    for _ in range(2):
        transport.feed(GET.replace(b"GET", b"HEAD", 1))
        films.sinks[-1].write(b"nobody reads this")
        assert transport.take().endswith(b"Content-Length: 10\r\nX-A: b\r\n\r\n")
    assert films.gone == 0


async def test_a_last_request_is_closed_behind_its_body() -> None:
    films = Sized()
    transport = connect(make_server(films))
    transport.feed(GET.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
    films.sinks[0].write(b"0" * 10)
    assert not transport.closing
    films.sinks[0].finish()
    assert transport.closing
    assert b"Connection: close" in transport.take()


async def test_the_kernel_lets_a_film_be_paused_and_a_stream_not(tmp_path: Path) -> None:
    films = Sized()
    server = make_server(films, timeouts=Timeouts())
    ((host, port),) = await server.listen("127.0.0.1", 0)
    reader, writer = await asyncio.open_connection(host, port)
    writer.write(GET)
    await reader.readuntil(b"\r\n\r\n")
    (connection,) = server.connections
    sock = connection._tcp_socket()
    assert sock is not None

    def user_timeout() -> int:
        return sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT)

    assert user_timeout() == 0
    films.sinks[0].write(b"0" * 10)
    films.sinks[0].finish()
    assert user_timeout() == 75_000
    writer.close()
    await server.shutdown(1.0)


# -- deadlines: the test moves the clock and calls the sweep --


async def test_a_half_sent_head_is_answered_408() -> None:
    clock = Clock()
    server = make_server(clock=clock)
    transport = connect(server)
    transport.feed(GET[:10])
    clock.now += server.timeouts.request_head_seconds - 0.1
    assert server.sweep(clock.now) == 0
    transport.feed(GET[10:12])
    clock.now += 0.2
    assert server.sweep(clock.now) == 1, "trickled bytes buy no time"
    assert split_answers(transport.take())[0][0] == 408
    assert server.timed_out == 1


async def test_a_socket_that_says_nothing_is_closed_without_a_word() -> None:
    clock = Clock()
    server = make_server(clock=clock)
    transport = connect(server)
    clock.now += server.timeouts.request_head_seconds + 0.1
    server.sweep(clock.now)
    assert transport.closing
    assert not transport.sent


async def test_a_body_that_does_not_come_is_answered_408() -> None:
    clock = Clock()
    server = make_server(clock=clock)
    transport = connect(server)
    transport.feed(b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: 5\r\n\r\nhel")
    clock.now += server.timeouts.request_body_seconds + 0.1
    server.sweep(clock.now)
    assert split_answers(transport.take())[0][0] == 408


async def test_an_idle_connection_is_closed_after_keep_alive() -> None:
    clock = Clock()
    server = make_server(clock=clock)
    transport = connect(server)
    transport.feed(GET)
    transport.take()
    clock.now += server.timeouts.keep_alive_seconds - 0.1
    assert server.sweep(clock.now) == 0
    clock.now += 0.2
    server.sweep(clock.now)
    assert transport.closing
    assert not transport.sent


async def test_a_second_head_has_its_own_deadline() -> None:
    clock = Clock()
    server = make_server(clock=clock)
    transport = connect(server)
    transport.feed(GET)
    transport.take()
    clock.now += server.timeouts.request_head_seconds + 1
    transport.feed(GET[:5])
    assert server.sweep(clock.now) == 0
    clock.now += server.timeouts.request_head_seconds + 0.1
    assert server.sweep(clock.now) == 1
    assert split_answers(transport.take())[0][0] == 408


async def test_a_peer_that_does_not_take_its_answer_is_aborted() -> None:
    clock = Clock()
    server = make_server(lambda request, exchange: Response(200, b"x" * 1000), clock=clock)
    transport = connect(server, room=100)
    transport.feed(GET)
    for expected in (False, True):
        clock.now += server.timeouts.drain_seconds + 0.1
        server.sweep(clock.now)
        assert transport.aborted is expected


async def test_a_peer_that_takes_its_answer_slowly_is_left_in_peace() -> None:
    clock = Clock()
    server = make_server(lambda request, exchange: Response(200, b"x" * 1000), clock=clock)
    transport = connect(server, room=100)
    transport.feed(GET.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
    for _ in range(20):
        clock.now += server.timeouts.drain_seconds + 0.1
        transport.queued -= 10
        server.sweep(clock.now)
        assert not transport.aborted
    for _ in range(2):
        clock.now += server.timeouts.drain_seconds + 0.1
        server.sweep(clock.now)
    assert transport.aborted


async def test_a_peer_that_does_not_close_behind_its_refusal_is_aborted() -> None:
    clock = Clock()
    server = make_server(clock=clock)
    transport = connect(server)
    transport.feed(b"rubbish\r\n\r\n")
    assert not transport.closing
    clock.now += server.timeouts.drain_seconds + 0.1
    server.sweep(clock.now)
    assert transport.aborted


async def test_a_finished_stream_that_is_not_taken_is_aborted() -> None:
    clock = Clock()
    streams = Streams()
    server = make_server(streams, clock=clock)
    transport = connect(server, room=100)
    transport.feed(GET)
    streams.sinks[0].write(b"x" * 1000)
    streams.sinks[0].finish()
    for expected in (False, True):
        clock.now += server.timeouts.drain_seconds + 0.1
        server.sweep(clock.now)
        assert transport.aborted is expected


async def test_neither_a_stream_nor_a_viewer_on_hold_has_a_deadline() -> None:
    clock = Clock()
    server = make_server(Streams(), clock=clock)
    connect(server).feed(GET)
    server.handler = Held()
    connect(server).feed(GET)
    clock.now += 1e6
    assert server.sweep(clock.now) == 0


# -- nothing is left --


def of_ours() -> list[object]:
    """The objects of one connection that are alive."""
    kinds = (
        ServerConnection,
        StreamConnection,
        Exchange,
        Request,
        RequestParser,
        httptools.HttpRequestParser,
    )
    return [found for found in gc.get_objects() if isinstance(found, kinds)]


@pytest.mark.parametrize(
    "kind", ["answered", "held", "streaming", "refused", "half a head", "task"]
)
async def test_a_closed_connection_leaves_no_object_behind(kind: str) -> None:
    streams, held = Streams(), Held()

    async def never() -> Response:
        await asyncio.Event().wait()
        return Response()

    handler: Any = {
        "answered": hello,
        "held": held,
        "streaming": streams,
        "refused": hello,
        "half a head": hello,
        "task": lambda request, exchange: never(),
    }[kind]
    raw = {"refused": b"rubbish\r\n\r\n", "half a head": GET[:9]}.get(kind, GET)
    server = make_server(handler)
    RequestParser(Limits(), server.seen).feed(GET)  # the server remembers it, not the connection
    gc.collect()
    gc.disable()
    try:
        before = of_ours()
        transport = connect(server)
        transport.feed(raw)
        await asyncio.sleep(0)
        assert len(of_ours()) > len(before)
        transport.lose()
        transport.protocol = None
        streams.sinks.clear()
        streams.exchanges.clear()
        held.exchanges.clear()
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert not server._tasks
        assert len(of_ours()) == len(before), "`before` keeps what other tests have left"
    finally:
        gc.enable()


# -- real sockets --


async def test_a_socket_pair_carries_requests_and_a_stream() -> None:
    streams = Streams()
    server = make_server(
        lambda request, exchange: (
            streams(request, exchange) if request.target == "/stream" else Response.text("hello")
        )
    )
    viewer = await accept_pair(server)
    with viewer:
        await send(viewer, GET)
        assert (await receive(viewer, b"hello")).startswith(b"HTTP/1.1 200 OK\r\n")
        await send(viewer, GET.replace(b"/x", b"/stream"))
        await receive(viewer, b"\r\n\r\n")
        sink = streams.sinks[0]
        assert sink.peer == ("", 0)
        sink.write(b"G" * 188)
        assert await receive(viewer, b"G" * 188) == b"G" * 188
        assert sink.kernel_unsent() is None, "a Unix socket has no TCP_INFO"
    await eventually(lambda: streams.gone == 1)
    assert not server.connections


async def test_a_listening_server_answers_on_both_families() -> None:
    server = make_server()
    addresses = await server.listen("", 0)
    try:
        assert len({port for _, port in addresses}) == 1
        for host, port in addresses:
            target = "::1" if ":" in host else "127.0.0.1"
            _, writer = opened = await asyncio.open_connection(target, port)
            writer.write(GET)
            assert await opened[0].readuntil(b"GET /x")
            writer.close()
            await writer.wait_closed()
    finally:
        assert await server.shutdown(5) == 0


async def test_several_ports_may_be_listened_on() -> None:
    server = make_server()
    await server.listen("127.0.0.1", 0)
    await server.listen("127.0.0.1", 0)
    await server.shutdown(0)


async def test_a_port_taken_is_one_clear_line() -> None:
    server = make_server()
    async with listening(server) as port:
        with pytest.raises(ConfigError, match=f"port {port} is already in use"):
            await make_server().listen("127.0.0.1", port)


async def test_the_date_is_written_by_the_tick_and_not_per_answer() -> None:
    server = make_server()
    async with listening(server) as port:
        with await dial(port) as viewer:
            await send(viewer, GET)
            answer = await receive(viewer, b"GET /x")
    assert server.constant_headers.startswith(b"Server: rawstream\r\nDate: ")
    assert server.constant_headers in answer


async def test_a_unix_socket_is_served_and_removed(tmp_path: Path) -> None:
    server = make_server()
    path = tmp_path / "relay.sock"
    await server.listen_unix(path)
    assert path.stat().st_mode & 0o777 == 0o600
    reader, writer = await asyncio.open_unix_connection(str(path))
    writer.write(GET)
    assert await reader.readuntil(b"GET /x")
    writer.close()
    await server.shutdown(5)
    assert not path.exists()


async def test_accepted_sockets_have_the_options_of_a_viewer() -> None:
    streams = Streams()
    server = make_server(streams)
    async with listening(server) as port:
        with await dial(port) as viewer:
            await send(viewer, GET)
            await eventually(lambda: streams.sinks)
            (connection,) = server.connections
            assert connection._transport is not None
            sock = connection._transport.get_extra_info("socket")
            tcp = socket.IPPROTO_TCP
            assert sock.getsockopt(tcp, socket.TCP_NODELAY)
            assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
            assert (
                sock.getsockopt(tcp, socket.TCP_NOTSENT_LOWAT) == server.limits.not_sent_low_bytes
            )
            timeout_ms = sock.getsockopt(tcp, socket.TCP_USER_TIMEOUT)
            assert timeout_ms > server.timeouts.viewer_stall_seconds * 1000
            # type: ignore[attr-defined]
            low, high = connection._transport.get_write_buffer_limits()
            assert (low, high) == (server.limits.write_low_bytes, server.limits.write_high_bytes)


async def test_the_kernel_tells_what_a_stalled_viewer_has_not_taken() -> None:
    streams = Streams()
    server = make_server(streams)
    async with listening(server) as port:
        with await dial(port) as viewer:
            await send(viewer, GET)
            await eventually(lambda: streams.sinks)
            sink = streams.sinks[0]
            written = 0
            while not sink.paused:
                sink.write(b"x" * 65536)
                written += 65536
                await asyncio.sleep(0)
            unsent = sink.unsent()
            kernel = sink.kernel_unsent()
            assert unsent > 0
            assert kernel is not None and kernel[0] > 0
            while streams.resumed == 0:
                await asyncio.get_running_loop().sock_recv(viewer, 1 << 20)
            later = sink.kernel_unsent()
            assert later is not None and later[1] > kernel[1]


async def test_an_aborted_viewer_sees_a_reset() -> None:
    streams = Streams()
    server = make_server(streams)
    async with listening(server) as port:
        with await dial(port) as viewer:
            await send(viewer, GET)
            await receive(viewer, b"\r\n\r\n")
            streams.sinks[0].abort()
            with pytest.raises(ConnectionResetError):
                await receive(viewer)
            assert streams.gone == 1


async def test_a_finished_stream_arrives_whole_at_a_slow_viewer() -> None:
    streams = Streams()
    server = make_server(streams)
    body = random.Random(2).randbytes(8_000_000)
    async with listening(server) as port:
        with await dial(port) as viewer:
            await send(viewer, GET)
            head = await receive(viewer, b"\r\n\r\n")
            streams.sinks[0].write(body)
            streams.sinks[0].finish()
            assert head.partition(b"\r\n\r\n")[2] + await receive(viewer) == body
            await eventually(lambda: not server.connections)


async def test_a_refused_client_can_read_why_however_much_it_sends() -> None:
    server = make_server()
    async with listening(server) as port:
        with await dial(port) as viewer:
            await send(viewer, b"GET / HTTP/1.1\r\nA : b\r\n\r\n" + b"x" * 100_000)
            assert (await receive(viewer)).startswith(b"HTTP/1.1 400 Bad Request\r\n")


async def test_connections_above_the_limit_are_told_503_and_counted() -> None:
    held = Held()
    server = make_server(held, limits=Limits(connections=2))
    async with listening(server) as port:
        inside = [await dial(port) for _ in range(2)]
        for sock in inside:
            await send(sock, GET)
        await eventually(lambda: len(held.exchanges) == 2)
        with await dial(port) as outside:
            await send(outside, GET)
            ((status, headers, _),) = split_answers(await receive(outside))
            assert (status, headers["Retry-After"]) == (503, "1")
        assert (server.accepted, server.shed) == (2, 1)
        inside[0].close()
        await eventually(lambda: len(server.connections) == 1)
        with await dial(port) as outside:
            await send(outside, GET)
            await eventually(lambda: len(held.exchanges) == 3)
        inside[1].close()


async def test_a_shed_connection_that_says_nothing_is_ended_by_the_sweep() -> None:
    clock = Clock()
    server = make_server(limits=Limits(connections=1), clock=clock)
    async with listening(server) as port:
        with await dial(port), await dial(port) as outside:
            await eventually(lambda: server.shed == 1)
            server.sweep(clock.now + server.timeouts.request_head_seconds)
            assert await receive(outside) == b""
            await eventually(lambda: not server.shedding)


# -- shutdown --


async def test_shutdown_closes_the_idle_and_waits_for_the_busy() -> None:
    held = Held()
    server = make_server(
        lambda request, exchange: (
            held(request, exchange) if request.target == "/held" else Response.text("quick")
        )
    )
    ((_, port),) = await server.listen("127.0.0.1", 0)
    idle, busy = await dial(port), await dial(port)
    with idle, busy:
        await send(idle, GET)
        await receive(idle, b"quick")
        await send(busy, GET.replace(b"/x", b"/held"))
        await eventually(lambda: held.exchanges)
        ending = asyncio.create_task(server.shutdown(20))
        assert await receive(idle) == b""
        with pytest.raises(ConnectionRefusedError):
            await dial(port)
        assert not ending.done()
        held.exchanges[0].respond(Response.text("last words"))
        ((_, headers, body),) = split_answers(await receive(busy))
        assert (headers["Connection"], body) == ("close", b"last words")
        assert await ending == 0


async def test_shutdown_aborts_who_is_left_and_says_how_many() -> None:
    streams = Streams()
    server = make_server(streams)
    ((_, port),) = await server.listen("127.0.0.1", 0)
    viewers = [await dial(port) for _ in range(3)]
    for viewer in viewers:
        await send(viewer, GET)
    await eventually(lambda: len(streams.sinks) == 3)
    assert await server.shutdown(0.05) == 3
    assert streams.gone == 3
    assert not server.connections
    for viewer in viewers:
        viewer.close()


async def test_force_ends_the_waiting_at_once() -> None:
    streams = Streams()
    server = make_server(streams, timeouts=Timeouts())
    ((_, port),) = await server.listen("127.0.0.1", 0)
    with await dial(port) as viewer:
        await send(viewer, GET)
        await eventually(lambda: streams.sinks)
        ending = asyncio.create_task(server.shutdown(3600))
        await asyncio.sleep(0)
        server.force()
        assert await ending == 1


async def test_shutdown_cancels_what_handlers_still_do() -> None:
    async def never() -> Response:
        await asyncio.Event().wait()
        return Response()

    server = make_server(lambda request, exchange: never())
    ((_, port),) = await server.listen("127.0.0.1", 0)
    with await dial(port) as viewer:
        await send(viewer, GET)
        await eventually(lambda: server._tasks)
        assert await server.shutdown(0.05) == 1
        assert not server._tasks
