"""Fetching and following: every framing, every ending, no socket left behind."""

from __future__ import annotations

import asyncio
import gc
import os
import random
import socket
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any
from urllib.parse import urljoin

import httptools
import pytest
from certificates import self_signed
from hypothesis import given, settings
from hypothesis import strategies as st
from wire import FakeTransport, eventually

from rawstream import http_client
from rawstream.config import Limits
from rawstream.errors import UpstreamError, UpstreamTimeout
from rawstream.http_client import (
    BodyStream,
    ClientConnection,
    ClientResponse,
    Ending,
    open_stream,
    request,
)

OK = b"HTTP/1.1 200 OK\r\n"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"


class Tape:
    """A receiver that remembers."""

    def __init__(self) -> None:
        self.pieces: list[bytes] = []

    def data_received(self, data: bytes) -> None:
        self.pieces.append(data)

    @property
    def data(self) -> bytes:
        return b"".join(self.pieces)


# -- the connection alone: bytes in, body and ending out --


async def play(
    pieces: list[bytes], *, eof: bool = True, limit: int = 65536, **options: Any
) -> tuple[ClientConnection, bytes]:
    tape = Tape()
    connection = ClientConnection(
        b"GET / HTTP/1.1\r\n\r\n", lambda head: tape, head_limit_bytes=limit, **options
    )
    transport = FakeTransport(connection).connect()
    assert transport.take() == b"GET / HTTP/1.1\r\n\r\n"
    for piece in pieces:
        transport.feed(piece)
    if eof:
        connection.eof_received()
        transport.lose()
    return connection, tape.data


def splits(raw: bytes, seed: int = 3) -> list[list[bytes]]:
    chance = random.Random(seed)
    cuts = sorted(chance.randrange(len(raw) + 1) for _ in range(4))
    edges = [0, *cuts, len(raw)]
    return [
        [raw],
        [raw[i : i + 1] for i in range(len(raw))],
        [raw[a:b] for a, b in pairwise(edges) if a != b],
    ]


ANSWERS = [
    ("until close", OK + b"\r\nabc", b"abc", Ending.EOF, "closed"),
    ("HTTP/1.0", b"HTTP/1.0 200 OK\r\n\r\nabc", b"abc", Ending.EOF, "closed"),
    ("no reason", b"HTTP/1.1 200\r\n\r\nabc", b"abc", Ending.EOF, "closed"),
    ("bare LF", b"HTTP/1.1 200 OK\nA: b\n\nabc", b"abc", Ending.EOF, "closed"),
    ("empty until close", OK + b"\r\n", b"", Ending.EOF, "closed"),
    ("length", OK + b"CONTENT-length: 3\r\n\r\nabc", b"abc", Ending.EOF, "complete"),
    ("length 0", OK + b"Content-Length: 0\r\n\r\n", b"", Ending.EOF, "no body"),
    ("length, garbage", OK + b"Content-Length: 3\r\n\r\nabcdef", b"abc", Ending.EOF, "complete"),
    ("length, cut", OK + b"Content-Length: 4\r\n\r\nabc", b"abc", Ending.CUT, "closed in the"),
    ("chunked", CHUNKED + b"3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n", b"abcde", Ending.EOF, "last chunk"),
    ("chunked, padded", CHUNKED + b"3  \r\nabc\r\n0\r\n\r\n", b"abc", Ending.EOF, "last chunk"),
    ("chunked, trailer", CHUNKED + b"3\r\nabc\r\n0\r\nA: b\r\n\r\n", b"abc", Ending.EOF, "last"),
    ("chunked, garbage", CHUNKED + b"1\r\na\r\n0\r\n\r\ngarbage", b"a", Ending.EOF, "last chunk"),
    ("chunked, cut", CHUNKED + b"3\r\nab", b"ab", Ending.CUT, "closed in the middle"),
    ("chunked, no end", CHUNKED + b"3\r\nabc\r\n", b"abc", Ending.CUT, "closed in the middle"),
    ("chunked, bad", CHUNKED + b"3\r\nabc\r\nzz\r\n", b"abc", Ending.MALFORMED, "Invalid char"),
    (
        "both framings",
        OK + b"Content-Length: 9\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\n",
        b"a",
        Ending.EOF,
        "last chunk",
    ),
    ("continue first", b"HTTP/1.1 100 Continue\r\n\r\n" + OK + b"\r\nabc", b"abc", Ending.EOF, ""),
    ("empty lines first", b"\r\n\r\n" + OK + b"\r\nabc", b"abc", Ending.EOF, "closed"),
    ("204", b"HTTP/1.1 204 No Content\r\n\r\n", b"", Ending.EOF, "no body"),
    ("short H", OK + b"\r\nHTTP/1", b"HTTP/1", Ending.EOF, "closed"),
    ("second status", OK + b"\r\n" + OK + b"\r\n", b"", Ending.MALFORMED, "second status line"),
    ("second in head", OK + OK + b"\r\nG", b"", Ending.MALFORMED, "second status line"),
    ("second chunked", CHUNKED + OK + b"\r\n", b"", Ending.MALFORMED, ""),
    ("second in chunk", CHUNKED + b"9\r\nHTTP/1.1 \r\n", b"", Ending.MALFORMED, "second status"),
    ("not HTTP", b"<html>\r\n\r\n", b"", Ending.MALFORMED, "not HTTP"),
    ("garbage", b"\x16\x03\x01garbage", b"", Ending.MALFORMED, "the answer is not HTTP/1"),
    ("nothing", b"", b"", Ending.CUT, "closed before its answer was there"),
    ("half a head", OK, b"", Ending.CUT, "closed before its answer was there"),
    ("bad length", OK + b"Content-Length: x\r\n\r\n", b"", Ending.MALFORMED, "bad Content-Length"),
]


