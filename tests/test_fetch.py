"""Documents from a server of this test's own."""

from __future__ import annotations

import asyncio
import gzip
import io
import ssl
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from certificates import self_signed

from rawstream.errors import StateError, UpstreamError
from rawstream.fetch import Fetched, fetch
from rawstream.fetch_policy import FetchPolicy
from rawstream.list_entries import read_list

SECRET = "pass-word-in-a-url"


@asynccontextmanager
async def served(
    answer: Callable[[web.Request], Awaitable[web.StreamResponse]],
) -> AsyncIterator[str]:
    async def handle(request: web.BaseRequest) -> web.StreamResponse:
        return await answer(request)  # type: ignore[arg-type]

    runner = web.ServerRunner(web.Server(handle))
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


@asynccontextmanager
async def sent(*answers: bytes) -> AsyncIterator[str]:
    """A server that sends these bytes, an answer per connection, and closes."""
    left = list(answers)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(left.pop(0))
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"


async def get(url: str, *, limit: int = 1 << 20, own_port: int = 0, **more: Any) -> Fetched:
    return await fetch(
        url,
        policy=FetchPolicy((), lambda: {own_port}),
        limit_bytes=limit,
        total_seconds=20,
        read_seconds=10,
        **more,
    )


async def test_a_document_comes_with_what_its_sender_said() -> None:
    async def answer(request: web.Request) -> web.Response:
        if request.path == "/moved":
            raise web.HTTPFound("/list")
        assert request.headers["User-Agent"].startswith("VLC/")
        headers = {"ETag": '"1"', "Content-Type": "text/plain; charset=latin-1"}
        return web.Response(body=b"#EXTM3U\n", headers=headers)

    async with served(answer) as url:
        found = await get(f"{url}/moved")
        assert (found.body, found.complete, found.etag) == (b"#EXTM3U\n", True, '"1"')
        assert (found.url, found.charset) == (f"{url}/list", "latin-1")


