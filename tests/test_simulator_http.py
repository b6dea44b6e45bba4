"""The simulator's HTTP: right where it should be, and wrong in exactly the way it was told."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Coroutine

import pytest
from sim_client import Stream, asked, get, opened, until

from rawstream.simulator_http import SimConnection, SimRequest, head

Answer = Callable[[SimConnection, SimRequest], Coroutine[None, None, None]]


@contextlib.asynccontextmanager
async def serving(answer: Answer) -> AsyncIterator[tuple[str, set[SimConnection]]]:
    connections: set[SimConnection] = set()
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: SimConnection(answer, connections), "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", connections
    finally:
        server.close()
        for connection in list(connections):
            connection.reset()
        await until(lambda: not connections)
        await server.wait_closed()


async def echo(connection: SimConnection, request: SimRequest) -> None:
    told = f"{request.method} {request.segments} {request.query} {request.body!r} {request.peer}"
    connection.respond(200, told.encode())


async def test_a_request_is_read_into_its_parts() -> None:
    async with serving(echo) as (url, _):
        reply = await get(f"{url}/ace/get%20it?id=a%2Fb&id=c&x=")
    assert reply.status == 200 and reply.headers["access-control-allow-origin"] == "*"
    assert reply.headers["server"].startswith("BaseHTTP/0.6 Python/3.8")
    assert reply.body.decode() == "GET ('ace', 'get it') {'id': 'c', 'x': ''} b'' 127.0.0.1"


async def test_requests_on_one_connection_are_answered_in_turn_bodies_too() -> None:
    async with serving(echo) as (url, _), asked(f"{url}/first") as stream:
        second = b"POST /second HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc"
        stream.writer.write(second)
        for expected in (b"GET ('first',) {} b''", b"POST ('second',) {} b'abc'"):
            await stream.head()
            body = await stream.reader.readexactly(int(stream.headers["content-length"]))
            assert body.startswith(expected)


@pytest.mark.parametrize("how", [{"version": "1.0"}, {"headers": "Connection: close\r\n"}])
async def test_a_client_that_wants_the_end_gets_it_after_the_answer(how: dict[str, str]) -> None:
    async with serving(echo) as (url, _), opened(f"{url}/", **how) as stream:
        assert stream.headers["connection"] == "close"
        assert (await stream.rest()).startswith(b"GET")


async def test_what_is_no_http_is_a_bad_request() -> None:
    async with serving(echo) as (url, _), opened(f"{url}/") as stream:
        stream.writer.write(b"\x00\x01\x02 nonsense\r\n\r\n")
        assert b" 400 " in await stream.rest()


async def what_comes(client: Stream) -> bytes:
    """Until the end; what was still being sent when the socket closed makes that end a reset."""
    try:
        return await client.rest()
    except ConnectionResetError:
        return b""


async def test_a_request_without_an_end_and_a_flood_of_them_are_cut() -> None:
    never = asyncio.Event()

    async def wait(connection: SimConnection, request: SimRequest) -> None:
        await never.wait()

    async with serving(wait) as (url, connections):
        async with asked(f"{url}/", headers="X: " + "x" * 300_000 + "\r\n") as endless:
            assert await what_comes(endless) == b""
        async with asked(f"{url}/") as flood:
            flood.writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n" * 40)
            assert await what_comes(flood) == b""
        await until(lambda: not connections)


async def test_an_answer_ends_when_its_client_goes() -> None:
    cancelled = asyncio.Event()

    async def wait(connection: SimConnection, request: SimRequest) -> None:
        try:
            await connection.closed.wait()
            await asyncio.sleep(3600)
        finally:
            cancelled.set()

    async with serving(wait) as (url, connections):
        async with asked(f"{url}/"):
            await until(lambda: connections)
        await cancelled.wait()


async def test_a_bug_in_an_answer_is_reported_and_cuts_the_client(
    loop_errors_fail_the_test: list[dict[str, object]],
) -> None:
    async def broken(connection: SimConnection, request: SimRequest) -> None:
        raise RuntimeError("a bug")

    async with serving(broken) as (url, _), asked(f"{url}/") as stream:
        with pytest.raises(ConnectionError):
            await stream.rest()
    assert [str(each["exception"]) for each in loop_errors_fail_the_test] == ["a bug"]
    loop_errors_fail_the_test.clear()


async def test_a_redirect_has_no_length_and_its_socket_stays_open() -> None:
    async def redirect(connection: SimConnection, request: SimRequest) -> None:
        connection.redirect("http://somewhere/else")

    async with serving(redirect) as (url, connections), opened(f"{url}/") as stream:
        assert stream.status == 302 and stream.headers["location"] == "http://somewhere/else"
        assert not {"content-length", "transfer-encoding", "connection"} & set(stream.headers)
        words = b"Redirect to http://somewhere/else"
        assert await stream.reader.readexactly(len(words)) == words
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(stream.reader.read(1), 0.05)
        assert len(connections) == 1


async def raw(answer: Answer) -> bytes:
    async with serving(answer) as (url, _), asked(f"{url}/") as stream:
        return await stream.rest()


async def test_the_doubled_head_has_two_status_lines_and_no_body() -> None:
    async def doubled(connection: SimConnection, request: SimRequest) -> None:
        connection.doubled_head([("Content-Type", "video/mp2t")])

    data = await raw(doubled)
    assert data.startswith(b"HTTP/1.1 200 OK\r\nHTTP/1.1 200 OK\r\n")
    assert data.endswith(b"\r\n\r\n") and data.count(b"\r\n\r\n") == 1


async def test_half_a_body_announces_the_whole() -> None:
    async def half(connection: SimConnection, request: SimRequest) -> None:
        connection.half_body(b"0123456789", "application/json")

    fields, _, body = (await raw(half)).partition(b"\r\n\r\n")
    assert b"Content-Length: 10" in fields and body == b"01234"


async def test_malformed_is_no_http_and_a_bad_chunk_no_chunk() -> None:
    async def malformed(connection: SimConnection, request: SimRequest) -> None:
        connection.malformed()

    async def bad_chunk(connection: SimConnection, request: SimRequest) -> None:
        connection.begin_body(200, [], chunked=True)
        connection.body_piece(b"abc")
        connection.bad_chunk()

    assert not (await raw(malformed)).startswith(b"HTTP/1.1")
    _, _, body = (await raw(bad_chunk)).partition(b"\r\n\r\n")
    assert body.startswith(b"3\r\nabc\r\nzz\r\n")


@pytest.mark.parametrize(("chunked", "body"), [(True, b"3\r\nabc\r\n0\r\n\r\n"), (False, b"abc")])
async def test_a_body_ends_cleanly_in_its_framing(chunked: bool, body: bytes) -> None:
    async def short(connection: SimConnection, request: SimRequest) -> None:
        connection.begin_body(200, [], chunked=chunked)
        connection.body_piece(b"abc")
        connection.end_body()

    fields, _, got = (await raw(short)).partition(b"\r\n\r\n")
    assert got == body and (b"chunked" in fields) is chunked


async def test_a_slow_reader_holds_the_writer_and_lets_it_go_on() -> None:
    waited: list[bool] = []

    async def much(connection: SimConnection, request: SimRequest) -> None:
        connection.begin_body(200, [], chunked=False)
        while await connection.drain(0.01):
            connection.body_piece(bytes(65536))
        waited.append(True)
        while not await connection.drain(0.01):
            pass
        connection.end_body()

    async with serving(much) as (url, _), asked(f"{url}/") as stream:
        await until(lambda: waited)
        assert len(await stream.rest()) > 65536


def test_a_head_names_any_status() -> None:
    assert head(302, []).startswith(b"HTTP/1.1 302 Found\r\n")
    assert head(799, []).startswith(b"HTTP/1.1 799 Unknown\r\n")