@pytest.mark.parametrize("answer", ANSWERS, ids=[answer[0] for answer in ANSWERS])
async def test_an_answer_ends_as_its_framing_says(answer: tuple[Any, ...]) -> None:
    _, raw, body, ending, reason = answer
    for pieces in splits(raw):
        connection, got = await play(pieces)
        assert (got, connection.ended.result()[0]) == (body, ending)
        assert connection.bytes_received == len(body)
        if reason and len(pieces) < len(raw):
            assert reason in connection.ended.result()[1] or "not HTTP" in reason


async def test_a_second_status_line_instead_of_a_chunk_is_named() -> None:
    connection, _ = await play([CHUNKED + OK + b"\r\n"])
    assert connection.ended.result() == (Ending.MALFORMED, "second status line")


async def test_a_reset_in_an_unframed_body_is_a_cut() -> None:
    connection, got = await play([OK + b"\r\nabc"], eof=False)
    connection.connection_lost(ConnectionResetError(104, "Connection reset by peer"))
    assert (got, connection.ended.result()) == (
        b"abc",
        (Ending.CUT, "connection reset by peer"),
    )


async def test_the_bytes_of_an_unframed_or_measured_body_are_not_copied() -> None:
    for head in (OK + b"\r\n", OK + b"Content-Length: 9999999\r\n\r\n"):
        tape = Tape()
        # type: ignore[misc]
        connection = ClientConnection(b"", lambda head, tape=tape: tape, head_limit_bytes=4096)
        transport = FakeTransport(connection).connect()
        transport.feed(head + b"G")
        piece = b"G" * 65536
        transport.feed(piece)
        assert tape.pieces[-1] is piece


async def test_a_head_without_end_is_refused() -> None:
    connection, _ = await play([OK, *[b"A: " + b"b" * 1000 + b"\r\n"] * 10], eof=False, limit=4096)
    assert connection.ended.result() == (Ending.MALFORMED, "the answer's head is too large")


async def test_interim_answers_without_end_are_given_up() -> None:
    connection, _ = await play([b"HTTP/1.1 100 Continue\r\n\r\n"] * 1000)
    assert connection.ended.result() == (
        Ending.MALFORMED,
        "the answer never comes: 1xx and again 1xx",
    )


async def test_a_few_interim_answers_are_passed_over() -> None:
    connection, tape = await play(
        [b"HTTP/1.1 103 Early Hints\r\n\r\n" * 5 + OK + b"Content-Length: 1\r\n\r\nx"]
    )
    assert connection.ended.result()[0] is Ending.EOF
    assert tape == b"x"