async def test_a_transfer_that_breaks_off_is_not_complete() -> None:
    async def answer(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Length": "1000"})
        await response.prepare(request)
        await response.write(b"half")
        assert request.transport is not None
        request.transport.close()
        return response

    async with served(answer) as url:
        found = await get(url)
        assert (found.body, found.complete) == (b"half", False)


@pytest.mark.parametrize("case", ["404", "too long", "loop", "scheme", "own port", "metadata"])
async def test_what_is_refused_says_nothing_of_the_url(case: str) -> None:
    async def answer(request: web.Request) -> web.Response:
        if case == "404":
            raise web.HTTPNotFound
        if case == "loop":
            raise web.HTTPFound(f"/?{SECRET}")
        if case == "scheme":
            raise web.HTTPFound("file:///etc/passwd")
        if case == "metadata":
            raise web.HTTPFound("http://169.254.169.254/latest")
        return web.Response(body=b"x" * 2000)

    async with served(answer) as url:
        port = int(url.rpartition(":")[2]) if case == "own port" else 0
        with pytest.raises(UpstreamError) as caught:
            await get(f"{url}/?{SECRET}", limit=1000, own_port=port)
        assert SECRET not in str(caught.value)


LIST = b"#EXTM3U\n" + b"".join(b"#EXTINF:-1,C%d\nhttp://h/%d.ts\n" % (n, n) for n in range(3000))


@pytest.mark.parametrize("cut", [0, 4, 200])
async def test_what_is_packed_is_left_packed_so_that_its_reader_sees_a_cut(cut: int) -> None:
    packed = gzip.compress(LIST)
    body = packed[: len(packed) - cut]
    head = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n\r\n"
    async with sent(head + body) as url:
        found = await get(url)
    assert (found.body, found.complete, found.announced) == (body, True, False)
    entries, ending = read_list([found.body])
    assert ending.truncated == bool(cut)
    assert (len(entries) == 3000) or cut


async def test_gzip_is_asked_for_and_another_packing_is_an_error() -> None:
    async def answer(request: web.Request) -> web.Response:
        assert request.headers["Accept-Encoding"] == "gzip"
        return web.Response(body=b"x", headers={"Content-Encoding": "br"})

    async with served(answer) as url:
        with pytest.raises(UpstreamError, match="not asked for"):
            await get(url)


@pytest.mark.parametrize(
    ("head", "body", "complete", "announced"),
    [
        (b"Content-Length: 8\r\n", b"#EXTM3U\n", True, True),
        (b"Content-Length: 9\r\n", b"#EXTM3U\n", False, True),
        (b"Transfer-Encoding: chunked\r\n", b"8\r\n#EXTM3U\n\r\n0\r\n\r\n", True, True),
        (b"Transfer-Encoding: chunked\r\n", b"8\r\n#EXTM3U\n\r\n", False, True),
        (b"", b"#EXTM3U\n", True, False),
    ],
)
async def test_who_announced_the_end_is_told(
    head: bytes, body: bytes, complete: bool, announced: bool
) -> None:
    async with sent(b"HTTP/1.1 200 OK\r\n" + head + b"\r\n" + body) as url:
        found = await get(url)
    assert (found.body, found.complete, found.announced) == (b"#EXTM3U\n", complete, announced)


async def test_what_the_caller_has_is_not_sent_again() -> None:
    async def answer(request: web.Request) -> web.Response:
        if request.headers.get("If-None-Match") == '"1"':
            assert request.headers["If-Modified-Since"] == "Mon, 05 Jan 2026 10:00:00 GMT"
            return web.Response(status=304, headers={"ETag": '"1"'})
        return web.Response(body=b"new", headers={"ETag": '"2"'})

    async with served(answer) as url:
        date = "Mon, 05 Jan 2026 10:00:00 GMT"
        found = await get(url, etag='"1"', last_modified=date)
        assert (found.not_modified, found.body, found.etag) == (True, b"", '"1"')
        found = await get(url, etag='"0"')
        assert (found.not_modified, found.body, found.etag) == (False, b"new", '"2"')


async def test_nothing_new_is_an_error_to_who_did_not_ask() -> None:
    async with sent(b"HTTP/1.1 304 Not Modified\r\n\r\n") as url:
        with pytest.raises(UpstreamError, match="304"):
            await get(url)


async def test_headers_are_sent_to_the_own_origin_only() -> None:
    seen: list[str | None] = []

    async def answer(request: web.Request) -> web.Response:
        seen.append(request.headers.get("X-Key"))
        if request.path == "/here":
            raise web.HTTPFound("/there")
        if request.path == "/there":
            raise web.HTTPFound(f"{other}/")
        return web.Response(body=b"x")

    async with served(answer) as url, served(answer) as other:
        await get(f"{url}/here", headers={"X-Key": SECRET})
    assert seen == [SECRET, SECRET, None]


class OffLoop(io.BytesIO):
    """A file that notes what was written by which thread."""

    def __init__(self, *, full: bool = False) -> None:
        super().__init__()
        self.writers: list[tuple[bool, int]] = []
        self._full = full

    def write(self, piece: Any) -> int:
        if self._full:
            raise OSError(28, "No space left on device")
        self.writers.append((threading.current_thread() is threading.main_thread(), len(piece)))
        return super().write(piece)


async def test_a_long_document_goes_into_a_file_off_the_loop() -> None:
    body = bytes(range(256)) * (3 << 12)  # 3 MiB

    async def answer(_request: web.Request) -> web.Response:
        return web.Response(body=body)

    told: list[tuple[int, int | None]] = []
    file = OffLoop()
    async with served(answer) as url:
        found = await get(
            url, limit=4 << 20, into=file, progress=lambda done, size: told.append((done, size))
        )
    assert (found.body, found.size_bytes, file.getvalue() == body) == (b"", len(body), True)
    assert not any(on_loop for on_loop, _size in file.writers)
    assert max(size for _on_loop, size in file.writers) < 1_200_000
    assert told[-1] == (len(body), len(body))


async def test_a_full_disk_is_no_fault_of_the_server() -> None:
    async def answer(_request: web.Request) -> web.Response:
        return web.Response(body=b"x")

    async with served(answer) as url:
        with pytest.raises(StateError, match="No space left"):
            await get(url, into=OffLoop(full=True))


async def test_a_certificate_that_is_not_accepted_is_said(tmp_path: Path) -> None:
    certificate, key = self_signed(tmp_path, "localhost")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    server = await asyncio.start_server(lambda _reader, writer: writer.close(), ssl=context, port=0)
    port = server.sockets[0].getsockname()[1]
    try:
        with pytest.raises(UpstreamError, match="certificate is not accepted: self") as caught:
            await get(f"https://user:{SECRET}@127.0.0.1:{port}/{SECRET}/a.m3u8")
    finally:
        server.close()
    assert SECRET not in str(caught.value)