async def test_chunks_of_a_byte_each_are_given_up_and_reach_the_receiver_as_one_piece() -> None:
    pieces: list[bytes] = []

    class Pieces(Tape):
        def data_received(self, data: bytes) -> None:
            pieces.append(data)

    connection = ClientConnection(b"", lambda head: Pieces(), head_limit_bytes=4096)
    transport = FakeTransport(connection).connect()
    transport.feed(CHUNKED + b"1\r\na\r\n" * 1000)
    assert pieces == [b"a" * 1000]
    while not connection.ended.done():
        transport.feed(b"1\r\na\r\n" * 1000)
    assert connection.ended.result() == (Ending.MALFORMED, "more chunk framing than content")


async def test_nothing_reaches_the_receiver_after_abort() -> None:
    tape = Tape()
    connection = ClientConnection(b"", lambda head: tape, head_limit_bytes=4096)
    transport = FakeTransport(connection).connect()
    transport.feed(OK + b"\r\nabc")
    connection.abort()
    connection.abort()
    transport.feed(b"def")
    transport.lose()
    assert tape.data == b"abc"
    assert connection.ended.result() == (Ending.ABORTED, "")
    assert transport.aborted


async def test_a_receiver_may_abort_in_the_middle_of_a_read() -> None:
    class Once(Tape):
        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            connection.abort()

    once = Once()
    connection = ClientConnection(b"", lambda head: once, head_limit_bytes=4096)
    transport = FakeTransport(connection).connect()
    transport.feed(CHUNKED + b"1\r\na\r\n")
    transport.feed(b"1\r\nb\r\n0\r\n\r\n")
    assert once.data == b"a"


async def test_a_connection_made_after_abort_is_closed_at_once() -> None:
    connection = ClientConnection(b"GET", lambda head: Tape(), head_limit_bytes=4096)
    connection.abort()
    transport = FakeTransport(connection).connect()
    assert transport.aborted
    assert not transport.sent


async def test_bytes_are_stamped_with_the_clock() -> None:
    now = [5.0]
    connection = ClientConnection(
        b"", lambda head: Tape(), head_limit_bytes=4096, clock=lambda: now[0]
    )
    transport = FakeTransport(connection).connect()
    transport.feed(OK + b"\r\n")
    assert connection.last_data_at == 5.0
    now[0] = 7.0
    transport.feed(b"G")
    assert connection.last_data_at == 7.0


async def test_an_ended_connection_leaves_no_cycle_behind() -> None:
    def alive() -> int:
        kinds = (ClientConnection, httptools.HttpResponseParser)
        return sum(isinstance(found, kinds) for found in gc.get_objects())

    gc.collect()
    gc.disable()
    try:
        before = alive()
        connection, _ = await play([CHUNKED + b"1\r\na\r\n"], eof=False)
        transport = connection._transport
        assert alive() > before
        connection.abort()
        assert isinstance(transport, FakeTransport)
        transport.lose()
        transport.protocol = None
        del connection, transport
        assert alive() == before
    finally:
        gc.enable()


@settings(max_examples=400, deadline=None)
@given(
    answer=st.sampled_from([answer[1] for answer in ANSWERS if answer[1]]),
    where=st.integers(0, 200),
    cut=st.integers(0, 5),
    put=st.binary(max_size=4) | st.sampled_from([b"\r\n", b"\n", b"\0", b"HTTP/1.1 200 OK"]),
    seed=st.integers(0, 100),
)
def test_mutated_answers_never_raise_and_always_end(
    answer: bytes, where: int, cut: int, put: bytes, seed: int
) -> None:
    where %= len(answer) + 1
    raw = answer[:where] + put + answer[where + cut :]

    async def check() -> None:
        results = []
        for pieces in splits(raw, seed):
            connection, body = await play(pieces)
            results.append((connection.ended.result()[0], body))
        assert len({ending for ending, _ in results}) == 1, results

    asyncio.run(check())


# -- against real sockets --


@asynccontextmanager
async def origin(
    *answers: bytes, hold: bool = False, tls: ssl.SSLContext | None = None
) -> AsyncIterator[tuple[str, list[bytes]]]:
    """A server that answers one connection after the other; `hold` leaves them open."""
    seen: list[bytes] = []
    left = list(answers)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            seen.append(await reader.readuntil(b"\r\n\r\n"))
            writer.write(left.pop(0) if len(left) > 1 else left[0])
            await writer.drain()
            if hold:
                await reader.read()
        except (OSError, asyncio.IncompleteReadError):
            pass
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=tls)
    port = server.sockets[0].getsockname()[1]
    before = sockets()
    try:
        yield f"{'https' if tls else 'http'}://127.0.0.1:{port}/x?password=s3cret", seen
    finally:
        server.close()
        await eventually(lambda: sockets() < before)


def sockets() -> int:
    """Open sockets of this process."""
    count = 0
    for name in os.listdir("/proc/self/fd"):
        try:
            count += os.readlink(f"/proc/self/fd/{name}").startswith("socket:")
        except OSError:
            pass
    return count


async def fetch(url: str, **options: Any) -> ClientResponse:
    given: dict[str, Any] = {"connect_seconds": 10.0, "total_seconds": 20.0, "limits": Limits()}
    return await request(url, **{**given, **options})


async def follow(url: str, tape: Tape, **options: Any) -> BodyStream:
    given: dict[str, Any] = {
        "connect_seconds": 10.0,
        "head_seconds": 20.0,
        "limits": Limits(),
        "redirect": None,
    }
    return await open_stream(url, tape, **{**given, **options})


async def test_a_document_is_fetched_whole() -> None:
    async with origin(OK + b"Content-Length: 5\r\nX-A: b\r\n\r\nhello", hold=True) as (url, seen):
        response = await fetch(url, headers=(("X-Q", "1"),))
    assert response == ClientResponse(200, "OK", {"content-length": "5", "x-a": "b"}, b"hello")
    assert seen[0].startswith(b"GET /x?password=s3cret HTTP/1.1\r\n")
    assert b"X-Q: 1\r\n" in seen[0]


async def test_a_body_is_posted() -> None:
    async with origin(OK + b"\r\ndone") as (url, seen):
        assert (await fetch(url, method="POST", body=b"abc")).body == b"done"
    assert b"Content-Length: 3\r\n" in seen[0]


async def test_an_answer_to_head_has_no_body_whatever_its_length() -> None:
    async with origin(OK + b"Content-Length: 99\r\n\r\n", hold=True) as (url, _):
        response = await fetch(url, method="HEAD")
    assert (response.status, response.body) == (200, b"")


async def test_an_error_status_is_an_answer() -> None:
    async with origin(b"HTTP/1.1 500 Oh\r\nContent-Length: 2\r\n\r\nno") as (url, _):
        response = await fetch(url)
    assert (response.status, response.reason, response.body) == (500, "Oh", b"no")


async def test_an_error_that_never_closes_is_told_with_what_came() -> None:
    async with origin(b"HTTP/1.1 500 Oh\r\n\r\nstart timeout", hold=True) as (url, _):
        assert (await fetch(url, error_text_seconds=0.05)).body == b"start timeout"


async def test_a_redirect_is_an_answer_by_its_head() -> None:
    async with origin(b"HTTP/1.1 302 Found\r\nLocation: /y\r\n\r\n", hold=True) as (url, _):
        response = await fetch(url)
    assert (response.status, response.headers["location"]) == (302, "/y")


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (b"", "closed before its answer was there"),
        (OK + b"Content-Length: 9\r\n\r\nhalf", "closed in the middle of the body"),
        (CHUNKED + b"zz\r\n", "Invalid character in chunk size"),
        (OK + OK + b"\r\n", "second status line"),
        (OK + b"Content-Length: 2000\r\n\r\n", "the answer is too large"),
        (OK + b"\r\n" + b"x" * 1025, "the answer is too large"),
    ],
)
async def test_half_and_bad_answers_are_upstream_errors(answer: bytes, reason: str) -> None:
    async with origin(answer) as (url, _):
        with pytest.raises(UpstreamError) as caught:
            await fetch(url, limits=Limits(response_body_bytes=1024), phase="start")
    assert (caught.value.phase, caught.value.reason) == ("start", reason)
    assert "s3cret" not in str(caught.value)


async def test_a_body_at_the_limit_is_taken() -> None:
    async with origin(OK + b"\r\n" + b"x" * 1024) as (url, _):
        body = (await fetch(url, limits=Limits(response_body_bytes=1024))).body
    assert body == b"x" * 1024


async def test_an_answer_that_does_not_come_is_a_timeout_of_its_phase() -> None:
    async with origin(OK, hold=True) as (url, _):
        with pytest.raises(UpstreamTimeout) as caught:
            await fetch(url, total_seconds=0.05, phase="stat")
        assert caught.value.phase == "stat"
        with pytest.raises(UpstreamTimeout) as caught:
            await follow(url, Tape(), head_seconds=0.05, phase="first byte")
        assert caught.value.phase == "first byte"


async def test_a_host_that_does_not_accept_is_a_timeout_of_connect() -> None:
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        port = full.getsockname()[1]
        queue = []
        for _ in range(4):  # fill the queue of a socket that nobody accepts from
            waiting = socket.socket()
            waiting.setblocking(False)
            waiting.connect_ex(("127.0.0.1", port))
            queue.append(waiting)
        before = sockets()
        with pytest.raises(UpstreamTimeout) as caught:
            await fetch(f"http://127.0.0.1:{port}/", connect_seconds=0.1)
        assert caught.value.phase == "connect"
        await eventually(lambda: sockets() == before)
        for waiting in queue:
            waiting.close()


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("http://127.0.0.1:1/s3cret", "connection refused"),
        ("http://no-such-name.invalid/s3cret", "not known"),
        ("http://" + "a" * 70 + "/s3cret", ""),
        ("gopher://h/s3cret", "only http:// and https:// URLs are fetched"),
    ],
)
async def test_what_can_not_be_reached_is_one_clear_error(url: str, reason: str) -> None:
    for attempt in (fetch(url), follow(url, Tape())):
        with pytest.raises(UpstreamError) as caught:
            await attempt
        assert reason in caught.value.reason
        assert "s3cret" not in str(caught.value)


async def test_a_stream_reaches_its_receiver_and_tells_how_it_fares() -> None:
    tape = Tape()
    async with origin(OK + b"Content-Type: video/mp2t\r\n\r\n" + b"G" * 188, hold=True) as (url, _):
        stream = await follow(url, tape)
        await eventually(lambda: len(tape.data) == 188)
        assert (stream.status, stream.headers["content-type"]) == (200, "video/mp2t")
        assert (stream.url, stream.bytes_received) == (url, 188)
        assert stream.peer[0] == "127.0.0.1"
        assert stream.last_data_at > 0
        assert not stream.ended.done()
        stream.abort()
        assert stream.ended.result() == (Ending.ABORTED, "")


async def test_a_stream_that_ends_says_so() -> None:
    tape = Tape()
    async with origin(CHUNKED + b"3\r\nabc\r\n0\r\n\r\n") as (url, _):
        stream = await follow(url, tape)
        assert (await stream.ended)[0] is Ending.EOF
    assert tape.data == b"abc"


@pytest.mark.parametrize(
    ("answer", "reason", "status"),
    [
        (b"HTTP/1.1 500 Oh\r\nContent-Length: 13\r\n\r\nstart timeout", "start timeout", 500),
        (b"HTTP/1.1 500 Oh\r\n\r\n\r\n  start\ttimeout\r\nmore", "start timeout", 500),
        (b"HTTP/1.1 403 No\r\nContent-Length: 0\r\n\r\n", "403 No", 403),
        (b"HTTP/1.1 304 Same\r\n\r\n", "304 Same", 304),
        (b"HTTP/1.1 302 Found\r\n\r\n", "302 Found", 302),
    ],
)
@pytest.mark.parametrize("hold", [False, True])
async def test_a_status_that_is_no_stream_is_an_error_in_its_own_words(
    answer: bytes, reason: str, status: int, hold: bool
) -> None:
    async with origin(answer, hold=hold) as (url, _):
        with pytest.raises(UpstreamError) as caught:
            await follow(url, Tape(), error_text_seconds=0.05 if hold else 10.0)
    assert (caught.value.reason, caught.value.status) == (reason, status)


async def test_a_long_error_text_is_cut() -> None:
    async with origin(b"HTTP/1.1 500 Oh\r\n\r\n" + b"x" * 100_000, hold=True) as (url, _):
        with pytest.raises(UpstreamError) as caught:
            await follow(url, Tape())
    assert 0 < len(caught.value.reason) <= 200


async def test_a_redirect_is_followed_by_its_head_on_a_fresh_socket() -> None:
    moved = b"HTTP/1.1 302 Found\r\nLocation: /content/1\r\n\r\nRedirect to /content/1"
    asked: list[tuple[str, str]] = []
    tape = Tape()
    async with origin(moved, moved, OK + b"\r\nG", hold=True) as (url, seen):

        def redirect(current: str, location: str) -> str:
            asked.append((current, location))
            return urljoin(current, location)

        stream = await follow(url, tape, redirect=redirect)
        assert stream.url.endswith("/content/1")
        stream.abort()
    assert [line.split(b" ")[1] for line in seen] == [
        b"/x?password=s3cret",
        b"/content/1",
        b"/content/1",
    ]
    assert [location for _, location in asked] == ["/content/1"] * 2
    assert b"Redirect" not in tape.data


async def test_redirects_without_end_are_an_error() -> None:
    async with origin(b"HTTP/1.1 302 Found\r\nLocation: /\r\n\r\n", hold=True) as (url, seen):
        with pytest.raises(UpstreamError, match="too many redirects"):
            await follow(url, Tape(), redirect=lambda current, _: current)
    assert len(seen) == Limits().redirects + 1


async def test_a_redirect_may_be_refused() -> None:
    def refuse(current: str, location: str) -> str:
        raise UpstreamError("open", "?", "off the engine")

    async with origin(b"HTTP/1.1 302 F\r\nLocation: http://evil/\r\n\r\n", hold=True) as (url, _):
        with pytest.raises(UpstreamError, match="off the engine"):
            await follow(url, Tape(), redirect=refuse)


async def test_a_second_status_line_in_the_head_is_an_error() -> None:
    async with origin(OK + OK + b"\r\n") as (url, _):
        with pytest.raises(UpstreamError, match="second status line"):
            await follow(url, Tape())


@pytest.mark.parametrize("turns", range(8))
@pytest.mark.parametrize("call", [fetch, lambda url: follow(url, Tape())])
async def test_a_cancelled_call_leaves_no_socket(call: Callable[[str], Any], turns: int) -> None:
    async with origin(OK, hold=True) as (url, _):
        before = sockets()
        task = asyncio.ensure_future(call(url))
        for _ in range(turns):
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await eventually(lambda: sockets() <= before)


async def test_a_stream_may_come_over_a_unix_socket(tmp_path: Path) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(OK + b"\r\nG")
        writer.close()

    path = str(tmp_path / "relay.sock")
    server = await asyncio.start_unix_server(serve, path)
    tape = Tape()
    stream = await follow("http://relay/x", tape, unix_path=path)
    assert await stream.ended == (Ending.EOF, "closed")
    assert (tape.data, stream.peer) == (b"G", ("", 0))
    server.close()


@pytest.fixture
def certificate(tmp_path: Path) -> tuple[Path, Path]:
    return self_signed(tmp_path, "127.0.0.1")


async def test_a_stream_may_come_over_tls_from_a_known_host_only(
    certificate: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    serving = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    serving.load_cert_chain(*certificate)
    async with origin(OK + b"Content-Length: 1\r\n\r\nG", tls=serving) as (url, _):
        with pytest.raises(UpstreamError, match="tls: certificate_verify_failed"):
            await follow(url, Tape())
        trusting = ssl.create_default_context(cafile=str(certificate[0]))
        monkeypatch.setattr(http_client, "_context", trusting)
        tape = Tape()
        stream = await follow(url, tape)
        assert (await stream.ended)[0] is Ending.EOF
        assert tape.data == b"G"


# -- a film waits for its viewer --


async def test_a_paused_body_is_read_on_when_it_is_wanted_again() -> None:
    film = os.urandom(4 << 20)
    head = OK + b"Content-Length: %d\r\n\r\n" % len(film)
    async with origin(head + film) as (url, _):
        tape = Tape()
        stream = await follow(url, tape)
        stream.pause()
        stream.pause()
        held = len(tape.data)
        await asyncio.sleep(0.1)
        assert len(tape.data) == held < len(film)
        stream.resume()
        stream.resume()
        assert (await stream.ended)[0] is Ending.EOF
        stream.pause()  # there is nothing left to pause
        stream.resume()
    assert tape.data == film


async def test_an_accepted_status_is_an_answer_with_its_head() -> None:
    answer = b"HTTP/1.1 416 No\r\nContent-Range: bytes */5\r\nContent-Length: 0\r\n\r\n"
    async with origin(answer) as (url, _):
        stream = await follow(url, Tape(), accepted=(416,))
        assert (stream.status, stream.headers["content-range"]) == (416, "bytes */5")
        stream.abort()
        with pytest.raises(UpstreamError) as caught:
            await follow(url, Tape())
    assert caught.value.status == 416
